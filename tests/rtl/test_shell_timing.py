# amaranth: UnusedElaboratable=no
"""Random programs of loads, stores and stamps: the hardware's cycles equal the event walk's."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from celosia.dataflow.descriptors import (
    End,
    Load,
    Stamp,
    Store,
    Token,
)
from celosia.dataflow.event_walk import walk
from celosia.dataflow.memory import MemoryModel

from .axi_memory import AxiMemory
from .bench_shell import PROGRAM, program_bytes, run_bench
from .test_load import accelerator, random_load
from .test_store import random_store

STORE_LOAD = frozenset({Token.STORE_LOAD})
STAMPS = 0x100


def shortened(descriptor, rng: random.Random):
    """The same with few words, so that descriptors and not data decide the cycles."""
    words = rng.choice([1, 1, 2, 3, 20])
    return replace(descriptor, transfer=replace(descriptor.transfer, words=words))


def random_program(rng: random.Random, config, length: int) -> list:
    """Loads and stores; some loads wait for a store before them."""
    program, given, stamps = [], 0, 0
    for _ in range(length):
        kind = rng.choice([Load, Load, Load, Store, Store, Stamp])
        if kind is Stamp:
            program.append(Stamp(address=STAMPS + config.bus.data_bytes * stamps))
            stamps += 1
        elif kind is Store:
            gives = rng.random() < 0.5
            given += gives
            store = shortened(random_store(rng, config), rng)
            program.append(replace(store, signal=STORE_LOAD if gives else frozenset()))
        else:
            waits = given > 0 and rng.random() < 0.5
            given -= waits
            load = shortened(random_load(rng, config), rng)
            program.append(
                replace(load, wait=STORE_LOAD if waits else frozenset(), signal=frozenset())
            )
    return [*program, End()]


@pytest.mark.parametrize("seed", range(10))
def test_cycles_equal_the_event_walk(seed):
    rng = random.Random(seed)
    data_bits = rng.choice([64, 128, 256, 512])
    config = accelerator(
        data_bits,
        outstanding=rng.choice([1, 2, 3, 8]),
        burst_beats=rng.choice([1, 3, 8, 64 * 64 // data_bits]),
    )
    program = random_program(rng, config, rng.randrange(1, 24))
    latency, outstanding = rng.choice([1, 5, 40]), rng.choice([1, 2, 64])
    content = program_bytes(program)
    memory = AxiMemory(data_bits=data_bits, latency=latency, outstanding=outstanding)
    memory.load(PROGRAM, content)
    model = MemoryModel(latency=latency, bytes_per_cycle=64, outstanding=outstanding)
    expected = walk(config, tuple(program), PROGRAM, model)
    measured = {}

    async def software(driver):
        await driver.setup(len(content) // 256)
        await driver.start()
        await driver.interrupt()
        for name in ("cycles", "store_busy"):
            measured[name] = await driver.read_pair(name)

    run_bench(config, memory, software, limit=8000)
    assert measured["cycles"] == expected.cycles
    assert measured["store_busy"] == expected.store_busy
    stamps = [
        int.from_bytes(memory.dump(descriptor.address, 8), "little")
        for descriptor in program
        if isinstance(descriptor, Stamp)
    ]
    assert tuple(stamps) == expected.stamps
