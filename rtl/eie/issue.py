"""From queued activations to entries: pointer reads, and one entry a cycle."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from celosia.dataflow.eie.accelerator import FILTER_CYCLES, EieAccelerator
from celosia.rtl.axi.burst import sum_of_three
from celosia.rtl.eie.memories import address_bits
from celosia.rtl.eie.queue import ActivationQueue, item_layout
from celosia.rtl.shared import Shared


def column_bits(accelerator: EieAccelerator) -> int:
    """Return the bits of the place of a column's pointer, also of one beyond the tile's last."""
    return address_bits(accelerator.memories.pointers + accelerator.window_columns)


class ColumnSpan(Shared):
    """Says whether entries lie between two pointers. No latency.

    A module of its own, so that it has no more levels than it needs: what is said are carries.

    Parameters
    ----------
    pointer_bits : int

    Members
    -------
    start, stop : In(pointer bits)
    size : In
        Entries that the tile has at most.
    some, several : Out(1)
        More than none, more than one; only where it is not ``over``.
    falls, over : Out(1)
        Less than none; beyond ``size``.
    """

    start: Signal
    stop: Signal
    size: Signal
    some: Signal
    several: Signal
    falls: Signal
    over: Signal

    def __init__(self, pointer_bits: int) -> None:
        self._bits = pointer_bits
        super().__init__(
            {
                "start": In(pointer_bits),
                "stop": In(pointer_bits),
                "size": In(pointer_bits + 1),
                "some": Out(1),
                "several": Out(1),
                "falls": Out(1),
                "over": Out(1),
            },
            name=f"column_span_{pointer_bits}",
            parameters=(pointer_bits,),
        )

    def build(self) -> Module:
        m = Module()
        # ``stop - start - 2`` above twice the range, in one carry chain.
        most = Const((1 << self._bits) - 1)
        apart = sum_of_three(m, "apart", (self.stop, ~self.start, most), 4 << self._bits)
        m.d.comb += [
            self.some.eq((self.start - self.stop)[-1]),
            self.several.eq(apart[-1]),
            self.falls.eq((self.stop - self.start)[-1]),
            self.over.eq((self.size - self.stop)[-1]),
        ]
        return m


class Issue(Shared):
    """Looks up what waits in the queues, and walks through the entries of each column.

    In the cycle of a look-up the column's pointers are read; in the next it is found out how many
    entries they are. From the one after on they are issued, one a cycle, as soon as those of the
    column before are. A column without entries takes a cycle. The next columns are looked up while
    entries of one are issued. Of several queues each goes in turn, the first after ``fresh``, and
    those in which nothing waits are passed over.

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
        Nothing may be broadcast on that channel in the next cycle.
    idle : Out(1)
        Nothing is queued or at work.
    look_up : Out(1)
        The pointers at ``place`` are read in this cycle.
    place : Out(column_bits(accelerator))
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
        place_bits = column_bits(accelerator)
        self._layout = item_layout(place_bits, self._activation_bits)
        pushed: Any = {f"pushed_{c}": In(self._layout) for c in range(array.channels)}
        super().__init__(
            pushed
            | {
                "fresh": In(1),
                "push": In(array.channels),
                "full": Out(array.channels),
                "idle": Out(1),
                "look_up": Out(1),
                "place": Out(place_bits),
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
            parameters=(array, bits, place_bits, self._activation_bits),
        )

    def build(self) -> Module:
        m = Module()
        channels = self._array.channels
        queues = self._queues(m)
        channel_bits = address_bits(channels)
        chosen, turn = Signal(channel_bits), Signal(channel_bits)
        waiting = Signal(channels)
        m.d.comb += waiting.eq(Cat(queue.waiting for queue in queues))
        # The first from ``turn`` on in which something waits.
        m.d.comb += chosen.eq(turn)
        for step in reversed(range(channels)):
            candidate = (turn + step)[:channel_bits]
            with m.If(waiting.bit_select(candidate, 1)):
                m.d.comb += chosen.eq(candidate)
        head: Any = Signal(self._layout)
        m.d.comb += head.eq(Array([queue.head.as_value() for queue in queues])[chosen])

        # What was looked up, and its pointers come; what waits for its first entry; what is issued.
        read, ready, busy = Signal(), Signal(), Signal()
        values = [Signal(signed(self._activation_bits), name=f"value_{step}") for step in range(3)]
        # Of each channel whether its is what was looked up, what is ready, at work and at its last.
        read_of, work_of = Signal(channels, init=1), Signal(channels, init=1)
        ready_of, final_of = Signal(channels), Signal(channels)
        moves, begins, picked = Signal(), Signal(), Signal(channels)
        found = self._found(m, moves)
        some, several = found.some & ~found.over, found.several & ~found.over
        m.d.comb += [
            moves.eq(read & (~ready | ~busy)),
            begins.eq(ready & ~busy),
            picked.eq(Cat(chosen == number for number in range(channels))),
            self.look_up.eq(waiting.any() & (~read | ~ready | ~busy)),
            self.place.eq(head.place),
            self.corrupt.eq(begins & (found.falls | found.over)),
        ]
        with m.If(self.look_up):
            m.d.sync += [
                read.eq(1),
                values[0].eq(head.value),
                read_of.eq(picked),
                turn.eq(chosen + 1 if channels > 1 else 0),
            ]
        with m.Elif(moves):
            m.d.sync += read.eq(0)
        with m.If(moves):
            m.d.sync += [ready.eq(1), values[1].eq(values[0]), ready_of.eq(read_of)]
        with m.Elif(begins):
            m.d.sync += [ready.eq(0), ready_of.eq(0)]

        at = Signal(self._pointer_bits)
        left, count = Signal(self._pointer_bits), Signal(self._pointer_bits)  # with this one
        final, owner = Signal(), Signal(channels)  # ``left`` is 1; the column's channel
        m.d.comb += [
            self.entry.eq(Mux(busy, at, found.start)),
            count.eq(Mux(busy, left, found.count)),
            self.value.eq(Mux(busy, values[2], values[1])),
            owner.eq(Mux(busy, work_of, ready_of)),
            self.first.eq(begins),
            self.issue.eq(busy | (ready & some)),
        ]
        m.d.sync += [
            busy.eq(Mux(busy, ~final, ready & several)),
            at.eq(self.entry + 1),
            left.eq(count - 1),
            final.eq(count == 2),
            values[2].eq(self.value),
            work_of.eq(owner),
            final_of.eq(Mux(count == 2, owner, 0)),
        ]
        with m.If(self.fresh):
            m.d.sync += turn.eq(0)
        for number, queue in enumerate(queues):
            m.d.comb += [
                queue.look_up.eq(self.look_up & picked[number]),
                queue.release.eq(Mux(busy, final_of[number], ready_of[number] & ~several)),
            ]
        return m

    def _queues(self, m: Module) -> list[ActivationQueue]:
        """Add the queues and what comes into them; return them."""
        # What a filter lets through comes two cycles after its broadcast.
        spare = FILTER_CYCLES if self._array.skip_empty else 0
        queues = [
            ActivationQueue(self._layout, depth=self._array.queue, spare=spare)
            for _ in range(self._array.channels)
        ]
        for number, queue in enumerate(queues):
            m.submodules[f"queue_{number}"] = queue
            m.d.comb += [
                queue.push.eq(self.push[number]),
                queue.pushed.eq(getattr(self, f"pushed_{number}")),
            ]
        m.d.comb += [
            self.full.eq(Cat(queue.full for queue in queues)),
            self.idle.eq(Cat(queue.idle for queue in queues).all()),
        ]
        return queues

    def _found(self, m: Module, moves: Value) -> Any:
        """Add registers that ``moves`` loads with a column's pointers; return what they say.

        That is what :class:`ColumnSpan` says, where the column starts, and its entries.
        """
        m.submodules.span = span = ColumnSpan(self._pointer_bits)
        bits = self._pointer_bits
        said = dict.fromkeys(("some", "several", "falls", "over"), 1)
        found: Any = Signal(data.StructLayout({"start": bits, "count": bits} | said))
        m.d.comb += [
            span.start.eq(self.start),
            span.stop.eq(self.stop),
            span.size.eq(self.size),
        ]
        with m.If(moves):
            m.d.sync += [
                found.start.eq(self.start),
                found.count.eq(self.stop - self.start),
                *(getattr(found, name).eq(getattr(span, name)) for name in said),
            ]
        return found
