"""Functions by table on the real engine: values, cycles, counters."""

from dataclasses import replace

import numpy as np
import pytest

from celosia.dataflow.accelerator import Tables
from celosia.dataflow.compile import compile_network
from celosia.dataflow.memory import DDR4
from celosia.dataflow.presets import preset
from celosia.dataflow.timing import timing
from celosia.models.golden import evaluate
from celosia.models.random_network import random_inputs, random_network, with_tables
from celosia.sim.check import check
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
