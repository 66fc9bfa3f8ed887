from __future__ import annotations

import math

import pytest

from celosia.dataflow.arrange import arrange
from celosia.dataflow.compile import compile_network
from celosia.dataflow.dataflows import Dataflow
from celosia.dataflow.descriptors import Compute
from celosia.dataflow.mapper import canonical
from celosia.dataflow.mapping import (
    OUTPUT_STATIONARY_ARRAY,
    WEIGHT_STATIONARY_ARRAY,
    Dimension,
    LayerMapping,
    Mapping,
    tiled,
)
from celosia.dataflow.plan import StepPlan
from celosia.models.errors import CelosiaError
from celosia.models.network import Network

from .builders import Build, accelerator, check, same

K, C, OY, OX, FY, FX = (Dimension[name] for name in ("K", "C", "OY", "OX", "FY", "FX"))
TARGET = accelerator({"fixed8": 4}, 4, 1, depths=(400, 200, 128, 64, 8, 512), post_lanes=4)


def network() -> Network:
    build = Build()
    build.conv(build.input((12, 6, 5)), 8, same(3))
    return build.network()


def planned() -> StepPlan:
    arrangement = arrange(network(), TARGET)
    return StepPlan(arrangement.lowered.steps[0], arrangement, TARGET)


@pytest.mark.parametrize(
    ("dataflow", "orders"),
    [
        (Dataflow.OUTPUT_STATIONARY, 36),
        (Dataflow.WEIGHT_STATIONARY, 48),
        (Dataflow.INPUT_STATIONARY, 120),
        (Dataflow.ROW_WISE, 48),
    ],
)
def test_every_mapping_of_a_dataflow_is_of_it_and_exact(dataflow: Dataflow, orders: int) -> None:
    plan = planned()
    assert len(list(dataflow.array_orders())) == orders
    some = tiled(((OY, 3), (K, 1), (C, 2)))
    found = list(dataflow.mappings(plan, some))
    assert len(found) == len(set(found)) > 0
    assert all(dataflow.admits(plan, mapping) for mapping in found)
    for mapping in found[:: max(1, len(found) // 3)]:
        check(network(), TARGET, Mapping(layers=(("op0", mapping),)), seeds=(None,))
    of_another = [m for m in Dataflow.ROW_WISE.mappings(plan, some) if not dataflow.admits(plan, m)]
    assert of_another or dataflow is Dataflow.ROW_WISE


def runs(mapping: LayerMapping, operand: str) -> list[int]:
    """Return the longest stretch of steps for which the nests hold the ``operand``'s address."""
    program = compile_network(network(), TARGET, Mapping(layers=(("op0", mapping),)))
    longest = []
    for descriptor in program.descriptors:
        if isinstance(descriptor, Compute):
            counts = []
            for loop in descriptor.loops:
                if getattr(loop, operand):
                    break
                counts.append(loop.count)
            longest.append(math.prod(counts))
    return longest


def test_what_is_stationary_is_held_in_place() -> None:
    plan, tiles = planned(), tiled(((OY, 3), (C, 2)))
    held = {
        Dataflow.OUTPUT_STATIONARY: ("accumulators", 18),
        Dataflow.WEIGHT_STATIONARY: ("weights", 15),
        Dataflow.INPUT_STATIONARY: ("activations", 2),
    }
    for dataflow, (operand, steps) in held.items():
        for mapping in list(dataflow.mappings(plan, tiles))[:4]:
            # The last chunk of words is one of three.
            assert max(runs(mapping, operand)) == steps


def test_what_is_against_a_dataflow() -> None:
    plan = planned()
    default = canonical(plan, rows=2, columns=5, words=1, kernel_rows=3)
    assert Dataflow.OUTPUT_STATIONARY.why_not(plan, default) is None
    why = Dataflow.WEIGHT_STATIONARY.why_not(plan, default)
    assert why == "on the array FY lies inside OX"
    array = LayerMapping(loops=default.loops, array=WEIGHT_STATIONARY_ARRAY)
    assert Dataflow.WEIGHT_STATIONARY.why_not(plan, array) == "over memory K lies inside OY"
    assert array.array != OUTPUT_STATIONARY_ARRAY


def test_names() -> None:
    assert Dataflow.named("row_wise") is Dataflow.ROW_WISE
    with pytest.raises(CelosiaError, match=r"unknown dataflow 'x': known are output_stationary, w"):
        Dataflow.named("x")
