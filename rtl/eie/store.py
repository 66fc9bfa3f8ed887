"""The store unit: words of activations, and stamps, to memory."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from celosia.dataflow.eie.accelerator import EieAccelerator
from celosia.rtl.axi.burst import BurstSplitter
from celosia.rtl.axi.bus import Axi4Write
from celosia.rtl.axi.write import WritePort
from celosia.rtl.eie.descriptors import StoreLayout
from celosia.rtl.eie.memories import address_bits
from celosia.rtl.eie.multiples import multiple
from celosia.rtl.ports import ErrorReport, Window
from celosia.rtl.queue import Queue
from celosia.rtl.shared import Shared

PREFETCH_WORDS = 4
"""Words between the activations and W: one is read each cycle, and others are on their way."""

CYCLE_BITS = 64


class EieStore(Shared):
    """Writes one store or stamp at a time.

    Begun in cycle t it reads its first word in t+1, has beats from t+3 on, one a cycle, and offers
    its first AW in t+2, each further one 2 cycles after the handshake of the one before; see
    :class:`~celosia.rtl.axi.write.WritePort` for W and B. ``done`` is 1 in the cycle after the last
    B, the last of the store. A stamp is one beat: ``cycle`` as it was in t.

    Parameters
    ----------
    accelerator : EieAccelerator

    Members
    -------
    begin : In(1)
        Begin with ``what``; only when none is at work.
    stamp : In(1)
        It is a stamp.
    what : In(StoreLayout)
    cycle : In(64)
        The cycle counter.
    read : Out(1)
        Row ``row`` of all PEs is read, of both files one behind the other.
    row : Out
    word : In
        It, in the cycle after.
    axi : Out(Axi4Write(...))
    window : In(Window(...))
    stop : In(1)
        No new burst is put on AW in this cycle.
    idle : Out(1)
        Nothing is on AW and no burst is unacknowledged.
    done, beat : Out(1)
        A store is done; a beat transfers.
    response_error, window_error : Out(ErrorReport(...))
    """

    def __init__(self, accelerator: EieAccelerator) -> None:
        self._accelerator = accelerator
        bus = accelerator.bus
        self._word_bits = accelerator.word_beats * bus.data_bits
        super().__init__(
            {
                "begin": In(1),
                "stamp": In(1),
                "what": In(StoreLayout),
                "cycle": In(CYCLE_BITS),
                "read": Out(1),
                "row": Out(address_bits(2 * accelerator.memories.activations)),
                "word": In(self._word_bits),
                "axi": Out(Axi4Write(address_bits=bus.address_bits, data_bits=bus.data_bits)),
                "window": In(Window(address_bits=bus.address_bits)),
                "stop": In(1),
                "idle": Out(1),
                "done": Out(1),
                "beat": Out(1),
                "response_error": Out(ErrorReport(address_bits=bus.address_bits)),
                "window_error": Out(ErrorReport(address_bits=bus.address_bits)),
            },
            name="eie_store",
            parameters=(accelerator,),
        )

    def build(self) -> Module:
        m = Module()
        bus, words = self._accelerator.bus, self._accelerator.word_beats
        run_bits = len(self.row) + words.bit_length()
        m.submodules.splitter = splitter = BurstSplitter(
            address_bits=bus.address_bits,
            data_bits=bus.data_bits,
            burst_beats=bus.burst_beats,
            run_bits=run_bits,
        )
        m.submodules.port = port = WritePort(bus)
        m.submodules.queue = queue = Queue(self._word_bits, depth=PREFETCH_WORDS)
        wiring.connect(m, splitter.o, port.bursts)
        for name in ("axi", "response_error", "window_error"):
            wiring.connect(m, getattr(port, name), wiring.flipped(getattr(self, name)))
        wiring.connect(m, wiring.flipped(self.window), port.window)

        begun, more = Signal(), Signal()  # in the cycle before; ``left`` is not 0
        what: Any = Signal(StoreLayout)
        stamping, stamp, beats = Signal(), Signal(CYCLE_BITS), Signal(run_bits)
        left, free = Signal(16), Signal(range(PREFETCH_WORDS + 1), init=PREFETCH_WORDS)
        depth = self._accelerator.memories.activations
        arriving, piece = Signal(), Signal(address_bits(words))
        pieces: Any = data.View(data.ArrayLayout(bus.data_bits, words), queue.o.payload)
        popped = Signal()
        # A stamp is of no rows.
        m.d.sync += [
            begun.eq(self.begin),
            beats.eq(multiple(m, "beats", self.what.rows, words) | self.stamp),
        ]
        with m.If(self.begin):
            m.d.sync += [
                what.eq(self.what),
                stamping.eq(self.stamp),
                stamp.eq(self.cycle),
                left.eq(self.what.rows),
                more.eq(~self.stamp),
                self.row.eq(self.what.first + Mux(self.what.source, depth, 0)),
            ]
        m.d.comb += [
            # All are at rest when no store is at work.
            splitter.i.valid.eq(begun),
            splitter.i.p.address.eq(what.address),
            splitter.i.p.beats.eq(beats),
            splitter.i.p.last.eq(1),
            self.read.eq(more & (free != 0)),
            queue.i.valid.eq(arriving),
            queue.i.payload.eq(self.word),
            port.beats.payload.eq(Mux(stamping, stamp, pieces[piece])),
            port.beats.valid.eq(stamping | queue.o.valid),
            queue.o.ready.eq(port.beats.ready & ~stamping & (piece == words - 1)),
            popped.eq(queue.o.valid & queue.o.ready),
            port.stop.eq(self.stop),
            self.idle.eq(port.idle),
            self.beat.eq(self.axi.wvalid & self.axi.wready),
        ]
        m.d.sync += [
            arriving.eq(self.read),
            free.eq(free + popped - self.read),
            self.done.eq(port.done),
        ]
        with m.If(self.read):
            m.d.sync += [left.eq(left - 1), more.eq(left != 1), self.row.eq(self.row + 1)]
        with m.If(queue.o.valid & port.beats.ready & ~stamping):
            m.d.sync += piece.eq(Mux(popped, 0, piece + 1))
        return m
