# amaranth: UnusedElaboratable=no
"""Shell, sequencer, ports, load and store together: programs, errors, clear and restart."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from celosia.dataflow.descriptors import (
    Buffer,
    Compute,
    End,
    Load,
    Loop,
    Post,
    Stamp,
    Store,
    Token,
    Transfer,
)
from celosia.dataflow.microarchitecture import READ_LATENCY
from celosia.dataflow.program import Counter  # fmt: skip
from celosia.models.network import Rounding
from celosia.rtl.descriptors import POST_WORDS, encode
from celosia.rtl.registers import MAGIC, Cause

from .axi_memory import AxiMemory, lite_read, lite_write
from .bench_shell import FINGERPRINT, PROGRAM, program_bytes, run_bench
from .drivers import Log
from .test_load import accelerator, expected_writes
from .test_store import expected_memory

LOADED = frozenset({Token.LOAD_COMPUTE})


def a_load(address=0x8000, **fields) -> Load:
    transfer = Transfer(address=address, buffer_address=3, words=8, n1=2, s1=0x400)
    return Load(target=Buffer.ACTIVATIONS, transfer=transfer, **fields)


def a_compute(**fields) -> Compute:
    loop = Loop(count=2, activations=1, weights=1, accumulators=0, reduction=True)
    rest = {"activations": 0, "weights": 0, "accumulators": 0, "activations_signed": False}
    return Compute(loops=(loop,), **rest, **fields)


def a_store(address=0xA000, **fields) -> Store:
    return Store(transfer=Transfer(address=address, buffer_address=5, words=9), **fields)


def a_post(**fields) -> Post:
    ones = dict.fromkeys(("window_x", "window_y", "out_x", "out_y", "pixels", "groups"), 1)
    zeros = dict.fromkeys((*POST_WORDS, "lane_group", "low"), 0)
    flags = {"high": 255, "residual": False, "residual_signed": False}
    return Post(**ones, **zeros, **flags, rounding=Rounding.HALF_UP, **fields)


def a_program() -> list:
    """All kinds of descriptors; the end waits for the last load."""
    return [
        a_load(signal=LOADED),
        a_compute(wait=LOADED, signal=frozenset({Token.COMPUTE_LOAD})),
        a_load(0xE000, wait=frozenset({Token.COMPUTE_LOAD}), signal=LOADED),
        a_compute(wait=LOADED, signal=frozenset({Token.COMPUTE_LOAD})),
        a_store(signal=frozenset({Token.STORE_LOAD})),
        a_load(
            wait=frozenset({Token.STORE_LOAD, Token.COMPUTE_LOAD}),
            signal=frozenset({Token.LOAD_POST}),
        ),
        a_post(wait=frozenset({Token.LOAD_POST}), signal=frozenset({Token.POST_STORE})),
        Stamp(address=0x4000),
        a_store(0x0800),
        End(wait=frozenset({Token.POST_STORE})),
    ]


def filled(data_bits: int, descriptors: list, **options) -> tuple[AxiMemory, int]:
    """A memory with the program and random data, and the program's chunks."""
    memory = AxiMemory(data_bits=data_bits, **options)
    memory.load(0x8000, random.Random(3).randbytes(0x2000))
    memory.load(0xE000, random.Random(4).randbytes(0x800))
    content = program_bytes(descriptors)
    memory.load(PROGRAM, content)
    return memory, len(content) // 256


@pytest.mark.parametrize(
    ("data_bits", "stall"), [(64, 0.0), (64, 0.4), (128, 0.3), (256, 0.0), (512, 0.5)]
)
def test_program_runs_twice(data_bits, stall):
    config = accelerator(data_bits)
    program = a_program()
    memory, chunks = filled(data_bits, program, stall=stall, latency=6)
    writes, done = Log(), Log()

    def logs(bench):
        write = bench.load.write
        fields = [write.target, write.lane, write.address, write.slice, write.data]
        return [
            (writes, fields, write.enable),
            (done, [bench.shell.start, bench.store.finished], bench.shell.start
             | bench.store.finished),
        ]  # fmt: skip

    async def software(driver):
        await driver.setup(chunks)
        for turn in range(2):
            await driver.start()
            await driver.interrupt()
            assert await driver.status() == "done"
            start, end = done.cycles[2 * turn : 2 * turn + 2]
            assert await driver.read_pair("cycles") == end - start + 1
            beats = chunks * 2048 // data_bits
            beats += sum(len(list(expected_writes(memory, config, load))) for load in program
                         if isinstance(load, Load))  # fmt: skip
            assert await driver.read_pair("read_beats") == beats
            assert await driver.read_pair("write_beats") == len(memory.write_beats) // (turn + 1)
            assert await driver.read_pair("output_reads") == 18
        await driver.clear()
        assert await driver.status() == "idle"

    run_bench(config, memory, software, logs)
    loads = [d for d in program if isinstance(d, Load)]
    expected = [w for load in loads for w in expected_writes(memory, config, load)]
    assert writes.payloads == expected * 2
    stores = [d for d in program if isinstance(d, Store)]
    for address, byte in expected_memory(stores, config).items():
        assert memory.contents[address] == byte


def test_cycles_from_command_to_done():
    memory, chunks = filled(64, [End()], latency=5)
    start, interrupt, first = Log(), Log(), Log()

    def logs(bench):
        write = bench.shell.control.wvalid & bench.shell.control.wready
        return [
            (start, [bench.shell.start], bench.shell.start),
            (interrupt, [bench.shell.interrupt], bench.shell.interrupt),
            (first, [write], write),
        ]

    async def software(driver):
        await driver.setup(chunks)
        await driver.start()
        await driver.interrupt()
        await driver.ctx.tick()
        assert await driver.read_pair("cycles") == interrupt.cycles[0] - start.cycles[0]

    run_bench(accelerator(64), memory, software, logs)
    # W handshaken, register written, two of DRAIN, RUN.
    assert start.cycles == [first.cycles[-1] + 4]
    began = start.cycles[0]
    assert [request.cycle for request in memory.reads] == [began + 3, began + 5]
    # The end is handed over after the last beat came, accepted one later, done one after that.
    assert interrupt.cycles[0] == memory.read_beats[-1] + READ_LATENCY + 3


@pytest.mark.parametrize(("data_bits", "stall"), [(512, 0.0), (128, 0.4)])
@pytest.mark.parametrize(
    ("spoil", "cause", "address"),
    [
        ({"bad": {0x8408}}, Cause.READ_RESPONSE, 0x8400),
        ({"bad": {PROGRAM + 0x140}}, Cause.READ_RESPONSE, PROGRAM + 0x100),
        ({"bad": {0x0800}}, Cause.WRITE_RESPONSE, 0x0800),
        ({"base": 0x1000}, Cause.WRITE_OUTSIDE_WINDOW, 0x0800),
        ({"limit": 0xE400}, Cause.READ_OUTSIDE_WINDOW, 0xE400),
        ({"base": PROGRAM + 0x100}, Cause.READ_OUTSIDE_WINDOW, PROGRAM),
        ({"illegal": 5}, Cause.ILLEGAL_DESCRIPTOR, PROGRAM + 5 * 64),
        ({"endless": True}, Cause.ILLEGAL_DESCRIPTOR, PROGRAM + 8 * 64),
    ],
)
def test_error_stops_clear_and_restart(data_bits, stall, spoil, cause, address):
    config = accelerator(data_bits, lanes=64, burst_beats=64)
    program = [
        replace(d, transfer=replace(d.transfer, address=d.transfer.address & ~63))
        if isinstance(d, (Load, Store))
        else d
        for d in a_program()
    ]
    memory, chunks = filled(data_bits, program, stall=stall, latency=6)
    beat = data_bits // 8
    good = memory.dump(PROGRAM, chunks * 256)

    def break_it():
        memory.bad = {place // beat * beat for place in spoil.get("bad", ())}
        if "illegal" in spoil:
            broken = encode(program[spoil["illegal"]]) | 1 << 30  # a reserved bit
            memory.load(PROGRAM + 64 * spoil["illegal"], broken.to_bytes(64, "little"))

    async def software(driver):
        window = {name: spoil[name] for name in ("base", "limit") if name in spoil}
        limit = window.get("limit", 1 << 32)
        short = chunks - 1 if "endless" in spoil else chunks
        break_it()
        await driver.setup(short, base=window.get("base", 0), limit=limit)
        await driver.start()
        await driver.interrupt()
        assert await driver.status() == "error"
        assert await driver.cause() == cause
        found = await driver.read_pair("error_address")
        assert (
            found // 0x200 == address // 0x200
            if "bad" in spoil
            else found // beat == (address // beat)
        )
        # Nothing is in flight and nothing more comes.
        in_flight = [sum(r.beats for r in memory.reads), sum(r.beats for r in memory.writes)]
        assert in_flight == [len(memory.read_beats), len(memory.write_beats)]
        assert len(memory.responses) == len(memory.writes)
        await driver.ctx.tick().repeat(30)
        assert in_flight == [
            sum(r.beats for r in memory.reads),
            sum(r.beats for r in memory.writes),
        ]
        # A start is ignored until it is cleared.
        await driver.start()
        assert await driver.status() == "error"
        await driver.clear()
        assert await driver.status() == "idle"
        assert not driver.ctx.get(driver.bench.shell.interrupt)
        assert await driver.cause() == cause
        memory.bad = set()
        memory.load(PROGRAM, good)
        await driver.setup(chunks)
        await driver.start()
        await driver.interrupt()
        assert await driver.status() == "done"
        assert await driver.cause() is Cause.NONE
        assert await driver.read_pair("error_address") == 0

    run_bench(config, memory, software)


def test_clear_stops_a_program_that_hangs():
    hanging = [a_compute(wait=LOADED), a_load(), End(wait=frozenset({Token.POST_STORE}))]
    memory, chunks = filled(64, hanging)

    async def software(driver):
        await driver.setup(chunks)
        await driver.start()
        await driver.ctx.tick().repeat(200)
        assert await driver.status() == "busy"
        # What a running program depends on does not change under it.
        await driver.write("program_chunks", 77)
        await driver.write("window_limit_low", 1)
        assert await driver.read("program_chunks") == chunks
        assert await driver.read("window_limit_low") == 0
        await driver.clear()
        assert await driver.status() == "idle"
        assert await driver.cause() is Cause.NONE
        memory.load(PROGRAM, program_bytes([End()]))
        await driver.start()
        await driver.interrupt()
        assert await driver.status() == "done"

    run_bench(accelerator(64), memory, software)


def test_clear_with_reads_in_flight_waits_for_them():
    memory, chunks = filled(64, [a_load(), End(wait=frozenset({Token.POST_STORE}))], latency=300)

    async def software(driver):
        await driver.setup(chunks)
        await driver.start()
        await driver.ctx.tick().repeat(20)
        await driver.clear()
        assert await driver.status() == "busy"
        await driver.ctx.tick().repeat(400)
        assert await driver.status() == "idle"
        assert sum(request.beats for request in memory.reads) == len(memory.read_beats)

    run_bench(accelerator(64), memory, software)


def test_no_chunks_is_no_program():
    memory, _ = filled(64, [End()])

    async def software(driver):
        await driver.setup(0)
        await driver.start()
        await driver.interrupt()
        assert await driver.cause() is Cause.ILLEGAL_DESCRIPTOR
        assert await driver.read("error_address_low") == PROGRAM

    run_bench(accelerator(64), memory, software)


def test_start_and_clear_together_is_a_clear():
    memory, chunks = filled(64, [End()])

    async def software(driver):
        await driver.setup(chunks)
        await driver.write("control", 3)
        assert await driver.status() == "idle"
        await driver.write("control", 1 << 8, strobe=0b1110)
        assert await driver.status() == "idle"

    run_bench(accelerator(64), memory, software)
    assert not memory.reads


def test_identity_and_unknown_addresses():
    memory, _ = filled(64, [End()])

    async def software(driver):
        assert await driver.read("magic") == MAGIC == int.from_bytes(b"CELO", "little")
        assert await driver.read("shape0") == 4 << 16 | 16
        assert await driver.read("shape1") == 2 << 16 | 8 << 8 | 32
        words = [await driver.read(f"fingerprint{index}") for index in range(4)]
        assert sum(word << 32 * index for index, word in enumerate(words)) == FINGERPRINT
        assert await driver.status() == "idle"
        axi = driver.bench.shell.control
        for address in (0x58, 0x100, 0xFFC):
            assert await lite_write(driver.ctx, axi, address, 0xFFFFFFFF) == 0
            assert await lite_read(driver.ctx, axi, address) == 0
        await driver.write("magic", 0)
        assert await driver.read("magic") == MAGIC
        assert await driver.read("control") == 0
        for counter in Counter:
            assert await driver.read_pair(counter.name.lower()) == 0

    run_bench(accelerator(64), memory, software)
