"""Memories as Yosys makes them: of block RAM or of look-up tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from celosia.dataflow.memory_kinds import MemoryKind

ULTRASCALE_PLUS: Final = "ultrascale_plus"
ECP5: Final = "ecp5"

_BLOCK_SHAPES: Final = ((16384, 1), (8192, 2), (4096, 4), (2048, 9), (1024, 18), (512, 36))
"""Rows and bits of a block of 18 Kbit, of either family."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryRule:
    """How Yosys makes a memory of one write port and one read port.

    It is of block RAM, as many halves of 36 Kbit (UltraScale+) or blocks of 18 Kbit (ECP5) as the
    best of their shapes takes, unless look-up tables cost less: with ``n`` runs of ``rows`` rows,
    and ``w`` bits, ``n * w * bit + (n - 1) * w * choice + n * decode`` and ``cell`` for each cell
    of ``rows`` x ``bits``, where a block costs 1. The constants were found from what Yosys makes
    of memories of 16 to 16,384 rows and 1 to 512 bits, and say it of all of them.

    Attributes
    ----------
    rows, bits : int
        Of a cell of distributed memory.
    shallow_bits : int
        Bits of a cell of up to half as many rows.
    cell_luts : int
        Look-up tables of a cell.
    bit, choice, decode, cell : float
        The constants.
    blocks : float
        Block RAMs that a block of 18 Kbit counts as.
    block_lut, block_ff : tuple of float
        What is beside blocks: for each bit, and for each memory.
    """

    rows: int
    bits: int
    shallow_bits: int
    cell_luts: int
    bit: float
    choice: float
    decode: float
    cell: float
    blocks: float
    block_lut: tuple[float, float]
    block_ff: tuple[float, float]

    def cells(self, depth: int, width: int) -> int:
        """Return the cells of distributed memory that would hold ``depth`` rows."""
        if depth <= self.rows // 2:
            return -(-width // self.shallow_bits)
        return -(-depth // self.rows) * -(-width // self.bits)

    def made(
        self, depth: int, width: int, kind: MemoryKind = MemoryKind.AUTO
    ) -> tuple[float, float, float]:
        """Return block RAMs, look-up tables and registers of ``depth`` rows of ``width`` bits.

        UltraRAM takes none of them: :func:`~celosia.dataflow.memory_kinds.ultra_blocks`.
        """
        if kind is MemoryKind.ULTRA:
            return 0.0, 0.0, 0.0
        blocks = min(-(-depth // rows) * -(-width // bits) for rows, bits in _BLOCK_SHAPES)
        runs, cells = -(-depth // self.rows), self.cells(depth, width)
        per_bit = runs * self.bit + (runs - 1) * self.choice
        cheaper = width * per_bit + runs * self.decode + cells * self.cell < blocks
        if cheaper and kind is MemoryKind.AUTO:
            chosen = width * choice_luts(runs, wide=self.rows > 16)
            return 0.0, cells * self.cell_luts + chosen + (runs if runs > 1 else 0), float(width)
        lut, ff = (each * width + more for each, more in (self.block_lut, self.block_ff))
        return blocks * self.blocks, lut, ff


def choice_luts(count: int, *, wide: bool) -> int:
    """Return the look-up tables of a choice of one bit of ``count``, of 6 inputs or of 4."""
    if count < 3:
        return count - 1
    return -(-count // 4) if wide else count


MEMORIES: Final = {
    ULTRASCALE_PLUS: MemoryRule(
        rows=64, bits=7, shallow_bits=14, cell_luts=8, bit=0.0175, choice=0.004, decode=0,
        cell=0, blocks=0.5, block_lut=(0, 0), block_ff=(0, 0),
    ),
    ECP5: MemoryRule(
        rows=16, bits=4, shallow_bits=4, cell_luts=6, bit=0, choice=0.7 / 128,
        decode=0.75 / 128, cell=2.75 / 128, blocks=1, block_lut=(1, 20), block_ff=(2, 12),
    ),
}  # fmt: skip
