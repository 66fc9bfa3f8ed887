# amaranth: UnusedElaboratable=no
"""AXI4-Lite front end: either order of AW and W, late B and R, and the cycles promised."""

from __future__ import annotations

import random

import pytest

from celosia.rtl.axi.lite import LiteFrontEnd

from .axi_memory import lite_read, lite_write
from .drivers import Log, simulate, watch


def writes_of(dut, log: Log):
    bus = dut.registers
    fields = [bus.write_address, bus.write_data, bus.write_strobe]
    return lambda ctx: watch(ctx, fields, log, when=bus.write)


@pytest.mark.parametrize("order", [0, 1, -1, 4, -4])
def test_writes_in_either_order(order):
    dut = LiteFrontEnd(address_bits=12)
    rng = random.Random(order)
    log = Log()
    items = [(rng.randrange(1024), rng.getrandbits(32), rng.getrandbits(4)) for _ in range(10)]

    async def bench(ctx):
        for address, value, strobe in items:
            response = await lite_write(
                ctx, dut.axi, 4 * address + rng.randrange(4), value, strobe=strobe, order=order
            )
            assert response == 0

    simulate(dut, bench, background=(writes_of(dut, log),))
    assert log.payloads == items


@pytest.mark.parametrize("wait", [0, 1, 5])
def test_reads(wait):
    dut = LiteFrontEnd(address_bits=12)
    rng = random.Random(wait)

    async def registers(ctx):
        while True:
            ctx.set(dut.registers.read_data, 3 * ctx.get(dut.registers.read_address))
            await ctx.tick()

    async def bench(ctx):
        for _ in range(10):
            address = rng.randrange(1024)
            assert await lite_read(ctx, dut.axi, 4 * address, wait=wait) == 3 * address

    simulate(dut, bench, background=(registers,))


def test_cycles_of_a_write_and_a_read():
    dut = LiteFrontEnd(address_bits=12)

    async def bench(ctx):
        for channel in ("aw", "w", "ar"):
            ctx.set(getattr(dut.axi, channel + "valid"), 1)
            assert ctx.get(getattr(dut.axi, channel + "ready"))
        await ctx.tick()
        assert ctx.get(dut.registers.write)
        assert not ctx.get(dut.axi.arready)
        assert not ctx.get(dut.axi.bvalid)
        assert not ctx.get(dut.axi.rvalid)
        await ctx.tick()
        # The next request of each kind is taken; its access waits for the response to be.
        for cycle in range(5):
            assert ctx.get(dut.axi.bvalid)
            assert ctx.get(dut.axi.rvalid)
            assert not ctx.get(dut.registers.write), cycle
            await ctx.tick()
        assert not ctx.get(dut.axi.awready)
        assert not ctx.get(dut.axi.wready)
        assert not ctx.get(dut.axi.arready)
        ctx.set(dut.axi.bready, 1)
        ctx.set(dut.axi.rready, 1)
        assert ctx.get(dut.registers.write)
        await ctx.tick()
        for channel in ("aw", "w", "ar"):
            assert ctx.get(getattr(dut.axi, channel + "ready"))

    simulate(dut, bench)


@pytest.mark.parametrize("bits", [2, 33])
def test_address_bits_wrong(bits):
    with pytest.raises(ValueError, match=rf"^address_bits must be 3 to 32, not {bits}$"):
        LiteFrontEnd(address_bits=bits)
