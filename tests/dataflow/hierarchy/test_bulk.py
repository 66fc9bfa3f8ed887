"""Whole arrays of mappings priced at once: the answers are those of the compiled kernels."""

import random

import numpy as np
import pytest
import torch

from celosia.dataflow.hierarchy.architecture import Factors
from celosia.dataflow.hierarchy.architecture_file import read_architecture
from celosia.dataflow.hierarchy.bulk import Bulk
from celosia.dataflow.hierarchy.layer import Layer
from celosia.dataflow.hierarchy.search import solve
from celosia.dataflow.search.objective import CYCLES, DRAM, EDP, ENERGY, Objective

from .architectures import flat, lean, random_levels, small

SEED = 20261121
WEIGHTED = Objective(name="mixed", cycles=0.3, energy=0.7)


def cases():
    """Yield architectures with layers of random sizes."""
    rng = random.Random(SEED)
    for architecture in (small(), lean(24, 8), flat(), random_levels(rng, 1)):
        c, k, p, q, r = (rng.choice((1, 2, 4)) for _ in range(5))
        yield architecture, Layer(c=2 * c, k=3 * k, p=p, q=q, r=r, s=1)


@pytest.mark.parametrize(("xp", "room"), [(np, 5000), (torch, 1 << 20)])
@pytest.mark.parametrize("objective", [ENERGY, EDP, CYCLES, DRAM, WEIGHTED], ids=lambda o: o.name)
def test_answers_are_those_of_the_kernels(xp, room, objective):
    for architecture, layer in cases():
        one, other = (
            solve(architecture, layer, objective, factors=Factors.PERFECT, bulk=bulk)
            for bulk in (None, Bulk(xp=xp, room=room))
        )
        what = f"seed {SEED}: {architecture.name}, {layer}"
        assert one.mapping == other.mapping, what
        assert one.price == other.price, what
        assert one.lower_bound == other.lower_bound == one.value, what
        assert other.proven, what


def test_workers_and_budgets():
    architecture, layer = read_architecture("b"), Layer.parse("16,32,7,7,1,1,1")
    whole = solve(architecture, layer, ENERGY)
    bulk = Bulk(xp=np, room=1 << 12)
    assert solve(architecture, layer, ENERGY, bulk=bulk, workers=3).mapping == whole.mapping
    layer = Layer.parse("16,32,7,7,3,3,1")
    some = solve(architecture, layer, ENERGY, bulk=bulk, budget=1)
    assert not some.proven
    assert some.lower_bound <= solve(architecture, layer, ENERGY).value <= some.value
    with pytest.raises(ValueError, match="room must be 1 or more, not 0"):
        Bulk(xp=np, room=0)
