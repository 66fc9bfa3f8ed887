"""The closed forms of SCALE-Sim's dataflows: against its own reports, and a walk over the folds."""

import itertools

import pytest

from celosia.dataflow.hierarchy.layer import Layer
from celosia.dataflow.hierarchy.resnet18 import RESNET18
from celosia.dataflow.hierarchy.systolic import Stationary, systolic_cycles

# "Total Cycles" of SCALE-Sim 3.0.0's COMPUTE_REPORT.csv: 32 x 32, 64 KB an operand, no stalls.
ODD = Layer(c=5, k=37, p=7, q=6, r=3, s=2)
REPORTED = {
    "l4d": (18303, 10175, 9695),
    "fc": (48639, 18367, 17503),
    "l3d": (9279, 10639, 9799),
    "l2d": (7023, 12599, 11099),
    "odd": (271, 367, 261),
}
# Its totals with prefetching, of all 21 layers: what is not in the closed forms is below 4 %.
WITH_PREFETCH = (2_937_741, 2_210_776, 3_477_820)
TOTALS = (2_855_031, 2_133_315, 3_400_155)


@pytest.mark.parametrize("name", REPORTED)
def test_cycles_are_those_that_the_simulator_reports(name):
    layer = ODD if name == "odd" else RESNET18[name].layer
    assert tuple(systolic_cycles(layer, 32, 32, kind) for kind in Stationary) == REPORTED[name]


@pytest.mark.parametrize("kind", Stationary)
@pytest.mark.parametrize("name", RESNET18)
def test_folds_one_by_one(name, kind):
    layer, size = RESNET18[name].layer, 32
    depth, pixels = layer.c * layer.r * layer.s, layer.p * layer.q
    down, across, stream = {
        Stationary.WEIGHT: (depth, layer.k, pixels),
        Stationary.OUTPUT: (pixels, layer.k, depth),
        Stationary.INPUT: (depth, pixels, layer.k),
    }[kind]
    ends = hidden = -1
    for fold, _ in enumerate(itertools.product(range(0, down, size), range(0, across, size))):
        load = 0 if kind is Stationary.OUTPUT else size
        # The last row starts size - 1 cycles after the first, and so does the last column.
        work = stream + (size - 1) + (size - 1)
        ends += load + work
        hidden += work + (load if fold == 0 else 0)
    assert systolic_cycles(layer, size, size, kind) == ends
    assert systolic_cycles(layer, size, size, kind, preload=True) == hidden


def test_totals_of_the_network():
    for kind, total, published in zip(Stationary, TOTALS, WITH_PREFETCH, strict=True):
        found = sum(
            known.count * systolic_cycles(known.layer, 32, 32, kind) for known in RESNET18.values()
        )
        assert found == total
        assert 0 < published - found < 0.04 * published


def test_an_array_without_rows_is_refused():
    with pytest.raises(ValueError, match="1 or more rows and columns, not 0 x 4"):
        systolic_cycles(ODD, 0, 4, Stationary.WEIGHT)
