# amaranth: UnusedElaboratable=no
"""Queue against a list, with stalls on both sides."""

from __future__ import annotations

import random

import pytest

from celosia.rtl.queue import Queue, RegisterQueue

from .drivers import STALLS, Log, put, settle, simulate, take


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 8])
@pytest.mark.parametrize(("source", "sink"), STALLS)
def test_queue_keeps_order(depth, source, sink):
    dut = Queue(16, depth=depth)
    rng = random.Random(depth)
    items = [rng.getrandbits(16) for _ in range(40)]
    given, got = Log(), Log()

    async def feed(ctx):
        await put(ctx, dut.i, items, stall=source, log=given)
        await settle(ctx, got, len(items))

    async def drain(ctx):
        await take(ctx, dut.o, got, stall=sink)

    simulate(dut, feed, background=(drain,))
    assert got.payloads == items
    assert all(out > into for into, out in zip(given.cycles, got.cycles, strict=True))
    if depth > 1 and source == sink == 0:
        assert [out - into for into, out in zip(given.cycles, got.cycles, strict=True)] == [1] * 40
        assert given.cycles == list(range(40))


def test_queue_holds_its_depth():
    dut = Queue(8, depth=3)

    async def bench(ctx):
        for item in range(3):
            ctx.set(dut.i.payload, item)
            ctx.set(dut.i.valid, 1)
            assert ctx.get(dut.i.ready)
            await ctx.tick()
        assert not ctx.get(dut.i.ready)
        ctx.set(dut.i.valid, 0)
        ctx.set(dut.o.ready, 1)
        assert not ctx.get(dut.i.ready)
        await ctx.tick()
        assert ctx.get(dut.i.ready)

    simulate(dut, bench)


@pytest.mark.parametrize("depth", [0, -1])
@pytest.mark.parametrize("kind", [Queue, RegisterQueue])
def test_depth_wrong(kind, depth):
    with pytest.raises(ValueError, match=rf"^depth must be at least 1, not {depth}$"):
        kind(8, depth=depth)


def test_width_wrong():
    with pytest.raises(ValueError, match=r"^width must be at least 1, not 0$"):
        RegisterQueue(0, depth=1)
