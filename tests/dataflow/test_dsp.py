"""Which products share a DSP, and which columns."""

from __future__ import annotations

import itertools

import pytest

from celosia.dataflow.array_shape import ArrayShape, Circuit, ColumnGroup
from celosia.dataflow.dsp import (
    NARROW_BITS,
    SUM_BITS,
    WIDE_BITS,
    DspPacking,
    column_units,
    dsp_packing,
    dsp_packings,
)
from celosia.models.formats import Fixed, Pot, Sp2, parse_format

CASES = list(itertools.product(range(2, 9), range(1, 9)))


def extremes(bits: int, activation_bits: int) -> list[int]:
    """Products of the extreme weights and of activations, unsigned or signed."""
    activations = (-(1 << activation_bits - 1), (1 << activation_bits) - 1)
    return [w * a for w in (-(1 << bits - 1), (1 << bits - 1) - 1) for a in activations]


@pytest.mark.parametrize(("bits", "activation_bits"), CASES)
def test_fields_hold_their_sums(bits: int, activation_bits: int) -> None:
    found = dsp_packings(Fixed(bits=bits), activation_bits + 1)
    assert found[0].products == 1
    for packing in found:
        half = 1 << packing.field_bits - 1
        sums = [packing.chain * product for product in extremes(bits, activation_bits)]
        assert -half <= min(sums)
        assert max(sums) < half
        longer = [(packing.chain + 1) * product for product in extremes(bits, activation_bits)]
        assert min(longer) < -half or max(longer) >= half
        assert packing.field_bits * packing.products <= SUM_BITS


@pytest.mark.parametrize(("bits", "activation_bits"), CASES)
def test_factors_hold_their_operands(bits: int, activation_bits: int) -> None:
    """The packed factors at their extremes are numbers of 27 and 18 bits."""
    weights = (-(1 << bits - 1), (1 << bits - 1) - 1)
    activations = (-(1 << activation_bits - 1), (1 << activation_bits) - 1)
    for packing in dsp_packings(Fixed(bits=bits), activation_bits + 1):
        wide, narrow, in_wide, in_narrow = activations, weights, packing.pixels, packing.columns
        if not packing.wide_activations:
            wide, narrow, in_wide, in_narrow = weights, activations, packing.columns, 1
        for values, count, spacing, limit in (
            (wide, in_wide, packing.wide_spacing, WIDE_BITS),
            (narrow, in_narrow, packing.field_bits, NARROW_BITS),
        ):
            factor = [sum(value << n * spacing for n in range(count)) for value in values]
            assert -(1 << limit - 1) <= factor[0]
            assert factor[1] < 1 << limit - 1


def test_published_packings() -> None:
    """WP486's two 8-bit products and WP521's four 4-bit ones, with room to add up lanes."""
    two = dsp_packing(Fixed(bits=8), 9, columns=1, pixels=2, lanes=16)
    assert two == DspPacking(columns=1, pixels=2, field_bits=18, chain=4)
    four = dsp_packing(Fixed(bits=4), 5, columns=2, pixels=2, lanes=16)
    assert four == DspPacking(columns=2, pixels=2, field_bits=11, chain=8)
    three = dsp_packing(Fixed(bits=4), 5, columns=1, pixels=3, lanes=16)
    assert three == DspPacking(columns=1, pixels=3, field_bits=11, chain=8)
    assert dsp_packing(Fixed(bits=4), 5, columns=1, pixels=2, lanes=16).chain > 4096
    assert dsp_packing(Fixed(bits=4), 5, columns=9, pixels=1, lanes=16).products == 3
    assert four.dsps(lanes=16, pixels=3) == 32


def array(columns: dict[str, int], pixels: int) -> ArrayShape:
    return ArrayShape(
        columns=tuple(
            ColumnGroup(format=parse_format(name), count=count, circuit=Circuit.DSP)
            for name, count in columns.items()
        ),
        lanes=4,
        pixels=pixels,
        activation_bits=4,
    )


def test_units() -> None:
    """Columns of a group go together as often as they can, and every column is in one unit."""
    units = column_units(array({"fixed4": 5, "fixed8": 2}, pixels=1))
    assert [(unit.group.format.name, unit.positions) for unit in units] == [
        ("fixed4", (0, 2, 3)), ("fixed8", (1, 5)), ("fixed4", (4, 6)),
    ]  # fmt: skip
    assert [len(unit.positions) for unit in column_units(array({"fixed4": 3}, pixels=2))] == [2, 1]
    assert len(column_units(array({"fixed4": 3}, pixels=3))) == 3


@pytest.mark.parametrize("weights", [Sp2(bits=4), Pot(bits=3)], ids=lambda fmt: fmt.name)
def test_formats_that_dsps_cannot_serve(weights) -> None:
    with pytest.raises(
        ValueError, match=f"of a dsp column must be fixed point, not {weights.name}"
    ):
        ColumnGroup(format=weights, count=1, circuit=Circuit.DSP)
