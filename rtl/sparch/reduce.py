"""What comes behind the comparators: pairs of equal keys are added, zeros are dropped."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib.wiring import In, Out

from celosia.dataflow.sparch.accelerator import Elements
from celosia.rtl.shared import Shared
from celosia.rtl.sparch.values import Adder, is_zero
from celosia.rtl.sparch.words import check_ways, element_layout, word_layout


def compacted(m: Module, word: Value, keep: Value, ways: int, name: str) -> tuple[Value, Value]:
    """Return ``word`` with the elements of ``keep`` moved to its front, and their number.

    A level of multiplexers for each bit of the number of elements dropped before one: an element
    that has to move by d moves by the powers of two in d, the smallest first, and never into one
    that stays.
    """
    width = len(word) // ways
    bits = ways.bit_length()
    elements = [word.word_select(i, width) for i in range(ways)]
    gaps: list[Value] = []
    dropped: Value = Cat(0)
    for i in range(ways):
        before = Signal(bits, name=f"{name}_gap_{i}")
        m.d.comb += before.eq(dropped)
        # What is dropped itself moves nowhere: it must not cover another.
        gaps.append(Mux(keep[i], before, 0))
        dropped = before + ~keep[i]
    count = Signal(bits, name=f"{name}_count")
    m.d.comb += count.eq(ways - dropped)
    there: list[Value] = [keep[i] for i in range(ways)]
    for stage in range(bits - 1):
        step = 1 << stage
        moved: list[Value] = []
        onward: list[Value] = []
        taken: list[Value] = []
        for i in range(ways):
            come = there[i + step] & gaps[i + step][stage] if i + step < ways else None
            if come is None:
                element, gap, meant = elements[i], gaps[i], there[i] & ~gaps[i][stage]
            else:
                element = Mux(come, elements[i + step], elements[i])
                gap = Mux(come, gaps[i + step], gaps[i])
                meant = come | (there[i] & ~gaps[i][stage])
            held = Signal(width, name=f"{name}_{stage}_{i}")
            left = Signal(bits, name=f"{name}_left_{stage}_{i}")
            is_there = Signal(name=f"{name}_there_{stage}_{i}")
            m.d.comb += [held.eq(element), left.eq(gap), is_there.eq(meant)]
            moved.append(held)
            onward.append(left)
            taken.append(is_there)
        elements, gaps, there = moved, onward, taken
    return Cat(elements), count


class Reducer(Shared):
    """Adds neighbours with equal keys, drops what is dropped or 0, and closes the gaps.

    ``o`` holds what is left at its front, three cycles after it was given: one for sums, one to
    find zeros, one to close the gaps.

    Parameters
    ----------
    elements : Elements
        Of the engine.
    ways : int
        Elements of a word: 2, 4, 8 or 16.

    Members
    -------
    i : In(word_layout(...))
        The word; meant are the first ``count``.
    count : In(range(ways + 1))
    pairs : In(ways)
        Bit t: element t is the second of two to be added, of which the first is the one before,
        or for element 0 ``held``.
    held : In(value bits)
    holds : In(1)
        The last of ``ways`` elements waits for the next word: it is left out.
    o : Out(word_layout(...))
    o_count : Out(range(ways + 1))
        How many of it are meant.
    """

    def __init__(self, elements: Elements, *, ways: int) -> None:
        check_ways(ways)
        self._elements, self._ways = elements, ways
        self._element = element_layout(elements.key_bits, elements.accumulator)
        word = word_layout(self._element, ways)
        super().__init__(
            {
                "i": In(word),
                "count": In(range(ways + 1)),
                "pairs": In(ways),
                "held": In(elements.accumulator),
                "holds": In(1),
                "o": Out(word),
                "o_count": Out(range(ways + 1)),
            },
            name=f"reducer_n{ways}",
            parameters=(elements, ways),
        )

    def build(self) -> Module:
        m = Module()
        ways, kind = self._ways, self._elements.kind
        sums: Any = Signal(word_layout(self._element, ways), reset_less=True)
        word: Any = Signal(word_layout(self._element, ways), reset_less=True)
        meant, keep = Signal(ways), Signal(ways)
        for t in range(ways):
            m.submodules[f"adder_{t}"] = adder = Adder(self._elements)
            before = self.held if t == 0 else self.i[t - 1].value
            value = self.i[t].value
            if kind.floating:
                m.d.comb += adder.a.eq(before)
                result = Mux(self.pairs[t], adder.o, value)
            else:  # 0 is added where there is no pair
                m.d.comb += adder.a.eq(Mux(self.pairs[t], before, 0))
                result = adder.o
            m.d.comb += adder.b.eq(value)
            m.d.sync += [
                sums[t].key.eq(self.i[t].key),
                sums[t].value.eq(result),
                meant[t].eq(
                    (self.count > t) & ~(self.pairs[t + 1] if t + 1 < ways else self.holds)
                ),
                keep[t].eq(meant[t] & ~is_zero(kind, sums[t].value)),
            ]
        m.d.sync += word.eq(sums)
        front, count = compacted(m, word.as_value(), keep, ways, "front")
        m.d.sync += [Value.cast(self.o).eq(front), self.o_count.eq(count)]
        return m
