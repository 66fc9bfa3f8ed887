"""What reads memory while a round runs: one port for three."""

from __future__ import annotations

from typing import Final

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, enum, stream
from amaranth.lib.wiring import In, Out

from celosia.dataflow.accelerator import Bus
from celosia.dataflow.microarchitecture import READ_LATENCY
from celosia.rtl.ports import BEATS_BITS, Flow, burst_layout
from celosia.rtl.queue import Queue
from celosia.rtl.shared import Shared


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
    """Hands the bursts of three readers to the read port, and their beats back.

    Bursts go through without latency; a beat is given in the cycle after it came.

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
        # A burst is in flight at the port until its last beat transfers, and here until it comes,
        # so there is always a place.
        depth = self._bus.outstanding + READ_LATENCY
        m.submodules.order = order = Queue(tag, depth=depth)
        reader, index = Signal(Reader), Signal(BEATS_BITS)
        beat = Signal(self._bus.data_bits, reset_less=True)  # the one that came last
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
                given.payload.eq(beat),
            ]
            m.d.sync += given.valid.eq(self.beats.valid & (order.o.p.reader == each))
        m.d.sync += beat.eq(self.beats.payload)
        last = index == order.o.p.beats
        m.d.comb += [
            order.i.valid.eq(self.o.valid & self.o.ready),
            order.i.p.reader.eq(reader),
            order.i.p.beats.eq(self.o.p.beats - 1),
            order.o.ready.eq(self.beats.valid & last),
        ]
        with m.If(self.beats.valid):
            m.d.sync += index.eq(Mux(last, 0, index + 1))
        return m
