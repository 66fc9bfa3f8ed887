"""The comparator array: the first elements of two sorted windows, in one cycle."""

from __future__ import annotations

import functools
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from celosia.rtl.shared import Shared
from celosia.rtl.sparch.words import check_ways, element_layout, word_layout
from celosia.rtl.tree import one_of


def comparators(ways: int, chunk: int) -> int:
    """Return how many comparators of keys a :class:`MergeArray` has.

    One for each two chunks of which the ends may have to be compared, and of each of the chunk
    pairs that the boundary crosses a square of ``chunk``, of the last one half of that.
    """
    chunks = ways // chunk
    half = chunk * (chunk + 1) // 2
    return chunks * (chunks - 1) // 2 + (chunks - 1) * chunk * chunk + half


def smaller(one: Any, other: Any) -> Value:
    """Return whether slot ``one`` goes before ``other``: what is not meant goes last."""
    goes: Value = one.meant & (~other.meant | (one.element.key < other.element.key))
    return goes


def total(flags: Sequence[Value]) -> Value:
    """Return how many of ``flags`` are set."""
    return functools.reduce(operator.add, flags)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """A cell of the comparator array.

    ``on``: the staircase goes through it; ``takes_b``: the slot of ``b`` goes before that of ``a``.
    """

    on: Value
    takes_b: Value
    a: Any
    b: Any


class MergeArray(Shared):
    """Merges the first ``ways`` elements of two sorted windows of as many, in two cycles.

    Element a_i stands in a cell with each b_j; the boundary between cells with b_j < a_i and the
    others is a staircase, and its cell on diagonal t gives output t: a_i, or b_j where that is
    smaller ("SpArch", HPCA 2020, section II). Of equal keys those of ``a`` come first. Only cells
    on the first ``ways`` diagonals are built.

    With ``chunk`` below ``ways`` it is hierarchical: the ends of chunks are compared first, which
    says through which pairs of chunks the staircase goes, one on each diagonal of pairs. A small
    array for each diagonal compares the elements of its pair.

    Parameters
    ----------
    ways : int
        Elements of a window: 2, 4, 8 or 16.
    chunk : int
        Elements of a chunk, a divisor of ``ways``; ``ways`` itself is the flat array.
    key_bits, value_bits : int
        Bits of an element.

    Members
    -------
    a, b : In(word_layout(...))
        The windows, in order of keys.
    a_there, b_there : In(ways)
        Which elements each shows: the first ones.
    o : Out(word_layout(...))
        The first ``ways`` of both, in order, of those given in the cycle before.

    Raises
    ------
    ValueError
        ``ways`` or ``chunk`` is none of those.
    """

    def __init__(self, *, ways: int, chunk: int, key_bits: int, value_bits: int) -> None:
        check_ways(ways)
        if not 1 <= chunk <= ways or ways % chunk:
            raise ValueError(f"chunk must divide ways ({ways}), not {chunk!r}")
        self._ways, self._chunk = ways, chunk
        self._element = element_layout(key_bits, value_bits)
        word = word_layout(self._element, ways)
        super().__init__(
            {
                "a": In(word),
                "b": In(word),
                "a_there": In(ways),
                "b_there": In(ways),
                "o": Out(word),
            },
            name=f"merge_array_n{ways}_c{chunk}_k{key_bits}_v{value_bits}",
            parameters=(ways, chunk, key_bits, value_bits),
        )

    def build(self) -> Module:
        m = Module()
        ways, chunk, chunks = self._ways, self._chunk, self._ways // self._chunk
        slot = data.StructLayout({"element": self._element, "meant": 1})
        sides: list[list[Any]] = []
        for side, window, there in (("a", self.a, self.a_there), ("b", self.b, self.b_there)):
            slots: list[Any] = [Signal(slot, name=f"{side}_{i}") for i in range(ways)]
            for i, each in enumerate(slots):
                m.d.comb += [each.element.eq(window[i]), each.meant.eq(there[i])]
            sides.append(slots)
        a, b = sides
        through, from_left = self._path(m, a, b)

        outputs: list[list[Cell]] = [[] for _ in range(ways)]
        before: dict[tuple[int, int], Value] = {}
        for d in range(chunks):
            own_a = self._chosen(m, through[d], a, f"a_of_{d}", [*range(d + 1)])
            own_b = self._chosen(m, through[d], b, f"b_of_{d}", [*range(d, -1, -1)])
            most = chunk - 1 if d == chunks - 1 else 2 * chunk - 2
            cells = [(i, j) for i in range(chunk) for j in range(chunk) if i + j <= most]
            # What was found in the cycle before, from here on.
            takes_b: dict[tuple[int, int], Value] = {}
            for i, j in cells:
                takes_b[i, j] = compared = Signal(name=f"takes_b_{d}_{i}_{j}")
                m.d.sync += compared.eq(smaller(own_b[j], own_a[i]))
            left = Signal(name=f"left_of_{d}")
            m.d.sync += left.eq(from_left[d])
            held_a = [self._held(m, each, f"held_a_{d}_{i}") for i, each in enumerate(own_a)]
            held_b = [self._held(m, each, f"held_b_{d}_{i}") for i, each in enumerate(own_b)]
            for i, j in cells:
                diagonal = d * chunk + i + j
                if diagonal >= ways:
                    continue
                above: Value = Const(1, 1)  # a_(i-1) is taken before b_j
                beside: Value = Const(1, 1)  # b_(j-1) is taken before a_i
                if i:
                    above = ~takes_b[i - 1, j]
                elif d:
                    above = ~left | ~before[chunk - 1, j]
                if j:
                    beside = takes_b[i, j - 1]
                elif d:
                    beside = left | before[i, chunk - 1]
                on = Signal(name=f"on_{d}_{i}_{j}")
                m.d.comb += on.eq(above & beside)
                cell = Cell(on=on, takes_b=takes_b[i, j], a=held_a[i], b=held_b[j])
                outputs[diagonal].append(cell)
            before = takes_b
        for t, found in enumerate(outputs):
            picks = [cell.on & ~cell.takes_b for cell in found]
            picks += [cell.on & cell.takes_b for cell in found]
            elements = [cell.a for cell in found] + [cell.b for cell in found]
            m.d.comb += Value.cast(self.o[t]).eq(one_of(picks, elements))
        return m

    def _held(self, m: Module, slot: Any, name: str) -> Value:
        """Return the element of ``slot`` in the cycle after."""
        held = Signal(self._element.size, name=name, reset_less=True)
        m.d.sync += held.eq(Value.cast(slot.element))
        return held

    def _path(self, m: Module, a: list[Any], b: list[Any]) -> tuple[list[Value], list[Value]]:
        """Return, for each diagonal of chunk pairs, of which the staircase goes through.

        Bit p of the first is the pair of a's chunk p; the second says whether it was entered
        with a new chunk of a.
        """
        last, chunks = self._chunk - 1, self._ways // self._chunk
        through: list[Value] = [Const(1, 1)]
        from_left: list[Value] = [Const(0, 1)]
        for d in range(chunks - 1):
            ends_b = Signal(d + 1, name=f"ends_b_{d}")
            for p in range(d + 1):
                one, other = b[(d - p) * self._chunk + last], a[p * self._chunk + last]
                m.d.comb += ends_b[p].eq(smaller(one, other))
            onward = Signal(d + 2, name=f"through_{d + 1}")
            left = Signal(name=f"from_left_{d + 1}")
            m.d.comb += [
                onward.eq((through[d] & ends_b) | ((through[d] & ~ends_b) << 1)),
                left.eq((through[d] & ~ends_b).any()),
            ]
            through.append(onward)
            from_left.append(left)
        return through, from_left

    def _chosen(
        self, m: Module, through: Value, side: list[Any], name: str, order: list[int]
    ) -> list[Any]:
        """Return the slots of the chunk ``order[p]`` of ``side`` where bit p of ``through`` is."""
        if len(order) == 1:
            return side[: self._chunk]
        chosen: list[Any] = []
        for i in range(self._chunk):
            each: Any = Signal(side[0].shape(), name=f"{name}_{i}")
            raw = [Value.cast(side[number * self._chunk + i]) for number in order]
            m.d.comb += Value.cast(each).eq(one_of([*through], raw))
            chosen.append(each)
        return chosen


class TakeArray(Shared):
    """Says how many of the first ``ways`` elements of two sorted windows are safe. No latency.

    An element is safe if the other input has shown a key at least as high, or is closed and shows
    all that it holds. Of ``a`` element i is among the first if element ``ways`` - 1 - i of ``b`` is
    not before it, and the other way round, so that one comparison says it of both; where that one
    is not there, the last key that came to the other input is compared.

    Parameters
    ----------
    ways : int
        Elements of a window: 2, 4, 8 or 16.
    key_bits : int
        Bits of a key.

    Members
    -------
    a, b : In(ways * key_bits)
        Keys of the windows, rising.
    a_there, b_there : In(ways)
        Which of them are: the first ones.
    a_last, b_last : In(key_bits)
        The last key that came.
    a_known, b_known : In(1)
        There was one.
    a_closed, b_closed : In(1)
        Nothing more comes.
    a_taken, b_taken : Out(ways)
        Which elements are safe, and among the first ``ways``: the first ones.
    holds : Out(1)
        The last of ``ways`` has the key of the next one, which ``b`` shows.
    """

    def __init__(self, *, ways: int, key_bits: int) -> None:
        check_ways(ways)
        self._ways, self._key_bits = ways, key_bits
        ports: dict[str, Any] = {}
        for side in "ab":
            ports |= {
                side: In(ways * key_bits),
                f"{side}_there": In(ways),
                f"{side}_last": In(key_bits),
                f"{side}_known": In(1),
                f"{side}_closed": In(1),
                f"{side}_taken": Out(ways),
            }
        super().__init__(
            ports | {"holds": Out(1)},
            name=f"take_array_n{ways}_k{key_bits}",
            parameters=(ways, key_bits),
        )

    def build(self) -> Module:
        m = Module()
        ways, bits = self._ways, self._key_bits
        a = [self.a.word_select(i, bits) for i in range(ways)]
        b = [self.b.word_select(i, bits) for i in range(ways)]
        waits = []
        for i in range(ways):
            j = ways - 1 - i
            first, passed, passed_b = (Signal(name=f"{n}_{i}") for n in ("b_first", "ap", "bp"))
            m.d.comb += [
                first.eq(b[j] < a[i]),
                passed.eq((a[i] <= self.b_last) & self.b_known),
                passed_b.eq((b[j] <= self.a_last) & self.a_known),
                self.a_taken[i].eq(
                    self.a_there[i] & Mux(self.b_there[j], ~first, self.b_closed | passed)
                ),
                self.b_taken[j].eq(
                    self.b_there[j] & Mux(self.a_there[i], first, self.a_closed | passed_b)
                ),
            ]
            waits.append(self.a_there[i] & self.b_there[j] & (a[i] == b[j]))
        m.d.comb += self.holds.eq(Cat(waits).any())
        return m
