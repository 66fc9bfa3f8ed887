# amaranth: UnusedElaboratable=no
"""Run and word walkers against Python's loops."""

from __future__ import annotations

import random

import pytest

from celosia.rtl.walk import RunWalker, WordWalker

from .drivers import STALLS, Log, put, settle, simulate, take


def random_nest(rng, *, wide: bool):
    low, high = (-(1 << 31), (1 << 31) - 1) if wide else (-300, 300)
    counts = {f"n{loop}": rng.choice([1, 1, 2, 3, 5]) for loop in (1, 2, 3)}
    strides = {f"s{loop}": rng.randrange(low, high) for loop in (1, 2, 3)}
    return {"address": rng.randrange(1 << 16), "lane": rng.randrange(200), **counts, **strides}


def starts(nest, bits):
    found = []
    for i3 in range(nest["n3"]):
        for i2 in range(nest["n2"]):
            for i1 in range(nest["n1"]):
                offset = i1 * nest["s1"] + i2 * nest["s2"] + i3 * nest["s3"]
                address = (nest["address"] + offset) % (1 << bits)
                found.append({"address": address, "lane": nest["lane"] + i3, "last": 0})
    found[-1]["last"] = 1
    return found


@pytest.mark.parametrize(("source", "sink"), STALLS)
def test_runs_equal_loops(source, sink):
    rng = random.Random(3)
    dut = RunWalker(address_bits=40, stride_bits=32, lane_bits=8)
    nests = [random_nest(rng, wide=True) for _ in range(8)]
    expected = [start for nest in nests for start in starts(nest, 40)]
    got = Log()

    async def feed(ctx):
        await put(ctx, dut.i, nests, stall=source)
        await settle(ctx, got, len(expected))

    async def drain(ctx):
        await take(ctx, dut.o, got, stall=sink)

    simulate(dut, feed, background=(drain,))
    assert got.payloads == expected
    if source == sink == 0:
        assert got.cycles == list(range(1, len(expected) + 1))


@pytest.mark.parametrize(("source", "sink"), STALLS)
def test_words_equal_loops(source, sink):
    rng = random.Random(4)
    dut = WordWalker(lane_bits=8)
    items, expected = [], []
    for _ in range(8):
        nest, words = random_nest(rng, wide=False), rng.choice([1, 1, 2, 7])
        items.append({"nest": nest, "words": words})
        for start in starts(nest, 16):
            for index in range(words):
                address = (start["address"] + index) % (1 << 16)
                last = int(start["last"] and index == words - 1)
                expected.append({"address": address, "lane": start["lane"], "last": last})
    got = Log()

    async def feed(ctx):
        await put(ctx, dut.i, items, stall=source)
        await settle(ctx, got, len(expected))

    async def drain(ctx):
        await take(ctx, dut.o, got, stall=sink)

    simulate(dut, feed, background=(drain,))
    assert got.payloads == expected
    if source == sink == 0:
        assert got.cycles == list(range(1, len(expected) + 1))
