"""Prices in machine code against the compiler, the timing and the counters of the same mapping."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.compile import compile_network
from celosia.dataflow.energy import energy, load_energy_table
from celosia.dataflow.mapper import default_mapping
from celosia.dataflow.memory import DDR4, SLOW
from celosia.dataflow.presets import preset
from celosia.dataflow.program import Counter
from celosia.dataflow.random_mapping import random_network_mapping
from celosia.dataflow.search import Pricer, lower_bound
from celosia.dataflow.search import pricing as module
from celosia.dataflow.table import tabulate
from celosia.dataflow.timing import timing
from celosia.models.formats import parse_format
from celosia.models.random_network import random_network

FORMATS = tuple(parse_format(name) for name in ("fixed4", "sp2_4", "fixed8"))
TABLE = load_energy_table("cmos45")
TIMED = (Counter.LOAD_BUSY, Counter.STORE_BUSY)


@pytest.mark.parametrize("name", ["tiny", "small", "medium", "zcu102"])
@pytest.mark.parametrize("seed", range(3))
def test_rows_cycles_and_counts_are_the_compiled_programs(seed: int, name: str) -> None:
    network, target = random_network(seed, FORMATS), preset(name)
    pricer = Pricer(network, target, SLOW, TABLE)
    for mapping in (
        default_mapping(network, target),
        random_network_mapping(network, target, np.random.default_rng(seed)),
    ):
        program = compile_network(network, target, mapping)
        layers = [mapping.layer(plan.step.name) for plan in pricer.plans]
        priced = pricer.price(range(len(layers)), layers)
        np.testing.assert_array_equal(priced.table, tabulate(program.descriptors, target))
        exact = timing(program, SLOW)
        counted = {counter: int(priced.counters[counter]) for counter in Counter}
        assert all(counted[c] == exact.counters[c] for c in Counter if c not in TIMED)
        stamps = np.cumsum([layer.cycles for layer in exact.layers]).tolist()
        assert list(priced.stamps) == stamps
        assert priced.costs.cycles == exact.cycles
        assert priced.costs.energy == energy(exact.counters, target, TABLE).total


@pytest.mark.parametrize("room", ["_STEP_ROWS", "_SLOT_PARTS"])
def test_room_grows_with_the_program(room: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, room, 2)
    network, target = random_network(1, FORMATS), preset("small")
    pricer = Pricer(network, target, DDR4, TABLE)
    layers = [default_mapping(network, target).layer(plan.step.name) for plan in pricer.plans]
    program = compile_network(network, target)
    priced = pricer.price(range(len(layers)), layers)
    np.testing.assert_array_equal(priced.table, tabulate(program.descriptors, target))


@pytest.mark.parametrize("seed", range(3))
def test_nothing_costs_less_than_its_bound(seed: int) -> None:
    network, target = random_network(seed, FORMATS), preset("small")
    pricer = Pricer(network, target, DDR4, TABLE)
    random = np.random.default_rng(seed)
    for _ in range(4):
        mapping = random_network_mapping(network, target, random)
        for number, plan in enumerate(pricer.plans):
            costs = pricer.alone(number, mapping.layer(plan.step.name)).costs
            least = lower_bound(plan, DDR4, TABLE, chip=(False, False))
            assert costs.cycles > least.costs.cycles, plan.step
            assert costs.energy > least.costs.energy
            assert costs.dram > least.costs.dram


def keeping(name: str, activations: int) -> Accelerator:
    target = preset(name)
    buffers = replace(target.buffers, activations=activations, activation_banks=2)
    return replace(target, buffers=buffers)


@pytest.mark.parametrize(
    "target",
    [keeping("tiny", 1024), keeping("small", 4096), keeping("zcu102", 8192)],
    ids=lambda target: target.name,
)
@pytest.mark.parametrize("seed", range(4))
def test_batches_and_what_stays_on_chip_cost_what_the_compiled_program_does(
    seed: int, target: Accelerator
) -> None:
    network, samples = random_network(seed, FORMATS), 1 + seed % 3
    pricer = Pricer(network, target, SLOW, TABLE, samples)
    resident = 0
    for draw in range(3):
        mapping = random_network_mapping(network, target, np.random.default_rng(draw), samples)
        resident += sum(layer.resident for _, layer in mapping.layers)
        layers = [mapping.layer(plan.step.name) for plan in pricer.plans]
        program = compile_network(network, target, mapping)
        priced = pricer.price(range(len(layers)), layers)
        np.testing.assert_array_equal(priced.table, tabulate(program.descriptors, target))
        exact = timing(program, SLOW)
        counted = {counter: int(priced.counters[counter]) for counter in Counter}
        assert all(counted[c] == exact.counters[c] for c in Counter if c not in TIMED)
        assert priced.costs.cycles == exact.cycles
    assert resident
