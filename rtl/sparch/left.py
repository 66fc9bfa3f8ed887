"""The reader of the left stream: work records from beats of grains."""

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
from celosia.rtl.sparch.descriptors import COUNT_BITS, LEFT_BITS, head_layout, work_layout


class RecordReader(Shared):
    """Reads the work records of a round, in order.

    Begun in cycle t, it asks for its first run in t+1, and for the next whenever its queue, of two
    of the longest bursts, has room for one besides what was asked for. A run is one of the longest
    bursts, or what is left, cut at 4 KiB.

    A beat that transfers in cycle c is in the queue from c+1 on. In front of the queue a register
    holds a beat: the queue's first goes there in any cycle in which none is held, or in which the
    last record that begins in it is taken. A record that lies in the beat held is offered, one that
    leads into the next when that is in the queue.

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
    o : Out(stream.Signature(work_layout(accelerator)))
    finished : Out(1)
        All records have been taken.
    corrupt : Out(1)
        Records do not end in the last beat.
    """

    def __init__(self, accelerator: SparchAccelerator) -> None:
        self._accelerator = accelerator
        bus = accelerator.bus
        super().__init__(
            {
                "begin": In(1),
                "address": In(bus.address_bits),
                "records": In(COUNT_BITS),
                "run_beats": In(LEFT_BITS),
                "bursts": Out(stream.Signature(burst_layout(bus.address_bits))),
                "beats": In(Flow(bus.data_bits)),
                "o": Out(stream.Signature(work_layout(accelerator))),
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
        window = Cat(held, queue.o.payload)
        most = self._accelerator.grains.most
        size = Signal(range(most + 1))
        m.d.comb += [
            queue.i.valid.eq(self.beats.valid),
            queue.i.payload.eq(self.beats.payload),
            queue.o.ready.eq(pops),
        ]
        grains = Signal(most * GRAIN_BITS)
        m.d.comb += grains.eq(window.bit_select(Cat(Const(0, 4), at), most * GRAIN_BITS))
        self._record(m, grains, size)
        end, takes, final, leaves = Signal(range(2 * lanes)), Signal(), Signal(), Signal()
        m.d.comb += [
            end.eq(at + size),
            self.o.valid.eq(holds & (left != 0) & ((end <= lanes) | queue.o.valid)),
            takes.eq(self.o.valid & self.o.ready),
            final.eq(takes & (left == 1)),
            leaves.eq(takes & ((end >= lanes) | final)),
            pops.eq(queue.o.valid & (leaves | ~holds)),
            self.finished.eq(left == 0),
            # Nothing more comes, or more than is asked for.
            self.corrupt.eq(Mux(left == 0, unused != 0, (unused == 0) & ~self.o.valid)),
        ]
        m.d.sync += [
            holds.eq(~final & (pops | (holds & ~leaves))),
            unused.eq(unused - pops),
        ]
        with m.If(pops):
            m.d.sync += held.eq(queue.o.payload)
        with m.If(takes):
            m.d.sync += [left.eq(left - 1), at.eq(end)]  # a power of two: less a beat by itself
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

    def _record(self, m: Module, grains: Value, size: Value) -> None:
        """Show the record that begins with ``grains``, and say its ``size`` in grains."""
        accelerator, parts = self._accelerator, self._accelerator.grains
        work, record = accelerator.work, self.o.p
        layout = head_layout(accelerator)
        head: Any = data.View(layout, grains[: layout.size])
        # Row and value of each leaf's record before.
        before = data.StructLayout({"row": work.row, "value": work.value})
        store: Any = memory.Memory(shape=before, depth=accelerator.tree.ways, init=[])
        m.submodules.before = store
        write, read = store.write_port(), store.read_port(domain="comb")
        bounds = (0, parts.value, parts.value + 1, parts.value + parts.row)
        ends = [(parts.head + bound) * GRAIN_BITS for bound in bounds]
        follows, behind = head.follows, ends[Follows.NEXT]
        row = grains[behind : behind + work.row]
        skip = grains[behind : behind + min(GRAIN_BITS, work.row)]
        m.d.comb += [
            read.addr.eq(head.leaf),
            record.value.eq(
                Mux(
                    follows == Follows.SAME,
                    read.data.value,
                    grains[ends[Follows.SAME] :][: work.value],
                )
            ),
            record.row.eq(
                Array([read.data.row, read.data.row + 1, (read.data.row + skip)[: work.row], row])[
                    follows
                ]
            ),
            record.address.eq(
                Mux(
                    head.fetches,
                    Array([grains[end : end + work.address] for end in ends])[follows],
                    0,
                )
            ),
            size.eq(
                Array([end // GRAIN_BITS for end in ends])[follows]
                + Mux(head.fetches, parts.address, 0)
            ),
            write.en.eq(self.o.valid & self.o.ready),
            write.addr.eq(head.leaf),
            write.data.row.eq(record.row),
            write.data.value.eq(record.value),
        ]
        for name in ("leaf", "slot", "first", "count", "fetches", "last"):
            m.d.comb += record[name].eq(head[name])
