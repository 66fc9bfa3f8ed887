# amaranth: UnusedElaboratable=no
"""The host link: serial port, commands, registers and memory, in simulation."""

import binascii
import random
import struct

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.sim import Simulator

from celosia.fpga.axi_ram import AxiRam
from celosia.fpga.ecp5_top import share_accesses
from celosia.fpga.frames import ANSWER, MOST_WORDS, REQUEST, Operation, Outcome
from celosia.fpga.host_link import HostLink
from celosia.fpga.lite_manager import LiteManager
from celosia.fpga.uart import UartReceiver, UartTransmitter
from celosia.rtl.axi.bus import Response
from celosia.rtl.axi.lite import LiteFrontEnd

SEED = 20261121


def simulate(dut, *testbenches, cycles=20_000):
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    for testbench in testbenches:
        simulator.add_testbench(testbench)

    async def deadline(ctx):
        for _ in range(cycles):
            await ctx.tick()
        raise AssertionError(f"not finished after {cycles} cycles")

    simulator.add_testbench(deadline, background=True)
    simulator.run()


async def put(ctx, stream, values, rng=None):
    for value in values:
        while rng and rng.random() < 0.5:
            await ctx.tick()
        ctx.set(stream.payload, value)
        ctx.set(stream.valid, 1)
        await ctx.tick().until(stream.ready)
        ctx.set(stream.valid, 0)


async def get(ctx, stream, count, rng=None):
    values = []
    for _ in range(count):
        while rng and rng.random() < 0.5:
            await ctx.tick()
        ctx.set(stream.ready, 1)
        (payload,) = await ctx.tick().sample(stream.payload).until(stream.valid)
        ctx.set(stream.ready, 0)
        values.append(payload)
    return values


@pytest.mark.parametrize("divisor", [4, 5, 16])
def test_serial_bytes_go_round(divisor):
    rng = random.Random(SEED)
    sent = [0x00, 0xFF, 0x55, *(rng.randrange(256) for _ in range(12))]
    m = Module()
    m.submodules.tx = tx = UartTransmitter(divisor=divisor)
    m.submodules.rx = rx = UartReceiver(divisor=divisor)
    m.d.comb += rx.wire.eq(tx.wire)

    async def receive(ctx):
        assert await get(ctx, rx.o, len(sent)) == sent

    async def send(ctx):
        await put(ctx, tx.i, sent)

    simulate(m, send, receive)


def test_serial_byte_takes_ten_bits_and_noise_is_no_byte():
    tx, rx = UartTransmitter(divisor=8), UartReceiver(divisor=8)
    m = Module()
    m.submodules += [tx, rx]

    async def send(ctx):
        ctx.set(rx.wire, 1)
        assert ctx.get(tx.wire) == 1
        await put(ctx, tx.i, [0b0101_0011])
        bits = []
        for _ in range(10):
            await ctx.tick().repeat(4)
            bits.append(ctx.get(tx.wire))
            await ctx.tick().repeat(4)
        assert bits == [0, 1, 1, 0, 0, 1, 0, 1, 0, 1]
        assert ctx.get(tx.i.ready) == 1
        # A spike, and a byte without its stop bit.
        for low in (2, 200):
            ctx.set(rx.wire, 1)
            await ctx.tick().repeat(40)
            ctx.set(rx.wire, 0)
            await ctx.tick().repeat(low if low < 8 else 78)
            ctx.set(rx.wire, 1)
            await ctx.tick().repeat(120)
            assert ctx.get(rx.o.valid) == 0

    simulate(m, send)


@pytest.mark.parametrize("component", [UartReceiver, UartTransmitter])
def test_divisor_wrong(component):
    with pytest.raises(ValueError, match="divisor must be at least 4 cycles a bit, not 3"):
        component(divisor=3)


class Registers:
    """An AXI4-Lite register file of 16 words, for the link to talk to."""

    def __init__(self):
        self.values = [0] * 16

    async def serve(self, ctx, bus):
        while True:
            ctx.set(bus.read_data, self.values[ctx.get(bus.read_address) % 16])
            if ctx.get(bus.write):
                self.values[ctx.get(bus.write_address) % 16] = ctx.get(bus.write_data)
            await ctx.tick()


def linked(size=4096, data_bits=64):
    """Return a module with a link, its registers' bus and a memory."""
    m = Module()
    m.submodules.link = link = HostLink(memory_bytes=size, silence=200)
    m.submodules.ram = ram = AxiRam(address_bits=40, data_bits=data_bits, size_bytes=size)
    m.submodules.manager = manager = LiteManager(address_bits=12)
    m.submodules.front = front = LiteFrontEnd(address_bits=12)
    wiring.connect(m, manager.axi, front.axi)
    share_accesses(m, link, ram, manager)
    return m, link, front, ram


def request(operation, number, address, count, words=()):
    """Return the bytes of a request, its checksums by the standard library."""
    header = checked(struct.pack("<BBIH", operation, number, address, count))
    contents = checked(struct.pack(f"<{len(words)}I", *words)) if words else b""
    return bytes([REQUEST]) + header + contents


def checked(raw):
    return raw + binascii.crc_hqx(raw, 0xFFFF).to_bytes(2, "big")


def answer(outcome, number, words=()):
    return bytes([ANSWER]) + checked(
        bytes([outcome, number]) + struct.pack(f"<{len(words)}I", *words)
    )


def converse(sent, expected, *, stalls=False, data_bits=64):
    """Send bytes, ``None`` for a silence, to a link; what it answers must be ``expected``."""
    m, link, front, _ = linked(data_bits=data_bits)
    registers = Registers()

    async def host(ctx):
        rng = random.Random(1) if stalls else None
        for part in sent:
            if part is None:
                await ctx.tick().repeat(300)
            else:
                await put(ctx, link.i, part, rng)

    async def check(ctx):
        received = await get(ctx, link.o, len(expected), random.Random(2) if stalls else None)
        assert bytes(received) == expected
        await ctx.tick().repeat(100)
        assert ctx.get(link.o.valid) == 0

    simulate_with_registers(m, registers, front.registers, host, check)
    return registers


@pytest.mark.parametrize("stalls", [False, True])
@pytest.mark.parametrize("data_bits", [64, 128])
def test_words_written_are_read_back(stalls, data_bits):
    rng = random.Random(SEED)
    words = [rng.getrandbits(32) for _ in range(9)]
    sent = [
        bytes([0, 0x99]),  # no requests: skipped
        request(Operation.WRITE_MEMORY, 1, 0x104, 9, words),
        request(Operation.WRITE_REGISTER, 2, 0x8, 1, [0xDEADBEEF]),
        request(Operation.READ_MEMORY, 3, 0x108, 3),
        request(Operation.READ_REGISTER, 4, 0x8, 2),
        request(Operation.READ_MEMORY, 5, 0x104, 1),
    ]
    expected = (
        answer(Outcome.DONE, 1) + answer(Outcome.DONE, 2)
        + answer(Outcome.DONE, 3, words[1:4]) + answer(Outcome.DONE, 4, [0xDEADBEEF] * 2)
        + answer(Outcome.DONE, 5, words[:1])
    )  # fmt: skip
    registers = converse(sent, expected, stalls=stalls, data_bits=data_bits)
    assert registers.values[2] == 0xDEADBEEF


@pytest.mark.parametrize(
    ("operation", "address", "count", "outcome"),
    [
        (Operation.WRITE_MEMORY, 4096 - 4, 2, Outcome.OUTSIDE),
        (Operation.WRITE_MEMORY, 0xFFFF_FFFC, 2, Outcome.OUTSIDE),
        (Operation.WRITE_MEMORY, 2, 1, Outcome.OUTSIDE),
        (Operation.WRITE_REGISTER, 0x1000, 1, Outcome.OUTSIDE),
        (Operation.READ_REGISTER, 0x1000, 1, Outcome.OUTSIDE),
        (Operation.READ_MEMORY, 4096, 1, Outcome.OUTSIDE),
        (Operation.READ_MEMORY, 0, 0, Outcome.UNKNOWN),
        (Operation.READ_MEMORY, 0, MOST_WORDS + 1, Outcome.UNKNOWN),
        (0x33, 0, 1, Outcome.UNKNOWN),
    ],
)
def test_refused_and_nothing_is_done(operation, address, count, outcome):
    words = [] if operation & 1 else [7] * count
    sent = [
        request(Operation.WRITE_MEMORY, 1, 4096 - 4, 1, [5]),
        request(operation, 2, address, count, words),
        request(Operation.READ_MEMORY, 3, 4096 - 4, 1),
        request(Operation.READ_REGISTER, 4, 0, 1),
    ]
    expected = answer(Outcome.DONE, 1) + answer(outcome, 2)
    expected += answer(Outcome.DONE, 3, [5]) + answer(Outcome.DONE, 4, [0])
    converse(sent, expected)


@pytest.mark.parametrize("position", [*range(1, 11), 13, 18])
@pytest.mark.parametrize("bit", [0, 7])
def test_damaged_request_does_nothing(position, bit):
    """One bit is wrong anywhere: either no answer, or that the words were damaged."""
    good = request(Operation.WRITE_MEMORY, 1, 0, 2, [1, 2])
    damaged = bytearray(good)
    damaged[position] ^= 1 << bit
    sent = [good, bytes(damaged), None, request(Operation.READ_MEMORY, 3, 0, 2)]
    said = answer(Outcome.CORRUPT, 1) if position > 10 else b""
    converse(sent, answer(Outcome.DONE, 1) + said + answer(Outcome.DONE, 3, [1, 2]))


@pytest.mark.parametrize("length", [1, 5, 10, 12, 18])
def test_request_that_stops_is_given_up(length):
    whole = request(Operation.WRITE_MEMORY, 1, 0, 2, [8, 9])
    sent = [whole[:length], None, request(Operation.READ_MEMORY, 2, 0, 1)]
    converse(sent, answer(Outcome.DONE, 2, [0]))


def test_a_command_asked_for_twice_acts_once():
    """A write of registers whose answer was lost is asked for again, with its number."""
    m, link, front, _ = linked()
    writes = []
    start = request(Operation.WRITE_REGISTER, 1, 0x20, 1, [1])
    sent = start + start + request(Operation.WRITE_REGISTER, 2, 0x20, 1, [1])
    sent += request(Operation.READ_REGISTER, 3, 0, 1) + start[:2] + start[2:]

    async def host(ctx):
        await put(ctx, link.i, sent)

    async def check(ctx):
        await get(ctx, link.o, 4 * len(answer(0, 0)) + len(answer(0, 0, [0])))

    class Watched(Registers):
        async def serve(self, ctx, bus):
            while True:
                if ctx.get(bus.write):
                    writes.append(ctx.get(bus.write_address))
                await ctx.tick()

    simulate_with_registers(m, Watched(), front.registers, host, check)
    assert len(writes) == 3


@pytest.mark.parametrize(("size", "silence", "name"), [(6, 9, "memory_bytes"), (8, 0, "silence")])
def test_link_wrong(size, silence, name):
    with pytest.raises(ValueError, match=name):
        HostLink(memory_bytes=size, silence=silence)


def simulate_with_registers(dut, registers, bus, *testbenches):
    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    for testbench in testbenches:
        simulator.add_testbench(testbench)

    async def serve(ctx):
        await registers.serve(ctx, bus)

    simulator.add_testbench(serve, background=True)
    simulator.run()


async def axi_write(ctx, axi, address, beats, rng):
    ctx.set(axi.awaddr, address)
    ctx.set(axi.awlen, len(beats) - 1)
    ctx.set(axi.awvalid, 1)
    await ctx.tick().until(axi.awready)
    ctx.set(axi.awvalid, 0)
    ctx.set(axi.wstrb, -1)
    for index, beat in enumerate(beats):
        while rng.random() < 0.4:
            await ctx.tick()
        ctx.set(axi.wdata, beat)
        ctx.set(axi.wlast, index == len(beats) - 1)
        ctx.set(axi.wvalid, 1)
        await ctx.tick().until(axi.wready)
        ctx.set(axi.wvalid, 0)
    ctx.set(axi.bready, 1)
    (response,) = await ctx.tick().sample(axi.bresp).until(axi.bvalid)
    ctx.set(axi.bready, 0)
    return response


async def axi_read(ctx, axi, address, count, rng):
    ctx.set(axi.araddr, address)
    ctx.set(axi.arlen, count - 1)
    ctx.set(axi.arvalid, 1)
    await ctx.tick().until(axi.arready)
    ctx.set(axi.arvalid, 0)
    beats = []
    for index in range(count):
        while rng.random() < 0.4:
            await ctx.tick()
        ctx.set(axi.rready, 1)
        sampled = await ctx.tick().sample(axi.rdata, axi.rresp, axi.rlast).until(axi.rvalid)
        ctx.set(axi.rready, 0)
        assert sampled[2] == (index == count - 1)
        beats.append(sampled[0])
    return beats, sampled[1]


@pytest.mark.parametrize("size", [4096, 1 << 17])
@pytest.mark.parametrize("data_bits", [64, 128])
def test_engine_and_host_share_the_memory(size, data_bits):
    """Bursts of the engine with a host that reads and writes other words all the time."""
    rng = random.Random(SEED)
    ram = AxiRam(address_bits=40, data_bits=data_bits, size_bytes=size)
    beat_bytes = data_bits // 8
    expected = {}

    async def engine(ctx):
        for _ in range(12):
            count, row = rng.randrange(1, 17), rng.randrange(1600 // beat_bytes)
            beats = [rng.getrandbits(data_bits) for _ in range(count)]
            assert await axi_write(ctx, ram.axi, row * beat_bytes, beats, rng) == Response.OKAY
            expected.update({row + i: beat for i, beat in enumerate(beats)})
            start = rng.choice(sorted(expected))
            read, response = await axi_read(ctx, ram.axi, start * beat_bytes, 1, rng)
            assert (read, response) == ([expected[start]], Response.OKAY)
        read, _ = await axi_read(ctx, ram.axi, row * beat_bytes, count, rng)
        assert read == beats

    async def host(ctx):
        stalls = random.Random(3)
        for index in range(60):
            address, value = size // 2 + 4 * stalls.randrange(256), stalls.getrandbits(32)
            ctx.set(ram.access.p.address, address)
            ctx.set(ram.access.p.data, value)
            for write in (1, 0):
                ctx.set(ram.access.p.write, write)
                ctx.set(ram.access.valid, 1)
                await ctx.tick().until(ram.access.ready)
                ctx.set(ram.access.valid, 0)
                (answer,) = await get(ctx, ram.answer, 1, stalls)
            assert answer == value, index

    simulate(ram, engine, host)


BURSTS = [(5, 16), (504, 20), (1 << 20, 3), (0, 1), (40, 1), (3, 60)]
"""First row and beats; one goes round, one begins beyond the memory."""


@pytest.mark.parametrize("stalls", [False, True])
def test_bursts_read_one_behind_the_other(stalls):
    """Each is asked for when the port is free; every beat comes with its data and response."""
    ram = AxiRam(address_bits=40, data_bits=64, size_bytes=4096)
    rng = random.Random(SEED)
    rows = [rng.getrandbits(64) for _ in range(512)]
    taken = []

    async def ask(ctx):
        for start in range(0, 512, 256):
            await axi_write(ctx, ram.axi, 8 * start, rows[start : start + 256], random.Random(0))
        ctx.set(ram.axi.arvalid, 1)
        for row, count in BURSTS:
            ctx.set(ram.axi.araddr, 8 * row)
            ctx.set(ram.axi.arlen, count - 1)
            await ctx.tick().until(ram.axi.arready)
        ctx.set(ram.axi.arvalid, 0)

    async def take(ctx):
        axi, cycle, transfers = ram.axi, 0, 0
        await ctx.tick().until(axi.arvalid & axi.arready)
        for row, count in BURSTS:
            for index in range(count):
                while len(taken) == transfers:
                    cycle += 1
                    ctx.set(axi.rready, not stalls or rng.random() < 0.4)
                    beat = ctx.get(axi.rdata), ctx.get(axi.rresp), ctx.get(axi.rlast)
                    if ctx.get(axi.rvalid & axi.rready):
                        taken.append(cycle)
                    await ctx.tick()
                transfers += 1
                response = Response.DECERR if row >= 512 else Response.OKAY
                assert beat == (rows[(row + index) % 512], response, index == count - 1)

    simulate(ram, ask, take)
    if not stalls:
        beats = sum(count for _, count in BURSTS)
        assert (taken[0], taken[-1]) == (5, 4 + beats + len(BURSTS) - 1)


def test_address_beyond_the_memory_is_a_decode_error():
    ram = AxiRam(address_bits=40, data_bits=64, size_bytes=4096)
    rng = random.Random(SEED)

    async def engine(ctx):
        assert await axi_write(ctx, ram.axi, 0, [7], rng) == Response.OKAY
        assert await axi_write(ctx, ram.axi, 1 << 32, [9], rng) == Response.DECERR
        assert (await axi_read(ctx, ram.axi, 4096, 1, rng))[1] == Response.DECERR
        assert await axi_read(ctx, ram.axi, 0, 1, rng) == ([7], Response.OKAY)

    simulate(ram, engine)


@pytest.mark.parametrize("size", [0, 2048, 5000])
def test_memory_size_wrong(size):
    with pytest.raises(ValueError, match=f"power of two from 4096, not {size}"):
        AxiRam(address_bits=40, data_bits=64, size_bytes=size)
