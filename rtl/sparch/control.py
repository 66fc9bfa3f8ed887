"""Control: takes the descriptors of a program one after another, and runs its rounds."""

from __future__ import annotations

from typing import Any, Final

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, memory, stream
from amaranth.lib.wiring import In, Out

from celosia.dataflow.sparch.accelerator import SparchAccelerator
from celosia.rtl.ports import ErrorReport
from celosia.rtl.shared import Shared
from celosia.rtl.sparch.descriptors import (
    COUNT_BITS,
    Opcode,
    RoundLayout,
    SourceLayout,
    StampLayout,
)
from celosia.rtl.sparch.sequencer import step_layout
from celosia.rtl.sparch.words import bit_of, index_bits

STALL_CYCLES: Final = 1 << 17
"""In so many cycles of a round something moves, or it never ends: twice the longest latency of a
memory model, and more."""


class RoundControl(Shared):
    """Takes a descriptor when the one before is done, and keeps what rounds leave behind.

    The next descriptor waits in a register; the place is free again in the cycle in which it is
    accepted. In the first two cycles in which it waits and nothing is at work it is checked, in the
    next accepted: a source every three cycles, or what comes after a round three cycles after
    ``done``. A stamp begins in the cycle in which it is accepted, a round in the next.

    Parameters
    ----------
    accelerator : SparchAccelerator

    Members
    -------
    i : In(stream.Signature(step_layout(address_bits)))
        Descriptors that are legal by themselves.
    begin : Out(1)
        A round begins.
    stamp : Out(1)
        A stamp begins.
    stamp_address : Out(address_bits)
    round : Out(RoundLayout)
        The round at work, or the one before.
    sources : Out(leaves)
        Leaves that read partial matrices.
    set, set_leaf, set_count, set_address : Out
        A leaf is to read one.
    runs : Out(1)
        A round is at work.
    done : In(1)
        What was begun is done.
    count : In(40)
        Elements that the round wrote.
    moves : In(1)
        Something moves.
    finished : Out(1)
        The end is accepted.
    refused, stalled : Out(ErrorReport(...))
        A descriptor contradicts those before; nothing has moved for too long.
    address : Out(address_bits)
        Of the descriptor at work.
    """

    def __init__(self, accelerator: SparchAccelerator) -> None:
        self._accelerator = accelerator
        bits, leaves = accelerator.bus.address_bits, accelerator.tree.ways
        super().__init__(
            {
                "i": In(stream.Signature(step_layout(bits))),
                "begin": Out(1),
                "stamp": Out(1),
                "stamp_address": Out(bits),
                "round": Out(RoundLayout),
                "sources": Out(leaves),
                "set": Out(1),
                "set_leaf": Out(index_bits(leaves)),
                "set_count": Out(COUNT_BITS),
                "set_address": Out(bits),
                "runs": Out(1),
                "done": In(1),
                "count": In(COUNT_BITS),
                "moves": In(1),
                "finished": Out(1),
                "refused": Out(ErrorReport(address_bits=bits)),
                "stalled": Out(ErrorReport(address_bits=bits)),
                "address": Out(bits),
            },
            name="round_control",
            parameters=(accelerator,),
        )

    def build(self) -> Module:
        m = Module()
        alive = self._accelerator.partials.alive
        counts: Any = memory.Memory(shape=COUNT_BITS, depth=alive, init=[])
        m.submodules.counts = counts
        write, read = counts.write_port(), counts.read_port(domain="comb")
        written, reading = Signal(alive), Signal(alive)  # partial matrices
        # The descriptor that waits, and whether it was found legal with nothing at work since.
        held: Any = Signal(self.i.payload.shape())
        waits, looked, checked, legal = (
            Signal(name=name) for name in ("waits", "looked", "checked", "legal")
        )
        code = held.descriptor
        source: Any = data.View(SourceLayout, code[: SourceLayout.size])
        given: Any = data.View(RoundLayout, code[: RoundLayout.size])
        stamp: Any = data.View(StampLayout, code[: StampLayout.size])
        busy, takes = Signal(), Signal()
        is_source, is_round, is_stamp = (
            Signal(name=f"is_{n}") for n in ("source", "round", "stamp")
        )
        # A source's partial matrix is there, and its leaf free. No leaf is both fed and a source,
        # and no round writes what it reads.
        source_legal, free, unread = Signal(), Signal(), Signal()
        partial, leaf = source.partial[: index_bits(alive)], source.leaf[: len(self.set_leaf)]
        m.d.sync += [
            source_legal.eq(written.bit_select(partial, 1) & ~self.sources.bit_select(leaf, 1)),
            free.eq((given.leaves[: len(self.sources)] & self.sources) == 0),
            unread.eq(given.final | ~reading.bit_select(given.partial[: index_bits(alive)], 1)),
        ]
        round_legal = free & unread
        m.d.comb += [
            is_source.eq(source.opcode == Opcode.SOURCE),
            is_round.eq(source.opcode == Opcode.ROUND),
            is_stamp.eq(source.opcode == Opcode.STAMP),
            self.i.ready.eq(~waits | takes),
            takes.eq(checked & legal),
            self.refused.raised.eq(checked & ~legal),
            self.refused.address.eq(held.address),
            read.addr.eq(source.partial),
            self.set.eq(takes & is_source),
            self.set_leaf.eq(source.leaf),
            self.set_count.eq(read.data),
            self.set_address.eq(source.address),
            self.stamp.eq(takes & is_stamp),
            self.stamp_address.eq(stamp.address),
            self.finished.eq(takes & ~is_source & ~is_round & ~is_stamp),
            write.en.eq(self.done & self.runs & ~self.round.final),
            write.addr.eq(self.round.partial),
            write.data.eq(self.count),
        ]
        m.d.sync += [
            waits.eq(self.i.valid | (waits & ~takes)),
            looked.eq(waits & ~busy & ~takes),
            checked.eq(looked & ~takes),
            legal.eq(Mux(is_source, source_legal, ~is_round | round_legal)),
            self.begin.eq(takes & is_round),
        ]
        with m.If(self.i.ready):
            m.d.sync += held.eq(self.i.p)
        with m.If(self.set):
            m.d.sync += [
                self.sources.eq(self.sources | bit_of(source.leaf, len(self.sources))),
                reading.eq(reading | bit_of(source.partial, alive)),
            ]
        with m.If(takes & ~is_source):
            m.d.sync += [busy.eq(is_round | is_stamp), self.address.eq(held.address)]
        with m.If(takes & is_round):
            m.d.sync += [self.round.eq(given), self.runs.eq(1)]
        with m.If(self.done):
            m.d.sync += [busy.eq(0), self.runs.eq(0)]
            with m.If(self.runs):
                m.d.sync += [self.sources.eq(0), reading.eq(0)]
        with m.If(write.en):
            m.d.sync += written.eq(written | bit_of(self.round.partial, alive))
        self._watch(m)
        return m

    def _watch(self, m: Module) -> None:
        """Stop a round in which nothing moves."""
        still = Signal(range(STALL_CYCLES + 1))
        moved = Signal()
        m.d.comb += self.stalled.address.eq(self.address)
        m.d.sync += [
            moved.eq(~self.runs | self.moves),
            still.eq(Mux(moved, 0, still + 1)),
            self.stalled.raised.eq(still == STALL_CYCLES),
        ]
