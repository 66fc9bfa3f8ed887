# amaranth: UnusedElaboratable=no
"""The affine nest against Python loops, back to back and with a stalling producer."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from amaranth.sim import Simulator

from celosia.rtl.affine import AffineNest

LOOPS, OPERANDS = 4, 2


def walk(counts, strides, bases, watched):
    """Yield (addresses, zero) of each step; loop 0 is innermost."""
    for outer_first in itertools.product(*(range(count) for count in reversed(counts))):
        index = outer_first[::-1]
        addresses = tuple(
            (base + sum(i * stride[operand] for i, stride in zip(index, strides, strict=True)))
            & 0xFFFF
            for operand, base in enumerate(bases)
        )
        yield addresses, not any(i for loop, i in enumerate(index) if watched >> loop & 1)


def payload(counts, strides, bases, watched):
    deltas, inner = [], np.zeros(OPERANDS, dtype=int)
    for count, stride in zip(counts, strides, strict=True):
        deltas.append([int(d) & 0xFFFF for d in np.array(stride) - inner])
        inner += np.array(stride) * (count - 1)
    return {"counts": counts, "deltas": deltas, "addresses": bases, "watched": watched}


@pytest.mark.parametrize("stall", [False, True])
def test_random_nests(stall: bool) -> None:
    rng = np.random.default_rng(7)
    nests = [
        (
            [int(n) for n in rng.integers(1, 4, LOOPS)],
            rng.integers(-2, 3, (LOOPS, OPERANDS)).tolist(),
            [int(n) for n in rng.integers(0, 1 << 16, OPERANDS)],
            int(rng.integers(1 << LOOPS)),
        )
        for _ in range(8)
    ] + [([1] * LOOPS, [[0] * OPERANDS] * LOOPS, [5, 6], 1)] * 3
    dut = AffineNest(loops=LOOPS, operands=OPERANDS)
    seen, idle = [], 0

    async def produce(ctx):
        for nest in nests:
            if stall:
                await ctx.tick().repeat(int(rng.integers(0, 5)) + 1)
            ctx.set(dut.i.payload, payload(*nest))
            ctx.set(dut.i.valid, 1)
            await ctx.tick().until(dut.i.ready)
            ctx.set(dut.i.valid, 0)

    async def watch(ctx):
        nonlocal idle
        total = sum(int(np.prod(counts)) for counts, *_ in nests)
        while len(seen) < total:
            if ctx.get(dut.step):
                addresses = tuple(ctx.get(dut.addresses[n]) for n in range(OPERANDS))
                seen.append(
                    (
                        addresses, bool(ctx.get(dut.zero)), ctx.get(dut.changed),
                        ctx.get(dut.start), ctx.get(dut.last),
                    )
                )  # fmt: skip
            elif seen:
                idle += 1
            await ctx.tick()

    sim = Simulator(dut)
    sim.add_clock(1e-6)
    sim.add_testbench(produce)
    sim.add_testbench(watch)
    sim.run()
    expected = []
    for nest in nests:
        steps = list(walk(*nest))
        for number, (addresses, zero) in enumerate(steps):
            before = steps[number - 1][0] if number else (None,) * OPERANDS
            changed = sum(
                (a != b) << n for n, (a, b) in enumerate(zip(addresses, before, strict=True))
            )
            expected.append((addresses, zero, changed, number == 0, number == len(steps) - 1))
    assert seen == expected
    assert stall or idle == 0  # one step a cycle, from one nest to the next
