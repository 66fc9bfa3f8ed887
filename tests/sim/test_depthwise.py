"""Windows of a column's own channel on the real engine: values, cycles and counters."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from celosia.dataflow.accelerator import ColumnGroup, Depthwise
from celosia.dataflow.compile import compile_network
from celosia.dataflow.descriptors import Compute
from celosia.dataflow.memory import PRESETS
from celosia.dataflow.presets import preset
from celosia.dataflow.random_mapping import random_network_mapping
from celosia.dataflow.timing import timing
from celosia.models.formats import parse_format
from celosia.models.golden import evaluate
from celosia.models.random_network import random_inputs, random_network
from celosia.sim.check import check
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


def test_random_networks_and_mappings_are_exact() -> None:
    simulator, slid = Simulator(ACCELERATOR), 0
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
