# amaranth: UnusedElaboratable=no
"""Compute unit and array against numpy, over random loop orders at one step a cycle."""

from __future__ import annotations

import numpy as np
import pytest
from amaranth.lib import data

from celosia.dataflow.microarchitecture import compute_latency
from celosia.dataflow.program import Compute, Loop, Token
from celosia.rtl.compute import AccumulatorControl, Finish
from celosia.rtl.descriptors import ComputeLayout, encode

from .bench_array import ArrayBench, Contents, accumulate, fill, simulate, small


def random_nest(rng: np.random.Generator, accelerator, *, accumulate: bool) -> Compute:
    """A nest within the buffers of a small accelerator, of at most some 60 steps."""
    loops, spans, steps = [], {"activations": 0, "weights": 0, "accumulators": 0}, 1
    limit = {name: getattr(accelerator.buffers, name) - 1 for name in spans}
    for _ in range(rng.integers(1, 7)):
        count = int(rng.integers(1, 4))
        strides = {name: int(rng.choice([-1, 0, 1, 2])) for name in spans}
        for name in spans:
            if spans[name] + (count - 1) * abs(strides[name]) > limit[name]:
                strides[name] = 0
            spans[name] += (count - 1) * abs(strides[name])
        if steps * count > 60:
            count = 1
        steps *= count
        loops.append(Loop(count=count, **strides, reduction=bool(rng.integers(2))))
    low = {
        name: sum(-min(0, (loop.count - 1) * getattr(loop, name)) for loop in loops)
        for name in spans
    }
    high = {
        name: sum(max(0, (loop.count - 1) * getattr(loop, name)) for loop in loops)
        for name in spans
    }
    base = {name: int(rng.integers(low[name], limit[name] - high[name] + 1)) for name in spans}
    return Compute(
        loops=tuple(loops),
        **base,
        activations_signed=bool(rng.integers(2)),
        accumulate=accumulate,
        signal=frozenset({Token(int(rng.choice([Token.COMPUTE_POST, Token.COMPUTE_LOAD])))}),
    )


ACCELERATORS = [
    small({"sp2_4": 2, "fixed4": 1, "fixed8": 1}, lanes=5, pixels=2, accumulators=8),
    small(
        {"fixed2": 1, "fixed3": 1}, lanes=1, pixels=1, bits=3, accumulator_bits=16, accumulators=5
    ),
    small({"sp2_8": 1, "fixed5": 2}, lanes=17, pixels=1, accumulator_bits=40, data_bits=128),
    small({"sp2_3": 1}, lanes=2, pixels=3, bits=1, accumulators=1),
]


@pytest.mark.parametrize("accelerator", ACCELERATORS, ids=["mix", "tiny", "wide", "bits"])
@pytest.mark.parametrize("seed", range(3))
def test_random_nests(accelerator, seed: int) -> None:
    print("seed", seed)
    rng = np.random.default_rng(seed)
    array, depth = accelerator.array, accelerator.buffers.accumulators
    contents = Contents.random(rng, accelerator)
    clear = Compute(
        loops=(Loop(count=depth, activations=0, weights=0, accumulators=1, reduction=False),),
        activations=0, weights=0, accumulators=0, activations_signed=False,
    )  # fmt: skip
    nests = [clear, *(random_nest(rng, accelerator, accumulate=i > 0) for i in range(6))]
    sums = np.zeros((depth, array.column_count, array.pixels), dtype=np.int64)
    counts = accumulate(accelerator, contents, nests, sums)
    dut = ArrayBench(accelerator)
    events, signals, accepts = dict.fromkeys(counts, 0), [], []
    result = np.zeros_like(sums)
    cycle = 0

    async def bench(ctx):
        nonlocal cycle
        await fill(ctx, dut, accelerator, contents)
        pending = [data.Const(ComputeLayout, encode(nest)) for nest in nests]
        ctx.set(dut.unit.i.valid, 1)
        quiet = 0
        while quiet < 5:
            if pending:
                ctx.set(dut.unit.i.payload, pending[0])
            else:
                ctx.set(dut.unit.i.valid, 0)
                quiet += 1 - ctx.get(dut.unit.busy)
            if ctx.get(dut.unit.i.ready) and pending:
                accepts.append(cycle)
                pending.pop(0)
            if ctx.get(dut.unit.signal):
                signals.append((cycle, ctx.get(dut.unit.signal)))
            for name in events:
                events[name] += ctx.get(dut.unit.events[name])
            assert ctx.get(dut.unit.busy) == (
                any(
                    t < cycle <= t + nest.steps + compute_latency(accelerator)
                    for t, nest in zip(accepts, nests, strict=False)
                )
            )
            cycle += 1
            await ctx.tick()
        for row, column, pixel in np.ndindex(*sums.shape):
            ctx.set(dut.array.drain_enable, 1)
            ctx.set(dut.array.drain_group, column)
            ctx.set(dut.array.drain.address, row)
            ctx.set(dut.array.drain.pixel, pixel)
            for _ in range(3):
                await ctx.tick()
                ctx.set(dut.array.drain_enable, 0)
            got = ctx.get(dut.array.drained.as_signed())
            result[row, column, pixel] = got

    simulate(dut, bench)
    np.testing.assert_array_equal(result, sums)
    assert events == counts
    starts = np.cumsum([0, *(nest.steps for nest in nests)])
    assert accepts == list(starts[:-1])
    expected = [
        (int(end) + compute_latency(accelerator), sum(1 << token for token in nest.signal))
        for end, nest in zip(starts[1:], nests, strict=True)
        if nest.signal
    ]
    assert signals == expected


def test_parameters_wrong() -> None:
    with pytest.raises(ValueError, match=r"delay must be at least 3, not 2"):
        AccumulatorControl(address_bits=4, delay=2)
    with pytest.raises(ValueError, match=r"latency must be at least 1, not 0"):
        Finish(latency=0)
