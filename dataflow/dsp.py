"""How products share a DSP48E2: which operands lie side by side, and how many lanes add up in it.

A DSP48E2 multiplies 27 bits by 18 and adds to 48 bits (AMD UG579). Operands that lie ``field_bits``
apart in one factor give products that lie as far apart, as in AMD's WP486 and WP521; the room
between a product's bits and the next field lets a chain of DSPs add several lanes before the fields
are taken apart.
"""

from __future__ import annotations

from dataclasses import dataclass

from celosia.dataflow.array_shape import ArrayShape, Circuit, ColumnGroup
from celosia.dataflow.microarchitecture import tree_levels
from celosia.models.formats import Format

WIDE_BITS = 27
"""Bits of the factor with the adder in front: operands lie in it side by side at no cost."""

NARROW_BITS = 18
"""Bits of the other factor: a second operand in it takes a borrow from the first."""

SUM_BITS = 48
"""Bits of the sum."""

SHAPES = ((1, 1), (1, 2), (1, 3), (2, 1), (3, 1), (2, 2))
"""Columns and pixels whose products may share a DSP. More of fixed2 and up do not fit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DspPacking:
    """``columns x pixels`` products of one lane in a DSP, each in a field of ``field_bits``.

    Up to ``chain`` lanes add up in DSPs one after another before a field overflows. The field of
    column c and pixel p begins at bit ``(p * columns + c) * field_bits``.
    """

    columns: int
    pixels: int
    field_bits: int
    chain: int

    @property
    def products(self) -> int:
        """Products of a DSP."""
        return self.columns * self.pixels

    @property
    def wide_activations(self) -> bool:
        """Whether activations lie in the wide factor; weights do where they alone are packed."""
        return self.pixels > 1 or self.columns == 1

    @property
    def wide_spacing(self) -> int:
        """Bits from one operand to the next in the wide factor."""
        both = self.columns > 1 and self.pixels > 1
        return self.field_bits * (self.columns if both else 1)

    def dsps(self, *, lanes: int, pixels: int) -> int:
        """DSPs of ``columns`` columns of ``lanes`` lanes and ``pixels`` pixels."""
        return lanes * -(-pixels // self.pixels)


def _field_bits(columns: int, pixels: int, weight_bits: int, activation_bits: int) -> int:
    """Return the widest field that both factors and the sum have room for, 0 or less if none.

    Side by side, weights need one bit more: the fields below make the lowest still lower.
    Activations have it, as theirs are no lower than those of one bit less.
    """
    if columns * pixels == 1:
        return SUM_BITS
    room = [SUM_BITS // (columns * pixels)]
    if pixels > 1:
        room.append((WIDE_BITS - activation_bits) // ((pixels - 1) * columns))
    if columns > 1:
        factor = NARROW_BITS if pixels > 1 else WIDE_BITS
        room.append((factor - weight_bits - 1) // (columns - 1))
    return min(room)


def dsp_packings(weight_format: Format, activation_bits: int) -> tuple[DspPacking, ...]:
    """Return all packings of products of ``weight_format``, each with fields as wide as can be.

    Parameters
    ----------
    weight_format : Format
        Fixed point, signed.
    activation_bits : int
        Bits of an activation with its sign bit; its values are those of one bit less, signed or
        not, so the lowest is ``-2**(activation_bits - 2)``.
    """
    least, most = -(1 << activation_bits - 2), (1 << activation_bits - 1) - 1
    low, high = weight_format.low, weight_format.high
    products = [a * w for a in (least, most) for w in (low, high)]
    found = []
    for columns, pixels in SHAPES:
        bits = _field_bits(columns, pixels, weight_format.bits, activation_bits)
        if bits < 2:
            continue
        half = 1 << bits - 1
        chain = min(half // -min(products), (half - 1) // max(products))
        if chain:
            found.append(DspPacking(columns=columns, pixels=pixels, field_bits=bits, chain=chain))
    return tuple(found)


def dsp_packing(
    weight_format: Format, activation_bits: int, *, columns: int, pixels: int, lanes: int
) -> DspPacking:
    """Return the packing with the fewest DSPs a product; of equal ones that with the fewest chains.

    Parameters
    ----------
    weight_format, activation_bits
        As for :func:`dsp_packings`.
    columns : int
        Columns that may be put together.
    pixels : int
        Pixels of a column.
    lanes : int
        Lanes of a column.
    """

    def cost(packing: DspPacking) -> tuple[float, int, int]:
        dsps = packing.dsps(lanes=lanes, pixels=pixels)
        return dsps / packing.columns, -(-lanes // packing.chain), packing.columns

    packings = dsp_packings(weight_format, activation_bits)
    return min((packing for packing in packings if packing.columns <= columns), key=cost)


MAX_DELAY = 2
"""Registers that the block has in front of its multiplication."""

HOPS = 4
"""DSPs of a chain that add up in one clock cycle; longer chains have registers between."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How ``stages`` registers are spent on ``chains`` of DSPs and the tree behind them.

    ``product_register`` of every DSP; then ``segments`` of a chain, each of up to ``segment``
    DSPs with a register behind, whose operands come a cycle later than those of the segment
    before; then ``tree`` registers among the tree's adders.
    """

    chains: tuple[range, ...]
    product_register: bool
    segment: int
    segments: int
    tree: int

    @classmethod
    def of(cls, lanes: int, chain: int) -> Schedule:
        """Return the schedule for ``lanes`` of which up to ``chain`` add up in a chain."""
        stages = len(tree_levels(lanes))
        product_register = stages > 1
        rest = stages - product_register
        longest = min(chain, lanes, HOPS * min(rest, MAX_DELAY + 1))
        count = -(-lanes // longest)
        length = -(-lanes // count)
        segments = -(-length // HOPS)
        return cls(
            chains=tuple(
                range(start, min(start + length, lanes)) for start in range(0, lanes, length)
            ),
            product_register=product_register,
            segment=-(-length // segments),
            segments=segments,
            tree=rest - segments,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnUnit:
    """Columns of one group that share DSPs: their ``positions`` in the array, ascending."""

    group: ColumnGroup
    positions: tuple[int, ...]


def column_units(array: ArrayShape) -> tuple[ColumnUnit, ...]:
    """Return the array's columns, those that share DSPs together, by their first position."""
    units = []
    for group in array.columns:
        places = [n for n, other in enumerate(array.column_groups) if other == group]
        while places:
            together = _columns_together(array, group, len(places))
            units.append(ColumnUnit(group=group, positions=tuple(places[:together])))
            places = places[together:]
    return tuple(sorted(units, key=lambda unit: unit.positions))


def _columns_together(array: ArrayShape, group: ColumnGroup, left: int) -> int:
    """Return how many of the ``left`` columns share DSPs.

    Those with scales share none, nor do those that may have activations of their own.
    """
    alone = array.scaling is not None or array.depthwise is not None
    if group.circuit is not Circuit.DSP or alone:
        return 1
    return dsp_packing(
        group.format,
        array.operand_bits,
        columns=left,
        pixels=array.pixels,
        lanes=array.lanes,
    ).columns
