"""The performance counters."""

from __future__ import annotations

import enum
from collections.abc import Mapping

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib.wiring import In, Out, Signature

from celosia.dataflow.program import Counter
from celosia.rtl.shared import Shared

COUNTER_BITS = 64

PIECE_BITS = 32
"""Bits of a counter that one carry chain adds up."""


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
    """The performance counters, 64 bits each, in pieces so that no carry runs through all.

    Parameters
    ----------
    counters, widths
        As in :class:`CounterSteps`.

    Members
    -------
    clear : In(1)
        All are 0 in the next cycle, and what is counted in this one is not.
    <counter>_step : In
        The first counter is that much more in the next cycle, the others are in the one after.
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
            name = counter.name.lower()
            step: Value = getattr(self, f"{name}_step")
            if counter:
                late = Signal(len(step), name=f"{name}_late")
                m.d.sync += late.eq(step)
                with m.If(self.clear):
                    m.d.sync += late.eq(0)
                step = late
            m.d.comb += getattr(self, name).eq(self._count(m, name, step))
        return m

    def _count(self, m: Module, name: str, step: Value) -> Value:
        """Return the sum of all steps since the last ``clear``.

        Whether a piece carries into the next is known before the step that makes it carry.
        """
        pieces: list[Signal] = []
        carry = step
        for index in range(COUNTER_BITS // PIECE_BITS):
            piece = Signal(PIECE_BITS, name=f"{name}_piece_{index}")
            pieces.append(piece)
            if len(carry) > 1:
                total = Signal(PIECE_BITS + 1, name=f"{name}_total")
                m.d.comb += total.eq(piece + carry)
                m.d.sync += piece.eq(total)
                carry = total[-1]
            else:
                full = Signal(name=f"{name}_full_{index}")
                with m.If(carry):
                    m.d.sync += [piece.eq(piece + 1), full.eq(piece == (1 << PIECE_BITS) - 2)]
                with m.If(self.clear):
                    m.d.sync += full.eq(0)
                carry = carry & full
            with m.If(self.clear):
                m.d.sync += piece.eq(0)
        return Cat(pieces)
