"""What the on-chip buffers are made of, where an accelerator says so."""

from __future__ import annotations

import enum
from collections.abc import Iterator
from dataclasses import dataclass, fields

_ULTRA_SHAPES = ((4096, 72), (8192, 36), (16384, 18), (32768, 9))
"""Rows and bits of an UltraRAM (AMD UG573), and of parts of its words that are chosen from."""


class MemoryKind(enum.Enum):
    """A kind of memory, by what synthesis calls it (``ram_style``)."""

    AUTO = "auto"
    """Synthesis chooses: block RAM, or look-up tables where a memory is small."""

    BLOCK = "block"
    """Block RAM."""

    ULTRA = "ultra"
    """UltraRAM, which some parts of UltraScale+ have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BufferMemories:
    """The kind of memory of each buffer; accumulators, narrow and read twice, have no choice."""

    activations: MemoryKind = MemoryKind.AUTO
    weights: MemoryKind = MemoryKind.AUTO
    constants: MemoryKind = MemoryKind.AUTO
    residuals: MemoryKind = MemoryKind.AUTO
    outputs: MemoryKind = MemoryKind.AUTO

    def __post_init__(self) -> None:
        for name, kind in self.items():
            if not isinstance(kind, MemoryKind):
                raise TypeError(f"{name} must be a MemoryKind, not {kind!r}")

    def items(self) -> Iterator[tuple[str, MemoryKind]]:
        """Yield each buffer's name and kind."""
        for field in fields(self):
            yield field.name, getattr(self, field.name)

    def named(self, kind: MemoryKind) -> tuple[str, ...]:
        """Return the buffers of ``kind``."""
        return tuple(name for name, mine in self.items() if mine is kind)


UNNAMED = BufferMemories()
"""Synthesis chooses for every buffer."""


def ultra_blocks(depth: int, width: int) -> int:
    """Return the UltraRAMs that Yosys makes a memory of ``depth`` rows of ``width`` bits of."""
    return min(-(-depth // rows) * -(-width // bits) for rows, bits in _ULTRA_SHAPES)
