# amaranth: UnusedElaboratable=no
"""Load unit behind the read port, against a walk over the transfers."""

from __future__ import annotations

import random

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring

from celosia.dataflow.accelerator import Accelerator, Buffers, Bus
from celosia.dataflow.array_shape import ArrayShape, ColumnGroup
from celosia.dataflow.descriptors import Buffer, Load, Token, Transfer
from celosia.dataflow.microarchitecture import READ_LATENCY, word_beats
from celosia.models.formats import Fixed
from celosia.rtl.descriptors import encode
from celosia.rtl.load import Load as LoadUnit
from celosia.rtl.readport import ReadPort

from .axi_memory import AxiMemory
from .drivers import Log, put, settle, simulate, split, transfer_runs, watch


def accelerator(data_bits: int, *, outstanding=4, burst_beats=16, lanes=16) -> Accelerator:
    return Accelerator(
        name="test",
        array=ArrayShape(
            columns=(ColumnGroup(format=Fixed(bits=8, signed=True), count=4),),
            lanes=lanes,
            pixels=2,
        ),
        buffers=Buffers(
            activations=64, weights=64, accumulators=64, constants=64, residuals=64, outputs=64
        ),
        bus=Bus(
            data_bits=data_bits,
            address_bits=32,
            burst_beats=burst_beats,
            outstanding=outstanding,
        ),
        post_lanes=4,
    )


class LoadBench(wiring.Component):
    """The unit and the read port."""

    def __init__(self, config: Accelerator) -> None:
        self.unit = LoadUnit(config)
        self.port = ReadPort(config.bus)
        super().__init__({})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.unit = self.unit
        m.submodules.port = self.port
        wiring.connect(m, self.unit.o, self.port.load)
        wiring.connect(m, self.port.load_beats, self.unit.beats)
        m.d.comb += self.port.window.limit.eq(1 << 32)
        return m


def random_load(rng: random.Random, config: Accelerator) -> Load:
    target = rng.choice(list(Buffer)[:4])  # there are no tables
    beat = config.bus.data_bytes
    counts = {name: rng.choice([1, 1, 2, 3]) for name in ("n1", "n2", "n3")}
    return Load(
        target=target,
        lane=rng.randrange(4),
        transfer=Transfer(
            address=rng.randrange(0x8000, 0x10000, beat),
            buffer_address=rng.randrange(100),
            words=rng.choice([1, 1, 2, 5, 40]),
            **counts,
            **{f"s{loop}": rng.randrange(-0x800, 0x800, beat) for loop in (1, 2, 3)},
            **{f"d{loop}": rng.randrange(0, 50) for loop in (1, 2, 3)},
        ),
        signal=frozenset({rng.choice([Token.LOAD_COMPUTE, Token.LOAD_POST])}),
    )


def expected_writes(memory: AxiMemory, config: Accelerator, load: Load):
    beats = word_beats(load.target, config)
    for address, buffer_address, i3 in transfer_runs(load.transfer):
        for index in range(load.transfer.words * beats):
            content = memory.dump(address + index * memory.beat_bytes, memory.beat_bytes)
            yield (
                load.target.value,
                load.lane + i3,
                (buffer_address + index // beats) % (1 << 16),
                index % beats,
                int.from_bytes(content, "little"),
            )


def run_loads(config: Accelerator, loads: list[Load], memory: AxiMemory):
    """Run the unit; return logs of accepts, writes, signals and cycles of being busy."""
    dut = LoadBench(config)
    unit, write = dut.unit, dut.unit.write
    accepts, writes, signals, busy = Log(), Log(), Log(), Log()
    fields = [write.target, write.lane, write.address, write.slice, write.data]
    beats = sum(
        len(transfer_runs(load.transfer)) * load.transfer.words * word_beats(load.target, config)
        for load in loads
    )

    async def feed(ctx):
        await put(ctx, unit.i, [encode(load) % (1 << 322) for load in loads], log=accepts)
        await settle(ctx, writes, beats)

    simulate(
        dut,
        feed,
        background=(
            lambda ctx: memory.serve_reads(ctx, dut.port.axi),
            lambda ctx: watch(ctx, fields, writes, when=write.enable),
            lambda ctx: watch(ctx, [unit.signal], signals, when=unit.signal != 0),
            lambda ctx: watch(ctx, [unit.busy], busy, when=unit.busy),
        ),
    )
    return accepts, writes, signals, busy


def filled(memory: AxiMemory) -> AxiMemory:
    rng = random.Random(11)
    memory.load(0x6000, rng.randbytes(0xC000))
    return memory


@pytest.mark.parametrize("data_bits", [64, 128, 256, 512])
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_loads_write_what_memory_holds(data_bits, stall):
    rng = random.Random(data_bits)
    config = accelerator(data_bits, burst_beats=rng.choice([1, 5, 8, 16]))
    memory = filled(AxiMemory(data_bits=data_bits, stall=stall, latency=7))
    loads = [random_load(rng, config) for _ in range(6)]
    _, writes, signals, _ = run_loads(config, loads, memory)
    assert writes.payloads == [w for load in loads for w in expected_writes(memory, config, load)]
    assert signals.payloads == [(sum(1 << t for t in load.signal),) for load in loads]
    expected = []
    for load in loads:
        beats = load.transfer.words * word_beats(load.target, config)
        for address, _, _ in transfer_runs(load.transfer):
            bus = config.bus
            expected += split(address, beats, bus.data_bytes, bus.burst_beats)
    assert [(request.address, request.beats) for request in memory.reads] == expected


def test_cycles_of_one_load():
    config = accelerator(64)
    memory = filled(AxiMemory(data_bits=64, latency=5))
    load = Load(
        target=Buffer.ACTIVATIONS,
        transfer=Transfer(address=0x8000, buffer_address=0, words=4, n1=3, s1=256),
        signal=frozenset({Token.LOAD_COMPUTE}),
    )
    accepts, writes, signals, busy = run_loads(config, [load], memory)
    assert accepts.cycles == [0]
    # Offered and taken at t+2, on AR at t+3; then one every 2 cycles.
    assert [request.cycle for request in memory.reads] == [3, 5, 7]
    assert memory.read_beats[0] == 3 + 5
    assert writes.cycles == [cycle + READ_LATENCY + 1 for cycle in memory.read_beats]
    assert signals.cycles == [memory.read_beats[-1] + READ_LATENCY + 1]
    assert busy.cycles == list(range(1, signals.cycles[0] + 1))


def test_small_loads_follow_each_other_and_fill_the_queue():
    config = accelerator(64, outstanding=32)
    memory = filled(AxiMemory(data_bits=64, latency=80))
    load = Load(
        target=Buffer.RESIDUALS,
        transfer=Transfer(address=0x8000, buffer_address=0, words=1),
        signal=frozenset({Token.LOAD_POST}),
    )
    accepts, _, signals, _ = run_loads(config, [load] * 12, memory)
    # The data half holds one and the queue 8; the tenth waits for the first's last beat.
    assert accepts.cycles[:9] == list(range(0, 27, 3))
    first_last_beat = signals.cycles[0] - 1
    assert accepts.cycles[9] == first_last_beat + 1
    assert signals.cycles[:2] == [memory.read_beats[n] + READ_LATENCY + 1 for n in (1, 3)]
