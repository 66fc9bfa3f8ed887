from __future__ import annotations

from celosia.dataflow.energy import load_energy_table
from celosia.dataflow.mapping import WEIGHT_STATIONARY_ARRAY, Dimension, tiled
from celosia.dataflow.memory import DDR4
from celosia.dataflow.presets import preset
from celosia.dataflow.search import Pricer
from celosia.dataflow.search.moves import moves, simplified

from .builders import Build, same


def plan(samples: int = 1):
    build = Build()
    build.conv(build.input((16, 12, 12)), 24, same(3))
    pricer = Pricer(build.network(), preset("small"), DDR4, load_energy_table("cmos45"), samples)
    return pricer.plans[0]


def test_loops_of_one_iteration_go() -> None:
    mapping = tiled(
        ((Dimension.OY, 12), (Dimension.K, 2), (Dimension.OX, 5), (Dimension.K, 1)),
    )
    kept = simplified(plan(), mapping).loops
    assert [(loop.dimension, loop.step) for loop in kept] == [
        (Dimension.K, 2), (Dimension.OX, 5), (Dimension.K, 1),
    ]  # fmt: skip


def test_moves_reach_sizes_places_and_orders() -> None:
    mapping = tiled(((Dimension.OY, 4), (Dimension.K, 1)))
    found = list(moves(plan(), mapping, array=True))
    assert mapping not in found
    for order in (
        ((Dimension.OY, 8), (Dimension.K, 1)),
        ((Dimension.OY, 3), (Dimension.K, 1)),
        ((Dimension.K, 1),),
        ((Dimension.OY, 4),),
        ((Dimension.OY, 4), (Dimension.K, 2)),
        ((Dimension.K, 1), (Dimension.OY, 4)),
        ((Dimension.OY, 4), (Dimension.OX, 6), (Dimension.K, 1)),
        ((Dimension.OY, 4), (Dimension.K, 1), (Dimension.C, 1)),
        ((Dimension.FX, 2), (Dimension.OY, 4), (Dimension.K, 1)),
    ):
        assert tiled(order) in found
    assert tiled(((Dimension.OY, 4), (Dimension.K, 1)), WEIGHT_STATIONARY_ARRAY) in found
    assert all(each.array == mapping.array for each in moves(plan(), mapping, array=False))


def test_moves_take_samples_inside_other_loops() -> None:
    batch = plan(samples=4)
    mapping = tiled(((Dimension.OY, 4), (Dimension.K, 1)))
    found = list(moves(batch, mapping, array=False))
    inside = tiled(((Dimension.OY, 4), (Dimension.K, 1), (Dimension.N, 1)))
    assert inside in found
    assert tiled(((Dimension.OY, 4), (Dimension.N, 1), (Dimension.K, 1))) in found
    assert inside not in moves(plan(), mapping, array=False)
    assert simplified(batch, inside) == inside
    outside = tiled(((Dimension.N, 1), (Dimension.OY, 4), (Dimension.K, 1)))
    assert outside in moves(batch, inside, array=False)
    assert simplified(batch, outside) == mapping
