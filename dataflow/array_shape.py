"""The description of a dense array: columns, lanes, pixels, and what the columns are made of.

It is the part of :class:`celosia.dataflow.accelerator.Accelerator` that multiplies.
"""

from __future__ import annotations

import enum
import functools
import math
from dataclasses import dataclass

from celosia.dataflow.checks import check_range
from celosia.models.formats import (
    BlockScaling,
    Element,
    Fixed,
    Format,
    check_elements,
    element_formats,
    element_of,
)
from celosia.models.network import MAX_ACCUMULATOR_BITS, MAX_ACTIVATION_BITS, MAX_WIDE_BITS
from celosia.models.operations import MULTIPLY, Operation
from celosia.models.vectors import vector_limit

MAX_COLUMNS = 1024
MAX_LANES = 256
MAX_PIXELS = 64
MAX_WEIGHT_BITS = 16
MAX_SUM_BITS = 32
"""Widest dot product of a column that is not precision-scalable."""
MAX_DEPTH = 65536
"""Deepest buffer, in words: buffer addresses have 16 bits."""
MAX_WINDOW = 16
"""Most rows and columns of a depthwise array's windows."""


class Circuit(enum.Enum):
    """What the products of a column are made of. It never changes bits.

    Precision-scalable circuits take several passes for a word, fewer for narrower operands:
    :mod:`celosia.dataflow.precision`. The others change area, never cycles.
    """

    LANES = "lanes"
    """One multiplier for each lane and pixel, of the format; synthesis maps it."""
    LUTS = "luts"
    """The same, of look-up tables alone: fixed-point products are sums of recoded rows."""
    DSP = "dsp"
    """Fixed-point products that share DSP48E2 blocks, see :mod:`celosia.dataflow.dsp`."""
    TILE = "tile"
    """Precision-scalable: 4 activation bits x 1 weight bit a lane ("2-in-1", MICRO 2021)."""
    FUSION = "fusion"
    """Precision-scalable: 2 x 2-bit bricks that 16 lanes share ("Bit Fusion", ISCA 2018)."""
    SERIAL = "serial"
    """Precision-scalable: a weight x 1 activation bit a lane ("Stripes", MICRO 2016)."""

    @property
    def scalable(self) -> bool:
        """Whether columns of this circuit are precision-scalable."""
        return self in _SCALABLE

    @property
    def prefix(self) -> str:
        """What names of modules made of it begin with."""
        return "" if self is Circuit.LANES else f"{self.value}_"

    def serves(self, weight_format: Format) -> bool:
        """Whether weights of ``weight_format`` can be multiplied by this circuit."""
        return self in (Circuit.LANES, Circuit.LUTS) or isinstance(weight_format, Fixed)


_SCALABLE = (Circuit.TILE, Circuit.FUSION, Circuit.SERIAL)


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnGroup:
    """``count`` columns of the array for weights of ``format``, made of ``circuit``.

    ``format`` has at most 16 bits, the values 0 and 1 (of which copies and pooling are made)
    and, as weights are signed, negative ones. In a column of a precision-scalable circuit it is
    fixed point, and how weights are stored: a layer's own may be narrower. ``operation`` is what
    the lanes do; only multiplication has a choice of circuits.
    """

    format: Format
    count: int
    circuit: Circuit = Circuit.LANES
    operation: Operation = MULTIPLY

    def __post_init__(self) -> None:
        if not isinstance(self.format, Format):
            raise TypeError(f"format must be a Format, not {self.format!r}")
        if self.format.bits > MAX_WEIGHT_BITS:
            raise ValueError(
                f"format must have at most {MAX_WEIGHT_BITS} bits, not {self.format.name}"
            )
        if self.format.low >= 0:
            raise ValueError(f"format must have negative values: {self.format.name} has none")
        if not {0, 1} <= set(self.format.values.tolist()):
            raise ValueError(
                f"format must have the values 0 and 1 (copies and pooling are made of them): "
                f"{self.format.name} has not"
            )
        check_range("count", self.count, 1, MAX_COLUMNS)
        if not isinstance(self.circuit, Circuit):
            raise TypeError(f"circuit must be a Circuit, not {self.circuit!r}")
        if not self.circuit.serves(self.format):
            raise ValueError(
                f"format of a {self.circuit.value} column must be fixed point, "
                f"not {self.format.name}"
            )
        if not isinstance(self.operation, Operation):
            raise TypeError(f"operation must be an Operation, not {self.operation!r}")
        self.operation.check_format(self.format)
        if self.operation != MULTIPLY and self.circuit is not Circuit.LANES:
            raise ValueError(
                f"circuit must be {Circuit.LANES.value} for operation {self.operation.name}, "
                f"not {self.circuit.value}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Depthwise:
    """What gives each column the window of its own channel, for depthwise convolutions.

    Attributes
    ----------
    rows, columns : int
        Of the window, 1..16: positions of a kernel that one step multiplies, each in a lane of
        its own. Wider kernels are not run so, higher ones take a step for each ``rows`` rows.
    width : int
        Words of a line, 2..65536: the longest row of input words that a tile may have.
    """

    rows: int
    columns: int
    width: int

    def __post_init__(self) -> None:
        check_range("rows", self.rows, 1, MAX_WINDOW)
        check_range("columns", self.columns, 2, MAX_WINDOW)
        check_range("width", self.width, 2, MAX_DEPTH)

    @property
    def positions(self) -> int:
        """Positions of the window."""
        return self.rows * self.columns


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayShape:
    """The array: ``K`` columns x ``lanes`` (reduction) x ``pixels`` that share weights.

    ``accumulator_bits`` 16..44, ``activation_bits`` 1..16 (storage width of one activation).
    Each choice of format, circuit and operation has one column group. With ``scaling``, each run
    of ``scaling.vector`` lanes of a column, or all where there are fewer, has a scale in every
    weight word; the vector divides the lanes or is a multiple of them. With ``elements``
    activations may have scales too: of each ``scaling.vector`` lanes, which then divide the post
    lanes, with elements of that format and, where it has none, of the same with a sign.
    Precision-scalable columns take a step together, so all
    are of one circuit, and have no scales. Tiles need lanes that are a power of two and at least
    4, fusion units a multiple of 16. With ``depthwise`` a column may take the window of its own
    channel instead of the word that all share; columns then multiply, are not precision-scalable
    and have no scales.
    """

    columns: tuple[ColumnGroup, ...]
    lanes: int
    pixels: int
    accumulator_bits: int = 32
    activation_bits: int = 8
    scaling: BlockScaling | None = None
    elements: Element | None = None
    depthwise: Depthwise | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.columns, tuple) or not self.columns:
            raise ValueError(f"columns must be a tuple of column groups, not {self.columns!r}")
        for group in self.columns:
            if not isinstance(group, ColumnGroup):
                raise TypeError(f"columns must hold ColumnGroup values, not {group!r}")
        names = [
            (group.format.name, group.circuit.value, group.operation.name) for group in self.columns
        ]
        if len(set(names)) != len(names):
            raise ValueError(
                f"columns must name each format, circuit and operation once, not {names!r}"
            )
        check_range("columns (their total count)", self.column_count, 1, MAX_COLUMNS)
        check_range("lanes", self.lanes, 1, MAX_LANES)
        check_range("pixels", self.pixels, 1, MAX_PIXELS)
        check_range("accumulator_bits", self.accumulator_bits, 16, MAX_ACCUMULATOR_BITS)
        check_range("activation_bits", self.activation_bits, 1, MAX_ACTIVATION_BITS)
        self._check_circuits()
        if self.scaling is not None:
            self._check_scaling(self.scaling)
        elif self.elements is not None:
            raise ValueError(f"elements must be None without scaling, not {self.elements!r}")
        if self.depthwise is not None:
            self._check_depthwise(self.depthwise)

    def _check_depthwise(self, depthwise: Depthwise) -> None:
        if not isinstance(depthwise, Depthwise):
            raise TypeError(f"depthwise must be a Depthwise or None, not {depthwise!r}")
        if depthwise.positions > self.lanes:
            raise ValueError(
                f"depthwise.rows and depthwise.columns must have a product of at most the "
                f"{self.lanes} lanes, not {depthwise.rows!r} x {depthwise.columns!r}"
            )
        if self.scalable is not None:
            raise ValueError(
                f"depthwise must be None: {self.scalable.value} columns take several passes for a "
                "word, windows one"
            )
        if self.scaling is not None:
            raise ValueError("depthwise must be None with scaling: windows have no scales")
        for group in self.columns:
            if group.operation != MULTIPLY:
                raise ValueError(
                    f"depthwise must be None beside columns of operation {group.operation.name}: "
                    "the lanes outside of a window would have to do nothing"
                )

    def _check_scaling(self, scaling: BlockScaling) -> None:
        if not isinstance(scaling, BlockScaling):
            raise TypeError(f"scaling must be a BlockScaling or None, not {scaling!r}")
        if self.lanes % scaling.vector and scaling.vector % self.lanes:
            raise ValueError(
                f"scaling.vector must divide the {self.lanes} lanes or be a multiple of them, "
                f"not {scaling.vector!r}"
            )
        for group in self.columns:
            if group.operation != MULTIPLY:
                raise ValueError(
                    f"scaling must be None beside columns of operation {group.operation.name}: "
                    "only products have scales"
                )
        if self.elements is None:
            return
        check_elements(self.elements)
        if self.elements.bits > self.activation_bits:
            raise ValueError(
                f"elements must have at most the {self.activation_bits} bits of an activation, "
                f"not {self.elements.name}"
            )
        if scaling.vector > self.lanes:
            raise ValueError(
                f"scaling.vector must divide the {self.lanes} lanes where activations have scales "
                f"(elements), not {scaling.vector!r}"
            )
        if self.wide_bits > MAX_WIDE_BITS:
            raise ValueError(
                f"elements of {self.elements.name} with {scaling.scale.name} need wide values "
                f"of {self.wide_bits} bits, at most {MAX_WIDE_BITS} are allowed"
            )

    @property
    def activation_scale_bits(self) -> int:
        """Bits of the scales in an activation word."""
        if self.scaling is None or self.elements is None:
            return 0
        return self.vectors * self.scaling.scale.bits

    @property
    def wide_bits(self) -> int:
        """Bits, signed, of a requantised value: that of 8-bit activations or a wider one."""
        plain = max(8, self.activation_bits)
        if self.scaling is None or self.elements is None:
            return plain + 1
        return max(plain, self.vector_limit(is_signed=False).bit_length()) + 1

    @property
    def operand_bits(self) -> int:
        """Bits, signed, of what lanes multiply: any activation, or an element's value."""
        known = () if self.elements is None else element_formats(self.elements)
        return max(self.activation_bits, *(fmt.high.bit_length() for fmt in known), 0) + 1

    def element(self, *, is_signed: bool) -> Element:
        """Return the format of elements of tensors with a sign or without."""
        if self.elements is None:
            raise ValueError("activations have no scales: elements is None")
        return element_of(self.elements, signed=is_signed)

    def vector_limit(self, *, is_signed: bool) -> int:
        """Return the largest magnitude of a value that becomes an element and a scale."""
        if self.scaling is None:
            raise ValueError("activations have no scales: scaling is None")
        return vector_limit(self.element(is_signed=is_signed), self.scaling)

    @property
    def vector_lanes(self) -> int:
        """Lanes of a column that share a scale; all of them without scales."""
        return self.lanes if self.scaling is None else min(self.lanes, self.scaling.vector)

    @property
    def vectors(self) -> int:
        """Scales of a column in a weight word: runs of ``vector_lanes`` lanes, with scales."""
        return 0 if self.scaling is None else self.lanes // self.vector_lanes

    def column_widths(self, fmt: Format) -> tuple[int, ...]:
        """Return the bits of each field of a column of ``fmt`` in a weight word: codes, scales."""
        scale_bits = 0 if self.scaling is None else self.scaling.scale.bits
        return (fmt.bits,) * self.lanes + (scale_bits,) * self.vectors

    def _check_circuits(self) -> None:
        circuit, lanes = self.scalable, self.lanes
        if circuit is None:
            self._check_sums()
            return
        if any(group.circuit is not circuit for group in self.columns):
            raise ValueError(
                f"columns must all be of one circuit where one is {circuit.value}: what is "
                "precision-scalable takes several passes for a step"
            )
        if self.scaling is not None:
            raise ValueError(f"scaling must be None: {circuit.value} columns have no scales")
        if circuit is Circuit.TILE and (lanes < 4 or lanes & (lanes - 1)):
            raise ValueError(f"lanes of tile columns must be 4, 8, 16, ..., not {lanes!r}")
        if circuit is Circuit.FUSION and lanes % 16:
            raise ValueError(f"lanes of fusion columns must be a multiple of 16, not {lanes!r}")

    def _check_sums(self) -> None:
        for group in self.columns:
            magnitude = max(-group.format.low, group.format.high) << self.operand_bits - 1
            bits = magnitude.bit_length() + 1 + (self.lanes - 1).bit_length()
            if bits > MAX_SUM_BITS:
                raise ValueError(
                    f"columns of {group.format.name} with {self.lanes} lanes and "
                    f"{self.operand_bits - 1}-bit activations have sums of {bits} bits, more than "
                    f"{MAX_SUM_BITS}: give them fewer lanes, fewer activation_bits, or a "
                    "precision-scalable circuit"
                )

    @property
    def scalable(self) -> Circuit | None:
        """The precision-scalable circuit of the columns, ``None`` where they are of another."""
        found = [group.circuit for group in self.columns if group.circuit.scalable]
        return found[0] if found else None

    @property
    def column_formats(self) -> tuple[Format, ...]:
        """The format of each column; see :attr:`column_groups`."""
        return tuple(group.format for group in self.column_groups)

    @property
    def column_groups(self) -> tuple[ColumnGroup, ...]:
        """The group of each column, groups interleaved evenly.

        Column ``i`` goes to the group that lags most behind its share, so any
        leading part of the columns holds the groups in nearly their proportion
        and a layer with few output channels still finds all formats in few words.
        """
        order = _interleaved(tuple(group.count for group in self.columns))
        return tuple(self.columns[index] for index in order)

    @property
    def first_lanes(self) -> tuple[int, ...]:
        """The lanes in which a channel tile's first column may have its own channel."""
        step = math.gcd(self.column_count, self.lanes)
        return tuple(range(0, self.lanes, step))

    @property
    def column_count(self) -> int:
        """``K``: number of columns."""
        return sum(group.count for group in self.columns)

    @property
    def products(self) -> int:
        """Products a cycle: ``K x lanes x pixels``."""
        return self.column_count * self.lanes * self.pixels


@functools.cache
def _interleaved(counts: tuple[int, ...]) -> tuple[int, ...]:
    """Return which group each column is of, see :attr:`ArrayShape.column_groups`."""
    total = sum(counts)
    placed = [0] * len(counts)
    order: list[int] = []
    for position in range(1, total + 1):
        lag = [
            count * position / total - done if done < count else -math.inf
            for count, done in zip(counts, placed, strict=True)
        ]
        chosen = lag.index(max(lag))
        placed[chosen] += 1
        order.append(chosen)
    return tuple(order)
