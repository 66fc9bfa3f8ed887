# amaranth: UnusedElaboratable=no
"""A unit's own reset, in Amaranth and in the Verilog."""

from __future__ import annotations

import re

from amaranth.hdl import Module
from amaranth.lib.wiring import In, Out

from celosia.rtl.shared import Shared
from celosia.rtl.unit_reset import add_unit
from celosia.rtl.verilog import write_verilog

from .drivers import simulate


class Count(Shared):
    """A counter of cycles."""

    def __init__(self) -> None:
        super().__init__({"o": Out(8)}, name="count", parameters=())

    def build(self) -> Module:
        m = Module()
        m.d.sync += self.o.eq(self.o + 1)
        return m


class Counts(Shared):
    """Two counters, one of which is reset."""

    def __init__(self) -> None:
        super().__init__(
            {"renew": In(1), "o": Out(8), "free": Out(8)}, name="counts", parameters=()
        )

    def build(self) -> Module:
        m = Module()
        m.submodules.free = free = Count()
        count = add_unit(m, "renewed", Count(), self.renew)
        m.d.comb += [self.o.eq(count.o), self.free.eq(free.o)]
        return m


def test_a_unit_is_reset_a_cycle_later():
    dut = Counts()

    async def bench(ctx):
        await ctx.tick().repeat(5)
        assert (ctx.get(dut.o), ctx.get(dut.free)) == (4, 5)  # of the first after power-up none
        ctx.set(dut.renew, 1)
        await ctx.tick()
        ctx.set(dut.renew, 0)
        assert ctx.get(dut.o) == 5
        await ctx.tick()
        assert ctx.get(dut.o) == 0
        await ctx.tick()
        assert (ctx.get(dut.o), ctx.get(dut.free)) == (1, 8)

    simulate(dut, bench)


def test_no_logic_lies_in_front_of_a_units_reset():
    text = write_verilog(Counts())
    renewed = re.search(r"count renewed \((.*?)\);", text, flags=re.S)
    assert renewed is not None
    assert re.search(r"\.rst\(reset\w*\)", renewed[1]), renewed[1]
    assert "reg reset = 1'h1;" in text.split("module unit_reset")[1]
