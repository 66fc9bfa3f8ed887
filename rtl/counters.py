"""The performance counters."""

from __future__ import annotations

import enum
from collections.abc import Mapping

from amaranth.hdl import Module, Signal
from amaranth.lib.wiring import In, Out, Signature

from celosia.dataflow.program import Counter
from celosia.rtl.shared import Shared

COUNTER_BITS = 64


class CounterSteps(Signature):
    """What the engine's parts count: by how much each counter but the first moves.

    Parameters
    ----------
    counters : type of IntEnum
        The counters; the first are the cycles.
    widths : mapping of str to int
        Bits of the steps of counters that may move by more than one; 0 of those that never do,
        which have no step.

    Members
    -------
    <counter> : Out
        So much is counted in this cycle.
    """

    def __init__(
        self, counters: type[enum.IntEnum] = Counter, widths: Mapping[str, int] | None = None
    ) -> None:
        self._counters, self._widths = counters, dict(widths or {})
        names = [counter.name.lower() for counter in counters if counter]
        found = {name: self._widths.get(name, 1) for name in names}
        super().__init__({name: Out(width) for name, width in found.items() if width})

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, CounterSteps)
            and other._counters is self._counters
            and other._widths == self._widths
        )

    def __repr__(self) -> str:
        return f"CounterSteps({self._counters.__name__}, {self._widths})"


class Counters(Shared):
    """The performance counters, 64 bits each.

    Parameters
    ----------
    counters, widths
        As in :class:`CounterSteps`.

    Members
    -------
    clear : In(1)
        All are 0 in the next cycle.
    <counter>_step : In
        The counter is that much more in the next cycle.
    <counter> : Out(64)
        Its value.
    """

    clear: Signal

    def __init__(
        self, counters: type[enum.IntEnum] = Counter, widths: Mapping[str, int] | None = None
    ) -> None:
        self._counters = counters
        self._steps = steps = dict(widths or {})
        ports = {"clear": In(1)}
        for counter in counters:
            name = counter.name.lower()
            ports |= {name: Out(COUNTER_BITS)}
            if steps.get(name, 1):
                ports |= {f"{name}_step": In(steps.get(name, 1))}
        super().__init__(ports, name="counters", parameters=(counters, tuple(steps.items())))

    def build(self) -> Module:
        m = Module()
        for counter in self._counters:
            if not self._steps.get(counter.name.lower(), 1):
                continue  # it stays 0
            value = getattr(self, counter.name.lower())
            step = getattr(self, f"{counter.name.lower()}_step")
            with m.If(step.any()):
                m.d.sync += value.eq(value + step)
            with m.If(self.clear):
                m.d.sync += value.eq(0)
        return m
