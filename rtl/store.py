"""The store unit: the output buffer to memory or to the activations, stamps, a program's end."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.descriptors import Unit
from celosia.rtl.axi.bus import Axi4Write
from celosia.rtl.axi.write import WritePort
from celosia.rtl.descriptors import (
    KEEP_ADDRESS_BITS,
    KEEP_LANE_BITS,
    Opcode,
    StoreLayout,
)
from celosia.rtl.ports import (
    TOKEN_BITS,
    UNIT_PORTS,
    ErrorReport,
    KeepWrite,
    OutputRead,
    Window,
    giver_mask,
    slice_bits,
)
from celosia.rtl.queue import Queue
from celosia.rtl.shared import Shared
from celosia.rtl.transfer import TransferBursts, run_bits, split_transfer
from celosia.rtl.walk import WordWalker, word_nest_layout

PREFETCH_WORDS = 4
"""Words between the output buffer and W: one is read each cycle, and three are on their way."""

CYCLE_BITS = 64


class WordFetch(Shared):
    """Reads the words of a transfer ahead and gives their beats, or whole words.

    A nest taken in cycle t has its first word read in t+1 and its first beat offered in t+3;
    from then on there is a beat each cycle, or a word.

    Parameters
    ----------
    accelerator : Accelerator
        Words and bus.

    Members
    -------
    i : In(stream.Signature(word_nest_layout(0)))
        Nests.
    read : Out(OutputRead.of(accelerator))
        To the output buffer.
    o : Out(stream.Signature(data_bits))
        Beats.
    whole : In(1)
        A transfer on ``o`` takes the word; where words can be kept.
    word : Out(beats * data_bits)
        Of which ``o`` is a beat; where words can be kept.
    """

    i: stream.Interface
    read: Any
    o: stream.Interface

    def __init__(self, accelerator: Accelerator) -> None:
        self._read = OutputRead.of(accelerator)
        self._keeps = accelerator.buffers.keeps
        word = {"whole": In(1), "word": Out(self._read.beats * self._read.data_bits)}
        super().__init__(
            {
                "i": In(stream.Signature(word_nest_layout(0))),
                "read": Out(self._read),
                "o": Out(stream.Signature(self._read.data_bits)),
                **(word if self._keeps else {}),
            },
            name="word_fetch",
            parameters=(self._read.data_bits, self._read.beats, self._keeps),
        )

    def build(self) -> Module:
        m = Module()
        width, beats = self._read.data_bits, self._read.beats
        m.submodules.words = words = WordWalker(lane_bits=0)
        m.submodules.queue = queue = Queue(width * beats, depth=PREFETCH_WORDS)
        free = Signal(range(PREFETCH_WORDS + 1), init=PREFETCH_WORDS)
        arriving = Signal()
        piece = Signal(slice_bits(beats))
        popped = Signal()
        last: Value = piece == beats - 1
        if self._keeps:
            last |= self.whole
            m.d.comb += self.word.eq(queue.o.payload)
        wiring.connect(m, wiring.flipped(self.i), words.i)
        m.d.comb += [
            words.o.ready.eq(free != 0),
            self.read.enable.eq(words.o.valid & (free != 0)),
            self.read.address.eq(words.o.p.address),
            # A word is read only when it has a place, so the queue never refuses.
            queue.i.valid.eq(arriving),
            queue.i.payload.eq(self.read.data),
            self.o.valid.eq(queue.o.valid),
            self.o.payload.eq(data.View(data.ArrayLayout(width, beats), queue.o.payload)[piece]),
            queue.o.ready.eq(self.o.ready & last),
            popped.eq(queue.o.valid & queue.o.ready),
        ]
        m.d.sync += arriving.eq(self.read.enable)
        with m.If(popped != self.read.enable):
            m.d.sync += free.eq(Mux(self.read.enable, free - 1, free + 1))
        with m.If(self.o.valid & self.o.ready):
            m.d.sync += piece.eq(Mux(popped, 0, piece + 1))
        return m


class Store(Shared):
    """The store unit, one descriptor at a time.

    A store accepted in cycle t reads its first word in t+1 and offers its first AW in t+2, each
    further one 2 cycles after the handshake of the one before; see
    :class:`~celosia.rtl.axi.write.WritePort` for W and B. ``signal`` holds the mask in the cycle
    after the last B, and the next descriptor can be accepted in the cycle after that.

    A keep writes its first word into the activation buffer in t+4 and one in each cycle from then
    on; ``signal`` holds the mask in the cycle of its last write.

    A stamp is the same with one beat: ``cycle`` of the cycle in which it was accepted, the rest 0.
    An end raises ``finished`` in the cycle in which it is accepted and takes no time.

    Parameters
    ----------
    accelerator : Accelerator
        Words and bus.

    Members
    -------
    i : In(stream.Signature(StoreLayout))
        Descriptors whose tokens are there; a transfer is the accept.
    read : Out(OutputRead.of(accelerator))
        To the output buffer; ``read.enable`` counts words read.
    keep : Out(KeepWrite.of(accelerator))
        To the activation buffer, registered; only where outputs can be kept.
    axi : Out(Axi4Write(...))
        AW, W and B.
    window : In(Window(...))
        Where it may write.
    cycle : In(64)
        The cycle counter.
    stop : In(1)
        No new burst is put on AW in this cycle.
    idle : Out(1)
        Nothing is on AW and no burst is unacknowledged.
    finished : Out(1)
        An end is accepted in this cycle.
    beat : Out(1)
        A beat transfers in this cycle.
    response_error, window_error : Out(ErrorReport(...))
        Errors.
    signal, busy
        As in :data:`~celosia.rtl.ports.UNIT_PORTS`.
    """

    i: stream.Interface
    read: Any
    keep: Any
    axi: Any
    window: Any
    cycle: Signal
    stop: Signal
    idle: Signal
    finished: Signal
    beat: Signal
    response_error: Any
    window_error: Any
    signal: Signal
    busy: Signal

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        bus = accelerator.bus
        super().__init__(
            {
                "i": In(stream.Signature(StoreLayout)),
                "read": Out(OutputRead.of(accelerator)),
                **({"keep": Out(KeepWrite.of(accelerator))} if accelerator.buffers.keeps else {}),
                "axi": Out(Axi4Write(address_bits=bus.address_bits, data_bits=bus.data_bits)),
                "window": In(Window(address_bits=bus.address_bits)),
                "cycle": In(CYCLE_BITS),
                "stop": In(1),
                "idle": Out(1),
                "finished": Out(1),
                "beat": Out(1),
                "response_error": Out(ErrorReport(address_bits=bus.address_bits)),
                "window_error": Out(ErrorReport(address_bits=bus.address_bits)),
            }
            | UNIT_PORTS,
            name="store",
            parameters=(accelerator,),
        )

    @property
    def accelerator(self) -> Accelerator:
        return self._accelerator

    def build(self) -> Module:
        m = Module()
        keeps = self._accelerator.buffers.keeps
        beats_bits = run_bits(self._accelerator)
        m.submodules.request = request = TransferBursts(
            bus=self._accelerator.bus, beats_bits=beats_bits
        )
        m.submodules.fetch = fetch = WordFetch(self._accelerator)
        m.submodules.port = port = WritePort(self._accelerator.bus)
        wiring.connect(m, fetch.read, wiring.flipped(self.read))
        wiring.connect(m, request.o, port.bursts)
        for name in ("axi", "response_error", "window_error"):
            wiring.connect(m, getattr(port, name), wiring.flipped(getattr(self, name)))
        wiring.connect(m, wiring.flipped(self.window), port.window)

        p = self.i.p
        active = Signal()
        ending = Signal()
        mask = Signal(TOKEN_BITS)
        stamping = Signal()
        stamp = Signal(CYCLE_BITS, reset_less=True)
        accept = Signal()
        is_end = Signal()
        is_stamp = Signal()
        m.d.comb += [
            self.i.ready.eq(~active),
            accept.eq(self.i.valid & self.i.ready),
            is_end.eq(p.opcode == Opcode.END),
            is_stamp.eq(p.opcode == Opcode.STAMP),
            self.finished.eq(accept & is_end),
            self.busy.eq(active),
            self.signal.eq(Mux(ending, mask, 0)),
            port.stop.eq(self.stop),
            self.idle.eq(port.idle),
            self.beat.eq(self.axi.wvalid & self.axi.wready),
        ]
        with m.If(accept & ~is_end):
            m.d.sync += active.eq(1)
        # What is loaded means nothing where no descriptor is accepted: nothing moves then.
        with m.If(~active):
            m.d.sync += [
                mask.eq(p.signal & giver_mask(Unit.STORE, keeps=keeps)),
                stamping.eq(is_stamp),
                stamp.eq(self.cycle),
            ]
        with m.If(ending):
            m.d.sync += active.eq(0)

        word_beats = self.read.signature.beats
        m.d.comb += split_transfer(p, request.i.p.nest, fetch.i.p)
        keeping, kept, is_keep = Signal(), Signal(), Signal()
        m.d.comb += [
            # All are at rest when no descriptor is active.
            request.i.valid.eq(accept & ~is_end & ~is_keep),
            request.i.p.beats.eq(Mux(is_stamp, 1, p.words * word_beats)),
            fetch.i.valid.eq(accept & ~is_end & ~is_stamp),
            port.beats.payload.eq(Mux(stamping, stamp, fetch.o.payload)),
            port.beats.valid.eq(stamping | (fetch.o.valid & ~keeping)),
            fetch.o.ready.eq(keeping | (port.beats.ready & ~stamping)),
        ]
        m.d.sync += ending.eq(port.done | kept)
        if keeps:
            m.d.comb += is_keep.eq(p.opcode == Opcode.KEEP)
            with m.If(~active):
                m.d.sync += keeping.eq(is_keep)
            self._keep(m, accept & is_keep, fetch, keeping, kept)
        return m

    def _keep(
        self, m: Module, begin: Value, fetch: WordFetch, keeping: Signal, kept: Signal
    ) -> None:
        """Write the words of a keep into the activation buffer; ``kept`` with the last."""
        m.submodules.places = places = WordWalker(lane_bits=KEEP_LANE_BITS)
        p, word = self.i.p, Signal()
        nest = places.i.p.nest
        m.d.comb += [
            places.i.valid.eq(begin),
            nest.address.eq(p.address),
            nest.lane.eq(p.address[KEEP_ADDRESS_BITS:]),
            *(nest[f"n{i}"].eq(p[f"n{i}"]) for i in (1, 2, 3)),
            *(nest[f"s{i}"].eq(p[f"s{i}"]) for i in (1, 2, 3)),
            places.i.p.words.eq(p.words),
            word.eq(keeping & fetch.o.valid),
            fetch.whole.eq(keeping),
            places.o.ready.eq(word),
            kept.eq(word & places.o.p.last),
        ]
        m.d.sync += [
            self.keep.enable.eq(word),
            self.keep.lane.eq(places.o.p.lane),
            self.keep.address.eq(places.o.p.address),
            self.keep.data.eq(fetch.word),
        ]
