"""Windows of a column's own channel on the real engine: values, cycles and counters."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from celosia.dataflow.array_shape import ColumnGroup, Depthwise
from celosia.dataflow.compile import compile_network
from celosia.dataflow.descriptors import Buffer, Compute, Load
from celosia.dataflow.memory import DDR4, PRESETS
from celosia.dataflow.presets import preset
from celosia.dataflow.random_mapping import random_network_mapping
from celosia.dataflow.timing import timing
from celosia.models.formats import Fixed, parse_format
from celosia.models.golden import evaluate
from celosia.models.network import Conv, Network, Requant, Tensor, Window
from celosia.models.random_network import random_inputs, random_network
from celosia.sim.blame import Suspect
from celosia.sim.check import ValueDivergence, check
from celosia.sim.explain import explain
from celosia.sim.run import Simulator

TINY = preset("tiny")
FORMAT = parse_format("fixed8")
# Fewer columns than lanes, so that windows begin at three lanes; pixel lanes; two banks.
ACCELERATOR = replace(
    TINY,
    name="windows",
    array=replace(
        TINY.array,
        columns=(ColumnGroup(format=FORMAT, count=4),),
        lanes=12,
        pixels=2,
        depthwise=Depthwise(rows=3, columns=4, width=32),
    ),
    buffers=replace(TINY.buffers, activation_banks=2),
)


@pytest.fixture(scope="module")
def simulator() -> Simulator:
    return Simulator(ACCELERATOR)


def test_random_networks_and_mappings_are_exact(simulator: Simulator) -> None:
    slid = 0
    for seed in range(8):
        print("seed", seed)
        random, network = np.random.default_rng(seed), random_network(seed, (FORMAT,))
        samples = 1 + seed % 2
        mapping = random_network_mapping(network, ACCELERATOR, random, samples)
        program = compile_network(network, ACCELERATOR, mapping)
        slid += sum(isinstance(d, Compute) and d.sliding is not None for d in program.descriptors)
        inputs = random_inputs(network, samples, seed)
        memory = list(PRESETS.values())[seed % len(PRESETS)]
        run = simulator.run(program, inputs, memory)
        verdict = check(program, run, evaluate(network, inputs), timing(program, memory))
        assert verdict.passed, f"seed {seed}: {verdict}"
    assert slid


def test_a_wrong_weight_of_a_window_is_found(simulator: Simulator) -> None:
    """The bit is that of column 1's first position: lane 1, as the window has 4 columns."""
    rng, rows = np.random.default_rng(3), 5
    ones = np.ones(rows, np.int64)
    conv = Conv(
        name="conv",
        input="x",
        output="y",
        window=Window(kernel=(3, 3), stride=(1, 2), padding=(1, 1, 1, 1)),
        groups=rows,
        weights=rng.choice((-3, -1, 1, 3), (rows, 1, 3, 3)),
        formats=(FORMAT,) * rows,
        requant=Requant(
            bias=rng.integers(-9, 9, rows), positive=ones, negative=ones, residual=0 * ones,
            shift=0 * ones, low=-128, high=127,
        ),
    )  # fmt: skip
    tensors = tuple(
        Tensor(name=name, shape=shape, format=Fixed(bits=8), scale=1.0)
        for name, shape in (("x", (rows, 6, 8)), ("y", (rows, 6, 4)))
    )
    network = Network(name="one", tensors=tensors, inputs=("x",), outputs=("y",), ops=(conv,))
    program = compile_network(network, ACCELERATOR)
    load = next(
        d for d in program.descriptors if isinstance(d, Load) and d.target is Buffer.WEIGHTS
    )
    image = program.image.copy()
    image[load.transfer.address - program.base_address + 12 + 1] ^= 4
    broken = replace(program, image=image)
    inputs = {"x": rng.integers(1, 5, (1, rows, 6, 8))}
    run, golden = simulator.run(broken, inputs), evaluate(network, inputs)
    first = check(broken, run, golden, timing(broken, DDR4)).divergences[0]
    assert isinstance(first, ValueDivergence)
    found = explain(simulator, network, broken, inputs, run, golden, first)
    assert found.suspect is Suspect.WEIGHTS, found.lines()
    assert "column 1, lane 1 of the weight word" in found.reason
    assert found.told == first.got
    assert all(len(step.weights) == len(step.activations) == 1 for step in found.fed)
