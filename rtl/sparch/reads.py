"""What reads memory while a round runs: one port for three, and the reader of work records."""

from __future__ import annotations

from typing import Final

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, enum, stream
from amaranth.lib.wiring import In, Out

from celosia.dataflow.accelerator import Bus
from celosia.dataflow.sparch.accelerator import SparchAccelerator
from celosia.rtl.axi.burst import BurstSplitter
from celosia.rtl.ports import BEATS_BITS, Flow, burst_layout
from celosia.rtl.queue import Queue
from celosia.rtl.shared import Shared
from celosia.rtl.sparch.descriptors import COUNT_BITS, work_layout
from celosia.rtl.sparch.words import index_bits


class Reader(enum.Enum, shape=2):
    """Who reads, the one that goes first of those who ask at once first."""

    LEFT = 0
    PARTIAL = 1
    RIGHT = 2


READERS: Final = tuple(reader.name.lower() for reader in Reader)


def beats_for(value: Value, lanes: int) -> Value:
    """Return the beats that ``value`` elements take, ``lanes`` a beat: divided, rounded up."""
    width = len(value) + 1
    shift = width + (lanes - 1).bit_length()
    # Exact for all numbers of `width` bits (Granlund and Montgomery).
    factor = (1 << shift) // lanes + 1
    return (((value + (lanes - 1))[:width] * factor) >> shift)[: len(value)]


class ReadArbiter(Shared):
    """Hands the bursts of three readers to the read port, and their beats back. No latency.

    Parameters
    ----------
    bus : Bus

    Members
    -------
    left, partial, right : In(stream.Signature(burst_layout(address_bits)))
        Bursts; the first of those that ask goes first.
    left_beats, partial_beats, right_beats : Out(Flow(data_bits))
        Their beats, in the order of their bursts.
    o : Out(stream.Signature(burst_layout(address_bits)))
    beats : In(Flow(data_bits))
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        bursts, beats = stream.Signature(burst_layout(bus.address_bits)), Flow(bus.data_bits)
        super().__init__(
            {name: In(bursts) for name in READERS}
            | {f"{name}_beats": Out(beats) for name in READERS}
            | {"o": Out(bursts), "beats": In(beats)},
            name="read_arbiter",
            parameters=(bus,),
        )

    def build(self) -> Module:
        m = Module()
        tag = data.StructLayout({"reader": Reader, "beats": BEATS_BITS})
        # A burst is in flight at the port until its last beat, so there is always a place.
        m.submodules.order = order = Queue(tag, depth=self._bus.outstanding)
        reader, index = Signal(Reader), Signal(BEATS_BITS)
        for each in reversed(Reader):
            source = getattr(self, each.name.lower())
            with m.If(source.valid):
                m.d.comb += [
                    reader.eq(each),
                    self.o.payload.eq(source.payload),
                    self.o.valid.eq(1),
                ]
        for each in Reader:
            source = getattr(self, each.name.lower())
            given = getattr(self, f"{each.name.lower()}_beats")
            m.d.comb += [
                source.ready.eq(self.o.ready & (reader == each)),
                given.payload.eq(self.beats.payload),
                given.valid.eq(self.beats.valid & (order.o.p.reader == each)),
            ]
        last = index + 1 == order.o.p.beats
        m.d.comb += [
            order.i.valid.eq(self.o.valid & self.o.ready),
            order.i.p.reader.eq(reader),
            order.i.p.beats.eq(self.o.p.beats),
            order.o.ready.eq(self.beats.valid & last),
        ]
        with m.If(self.beats.valid):
            m.d.sync += index.eq(Mux(last, 0, index + 1))
        return m


class RecordReader(Shared):
    """Reads the work records of a round, in order.

    Begun in cycle t, it asks for its first run in t+1, and for the next whenever its queue, of two
    of the longest bursts, has room for one besides what was asked for. A run is one of the longest
    bursts, or what is left, cut at 4 KiB. A record whose beat transfers in cycle c is offered from
    c+1 on, one a cycle.

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
    bursts : Out(stream.Signature(burst_layout(address_bits)))
    beats : In(Flow(data_bits))
    o : Out(stream.Signature(work_layout(accelerator)))
    finished : Out(1)
        All records have been taken.
    """

    def __init__(self, accelerator: SparchAccelerator) -> None:
        self._accelerator = accelerator
        bus = accelerator.bus
        super().__init__(
            {
                "begin": In(1),
                "address": In(bus.address_bits),
                "records": In(COUNT_BITS),
                "bursts": Out(stream.Signature(burst_layout(bus.address_bits))),
                "beats": In(Flow(bus.data_bits)),
                "o": Out(stream.Signature(work_layout(accelerator))),
                "finished": Out(1),
            },
            name="record_reader",
            parameters=(accelerator,),
        )

    def build(self) -> Module:
        m = Module()
        bus, lanes = self._accelerator.bus, self._accelerator.work_lanes
        longest = bus.burst_beats
        depth = 2 * longest
        m.submodules.queue = queue = Queue(bus.data_bits, depth=depth)
        m.submodules.splitter = splitter = BurstSplitter(
            address_bits=bus.address_bits, data_bits=bus.data_bits, burst_beats=longest,
            run_bits=BEATS_BITS,
        )  # fmt: skip
        address, unasked = Signal(bus.address_bits), Signal(COUNT_BITS)
        free = Signal(range(depth + 1), init=depth)
        whole, run, asks = Signal(), Signal(BEATS_BITS), Signal()
        few = unasked[: (longest * lanes).bit_length()]
        m.d.comb += [
            whole.eq(unasked >= longest * lanes),
            run.eq(Mux(whole, longest, beats_for(few, lanes))),
            splitter.i.valid.eq((unasked != 0) & (free >= longest)),
            splitter.i.p.address.eq(address),
            splitter.i.p.beats.eq(run),
            asks.eq(splitter.i.valid & splitter.i.ready),
            self.bursts.valid.eq(splitter.o.valid),
            self.bursts.p.address.eq(splitter.o.p.address),
            self.bursts.p.beats.eq(splitter.o.p.beats),
            splitter.o.ready.eq(self.bursts.ready),
            queue.i.valid.eq(self.beats.valid),
            queue.i.payload.eq(self.beats.payload),
        ]
        left, lane = Signal(COUNT_BITS), Signal(index_bits(lanes))
        width = self._accelerator.work.bits
        takes, ends = Signal(), Signal()
        m.d.comb += [
            self.o.valid.eq(queue.o.valid),
            Value.cast(self.o.payload).eq(
                queue.o.payload[: lanes * width].word_select(lane, width)
            ),
            takes.eq(self.o.valid & self.o.ready),
            ends.eq((lane == lanes - 1) | (left == 1)),
            queue.o.ready.eq(takes & ends),
            self.finished.eq(left == 0),
        ]
        m.d.sync += free.eq(free + (takes & ends) - Mux(asks, run, 0))
        with m.If(asks):
            m.d.sync += [
                address.eq(address + run * bus.data_bytes),
                unasked.eq(Mux(whole, unasked - longest * lanes, 0)),
            ]
        with m.If(takes):
            m.d.sync += [left.eq(left - 1), lane.eq(Mux(ends, 0, lane + 1))]
        with m.If(self.begin):
            m.d.sync += [
                address.eq(self.address),
                unasked.eq(self.records),
                left.eq(self.records),
            ]
        return m
