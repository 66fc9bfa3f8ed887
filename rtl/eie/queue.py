"""The activation queue of a processing element."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, memory
from amaranth.lib.wiring import In, Out

from celosia.rtl.shared import Shared


def item_layout(place_bits: int, activation_bits: int) -> data.StructLayout:
    """Return the layout of a broadcast: the place of its column's pointer, the activation."""
    return data.StructLayout({"place": place_bits, "value": activation_bits})


class ActivationQueue(Shared):
    """Activations that wait for a PE, in order.

    The head is looked up while the ones before are still at work, and keeps its place until it is
    finished itself: an activation pushed in cycle t, looked up in t at the earliest and released in
    r takes a place from t+1 to r. What is pushed into a queue in which nothing waits for its
    look-up is offered in the same cycle.

    Parameters
    ----------
    layout : data.StructLayout
        Of an activation.
    depth : int
        Places, at least 1.
    spare : int
        Places behind them, for what was on its way when the last was taken.

    Members
    -------
    push : In(1)
        ``pushed`` comes in; only where there is a place, or a spare one.
    pushed : In(layout)
    full : Out(1)
        All places are taken in the next cycle.
    waiting : Out(1)
        ``head`` is an activation that was not looked up.
    head : Out(layout)
    look_up : In(1)
        It is looked up in this cycle.
    release : In(1)
        The oldest that was looked up is finished in this cycle.
    idle : Out(1)
        No place is taken.
    """

    push: Signal
    pushed: Any
    full: Signal
    waiting: Signal
    head: Any
    look_up: Signal
    release: Signal
    idle: Signal

    def __init__(self, layout: data.StructLayout, *, depth: int, spare: int = 0) -> None:
        if depth < 1:
            raise ValueError(f"depth must be at least 1, not {depth!r}")
        self._layout, self._depth, self._spare = layout, depth, spare
        super().__init__(
            {
                "push": In(1),
                "pushed": In(layout),
                "full": Out(1),
                "waiting": Out(1),
                "head": Out(layout),
                "look_up": In(1),
                "release": In(1),
                "idle": Out(1),
            },
            name=f"activation_queue_w{layout.size}_d{depth}{f'_s{spare}' if spare else ''}",
            parameters=(layout.size, depth, spare),
        )

    def build(self) -> Module:
        m = Module()
        places, depth = self._depth + self._spare, self._depth
        rows = max(2, places)
        store: Any = memory.Memory(shape=self._layout.size, depth=rows, init=[])
        m.submodules.rows = store
        write, read = store.write_port(), store.read_port(domain="comb")
        taken, unseen = Signal(range(places + 1)), Signal(range(places + 1))
        some, empty = Signal(), Signal(init=1)  # ``unseen`` is not 0, ``taken`` is
        # All places are taken; just so many; all but one.
        filled, brim, last = Signal(), Signal(), Signal(init=depth == 1)
        m.d.comb += [
            self.idle.eq(empty),
            write.data.eq(self.pushed.as_value()),
            write.en.eq(self.push),
            self.full.eq(
                Mux(filled, ~(brim & self.release & ~self.push), last & self.push & ~self.release)
            ),
            self.waiting.eq(some | self.push),
            self.head.as_value().eq(Mux(some, read.data, self.pushed.as_value())),
        ]
        for moves, port in ((self.push, write), (self.look_up, read)):
            with m.If(moves):
                m.d.sync += port.addr.eq(Mux(port.addr == rows - 1, 0, port.addr + 1))
        m.d.sync += filled.eq(self.full)
        with m.If(self.push & ~self.release):
            m.d.sync += [
                taken.eq(taken + 1),
                empty.eq(0),
                brim.eq(taken == depth - 1),
                last.eq(taken == depth - 2 if depth > 1 else 0),
            ]
        with m.Elif(self.release & ~self.push):
            m.d.sync += [
                taken.eq(taken - 1),
                empty.eq(taken == 1),
                brim.eq(taken == depth + 1 if self._spare else 0),
                last.eq(taken == depth),
            ]
        # The look-up comes last, so it only enables.
        with m.If(self.push ^ self.look_up):
            m.d.sync += [
                unseen.eq(Mux(self.push, unseen + 1, unseen - 1)),
                some.eq(self.push | (unseen != 1)),
            ]
        return m
