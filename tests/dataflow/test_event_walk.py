"""The event walk's parts; that it equals the RTL is shown in tests/sim."""

import itertools
import random

import pytest

from celosia.dataflow import presets
from celosia.dataflow.agenda import Agenda
from celosia.dataflow.descriptors import (
    Compute,
    End,
    Loop,
    Stamp,
    Token,
    Transfer,
)
from celosia.dataflow.event_memory import BeatCycles, burst_lengths
from celosia.dataflow.event_walk import walk
from celosia.dataflow.memory import MemoryModel
from celosia.dataflow.microarchitecture import compute_latency

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
    # Chunk asked for in 1, taken in 2, on AR in 3, 32 beats from 13 on; the last at 44 completes
    # the chunk; dispatched at 45, accepted at 46, done in 47.
    assert walk(accelerator, (End(),), 0x1000_0000, MEMORY).cycles == 47


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
