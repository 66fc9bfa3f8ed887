# amaranth: UnusedElaboratable=no
"""Queues in one memory, the reducer and the merge tree, against lists."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest
from amaranth.hdl import Assert, Module, Signal, Value

from celosia.dataflow.sparch.accelerator import Elements, Merger, MergeTree, ValueKind
from celosia.dataflow.sparch.presets import TINY
from celosia.rtl.sparch.fifos import FifoFile, WordBanks, WordQueue, row_bits
from celosia.rtl.sparch.layer import MergeLayer
from celosia.rtl.sparch.reduce import Reducer, compacted
from celosia.rtl.sparch.tree import MergeTree as Tree
from celosia.rtl.sparch.words import element_layout

from .drivers import simulate
from .prover import prove

SEED = 9


@pytest.mark.parametrize(
    ("fifos", "ways", "capacity"), [(1, 2, 4), (4, 4, 8), (2, 8, 8), (2, 4, 32)]
)
def test_queues_keep_order(fifos, ways, capacity):
    """Numbers, levels and windows of several queues, of which what was taken is told late."""
    dut = FifoFile(fifos=fifos, ways=ways, capacity=capacity, element=element_layout(4, 8))
    rng = random.Random(SEED)
    bits = capacity.bit_length()

    async def bench(ctx):
        queues, number, firsts, taken = [[] for _ in range(fifos)], 0, [0] * fifos, [0] * fifos
        for cycle in range(600):
            clear = cycle % 150 == 149
            fifo, shown, source = (rng.randrange(fifos) for _ in range(3))
            held = [len(queue) + late for queue, late in zip(queues, taken, strict=True)]
            count = min(rng.randint(0, ways), capacity - held[fifo])
            count = 0 if clear else count
            word = [number + i & 0xFFF for i in range(count)]
            ctx.set(dut.clear, clear)
            ctx.set(dut.put, count > 0 or rng.random() < 0.5)
            ctx.set(dut.put_fifo, fifo)
            ctx.set(dut.put_count, count)
            ctx.set(Value.cast(dut.put_word), sum(each << 12 * i for i, each in enumerate(word)))
            levels = ctx.get(dut.levels)
            assert [levels >> bits * f & (1 << bits) - 1 for f in range(fifos)] == held
            assert ctx.get(dut.some) == sum(1 << f for f in range(fifos) if held[f])
            ctx.set(dut.show, shown)
            assert ctx.get(dut.first) == firsts[shown]
            assert ctx.get(dut.end) == (firsts[shown] + len(queues[shown])) % (2 * capacity)
            # From any element on, what the queue holds of two words.
            skip = rng.randint(0, len(queues[source]))
            at = firsts[source] + skip
            ctx.set(dut.source, source)
            ctx.set(dut.at, at % (2 * capacity))
            size = row_bits(ways, capacity)
            rows = [(at // ways + n) % (1 << size) for n in (1, 2)]
            ctx.set(dut.rows, rows[0] | rows[1] << size)
            raw, seen = ctx.get(dut.o), queues[source][skip : skip + 2 * ways]
            for i, element in enumerate(seen):
                place = i // ways * ways + (at + i) % ways
                assert raw >> 12 * place & 0xFFF == element
            from_fifo = rng.randrange(fifos)
            take = 0 if clear else rng.randint(0, min(ways, len(queues[from_fifo])))
            ctx.set(dut.takes, take > 0 or rng.random() < 0.5)
            ctx.set(dut.taken, from_fifo)
            firsts[from_fifo] = (firsts[from_fifo] + take) % (2 * capacity)
            ctx.set(dut.onward, firsts[from_fifo])
            taken = [take * (f == from_fifo) for f in range(fifos)]
            queues[from_fifo] = queues[from_fifo][take:]
            queues[fifo] += word
            number += count
            if clear:
                queues, firsts = [[] for _ in range(fifos)], [0] * fifos
            await ctx.tick()

    simulate(dut, bench)


@pytest.mark.parametrize(("ways", "capacity"), [(2, 2), (2, 16), (4, 4), (4, 64), (16, 32)])
def test_one_queue_keeps_order(ways, capacity):
    dut, rng = (
        WordQueue(ways=ways, capacity=capacity, element=element_layout(4, 8)),
        random.Random(SEED),
    )

    async def bench(ctx):
        queue, number = [], 0
        for cycle in range(600):
            clear = cycle % 150 == 149
            count = 0 if clear else min(rng.randint(0, ways), capacity - len(queue))
            word = [number + i & 0xFFF for i in range(count)]
            ctx.set(dut.clear, clear)
            ctx.set(dut.put, count > 0 or rng.random() < 0.5)
            ctx.set(dut.put_count, count)
            ctx.set(Value.cast(dut.put_word), sum(each << 12 * i for i, each in enumerate(word)))
            assert ctx.get(dut.level) == len(queue)
            first, window = queue[:ways], ctx.get(Value.cast(dut.window))
            assert ctx.get(dut.there) == (1 << len(first)) - 1
            assert [window >> 12 * i & 0xFFF for i in range(len(first))] == first
            take = 0 if clear else rng.randint(0, len(first))
            ctx.set(dut.take, (1 << take) - 1)
            queue = [] if clear else [*queue[take:], *word]
            number += count
            await ctx.tick()

    simulate(dut, bench)


@pytest.mark.parametrize("ways", [2, 4, 8])
def test_gaps_are_closed(ways, tmp_path):
    """What is kept is at the front, in order; a copy that keeps another is found out."""
    for broken in (0, 1):
        m = Module()
        word, keep = Signal(3 * ways), Signal(ways)
        front, count = compacted(m, word, keep ^ (broken << (ways - 1)), ways, "front")
        rank = 0
        for i in range(ways):
            place = Signal(range(ways + 1), name=f"place_{i}")
            m.d.comb += [
                place.eq(rank),
                Assert(~keep[i] | (front.word_select(place, 3) == word.word_select(i, 3))),
            ]
            rank = place + keep[i]
        m.d.comb += Assert(count == rank)
        if broken:
            with pytest.raises(AssertionError, match=r"Assert failed|assert"):
                prove(m, [word, keep], tmp_path)
        else:
            prove(m, [word, keep], tmp_path)


def test_pairs_are_added_and_zeros_dropped():
    elements, ways = Elements(bits=8, accumulator=16, index_bits=8), 4
    dut, rng = Reducer(elements, ways=ways), random.Random(SEED)

    async def bench(ctx):
        coming = [[] for _ in range(3)]
        for _ in range(500):
            count = rng.randint(0, ways)
            values = [rng.choice([0, 1, 0xFFFF, rng.getrandbits(16)]) for _ in range(ways)]
            # A second is never a first as well: streams hold no key twice.
            pairs = [False] * ways
            for t in range(count):
                pairs[t] = rng.random() < 0.4 and not (t and pairs[t - 1])
            holds = count == ways and not pairs[-1] and rng.random() < 0.3
            held = rng.getrandbits(16)
            keys = [rng.getrandbits(16) for _ in range(ways)]
            ctx.set(
                Value.cast(dut.i),
                sum(
                    (v | k << 16) << 32 * t
                    for t, (v, k) in enumerate(zip(values, keys, strict=True))
                ),
            )
            ctx.set(dut.count, count)
            ctx.set(dut.pairs, sum(1 << t for t in range(ways) if pairs[t]))
            ctx.set(dut.held, held)
            ctx.set(dut.holds, holds)
            expected = []
            for t in range(count - holds):
                before = held if t == 0 else values[t - 1]
                value = (values[t] + before * pairs[t]) & 0xFFFF
                if not (t + 1 < ways and pairs[t + 1]) and value:
                    expected.append(value | keys[t] << 16)
            coming.append(expected)
            before, got = coming.pop(0), ctx.get(Value.cast(dut.o))
            assert ctx.get(dut.o_count) == len(before)
            assert [got >> 32 * t & 0xFFFFFFFF for t in range(len(before))] == before
            await ctx.tick()

    simulate(dut, bench)


def accelerator(kind, width, chunk, ways, leaf, node):
    bits = 32 if kind is ValueKind.FLOAT32 else 16
    return replace(
        TINY,
        elements=Elements(kind=kind, bits=bits, accumulator=32, index_bits=8),
        merger=Merger(width=width, chunk=chunk),
        tree=MergeTree(ways=ways, leaf_fifo=leaf, node_fifo=node),
    )


def add(kind, one, other):
    """Add two values as the engine does."""
    if not kind.floating:
        return (one + other) % 2**32
    pair = np.array([one, other], np.uint32).view(np.float32)
    return int((pair[:1] + pair[1:]).view(np.uint32)[0])


def golden(kind, leaves):
    """Return what leaves the root, merged node by node."""
    streams = [dict(leaf) for leaf in leaves]
    while len(streams) > 1:
        above = []
        for one, other in zip(streams[::2], streams[1::2], strict=True):
            merged = {
                key: add(kind, one[key], other[key]) if key in one and key in other
                else one.get(key, other.get(key))
                for key in sorted(one.keys() | other.keys())
            }  # fmt: skip
            zero = (0, 0x80000000) if kind.floating else (0,)
            above.append({key: value for key, value in merged.items() if value not in zero})
        streams = above
    return list(streams[0].items())


def random_leaves(rng, kind, ways, longest):
    """Random streams: empty ones, long ones, few keys (equal ones), values that cancel."""
    leaves = []
    top = rng.choice([20, 200, 65535])
    for _ in range(ways):
        length = rng.choice([0, 1, rng.randint(0, longest)])
        keys = sorted(rng.sample(range(top + 1), min(length, top)))
        if kind.floating:
            values = np.array(
                [rng.choice([1.5, -1.5, rng.gauss(0, 1), 0.0, -0.0]) for _ in keys], np.float32
            )
            leaves.append([*zip(keys, values.view(np.uint32).tolist(), strict=True)])
        else:
            leaves.append([(key, rng.choice([1, 2**32 - 1, rng.getrandbits(32)])) for key in keys])
    return leaves


TREES = [
    (ValueKind.INTEGER, 2, 2, 2, 16, 4),
    (ValueKind.INTEGER, 2, 1, 4, 16, 4),
    (ValueKind.FLOAT32, 4, 2, 8, 16, 8),
    (ValueKind.INTEGER, 4, 4, 8, 16, 32),
]


@pytest.mark.parametrize(("kind", "width", "chunk", "ways", "leaf", "node"), TREES)
@pytest.mark.parametrize(("source", "sink"), [(0.0, 0.0), (0.5, 0.5)])
def test_tree_merges(kind, width, chunk, ways, leaf, node, source, sink):
    """Random streams, one set after another, with stalls of what puts and what takes."""
    described = accelerator(kind, width, chunk, ways, leaf, node)
    dut, rng = Tree(described), random.Random(SEED)
    bits, element = leaf.bit_length(), 16 + 32

    async def bench(ctx):
        for _ in range(4):
            leaves = random_leaves(rng, kind, ways, 40)
            expected, got = golden(kind, leaves), []
            ctx.set(dut.start, 1)
            ctx.set(dut.put, 0)
            ctx.set(dut.take, 0)
            await ctx.tick()
            ctx.set(dut.start, 0)
            rest = [list(each) for each in leaves]
            for _ in range(3000):
                ctx.set(dut.closed, sum(1 << k for k in range(ways) if not rest[k]))
                levels = ctx.get(dut.levels)
                able = [
                    k for k in range(ways)
                    if rest[k] and (levels >> bits * k & (1 << bits) - 1) <= leaf - width
                ]  # fmt: skip
                puts = bool(able) and rng.random() >= source
                ctx.set(dut.put, puts)
                if puts:
                    k = rng.choice(able)
                    word = rest[k][: rng.randint(1, width)]
                    ctx.set(dut.put_leaf, k)
                    ctx.set(dut.put_count, len(word))
                    raw = sum((v | key << 32) << element * i for i, (key, v) in enumerate(word))
                    ctx.set(Value.cast(dut.put_word), raw)
                shown, window = ctx.get(dut.shown).bit_count(), ctx.get(Value.cast(dut.window))
                take = 0 if rng.random() < sink else rng.randint(0, shown)
                ctx.set(dut.take, (1 << take) - 1)
                got += [window >> element * i & (1 << element) - 1 for i in range(take)]
                if ctx.get(dut.ended):
                    break
                await ctx.tick()
                if puts:
                    rest[k] = rest[k][len(word) :]
            assert [(each >> 32, each & 0xFFFFFFFF) for each in got] == expected

    simulate(dut, bench)


@pytest.mark.parametrize(("width", "chunk"), [(2, 2), (4, 2), (8, 4)])
def test_one_node_takes_as_many_cycles_as_it_must(width, chunk):
    """Two streams that lie in the queues leave in at most ceil((n + m) / N) cycles, one by one."""
    described = accelerator(ValueKind.INTEGER, width, chunk, 2, 64, 64)
    dut, rng = MergeLayer(described, layer=0), random.Random(SEED)

    async def bench(ctx):
        for case in range(25):
            top = rng.choice([40, 65535])
            lengths = [rng.randint(0, 32) * (case % 5 != side) for side in range(2)]
            streams = [sorted(rng.sample(range(top), length)) for length in lengths]
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            ctx.set(dut.put, 1)
            for side in (1, 0):
                ctx.set(dut.closed, 0)
                for at in range(0, len(streams[side]), width):
                    word = streams[side][at : at + width]
                    ctx.set(dut.put_fifo, side)
                    ctx.set(dut.put_count, len(word))
                    raw = sum((1 | key << 32) << 48 * i for i, key in enumerate(word))
                    ctx.set(Value.cast(dut.put_word), raw)
                    ctx.set(dut.o_levels, 64)  # no room at the root
                    await ctx.tick()
            ctx.set(dut.put, 0)
            ctx.set(dut.closed, 3)
            ctx.set(dut.o_levels, 0)
            puts, left = [], sum(lengths)
            while not ctx.get(dut.o_closed):
                puts.append(ctx.get(dut.o_put) and ctx.get(dut.o_count))
                await ctx.tick()
            words = [number for number, count in enumerate(puts) if count]
            assert bool(words) == bool(left)
            assert sum(puts[number] for number in words) == len({*streams[0], *streams[1]})
            if words:
                assert words == [*range(words[0], words[0] + len(words))]
            assert len(words) <= -(-left // width)

    simulate(dut, bench)


def test_wrong_shapes():
    layout = element_layout(4, 4)
    for arguments, message in (
        ({"fifos": 3, "ways": 2, "capacity": 4}, "fifos must be a power of two, at least 1, not 3"),
        ({"fifos": 2, "ways": 5, "capacity": 8}, "ways must be 2, 4, 8 or 16, not 5"),
        (
            {"fifos": 2, "ways": 4, "capacity": 6},
            "capacity must be a power of two, at least 4, not 6",
        ),
        (
            {"fifos": 2, "ways": 4, "capacity": 2},
            "capacity must be a power of two, at least 4, not 2",
        ),
    ):
        with pytest.raises(ValueError, match=f"^{message}$"):
            FifoFile(**arguments, element=layout)
        with pytest.raises(ValueError, match=f"^{message}$"):
            WordBanks(**arguments, size=8, windows=1)
    with pytest.raises(ValueError, match=r"^capacity must be a power of two, at least 4, not 2$"):
        WordQueue(ways=4, capacity=2, element=layout)
    with pytest.raises(ValueError, match=r"^ways must be 2, 4, 8 or 16, not 3$"):
        WordQueue(ways=3, capacity=4, element=layout)
    with pytest.raises(ValueError, match=r"^layer must be 0 to 1, not 2$"):
        MergeLayer(TINY, layer=2)
