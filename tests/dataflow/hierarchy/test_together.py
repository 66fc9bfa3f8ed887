"""Nests with a level's tensors at one place: against all of them, and what cannot be one."""

import itertools
import random

import pytest

from celosia.dataflow.hierarchy.architecture import Factors
from celosia.dataflow.hierarchy.architecture_file import read_architecture
from celosia.dataflow.hierarchy.layer import Dim, Layer, Tensor
from celosia.dataflow.hierarchy.mapping import Loop, Mapping, Store
from celosia.dataflow.hierarchy.options import smaller_tiles
from celosia.dataflow.hierarchy.price import price
from celosia.dataflow.hierarchy.search import solve
from celosia.dataflow.hierarchy.together import together, together_classes
from celosia.dataflow.search.objective import EDP, ENERGY
from celosia.models.errors import CelosiaError

from .architectures import deep, lean, small

SEED = 20261121


def tool(architecture, layer, mapping):
    return together(architecture, layer, mapping.trimmed(layer), "Timeloop")


def splits(size, slots):
    """Yield the tiles of every way to divide ``size`` over so many loops."""
    if slots == 1:
        yield (1,)
        return
    for tile in smaller_tiles(size, Factors.PERFECT):
        for rest in splits(tile, slots - 1):
            yield (tile, *rest)


def every(architecture, layer, rng, count):
    """Yield ``count`` nests at random: loops in any order in each block, stores at one place."""
    levels = architecture.levels
    for _ in range(count):
        tiles = {}
        for dim in Dim:
            axes = [a.name for a in architecture.axes if dim in a.spreads]
            found = rng.choice(list(splits(layer.size(dim), len(levels) + len(axes))))
            tiles[dim] = list(found)
        steps = []
        for number in range(len(levels)):
            dims = list(Dim)
            rng.shuffle(dims)
            steps += [Loop(dim=dim, tile=tiles[dim].pop(0)) for dim in dims]
            for axis in architecture.axes:
                if architecture.axis_place(axis) == number + 1:
                    steps += [
                        Loop(dim=dim, tile=tiles[dim].pop(0), axis=axis.name)
                        for dim in axis.spreads
                    ]
            if number + 1 < len(levels):
                level = levels[number + 1]
                steps += [Store(tensor=tensor, level=level.name) for tensor in level.holds]
        yield Mapping(steps=tuple(steps)).trimmed(layer)


CASES = [
    (small(), Layer(c=4, k=4, p=4, q=2, r=1, s=1)),
    (lean(24, 8), Layer(c=2, k=4, p=2, q=3, r=2, s=1)),
    (deep(), Layer(c=2, k=2, p=4, q=2, r=1, s=2, stride=2)),
]


@pytest.mark.parametrize("objective", [ENERGY, EDP])
@pytest.mark.parametrize(("architecture", "layer"), CASES)
def test_no_nest_of_that_form_is_better(architecture, layer, objective):
    found = solve(
        architecture, layer, objective, classes=together_classes(architecture, layer),
        factors=Factors.PERFECT,
    )  # fmt: skip
    assert found.proven
    held = tool(architecture, layer, found.mapping)
    assert price(architecture, layer, held.lifted()) == found.price
    assert found.value >= solve(architecture, layer, objective, factors=Factors.PERFECT).value
    rng, legal = random.Random(SEED), 0
    for nest in every(architecture, layer, rng, 1500):
        try:
            assert tool(architecture, layer, nest).steps == nest.steps
            cost = price(architecture, layer, nest.lifted())
        except (CelosiaError, ValueError):
            continue
        legal += 1
        value = cost.energy * (cost.cycles if objective.product else 1)
        assert value >= found.value, f"seed {SEED}: {nest}"
    assert legal > 20


def test_lifted_nests_come_back():
    architecture, layer = CASES[0]
    rng, legal = random.Random(SEED), 0
    for nest in every(architecture, layer, rng, 1000):
        try:
            held = tool(architecture, layer, nest)
        except CelosiaError:
            continue
        again = tool(architecture, layer, nest.lifted())
        assert again.lifted() == held.lifted(), f"seed {SEED}: {nest}"
        legal += 1
    assert legal > 20


def test_every_layer_has_one():
    layer = Layer.parse("64,64,14,14,3,3,1")
    for architecture in map(read_architecture, "ab"):
        found = solve(architecture, layer, ENERGY, classes=together_classes(architecture, layer))
        places = [
            [step.level for step in group]
            for stored, group in itertools.groupby(
                tool(architecture, layer, found.mapping).steps, lambda s: isinstance(s, Store)
            )
            if stored
        ]
        assert places in ([["glb", "glb"], ["acc"], ["reg"]], [["glb", "glb", "acc"], ["reg"]])


def test_what_is_in_the_way_is_named():
    architecture, layer = read_architecture("b"), Layer.parse("64,64,14,14,3,3,1")
    inner = (
        Store(tensor=Tensor.OUTPUT, level="acc"),
        *(Loop(dim=dim, tile=1) for dim in (Dim.C, Dim.R, Dim.S)),
        Store(tensor=Tensor.WEIGHT, level="reg"),
        Loop(dim=Dim.P, tile=1), Loop(dim=Dim.Q, tile=1),
    )  # fmt: skip
    stores = (Store(tensor=Tensor.INPUT, level="glb"), Store(tensor=Tensor.WEIGHT, level="glb"))
    split = Mapping(
        steps=(stores[0], Loop(dim=Dim.C, tile=4), stores[1], Loop(dim=Dim.K, tile=1), *inner)
    )
    with pytest.raises(CelosiaError, match="a loop over C, which moves tiles of I, lies between"):
        tool(architecture, layer, split)
    large = Mapping(steps=(Loop(dim=Dim.K, tile=1), *stores, *inner))
    with pytest.raises(CelosiaError, match=r"'glb' holds 2,048 words, .* have 16,960: 14,912 too"):
        tool(architecture, layer, large)
