# amaranth: UnusedElaboratable=no
"""The parts of the EIE engine, each against plain Python."""

from __future__ import annotations

import inspect
import itertools
import random
from dataclasses import replace

import numpy as np
import pytest
from amaranth.hdl import Const
from amaranth.sim import Simulator

from celosia.dataflow.accelerator import Bus
from celosia.dataflow.eie.accelerator import CellUnit, EieAccelerator, PeArray, PeMemories, Widths
from celosia.dataflow.eie.descriptors import Cell, End, Load, Run, Stamp, Store, Target
from celosia.dataflow.eie.presets import TINY
from celosia.rtl.descriptors import DESCRIPTOR_BITS
from celosia.rtl.eie import arithmetic
from celosia.rtl.eie.activations import ActivationFiles
from celosia.rtl.eie.arithmetic import Arithmetic
from celosia.rtl.eie.control import Broadcaster
from celosia.rtl.eie.descriptors import CellLayout, LoadLayout, RunLayout, StoreLayout, encode
from celosia.rtl.eie.issue import Issue
from celosia.rtl.eie.legality import EieLegality
from celosia.rtl.eie.memories import PackedRam, PointerMemory
from celosia.rtl.eie.queue import ActivationQueue, item_layout

from .drivers import simulate

SEED = 45


@pytest.mark.parametrize(("width", "lanes"), [(16, 1), (16, 4), (16, 8), (64, 2), (12, 2), (40, 2)])
def test_packed_ram_holds_every_word(width, lanes):
    depth, rng = 16, random.Random(SEED)
    dut = PackedRam(depth=depth, width=width, lanes=lanes)
    words = [rng.getrandbits(width) for _ in range(depth)]

    async def bench(ctx):
        ctx.set(dut.write_enable, 1)
        for beat in range(depth // lanes):
            ctx.set(dut.write_address, beat)
            part = words[beat * lanes : (beat + 1) * lanes]
            ctx.set(dut.write_data, sum(word << i * width for i, word in enumerate(part)))
            await ctx.tick()
        ctx.set(dut.write_enable, 0)
        for place in [*range(depth), *rng.sample(range(depth), depth)]:
            ctx.set(dut.read_enable, 1)
            ctx.set(dut.read_address, place)
            await ctx.tick()
            ctx.set(dut.read_enable, 0)
            ctx.set(dut.read_address, rng.randrange(depth))
            for _ in range(2):
                assert ctx.get(dut.read_data) == words[place]
                await ctx.tick()

    simulate(dut, bench)


@pytest.mark.parametrize("lanes", [2, 4, 8])
def test_pointers_of_every_column_come_two_at_once(lanes):
    depth, rng = 64, random.Random(SEED)
    dut = PointerMemory(depth=depth, width=13, lanes=lanes, slot=16)
    pointers = [rng.getrandbits(13) for _ in range(depth)]

    async def bench(ctx):
        ctx.set(dut.write_enable, 1)
        for beat in range(depth // lanes):
            ctx.set(dut.write_address, beat)
            part = pointers[beat * lanes : (beat + 1) * lanes]
            ctx.set(dut.write_data, sum(word << 16 * i for i, word in enumerate(part)))
            await ctx.tick()
        ctx.set(dut.write_enable, 0)
        ctx.set(dut.read_enable, 1)
        for column in range(depth - 1):
            ctx.set(dut.place, column)
            await ctx.tick()
            assert (ctx.get(dut.first), ctx.get(dut.second)) == (
                pointers[column], pointers[column + 1],
            )  # fmt: skip

    simulate(dut, bench)


@pytest.mark.parametrize(("depth", "spare"), [(1, 0), (2, 0), (3, 0), (8, 0), (1, 2), (4, 2)])
def test_queue_keeps_a_place_until_its_release(depth, spare):
    layout = item_layout(8, 8)
    dut = ActivationQueue(layout, depth=depth, spare=spare)
    rng = random.Random(depth)

    async def bench(ctx):
        waiting, at_work, sent = [], [], 0
        for _ in range(400):
            places = depth + spare - len(waiting) - len(at_work)
            assert ctx.get(dut.idle) == (not waiting and not at_work)
            push = places > 0 and rng.random() < 0.6
            if push:
                sent += 1
                waiting.append(sent % 256)
            ctx.set(dut.push, push)
            ctx.set(dut.pushed, {"place": sent % 256, "value": sent % 7})
            release = bool(at_work) and rng.random() < 0.5
            ctx.set(dut.release, release)
            await ctx.delay(1e-9)
            assert ctx.get(dut.waiting) == bool(waiting)
            look_up = bool(waiting) and rng.random() < 0.7
            ctx.set(dut.look_up, look_up)
            if release:
                at_work.pop(0)
            if look_up:
                assert ctx.get(dut.head.place) == waiting[0]
                at_work.append(waiting.pop(0))
            assert ctx.get(dut.full) == (len(waiting) + len(at_work) >= depth)
            await ctx.tick()

    simulate(dut, bench)


def small(**array):
    return EieAccelerator(
        name="small",
        array=PeArray(pes=4, **array),
        widths=Widths(activation=8, accumulator=24),
        memories=PeMemories(entries=64, pointers=64, biases=16, activations=32, accumulators=16,
                            pointer_bits=8, window=16),
        bus=Bus(data_bits=64, burst_beats=16),
    )  # fmt: skip


@pytest.mark.parametrize("queue", [1, 2, 8])
def test_every_run_of_three_columns_is_walked_without_a_gap(queue):
    """All lists of three columns with 0 to 3 entries: entries in order, one a cycle."""
    engine = small(queue=queue)
    dut = Issue(replace(engine, memories=replace(engine.memories, pointers=256)))
    cases = list(itertools.product(range(4), repeat=3))
    columns = [count for case in cases for count in case]
    starts = np.cumsum([0, *columns]) % 200
    starts = np.where(starts + 4 > 255, 0, starts)

    async def bench(ctx):
        ctx.set(dut.size, 255)
        sent, seen, pointers, idle, full = 0, [], (0, 0), 0, 0
        while len(seen) < sum(columns) or sent < len(columns):
            push = sent < len(columns) and not full
            ctx.set(dut.push, push)
            ctx.set(dut.pushed_0, {"place": sent, "value": sent % 100})
            ctx.set(dut.start, int(pointers[0]))
            ctx.set(dut.stop, int(pointers[1]))
            await ctx.delay(1e-9)
            assert not ctx.get(dut.corrupt)
            if ctx.get(dut.issue):
                seen.append((ctx.get(dut.value), ctx.get(dut.first), ctx.get(dut.entry)))
            else:
                idle += 1
            if ctx.get(dut.look_up):
                column = ctx.get(dut.place)
                pointers = (starts[column], starts[column] + columns[column])
            sent += push
            full = ctx.get(dut.full)
            await ctx.tick()
        expected = [
            (column % 100, int(entry == 0), int(starts[column]) + entry)
            for column, count in enumerate(columns)
            for entry in range(count)
        ]
        assert seen == expected
        # What waits is looked up meanwhile: a cycle for each empty column, two to begin with.
        if queue > 2:
            assert idle == columns.count(0) + 2

    simulate(dut, bench)


@pytest.mark.parametrize(("start", "stop"), [(5, 4), (200, 3), (0, 33), (32, 34)])
def test_pointers_that_fall_or_lead_too_far_are_corrupt(start, stop):
    dut = Issue(small())

    async def bench(ctx):
        ctx.set(dut.size, 32)
        ctx.set(dut.start, start)
        ctx.set(dut.stop, stop)
        ctx.set(dut.push, 1)
        await ctx.tick()
        ctx.set(dut.push, 0)
        assert not ctx.get(dut.corrupt)
        await ctx.tick()
        assert ctx.get(dut.corrupt)
        assert not ctx.get(dut.issue)
        await ctx.tick()
        assert ctx.get(dut.idle)

    simulate(dut, bench)


def check_sums(kind):
    """Single-entry columns hit few accumulators again after 1, 2, 3 ... cycles."""
    dut, rng = kind(small()), random.Random(SEED)
    sums = [0] * 16

    async def bench(ctx):
        ctx.set(dut.rows, 16)
        row = -1
        for _ in range(3000):
            valid = rng.random() < 0.8
            first = row < 0 or rng.random() < 0.7
            gap = rng.randrange(0, min(3, 16 - (0 if first else row + 1)) or 1)
            ctx.set(dut.valid, valid)
            ctx.set(dut.first, first)
            ctx.set(dut.gap, gap)
            weight, activation = rng.randrange(-(2**15), 2**15), rng.randrange(-128, 128)
            ctx.set(dut.activation, activation)
            if valid:
                row = gap if first else row + 1 + gap
                if row > 12:
                    row, ends = -1, row
                else:
                    ends = row
                if ends < 16:
                    sums[ends] = (sums[ends] + weight * activation + 2**23) % 2**24 - 2**23
            await ctx.delay(1e-9)
            await ctx.tick()
            ctx.set(dut.factor, weight)
        ctx.set(dut.valid, 0)
        await ctx.tick().repeat(3)
        for number in range(16):
            ctx.set(dut.drain, 1)
            ctx.set(dut.drain_row, number)
            assert ctx.get(dut.drained) == sums[number]
            await ctx.tick()
        for number in range(16):
            ctx.set(dut.drain_row, number)
            assert ctx.get(dut.drained) == 0

    simulate(dut, bench)


def test_sums_are_exact_however_often_an_accumulator_is_hit():
    check_sums(Arithmetic)


@pytest.mark.parametrize("bypass", ["(row[2] == row[0])", "(row[2] == row[1])"])
def test_a_lost_bypass_is_found_out(bypass):
    source = inspect.getsource(Arithmetic)
    assert source.count(bypass) == 1
    names = dict(vars(arithmetic))
    exec(source.replace(bypass, "Const(0, 1)"), names | {"Const": Const}, found := {})
    with pytest.raises(AssertionError):
        check_sums(found["Arithmetic"])


def test_an_index_beyond_the_rows_is_dropped_and_told():
    dut = Arithmetic(small())

    async def bench(ctx):
        ctx.set(dut.rows, 5)
        ctx.set(dut.valid, 1)
        ctx.set(dut.first, 1)
        ctx.set(dut.factor, 3)
        ctx.set(dut.activation, 7)
        for gap in range(16):
            ctx.set(dut.gap, gap)
            assert ctx.get(dut.beyond) == (gap >= 5)
            await ctx.tick()
        ctx.set(dut.valid, 0)
        await ctx.tick().repeat(3)
        ctx.set(dut.drain, 1)
        for number in range(16):
            ctx.set(dut.drain_row, number)
            assert ctx.get(dut.drained) == (21 if number < 5 else 0)

    simulate(dut, bench)


@pytest.mark.parametrize(("pes", "window"), [(4, 16), (8, 16), (4, 32), (4, 2)])
def test_nonzeros_of_a_window_are_found_in_order(pes, window):
    """Of more than four PEs, of wide and of many windows they are found a cycle later."""
    depth = 80 if window == 2 else 64
    engine = replace(small(), array=PeArray(pes=pes))
    sizes = replace(engine.memories, window=window, activations=depth, accumulators=64)
    engine = replace(engine, memories=sizes)
    dut, rng = ActivationFiles(engine), random.Random(SEED)
    files = [[rng.choice([0, rng.randrange(256)]) for _ in range(n)] for n in (depth, 21)]
    assert engine.late_windows == ((pes, window) != (4, 16))

    async def bench(ctx):
        # Values of before must not be found: what is written first is longer and has no zeros.
        for values in ([[1] * depth] * 2, files):
            for file, rows in enumerate(values):
                for row, value in enumerate(rows):
                    ctx.set(dut.write, 1)
                    ctx.set(dut.write_row, depth * file + row)
                    ctx.set(dut.write_value, value)
                    await ctx.tick()
        ctx.set(dut.write, 0)
        windows = depth // window
        for file, number in itertools.product(range(2), range(windows)):
            ctx.set(dut.load, 1)
            ctx.set(dut.window, windows * file + number)
            await ctx.tick()
            ctx.set(dut.load, 0)
            if engine.late_windows:
                assert not ctx.get(dut.found)
                await ctx.tick()
            found = []
            while ctx.get(dut.found):
                index = ctx.get(dut.index)
                ctx.set(dut.take, 1)
                await ctx.tick()
                found.append((index, ctx.get(dut.value)))
            ctx.set(dut.take, 0)
            if file == 1 and window * number >= 21:
                continue  # windows that were not written are those of before
            part = files[file][window * number : window * (number + 1)]
            assert found == [(i, value) for i, value in enumerate(part) if value]

    simulate(dut, bench)


@pytest.mark.parametrize("pes", [1, 3, 4, 5, 18, 64])
def test_nonzeros_of_all_pes_are_broadcast_in_order(pes):
    """Through any number of levels of buffers, one a cycle where no PE is full."""
    engine = replace(small(), array=PeArray(pes=pes))
    dut, rng = Broadcaster(engine, 0), random.Random(pes)
    bits, levels = 4, engine.array.buffer_levels

    async def bench(ctx):
        ctx.set(dut.run, 1)
        for window in range(6):
            at = [[n for n in range(16) if rng.random() < 0.4] for _ in range(pes)]
            value = {(n, pe): rng.randrange(1, 128) for pe in range(pes) for n in at[pe]}
            expected, busy = sorted(value), window % 2
            ctx.set(dut.base, 10 * window)
            cycle = begun = 0
            seen, show = [], [0] * pes
            while len(seen) < len(expected):
                ctx.set(dut.found, sum(bool(left) << pe for pe, left in enumerate(at)))
                numbers = sum(left[0] << bits * pe for pe, left in enumerate(at) if left)
                ctx.set(dut.candidates, numbers)
                ctx.set(dut.values, sum(shown << 8 * pe for pe, shown in enumerate(show)))
                ctx.set(dut.full, busy and rng.random() < 0.5)
                await ctx.delay(1e-9)
                if ctx.get(dut.fires):
                    begun = begun or cycle
                    n, pe = expected[len(seen)]
                    assert ctx.get(dut.item.place) == 10 * window + n * pes + pe
                    assert ctx.get(dut.item.value) == value[n, pe]
                    seen.append((n, pe))
                for pe in range(pes):
                    if ctx.get(dut.take) >> pe & 1:
                        show[pe] = value[at[pe].pop(0), pe]
                cycle += 1
                await ctx.tick()
            assert ctx.get(dut.empty)
            assert not ctx.get(dut.held)
            if not busy and expected:
                assert begun == levels + 2
                assert cycle == begun + len(expected)

    simulate(dut, bench)


RUN = Run(source=0, window=0, columns=60, pointers=4, entries=8, size=50, occupancy=0, codebook=3,
          rows=16, last_pes=4, write=True, biases=0, target=0, shift=3, low=-5, high=7)  # fmt: skip
LOAD = Load(target=Target.POINTERS, pe=3, address=0x100, place=0, beats=128)


def changed(value, **fields):
    return type(value)(**{name: getattr(value, name) for name in value.__slots__} | fields)


LEGAL = [
    RUN, changed(RUN, window=3, columns=64), LOAD,
    Load(target=Target.CODEBOOK, pe=256, address=8, place=0x300, beats=16),
    Load(target=Target.ACTIVATIONS, pe=256, address=0, place=1 << 15, beats=64),
    Store(source=1, first=3, rows=5, address=0x40), Stamp(address=8), End(),
]  # fmt: skip

ILLEGAL = [
    changed(RUN, columns=0), changed(RUN, columns=257), changed(RUN, window=4),
    changed(RUN, window=3, columns=65), changed(RUN, window=1, columns=193),
    changed(RUN, entries=4048), changed(RUN, entries=4), changed(RUN, codebook=4),
    changed(RUN, rows=0), changed(RUN, rows=33), changed(RUN, last_pes=5),
    changed(RUN, biases=49), changed(RUN, target=49), changed(RUN, low=1), changed(RUN, high=-1),
    changed(LOAD, beats=0), changed(LOAD, beats=129), changed(LOAD, pe=4), changed(LOAD, pe=255),
    changed(LOAD, address=0x101), changed(LOAD, address=1 << 40), changed(LOAD, place=1),
    changed(LOAD, target=Target.OCCUPANCY),
    changed(LOAD, target=Target.ACTIVATIONS, place=1 << 16, beats=1),
    Store(source=0, first=60, rows=5, address=0), Store(source=0, first=0, rows=0, address=0),
    Store(source=0, first=0, rows=1, address=4), Stamp(address=4),
]  # fmt: skip


def test_legality():
    dut = EieLegality(TINY)
    layouts = {Load: LoadLayout, Run: RunLayout}

    async def bench(ctx):
        for descriptors, legal in ((LEGAL, 1), (ILLEGAL, 0)):
            for descriptor in descriptors:
                ctx.set(dut.descriptor, encode(descriptor))
                assert ctx.get(dut.legal) == legal, descriptor
        for opcode in (0, *range(6, 16)):
            ctx.set(dut.descriptor, opcode)
            assert not ctx.get(dut.legal)
        for descriptor in LEGAL:  # no bit above its layout
            size = layouts.get(type(descriptor), StoreLayout).size
            for bit in (size, DESCRIPTOR_BITS - 1):
                ctx.set(dut.descriptor, encode(descriptor) | 1 << bit)
                assert not ctx.get(dut.legal)

    sim = Simulator(dut)  # it has no clock
    sim.add_testbench(bench)
    sim.run()


CELL = Cell(source=1, rows=3, last_pes=4, gates=0, cell=12, target=61, cell_shift=7, shift=31,
            low=-5, high=7)  # fmt: skip
TABLES = Load(target=Target.TABLES, pe=256, address=8, place=40, beats=8)


def test_legality_of_elements():
    cells = EieLegality(replace(TINY, cell=CellUnit(segments=32)))
    legal = [
        CELL, TABLES, changed(CELL, rows=12, cell=48, gates=16, target=52, source=0), RUN, LOAD,
    ]  # fmt: skip
    illegal = [
        changed(CELL, rows=0), changed(CELL, gates=53), changed(CELL, cell=62),
        changed(CELL, target=62), changed(CELL, last_pes=5), changed(CELL, low=1),
        changed(CELL, high=-1), changed(TABLES, beats=9), changed(TABLES, address=4),
    ]  # fmt: skip

    async def bench(ctx):
        for descriptors, expected in ((legal, 1), (illegal, 0)):
            for descriptor in descriptors:
                ctx.set(cells.descriptor, encode(descriptor))
                assert ctx.get(cells.legal) == expected, descriptor
        ctx.set(cells.descriptor, encode(CELL) | 1 << CellLayout.size)
        assert not ctx.get(cells.legal)

    sim = Simulator(cells)
    sim.add_testbench(bench)
    sim.run()
    none = EieLegality(TINY)

    async def without(ctx):
        for descriptor in (CELL, TABLES):
            ctx.set(none.descriptor, encode(descriptor))
            assert not ctx.get(none.legal)

    sim = Simulator(none)
    sim.add_testbench(without)
    sim.run()


@pytest.mark.parametrize(
    ("descriptor", "message"),
    [
        (changed(RUN, shift=64), r"Run shift must be in 0\.\.63, not 64"),
        (changed(RUN, low=-70000), r"Run low must be in -65536\.\.65535, not -70000"),
        (changed(LOAD, beats=1 << 21), "Load beats must be in"),
    ],
)
def test_fields_that_do_not_fit(descriptor, message):
    with pytest.raises(ValueError, match=message):
        encode(descriptor)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PackedRam(depth=8, width=4, lanes=3), "power of two, not 3"),
        (lambda: PackedRam(depth=6, width=4, lanes=4), "multiple of the 4 lanes, not 6"),
        (lambda: PointerMemory(depth=8, width=4, lanes=1, slot=16), "at least 2"),
        (lambda: ActivationQueue(item_layout(4, 4), depth=0), "depth must be at least 1, not 0"),
    ],
)
def test_parameters_that_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()
