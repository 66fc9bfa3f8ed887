"""The campaign of random mappings: RTL, timing and access counts agree on every one.

Run by ``./scripts/test -m campaign``. Random networks, legal mappings (loops, buffering, batches,
inputs that stay on chip) and memories on a few accelerators, each built once: 600 cases, in which
every value, the cycles of every layer and every counter are as predicted, and the counters those
of a walk of all loops.
"""

from functools import cache

import numpy as np
import pytest

from celosia.dataflow.accelerator import Accelerator, Buffers, Bus
from celosia.dataflow.array_shape import ArrayShape, Circuit, ColumnGroup
from celosia.dataflow.compile import compile_network
from celosia.dataflow.memory import MemoryModel
from celosia.dataflow.random_mapping import random_network_mapping
from celosia.dataflow.timing import timing
from celosia.models.formats import Fixed, Sp2
from celosia.models.golden import evaluate
from celosia.models.random_network import random_inputs, random_network
from celosia.sim.check import check
from celosia.sim.run import Simulator

from .plain_accesses import walk_program

pytestmark = [pytest.mark.campaign, pytest.mark.timeout(3600)]

CASES = 100
"""Of each accelerator."""


def target(
    columns: tuple[ColumnGroup, ...],
    sizes: tuple[int, int, int, int],
    depths: tuple[int, int, int, int, int, int],
    banks: int,
) -> Accelerator:
    """Return an accelerator; ``sizes`` are lanes, pixels, post lanes and bits of the bus."""
    lanes, pixels, post_lanes, data_bits = sizes
    names = ("activations", "weights", "accumulators", "constants", "residuals", "outputs")
    total = sum(group.count for group in columns)
    return Accelerator(
        name=f"m{total}x{lanes}x{pixels}b{banks}",
        array=ArrayShape(columns=columns, lanes=lanes, pixels=pixels),
        buffers=Buffers(**dict(zip(names, depths, strict=True)), activation_banks=banks),
        bus=Bus(data_bits=data_bits, burst_beats=16, outstanding=4),
        post_lanes=post_lanes,
    )


EIGHT, SP2 = Fixed(bits=8), Sp2(bits=4)
TARGETS = (
    target((ColumnGroup(format=EIGHT, count=2),), (4, 1, 2, 64), (512, 96, 140, 16, 64, 64), 2),
    target(
        (ColumnGroup(format=SP2, count=3), ColumnGroup(format=EIGHT, count=4)),
        (5, 1, 1, 64), (300, 200, 140, 16, 150, 150), 1,
    ),
    target(
        (ColumnGroup(format=SP2, count=4), ColumnGroup(format=EIGHT, count=4)),
        (8, 2, 4, 64), (512, 256, 140, 32, 256, 256), 2,
    ),
    target((ColumnGroup(format=EIGHT, count=6),), (12, 3, 6, 128), (256, 300, 140, 8, 200, 200), 2),
    target((ColumnGroup(format=EIGHT, count=4),), (8, 2, 4, 512), (200, 99, 140, 8, 140, 140), 1),
    target(
        (ColumnGroup(format=EIGHT, count=4, circuit=Circuit.SERIAL),),
        (4, 1, 4, 64), (256, 128, 140, 16, 128, 128), 2,
    ),
)  # fmt: skip


@cache
def simulator(accelerator: Accelerator) -> Simulator:
    return Simulator(accelerator)


def random_memory(random: np.random.Generator) -> MemoryModel:
    return MemoryModel(
        latency=int(random.choice([1, 2, 5, 17, 40, 120])),
        bytes_per_cycle=int(random.choice([1, 3, 7, 8, 16, 64])),
        outstanding=int(random.choice([1, 2, 3, 8, 64])),
    )


@pytest.mark.parametrize("seed", range(CASES))
@pytest.mark.parametrize("accelerator", TARGETS, ids=lambda accelerator: accelerator.name)
def test_random_mappings_are_exact(accelerator: Accelerator, seed: int) -> None:
    random = np.random.default_rng(seed)
    formats = tuple(group.format for group in accelerator.array.columns)
    network = random_network(1000 + seed, formats)
    samples = int(random.choice([1, 1, 1, 2, 3]))
    mapping = random_network_mapping(network, accelerator, random, samples)
    program = compile_network(network, accelerator, mapping)
    inputs = random_inputs(network, samples, seed)
    memory = random_memory(random)
    predicted = timing(program, memory)
    walked = walk_program(program.descriptors, accelerator)
    for counter, times in walked.items():
        assert predicted.counters[counter] == times, counter
    run = simulator(accelerator).run(program, inputs, memory)
    verdict = check(program, run, evaluate(network, inputs), predicted)
    assert verdict.passed, f"seed {seed}, {memory}: {verdict}"
