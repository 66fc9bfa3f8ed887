"""SpArch engines take the cycles that were predicted, and count what was predicted."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from celosia.dataflow.accelerator import Bus
from celosia.dataflow.memory import DDR4, IDEAL, SLOW, MemoryModel
from celosia.dataflow.sparch.accelerator import (
    Elements,
    Merger,
    MergeTree,
    Partials,
    RightBuffer,
)
from celosia.dataflow.sparch.compile import compile_product
from celosia.dataflow.sparch.plan import Strategy
from celosia.dataflow.sparch.presets import TINY
from celosia.dataflow.sparch.records import Cut
from celosia.dataflow.sparch.timing import sparch_timing
from celosia.models.random_sparse import Pattern, random_matrix
from celosia.sim.product import run_product
from celosia.sim.run import Simulator

from .sparch_engines import FLOATS

SEED = 404

# A bus of 64 bytes with few and short bursts, records of B 16 bits wide, lines of odd length.
WIDE = replace(
    TINY,
    name="sparch_wide",
    elements=Elements(bits=8, accumulator=24, index_bits=8),
    merger=Merger(width=8, chunk=4),
    tree=MergeTree(ways=16, leaf_fifo=128, node_fifo=32),
    right=RightBuffer(lines=17, line_beats=3, look_ahead=5, multipliers=4, groups=8),
    partials=Partials(alive=9, writer_beats=4, writer_rows=3),
    bus=Bus(data_bits=512, burst_beats=7, outstanding=3),
)
STRATEGIES = (
    Strategy(),
    Strategy(rowwise=True),
    Strategy(cut=Cut(padded=True)),
    Strategy(cut=Cut(packed=True, padded=True, gathered=True)),
    Strategy(huffman=False, reuse=False),
)
ODD = MemoryModel(latency=3, bytes_per_cycle=11, outstanding=5)


@pytest.mark.parametrize("accelerator", [TINY, FLOATS, WIDE], ids=lambda each: each.name)
def test_predictions_are_exact(accelerator):
    rng = np.random.default_rng(SEED)
    simulator = Simulator(accelerator)
    for number in range(25):
        pattern, memory = list(Pattern)[number % 5], (IDEAL, DDR4, SLOW, ODD)[number % 4]
        rows, inner, columns = (int(size) for size in rng.integers(1, 60, 3))
        sizes = [int(rng.integers(0, 1 + m * n // 3)) for m, n in ((rows, inner), (inner, columns))]
        left = random_matrix((rows, inner), sizes[0], rng, pattern=pattern, low=-2, high=2)
        right = random_matrix((inner, columns), sizes[1], rng, pattern=pattern, low=-2, high=2)
        program = compile_product(left, right, accelerator, STRATEGIES[number % 5])
        run = run_product(simulator, program, memory)
        timing = sparch_timing(program, memory)
        where = f"seed {SEED}, product {number}"
        assert run.cycles == timing.cycles, where
        assert run.round_cycles == tuple(layer.cycles for layer in timing.layers), where
        assert run.counters == timing.counters, where
