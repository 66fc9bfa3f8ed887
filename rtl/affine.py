"""Programmable loop nest: addresses that are affine in the loop counters, one step a cycle."""

from __future__ import annotations

import functools
import operator
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from celosia.rtl.shared import Shared

WORD_BITS = 16
"""Width of loop counts and addresses."""


def nest_layout(loops: int, operands: int) -> data.StructLayout:
    """Return the layout of a nest, innermost loop first.

    Iterations of each loop (at least 1), what each loop adds to each address when it advances
    (its inner loops return to 0), the first addresses, and which loops ``zero`` watches.
    """
    return data.StructLayout(
        {
            "counts": data.ArrayLayout(WORD_BITS, loops),
            "deltas": data.ArrayLayout(data.ArrayLayout(WORD_BITS, operands), loops),
            "addresses": data.ArrayLayout(WORD_BITS, operands),
            "watched": loops,
        }
    )


_PARTS = (slice(0, 6), slice(6, 12), slice(12, WORD_BITS))
"""Bits of a count of which one step of logic finds what they are."""


class NestStart(Shared):
    """Tells from the iterations of a nest's loops what its first step does.

    A module of its own, without registers: counts come late, from a queue's memory, and are not
    put together with what a nest does later. A carry runs through the loops as far as they are of
    one iteration.

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
        terms: list[Value] = []
        reached: list[Value] = [Const(1, 1)]
        total = Signal(self._loops * (len(_PARTS) + 1) + 1, name="carry")
        for n, count in enumerate(self.counts):
            terms += [count[part] == int(part.start == 0) for part in _PARTS]
            # A carry goes past this 1, and leaves 0 where it does.
            reached.append(~total[len(terms)])
            terms.append(Const(1, 1))
            m.d.comb += [
                self.once[n].eq(count == 1),
                self.reached[n].eq(reached[n]),
                self.advances[n].eq(reached[n] & ~self.once[n]),
            ]
        m.d.comb += [total.eq(Cat(terms) + 1), self.ended.eq(reached[-1])]
        return m


class NestStep(Shared):
    """Tells what the step after the present one does, where it is of the same nest.

    A module of its own, without registers, as :class:`NestStart` is: between the two only a choice
    is left.

    Parameters
    ----------
    loops : int
        Loops, at least 1.

    Members
    -------
    ended, once, soon : In(loops)
        Loops in their last iteration, of one iteration, in the last but one; in the last ``soon``
        does not matter.
    following : Out(loops)
        ``ended`` of the step after.
    advances : Out(loops)
        Which loop goes on after that step.
    last : Out(1)
        That step is the last.
    """

    def __init__(self, *, loops: int) -> None:
        self._loops = loops
        super().__init__(
            {
                **dict.fromkeys(("ended", "once", "soon"), In(loops)),
                **dict.fromkeys(("following", "advances"), Out(loops)),
                "last": Out(1),
            },
            name=f"nest_step_{loops}",
            parameters=(loops,),
        )

    @property
    def loops(self) -> int:
        return self._loops

    def build(self) -> Module:
        m = Module()
        following = self.following
        for n in range(self._loops):
            soon = Mux(self.ended[n], self.once[n], self.soon[n])
            m.d.comb += [
                following[n].eq(Mux(self.ended[:n].all(), soon, self.ended[n])),
                self.advances[n].eq(following[:n].all() & ~following[n]),
            ]
        m.d.comb += self.last.eq(following.all())
        return m


class AffineNest(Shared):
    """A loop nest of up to ``loops`` loops that gives an address to each of ``operands``.

    What a step does next is decided a step before, from registers: whether it is the last, and
    which loop then advances.

    A nest accepted in cycle t has its steps in cycles t+1 to t+N, for N the product of its
    counts, and the next one can be accepted at t+N.

    Parameters
    ----------
    loops : int
        Loops, at least 1.
    operands : int
        Addresses, at least 1.
    shown : int
        Inner loops of which ``ended`` tells, at least 0.

    Members
    -------
    i : In(stream.Signature(nest_layout(loops, operands)))
        Nests.
    step : Out(1)
        There is a step in this cycle; what follows describes it.
    addresses : Out(16).array(operands)
    changed : Out(operands)
        Whose address differs from that of the step before. All, in the first step of a nest.
    start : Out(1)
        The step is the nest's first.
    last : Out(1)
        The step is the nest's last.
    zero : Out(1)
        All watched loops are in their first iteration.
    ended : Out(shown)
        Which of the inner loops are in their last iteration; where some are shown.
    """

    def __init__(self, *, loops: int, operands: int, shown: int = 0) -> None:
        self._loops, self._operands, self._shown = loops, operands, shown
        super().__init__(
            {
                "i": In(stream.Signature(nest_layout(loops, operands))),
                "step": Out(1),
                "addresses": Out(WORD_BITS).array(operands),
                "changed": Out(operands),
                "start": Out(1),
                "last": Out(1),
                "zero": Out(1),
                **({"ended": Out(shown)} if shown else {}),
            },
            name=f"affine_nest_{loops}x{operands}" + (f"_e{shown}" if shown else ""),
            parameters=(loops, operands, shown),
        )

    @property
    def loops(self) -> int:
        return self._loops

    @property
    def operands(self) -> int:
        return self._operands

    def build(self) -> Module:
        m = Module()
        nest = self.i.payload
        # Iterations to come but for two: below 0 in the last but one.
        left = [self._left(f"left_{i}") for i in range(self._loops)]
        first = [Signal(name=f"first_{i}") for i in range(self._loops)]
        reload = [self._left(f"reload_{i}") for i in range(self._loops)]
        watched = Signal(self._loops, reset_less=True)
        deltas: Any = Signal(nest.deltas.shape(), reset_less=True)
        m.submodules.first_step = first_step = NestStart(loops=self._loops)
        m.submodules.next_step = next_step = NestStep(loops=self._loops)
        ended = Signal(self._loops)
        once = Signal(self._loops)  # whose loops have one iteration
        advance = Signal(self._loops)  # the innermost loop that has not ended
        m.d.comb += [
            next_step.ended.eq(ended),
            next_step.once.eq(once),
            next_step.soon.eq(Cat(word < 0 for word in left)),
            *(given.eq(count) for given, count in zip(first_step.counts, nest.counts, strict=True)),
            self.i.ready.eq(~self.step | self.last),
            self.zero.eq(~Cat(*(watched[i] & ~first[i] for i in range(self._loops))).any()),
        ]
        if self._shown:
            m.d.comb += self.ended.eq(ended)
        with m.If(self.i.ready):
            m.d.sync += [
                self.step.eq(self.i.valid),
                self.last.eq(self.i.valid & first_step.ended),
                ended.eq(first_step.once),
                advance.eq(first_step.advances),
            ]
            with m.If(self.i.valid):
                m.d.sync += [
                    self.start.eq(1),
                    self.changed.eq(-1),
                    watched.eq(nest.watched),
                    deltas.eq(nest.deltas),
                    once.eq(first_step.once),
                ]
                for i in range(self._loops):
                    m.d.sync += [
                        reload[i].eq(nest.counts[i] - 3),
                        left[i].eq(nest.counts[i] - 3),
                        first[i].eq(1),
                    ]
                for operand in range(self._operands):
                    m.d.sync += self.addresses[operand].eq(nest.addresses[operand])
        with m.Else():
            m.d.sync += [
                self.start.eq(0),
                self.last.eq(next_step.last),
                ended.eq(next_step.following),
                advance.eq(next_step.advances),
            ]
            self._advance(m, ended, left, first, reload)
            for operand in range(self._operands):
                moves = [Mux(advance[i], deltas[i][operand], 0) for i in range(self._loops)]
                delta = Signal(WORD_BITS, name=f"delta_{operand}")
                m.d.comb += delta.eq(functools.reduce(operator.or_, moves))
                m.d.sync += [
                    self.addresses[operand].eq(self.addresses[operand] + delta),
                    self.changed[operand].eq(delta != 0),
                ]
        return m

    @staticmethod
    def _left(name: str) -> Signal:
        return Signal(signed(WORD_BITS + 1), name=name, reset_less=True)

    def _advance(
        self,
        m: Module,
        ended: Signal,
        left: list[Signal],
        first: list[Signal],
        reload: list[Signal],
    ) -> None:
        """Advance the innermost loop that has not ended and start those inside it again."""
        for i in range(self._loops):
            inner_ended = ended[:i].all()
            with m.If(inner_ended):
                m.d.sync += [
                    left[i].eq(Mux(ended[i], reload[i], left[i] - 1)),
                    first[i].eq(ended[i]),
                ]
