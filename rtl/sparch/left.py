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
from celosia.rtl.sparch.words import word_layout


class RecordReader(Shared):
    """Reads the work records of a round, in order.

    Begun in cycle t, it asks for its first run in t+1, and for the next whenever its queue, of two
    of the longest bursts, has room for one besides what was asked for. A run is one of the longest
    bursts, or what is left, cut at 4 KiB.

    A beat that transfers in cycle c is in the queue from c+1 on. In front of the queue a register
    holds a beat: the queue's first goes there in any cycle in which none is held, or in which the
    last record that begins in it is taken. A record that lies in the beat held is shown, one that
    leads into the next when that is in the queue. With ``most`` 2 so is the record after it, but
    not if the lowest bits of their leaves are equal, or if it would use up the next beat too.

    Parameters
    ----------
    accelerator : SparchAccelerator
    most : int
        Records in a cycle, 1 or 2.

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
    o : Out(word_layout(work_layout(accelerator), most))
        The next records; meant are the first ``shown``.
    shown : Out(range(most + 1))
    take : In(range(most + 1))
        How many of those are taken.
    finished : Out(1)
        All records have been taken.
    corrupt : Out(1)
        Records do not end in the last beat.
    """

    def __init__(self, accelerator: SparchAccelerator, *, most: int = 1) -> None:
        if most not in (1, 2):
            raise ValueError(f"most must be 1 or 2, not {most!r}")
        self._accelerator, self._most = accelerator, most
        bus = accelerator.bus
        super().__init__(
            {
                "begin": In(1),
                "address": In(bus.address_bits),
                "records": In(COUNT_BITS),
                "run_beats": In(LEFT_BITS),
                "bursts": Out(stream.Signature(burst_layout(bus.address_bits))),
                "beats": In(Flow(bus.data_bits)),
                "o": Out(word_layout(work_layout(accelerator), most)),
                "shown": Out(range(most + 1)),
                "take": In(range(most + 1)),
                "finished": Out(1),
                "corrupt": Out(1),
            },
            name="record_reader",
            parameters=(accelerator, most),
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
        ends, leaf = self._records(m, Cat(held, queue.o.payload), at)
        end, final, leaves = Signal(range(2 * lanes)), Signal(), Signal()
        shown = [
            (left > index) & ((each <= lanes) | queue.o.valid) for index, each in enumerate(ends)
        ]
        if self._most == 2:
            shown[1] &= shown[0] & (leaf[0][0] != leaf[1][0]) & (ends[1] < 2 * lanes)
        m.d.comb += [
            self.shown.eq(Mux(holds, sum(shown[1:], shown[0]), 0)),
            end.eq(Mux(self.take == self._most, ends[-1], ends[0])),
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
            m.d.sync += at.eq(end)  # lanes are a power of two: less a beat by itself
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

    def _records(self, m: Module, window: Value, at: Value) -> tuple[list[Value], list[Value]]:
        """Show the records from grain ``at`` of ``window`` on; return where they end."""
        accelerator, most = self._accelerator, self._most
        work, longest = accelerator.work, accelerator.grains.most
        bank_bits = most - 1
        # Row and value of each leaf's record before; leaves by their lowest bit.
        before = data.StructLayout({"row": work.row, "value": work.value})
        layout = head_layout(accelerator)
        ends: list[Value] = []
        leaves, lasts = [], []
        for index in range(most):
            grains = Signal(longest * GRAIN_BITS, name=f"grains_{index}")
            end = Signal(range(2 * accelerator.beat_grains + longest), name=f"end_{index}")
            last = Signal(before, name=f"last_{index}")
            head: Any = data.View(layout, grains[: layout.size])
            begin = ends[-1] if ends else at
            size = self._record(m, self.o[index], head, grains, last)
            m.d.comb += [
                grains.eq(window.bit_select(Cat(Const(0, 4), begin), longest * GRAIN_BITS)),
                end.eq(begin + size),
            ]
            ends.append(end)
            leaves.append(head.leaf)
            lasts.append(last)
        for bank in range(most):
            depth = max(2, accelerator.tree.ways // most)
            store: Any = memory.Memory(shape=before, depth=depth, init=[])
            m.submodules[f"before_{bank}"] = store
            write, read = store.write_port(), store.read_port(domain="comb")
            for index in reversed(range(most)):
                leaf, record = leaves[index], self.o[index]
                with m.If(leaf[:bank_bits] == bank):
                    m.d.comb += [
                        read.addr.eq(leaf[bank_bits:]),
                        lasts[index].eq(read.data),
                        write.addr.eq(leaf[bank_bits:]),
                        write.en.eq(self.take > index),
                        write.data.row.eq(record.row),
                        write.data.value.eq(record.value),
                    ]
        return ends, leaves

    def _record(self, m: Module, record: Any, head: Any, grains: Value, before: Any) -> Value:
        """Show the ``record`` with ``head`` that begins with ``grains``; return its size.

        ``before`` has row and value of its leaf's record before.
        """
        parts, work = self._accelerator.grains, self._accelerator.work
        bounds = (0, parts.value, parts.value + 1, parts.value + parts.row)
        ends = [(parts.head + bound) * GRAIN_BITS for bound in bounds]
        follows, behind = head.follows, grains[ends[Follows.NEXT] :]
        value = grains[ends[Follows.SAME] :][: work.value]
        row, skip = behind[: work.row], behind[: min(GRAIN_BITS, work.row)]
        rows = Array([before.row, before.row + 1, (before.row + skip)[: work.row], row])
        addresses = Array([grains[end : end + work.address] for end in ends])
        m.d.comb += [
            record.value.eq(Mux(follows == Follows.SAME, before.value, value)),
            record.row.eq(rows[follows]),
            record.address.eq(Mux(head.fetches, addresses[follows], 0)),
        ]
        for name in ("leaf", "slot", "first", "count", "fetches", "last"):
            m.d.comb += record[name].eq(head[name])
        sizes = Array([end // GRAIN_BITS for end in ends])
        size: Value = sizes[follows] + Mux(head.fetches, parts.address, 0)
        return size
