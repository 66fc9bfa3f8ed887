# amaranth: UnusedElaboratable=no
"""Token counters against a dictionary; gates and queues in front of units."""

from __future__ import annotations

import random

from celosia.dataflow.descriptors import Token, Unit
from celosia.rtl.descriptors import LoadLayout
from celosia.rtl.ports import TOKEN_BITS, giver_mask, taker_mask
from celosia.rtl.tokens import Tokens, UnitQueue

from .drivers import Log, put, simulate, take


def test_masks_partition_the_tokens():
    for mask in (giver_mask, taker_mask):
        masks = [mask(unit) for unit in Unit]
        assert sum(masks) == (1 << len(Token)) - 1
        assert all(a & b == 0 for a in masks for b in masks if a is not b)


def test_masks_without_keeps():
    for mask in (giver_mask, taker_mask):
        assert sum(mask(unit, keeps=False) for unit in Unit) == (1 << Token.STORE_COMPUTE) - 1


def test_counters_follow_a_model():
    dut = Tokens(keeps=True)
    rng = random.Random(5)
    names = {unit: unit.name.lower() for unit in Unit}

    async def bench(ctx):
        counts = dict.fromkeys(Token, 0)
        granted = 0
        for _ in range(600):
            waits = {
                unit: rng.getrandbits(TOKEN_BITS) & rng.getrandbits(TOKEN_BITS) for unit in Unit
            }
            signals = {
                unit: rng.getrandbits(TOKEN_BITS) & rng.getrandbits(TOKEN_BITS) for unit in Unit
            }
            for unit, name in names.items():
                ctx.set(getattr(dut, name).wait, waits[unit])
                ctx.set(getattr(dut, f"{name}_signal"), signals[unit])
            for unit, name in names.items():
                mine = [t for t in Token if t.taker is unit and waits[unit] >> t & 1]
                expected = all(counts[token] for token in mine)
                assert ctx.get(getattr(dut, name).grant) == expected
                takes = expected and rng.random() < 0.7
                ctx.set(getattr(dut, name).take, takes)
                granted += bool(takes and mine)
                if takes:
                    for token in mine:
                        counts[token] -= 1
            for token in Token:
                counts[token] += signals[token.giver] >> token & 1
            await ctx.tick()
        assert granted > 50

    simulate(dut, bench)


def test_gate_waits_for_the_grant_and_takes_once():
    dut = UnitQueue(LoadLayout)
    got, takes = Log(), []

    async def feed(ctx):
        await put(ctx, dut.i, [{"opcode": 1, "wait": 1 << n, "words": n} for n in range(6)])

    async def drain(ctx):
        await take(ctx, dut.o, got)

    async def grants(ctx):
        for cycle in range(60):
            ctx.set(dut.tokens.grant, cycle % 5 == 4)
            _, _, wait, taken, valid = await ctx.tick().sample(
                dut.tokens.wait, dut.tokens.take, dut.o.valid
            )
            assert taken == valid
            if taken:
                takes.append((cycle, wait))

    simulate(dut, feed, grants, background=(drain,))
    assert takes == [(4 + 5 * n, 1 << n) for n in range(6)]
    assert [payload["words"] for payload in got.payloads] == list(range(6))
