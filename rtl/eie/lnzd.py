"""Leading-nonzero detection: which PE has the next activation that is not zero."""

from __future__ import annotations

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


class NonzeroNode(Shared):
    """One node of the tree: of four candidates the one with the lowest index. No latency.

    Of equal indices the first input's wins, so the winner has the lowest (index, PE) of all:
    activations lie in that order.

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
    winner : Out(2)
        The winner's input.
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
                "winner": Out(2),
            },
            name=f"nonzero_node_i{index_bits}",
            parameters=(index_bits,),
        )

    def build(self) -> Module:
        m = Module()
        pairs = []
        for pair in range(2):
            first, second = 2 * pair, 2 * pair + 1
            one, other = (self.indices.word_select(i, self._index_bits) for i in (first, second))
            takes = Signal(name=f"takes_second_{pair}")
            index = Signal(self._index_bits, name=f"index_{pair}")
            m.d.comb += [
                takes.eq(self.valid[second] & (~self.valid[first] | (other < one))),
                index.eq(Mux(takes, other, one)),
            ]
            pairs.append((self.valid[first] | self.valid[second], index, takes))
        (left, left_index, left_second), (right, right_index, right_second) = pairs
        m.d.comb += [
            self.any.eq(left | right),
            self.winner[1].eq(right & (~left | (right_index < left_index))),
            self.winner[0].eq(Mux(self.winner[1], right_second, left_second)),
            self.index.eq(Mux(self.winner[1], right_index, left_index)),
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
    winner : Out(range(pes))
        The first PE that has it.
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
                "winner": Out(max(1, (pes - 1).bit_length())),
            },
            name=f"nonzero_tree_p{pes}_i{index_bits}",
            parameters=(pes, index_bits),
        )

    def build(self) -> Module:
        m = Module()
        bits = self._index_bits
        level: list[tuple[Any, Any, Any]] = [
            (self.valid[pe], self.indices.word_select(pe, bits), Const(0, 0))
            for pe in range(self._pes)
        ]
        depth = 0
        while len(level) > 1:
            above = []
            for number, start in enumerate(range(0, len(level), RADIX)):
                group = level[start : start + RADIX]
                m.submodules[f"node_{depth}_{number}"] = node = NonzeroNode(index_bits=bits)
                widest = max(len(winner) for _, _, winner in group)
                m.d.comb += [
                    node.valid.eq(Cat(valid for valid, _, _ in group)),
                    node.indices.eq(Cat(index for _, index, _ in group)),
                ]
                winner: Any = node.winner
                if widest:
                    winners = Signal(RADIX * widest, name=f"winners_{depth}_{number}")
                    m.d.comb += winners.eq(Cat(winner for _, _, winner in group))
                    winner = Cat(winners.word_select(node.winner, widest), node.winner)
                above.append((node.any, node.index, winner))
            level = above
            depth += 1
        ((any_, index, winner),) = level
        m.d.comb += [self.any.eq(any_), self.index.eq(index), self.winner.eq(winner)]
        return m
