"""The writer: what leaves the root goes to memory, as a partial matrix or as the product in CSR."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from celosia.dataflow.sparch.accelerator import POINTER_BITS, SparchAccelerator
from celosia.rtl.axi.bus import Axi4Write
from celosia.rtl.axi.write import WritePort
from celosia.rtl.ports import ErrorReport, Window
from celosia.rtl.queue import Queue
from celosia.rtl.shared import Shared
from celosia.rtl.sparch.descriptors import COUNT_BITS, RoundLayout
from celosia.rtl.sparch.merge import total
from celosia.rtl.sparch.words import element_layout, word_layout
from celosia.rtl.sparch.write import BeatFiller, BeatWriter, Places, WriteArbiter

CYCLE_BITS = 64
ROW_BITS = 33
"""Of a row's number, and of the difference of two."""
WORDS = 4
"""Words of elements that wait for their pointers."""


class RowPointers(Shared):
    """Makes row pointers of the rows of elements: up to R in a cycle, in registers.

    Before the first element of row r are r + 1 pointers, at the end as many as rows are left and
    one. Words of elements that begin a row come into a queue in the second cycle after they were
    given. The first is at work until its last pointers, R or fewer, are made; the next follows at
    once.

    Parameters
    ----------
    index_bits : int
        Bits of a row.
    ways : int
        Elements of a word.
    rows : int
        R, pointers made in a cycle.

    Members
    -------
    begin : In(1)
        All begins again.
    count : In(range(ways + 1))
        Elements that are given.
    given : In(ways * index_bits)
        Their rows.
    wanted : In(1)
        Pointers are made of them.
    ends : In(1)
        After all elements: the pointers that are left are to be made; none is given.
    rows : In(32)
        Of the matrix.
    promised : In(1)
        Elements are given, or it ``ends``, in the next cycle.
    some : Out(1)
        There is a place for that.
    can : In(1)
        Pointers may be made.
    makes : Out(1)
        They are: in the next cycle they are shown.
    pointers : Out(rows * POINTER_BITS)
        Those made in the cycle before; meant are the first ``made``.
    made : Out(range(rows + 1))
    written : Out(40)
        Elements given up to the cycle before.
    idle : Out(1)
        Nothing waits and nothing is shown.
    """

    def __init__(self, *, index_bits: int, ways: int, rows: int) -> None:
        self._index, self._ways, self._rows = index_bits, ways, rows
        super().__init__(
            {
                "begin": In(1),
                "count": In(range(ways + 1)),
                "given": In(ways * index_bits),
                "wanted": In(1),
                "ends": In(1),
                "rows": In(32),
                "promised": In(1),
                "some": Out(1),
                "can": In(1),
                "makes": Out(1),
                "pointers": Out(rows * POINTER_BITS),
                "made": Out(range(rows + 1)),
                "written": Out(COUNT_BITS),
                "idle": Out(1),
            },
            name=f"row_pointers_i{index_bits}_n{ways}_r{rows}",
            parameters=(index_bits, ways, rows),
        )

    def build(self) -> Module:
        m = Module()
        ways, rows = self._ways, self._rows
        # Of a word: how many pointers come before each element that is meant, how many are to come
        # in all, and how many elements were before.
        word = data.StructLayout(
            {
                "before": data.ArrayLayout(ROW_BITS, ways),
                "meant": ways,
                "left": ROW_BITS,
                "base": COUNT_BITS,
            }
        )
        m.submodules.words = words = Queue(word, depth=WORDS)
        m.submodules.places = places = Places(WORDS)
        told: Any = Signal(word, reset_less=True)
        last, last_row, valid = Signal(ROW_BITS), Signal(ROW_BITS), Signal()
        number = [self.given.word_select(i, self._index) for i in range(ways)]
        m.d.comb += last_row.eq(number[0])
        for i in range(1, ways):
            with m.If(self.count > i):
                m.d.comb += last_row.eq(number[i])
        with m.If(self.ends):
            m.d.comb += last_row.eq(self.rows)
        m.d.sync += [
            valid.eq(self.wanted & ((self.count != 0) | self.ends)),
            told.base.eq(self.written),
            told.left.eq(last_row - last),
            told.meant.eq(Cat(self.count > i for i in range(ways))),
            self.written.eq(self.written + self.count),
        ]
        for i in range(ways):
            m.d.sync += told.before[i].eq(number[i] - last)
        with m.If((self.count != 0) | self.ends):
            m.d.sync += last.eq(last_row)
        needed = told.left != 0
        at: Any = Signal(word, reset_less=True)  # the word at work
        works, final, loads = Signal(), Signal(), Signal()
        head: Any = words.o.p
        m.d.comb += [
            words.i.valid.eq(valid & needed),
            words.i.payload.eq(told),
            places.promised.eq(self.promised),
            places.given_back.eq(valid & ~needed),
            places.freed.eq(words.o.valid & words.o.ready),
            self.some.eq(places.some),
            self.makes.eq(works & self.can),
            loads.eq(~works | (self.makes & final)),
            words.o.ready.eq(loads),
            self.idle.eq(places.all & ~works & (self.made == 0)),
        ]
        with m.If(loads):
            m.d.sync += [at.eq(head), works.eq(words.o.valid), final.eq(head.left <= rows)]
        with m.Elif(self.makes):
            m.d.sync += [at.left.eq(at.left - rows), final.eq(at.left <= 2 * rows)]
            for i in range(ways):
                m.d.sync += at.before[i].eq(Mux(at.before[i] > rows, at.before[i] - rows, 0))
        m.d.sync += self.made.eq(Mux(self.makes, Mux(final, at.left[: len(self.made)], rows), 0))
        for number_of in range(rows):
            passed = [at.meant[i] & (at.before[i] <= number_of) for i in range(ways)]
            m.d.sync += self.pointers.word_select(number_of, POINTER_BITS).eq(
                at.base + total(passed)
            )
        with m.If(self.begin):
            m.d.sync += [last.eq(-1), self.written.eq(0)]
        return m


class RootWriter(Shared):
    """Writes what leaves the root of the tree, or a stamp.

    Begun in cycle t, it takes elements from t+1 on, as many as the root shows and a beat holds, in
    each cycle in which a place of the queue of beats is left besides those that what was taken may
    need; of the product only while fewer than ``WORDS`` words wait for their pointers. In the cycle
    after they are in a beat. :class:`RowPointers` makes the pointers beside that. When the
    root has ended and all pointers are made, what waits is flushed in the next cycle.

    A stamp begun in cycle t is one beat, ``cycle`` as it was in t, that can be in a run from t+2
    on. See :class:`~celosia.rtl.sparch.write.BeatWriter` for runs, ``WriteArbiter`` for their
    order and :class:`~celosia.rtl.axi.write.WritePort` for W and B.

    Parameters
    ----------
    accelerator : SparchAccelerator

    Members
    -------
    begin : In(1)
        Begin with ``round``, or with a stamp; only when nothing is at work.
    stamp : In(1)
    stamp_address : In(address_bits)
    round : In(RoundLayout)
        Does not change in a round.
    cycle : In(64)
        The cycle counter.
    root, shown, take, ended
        The window of the root's queue, and what goes with it.
    taken : Out(range(ways + 1))
        How many elements were taken in the cycle before.
    count : Out(40)
        Elements written.
    done : Out(1)
        All that was begun is written and acknowledged.
    beyond : Out(1)
        There were more elements than the round's capacity, in the cycle before.
    axi : Out(Axi4Write(...))
    window : In(Window(...))
        Where it may write.
    stop : In(1)
        No new burst is put on AW in this cycle.
    idle : Out(1)
        Nothing is on AW and no burst is unacknowledged.
    beat : Out(2)
        A beat of elements (or a stamp), of pointers is taken in this cycle.
    response_error, window_error : Out(ErrorReport(...))
    """

    def __init__(self, accelerator: SparchAccelerator) -> None:
        self._accelerator = accelerator
        bus, ways, elements = accelerator.bus, accelerator.merger.width, accelerator.elements
        self._element = element_layout(elements.key_bits, elements.accumulator)
        report = ErrorReport(address_bits=bus.address_bits)
        super().__init__(
            {
                "begin": In(1),
                "stamp": In(1),
                "stamp_address": In(bus.address_bits),
                "round": In(RoundLayout),
                "cycle": In(CYCLE_BITS),
                "root": In(word_layout(self._element, ways)),
                "shown": In(ways),
                "take": Out(ways),
                "taken": Out(range(ways + 1)),
                "ended": In(1),
                "count": Out(COUNT_BITS),
                "done": Out(1),
                "beyond": Out(1),
                "axi": Out(Axi4Write(address_bits=bus.address_bits, data_bits=bus.data_bits)),
                "window": In(Window(address_bits=bus.address_bits)),
                "stop": In(1),
                "idle": Out(1),
                "beat": Out(2),
                "response_error": Out(report),
                "window_error": Out(report),
            },
            name="root_writer",
            parameters=(accelerator,),
        )

    def build(self) -> Module:
        m = Module()
        bus, depth = self._accelerator.bus, self._accelerator.partials.writer_beats
        m.submodules.elements = elements = BeatWriter(bus, depth=depth)
        m.submodules.pointers = pointers = BeatWriter(bus, depth=depth)
        m.submodules.arbiter = arbiter = WriteArbiter(bus)
        m.submodules.port = port = WritePort(bus)
        wiring.connect(m, elements.bursts, arbiter.first)
        wiring.connect(m, elements.beats, arbiter.first_beats)
        wiring.connect(m, pointers.bursts, arbiter.second)
        wiring.connect(m, pointers.beats, arbiter.second_beats)
        wiring.connect(m, arbiter.bursts, port.bursts)
        wiring.connect(m, arbiter.beats, port.beats)
        for name in ("axi", "response_error", "window_error"):
            wiring.connect(m, getattr(port, name), wiring.flipped(getattr(self, name)))
        wiring.connect(m, wiring.flipped(self.window), port.window)

        working, stamping, flushed = Signal(), Signal(), Signal()
        stamp, stamps = Signal(CYCLE_BITS), Signal()
        m.d.comb += [
            elements.begin.eq(self.begin),
            elements.address.eq(Mux(self.stamp, self.stamp_address, self.round.target)),
            pointers.begin.eq(self.begin),
            pointers.address.eq(self.round.pointers),
            elements.flush.eq(flushed),
            pointers.flush.eq(flushed),
            port.stop.eq(self.stop),
            self.idle.eq(port.idle),
            self.beat.eq(arbiter.beat),
            stamps.eq(stamping & ~flushed),
        ]
        ends = self._take(m, working & ~flushed, stamps, elements, pointers)
        with m.If(stamps):
            m.d.comb += [elements.i.valid.eq(1), elements.i.payload.eq(stamp)]
        empty = elements.idle & pointers.idle & arbiter.idle
        m.d.comb += self.done.eq(flushed & empty & port.idle)
        with m.If(ends | stamps):
            m.d.sync += flushed.eq(1)
        with m.If(self.done):
            m.d.sync += [working.eq(0), stamping.eq(0), flushed.eq(0)]
        with m.If(self.begin):
            m.d.sync += [working.eq(~self.stamp), stamping.eq(self.stamp), stamp.eq(self.cycle)]
        return m

    def _take(self, m: Module, works: Value, stamps: Value, elements: Any, pointers: Any) -> Value:
        """Add what takes elements and makes beats of them; return that it is the last cycle."""
        accelerator, ways = self._accelerator, self._accelerator.merger.width
        index, depth = accelerator.elements.index_bits, accelerator.partials.writer_beats
        lanes = {False: accelerator.partial_lanes, True: accelerator.output_lanes}
        bits = {False: accelerator.partial_bits, True: accelerator.output_bits}
        final = self.round.final
        can, ending, told, ends = Signal(), Signal(), Signal(), Signal()
        rows = accelerator.partials.writer_rows
        m.submodules.element_places = room = Places(depth)
        m.submodules.pointer_places = pointer_room = Places(depth)
        m.submodules.row_pointers = made = RowPointers(index_bits=index, ways=ways, rows=rows)
        word: Any = Signal(self.root.shape(), reset_less=True)  # taken in the cycle before
        count, some = self.taken, Signal()
        fillers: dict[bool, Any] = {}
        for product in (False, True):
            filler = BeatFiller(record_bits=bits[product], lanes=lanes[product], ways=ways)
            m.submodules["output_filler" if product else "partial_filler"] = filler
            fillers[product] = filler
            m.d.comb += [
                filler.records.eq(
                    Cat(
                        Cat(each.key[: index if product else 2 * index], each.value)
                        for each in (word[i] for i in range(ways))
                    )
                ),
                filler.count.eq(count),
                filler.on.eq(final == product),
                filler.flush.eq(ends),
            ]
        m.submodules.pointer_filler = pointer = BeatFiller(
            record_bits=POINTER_BITS, lanes=accelerator.pointer_lanes, ways=rows
        )
        last = Signal()
        m.d.sync += [
            word.eq(self.root),
            count.eq(total([*self.take])),
            told.eq(last & final),
            ending.eq((ending | last) & ~ends),
            # All pointers were made: a cycle of its own.
            ends.eq(ending & ~ends & made.idle & elements.i.ready & pointers.i.ready),
            self.beyond.eq(self.count > self.round.capacity),
        ]
        m.d.comb += [
            can.eq(works & ~ending & room.some & (made.some | ~final)),
            some.eq(self.shown[0]),
            self.take.eq(
                Mux(
                    can, self.shown & Mux(final, (1 << lanes[True]) - 1, (1 << lanes[False]) - 1), 0
                )
            ),
            last.eq(can & self.ended),
            self.count.eq(made.written),
            room.promised.eq(can & some),
            room.given_back.eq((count != 0) & ~elements.i.valid),
            room.taken.eq(stamps | (ends & elements.i.valid)),
            room.freed.eq(self.beat[0]),
            made.begin.eq(self.begin),
            made.count.eq(count),
            made.given.eq(Cat(word[i].key[index:] for i in range(ways))),
            made.wanted.eq(final),
            made.ends.eq(told),
            made.rows.eq(self.round.rows),
            made.promised.eq(final & can & (some | self.ended)),
            made.can.eq(pointer_room.some),
            pointer_room.promised.eq(made.makes),
            pointer_room.given_back.eq((made.made != 0) & ~pointers.i.valid),
            pointer_room.taken.eq(ends & pointers.i.valid),
            pointer_room.freed.eq(self.beat[1]),
            pointer.records.eq(made.pointers),
            pointer.count.eq(made.made),
            pointer.on.eq(1),
            pointer.flush.eq(ends),
            elements.i.valid.eq(Mux(final, fillers[True].valid, fillers[False].valid)),
            elements.i.payload.eq(Mux(final, fillers[True].beat, fillers[False].beat)),
            pointers.i.valid.eq(pointer.valid),
            pointers.i.payload.eq(pointer.beat),
        ]
        return ends
