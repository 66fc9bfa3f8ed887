"""What an accelerator takes of an FPGA, from a table of synthesised blocks.

A table (``area_tables``, made by ``celosia bench area``) holds what Yosys makes of columns of
each kind, of post lanes, and of all that every engine has. Columns and post lanes are linear in
lanes, pixels and the accumulators' bits. Memories and DSP blocks follow from the geometry by
the rules that Yosys goes by, see :class:`MemoryRule` and :mod:`celosia.dataflow.dsp`.
"""

from __future__ import annotations

import functools
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

from celosia.dataflow.accelerator import ROW_ENTRIES, Accelerator
from celosia.dataflow.array_shape import ArrayShape, Circuit, ColumnGroup
from celosia.dataflow.dsp import column_units, dsp_packing
from celosia.models.formats import Fixed
from celosia.models.operations import MULTIPLY

FOLDER: Final = Path(__file__).parent / "area_tables"

ULTRASCALE_PLUS: Final = "ultrascale_plus"
ECP5: Final = "ecp5"

SUM_BITS: Final = 24
"""Bits of the accumulators of columns as the tables have them."""

_BLOCK_SHAPES: Final = ((16384, 1), (8192, 2), (4096, 4), (2048, 9), (1024, 18), (512, 36))
"""Rows and bits of a block of 18 Kbit, of either family."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Amount:
    """Look-up tables, registers and DSP blocks."""

    lut: float = 0.0
    ff: float = 0.0
    dsp: float = 0.0

    def __add__(self, other: Amount) -> Amount:
        return Amount(lut=self.lut + other.lut, ff=self.ff + other.ff, dsp=self.dsp + other.dsp)

    def __mul__(self, count: float) -> Amount:
        return Amount(lut=self.lut * count, ff=self.ff * count, dsp=self.dsp * count)


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

    def made(self, depth: int, width: int) -> tuple[float, float, float]:
        """Return block RAMs, look-up tables and registers of ``depth`` rows of ``width`` bits."""
        blocks = min(-(-depth // rows) * -(-width // bits) for rows, bits in _BLOCK_SHAPES)
        runs, cells = -(-depth // self.rows), self.cells(depth, width)
        per_bit = runs * self.bit + (runs - 1) * self.choice
        if width * per_bit + runs * self.decode + cells * self.cell < blocks:
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnKind:
    """A kind of column: what one product takes, and what one accumulation (pixel) more.

    ``weights`` is the format's name, ``operation`` that of what the column does.
    """

    weights: str
    operation: str
    activation_bits: int
    circuit: str
    bits: int
    product: Amount
    pixel: Amount


@dataclass(frozen=True, slots=True, kw_only=True)
class AreaTable:
    """What blocks take of a family.

    Attributes
    ----------
    source : str
        Tool and command.
    control : Amount
        What every engine has.
    bus_bit : Amount
        Each bit of the port.
    post_lane, post_sum_bit : Amount
        A post lane at :data:`SUM_BITS` bits of accumulators, and each bit more.
    sum_bit : Amount
        Each bit more of a column's accumulation.
    columns : tuple of ColumnKind
        As measured.
    """

    source: str
    control: Amount
    bus_bit: Amount
    post_lane: Amount
    post_sum_bit: Amount
    sum_bit: Amount
    columns: tuple[ColumnKind, ...]

    def kind(self, group: ColumnGroup, activation_bits: int) -> tuple[ColumnKind, float]:
        """Return the measured kind that is most like ``group``, and how much larger it is.

        The same kind is 1 times as large. Of other widths it is taken to grow as the product of
        both widths.
        """
        letters = group.format.name.rstrip("0123456789_")
        circuit = group.circuit
        if group.operation == MULTIPLY and not isinstance(group.format, Fixed):
            circuit = Circuit.LUTS  # no multiplier block does it

        def unlike(kind: ColumnKind) -> tuple[bool, bool, bool, int, str]:
            bits = abs(kind.bits - group.format.bits)
            return (
                kind.operation.split("_")[0] != group.operation.name.split("_")[0],
                kind.circuit != circuit.value,
                kind.weights.rstrip("0123456789_") != letters,
                bits + abs(kind.activation_bits - activation_bits),
                kind.weights,
            )

        found = min(self.columns, key=unlike)
        ratio = group.format.bits * activation_bits / (found.bits * found.activation_bits)
        return found, ratio


@functools.cache
def load_area_table(family: str) -> AreaTable:
    """Return the table of :data:`ULTRASCALE_PLUS` or :data:`ECP5`."""
    document = tomllib.loads((FOLDER / f"{family}.toml").read_text(encoding="utf-8"))
    amounts = {
        field.name: Amount(**document[field.name])
        for field in fields(AreaTable)
        if field.name not in ("source", "columns")
    }
    columns = tuple(_kind(entry) for entry in document["columns"])
    return AreaTable(source=document["source"], columns=columns, **amounts)


def _kind(entry: dict[str, Any]) -> ColumnKind:
    found: dict[str, Any] = {**entry}
    for name in ("product", "pixel"):
        found[name] = Amount(**entry[name])
    return ColumnKind(**found)


def memories(accelerator: Accelerator) -> Iterator[tuple[int, int, int]]:
    """Yield rows, bits and number of every memory of the buffers, one for each read port."""
    buffers, array = accelerator.buffers, accelerator.array
    word, bus = accelerator.activation_word_bits, accelerator.bus.data_bits
    banks = buffers.activation_banks
    for depth, bits, count in (
        (buffers.activations // banks, word, array.pixels * banks),
        (buffers.weights, accelerator.weight_word_bits, 1),
        (buffers.constants, accelerator.constant_word_bits, 1),
        (buffers.residuals, word, 1),
    ):
        full, rest = divmod(bits, bus)
        yield depth, bus, full * count
        if rest:
            yield depth, rest, count
    groups = array.lanes // accelerator.post_lanes
    yield buffers.outputs, word // groups, groups
    yield buffers.accumulators, array.accumulator_bits, 2 * array.column_count * array.pixels
    if accelerator.tables is not None:
        rows = accelerator.tables.rows * accelerator.tables.count
        yield rows, accelerator.table_word_bits, accelerator.post_lanes
    if array.depthwise is not None and array.depthwise.rows > 1:
        line = min(array.column_count, array.lanes) * array.activation_bits
        yield array.depthwise.width, (array.depthwise.rows - 1) * line, array.pixels


def estimate_area(
    accelerator: Accelerator, family: str, table: AreaTable | None = None
) -> dict[str, float]:
    """Return what ``accelerator`` takes: ``lut``, ``ff``, ``dsp`` and ``bram``.

    Parameters
    ----------
    accelerator
        What is built.
    family
        :data:`ULTRASCALE_PLUS` (and 7 series, whose look-up tables and block RAMs are as large) or
        :data:`ECP5`.
    table
        Another than the family's own.
    """
    table = table or load_area_table(family)
    rule, array = MEMORIES[family], accelerator.array
    more = array.accumulator_bits - SUM_BITS
    total = table.control + table.bus_bit * accelerator.bus.data_bits
    lane = table.post_lane + table.post_sum_bit * more
    lane = replace(lane, dsp=lane.dsp + _lane_blocks(array.accumulator_bits, family))
    total += lane * accelerator.post_lanes
    total += table.sum_bit * (more * array.column_count * array.pixels)
    for group in array.columns:
        total += _columns(table, array, group)
    total += _choices(accelerator, wide=family == ULTRASCALE_PLUS)
    total += _windows(array)
    total += _tables(accelerator, wide=family == ULTRASCALE_PLUS)
    bram = 0.0
    for depth, bits, count in memories(accelerator):
        if count:
            blocks, lut, ff = rule.made(depth, bits)
            bram += blocks * count
            total += Amount(lut=lut, ff=ff) * count
    return {"lut": total.lut, "ff": total.ff, "dsp": total.dsp, "bram": bram}


def _lane_blocks(bits: int, family: str) -> int:
    """Return the DSP blocks of a post lane beyond those at :data:`SUM_BITS`.

    The bits of a biased accumulator above the 17th, one more than of the accumulator above the
    16th, are a factor of their own: a sign alone needs no block, more than 18 two of ECP5's.
    """
    high = bits - 16
    if not high:
        return -1
    return int(family == ECP5 and high > 18)


def _columns(table: AreaTable, array: ArrayShape, group: ColumnGroup) -> Amount:
    """Return what the columns of a group take, without the memory of their accumulators."""
    kind, ratio = table.kind(group, array.activation_bits)
    products = group.count * array.lanes * array.pixels
    found = kind.product * (products * ratio) + kind.pixel * (group.count * array.pixels)
    if group.circuit is Circuit.DSP and group.operation == MULTIPLY:
        return Amount(lut=found.lut, ff=found.ff, dsp=_packed(array, group))
    return Amount(lut=found.lut, ff=found.ff, dsp=round(kind.product.dsp) * products)


def _packed(array: ArrayShape, group: ColumnGroup) -> int:
    """Return the DSP blocks of columns whose products share them."""
    return sum(
        dsp_packing(
            group.format,
            array.operand_bits,
            columns=len(unit.positions),
            pixels=array.pixels,
            lanes=array.lanes,
        ).dsps(lanes=array.lanes, pixels=array.pixels)
        for unit in column_units(array)
        if unit.group == group
    )


def _windows(array: ArrayShape) -> Amount:
    """Return what holds each column's window, and chooses between it and the shared word."""
    if array.depthwise is None:
        return Amount()
    operands = array.column_count * array.pixels * array.depthwise.positions
    bits = operands * (array.activation_bits + 1)
    return Amount(lut=bits, ff=bits)


def _tables(accelerator: Accelerator, *, wide: bool) -> Amount:
    """Return what chooses an entry of a row, and holds codes for a look-up's two cycles."""
    if accelerator.tables is None:
        return Amount()
    lanes, bits = accelerator.post_lanes, accelerator.array.activation_bits
    chosen = bits * choice_luts(ROW_ENTRIES, wide=wide) + accelerator.requant_bits
    return Amount(lut=lanes * chosen, ff=lanes * (2 * accelerator.requant_bits + 4))


def _choices(accelerator: Accelerator, *, wide: bool) -> Amount:
    """Return what chooses the pixel and the columns that are drained, and holds operands."""
    array, lanes = accelerator.array, accelerator.post_lanes
    groups = array.column_count // lanes
    bits = lanes * array.accumulator_bits
    pixels = choice_luts(array.pixels, wide=wide) * array.column_count * array.accumulator_bits
    operands = array.pixels * array.lanes
    return Amount(
        lut=bits * choice_luts(groups, wide=wide) + pixels + operands,
        ff=bits + operands * (array.activation_bits + 1),
    )
