"""The load unit: strided blocks of memory into the buffers."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Const, Module, Mux, Signal, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.descriptors import Buffer, Unit
from celosia.dataflow.microarchitecture import LOAD_QUEUE_DEPTH, load_targets, word_beats
from celosia.rtl.legality import layout_of
from celosia.rtl.ports import (
    TOKEN_BITS,
    UNIT_PORTS,
    BufferWrite,
    Flow,
    burst_layout,
    giver_mask,
)
from celosia.rtl.queue import Queue
from celosia.rtl.shared import Shared
from celosia.rtl.transfer import TransferBursts, run_bits, split_transfer
from celosia.rtl.walk import WordWalker, word_nest_layout

LANE_BITS = 8


def data_half(target_bits: int) -> data.StructLayout:
    """Return the layout of what the data half needs of a descriptor."""
    return data.StructLayout(
        {
            "walk": word_nest_layout(LANE_BITS),
            "target": unsigned(target_bits),
            "signal": unsigned(TOKEN_BITS),
        }
    )


def beats_of_words(accelerator: Accelerator) -> tuple[int, ...]:
    """Return the beats of one word of each target, in the order of their values."""
    return tuple(word_beats(target, accelerator) for target in load_targets(accelerator))


class LoadData(Shared):
    """The data half: writes beats to the buffers as they come.

    A descriptor taken in cycle t can write beats from t+1. It is taken when no other is at work or
    in the cycle of the other's last beat. A beat of cycle c is on ``write`` in c+1; ``signal``
    holds the mask in the cycle after the last beat, when that beat is written.

    Parameters
    ----------
    accelerator : Accelerator
        Words and bus.

    Members
    -------
    i : In(stream.Signature(data_half(...)))
        Descriptors.
    beats : In(Flow(data_bits))
        Beats; none comes before its descriptor was taken.
    write : Out(BufferWrite.of(accelerator))
        Registered.
    signal : Out(TOKEN_BITS)
        Tokens.
    done : Out(1)
        A descriptor signals in this cycle, perhaps no token.
    """

    i: stream.Interface
    beats: Any
    write: Any
    signal: Signal
    done: Signal

    def __init__(self, accelerator: Accelerator) -> None:
        self._word_beats = beats_of_words(accelerator)
        self._write = BufferWrite.of(accelerator)
        self._keeps = accelerator.buffers.keeps
        super().__init__(
            {
                "i": In(stream.Signature(data_half(self._write.target_bits))),
                "beats": In(Flow(self._write.data_bits)),
                "write": Out(self._write),
                "signal": Out(TOKEN_BITS),
                "done": Out(1),
            },
            name="load_data",
            parameters=(self._word_beats, self._write.data_bits, self._keeps),
        )

    def build(self) -> Module:
        m = Module()
        m.submodules.words = words = WordWalker(lane_bits=LANE_BITS)
        target = Signal(self._write.target_bits)
        mask = Signal(TOKEN_BITS)
        piece = Signal.like(self.write.slice)
        last_but_one = Signal.like(self.write.slice)
        last, single = Signal(), Signal()  # the word's last piece, its only one
        word_done = Signal()
        lasts_but_one = Array([Const(max(n - 2, 0)) for n in self._word_beats])
        singles = Array([Const(n == 1, 1) for n in self._word_beats])
        m.d.comb += [
            words.i.payload.eq(self.i.p.walk),
            words.i.valid.eq(self.i.valid),
            self.i.ready.eq(words.i.ready),
            word_done.eq(self.beats.valid & last),
            words.o.ready.eq(word_done),
        ]
        m.d.sync += [
            self.write.enable.eq(self.beats.valid),
            self.done.eq(word_done & words.o.p.last),
            self.signal.eq(Mux(word_done & words.o.p.last, mask, 0)),
        ]
        with m.If(self.beats.valid):
            m.d.sync += [
                piece.eq(Mux(word_done, 0, piece + 1)),
                self.write.target.eq(target),
                self.write.lane.eq(words.o.p.lane),
                self.write.address.eq(words.o.p.address),
                self.write.slice.eq(piece),
                self.write.data.eq(self.beats.payload),
                last.eq(Mux(last, single, piece == last_but_one)),
            ]
        # What is loaded means nothing where no descriptor is offered: no beat comes then.
        with m.If(self.i.ready):
            m.d.sync += [
                target.eq(self.i.p.target),
                mask.eq(self.i.p.signal & giver_mask(Unit.LOAD, keeps=self._keeps)),
                last_but_one.eq(lasts_but_one[self.i.p.target]),
                single.eq(singles[self.i.p.target]),
                last.eq(singles[self.i.p.target]),
            ]
        return m


class Load(Shared):
    """The load unit: a request half that asks for bursts and a data half that writes buffers.

    A descriptor accepted in cycle t has its first burst offered in t+2, and each further one
    2 cycles after the one before was taken; the next descriptor can be accepted in the cycle after
    the last burst was taken, unless 8 descriptors wait for the data half. See :class:`LoadData`
    for the data.

    Parameters
    ----------
    accelerator : Accelerator
        Words and bus.

    Members
    -------
    i : In(stream.Signature(layout_of(Unit.LOAD, ...)))
        Descriptors whose tokens are there; a transfer is the accept.
    o : Out(stream.Signature(burst_layout(address_bits)))
        Bursts, to the read port.
    beats : In(Flow(data_bits))
        Their beats.
    write : Out(BufferWrite.of(accelerator))
        To the buffers.
    signal, busy
        As in :data:`~celosia.rtl.ports.UNIT_PORTS`.
    """

    i: stream.Interface
    o: stream.Interface
    beats: Any
    write: Any
    signal: Signal
    busy: Signal

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        self._has_tables = accelerator.tables is not None
        bus = accelerator.bus
        super().__init__(
            {
                "i": In(stream.Signature(layout_of(Unit.LOAD, tables=self._has_tables))),
                "o": Out(stream.Signature(burst_layout(bus.address_bits))),
                "beats": In(Flow(bus.data_bits)),
                "write": Out(BufferWrite.of(accelerator)),
            }
            | UNIT_PORTS,
            name="load",
            parameters=(accelerator,),
        )

    @property
    def accelerator(self) -> Accelerator:
        return self._accelerator

    def build(self) -> Module:
        m = Module()
        beats_bits = run_bits(self._accelerator)
        m.submodules.request = request = TransferBursts(
            bus=self._accelerator.bus, beats_bits=beats_bits
        )
        half_layout = data_half(self.write.signature.target_bits)
        m.submodules.queue = queue = Queue(half_layout, depth=LOAD_QUEUE_DEPTH)
        m.submodules.data = half = LoadData(self._accelerator)
        wiring.connect(m, queue.o, half.i)
        wiring.connect(m, wiring.flipped(self.beats), half.beats)
        wiring.connect(m, half.write, wiring.flipped(self.write))

        p = self.i.p
        target = Mux(p.table, Buffer.TABLES.value, p.target) if self._has_tables else p.target
        word_beats_of = Array([Const(n) for n in beats_of_words(self._accelerator)])
        m.d.comb += split_transfer(p, request.i.p.nest, queue.i.p.walk)
        m.d.comb += [
            self.i.ready.eq(request.i.ready & queue.i.ready),
            request.i.valid.eq(self.i.valid & queue.i.ready),
            request.i.p.beats.eq(p.words * word_beats_of[target]),
            queue.i.valid.eq(self.i.valid & request.i.ready),
            queue.i.p.target.eq(target),
            queue.i.p.signal.eq(p.signal),
            queue.i.p.walk.nest.lane.eq(p.lane),
            self.o.p.address.eq(request.o.p.address),
            self.o.p.beats.eq(request.o.p.beats),
            self.o.valid.eq(request.o.valid),
            request.o.ready.eq(self.o.ready),
            self.signal.eq(half.signal),
        ]

        # At most 8 queued, one at work, one signalling.
        unfinished = Signal(range(LOAD_QUEUE_DEPTH + 3))
        accept = Signal()
        m.d.comb += [
            accept.eq(self.i.valid & self.i.ready),
            self.busy.eq(unfinished != 0),
        ]
        with m.If(accept & ~half.done):
            m.d.sync += unfinished.eq(unfinished + 1)
        with m.If(half.done & ~accept):
            m.d.sync += unfinished.eq(unfinished - 1)
        return m
