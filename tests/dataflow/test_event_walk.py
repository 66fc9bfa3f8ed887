"""The event walk against its plain referee; that it equals the RTL is shown in tests/sim."""

import itertools
import random
from dataclasses import fields, replace

import pytest

from celosia.dataflow import presets
from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.compile import compile_network
from celosia.dataflow.descriptors import (
    NO_TOKENS,
    Buffer,
    Compute,
    Descriptor,
    End,
    Keep,
    Load,
    Loop,
    Post,
    Stamp,
    Store,
    Token,
    Transfer,
    unit_of,
)
from celosia.dataflow.event_walk import walk
from celosia.dataflow.memory import PRESETS, MemoryModel
from celosia.dataflow.microarchitecture import compute_latency, load_targets
from celosia.dataflow.tokens import assign_tokens
from celosia.dataflow.walk_kernel import BUSY, FETCH
from celosia.models.network import Rounding
from celosia.models.random_network import random_network

from .builders import ACCELERATORS, FORMATS
from .plain_walk import walk as plain
from .plain_walk.agenda import Agenda
from .plain_walk.memory import BeatCycles, burst_lengths

BASE = 0x1000_0000
MASKS = {"wait": NO_TOKENS, "signal": NO_TOKENS}
MEMORY = MemoryModel(latency=10, bytes_per_cycle=8, outstanding=4)


def test_agenda_skips_empty_cycles_and_keeps_order():
    agenda, seen = Agenda(), []
    agenda.at(7, lambda: seen.append("late"))
    agenda.at(3, lambda: seen.append("first"))
    agenda.at(3, lambda: seen.append("second"))
    visited = []
    while agenda.advance():
        visited.append(agenda.now)
    assert visited == [3, 7]
    assert seen == ["first", "second", "late"]


@pytest.mark.parametrize("seed", range(20))
def test_bursts_cover_every_beat_once_and_stay_in_their_page(seed):
    rng = random.Random(seed)
    bus, limit, beats_per_word = (
        rng.choice([8, 16, 64]),
        rng.choice([1, 7, 16, 64]),
        rng.randint(1, 5),
    )
    transfer = Transfer(
        address=rng.randrange(1 << 16) * bus,
        buffer_address=0,
        words=rng.randint(1, 300),
        n1=rng.randint(1, 3),
        n2=rng.randint(1, 3),
        n3=rng.randint(1, 2),
        s1=rng.randrange(100) * bus,
        s2=-rng.randrange(100) * bus,
        s3=4096,
    )
    lengths = iter(burst_lengths(transfer, beats_per_word, bus, limit))
    for i3, i2, i1 in itertools.product(range(transfer.n3), range(transfer.n2), range(transfer.n1)):
        address = transfer.address + i1 * transfer.s1 + i2 * transfer.s2 + i3 * transfer.s3
        end = address + transfer.words * beats_per_word * bus
        while address < end:
            beats = next(lengths)
            assert 1 <= beats <= limit
            last = address + (beats - 1) * bus
            assert address // 4096 == last // 4096
            # A burst ends only at its limit, at a page or with the run.
            assert beats == limit or (last + bus) % 4096 == 0 or last + bus == end
            address += beats * bus
        assert address == end
    assert next(lengths, None) is None


def test_beats_follow_the_bandwidth():
    cycles = BeatCycles(start=100, beat_bytes=8, bytes_per_cycle=3)
    assert [cycles[beat] for beat in range(4)] == [34, 36, 39, 42]


def test_end_alone_takes_the_time_of_its_fetch():
    accelerator = presets.preset("small")
    # Chunk asked for in 1, taken in 2, on AR in 3, 32 beats from 13 on; the last at 44, which
    # comes in 45, completes the chunk; dispatched at 46, accepted at 47, done in 48.
    assert walk(accelerator, (End(),), 0x1000_0000, MEMORY).cycles == 48


def test_compute_signals_after_its_steps_and_latency():
    accelerator = presets.preset("small")
    loop = Loop(count=1000, activations=1, weights=0, accumulators=0, reduction=True)
    compute = Compute(
        loops=(loop,),
        activations=0,
        weights=0,
        accumulators=0,
        activations_signed=False,
        signal=frozenset({Token.COMPUTE_LOAD}),
    )
    stamp = Stamp(address=0x1000_0000)
    walked = walk(accelerator, (compute, stamp, End()), 0x1000_0000, MEMORY)
    # The stamp does not wait for the nest; the end comes when the stamp is acknowledged.
    assert walked.stamps[0] < 1000
    assert walked.cycles < 1000
    assert compute_latency(accelerator) > 0


def test_a_program_that_halts_is_refused():
    with pytest.raises(ValueError, match="waits for a token that nobody gives"):
        walk(presets.preset("small"), (End(wait=frozenset({Token.POST_STORE})),), 0, MEMORY)


def random_memory(rng: random.Random) -> MemoryModel:
    return MemoryModel(
        latency=rng.choice([1, 2, 3, 17, 40, 120]),
        bytes_per_cycle=rng.choice([1, 3, 7, 8, 16, 64]),
        outstanding=rng.choice([1, 2, 5, 16, 256]),
    )


def random_descriptor(rng: random.Random, accelerator: Accelerator) -> Descriptor:
    """A descriptor that takes from one cycle to some hundreds."""
    bus = accelerator.bus.data_bytes
    kind = rng.choice([Load, Load, Load, Compute, Post, Store, Keep, Stamp])
    address = BASE + rng.randrange(1 << 9) * bus
    counts = {"words": rng.choice([1, 1, 1, 2, 40]), "n1": rng.choice([1, 1, 3]), "n2": 1}
    strides = {"s1": rng.randrange(64) * bus, "s2": -bus, "s3": 4096, "n3": rng.choice([1, 1, 2])}
    if kind is Keep:
        return Keep(transfer=Transfer(address=1, buffer_address=0, **counts))
    transfer = Transfer(address=address, buffer_address=0, **counts, **strides)
    if kind is Load:
        return Load(target=rng.choice(load_targets(accelerator)), transfer=transfer)
    if kind is Compute:
        loop = Loop(
            count=rng.choice([1, 2, 9, 300]),
            activations=1, weights=0, accumulators=0, reduction=True,
        )  # fmt: skip
        return Compute(
            loops=(loop,), activations=0, weights=0, accumulators=0, activations_signed=False
        )
    if kind is Post:
        zero = dict.fromkeys((field.name for field in fields(Post)), 0)
        ones = dict.fromkeys(("window_x", "window_y", "out_x", "out_y", "pixels", "groups"), 1)
        flags = {"rounding": Rounding.HALF_UP, "residual": False, "residual_signed": False}
        return Post(**zero | ones | flags | {"out_x": rng.choice([1, 2, 50])} | MASKS)
    return Store(transfer=transfer) if kind is Store else Stamp(address=address)


def random_program(rng: random.Random, accelerator: Accelerator) -> tuple[Descriptor, ...]:
    """Descriptors of all kinds, each of which needs a few before it."""
    descriptors = [random_descriptor(rng, accelerator) for _ in range(rng.randrange(1, 120))]
    pairs = {(token.giver, token.taker) for token in Token}
    needs = []
    for index, descriptor in enumerate(descriptors):
        before = range(max(0, index - rng.choice([1, 4, 20])), index)
        allowed = [i for i in before if (unit_of(descriptors[i]), unit_of(descriptor)) in pairs]
        needs.append(frozenset(rng.sample(allowed, min(len(allowed), rng.randrange(3)))))
    return assign_tokens([*descriptors, End()], [*needs, frozenset()])


def assert_equal(accelerator: Accelerator, program: tuple[Descriptor, ...], memory: MemoryModel):
    found = walk(accelerator, program, BASE, memory)
    referee = plain.walk(accelerator, program, BASE, memory)
    for name in ("cycles", "stamps", "load_busy", "store_busy"):
        assert getattr(found, name) == getattr(referee, name), (name, memory)
    return found


@pytest.mark.parametrize("seed", range(24))
def test_random_programs_equal_the_plain_walk(seed: int) -> None:
    rng = random.Random(seed)
    target = presets.preset(rng.choice(["tiny", "small", "medium", "zcu102", "ecp5", "small_act"]))
    bus = replace(
        target.bus, outstanding=rng.choice([1, 3, 8, 40]), burst_beats=rng.choice([1, 7, 32])
    )
    target = replace(target, bus=bus)
    for _ in range(4):
        program = random_program(rng, target)
        assert_equal(target, program, random_memory(rng))


@pytest.mark.parametrize("name", list(ACCELERATORS))
def test_compiled_networks_equal_the_plain_walk(name: str) -> None:
    rng = random.Random(5)
    for seed in range(4):
        program = compile_network(random_network(seed, FORMATS), ACCELERATORS[name])
        for memory in (*PRESETS.values(), random_memory(rng), random_memory(rng)):
            found = assert_equal(ACCELERATORS[name], program.descriptors, memory)
            assert (found.dispatched < found.accepted).all()
            assert (found.accepted < found.signalled).all()
            assert ((found.causes >= FETCH) & (found.causes < len(Token))).all()


def test_what_a_unit_waited_for_is_named() -> None:
    target, memory = (
        presets.preset("small"),
        MemoryModel(latency=60, bytes_per_cycle=8, outstanding=8),
    )
    loop = Loop(count=500, activations=1, weights=0, accumulators=0, reduction=True)
    compute = Compute(
        loops=(loop,), activations=0, weights=0, accumulators=0, activations_signed=False
    )
    load = Load(target=Buffer.WEIGHTS, transfer=Transfer(address=BASE, buffer_address=0, words=1))
    program = assign_tokens(
        [load, compute, compute, Stamp(address=BASE), End()],
        [frozenset(n) for n in ((), {0}, (), (), ())],
    )
    found = walk(target, program, BASE, memory)
    assert found.causes.tolist() == [FETCH, Token.LOAD_COMPUTE, BUSY, FETCH, BUSY]
    assert found.accepted[2] - found.accepted[1] == 500
