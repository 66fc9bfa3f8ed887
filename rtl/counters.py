"""The performance counters."""

from __future__ import annotations

from amaranth.hdl import Module, Signal
from amaranth.lib.wiring import In, Out, Signature

from celosia.dataflow.program import Counter
from celosia.rtl.shared import Shared

COUNTER_BITS = 64


class CounterSteps(Signature):
    """What the engine's parts count: one bit for each counter but the cycles.

    Members
    -------
    <counter> : Out(1)
        The counter steps in this cycle.
    """

    def __init__(self) -> None:
        names = [counter.name.lower() for counter in Counter if counter is not Counter.CYCLES]
        super().__init__({name: Out(1) for name in names})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CounterSteps)

    def __repr__(self) -> str:
        return "CounterSteps()"


class Counters(Shared):
    """The performance counters, 64 bits each.

    Parameters
    ----------
    None

    Members
    -------
    clear : In(1)
        All are 0 in the next cycle.
    <counter>_step : In(1)
        The counter is one more in the next cycle.
    <counter> : Out(64)
        Its value.
    """

    clear: Signal

    def __init__(self) -> None:
        ports = {"clear": In(1)}
        for counter in Counter:
            ports |= {
                f"{counter.name.lower()}_step": In(1),
                counter.name.lower(): Out(COUNTER_BITS),
            }
        super().__init__(ports, name="counters", parameters=())

    def build(self) -> Module:
        m = Module()
        for counter in Counter:
            value = getattr(self, counter.name.lower())
            with m.If(getattr(self, f"{counter.name.lower()}_step")):
                m.d.sync += value.eq(value + 1)
            with m.If(self.clear):
                m.d.sync += value.eq(0)
        return m
