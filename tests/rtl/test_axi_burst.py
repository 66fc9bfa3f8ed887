# amaranth: UnusedElaboratable=no
"""Burst splitter and window check against a walk over the beats."""

from __future__ import annotations

import random
from typing import Any

import pytest
from amaranth.hdl import Module, Signal
from amaranth.sim import Simulator

from celosia.rtl.axi.burst import BurstSplitter, inside_window
from celosia.rtl.ports import Window, burst_layout

from .drivers import STALLS, Log, put, settle, simulate, split, take


def random_runs(rng, beat_bytes, count=12):
    return [
        {
            "address": rng.randrange(0, 1 << 20, beat_bytes),
            "beats": rng.choice([1, 2, 3, rng.randrange(1, 100), 4096 // beat_bytes]),
            "last": rng.randrange(2),
        }
        for _ in range(count)
    ]


@pytest.mark.parametrize("data_bits", [64, 128, 256, 512])
@pytest.mark.parametrize(("source", "sink"), STALLS)
def test_bursts_equal_a_walk(data_bits, source, sink):
    rng = random.Random(data_bits)
    beat_bytes = data_bits // 8
    longest = rng.choice([1, 7, 16, 64])
    dut = BurstSplitter(address_bits=32, data_bits=data_bits, burst_beats=longest, run_bits=12)
    runs = random_runs(rng, beat_bytes)
    expected = []
    for run in runs:
        bursts = split(run["address"], run["beats"], beat_bytes, longest)
        expected += [
            {"address": a, "beats": n, "last": int(run["last"] and i == len(bursts) - 1)}
            for i, (a, n) in enumerate(bursts)
        ]
    got = Log()

    async def feed(ctx):
        await put(ctx, dut.i, runs, stall=source)
        await settle(ctx, got, len(expected))

    async def drain(ctx):
        await take(ctx, dut.o, got, stall=sink)

    simulate(dut, feed, background=(drain,))
    assert got.payloads == expected
    if source == sink == 0:
        assert got.cycles == list(range(1, 2 * len(expected), 2))


@pytest.mark.parametrize(("data_bits", "burst_beats"), [(64, 0), (64, 257), (512, 65)])
def test_burst_beats_wrong(data_bits, burst_beats):
    with pytest.raises(ValueError, match=rf"^burst_beats must be 1 to 256 .*, not {burst_beats}"):
        BurstSplitter(address_bits=32, data_bits=data_bits, burst_beats=burst_beats, run_bits=12)


def test_window():
    m = Module()
    burst: Any = Signal(burst_layout(32))
    window = Window(address_bits=32).create()
    allowed = inside_window(m, "it", burst, window, data_bits=64)
    rng = random.Random(7)

    async def bench(ctx):
        inside = 0
        for _ in range(400):
            base = rng.choice([0, 0x1008, 0x3000, rng.randrange(0, 1 << 15)])
            limit = rng.choice([1 << 32, 0x5000, 0x4FF8, base, rng.randrange(0, 1 << 15)])
            address = rng.choice([base & ~7, rng.randrange(0, 1 << 15, 8), 0xFFFFF000])
            beats = rng.randrange(1, min(256, (4096 - address % 4096) // 8) + 1)
            if rng.random() < 0.3 and limit > 8 * beats:
                address = min(limit - 8 * beats + rng.choice([-8, 0, 8]), 0xFFFFF000) & ~7
                beats = min(beats, (4096 - address % 4096) // 8)
            ctx.set(burst, {"address": address, "beats": beats})
            ctx.set(window.base, base)
            ctx.set(window.limit, limit)
            await ctx.delay(1e-9)
            expected = base <= address and address + 8 * beats <= limit
            assert ctx.get(allowed) == expected, (address, beats, base, limit)
            inside += expected
        assert 50 < inside < 350

    sim = Simulator(m)
    sim.add_testbench(bench)
    sim.run()
