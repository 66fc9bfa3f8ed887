# amaranth: UnusedElaboratable=no
"""Compute unit and array against numpy, over random loop orders at one step a cycle."""

from __future__ import annotations

import numpy as np
import pytest
from amaranth.lib import data

from celosia.dataflow.descriptors import Compute, Loop, Token
from celosia.dataflow.microarchitecture import DRAIN_LATENCY, compute_latency
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
    small(
        {"fixed8 distance": 1, "fixed2 distance": 1, "pot_5 shift_6": 1, "pot_3 shift_1": 1},
        lanes=6,
        pixels=2,
        accumulators=8,
    ),
    # Every packing of DSPs: 2 columns x 2 pixels and 1 x 2; 3 pixels; 3 columns and 2; 2 pixels.
    small(
        {"fixed4@dsp": 3, "fixed4@luts": 1, "fixed4": 1},
        lanes=17,
        pixels=2,
        bits=4,
        accumulators=8,
        data_bits=128,
    ),
    small({"fixed2@dsp": 1, "fixed5@luts": 1}, lanes=9, pixels=4, bits=3, accumulators=5),
    small({"fixed3@dsp": 5, "sp2_4": 1}, lanes=5, pixels=1, bits=5, data_bits=128),
    small({"fixed8@dsp": 2, "fixed8@luts": 1}, lanes=10, pixels=3, data_bits=128),
    small({"fixed6@dsp": 1}, lanes=2, pixels=1, accumulators=1),
]


def clear(accelerator) -> Compute:
    """A nest that gives every accumulator a value."""
    depth = accelerator.buffers.accumulators
    return Compute(
        loops=(Loop(count=depth, activations=0, weights=0, accumulators=1, reduction=False),),
        activations=0, weights=0, accumulators=0, activations_signed=False,
    )  # fmt: skip


def check(accelerator, contents: Contents, nests: list[Compute]) -> None:
    """Run ``nests`` back to back; compare accumulators, counts and the cycle of everything."""
    array, depth = accelerator.array, accelerator.buffers.accumulators
    latency = compute_latency(accelerator)
    sums = np.zeros((depth, array.column_count, array.pixels), dtype=np.int64)
    counts = accumulate(accelerator, contents, nests, sums)
    dut, result = ArrayBench(accelerator), np.zeros_like(sums)
    events, signals, accepts = dict.fromkeys(counts, 0), [], []

    async def bench(ctx):
        await fill(ctx, dut, accelerator, contents)
        pending = [data.Const(ComputeLayout, encode(nest)) for nest in nests]
        cycle = quiet = 0
        while quiet < 5:
            ctx.set(dut.unit.i.valid, bool(pending))
            if pending:
                ctx.set(dut.unit.i.payload, pending[0])
                if ctx.get(dut.unit.i.ready):
                    accepts.append(cycle)
                    pending.pop(0)
            if ctx.get(dut.unit.signal):
                signals.append((cycle, ctx.get(dut.unit.signal)))
            for name in events:
                events[name] += ctx.get(dut.unit.events[name])
            busy = ctx.get(dut.unit.busy)
            quiet += not pending and not busy
            assert busy == any(
                t < cycle <= t + nest.steps + latency
                for t, nest in zip(accepts, nests, strict=False)
            )
            cycle += 1
            await ctx.tick()
        for row, column, pixel in np.ndindex(*sums.shape):
            ctx.set(dut.array.drain_enable, 1)
            ctx.set(dut.array.drain_group, column)
            ctx.set(dut.array.drain.address, row)
            ctx.set(dut.array.drain.pixel, pixel)
            for _ in range(DRAIN_LATENCY):
                await ctx.tick()
                ctx.set(dut.array.drain_enable, 0)
            result[row, column, pixel] = ctx.get(dut.array.drained.as_signed())

    simulate(dut, bench)
    np.testing.assert_array_equal(result, sums)
    assert events == counts
    starts = [int(n) for n in np.cumsum([0, *(nest.steps for nest in nests)])]
    assert accepts == starts[:-1]
    assert signals == [
        (end + latency, sum(1 << token for token in nest.signal))
        for end, nest in zip(starts[1:], nests, strict=True)
        if nest.signal
    ]


@pytest.mark.parametrize(
    "accelerator",
    ACCELERATORS,
    ids=[
        *("mix", "tiny", "wide", "bits", "operations"),
        *("dsp 2x2", "dsp 1x3", "dsp 3x1", "dsp 1x2", "dsp 1x1"),
    ],
)
@pytest.mark.parametrize("seed", range(3))
def test_random_nests(accelerator, seed: int) -> None:
    print("seed", seed)
    rng = np.random.default_rng(seed)
    contents = Contents.random(rng, accelerator)
    nests = [random_nest(rng, accelerator, accumulate=i > 0) for i in range(6)]
    check(accelerator, contents, [clear(accelerator), *nests])


@pytest.mark.parametrize("period", [1, 2, 3, 4, 5])
def test_accumulators_in_turn(period: int) -> None:
    """A B A B ...: within one nest, and as nests of one step each."""
    accelerator = ACCELERATORS[0]
    contents = Contents.random(np.random.default_rng(period), accelerator)

    def nest(first: int, turns: int, count: int) -> Compute:
        return Compute(
            loops=(
                Loop(count=count, activations=1, weights=0, accumulators=1, reduction=False),
                Loop(count=turns, activations=0, weights=1, accumulators=0, reduction=True),
            ),
            activations=first, weights=first, accumulators=first,
            activations_signed=True, accumulate=True,
        )  # fmt: skip

    single = [nest(n % period, 1, 1) for n in range(4 * period)]
    check(accelerator, contents, [clear(accelerator), nest(0, 6, period), *single])


def test_parameters_wrong() -> None:
    with pytest.raises(ValueError, match=r"delay must be at least 3, not 2"):
        AccumulatorControl(address_bits=4, delay=2)
    with pytest.raises(ValueError, match=r"latency must be at least 1, not 0"):
        Finish(latency=0)
