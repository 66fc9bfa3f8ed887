"""Columns of distances and truncating shifts in the engine: every bit, cycle and access."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from celosia.dataflow.accelerator import Accelerator, Buffers, Bus
from celosia.dataflow.array_shape import ArrayShape, ColumnGroup
from celosia.dataflow.compile import compile_network
from celosia.dataflow.memory import DDR4, PRESETS
from celosia.dataflow.timing import timing
from celosia.models.addernet import AdderConv2d, ShiftConv2d
from celosia.models.formats import Fixed, Pot
from celosia.models.golden import evaluate
from celosia.models.importer import export_model, import_program
from celosia.models.inputs import quantise_inputs
from celosia.models.network import Conv
from celosia.models.operations import DISTANCE, MULTIPLY, shift
from celosia.models.quantize import quantize
from celosia.models.random_network import random_inputs, random_network
from celosia.models.recipe import Recipe, msq
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


class Block(nn.Module):
    """A residual block of ShiftAddNet's ResNet-20 behind a convolution: 16 channels."""

    def __init__(self) -> None:
        super().__init__()

        def half() -> list[nn.Module]:
            shifts, adds = ShiftConv2d(16, 16, 3, padding=1), AdderConv2d(16, 16, 3, padding=1)
            return [shifts, adds, nn.BatchNorm2d(16)]

        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.ReLU())
        self.body = nn.Sequential(*half(), nn.ReLU(), *half())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        return torch.relu(self.body(x) + x)


def test_a_block_of_resnet20(simulator: Simulator) -> None:
    """Shift, add, normalise, twice, and the sum with the input, copied by a distance column."""
    torch.manual_seed(3)
    model, x = Block(), torch.rand(4, 3, 8, 8)
    with torch.no_grad():
        for _ in range(30):
            model(x)
    graph = import_program(export_model(model.eval(), (x[:1],)))
    network = quantize(graph, x.numpy(), Recipe(weights=msq(8, 0.0)))
    done = [op.operation for op in network.ops if isinstance(op, Conv)]
    assert done == [MULTIPLY, MULTIPLY, DISTANCE, MULTIPLY, DISTANCE]
    program = compile_network(network, ACCELERATOR)
    inputs = quantise_inputs(network, x[:1].numpy())
    run = simulator.run(program, inputs, DDR4)
    golden = evaluate(network, inputs)
    assert len(np.unique(golden[network.outputs[0]])) > 20
    assert check(program, run, golden, timing(program, DDR4)).passed


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
