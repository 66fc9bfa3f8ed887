"""How many of many flags are set: summed up over several cycles."""

from __future__ import annotations

from amaranth.hdl import Module, Signal, Value
from amaranth.lib.wiring import In, Out

from celosia.rtl.eie.multiples import TABLE
from celosia.rtl.rules import all_of
from celosia.rtl.shared import Shared
from celosia.rtl.tree import paired

FLAGS, SUMS = 8, 4
"""Flags, and then sums, that are added up at once."""


def popcount(flags: list[Value]) -> Value:
    """Return how many of ``flags`` are 1, or the sum of numbers."""
    while len(flags) > 1:
        flags = paired(flags)
    return flags[0]


class AnyOf(Shared):
    """Says whether any of some flags is set, by a carry. No latency.

    A module of its own, so that it has no more levels than it needs.

    Parameters
    ----------
    flags : int
        How many.

    Members
    -------
    i : In(flags)
    o : Out(1)
    """

    i: Signal
    o: Signal

    def __init__(self, flags: int) -> None:
        super().__init__({"i": In(flags), "o": Out(1)}, name=f"any_of_{flags}", parameters=(flags,))

    def build(self) -> Module:
        m = Module()
        parts = [self.i[first : first + TABLE] for first in range(0, len(self.i), TABLE)]
        m.d.comb += self.o.eq(~all_of(m, "none", [~part.any() for part in parts]))
        return m


class Tally(Shared):
    """Counts flags. One cycle for each 8 of them, and for each 4 sums but the last.

    Parameters
    ----------
    flags : int
        How many, at least 1.

    Members
    -------
    i : In(flags)
    o : Out
        How many were 1: a cycle before of up to 32 flags, two of up to 128, three of up to 512.
    """

    i: Signal
    o: Signal

    def __init__(self, flags: int) -> None:
        self._flags = flags
        super().__init__(
            {"i": In(flags), "o": Out(flags.bit_length())},
            name=f"tally_{flags}",
            parameters=(flags,),
        )

    def build(self) -> Module:
        m = Module()
        sums: list[Value] = list(self.i)
        together = FLAGS
        while len(sums) > SUMS or together == FLAGS:
            parts = [popcount(sums[n : n + together]) for n in range(0, len(sums), together)]
            sums = []
            for part in parts:
                total = Signal(len(part))
                m.d.sync += total.eq(part)
                sums.append(total)
            together = SUMS
        m.d.comb += self.o.eq(popcount(sums))
        return m
