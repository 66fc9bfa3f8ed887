# amaranth: UnusedElaboratable=no
"""Read port: order, priority, bursts in flight, window and responses."""

from __future__ import annotations

import random

import pytest

from celosia.dataflow.accelerator import Bus
from celosia.dataflow.microarchitecture import READ_LATENCY
from celosia.rtl.readport import ReadPort

from .axi_memory import AxiMemory
from .drivers import STALLS, Log, put, settle, simulate, watch


def bus(outstanding: int) -> Bus:
    return Bus(data_bits=64, address_bits=32, burst_beats=16, outstanding=outstanding)


def bursts(rng: random.Random, base: int) -> list[dict[str, int]]:
    found = []
    for _ in range(12):
        beats = rng.randrange(1, 9)
        offset = rng.randrange(0, 4096 - 8 * beats + 1, 8)
        found.append({"address": base + offset, "beats": beats})
    return found


def words(memory: AxiMemory, requests) -> list[int]:
    return [
        int.from_bytes(memory.dump(request["address"] + 8 * index, 8), "little")
        for request in requests
        for index in range(request["beats"])
    ]


@pytest.mark.parametrize("outstanding", [1, 3, 8])
@pytest.mark.parametrize(("source", "sink"), STALLS)
def test_beats_go_to_who_asked(outstanding, source, sink):
    rng = random.Random(outstanding)
    dut = ReadPort(bus(outstanding))
    memory = AxiMemory(data_bits=64, latency=9, stall=sink)
    memory.load(0x1000, rng.randbytes(0x2000))
    asked = {"program": bursts(rng, 0x1000), "load": bursts(rng, 0x2000)}
    total = sum(request["beats"] for requests in asked.values() for request in requests)
    got = {name: Log() for name in asked}
    taken = {name: Log() for name in asked}
    beats = Log()

    async def program(ctx):
        ctx.set(dut.window.limit, 1 << 32)
        await put(ctx, dut.program, asked["program"], stall=source, log=taken["program"])

    async def load(ctx):
        await put(ctx, dut.load, asked["load"], stall=source, seed=9, log=taken["load"])
        await settle(ctx, beats, total)
        assert ctx.get(dut.idle)
        await ctx.tick()

    simulate(
        dut,
        program,
        load,
        background=(
            lambda ctx: memory.serve_reads(ctx, dut.axi),
            lambda ctx: watch(ctx, [dut.beat], beats, when=dut.beat),
            *(
                lambda ctx, name=name, flow=flow: watch(
                    ctx, [flow.payload], got[name], when=flow.valid
                )
                for name, flow in (("program", dut.program_beats), ("load", dut.load_beats))
            ),
        ),
    )
    handed = sorted(got["program"].cycles + got["load"].cycles)
    assert handed == [cycle + READ_LATENCY for cycle in memory.read_beats]
    for name, requests in asked.items():
        assert [value for (value,) in got[name].payloads] == words(memory, requests)
    takes = sorted(taken["program"].cycles + taken["load"].cycles)
    ends = [0]
    for request in memory.reads:
        ends.append(ends[-1] + request.beats)
    last_beats = [memory.read_beats[end - 1] for end in ends[1:]]
    for index, cycle in enumerate(takes):
        in_flight = index - sum(last < cycle for last in last_beats)
        assert in_flight < outstanding
        assert memory.reads[index].cycle > cycle
    if source == sink == 0:
        assert taken["program"].cycles[-1] < taken["load"].cycles[0]
        assert [request.cycle for request in memory.reads] == [cycle + 1 for cycle in takes]
        for index in range(outstanding, len(takes)):
            assert takes[index] == max(takes[index - 1], last_beats[index - outstanding]) + 1


def test_burst_outside_the_window_is_refused():
    dut = ReadPort(bus(8))

    async def bench(ctx):
        ctx.set(dut.window.base, 0x1000)
        ctx.set(dut.window.limit, 0x1100)
        ctx.set(dut.axi.arready, 1)
        for address, beats, inside in [
            (0x1000, 32, True),
            (0x0FF8, 1, False),
            (0x10F8, 2, False),
            (0x10F8, 1, True),
            (0x5000, 1, False),
        ]:
            ctx.set(dut.load.payload, {"address": address, "beats": beats})
            ctx.set(dut.load.valid, 1)
            ctx.set(dut.stop, 1)
            assert not ctx.get(dut.load.ready)
            await ctx.tick()
            assert not ctx.get(dut.window_error.raised)
            ctx.set(dut.stop, 0)
            assert ctx.get(dut.load.ready)
            await ctx.tick()
            assert ctx.get(dut.axi.arvalid) == inside
            assert ctx.get(dut.window_error.raised) != inside
            assert ctx.get(dut.window_error.address) == address
            ctx.set(dut.load.valid, 0)
            await ctx.tick()
            assert not ctx.get(dut.window_error.raised)

    simulate(dut, bench)


def test_response_error_names_the_burst():
    dut = ReadPort(bus(2))
    memory = AxiMemory(data_bits=64, bad={0x1010})
    errors = Log()

    async def bench(ctx):
        ctx.set(dut.window.limit, 1 << 32)
        await put(ctx, dut.load, [{"address": 0x1008, "beats": 3}, {"address": 0x40, "beats": 1}])
        await ctx.tick().repeat(20)

    simulate(
        dut,
        bench,
        background=(
            lambda ctx: memory.serve_reads(ctx, dut.axi),
            lambda ctx: watch(
                ctx, [dut.response_error.address], errors, when=dut.response_error.raised
            ),
        ),
    )
    assert errors.payloads == [(0x1008,)]
    assert errors.cycles == [memory.read_beats[1] + 1]
