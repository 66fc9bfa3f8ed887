"""Columns of distances and truncating shifts in the engine: every bit, cycle and access."""

from __future__ import annotations

import numpy as np
import pytest

from celosia.dataflow.accelerator import Accelerator, ArrayShape, Buffers, Bus, ColumnGroup
from celosia.dataflow.compile import compile_network
from celosia.dataflow.memory import PRESETS
from celosia.dataflow.timing import timing
from celosia.models.formats import Fixed, Pot
from celosia.models.golden import evaluate
from celosia.models.operations import DISTANCE, MULTIPLY, shift
from celosia.models.random_network import random_inputs, random_network
from celosia.sim.check import check
from celosia.sim.cocotb.run import STALL_COUNTERS, run_bench
from celosia.sim.run import Simulator

FORMATS = (Fixed(bits=8), Fixed(bits=5), Pot(bits=5))
OPERATIONS = (MULTIPLY, DISTANCE, shift(6))
ACCELERATOR = Accelerator(
    name="operations",
    array=ArrayShape(
        columns=(
            ColumnGroup(format=Fixed(bits=8), count=1),
            ColumnGroup(format=Fixed(bits=8), count=2, operation=DISTANCE),
            ColumnGroup(format=Pot(bits=5), count=1, operation=shift(6)),
            ColumnGroup(format=Pot(bits=5), count=1),
        ),
        lanes=5,
        pixels=2,
        accumulator_bits=40,
    ),
    buffers=Buffers(
        activations=512, weights=512, accumulators=128, constants=64, residuals=512, outputs=512
    ),
    bus=Bus(data_bits=64, burst_beats=16),
    post_lanes=1,
)


@pytest.fixture(scope="module")
def simulator() -> Simulator:
    return Simulator(ACCELERATOR)


@pytest.mark.parametrize("memory", PRESETS.values(), ids=PRESETS)
@pytest.mark.parametrize("seed", range(4))
def test_random_networks_are_exact(simulator: Simulator, seed: int, memory) -> None:
    network = random_network(seed, FORMATS, operations=OPERATIONS)
    program = compile_network(network, ACCELERATOR)
    inputs = random_inputs(network, 2, seed)
    run = simulator.run(program, inputs, memory)
    verdict = check(program, run, evaluate(network, inputs), timing(program, memory))
    assert verdict.passed, f"seed {seed}: {verdict}"


def test_stalls_on_a_bus_that_nobody_here_wrote(simulator: Simulator) -> None:
    network = random_network(2, FORMATS, operations=OPERATIONS)
    program = compile_network(network, ACCELERATOR)
    inputs = random_inputs(network, 1, 2)
    bench = run_bench(ACCELERATOR, program, inputs, stall=0.4, seed=2)
    for name, codes in evaluate(network, inputs).items():
        assert np.array_equal(bench.tensors[name], codes), name
    native = simulator.run(program, inputs).timing(0)
    for counter, value in bench.counters.items():
        if counter not in STALL_COUNTERS:
            assert value == native.counters[counter], counter
