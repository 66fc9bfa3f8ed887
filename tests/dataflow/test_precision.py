"""Passes of a word against the published tables, and the precision of a layer's weights."""

from __future__ import annotations

from math import ceil

import pytest

from celosia.dataflow.array_shape import ArrayShape, Circuit, ColumnGroup
from celosia.dataflow.precision import Precision, pass_factors, passes, weight_precision
from celosia.models.formats import BlockScaling, Esb, Fixed, IntScale, Sp2

WIDTHS = range(1, 17)


def count(circuit: Circuit, weights: int, activations: int) -> int:
    precision = Precision(weight_bits=weights, activation_bits=activations, weights_signed=True)
    return passes(circuit, precision)


def test_tile_follows_the_formula() -> None:
    for p in WIDTHS:
        n = ceil(p / 4)
        assert count(Circuit.TILE, p, p) == n**2 * ceil(p / n)
    assert [count(Circuit.TILE, w, a) for w, a in ((2, 8), (8, 2), (1, 16), (5, 9))] == [
        4, 8, 4, 18
    ]  # fmt: skip


def test_fusion_multiplies_as_many_words_as_bricks_allow() -> None:
    """16, 4, 1 and 1/4 products a cycle and unit of 16 lanes; mixed widths between them."""
    expected = {1: 1, 2: 1, 3: 4, 4: 4, 5: 16, 8: 16, 9: 64, 16: 64}
    assert {p: count(Circuit.FUSION, p, p) for p in expected} == expected
    assert [count(Circuit.FUSION, w, a) for w, a in ((2, 8), (8, 4), (16, 2))] == [4, 8, 8]


def test_serial_takes_a_pass_a_bit() -> None:
    assert all(count(Circuit.SERIAL, w, a) == a for w in WIDTHS for a in WIDTHS)


@pytest.mark.parametrize(
    ("formats", "expected"),
    [
        (None, (1, False)),
        ((Fixed(bits=5), Fixed(bits=3)), (5, True)),
        ((Fixed(bits=1),), (1, True)),
        ((Fixed(bits=7, signed=False),), (7, False)),
        ((Fixed(bits=7, signed=False), Fixed(bits=2)), (8, True)),
        ((Sp2(bits=4),), (5, True)),
        ((Esb(bits=4, linear=1),), (5, True)),
    ],
)
def test_precision_of_weights(formats: tuple | None, expected: tuple[int, bool]) -> None:
    assert weight_precision(formats) == expected


def test_wrong_precision() -> None:
    with pytest.raises(ValueError, match=r"weight_bits must be in 1\.\.16, not 0"):
        Precision(weight_bits=0, activation_bits=1, weights_signed=True)
    with pytest.raises(ValueError, match=r"activation_bits must be in 1\.\.16, not 17"):
        Precision(weight_bits=1, activation_bits=17, weights_signed=True)
    with pytest.raises(TypeError, match=r"bits must be an integer, not 2\.0"):
        pass_factors(Circuit.TILE, 2.0)  # type: ignore[arg-type]


def shape(lanes: int, *groups: ColumnGroup) -> ArrayShape:
    return ArrayShape(columns=groups, lanes=lanes, pixels=1)


def test_wrong_arrays() -> None:
    tile, plain = (
        ColumnGroup(format=Fixed(bits=8), count=1, circuit=circuit)
        for circuit in (Circuit.TILE, Circuit.LANES)
    )
    with pytest.raises(ValueError, match="columns must all be of one circuit where one is tile"):
        shape(8, tile, plain)
    with pytest.raises(ValueError, match=r"lanes of tile columns must be 4, 8, 16, \.\.\., not 12"):
        shape(12, tile)
    with pytest.raises(ValueError, match="lanes of fusion columns must be a multiple of 16, not 8"):
        shape(8, ColumnGroup(format=Fixed(bits=8), count=1, circuit=Circuit.FUSION))
    scaling = BlockScaling(scale=IntScale(bits=4), vector=8)
    with pytest.raises(ValueError, match="scaling must be None: tile columns have no scales"):
        ArrayShape(columns=(tile,), lanes=8, pixels=1, scaling=scaling)
    group = ColumnGroup(format=Fixed(bits=16), count=1)
    with pytest.raises(ValueError, match=r"columns of fixed16 with 8 lanes .* sums of 36 bits"):
        ArrayShape(columns=(group,), lanes=8, pixels=1, activation_bits=16)
    with pytest.raises(ValueError, match="format of a serial column must be fixed point, not sp2"):
        ColumnGroup(format=Sp2(bits=4), count=1, circuit=Circuit.SERIAL)
    assert shape(8, tile).scalable is Circuit.TILE
    assert shape(8, plain).scalable is None
