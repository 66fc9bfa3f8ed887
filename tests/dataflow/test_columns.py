from __future__ import annotations

import itertools

import numpy as np
import pytest

from celosia.dataflow.columns import Ability, ColumnPool, Need, Needs, suitable
from celosia.models.formats import parse_format
from celosia.models.operations import DISTANCE, MULTIPLY, Operation, shift

from .builders import accelerator


def needs(*names: str, operation: Operation = MULTIPLY) -> Needs:
    return frozenset(Need(operation=operation, format=parse_format(name)) for name in names)


def column(name: str, operation: Operation = MULTIPLY) -> Ability:
    return Ability(operation=operation, format=parse_format(name))


def pool(**columns: int) -> ColumnPool:
    return ColumnPool(accelerator(dict(columns), 1, 1).array)


def test_suitable() -> None:
    assert suitable(needs("sp2_4", "fixed4"), column("fixed8"))
    assert not suitable(needs("fixed4"), column("sp2_4"))
    assert suitable(needs(), column("sp2_4"))


def test_columns_do_one_operation() -> None:
    distance = column("fixed8", DISTANCE)
    assert distance.name == "fixed8 (distance)"
    assert suitable(needs("fixed4", operation=DISTANCE), distance)
    assert suitable(frozenset({Need(operation=DISTANCE)}), distance)
    assert suitable(needs(), distance)
    assert not suitable(needs("fixed4"), distance)
    assert not suitable(frozenset({Need()}), distance)
    assert not suitable(needs("pot_5", operation=shift(6)), column("pot_5", shift(5)))
    mixed = ColumnPool(accelerator({"fixed8": 2, "fixed8 distance": 2}, 1, 1).array)
    assert mixed.tiles([needs("fixed8"), needs("fixed8", operation=DISTANCE)] * 2) == 1
    assert mixed.tiles([needs("fixed8", operation=DISTANCE)] * 3) == 2
    assert mixed.tiles([needs("fixed8") | needs("fixed8", operation=DISTANCE)]) is None


def test_tiles_are_the_least_possible() -> None:
    mixed = pool(sp2_4=3, fixed8=5)
    assert mixed.tiles([needs("sp2_4")] * 8) == 1
    assert mixed.tiles([needs("fixed8")] * 6) == 2
    assert mixed.tiles([needs("fixed8")] * 5 + [needs("sp2_4")] * 3) == 1
    assert mixed.tiles([needs("fixed8")] * 5 + [needs("sp2_4")] * 4) == 2
    assert pool(sp2_4=3).tiles([needs("fixed8")]) is None


@pytest.mark.parametrize("seed", range(20))
def test_assignments_are_legal_and_compact(seed: int) -> None:
    random = np.random.default_rng(seed)
    columns = {name: int(random.integers(1, 6)) for name in ("sp2_4", "fixed4", "fixed8")}
    choices = [needs("sp2_4"), needs("fixed4"), needs("fixed8"), needs(), needs("sp2_4", "fixed4")]
    channels = [choices[i] for i in random.integers(0, len(choices), 30)]
    target = pool(**columns)
    positions = target.assign(channels, np.arange(30))
    assert len(set(positions.tolist())) == 30
    assert target.fits(channels, positions)
    tiles = target.tiles(channels)
    assert tiles is not None
    assert positions.max() < tiles * sum(columns.values())


def test_two_classes_against_all_assignments() -> None:
    target = pool(sp2_4=2, fixed8=1)
    for kinds in itertools.product((needs("sp2_4"), needs("fixed8")), repeat=4):
        positions = target.assign(kinds, np.arange(4))
        wide = sum(kind == needs("fixed8") for kind in kinds)
        assert target.tiles(kinds) == max(2, wide)
        assert target.fits(kinds, positions)


def test_order_is_kept_within_a_kind() -> None:
    order = np.array([3, 1, 0, 2])
    positions = pool(fixed8=4).assign([needs()] * 4, order)
    np.testing.assert_array_equal(positions[order], np.arange(4))


def test_a_channel_without_column_wrong() -> None:
    with pytest.raises(ValueError, match="a channel fits no column"):
        pool(sp2_4=2).assign([needs("fixed8")], np.arange(1))
