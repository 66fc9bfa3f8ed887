"""The description of a SpArch engine: sparse matrix x sparse matrix by a streaming merge tree.

After "SpArch: Efficient Architecture for Sparse Matrix Multiplication" (HPCA 2020). What the
hardware does, and how everything lies in memory, is in ``docs/sparch.md``.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np

from celosia.dataflow.accelerator import Bus
from celosia.dataflow.checks import check_accelerator_name, check_range

ADDRESS_BITS = 32
"""Bits of the beat that a work record fetches from, counted from the right matrix."""

POINTER_BITS = 32
"""Bits of an output row pointer."""

GRAIN_BITS = 16
"""Work records lie in memory in grains of so many bits."""


def _index_bits(count: int) -> int:
    """Return the bits of a number below ``count``, at least 1."""
    return max(1, (count - 1).bit_length())


def _check_power(field: str, value: int, low: int, high: int) -> None:
    """Refuse a ``value`` of ``field`` that is no power of two in ``low..high``."""
    check_range(field, value, low, high)
    if value & (value - 1):
        raise ValueError(f"{field} must be a power of two, not {value!r}")


class ValueKind(enum.Enum):
    """What the values of matrices are."""

    INTEGER = "integer"
    FIXED = "fixed"
    BFLOAT16 = "bfloat16"
    FLOAT32 = "float32"

    @property
    def floating(self) -> bool:
        """Whether sums are rounded."""
        return self in (ValueKind.BFLOAT16, ValueKind.FLOAT32)


_FLOAT_BITS = {ValueKind.BFLOAT16: 16, ValueKind.FLOAT32: 32}


@dataclass(frozen=True, slots=True, kw_only=True)
class Elements:
    """What an element of a matrix holds.

    ``bits`` of a factor: 8..32 of integers and fixed-point numbers (two's complement, in units of
    ``2**-fraction``, ``fraction`` 0..bits - 1), 16 of ``bfloat16``, 32 of ``float32``. A sum has
    ``accumulator`` bits: from a product's (2 ``bits``) to 64, 32 of floats. Rows and columns have
    ``index_bits``, 8..32.
    """

    kind: ValueKind = ValueKind.INTEGER
    bits: int = 16
    fraction: int = 0
    accumulator: int = 48
    index_bits: int = 16

    def __post_init__(self) -> None:
        if not isinstance(self.kind, ValueKind):
            raise TypeError(f"kind must be a ValueKind, not {self.kind!r}")
        if self.kind.floating:
            check_range("bits", self.bits, _FLOAT_BITS[self.kind], _FLOAT_BITS[self.kind])
            check_range("accumulator", self.accumulator, 32, 32)
        else:
            check_range("bits", self.bits, 8, 32)
            check_range("accumulator", self.accumulator, 2 * self.bits, 64)
        most = self.bits - 1 if self.kind is ValueKind.FIXED else 0
        check_range("fraction", self.fraction, 0, most)
        check_range("index_bits", self.index_bits, 8, 32)

    @property
    def key_bits(self) -> int:
        """Bits of a key: (row, column), the row in the upper half."""
        return 2 * self.index_bits


@dataclass(frozen=True, slots=True, kw_only=True)
class Merger:
    """A comparator array of ``width`` (2, 4, 8 or 16) elements of each side.

    ``chunk``, a divisor, is the width of the arrays on the lower level of a hierarchical one;
    ``width`` itself is the flat array.
    """

    width: int
    chunk: int

    def __post_init__(self) -> None:
        _check_power("width", self.width, 2, 16)
        check_range("chunk", self.chunk, 1, self.width)
        if self.width % self.chunk:
            raise ValueError(f"chunk must divide the width, {self.width}, not {self.chunk!r}")

    @property
    def flat(self) -> bool:
        """Whether there is one level."""
        return self.chunk == self.width


@dataclass(frozen=True, slots=True, kw_only=True)
class MergeTree:
    """A binary tree of ``ways`` leaves (2..64, a power of two), one merger for each layer.

    ``leaf_fifo`` and ``node_fifo``, powers of two, are the elements that wait at each leaf and at
    the output of each other node.
    """

    ways: int
    leaf_fifo: int
    node_fifo: int

    def __post_init__(self) -> None:
        _check_power("ways", self.ways, 2, 64)
        _check_power("leaf_fifo", self.leaf_fifo, 4, 4096)
        _check_power("node_fifo", self.node_fifo, 4, 4096)

    @property
    def layers(self) -> int:
        """Layers of mergers."""
        return self.ways.bit_length() - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class RightBuffer:
    """Where rows of the right matrix wait, and what multiplies them.

    ``lines`` (4..4096) of ``line_beats`` (1..64) beats; up to ``look_ahead`` (1..lines - 2) work
    records between the fetch of a line and its use; ``groups`` (1, 2, 4 or 8) of ``multipliers``
    each, a power of two. Leaf k of the merge tree is fed by group k mod ``groups``.
    """

    lines: int
    line_beats: int
    look_ahead: int
    multipliers: int
    groups: int = 1

    def __post_init__(self) -> None:
        check_range("lines", self.lines, 4, 4096)
        check_range("line_beats", self.line_beats, 1, 64)
        check_range("look_ahead", self.look_ahead, 1, self.lines - 2)
        _check_power("multipliers", self.multipliers, 1, 16)
        _check_power("groups", self.groups, 1, 8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Partials:
    """Partial matrices: up to ``alive`` (2..4096) at a time; and what writes them and the product.

    ``writer_beats`` (1..1024), a power of two, is what waits for its burst in each writer; of the
    product it takes up to ``writer_rows`` (1..8) rows a cycle.
    """

    alive: int
    writer_beats: int
    writer_rows: int = 1

    def __post_init__(self) -> None:
        check_range("alive", self.alive, 2, 4096)
        _check_power("writer_beats", self.writer_beats, 1, 1024)
        check_range("writer_rows", self.writer_rows, 1, 8)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkGrains:
    """Grains of the parts of a work record in memory; :class:`WorkLayout` has what they say."""

    head: int
    value: int
    row: int
    address: int

    @property
    def array(self) -> np.ndarray:
        """All of them, int64 (4,)."""
        return np.array([self.head, self.value, self.row, self.address], np.int64)

    @property
    def most(self) -> int:
        """Grains of the longest record."""
        return self.head + self.value + self.row + self.address


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkLayout:
    """Bits of what a work record says, in order from bit 0 as it goes through the engine."""

    value: int
    row: int
    leaf: int
    slot: int
    first: int
    count: int
    fetches: int
    last: int
    address: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SparchAccelerator:
    """One SpArch engine."""

    name: str
    elements: Elements
    merger: Merger
    tree: MergeTree
    right: RightBuffer
    partials: Partials
    bus: Bus

    def __post_init__(self) -> None:
        check_accelerator_name(self.name)
        kinds = {
            "elements": Elements, "merger": Merger, "tree": MergeTree, "right": RightBuffer,
            "partials": Partials, "bus": Bus,
        }  # fmt: skip
        for field, kind in kinds.items():
            if not isinstance(getattr(self, field), kind):
                raise TypeError(
                    f"{field} must be of type {kind.__name__}, not {getattr(self, field)!r}"
                )
        self._check_beats()
        self._check_fifos()

    def _check_beats(self) -> None:
        beat = self.bus.data_bits
        records = {
            "a work record": self.grains.most * GRAIN_BITS,
            "an element of the right matrix": self.right_bits,
            "an element of a partial matrix": self.partial_bits,
            "an element of the output": self.output_bits,
        }
        for what, bits in records.items():
            if bits > beat:
                raise ValueError(
                    f"{what} has {bits} bits and must fit a beat of {beat}: choose a wider bus or "
                    "narrower elements"
                )
        most = min(self.merger.width, self.right_lanes)
        if self.right.multipliers > most:
            raise ValueError(
                f"multipliers must be at most {most}: the merger takes {self.merger.width} a cycle "
                f"and a beat holds {self.right_lanes} elements, not {self.right.multipliers!r}"
            )
        if self.right.groups > self.tree.ways:
            raise ValueError(
                f"groups must be at most the ways of the tree, {self.tree.ways}: each feeds leaves "
                f"of its own, not {self.right.groups!r}"
            )
        if self.partials.writer_rows > self.pointer_lanes:
            raise ValueError(
                f"writer_rows must be at most {self.pointer_lanes}, the row pointers in a beat, "
                f"not {self.partials.writer_rows!r}"
            )

    def _check_fifos(self) -> None:
        least = 2 * self.merger.width
        if self.tree.node_fifo < least:
            raise ValueError(
                f"node_fifo must hold two windows of the merger, {least}, "
                f"not {self.tree.node_fifo!r}"
            )
        # The last of a line goes in where there is room for all that is multiplied in a cycle.
        least = max(least, self.line_elements + self.right.multipliers - 1)
        if self.tree.leaf_fifo < least:
            raise ValueError(
                "leaf_fifo must hold two windows of the merger, and a line of the buffer with all "
                f"but one of the products of a cycle, {least}, not {self.tree.leaf_fifo!r}"
            )

    @property
    def products(self) -> int:
        """Products a cycle."""
        return self.right.groups * self.right.multipliers

    @property
    def right_bits(self) -> int:
        """Bits of an element of the right matrix in memory: a power of two."""
        return 1 << (self.elements.index_bits + self.elements.bits - 1).bit_length()

    @property
    def right_lanes(self) -> int:
        """Elements of the right matrix in a beat."""
        return self.bus.data_bits // self.right_bits

    @property
    def line_elements(self) -> int:
        """Elements of the right matrix in a line of the buffer."""
        return self.right.line_beats * self.right_lanes

    @property
    def buffer_beats(self) -> int:
        """Beats of the right matrix that the buffer holds."""
        return self.right.lines * self.right.line_beats

    @property
    def pinned(self) -> int:
        """Work records for which beats stay in the buffer after their use."""
        return self.right.look_ahead + 1

    @property
    def packs(self) -> bool:
        """Whether the buffer has room to hold rows beat by beat, whatever must stay in it."""
        return self.right.lines >= 2 * (self.pinned + 1)

    @property
    def partial_bits(self) -> int:
        """Bits of an element of a partial matrix in memory."""
        return self.elements.key_bits + self.elements.accumulator

    @property
    def partial_lanes(self) -> int:
        """Elements of a partial matrix in a beat."""
        return min(self.bus.data_bits // self.partial_bits, self.merger.width)

    @property
    def partial_burst(self) -> int:
        """Most beats of a burst that reads a partial matrix: half a leaf's FIFO, a power of two."""
        beats = max(1, self.tree.leaf_fifo // (2 * self.partial_lanes))
        return min(self.bus.burst_beats, 1 << (beats.bit_length() - 1))

    @property
    def output_bits(self) -> int:
        """Bits of an element of the output in memory."""
        return self.elements.index_bits + self.elements.accumulator

    @property
    def output_lanes(self) -> int:
        """Elements of the output in a beat."""
        return min(self.bus.data_bits // self.output_bits, self.merger.width)

    @property
    def pointer_lanes(self) -> int:
        """Row pointers of the output in a beat."""
        return self.bus.data_bits // POINTER_BITS

    @property
    def work(self) -> WorkLayout:
        """The layout of a work record."""
        return WorkLayout(
            value=self.elements.bits,
            row=self.elements.index_bits,
            leaf=_index_bits(self.tree.ways),
            slot=_index_bits(self.buffer_beats),
            first=_index_bits(self.right_lanes),
            count=_index_bits(self.line_elements),
            fetches=1,
            last=1,
            address=ADDRESS_BITS,
        )

    @property
    def grains(self) -> WorkGrains:
        """The grains of a work record's parts in memory."""
        work = self.work
        head = 4 + work.leaf + work.slot + work.first + work.count
        return WorkGrains(
            head=-(-head // GRAIN_BITS),
            value=-(-work.value // GRAIN_BITS),
            row=-(-work.row // GRAIN_BITS),
            address=-(-work.address // GRAIN_BITS),
        )

    @property
    def beat_grains(self) -> int:
        """Grains in a beat."""
        return self.bus.data_bits // GRAIN_BITS
