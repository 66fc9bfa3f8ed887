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


def one_of(picks: list[Value], values: list[Value]) -> Value:
    """Return the value that is picked; at most one is, of none the result is 0."""
    masked = [Mux(pick, value, 0) for pick, value in zip(picks, values, strict=True)]
    return functools.reduce(operator.or_, masked)


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
    """Merges the first ``ways`` elements of two sorted windows of as many. No latency.

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
    a_count, b_count : In(range(ways + 1))
        Elements that each shows.
    a_closed, b_closed : In(1)
        Nothing comes after what the window shows, or it shows ``ways``.
    held : In(1)
        An element of ``a`` with the first key of ``b`` was taken before and waits for it.
    o : Out(word_layout(...))
        The first ``ways`` of both, in order.
    count : Out(range(ways + 1))
        How many of them are safe: the other window shows a key at least as high, or is closed.
    a_taken, b_taken : Out(range(ways + 1))
        How many of those are of ``a``, and of ``b``.
    pairs : Out(ways)
        Bit t: output t has the key of the one before, bit 0 that of the held one.
    holds : Out(1)
        The last of ``ways`` outputs has the key of the next one, which ``b`` shows.

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
                "a_count": In(range(ways + 1)),
                "b_count": In(range(ways + 1)),
                "a_closed": In(1),
                "b_closed": In(1),
                "held": In(1),
                "o": Out(word),
                "count": Out(range(ways + 1)),
                "a_taken": Out(range(ways + 1)),
                "b_taken": Out(range(ways + 1)),
                "pairs": Out(ways),
                "holds": Out(1),
            },
            name=f"merge_array_n{ways}_c{chunk}_k{key_bits}_v{value_bits}",
            parameters=(ways, chunk, key_bits, value_bits),
        )

    def build(self) -> Module:
        m = Module()
        ways, chunk, chunks = self._ways, self._chunk, self._ways // self._chunk
        slot = data.StructLayout({"element": self._element, "meant": 1})
        sides: list[list[Any]] = []
        for side, window, count in (("a", self.a, self.a_count), ("b", self.b, self.b_count)):
            slots: list[Any] = [Signal(slot, name=f"{side}_{i}") for i in range(ways)]
            for i, each in enumerate(slots):
                m.d.comb += [each.element.eq(window[i]), each.meant.eq(count > i)]
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
            takes_b: dict[tuple[int, int], Value] = {}
            for i, j in cells:
                takes_b[i, j] = compared = Signal(name=f"takes_b_{d}_{i}_{j}")
                m.d.comb += compared.eq(smaller(own_b[j], own_a[i]))
            for i, j in cells:
                diagonal = d * chunk + i + j
                if diagonal >= ways:
                    continue
                above: Value = Const(1, 1)  # a_(i-1) is taken before b_j
                beside: Value = Const(1, 1)  # b_(j-1) is taken before a_i
                if i:
                    above = ~takes_b[i - 1, j]
                elif d:
                    above = ~from_left[d] | ~before[chunk - 1, j]
                if j:
                    beside = takes_b[i, j - 1]
                elif d:
                    beside = from_left[d] | before[i, chunk - 1]
                on = Signal(name=f"on_{d}_{i}_{j}")
                m.d.comb += on.eq(above & beside)
                cell = Cell(on=on, takes_b=takes_b[i, j], a=own_a[i], b=own_b[j])
                outputs[diagonal].append(cell)
            before = takes_b
        self._emit(m, outputs)
        return m

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

    def _emit(self, m: Module, outputs: list[list[Cell]]) -> None:
        """Drive the outputs from the cells of each diagonal."""
        ways = self._ways
        from_a, safe, key = [], [], self._element["key"].width
        for t, cells in enumerate(outputs):
            picks = [cell.on & ~cell.takes_b for cell in cells]
            picks += [cell.on & cell.takes_b for cell in cells]
            slots = [cell.a for cell in cells] + [cell.b for cell in cells]
            on = [cell.on for cell in cells]
            shows_a, shows_b, same, is_safe = (
                Signal(name=f"{name}_{t}") for name in ("shows_a", "shows_b", "same", "safe")
            )
            m.d.comb += [
                Value.cast(self.o[t]).eq(one_of(picks, [Value.cast(s.element) for s in slots])),
                shows_a.eq(one_of(on, [cell.a.meant for cell in cells])),
                shows_b.eq(one_of(on, [cell.b.meant for cell in cells])),
                same.eq(self.held if t == 0 else self.o[t].key == self.o[t - 1].key),
                self.pairs[t].eq(is_safe & same),
                is_safe.eq(
                    (shows_a & shows_b)
                    | (shows_a & self.b_closed)
                    | (shows_b & (self.a_closed | same))
                ),
            ]
            from_a.append(Cat(picks[: len(cells)]).any() & is_safe)
            safe.append(is_safe)
        last = outputs[-1]
        waits = [cell.on & ~cell.takes_b & cell.b.meant for cell in last]
        other = Signal(key)
        m.d.comb += [
            other.eq(one_of(waits, [cell.b.element.key for cell in last])),
            self.holds.eq(safe[-1] & Cat(waits).any() & (other == self.o[ways - 1].key)),
            self.count.eq(total(safe)),
            self.a_taken.eq(total(from_a)),
            self.b_taken.eq(self.count - self.a_taken),
        ]
