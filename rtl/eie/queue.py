"""The activation queue of a processing element."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, memory
from amaranth.lib.wiring import In, Out

from celosia.rtl.shared import Shared


def item_layout(column_bits: int, activation_bits: int) -> data.StructLayout:
    """Return the layout of a broadcast: the activation's ``column`` in its tile, its ``value``."""
    return data.StructLayout({"column": column_bits, "value": activation_bits})


class ActivationQueue(Shared):
    """Activations that wait for a PE, in order.

    The head is looked up while the one before is still at work, and keeps its place until it is
    finished itself: an activation pushed in cycle t, looked up in t at the earliest and released in
    r takes a place from t+1 to r. What is pushed into a queue in which nothing waits for its
    look-up is offered in the same cycle.

    Parameters
    ----------
    layout : data.StructLayout
        Of an activation.
    depth : int
        Places, at least 1.

    Members
    -------
    push : In(1)
        ``pushed`` comes in; only where there is a place.
    pushed : In(layout)
    full : Out(1)
        All places are taken.
    full_after : Out(1)
        All are, with what is pushed in this cycle.
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
    full_after: Signal
    waiting: Signal
    head: Any
    look_up: Signal
    release: Signal
    idle: Signal

    def __init__(self, layout: data.StructLayout, *, depth: int) -> None:
        if depth < 1:
            raise ValueError(f"depth must be at least 1, not {depth!r}")
        self._layout, self._depth = layout, depth
        super().__init__(
            {
                "push": In(1),
                "pushed": In(layout),
                "full": Out(1),
                "full_after": Out(1),
                "waiting": Out(1),
                "head": Out(layout),
                "look_up": In(1),
                "release": In(1),
                "idle": Out(1),
            },
            name=f"activation_queue_w{layout.size}_d{depth}",
            parameters=(layout.size, depth),
        )

    def build(self) -> Module:
        m = Module()
        rows = max(2, self._depth)
        store: Any = memory.Memory(shape=self._layout.size, depth=rows, init=[])
        m.submodules.rows = store
        write, read = store.write_port(), store.read_port(domain="comb")
        taken = Signal(range(self._depth + 1))
        unseen = Signal(range(self._depth + 1))
        m.d.comb += [
            write.data.eq(self.pushed.as_value()),
            write.en.eq(self.push),
            self.full.eq(taken == self._depth),
            self.full_after.eq(taken + self.push >= self._depth),
            self.idle.eq(taken == 0),
            self.waiting.eq((unseen != 0) | self.push),
            self.head.as_value().eq(Mux(unseen != 0, read.data, self.pushed.as_value())),
        ]
        for moves, port in ((self.push, write), (self.look_up, read)):
            with m.If(moves):
                m.d.sync += port.addr.eq(Mux(port.addr == rows - 1, 0, port.addr + 1))
        m.d.sync += [
            taken.eq(taken + self.push - self.release),
            unseen.eq(unseen + self.push - self.look_up),
        ]
        return m
