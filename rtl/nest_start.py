"""How a loop nest begins: which loops end with its first step."""

from __future__ import annotations

from amaranth.hdl import Module
from amaranth.lib.wiring import In, Out

from celosia.rtl.affine import WORD_BITS
from celosia.rtl.shared import Shared


class NestStart(Shared):
    """Tells from the iterations of a nest's loops what its first step does.

    A module of its own, without registers: counts come late, from a queue's memory, and are not
    put together with what a nest does later.

    Parameters
    ----------
    loops : int
        Loops, at least 1.

    Members
    -------
    counts : In(16).array(loops)
        Iterations of each loop, innermost first, at least 1.
    once : Out(loops)
        Loops of one iteration.
    reached : Out(loops)
        Loops inside which all are of one: the first step is the last before they go on or end.
    advances : Out(loops)
        Which loop goes on after the first step.
    ended : Out(1)
        The first step is the only one.
    """

    def __init__(self, *, loops: int) -> None:
        self._loops = loops
        super().__init__(
            {
                "counts": In(WORD_BITS).array(loops),
                **dict.fromkeys(("once", "reached", "advances"), Out(loops)),
                "ended": Out(1),
            },
            name=f"nest_start_{loops}",
            parameters=(loops,),
        )

    @property
    def loops(self) -> int:
        return self._loops

    def build(self) -> Module:
        m = Module()
        for n, count in enumerate(self.counts):
            m.d.comb += [
                self.once[n].eq(count == 1),
                self.reached[n].eq(self.once[:n].all()),
                self.advances[n].eq(self.once[:n].all() & ~self.once[n]),
            ]
        m.d.comb += self.ended.eq(self.once.all())
        return m
