"""From queued activations to entries: pointer reads, and one entry a cycle."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Cat, Module, Mux, Signal, signed
from amaranth.lib.wiring import In, Out

from celosia.dataflow.eie.accelerator import EieAccelerator
from celosia.rtl.eie.memories import address_bits
from celosia.rtl.eie.queue import ActivationQueue, item_layout
from celosia.rtl.shared import Shared

COLUMN_BITS = 21
"""Bits of a column's number in its tile."""


class Issue(Shared):
    """Looks up what waits in the queues, and walks through the entries of each column.

    In the cycle of a look-up the column's pointers are read; from the next on its entries are
    issued, one a cycle, as soon as those of the column before are. A column without entries takes
    a cycle. The next column is looked up while entries of one are issued. Of several queues each
    goes in turn, the first after ``fresh``, and those in which nothing waits are passed over.

    Pointers that fall, or lead beyond ``size``, raise ``corrupt``; such a column has no entries.

    Parameters
    ----------
    accelerator : EieAccelerator
        Queues and widths.

    Members
    -------
    fresh : In(1)
        No tile is at work.
    push : In(channels)
        For each channel whether ``pushed_<c>`` comes in.
    pushed_<c> : In(item_layout(...))
    full : Out(channels)
        Nothing may be broadcast on that channel in this cycle.
    idle : Out(1)
        Nothing is queued or at work.
    look_up : Out(1)
        The pointers of ``column`` are read in this cycle.
    column : Out(21)
    start, stop : In(pointer bits)
        What was read, in the cycle after and until the next read.
    size : In
        Entries that the tile has at most.
    issue : Out(1)
        Entry ``entry`` goes to the arithmetic unit.
    entry : Out(pointer bits)
    first : Out(1)
        It is the first of its column.
    value : Out(signed(activation bits))
        The column's activation.
    corrupt : Out(1)
    """

    def __init__(self, accelerator: EieAccelerator) -> None:
        array, bits = accelerator.array, accelerator.memories.pointer_bits
        self._array, self._pointer_bits = array, bits
        self._activation_bits = accelerator.widths.activation
        self._layout = item_layout(COLUMN_BITS, self._activation_bits)
        pushed: Any = {f"pushed_{c}": In(self._layout) for c in range(array.channels)}
        super().__init__(
            pushed
            | {
                "fresh": In(1),
                "push": In(array.channels),
                "full": Out(array.channels),
                "idle": Out(1),
                "look_up": Out(1),
                "column": Out(COLUMN_BITS),
                "start": In(bits),
                "stop": In(bits),
                "size": In(bits + 1),
                "issue": Out(1),
                "entry": Out(bits),
                "first": Out(1),
                "value": Out(signed(self._activation_bits)),
                "corrupt": Out(1),
            },
            name="issue",
            parameters=(array, bits, self._activation_bits),
        )

    def build(self) -> Module:
        m = Module()
        channels = self._array.channels
        queues = [ActivationQueue(self._layout, depth=self._array.queue) for _ in range(channels)]
        channel_bits = address_bits(channels)
        chosen, turn = Signal(channel_bits), Signal(channel_bits)
        waiting = Signal(channels)
        for number, queue in enumerate(queues):
            m.submodules[f"queue_{number}"] = queue
            m.d.comb += [
                queue.push.eq(self.push[number]),
                queue.pushed.eq(getattr(self, f"pushed_{number}")),
                waiting[number].eq(queue.waiting),
            ]
        # What a filter lets through comes a cycle after its broadcast: it must find a place.
        full = "full_after" if self._array.skip_empty else "full"
        m.d.comb += [
            self.full.eq(Cat(getattr(queue, full) for queue in queues)),
            self.idle.eq(Cat(queue.idle for queue in queues).all()),
        ]
        # The first from ``turn`` on in which something waits.
        m.d.comb += chosen.eq(turn)
        for step in reversed(range(channels)):
            candidate = (turn + step)[:channel_bits]
            with m.If(waiting.bit_select(candidate, 1)):
                m.d.comb += chosen.eq(candidate)
        head: Any = Signal(self._layout)
        m.d.comb += head.eq(Array([queue.head.as_value() for queue in queues])[chosen])

        # What was looked up and waits for its first entry; what is issued.
        ready, ready_value = Signal(), Signal(signed(self._activation_bits))
        ready_channel = Signal(channel_bits)
        busy, at, end = Signal(), Signal(self._pointer_bits), Signal(self._pointer_bits)
        value, channel = Signal(signed(self._activation_bits)), Signal(channel_bits)
        begins, broken, active, last = Signal(), Signal(), Signal(), Signal()
        stop, owner = Signal(self._pointer_bits), Signal(channel_bits)
        m.d.comb += [
            begins.eq(~busy & ready),
            broken.eq((self.start > self.stop) | (self.stop > self.size)),
            self.corrupt.eq(begins & broken),
            active.eq(busy | ready),
            self.entry.eq(Mux(busy, at, self.start)),
            stop.eq(Mux(busy, end, self.stop)),
            self.value.eq(Mux(busy, value, ready_value)),
            owner.eq(Mux(busy, channel, ready_channel)),
            self.first.eq(begins),
            self.issue.eq(busy | (ready & ~broken & (self.start != self.stop))),
            last.eq(active & (~self.issue | (self.entry + 1 == stop))),
            self.look_up.eq(waiting.any() & (~ready | ~busy)),
            self.column.eq(head.column),
        ]
        m.d.sync += busy.eq(active & ~last)
        with m.If(active):
            m.d.sync += [
                at.eq(self.entry + 1),
                end.eq(stop),
                value.eq(self.value),
                channel.eq(owner),
            ]
        with m.If(begins):
            m.d.sync += ready.eq(0)
        with m.If(self.look_up):
            m.d.sync += [
                ready.eq(1),
                ready_value.eq(head.value),
                ready_channel.eq(chosen),
                turn.eq(chosen + 1 if channels > 1 else 0),
            ]
        with m.If(self.fresh):
            m.d.sync += turn.eq(0)
        for number, queue in enumerate(queues):
            m.d.comb += [
                queue.look_up.eq(self.look_up & (chosen == number)),
                queue.release.eq(last & (owner == number)),
            ]
        return m
