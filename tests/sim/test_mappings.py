"""Random legal mappings, batches included: every value, cycle and counter is as predicted."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.compile import compile_network
from celosia.dataflow.memory import DDR4, PRESETS
from celosia.dataflow.presets import preset
from celosia.dataflow.program import Counter
from celosia.dataflow.random_mapping import random_network_mapping
from celosia.dataflow.search import DRAM, map_network
from celosia.dataflow.timing import timing
from celosia.models.errors import CelosiaError
from celosia.models.golden import evaluate
from celosia.models.random_network import random_inputs, random_network
from celosia.sim.check import check
from celosia.sim.run import Simulator

from .faulty import ACCELERATOR as KEEPING

ACCELERATOR = preset("tiny")
FORMATS = tuple(group.format for group in ACCELERATOR.array.columns)


@cache
def simulator_of(accelerator: Accelerator) -> Simulator:
    return Simulator(accelerator)


@pytest.fixture(scope="module")
def simulator() -> Simulator:
    return simulator_of(ACCELERATOR)


@pytest.mark.parametrize("accelerator", [ACCELERATOR, KEEPING], ids=lambda a: a.name)
@pytest.mark.parametrize("seed", range(10))
def test_random_mappings_are_exact(accelerator: Accelerator, seed: int) -> None:
    random = np.random.default_rng(seed)
    network = random_network(seed, FORMATS)
    samples = int(random.integers(1, 4))
    mapping = random_network_mapping(network, accelerator, random, samples)
    program = compile_network(network, accelerator, mapping)
    inputs = random_inputs(network, 2 * samples, seed)
    memory = list(PRESETS.values())[seed % len(PRESETS)]
    run = simulator_of(accelerator).run(program, inputs, memory)
    verdict = check(program, run, evaluate(network, inputs), timing(program, memory))
    assert verdict.passed, f"seed {seed}: {verdict}"
    assert verdict.tensors == len(network.tensors)
    assert len(run.cycles) == 2
    assert run.samples == 2 * samples


def test_what_the_search_finds_is_what_the_hardware_does() -> None:
    seed = 2
    network = random_network(seed, FORMATS)
    mapped = map_network(network, KEEPING, DDR4, objective=DRAM, effort=200, samples=(1, 2))
    assert any(layer.resident for _, layer in mapped.mapping.layers)
    assert mapped.mapping.samples == 2
    program = compile_network(network, KEEPING, mapped.mapping)
    inputs = random_inputs(network, 2, seed)
    run = simulator_of(KEEPING).run(program, inputs, DDR4)
    verdict = check(program, run, evaluate(network, inputs), timing(program, DDR4))
    assert verdict.passed, f"seed {seed}: {verdict}"
    assert run.cycles.tolist() == [mapped.costs.cycles]
    (beats,) = run.counters[Counter.READ_BEATS] + run.counters[Counter.WRITE_BEATS]
    assert mapped.costs.dram == beats * KEEPING.bus.data_bytes


def test_samples_that_fill_no_start_wrong(simulator: Simulator) -> None:
    network = random_network(1, FORMATS)
    mapping = random_network_mapping(network, ACCELERATOR, np.random.default_rng(1), 2)
    program = compile_network(network, ACCELERATOR, mapping)
    with pytest.raises(CelosiaError, match="3 samples are no multiple of the 2 that one start"):
        simulator.run(program, random_inputs(network, 3, 0))
