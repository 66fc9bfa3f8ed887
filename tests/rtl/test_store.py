# amaranth: UnusedElaboratable=no
"""Store unit in front of a memory, against a walk over the transfers."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.accesses import transfer_words
from celosia.dataflow.descriptors import (
    End,
    Keep,
    Stamp,
    Store,
    Token,
    Transfer,
)
from celosia.rtl.descriptors import StoreLayout, encode
from celosia.rtl.store import Store as StoreUnit

from .axi_memory import AxiMemory
from .drivers import Log, put, settle, simulate, transfer_runs, watch
from .test_load import accelerator

GIVES = frozenset({Token.STORE_POST, Token.STORE_LOAD})


def word(address: int, config: Accelerator) -> int:
    """What the output buffer of the test holds."""
    bits = config.beats(config.activation_word_bits) * config.bus.data_bits
    return random.Random(address).getrandbits(bits)


async def output_buffer(ctx, read, config: Accelerator) -> None:
    """Answer a read in the next cycle, and only then."""
    while True:
        _, _, enable, address = await ctx.tick().sample(read.enable, read.address)
        ctx.set(read.data, word(address, config) if enable else 0)


async def cycle_counter(ctx, port) -> None:
    cycle = 0
    while True:
        ctx.set(port, cycle)
        await ctx.tick()
        cycle += 1


def random_store(rng: random.Random, config: Accelerator) -> Store:
    """A store whose runs do not overlap in memory."""
    beat = config.bus.data_bytes
    words = rng.choice([1, 1, 2, 5, 40])
    size = words * config.beats(config.activation_word_bits) * beat
    n1, n2, n3 = (rng.choice([1, 1, 2, 3]) for _ in range(3))
    s1 = size + rng.choice([0, 0, beat, 0x200])
    s2 = n1 * s1 + rng.choice([0, 5 * beat])
    return Store(
        transfer=Transfer(
            address=rng.randrange(0x8000, 0x10000, beat),
            buffer_address=rng.randrange(100),
            words=words,
            **{"n1": n1, "n2": n2, "n3": n3, "s1": s1, "s2": s2, "s3": n2 * s2 + beat},
            **{f"d{loop}": rng.randrange(0, 50) for loop in (1, 2, 3)},
        ),
        signal=GIVES,
    )


def expected_memory(stores: list[Store], config: Accelerator) -> dict[int, int]:
    contents = {}
    size = config.beats(config.activation_word_bits) * config.bus.data_bytes
    for store in stores:
        for address, buffer_address, _ in transfer_runs(store.transfer):
            for index in range(store.transfer.words):
                content = word((buffer_address + index) % (1 << 16), config)
                for offset, byte in enumerate(content.to_bytes(size, "little")):
                    contents[address + index * size + offset] = byte
    return contents


class Result:
    """Logs of one run."""

    def __init__(self) -> None:
        self.accepts, self.signals, self.busy, self.finished = Log(), Log(), Log(), Log()
        self.reads, self.idle, self.responses, self.windows = Log(), Log(), Log(), Log()
        self.kept = Log()


def run_stores(config, descriptors, memory, *, limit=1 << 32, ends=True) -> Result:
    """Run the unit on ``descriptors``, of which the last is an end if ``ends``."""
    dut = StoreUnit(config)
    result = Result()
    size = StoreLayout.size

    async def feed(ctx):
        ctx.set(dut.window.limit, limit)
        await put(ctx, dut.i, [encode(d) % (1 << size) for d in descriptors], log=result.accepts)
        await settle(ctx, result.finished if ends else result.windows, 1)

    keeps = []
    if config.buffers.keeps:
        keep = dut.keep
        fields = [keep.lane, keep.address, keep.data]
        keeps = [lambda ctx: watch(ctx, fields, result.kept, when=keep.enable)]
    simulate(
        dut,
        feed,
        background=(
            *keeps,
            lambda ctx: memory.serve_writes(ctx, dut.axi),
            lambda ctx: output_buffer(ctx, dut.read, config),
            lambda ctx: cycle_counter(ctx, dut.cycle),
            lambda ctx: watch(ctx, [dut.signal], result.signals, when=dut.signal != 0),
            lambda ctx: watch(ctx, [dut.busy], result.busy, when=dut.busy),
            lambda ctx: watch(ctx, [dut.finished], result.finished, when=dut.finished),
            lambda ctx: watch(ctx, [dut.read.address], result.reads, when=dut.read.enable),
            lambda ctx: watch(ctx, [dut.idle], result.idle, when=dut.idle),
            lambda ctx: watch(
                ctx,
                [dut.response_error.address],
                result.responses,
                when=dut.response_error.raised,
            ),
            lambda ctx: watch(
                ctx, [dut.window_error.address], result.windows, when=dut.window_error.raised
            ),
        ),
    )
    return result


@pytest.mark.parametrize("data_bits", [64, 128, 256, 512])
@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_stores_write_what_the_buffer_holds(data_bits, stall):
    rng = random.Random(data_bits + 1)
    config = accelerator(data_bits, outstanding=rng.choice([1, 2, 4]), burst_beats=8)
    memory = AxiMemory(data_bits=data_bits, stall=stall, latency=3)
    stores = [random_store(rng, config) for _ in range(4)]
    result = run_stores(config, [*stores, End()], memory)
    assert memory.contents == expected_memory(stores, config)
    assert len(result.signals) == len(stores)
    assert not result.responses
    assert not result.windows
    words = sum(len(transfer_runs(s.transfer)) * s.transfer.words for s in stores)
    assert len(result.reads) == words


@pytest.mark.parametrize("lanes", [8, 24])
def test_cycles_of_a_store_and_a_stamp(lanes):
    config = accelerator(64, lanes=lanes, outstanding=3, burst_beats=16)
    beats = lanes // 8
    memory = AxiMemory(data_bits=64, latency=5)
    store = Store(
        transfer=Transfer(address=0x8000, buffer_address=0, words=16, n1=2, s1=0x1000),
        signal=GIVES,
    )
    stamp = Stamp(address=0x4000, signal=GIVES)
    result = run_stores(config, [store, stamp, End()], memory)
    # AW at t+2, then every 2 cycles while fewer than 3 are unacknowledged.
    bursts = 2 * beats
    first = [request.cycle for request in memory.writes[: min(3, bursts)]]
    assert first == [2, 4, 6][: len(first)]
    for request, response in zip(memory.writes[3:bursts], memory.responses, strict=False):
        assert request.cycle == max(8, response + 1)
    # W from the cycle after AW, without a gap.
    assert memory.write_beats[: 32 * beats] == list(range(3, 3 + 32 * beats))
    # The signal is one after the last B, the next accept one later.
    last = memory.responses[bursts - 1]
    assert result.reads.cycles[0] == 1
    assert result.signals.cycles[0] == last + 1
    assert result.accepts.cycles[:2] == [0, last + 2]
    assert result.busy.cycles[: last + 1] == list(range(1, last + 2))
    # The stamp holds the cycle of its accept.
    assert memory.dump(0x4000, 8) == (last + 2).to_bytes(8, "little")
    assert memory.writes[-1].cycle == last + 4
    assert result.signals.cycles[1] == memory.responses[-1] + 1
    assert result.finished.cycles == [memory.responses[-1] + 2]


def random_keep(rng: random.Random) -> Keep:
    counts = {name: rng.choice([1, 1, 2, 3]) for name in ("n1", "n2", "n3")}
    return Keep(
        lane=rng.randrange(4),
        transfer=Transfer(
            address=rng.randrange(1 << 16),
            buffer_address=rng.randrange(100),
            words=rng.choice([1, 1, 2, 5, 20]),
            **counts,
            **{f"s{loop}": rng.randrange(0, 1 << 16) for loop in (1, 2, 3)},
            **{f"d{loop}": rng.randrange(0, 50) for loop in (1, 2, 3)},
        ),
        signal=frozenset({Token.STORE_COMPUTE}),
    )


@pytest.mark.parametrize("lanes", [8, 20])
def test_keeps_write_activations_word_by_word(lanes):
    rng = random.Random(lanes)
    config = accelerator(64, lanes=lanes)
    config = replace(config, buffers=replace(config.buffers, activation_banks=2))
    keeps = [random_keep(rng) for _ in range(8)]
    store = Store(transfer=Transfer(address=0x8000, buffer_address=7, words=3), signal=GIVES)
    memory = AxiMemory(data_bits=64, latency=5)
    result = run_stores(config, [*keeps[:4], store, *keeps[4:], End()], memory)
    expected = []
    for keep in keeps:
        moved = keep.transfer
        for address, source, i3 in transfer_runs(moved):
            for index in range(moved.words):
                content = word((source + index) % (1 << 16), config)
                expected.append((keep.lane + i3, (address + index) % (1 << 16), content))
    assert result.kept.payloads == expected
    assert len(memory.writes) == 1
    # Written from t+4 on, one word a cycle; the signal with the last, the next accept one later.
    size = transfer_words(keeps[0].transfer)
    assert result.kept.cycles[:size] == list(range(4, 4 + size))
    assert result.signals.cycles[0] == 3 + size
    assert result.accepts.cycles[:2] == [0, 4 + size]
    assert result.signals.payloads[0] == (1 << Token.STORE_COMPUTE,)


def test_stamp_fills_a_wide_beat_with_zeros():
    config = accelerator(256)
    memory = AxiMemory(data_bits=256)
    run_stores(config, [Stamp(address=0x40), Stamp(address=0x80), End()], memory)
    assert memory.dump(0x40, 32) == bytes(32)
    assert int.from_bytes(memory.dump(0x80, 32), "little") == memory.responses[0] + 2


def test_response_error_names_the_burst():
    config = accelerator(64, burst_beats=4)
    memory = AxiMemory(data_bits=64, bad={0x8030})
    store = Store(transfer=Transfer(address=0x8000, buffer_address=0, words=8))
    result = run_stores(config, [store, End()], memory)
    assert result.responses.payloads == [(0x8020,)]


def test_burst_outside_the_window_is_not_issued():
    config = accelerator(64, burst_beats=4)
    memory = AxiMemory(data_bits=64)
    store = Store(transfer=Transfer(address=0x8000, buffer_address=0, words=8))
    result = run_stores(config, [store], memory, limit=0x8058, ends=False)
    assert result.windows.payloads[0] == (0x8040,)
    assert [request.address for request in memory.writes] == [0x8000, 0x8020]
    assert len(memory.responses) == 2
    assert result.idle.cycles[-1] > memory.responses[-1]


def test_stop_lets_what_waits_finish():
    config = accelerator(64, burst_beats=4)
    dut = StoreUnit(config)
    store = Store(transfer=Transfer(address=0x8000, buffer_address=0, words=8))

    async def bench(ctx):
        ctx.set(dut.window.limit, 1 << 32)
        await put(ctx, dut.i, [encode(store) % (1 << StoreLayout.size)])
        await ctx.tick().until(dut.axi.awvalid)
        ctx.set(dut.stop, 1)
        assert ctx.get(dut.axi.awvalid)
        assert not ctx.get(dut.idle)
        ctx.set(dut.axi.awready, 1)
        await ctx.tick()
        for _ in range(5):  # the burst is promised: its beats come, no other burst does
            assert not ctx.get(dut.axi.awvalid)
            assert not ctx.get(dut.idle)
            await ctx.tick()
        ctx.set(dut.axi.wready, 1)
        await ctx.tick().repeat(4)
        assert not ctx.get(dut.axi.wvalid)
        ctx.set(dut.axi.bvalid, 1)
        await ctx.tick()
        ctx.set(dut.axi.bvalid, 0)
        assert ctx.get(dut.idle)
        assert not ctx.get(dut.axi.awvalid)

    simulate(dut, bench)
