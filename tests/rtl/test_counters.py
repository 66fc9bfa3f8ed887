# amaranth: UnusedElaboratable=no
"""Performance counters against Python's integers, with carries through all of their pieces."""

from __future__ import annotations

import random

from celosia.dataflow.program import Counter
from celosia.rtl import counters

from .drivers import simulate


def test_pieces_make_one_number(monkeypatch):
    monkeypatch.setattr(counters, "PIECE_BITS", 4)
    wide = Counter.READ_BEATS
    dut = counters.Counters(widths={wide.name.lower(): 3, Counter.WRITE_BEATS.name.lower(): 0})
    counted = [counter for counter in Counter if counter is not Counter.WRITE_BEATS]
    rng = random.Random(6)

    async def bench(ctx):
        now, before = dict.fromkeys(counted, 0), dict.fromkeys(counted, 0)
        highest = 0
        for cycle in range(1500):
            clear = cycle in (3, 900)
            ctx.set(dut.clear, clear)
            steps = {counter: rng.random() < 0.9 for counter in counted}
            steps[wide] = rng.randrange(8)
            for counter, step in steps.items():
                name = counter.name.lower()
                ctx.set(getattr(dut, f"{name}_step"), step)
                value = ctx.get(getattr(dut, name))
                assert value == (before if counter else now)[counter]
                highest = max(highest, value)
            assert ctx.get(getattr(dut, Counter.WRITE_BEATS.name.lower())) == 0
            before = dict.fromkeys(counted, 0) if clear else dict(now)
            for counter, step in steps.items():
                now[counter] = 0 if clear else now[counter] + step
            await ctx.tick()
        assert highest > 1 << 11

    simulate(dut, bench)
