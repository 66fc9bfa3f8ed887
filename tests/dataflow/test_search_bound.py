"""Nothing costs less than its bound: random mappings, the mapper's, and what a search finds."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pytest

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.energy import load_energy_table
from celosia.dataflow.mapper import map_steps
from celosia.dataflow.mapping import LayerMapping
from celosia.dataflow.memory import MemoryModel
from celosia.dataflow.plan import StepPlan
from celosia.dataflow.presets import preset
from celosia.dataflow.random_mapping import random_network_mapping
from celosia.dataflow.search import (
    Costs,
    Mapped,
    Objective,
    Pricer,
    chain,
    lower_bound,
    map_network,
)
from celosia.dataflow.search.bound import Bound, network_bound
from celosia.models.formats import parse_format
from celosia.models.network import Network
from celosia.models.random_network import random_network

from .builders import Build, k, same

FORMATS = tuple(parse_format(name) for name in ("fixed4", "sp2_4", "fixed8"))
TABLE = load_energy_table("cmos45")
OBJECTIVES = [
    Objective.parse(text) for text in ("cycles", "energy", "dram", "edp", "cycles=3,dram=0.5")
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Some neighbouring steps as a program: what they cost, and what they cost at least."""

    text: str
    costs: Costs
    least: Costs


def draw(random: np.random.Generator) -> tuple[Accelerator, MemoryModel]:
    """Return a preset with other buffers and pixels, attached to any memory."""
    target = preset(str(random.choice(["tiny", "small", "medium", "zcu102"])))
    buffers = target.buffers
    depths = {
        name: getattr(buffers, name) * int(random.choice([1, 2]))
        for name in ("activations", "weights", "accumulators", "residuals", "outputs")
    }
    if random.random() < 0.3:
        depths |= {"activations": 2 * depths["activations"], "activation_banks": 2}
    array = replace(target.array, pixels=int(random.integers(1, 4)))
    memory = MemoryModel(
        latency=int(random.choice([1, 10, 100])),
        bytes_per_cycle=int(random.choice([1, 3, 8, 16, 64])),
        outstanding=int(random.choice([1, 4, 64])),
    )
    return replace(target, array=array, buffers=replace(buffers, **depths)), memory


def cases(seed: int) -> Iterator[Case]:
    random = np.random.default_rng(seed)
    network, (target, memory) = random_network(seed, FORMATS), draw(random)
    samples = int(random.integers(1, 4))
    pricer = Pricer(network, target, memory, TABLE, samples)
    plans = pricer.plans
    bounds = [
        lower_bound(plan, memory, TABLE, chip=pricer.may_stay(number))
        for number, plan in enumerate(plans)
    ]
    drawn = [random_network_mapping(network, target, random, samples) for _ in range(2)]
    for mapping in (map_steps(list(plans)), *drawn):
        layers = [layer for _, layer in mapping.layers]
        yield from priced(pricer, bounds, layers, memory, f"seed {seed}")


def priced(
    pricer: Pricer, bounds: list[Bound], layers: list[LayerMapping], memory: MemoryModel, text: str
) -> Iterator[Case]:
    count = len(layers)
    for first in range(count):
        for stop in {first + 1, min(first + 3, count), count}:
            least = network_bound(pricer.plans[first:stop], bounds[first:stop], memory)
            costs = pricer.price(range(first, stop), layers).costs
            name = f"{text}, steps {first} to {stop} of {pricer.accelerator}, {memory}"
            yield Case(text=name, costs=costs, least=least)
    for number, (bound, layer) in enumerate(zip(bounds, layers, strict=True)):
        alone = pricer.alone(number, layer).costs
        yield Case(text=f"{text}, step {number} alone", costs=alone, least=bound.costs)


@pytest.mark.parametrize("seed", range(40))
def test_no_mapping_costs_less_than_the_bound(seed: int) -> None:
    count = 0
    for case in cases(seed):
        count += 1
        assert case.least.cycles <= case.costs.cycles, case
        assert case.least.energy <= case.costs.energy, case
        assert case.least.dram <= case.costs.dram, case
        for objective in OBJECTIVES:
            assert objective.score(case.least) <= objective.score(case.costs), case
    assert count >= 6


def test_a_bound_without_what_buffers_hold_would_be_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    build = Build()
    image = build.input((16, 8, 8))
    build.conv(image, 16, same(3))
    build.conv(image, 64, k(8))  # whose weights are loaded while the first computes
    memory = MemoryModel(latency=1, bytes_per_cycle=4, outstanding=64)
    found, plans, bounds = searched(build.network(), memory)
    assert network_bound(plans, bounds, memory) == found.least
    assert found.least.cycles < found.costs.cycles
    capacity = chain._capacity
    monkeypatch.setattr(chain, "_capacity", lambda target: 0 * capacity(target))
    assert network_bound(plans, bounds, memory).cycles > found.costs.cycles


def test_a_bound_without_what_accumulators_hold_would_be_wrong() -> None:
    build = Build()
    image = build.input((16, 8, 8))
    build.pool(image, k(3, stride=(1, 1)))
    build.conv(image, 8, same(3))  # which computes while the first posts
    memory = MemoryModel(latency=1, bytes_per_cycle=64, outstanding=64)
    found, plans, bounds = searched(build.network(), memory)
    assert found.least.cycles < found.costs.cycles
    wrong = [replace(bound, needs=replace(bound.needs, sum_steps=0)) for bound in bounds]
    assert network_bound(plans, wrong, memory).cycles > found.costs.cycles


def searched(
    network: Network, memory: MemoryModel
) -> tuple[Mapped, tuple[StepPlan, ...], list[Bound]]:
    found = map_network(network, preset("small"), memory, effort=150)
    plans = Pricer(network, preset("small"), memory, TABLE).plans
    return found, plans, [step.bound for step in found.steps]
