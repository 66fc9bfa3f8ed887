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
from celosia.rtl.queue import Queue
from celosia.rtl.shared import Shared
from celosia.rtl.sparch.descriptors import (
    COUNT_BITS,
    LEFT_BITS,
    head_layout,
    told_layout,
    work_layout,
)
from celosia.rtl.sparch.merge import total
from celosia.rtl.sparch.words import word_layout


class RecordReader(Shared):
    """Reads the work records of a round, in order.

    Begun in cycle t, it asks for its first run in t+1, and for the next whenever its queue, of two
    of the longest bursts, has room for one besides what was asked for. A run is one of the longest
    bursts, or what is left, cut at 4 KiB.

    A beat that transfers in cycle c is in the queue from c+1 on. In front of the queue a register
    holds a beat: the queue's first goes there in any cycle in which none is held, or in which the
    last record that begins in it is taken. Of the records that begin in the beat held the next are
    shown, up to as many as there are groups of multipliers; one that leads into the next beat when
    that is in the queue. Of row and value they have what lies in memory: :class:`LeafRows`.

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
    o : Out(word_layout(told_layout(accelerator), groups))
        The next records; meant are the first ``shown``.
    shown : Out(range(groups + 1))
    take : In(range(groups + 1))
        How many of those are taken, at most ``shown``.
    finished : Out(1)
        All records have been taken.
    corrupt : Out(1)
        Records do not end in the last beat.
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
                "o": Out(word_layout(told_layout(accelerator), groups)),
                "shown": Out(range(groups + 1)),
                "take": In(range(groups + 1)),
                "finished": Out(1),
                "corrupt": Out(1),
            },
            name="record_reader",
            parameters=(accelerator,),
        )

    def build(self) -> Module:
        m = Module()
        bus, lanes = self._accelerator.bus, self._accelerator.beat_grains
        m.submodules.queue = queue = Queue(bus.data_bits, depth=2 * bus.burst_beats)
        pops = Signal()
        self._ask(m, pops)
        held, holds = Signal(bus.data_bits), Signal()
        at, left, unused = Signal(range(lanes)), Signal(COUNT_BITS), Signal(LEFT_BITS)
        m.d.comb += [
            queue.i.valid.eq(self.beats.valid),
            queue.i.payload.eq(self.beats.payload),
            queue.o.ready.eq(pops),
        ]
        ends = self._records(m, Cat(held, queue.o.payload), at)
        shown: list[Value] = []
        goes_on: Value = holds
        for number, end in enumerate(ends):
            begins = Const(1, 1) if number == 0 else ends[number - 1] < lanes
            goes_on = goes_on & begins & (left > number) & ((end <= lanes) | queue.o.valid)
            shown.append(goes_on)
        end, final, leaves = Signal(range(2 * lanes)), Signal(), Signal()
        with m.Switch(self.take):
            for number, each in enumerate(ends):
                with m.Case(number + 1):
                    m.d.comb += end.eq(each)
        m.d.comb += [
            self.shown.eq(total(shown)),
            final.eq((self.take != 0) & (left == self.take)),
            leaves.eq((self.take != 0) & ((end >= lanes) | final)),
            pops.eq(queue.o.valid & (leaves | ~holds)),
            self.finished.eq(left == 0),
            # Nothing more comes, or more than is asked for.
            self.corrupt.eq(Mux(left == 0, unused != 0, (unused == 0) & (self.shown == 0))),
        ]
        m.d.sync += [
            holds.eq(~final & (pops | (holds & ~leaves))),
            unused.eq(unused - pops),
            left.eq(left - self.take),
        ]
        with m.If(pops):
            m.d.sync += held.eq(queue.o.payload)
        with m.If(self.take != 0):
            m.d.sync += at.eq(end)  # a power of two: less a beat by itself
        with m.If(self.begin):
            m.d.sync += [at.eq(0), left.eq(self.records), unused.eq(self.run_beats)]
        return m

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
        free, run, asks = Signal(range(depth + 1), init=depth), Signal(BEATS_BITS), Signal()
        m.d.comb += [
            run.eq(Mux(unasked >= longest, longest, unasked)),
            splitter.i.valid.eq((unasked != 0) & (free >= longest)),
            splitter.i.p.address.eq(address),
            splitter.i.p.beats.eq(run),
            asks.eq(splitter.i.valid & splitter.i.ready),
            self.bursts.valid.eq(splitter.o.valid),
            self.bursts.p.address.eq(splitter.o.p.address),
            self.bursts.p.beats.eq(splitter.o.p.beats),
            splitter.o.ready.eq(self.bursts.ready),
        ]
        m.d.sync += free.eq(free + freed - Mux(asks, run, 0))
        with m.If(asks):
            m.d.sync += [address.eq(address + run * bus.data_bytes), unasked.eq(unasked - run)]
        with m.If(self.begin):
            m.d.sync += [address.eq(self.address), unasked.eq(self.run_beats)]

    def _records(self, m: Module, window: Value, at: Value) -> list[Value]:
        """Show the records from grain ``at`` of ``window`` on; return where each ends."""
        lanes, most = self._accelerator.beat_grains, self._accelerator.grains.most
        place_bits = (lanes - 1).bit_length()
        ends: list[Value] = []
        for number in range(self._accelerator.right.groups):
            grains = Signal(most * GRAIN_BITS, name=f"grains_{number}")
            end = Signal(range(2 * lanes + most), name=f"end_{number}")
            begin = ends[-1] if ends else at
            place = Cat(Const(0, 4), begin[:place_bits])  # one beyond the beat is not shown
            m.d.comb += [
                grains.eq(window.bit_select(place, most * GRAIN_BITS)),
                end.eq(begin + self._record(m, self.o[number], grains)),
            ]
            ends.append(end)
        return ends

    def _record(self, m: Module, record: Any, grains: Value) -> Value:
        """Show the ``record`` that begins with ``grains``, and return its size in grains."""
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
        size: Value = Array([end // GRAIN_BITS for end in ends])[follows]
        return size + Mux(head.fetches, parts.address, 0)


class LeafRows(Shared):
    """Says row and value of a group's records, from those of their leaf's record before.

    No latency. Leaf k of G groups is number k // G of its group.

    Parameters
    ----------
    accelerator : SparchAccelerator

    Members
    -------
    i : In(stream.Signature(told_layout(accelerator)))
    o : Out(stream.Signature(work_layout(accelerator)))
    """

    def __init__(self, accelerator: SparchAccelerator) -> None:
        self._accelerator = accelerator
        super().__init__(
            {
                "i": In(stream.Signature(told_layout(accelerator))),
                "o": Out(stream.Signature(work_layout(accelerator))),
            },
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
        write, read = store.write_port(), store.read_port(domain="comb")
        given, record = self.i.p, self.o.p
        row = read.data.row
        rows = Array([row, row + 1, (row + given.row)[: work.row], given.row])
        for name in work_layout(self._accelerator).members:
            if name not in ("row", "value"):
                m.d.comb += record[name].eq(given[name])
        m.d.comb += [
            read.addr.eq(given.leaf >> (groups.bit_length() - 1)),
            record.row.eq(rows[given.follows]),
            record.value.eq(Mux(given.follows == Follows.SAME, read.data.value, given.value)),
            self.o.valid.eq(self.i.valid),
            self.i.ready.eq(self.o.ready),
            write.en.eq(self.i.valid & self.i.ready),
            write.addr.eq(read.addr),
            write.data.row.eq(record.row),
            write.data.value.eq(record.value),
        ]
        return m
