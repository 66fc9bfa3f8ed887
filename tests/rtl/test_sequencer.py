# amaranth: UnusedElaboratable=no
"""Sequencer behind the read port, with stalls everywhere."""

from __future__ import annotations

import random

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring

from celosia.dataflow.accelerator import Bus
from celosia.dataflow.descriptors import (
    End,
    Load,
    Stamp,
    Store,
    Unit,
)
from celosia.dataflow.microarchitecture import READ_LATENCY
from celosia.rtl.descriptors import encode
from celosia.rtl.legality import LAYOUT_OF, Rules
from celosia.rtl.readport import ReadPort
from celosia.rtl.sequencer import Sequencer

from .axi_memory import AxiMemory
from .bench_shell import PROGRAM, program_bytes
from .drivers import Log, simulate, split, watch
from .test_shell import a_compute, a_load, a_post, a_store

CHUNK = 256


class SequencerBench(wiring.Component):
    """The sequencer and the read port."""

    def __init__(self, bus: Bus) -> None:
        self.unit = Sequencer(Rules(bus=bus))
        self.port = ReadPort(bus)
        super().__init__({})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.unit = self.unit
        m.submodules.port = self.port
        wiring.connect(m, self.unit.o, self.port.program)
        wiring.connect(m, self.port.program_beats, self.unit.beats)
        m.d.comb += self.port.window.limit.eq(1 << 32)
        return m


def random_program(rng: random.Random, length: int) -> list:
    makers = [a_load, a_compute, a_post, a_store, lambda: Stamp(address=0x40)]
    return [rng.choice(makers)() for _ in range(length)] + [End()]


def unit_of(descriptor) -> Unit:
    if isinstance(descriptor, (Store, Stamp, End)):
        return Unit.STORE
    return Unit[type(descriptor).__name__.upper()]


async def consume(ctx, stream, unit: Unit, log: Log, stall: float) -> None:
    """Take raw descriptors for ever."""
    rng = random.Random(unit.value)
    cycle = 0
    bits = stream.payload.as_value()
    while True:
        ready = rng.random() >= stall
        ctx.set(stream.ready, ready)
        _, _, valid, payload = await ctx.tick().sample(stream.valid, bits)
        if valid and ready:
            log.append((cycle, (unit, payload)))
        cycle += 1


def run_program(bus: Bus, memory: AxiMemory, chunks: int, *, stall=0.0, until=None):
    """Start at cycle 1; return transfers to the units in order, and errors."""
    dut = SequencerBench(bus)
    logs = {unit: Log() for unit in Unit}
    errors = Log()
    error = dut.unit.error

    async def main(ctx):
        await ctx.tick()
        ctx.set(dut.unit.address, PROGRAM)
        ctx.set(dut.unit.chunks, chunks)
        ctx.set(dut.unit.start, 1)
        await ctx.tick()
        ctx.set(dut.unit.start, 0)
        last = encode(End()) % (1 << LAYOUT_OF[Unit.STORE].size)
        while not errors and (not logs[Unit.STORE] or logs[Unit.STORE][-1][1][1] != last):
            await ctx.tick()
        await ctx.tick().repeat(60)
        assert ctx.get(dut.port.idle)

    simulate(
        dut,
        main,
        background=(
            lambda ctx: memory.serve_reads(ctx, dut.port.axi),
            *(
                lambda ctx, unit=unit: consume(
                    ctx, getattr(dut.unit, unit.name.lower()), unit, logs[unit], stall
                )
                for unit in Unit
            ),
            lambda ctx: watch(ctx, [error.address], errors, when=error.raised),
        ),
    )
    return sorted((entry for log in logs.values() for entry in log), key=lambda e: e[0]), errors


@pytest.mark.parametrize(
    ("data_bits", "burst_beats", "stall"),
    [(64, 16, 0.0), (64, 5, 0.5), (128, 16, 0.6), (256, 1, 0.3), (512, 4, 0.0), (512, 64, 0.7)],
)
def test_descriptors_reach_their_units_in_order(data_bits, burst_beats, stall):
    rng = random.Random(data_bits)
    bus = Bus(data_bits=data_bits, address_bits=32, burst_beats=burst_beats, outstanding=3)
    program = random_program(rng, 21)
    content = program_bytes(program)
    memory = AxiMemory(data_bits=data_bits, stall=stall / 2, latency=6)
    memory.load(PROGRAM, content)
    chunks = len(content) // CHUNK
    transfers, errors = run_program(bus, memory, chunks, stall=stall)
    expected = []
    for descriptor in program:
        unit = unit_of(descriptor)
        expected.append((unit, encode(descriptor) % (1 << LAYOUT_OF[unit].size)))
    assert [what for _, what in transfers] == expected
    assert not errors
    bursts = [
        burst
        for chunk in range(chunks)
        for burst in split(PROGRAM + CHUNK * chunk, 2048 // data_bits, data_bits // 8, burst_beats)
    ]
    assert [(request.address, request.beats) for request in memory.reads] == bursts


def test_cycles_of_a_program():
    bus = Bus(data_bits=128, address_bits=32, burst_beats=16, outstanding=4)
    program = [*(a_load() for _ in range(12)), End()]
    memory = AxiMemory(data_bits=128, latency=20)
    memory.load(PROGRAM, program_bytes(program))
    transfers, _ = run_program(bus, memory, 4)
    cycles = [cycle for cycle, _ in transfers]
    # Started at 1, asked for at 2, taken at 3, on AR at 4; the second chunk 2 later.
    assert [request.cycle for request in memory.reads][:2] == [4, 6]
    arrived = [cycle + READ_LATENCY for cycle in memory.read_beats[3::4]]
    assert cycles[:12] == [cycle + 1 for cycle in arrived[:12]]
    # A chunk is asked for once 4 places are free: the third in the cycle after the fourth
    # descriptor left; on AR 2 cycles later.
    assert memory.reads[2].cycle == cycles[3] + 1 + 2
    # The end waits for the padding behind it.
    assert cycles[12] == arrived[15] + 1


@pytest.mark.parametrize("length", [3, 7])
def test_a_program_without_an_end_is_an_error(length):
    bus = Bus(data_bits=64, address_bits=32)
    program: list[Load] = [a_load() for _ in range(length + 1)]
    memory = AxiMemory(data_bits=64)
    memory.load(PROGRAM, program_bytes(program))
    transfers, errors = run_program(bus, memory, (length + 1) // 4)
    assert len(transfers) == length + 1
    assert errors.payloads[0] == (PROGRAM + 64 * (length + 1),)
    assert errors.cycles[0] == transfers[-1][0] + 2


def test_an_illegal_descriptor_stops_the_program():
    bus = Bus(data_bits=64, address_bits=32)
    memory = AxiMemory(data_bits=64)
    memory.load(PROGRAM, program_bytes([a_load(), a_store(), 0, a_load(), End()]))
    transfers, errors = run_program(bus, memory, 2)
    assert len(transfers) == 2
    assert set(errors.payloads) == {(PROGRAM + 128,)}
