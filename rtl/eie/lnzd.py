"""Leading-nonzero detection: which PE has the next activation that is not zero."""

from __future__ import annotations

import functools
import itertools
import operator
from collections.abc import Iterable
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib.wiring import In, Out

from celosia.rtl.shared import Shared

RADIX = 4
"""Inputs of a node: the tree of 64 PEs has 16 + 4 + 1 of them."""


def lowest_bit(flags: Value) -> tuple[Value, Value]:
    """Return whether any of ``flags`` (a power of two of them) is 1, and the number of the lowest.

    By halves, so it has as many levels as the number has bits.
    """
    width = len(flags)
    if width == 1:
        return flags, Const(0, 0)
    low, high = flags[: width // 2], flags[width // 2 :]
    low_any, low_index = lowest_bit(low)
    high_any, high_index = lowest_bit(high)
    return low_any | high_any, Cat(Mux(low_any, low_index, high_index), ~low_any)


def one_of(picks: Iterable[Value], values: Iterable[Value]) -> Value:
    """Return the value that is picked; at most one is, of none the result is 0."""
    masked = [Mux(pick, value, 0) for pick, value in zip(picks, values, strict=True)]
    return functools.reduce(operator.or_, masked)


class NonzeroNode(Shared):
    """One node of the tree: of four candidates the one with the lowest index. No latency.

    Of equal indices the first input's wins, so the winner has the lowest (index, PE) of all:
    activations lie in that order. Each is compared with each, all at once.

    Parameters
    ----------
    index_bits : int
        Bits of an index.

    Members
    -------
    valid : In(4)
        Which inputs have a candidate.
    indices : In(4 * index_bits)
        Theirs, the first lowest.
    any : Out(1)
        There is one.
    index : Out(index_bits)
        The winner's index.
    winner : Out(4)
        Which input is the winner; none is where there is no candidate.
    """

    valid: Signal
    indices: Signal
    any: Signal
    index: Signal
    winner: Signal

    def __init__(self, *, index_bits: int) -> None:
        self._index_bits = index_bits
        super().__init__(
            {
                "valid": In(RADIX),
                "indices": In(RADIX * index_bits),
                "any": Out(1),
                "index": Out(index_bits),
                "winner": Out(RADIX),
            },
            name=f"nonzero_node_i{index_bits}",
            parameters=(index_bits,),
        )

    def build(self) -> Module:
        m = Module()
        indices = [self.indices.word_select(i, self._index_bits) for i in range(RADIX)]
        wins = [self.valid[i] for i in range(RADIX)]
        for first, second in itertools.combinations(range(RADIX), 2):
            less = Signal(name=f"less_{second}_{first}")
            m.d.comb += less.eq(indices[second] < indices[first])
            wins[first] &= ~(self.valid[second] & less)
            wins[second] &= ~self.valid[first] | less
        m.d.comb += [
            self.any.eq(self.valid.any()),
            self.winner.eq(Cat(wins)),
            self.index.eq(one_of(wins, indices)),
        ]
        return m


class NonzeroTree(Shared):
    """A quad-tree of nodes over the candidates of some PEs. No latency.

    Parameters
    ----------
    pes : int
        Candidates.
    index_bits : int
        Bits of an index.

    Members
    -------
    valid : In(pes)
    indices : In(pes * index_bits)
    any : Out(1)
    index : Out(index_bits)
        The lowest.
    winner : Out(pes)
        Which is the first PE that has it; none where there is no candidate.
    """

    valid: Signal
    indices: Signal
    any: Signal
    index: Signal
    winner: Signal

    def __init__(self, *, pes: int, index_bits: int) -> None:
        self._pes, self._index_bits = pes, index_bits
        super().__init__(
            {
                "valid": In(pes),
                "indices": In(pes * index_bits),
                "any": Out(1),
                "index": Out(index_bits),
                "winner": Out(pes),
            },
            name=f"nonzero_tree_p{pes}_i{index_bits}",
            parameters=(pes, index_bits),
        )

    def build(self) -> Module:
        m = Module()
        bits = self._index_bits
        level: list[tuple[Any, Any, Any]] = [
            (self.valid[pe], self.indices.word_select(pe, bits), Const(1, 1))
            for pe in range(self._pes)
        ]
        if self._pes == 1:
            level = [(self.valid, self.indices, self.valid)]
        depth = 0
        while len(level) > 1:
            above = []
            for number, start in enumerate(range(0, len(level), RADIX)):
                group = level[start : start + RADIX]
                m.submodules[f"node_{depth}_{number}"] = node = NonzeroNode(index_bits=bits)
                m.d.comb += [
                    node.valid.eq(Cat(valid for valid, _, _ in group)),
                    node.indices.eq(Cat(index for _, index, _ in group)),
                ]
                winner = Cat(
                    won & node.winner[place].replicate(len(won))
                    for place, (_, _, won) in enumerate(group)
                )
                above.append((node.any, node.index, winner))
            level = above
            depth += 1
        ((any_, index, winner),) = level
        m.d.comb += [self.any.eq(any_), self.index.eq(index), self.winner.eq(winner)]
        return m
