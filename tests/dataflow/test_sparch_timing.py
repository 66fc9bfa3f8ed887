"""The timing model of SpArch engines counts what programs move.

That it is the hardware's to the cycle is for ``tests/sim``.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from celosia.dataflow.memory import DDR4, IDEAL, SLOW
from celosia.dataflow.sparch.accelerator import Elements, ValueKind
from celosia.dataflow.sparch.compile import compile_product
from celosia.dataflow.sparch.counters import SparchCounter
from celosia.dataflow.sparch.golden import evaluate
from celosia.dataflow.sparch.plan import Strategy
from celosia.dataflow.sparch.presets import PAPER, TINY
from celosia.dataflow.sparch.timing import sparch_cycle_bound, sparch_timing
from celosia.dataflow.sparch.traffic import measured_traffic
from celosia.models.csr import Csr
from celosia.models.random_sparse import Pattern, random_matrix

SEED = 77


@pytest.mark.parametrize("memory", [IDEAL, DDR4, SLOW])
@pytest.mark.parametrize("pattern", Pattern)
def test_counters_are_those_of_the_traffic_and_the_golden(pattern, memory):
    rng = np.random.default_rng(SEED)
    matrix = random_matrix((50, 50), 450, rng, pattern=pattern, low=-1, high=1)  # much cancels
    program = compile_product(matrix, matrix, TINY, Strategy(rowwise=pattern is Pattern.BLOCK))
    plan, timing = program.plan, sparch_timing(program, memory)
    golden = evaluate(plan)
    sizes = [len(result.stream.keys) for result in golden]
    assert sum(sizes) < sum(plan.sizes)
    counters, traffic = timing.counters, measured_traffic(plan, sizes)
    assert counters[SparchCounter.MERGED] == sum(sizes)
    assert counters[SparchCounter.ADDITIONS] == sum(result.additions for result in golden)
    assert counters[SparchCounter.PRODUCTS] == plan.products == program.products
    assert counters[SparchCounter.ROUNDS] == len(plan.schedule.rounds) == len(timing.layers)
    assert counters[SparchCounter.RECORDS] == sum(len(placed.slots) for placed in plan.records)
    moved = {
        "left": (SparchCounter.LEFT_BEATS,),
        "right": (SparchCounter.RIGHT_BEATS,),
        "partial_read": (SparchCounter.PARTIAL_READ_BEATS,),
        "partial_write": (SparchCounter.PARTIAL_WRITE_BEATS,),
        "output": (SparchCounter.OUTPUT_BEATS, SparchCounter.POINTER_BEATS),
    }
    for stream, counted in moved.items():
        assert 16 * sum(counters[each] for each in counted) == getattr(traffic, stream), stream
    chunks = program.program_bytes // 16
    assert counters[SparchCounter.READ_BEATS] == traffic.read // 16 + chunks
    assert counters[SparchCounter.WRITE_BEATS] == traffic.written // 16 + len(timing.layers)
    assert sum(layer.cycles for layer in timing.layers) < timing.cycles
    assert timing.cycles < sparch_cycle_bound(program, memory)


def test_a_wide_engine_multiplies_eight_groups_a_cycle():
    """Long rows of dense matrices keep the multipliers busy."""
    dense = random_matrix((64, 64), 4096, np.random.default_rng(SEED))
    program = compile_product(dense, dense, PAPER)
    timing = sparch_timing(program, IDEAL)
    groups = 64**3 // PAPER.right.multipliers
    assert timing.counters[SparchCounter.MULTIPLY_CYCLES] == groups
    assert timing.cycles < 1.1 * groups / PAPER.right.groups


def test_an_empty_product():
    empty = Csr(
        shape=(9, 9), starts=np.zeros(10, np.int64), columns=np.empty(0, np.int64),
        values=np.empty(0, np.int64),
    )  # fmt: skip
    timing = sparch_timing(compile_product(empty, empty, TINY), IDEAL)
    assert timing.counters[SparchCounter.POINTER_BEATS] == 3
    assert timing.counters[SparchCounter.PRODUCTS] == 0


def test_a_program_that_does_not_end_is_said_so(monkeypatch):
    program = compile_product(*[random_matrix((9, 9), 20, np.random.default_rng(SEED))] * 2, TINY)
    monkeypatch.setattr("celosia.dataflow.sparch.timing.sparch_cycle_bound", lambda *_: 100)
    with pytest.raises(RuntimeError, match="does not end within 100 cycles"):
        sparch_timing(program, IDEAL)


def test_floats_cancel_as_in_the_golden():
    engine = replace(
        TINY, elements=Elements(kind=ValueKind.FLOAT32, bits=32, accumulator=32, index_bits=12)
    )  # fmt: skip
    matrix = random_matrix((40, 40), 500, np.random.default_rng(SEED), low=-2, high=2)
    matrix = matrix.with_values(matrix.values * 0.1)
    program = compile_product(matrix, matrix, engine)
    golden = evaluate(program.plan)
    merged = sparch_timing(program, IDEAL).counters[SparchCounter.MERGED]
    assert merged == sum(len(result.stream.keys) for result in golden)
    assert merged < sum(program.plan.sizes)
