"""The left stream: work records from beats of grains, and what each says by the one before."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, memory, stream
from amaranth.lib.wiring import In, Out

from celosia.dataflow.sparch.accelerator import GRAIN_BITS, SparchAccelerator
from celosia.dataflow.sparch.work import Follows
from celosia.rtl.axi.burst import BurstSplitter
from celosia.rtl.ports import BEATS_BITS, Flow, burst_layout
from celosia.rtl.queue import Queue, RegisterQueue
from celosia.rtl.shared import Shared
from celosia.rtl.sparch.descriptors import (
    COUNT_BITS,
    LEFT_BITS,
    head_layout,
    numbered,
    told_layout,
    work_layout,
)
from celosia.rtl.sparch.merge import total
from celosia.rtl.sparch.words import word_layout


class RecordReader(Shared):
    """Reads the work records of a round, in order.

    Begun in cycle t, it asks for its first run in t+2, and for the next whenever its queue, of two
    of the longest bursts, had room for one in the cycle before besides what was asked for. A run is
    one of the longest bursts, or what is left, cut at 4 KiB.

    A beat that comes in cycle c is in the queue from c+1 on. Between the queue and the beat that is
    looked at two more wait in registers; the queue's first goes there in any cycle in which one of
    them is free. The first of those goes on in any cycle in which no beat is looked at, or in which
    the last record that begins in it is read. Of the records that begin in that beat the next are
    read together, up to as many as there are groups of multipliers; one that leads into the next
    beat when that waits in a register. They are read whenever ``can``, and said in the cycle after.
    Of row and value they have what lies in memory: :class:`LeafRows`.

    Parameters
    ----------
    accelerator : SparchAccelerator

    Members
    -------
    begin : In(1)
        Begin; only when nothing is left.
    address : In(address_bits)
        Of the records, a multiple of a beat.
    records : In(40)
        How many.
    run_beats : In(31)
        The beats that they fill.
    bursts : Out(stream.Signature(burst_layout(address_bits)))
    beats : In(Flow(data_bits))
    can : In(1)
        Records may be read in this cycle.
    reads : Out(1)
        They are.
    o : Out(word_layout(told_layout(accelerator), groups))
        Records that were read in the cycle before; meant are the first ``shown``.
    shown : Out(range(groups + 1))
    finished : Out(1)
        All records have been read, and none is said.
    corrupt : Out(1)
        Records did not end in the last beat, in the cycle before.
    """

    def __init__(self, accelerator: SparchAccelerator) -> None:
        self._accelerator = accelerator
        bus, groups = accelerator.bus, accelerator.right.groups
        super().__init__(
            {
                "begin": In(1),
                "address": In(bus.address_bits),
                "records": In(COUNT_BITS),
                "run_beats": In(LEFT_BITS),
                "bursts": Out(stream.Signature(burst_layout(bus.address_bits))),
                "beats": In(Flow(bus.data_bits)),
                "can": In(1),
                "reads": Out(1),
                "o": Out(word_layout(told_layout(accelerator), groups)),
                "shown": Out(range(groups + 1)),
                "finished": Out(1),
                "corrupt": Out(1),
            },
            name="record_reader",
            parameters=(accelerator,),
        )

    def build(self) -> Module:
        m = Module()
        bus, groups = self._accelerator.bus, self._accelerator.right.groups
        entry = data.StructLayout({"beat": bus.data_bits, "ends": self._ends})
        m.submodules.queue = queue = Queue(bus.data_bits, depth=2 * bus.burst_beats)
        m.submodules.waiting = waiting = RegisterQueue(entry.size, depth=2)
        held: Any = Signal(entry, reset_less=True)
        holds = Signal()
        waits: Any = data.View(entry, waiting.o.payload)
        # Where the next record begins, and where it and those after it end, of the beat held.
        at = Signal(range(self._accelerator.beat_grains))
        ends: list[Any] = [Signal(self._end, name=f"end_{n}") for n in range(groups)]
        left, unused = Signal(COUNT_BITS), Signal(LEFT_BITS)
        more = Signal(groups + 1)  # bit n: more than n records are left
        moved, some = Signal(), Signal()
        m.d.comb += [
            some.eq(more[0]),
            queue.i.valid.eq(self.beats.valid),
            queue.i.payload.eq(self.beats.payload),
            waiting.i.valid.eq(queue.o.valid),
            waiting.i.payload.eq(Cat(queue.o.payload, self._ends_in(m, queue.o.payload))),
            queue.o.ready.eq(waiting.i.ready),
            moved.eq(queue.o.valid & waiting.i.ready),
        ]
        self._ask(m, moved)
        self._say(m, Cat(held.beat, waits.beat), [at, *(each.end for each in ends)])
        shown: list[Value] = []
        goes_on: Value = holds
        for number, each in enumerate(ends):
            begins = Const(1, 1) if number == 0 else ~ends[number - 1].fills
            goes_on = goes_on & begins & more[number] & (~each.spills | waiting.o.valid)
            shown.append(goes_on)
        count = Signal(range(groups + 1))
        end: Any = Signal(self._end)
        final, leaves, pops = Signal(), Signal(), Signal()
        m.d.comb += [
            count.eq(total(shown)),
            end.eq(ends[0]),
            self.reads.eq(self.can & shown[0]),
            final.eq(~more[1]),
            leaves.eq(self.reads & (end.fills | final)),
            pops.eq(waiting.o.valid & Mux(holds, leaves & (~final | end.spills), some)),
            waiting.o.ready.eq(pops),
        ]
        for number in range(1, groups):
            with m.If(shown[number]):
                m.d.comb += [end.eq(ends[number]), final.eq(~more[number + 1])]
        m.d.sync += [
            self.shown.eq(Mux(self.reads, count, 0)),
            self.finished.eq(~some & ~self.begin),
            # Nothing more comes, or more than is asked for.
            self.corrupt.eq(
                Mux(
                    some,
                    (unused == 0) & ~waiting.o.valid & ~shown[0],
                    (unused != 0) | waiting.o.valid,
                )
            ),
        ]
        rests = [
            Cat(left > taken + number for number in range(groups + 1))
            for taken in range(groups + 1)
        ]
        with m.If(moved):
            m.d.sync += unused.eq(unused - 1)
        # A beat is taken in front of the record that is next: at the end of those read, if any is.
        onward = Mux(holds, end.end, at)
        with m.If(pops):
            m.d.sync += held.eq(waits)
            m.d.sync += self._found(ends, waits.ends, onward)
        with m.Elif(self.reads):
            m.d.sync += self._found(ends, held.ends, end.end)
        with m.If(self.reads):
            m.d.sync += [
                at.eq(end.end),  # a power of two: less a beat by itself
                left.eq(left - count),
                more.eq(Array(rests)[count]),
            ]
        with m.If(leaves | ~holds):
            m.d.sync += holds.eq(pops & ~(holds & final))
        with m.If(self.begin):
            m.d.sync += [
                at.eq(0),
                left.eq(self.records),
                more.eq(Cat(self.records > number for number in range(groups + 1))),
                unused.eq(self.run_beats),
            ]
        return m

    @property
    def _end(self) -> data.StructLayout:
        """The layout of where a record ends: in the next beat if it ``spills``.

        No record begins behind it in the beat if it ``fills`` it.
        """
        bits = (2 * self._accelerator.beat_grains).bit_length()
        return data.StructLayout({"end": bits, "fills": 1, "spills": 1})

    @property
    def _ends(self) -> data.ArrayLayout:
        """The layout of where a record ends, by the grain of a beat in which it begins."""
        return data.ArrayLayout(self._end, self._accelerator.beat_grains)

    def _ends_in(self, m: Module, beat: Value) -> Any:
        """Return where a record would end that began in each grain of ``beat``."""
        lanes, parts = self._accelerator.beat_grains, self._accelerator.grains
        bounds = (0, parts.value, parts.value + 1, parts.value + parts.row)
        sizes = [parts.head + more + bound for more in (0, parts.address) for bound in bounds]
        ends: Any = Signal(self._ends)
        for grain in range(lanes):
            first = beat.word_select(grain, GRAIN_BITS)
            head: Any = data.View(self._first, first[: self._first.size])
            kind = Cat(head.follows, head.fetches)
            # Tables by the kind, no sums: few bits.
            m.d.comb += [
                ends[grain].end.eq(Array(grain + size for size in sizes)[kind]),
                ends[grain].fills.eq(Array(grain + size >= lanes for size in sizes)[kind]),
                ends[grain].spills.eq(Array(grain + size > lanes for size in sizes)[kind]),
            ]
        return ends

    def _found(self, ends: list[Any], table: Any, at: Value) -> list[Any]:
        """Return what sets ``ends`` to those of the records from grain ``at`` of a beat on.

        ``table`` says where the beat's records end.
        """
        place_bits = (self._accelerator.beat_grains - 1).bit_length()
        found = []
        for each in ends:
            end: Any = table[at[:place_bits]]  # of one beyond the beat it does not matter
            found.append(each.eq(end))
            at = end.end
        return found

    def _ask(self, m: Module, freed: Value) -> None:
        """Add what asks for the beats; a place of the queue is ``freed``."""
        bus = self._accelerator.bus
        longest = bus.burst_beats
        depth = 2 * longest
        m.submodules.splitter = splitter = BurstSplitter(
            address_bits=bus.address_bits, data_bits=bus.data_bits, burst_beats=longest,
            run_bits=BEATS_BITS,
        )  # fmt: skip
        address, unasked = Signal(bus.address_bits), Signal(LEFT_BITS)
        free, run, wants = Signal(range(depth + 1), init=depth), Signal(BEATS_BITS), Signal()
        asks = Signal()
        m.d.comb += [
            splitter.i.valid.eq(wants),
            splitter.i.p.address.eq(address),
            splitter.i.p.beats.eq(run),
            asks.eq(wants & splitter.i.ready),
            self.bursts.valid.eq(splitter.o.valid),
            self.bursts.p.address.eq(splitter.o.p.address),
            self.bursts.p.beats.eq(splitter.o.p.beats),
            splitter.o.ready.eq(self.bursts.ready),
        ]
        m.d.sync += free.eq(free + freed - Mux(asks, run, 0))
        with m.If(~wants):
            m.d.sync += [
                wants.eq((unasked != 0) & (free >= longest)),
                run.eq(Mux(unasked >= longest, longest, unasked)),
            ]
        with m.Elif(asks):
            m.d.sync += [
                wants.eq(0),
                address.eq(address + run * bus.data_bytes),
                unasked.eq(unasked - run),
            ]
        with m.If(self.begin):
            m.d.sync += [address.eq(self.address), unasked.eq(self.run_beats)]

    def _say(self, m: Module, window: Value, places: list[Value]) -> None:
        """Say the records that begin in grains ``places`` of ``window``, a cycle later."""
        most = self._accelerator.grains.most
        place_bits = (self._accelerator.beat_grains - 1).bit_length()
        for number in range(self._accelerator.right.groups):
            grains = Signal(most * GRAIN_BITS, name=f"grains_{number}", reset_less=True)
            place = Cat(Const(0, 4), places[number][:place_bits])  # beyond the beat: not shown
            m.d.sync += grains.eq(window.bit_select(place, most * GRAIN_BITS))
            self._record(m, self.o[number], grains)

    @property
    def _first(self) -> data.StructLayout:
        """The layout of what says how long a record is, at the beginning of its head."""
        return data.StructLayout({"follows": 2, "last": 1, "fetches": 1})

    def _record(self, m: Module, record: Any, grains: Value) -> None:
        """Say the ``record`` that begins with ``grains``."""
        accelerator, parts = self._accelerator, self._accelerator.grains
        work, layout = accelerator.work, head_layout(accelerator)
        head: Any = data.View(layout, grains[: layout.size])
        bounds = (0, parts.value, parts.value + 1, parts.value + parts.row)
        ends = [(parts.head + bound) * GRAIN_BITS for bound in bounds]
        follows, behind = head.follows, grains[ends[Follows.NEXT] :]
        skip = behind[: min(GRAIN_BITS, work.row)]
        addresses = Array([grains[end : end + work.address] for end in ends])
        m.d.comb += [
            record.follows.eq(follows),
            record.value.eq(grains[ends[Follows.SAME] :][: work.value]),
            record.row.eq(Mux(follows == Follows.SKIP, skip, behind[: work.row])),
            record.address.eq(Mux(head.fetches, addresses[follows], 0)),
        ]
        for name in ("leaf", "slot", "first", "count", "fetches", "last"):
            m.d.comb += record[name].eq(head[name])


class LeafRows(Shared):
    """Says row and value of a group's records, from those of their leaf's record before.

    Taken in cycle t, a record is offered from t+1 on; two wait. Leaf k of G groups is number k // G
    of its group.

    Parameters
    ----------
    accelerator : SparchAccelerator

    Members
    -------
    i : In(stream.Signature(numbered(told_layout(accelerator), accelerator)))
    o : Out(stream.Signature(numbered(work_layout(accelerator), accelerator)))
    """

    def __init__(self, accelerator: SparchAccelerator) -> None:
        self._accelerator = accelerator
        self._given = numbered(told_layout(accelerator), accelerator)
        self._made = numbered(work_layout(accelerator), accelerator)
        super().__init__(
            {"i": In(stream.Signature(self._given)), "o": Out(stream.Signature(self._made))},
            name="leaf_rows",
            parameters=(accelerator,),
        )

    def build(self) -> Module:
        m = Module()
        work, groups = self._accelerator.work, self._accelerator.right.groups
        before = data.StructLayout({"row": work.row, "value": work.value})
        store: Any = memory.Memory(
            shape=before, depth=max(2, self._accelerator.tree.ways // groups), init=[]
        )
        m.submodules.before = store
        m.submodules.queue = queue = RegisterQueue(self._made.size, depth=2)
        write, read = store.write_port(), store.read_port(domain="comb")
        given = self.i.p
        record: Any = Signal(self._made)
        row = read.data.row
        rows = Array([row, row + 1, (row + given.row)[: work.row], given.row])
        for name in self._made.members:
            if name not in ("row", "value"):
                m.d.comb += record[name].eq(given[name])
        m.d.comb += [
            read.addr.eq(given.leaf >> (groups.bit_length() - 1)),
            record.row.eq(rows[given.follows]),
            record.value.eq(Mux(given.follows == Follows.SAME, read.data.value, given.value)),
            queue.i.valid.eq(self.i.valid),
            queue.i.payload.eq(record.as_value()),
            self.i.ready.eq(queue.i.ready),
            self.o.valid.eq(queue.o.valid),
            Value.cast(self.o.payload).eq(queue.o.payload),
            queue.o.ready.eq(self.o.ready),
            write.en.eq(self.i.valid & self.i.ready),
            write.addr.eq(read.addr),
            write.data.row.eq(record.row),
            write.data.value.eq(record.value),
        ]
        return m
