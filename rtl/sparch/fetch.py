"""Rows of the right matrix: fetched into the lines of a buffer, ahead of their use."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, memory, stream
from amaranth.lib.wiring import In, Out

from celosia.dataflow.sparch.accelerator import SparchAccelerator
from celosia.rtl.axi.burst import BurstSplitter
from celosia.rtl.ports import Flow, burst_layout
from celosia.rtl.queue import Queue
from celosia.rtl.shared import Shared
from celosia.rtl.sparch.descriptors import work_layout
from celosia.rtl.sparch.words import index_bits


class LineFetch(Shared):
    """Asks for the beats of work records, fills lines with them, and holds records meanwhile.

    A record that is taken in cycle t is offered from t+1 on, but one that fetches only from
    the cycle after that in which its last beat transfers. A record is taken when fewer than
    ``look_ahead`` wait and, if it fetches, nothing of the fetch before waits for its burst.

    Parameters
    ----------
    accelerator : SparchAccelerator

    Members
    -------
    right : In(address_bits)
        Where the right matrix begins.
    rows : In(32)
        Of the product.
    i : In(stream.Signature(work_layout(accelerator)))
        Records. One that is corrupt is not taken.
    o : Out(stream.Signature(work_layout(accelerator)))
        Records of which the line is there. The transfer says that it is used no more.
    bursts : Out(stream.Signature(burst_layout(address_bits)))
    beats : In(Flow(data_bits))
    write : Out(1)
        ``write_data`` goes into row ``write_row`` of the buffer.
    write_row, write_data : Out
    corrupt : Out(1)
        A record leads beyond the product's rows, is longer than a line, or leads beyond the buffer.
    empty : Out(1)
        No record waits.
    """

    def __init__(self, accelerator: SparchAccelerator) -> None:
        self._accelerator = accelerator
        bus, layout = accelerator.bus, work_layout(accelerator)
        super().__init__(
            {
                "right": In(bus.address_bits),
                "rows": In(32),
                "i": In(stream.Signature(layout)),
                "o": Out(stream.Signature(layout)),
                "bursts": Out(stream.Signature(burst_layout(bus.address_bits))),
                "beats": In(Flow(bus.data_bits)),
                "write": Out(1),
                "write_row": Out(index_bits(accelerator.buffer_beats)),
                "write_data": Out(bus.data_bits),
                "corrupt": Out(1),
                "empty": Out(1),
            },
            name="line_fetch",
            parameters=(accelerator,),
        )

    def build(self) -> Module:
        m = Module()
        bus, right = self._accelerator.bus, self._accelerator.right
        layout = work_layout(self._accelerator)
        m.submodules.ahead = ahead = Queue(layout, depth=right.look_ahead)
        beats_bits = right.line_beats.bit_length()
        filling = data.StructLayout({"slot": layout["slot"].shape, "beats": beats_bits})
        m.submodules.fills = fills = Queue(filling, depth=right.look_ahead)
        m.submodules.splitter = splitter = BurstSplitter(
            address_bits=bus.address_bits, data_bits=bus.data_bits, burst_beats=bus.burst_beats,
            run_bits=beats_bits,
        )  # fmt: skip
        record, goes, fetches, wrong = self.i.p, Signal(), Signal(), Signal()
        end = record.first + record.count  # the last element
        after = end // self._accelerator.right_lanes  # beats after the first
        beats = Signal(beats_bits)
        m.d.comb += [
            beats.eq(after + 1),
            fetches.eq(record.fetches),
            wrong.eq(
                (record.row >= self.rows)
                | (end >= self._accelerator.line_elements)
                | (record.slot + after >= self._accelerator.buffer_beats)
            ),
            # A fetched record lies in both queues at first, and leaves this one no later.
            goes.eq(ahead.i.ready & (~fetches | splitter.i.ready) & ~wrong),
            self.corrupt.eq(self.i.valid & wrong),
            self.i.ready.eq(goes),
            ahead.i.valid.eq(self.i.valid & goes),
            ahead.i.payload.eq(record),
            splitter.i.valid.eq(self.i.valid & goes & fetches),
            splitter.i.p.address.eq(self.right + record.address * bus.data_bytes),
            splitter.i.p.beats.eq(beats),
            fills.i.valid.eq(splitter.i.valid),
            fills.i.p.slot.eq(record.slot),
            fills.i.p.beats.eq(beats),
            self.bursts.valid.eq(splitter.o.valid),
            self.bursts.p.address.eq(splitter.o.p.address),
            self.bursts.p.beats.eq(splitter.o.p.beats),
            splitter.o.ready.eq(self.bursts.ready),
        ]
        self._fill(m, ahead, fills)
        return m

    def _fill(self, m: Module, ahead: Any, fills: Any) -> None:
        """Write beats into their lines, and offer the records that wait for none."""
        right = self._accelerator.right
        index, filled = Signal(len(fills.o.p.beats)), Signal()
        there = Signal(range(right.look_ahead + 1))  # records filled and not yet used
        used, held = Signal(), Signal()
        m.d.comb += [
            filled.eq(self.beats.valid & (index + 1 == fills.o.p.beats)),
            fills.o.ready.eq(filled),
            self.write.eq(self.beats.valid),
            self.write_row.eq(fills.o.p.slot + index),
            self.write_data.eq(self.beats.payload),
            held.eq(ahead.o.p.fetches & (there == 0)),
            self.o.payload.eq(ahead.o.payload),
            self.o.valid.eq(ahead.o.valid & ~held),
            ahead.o.ready.eq(self.o.ready & ~held),
            used.eq(self.o.valid & self.o.ready & ahead.o.p.fetches),
            self.empty.eq(~ahead.o.valid),
        ]
        m.d.sync += there.eq(there + filled - used)
        with m.If(self.beats.valid):
            m.d.sync += index.eq(Mux(filled, 0, index + 1))


class LineBuffer(Shared):
    """The lines of the right matrix, row by row of a beat each.

    What is written in cycle t can be read in t+1. What is read in t is shown from t+1 until the
    next read.

    Parameters
    ----------
    accelerator : SparchAccelerator

    Members
    -------
    write : In(1)
    write_row, write_data : In
    read : In(1)
    read_row : In
    data : Out(data_bits)
    """

    def __init__(self, accelerator: SparchAccelerator) -> None:
        self._rows, self._bits = accelerator.buffer_beats, accelerator.bus.data_bits
        row = index_bits(self._rows)
        super().__init__(
            {
                "write": In(1),
                "write_row": In(row),
                "write_data": In(self._bits),
                "read": In(1),
                "read_row": In(row),
                "data": Out(self._bits),
            },
            name="line_buffer",
            parameters=(self._rows, self._bits),
        )

    def build(self) -> Module:
        m = Module()
        rows: Any = memory.Memory(shape=self._bits, depth=self._rows, init=[])
        m.submodules.rows = rows
        write, read = rows.write_port(), rows.read_port()
        m.d.comb += [
            write.en.eq(self.write),
            write.addr.eq(self.write_row),
            write.data.eq(self.write_data),
            read.en.eq(self.read),
            read.addr.eq(self.read_row),
            self.data.eq(read.data),
        ]
        return m
