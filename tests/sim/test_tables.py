"""Functions by table on the real engine: values, cycles, counters."""

from dataclasses import replace

import numpy as np
import pytest

from celosia.dataflow.accelerator import Tables
from celosia.dataflow.compile import compile_network
from celosia.dataflow.descriptors import Buffer, Load
from celosia.dataflow.memory import DDR4
from celosia.dataflow.presets import preset
from celosia.dataflow.timing import timing
from celosia.models.golden import evaluate
from celosia.models.random_network import random_inputs, random_network, with_tables
from celosia.sim.blame import Suspect
from celosia.sim.check import ValueDivergence, check
from celosia.sim.explain import explain
from celosia.sim.run import Simulator

BITS = 6
ACCELERATOR = replace(preset("tiny"), name="tiny_tables", tables=Tables(index_bits=BITS, count=2))
FORMATS = tuple(group.format for group in ACCELERATOR.array.columns)


@pytest.fixture(scope="module")
def simulator() -> Simulator:
    return Simulator(ACCELERATOR)


@pytest.mark.parametrize("seed", range(8))
def test_random_networks_are_exact(simulator: Simulator, seed: int) -> None:
    network = with_tables(random_network(seed, FORMATS), seed, BITS)
    program = compile_network(network, ACCELERATOR)
    inputs = random_inputs(network, 2, seed)
    run = simulator.run(program, inputs, DDR4)
    verdict = check(program, run, evaluate(network, inputs), [timing(program, DDR4)] * 2)
    assert verdict.passed, str(verdict)
    assert np.all(run.cycles == timing(program, DDR4).cycles)


def test_a_wrong_entry_is_found(simulator: Simulator) -> None:
    network = with_tables(random_network(1, FORMATS), 1, BITS)
    program, inputs = compile_network(network, ACCELERATOR), random_inputs(network, 1, 1)
    loads = [
        load.transfer
        for load in program.descriptors
        if isinstance(load, Load) and load.target is Buffer.TABLES
    ]
    image = program.image.copy()
    # A bit of every entry of the first table is wrong.
    size = ACCELERATOR.bus.data_bytes
    start = loads[0].address - program.base_address
    for row in range(loads[0].words):
        image[start + row * size : start + row * size + 4] ^= 8
    broken = replace(program, image=image)
    run, golden = simulator.run(broken, inputs, DDR4), evaluate(network, inputs)
    verdict = check(broken, run, golden, timing(broken, DDR4))
    first = verdict.divergences[0]
    assert isinstance(first, ValueDivergence)
    found = explain(simulator, network, broken, inputs, run, golden, first)
    assert found.suspect is Suspect.TABLES, found.lines()
    assert "of the table of random at address" in found.reason
