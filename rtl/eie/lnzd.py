"""Leading-nonzero detection: which PE has the next activation that is not zero."""

from __future__ import annotations

import itertools

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib.wiring import In, Out

from celosia.dataflow.eie.accelerator import TREE_RADIX
from celosia.rtl.shared import Shared
from celosia.rtl.tree import lowest_bit, one_of

RADIX, RADIX_BITS = TREE_RADIX, 2
"""Inputs of a node, and bits of their numbers: the tree of 64 PEs has 16 + 4 + 1 nodes."""


def others(flags: Value) -> Value:
    """Return ``flags`` without the lowest that is 1: those that have one below."""
    width = len(flags)
    if width <= 4:
        return Cat(flag & flags[:n].any() for n, flag in enumerate(flags))
    quarter = width // 4
    parts = [flags[n * quarter : (n + 1) * quarter] for n in range(4)]
    some = Cat(part.any() for part in parts)
    return Cat(Mux(some[:n].any(), part, others(part)) for n, part in enumerate(parts))


def less(first: Value, second: Value) -> Value:
    """Return whether ``first`` is less than ``second``, three bits of each at a time."""
    if len(first) <= 3:
        return first < second
    high = first[3:] == second[3:]
    return less(first[3:], second[3:]) | (high & (first[:3] < second[:3]))


class LowestBit(Shared):
    """Says which of some flags is the lowest that is 1, and what is left without it. No latency.

    A module of its own, so that it is not put together with what decides whether it matters.

    Parameters
    ----------
    width : int
        Flags, a power of two.

    Members
    -------
    i : In(width)
    any : Out(1)
    index : Out
    rest : Out(width)
        All but that.
    """

    i: Signal
    any: Signal
    index: Signal
    rest: Signal

    def __init__(self, width: int) -> None:
        super().__init__(
            {
                "i": In(width),
                "any": Out(1),
                "index": Out((width - 1).bit_length()),
                "rest": Out(width),
            },
            name=f"lowest_bit_{width}",
            parameters=(width,),
        )

    def build(self) -> Module:
        m = Module()
        found, index = lowest_bit(self.i)
        m.d.comb += [
            self.any.eq(found),
            self.index.eq(index),
            self.rest.eq(others(self.i)),
        ]
        return m


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
    enable : In(1)
        There may be a winner.
    any : Out(1)
        There is a candidate.
    winner : Out(4)
        Which input is the winner, if any.
    """

    valid: Signal
    enable: Signal
    indices: Signal
    any: Signal
    winner: Signal

    def __init__(self, *, index_bits: int) -> None:
        self._index_bits = index_bits
        super().__init__(
            {
                "valid": In(RADIX),
                "indices": In(RADIX * index_bits),
                "enable": In(1),
                "any": Out(1),
                "winner": Out(RADIX),
            },
            name=f"nonzero_node_i{index_bits}",
            parameters=(index_bits,),
        )

    def build(self) -> Module:
        m = Module()
        indices = [self.indices.word_select(i, self._index_bits) for i in range(RADIX)]
        wins = [self.valid[i] & self.enable for i in range(RADIX)]
        for first, second in itertools.combinations(range(RADIX), 2):
            before = less(indices[second], indices[first])
            wins[first] &= ~(self.valid[second] & before)
            wins[second] &= ~self.valid[first] | before
        m.d.comb += [
            self.any.eq(self.valid.any()),
            self.winner.eq(Cat(wins)),
        ]
        return m


class NonzeroBuffer(Shared):
    """Takes the first nonzeros of four children ahead of time, and offers them like one of them.

    What a child offers in cycle t, with an index lower than that of any other, is offered from t+1
    on; two of them wait here. One may be taken each cycle, and is taken from a child without regard
    to that, so that no chain runs through a tree of these. As all children of a window begin to
    offer in the same cycle, and always offer what they have, all comes in order.

    Parameters
    ----------
    index_bits : int
        Bits of an index.
    owner_bits : int
        Bits of the number of an owner among a child's, 0 where it is one.
    value_bits : int
        Bits of a value.

    Members
    -------
    found : In(4)
        Which children offer a nonzero.
    indices : In(4 * index_bits)
        Theirs, the first lowest.
    owners : In(4 * owner_bits)
        Whose they are, of each child; only where that has several.
    take : Out(4)
        Which child's is taken.
    values : In(4 * value_bits)
        Of each child what was taken last, from the cycle after.
    o_found : Out(1)
    o_index : Out(index_bits)
    o_owner : Out(owner_bits + 2)
    o_take : In(1)
    o_value : Out(value_bits)
        The same, of all; the owner's highest bits are the child's number.
    """

    found: Signal
    indices: Signal
    owners: Signal
    take: Signal
    values: Signal
    o_found: Signal
    o_index: Signal
    o_owner: Signal
    o_take: Signal
    o_value: Signal

    def __init__(self, *, index_bits: int, owner_bits: int, value_bits: int) -> None:
        self._index_bits, self._owner_bits = index_bits, owner_bits
        self._value_bits = value_bits
        super().__init__(
            ({"owners": In(RADIX * owner_bits)} if owner_bits else {})
            | {
                "found": In(RADIX),
                "indices": In(RADIX * index_bits),
                "take": Out(RADIX),
                "values": In(RADIX * value_bits),
                "o_found": Out(1),
                "o_index": Out(index_bits),
                "o_owner": Out(owner_bits + RADIX_BITS),
                "o_take": In(1),
                "o_value": Out(value_bits),
            },
            name=f"nonzero_buffer_i{index_bits}_o{owner_bits}_v{value_bits}",
            parameters=(index_bits, owner_bits, value_bits),
        )

    def build(self) -> Module:
        m = Module()
        m.submodules.node = node = NonzeroNode(index_bits=self._index_bits)
        room = Signal(init=1)  # no other waits behind the one that is offered
        index, owner = Signal.like(self.o_index), Signal.like(self.o_owner)  # the other's
        # What was taken from a child in the cycle before comes now, as the last one's value.
        fresh, chosen = Signal(), Signal(RADIX)
        come, first, other, held, waits = (
            Signal(self._value_bits, name=name)
            for name in ("come", "first", "other", "held", "waits")
        )
        pull, leaves = Signal(), Signal()
        below = self._owner_bits
        owners: list[Value] = [Const(n, RADIX_BITS) for n in range(RADIX)]
        if below:
            owners = [Cat(self.owners.word_select(n, below), owners[n]) for n in range(RADIX)]
        pulled = one_of(node.winner, owners)
        lowest = one_of(
            node.winner, [self.indices.word_select(n, self._index_bits) for n in range(RADIX)]
        )
        m.d.comb += [
            node.valid.eq(self.found),
            node.indices.eq(self.indices),
            node.enable.eq(room),
            pull.eq(node.any & room),
            self.take.eq(node.winner),
            leaves.eq(self.o_take | ~self.o_found),
            come.eq(
                one_of(chosen, [self.values.word_select(n, self._value_bits) for n in range(RADIX)])
            ),
            first.eq(Mux(fresh & room, come, held)),
            other.eq(Mux(fresh, come, waits)),
        ]
        m.d.sync += [
            fresh.eq(pull),
            chosen.eq(node.winner),
            room.eq((room & ~node.any) | ~self.o_found | self.o_take),
            self.o_found.eq(node.any | ~room | (self.o_found & ~self.o_take)),
            held.eq(Mux(self.o_take, other, first)),
            waits.eq(other),
        ]
        with m.If(leaves):
            m.d.sync += [
                self.o_index.eq(Mux(room, lowest, index)),
                self.o_owner.eq(Mux(room, pulled, owner)),
            ]
        with m.If(room):
            m.d.sync += [index.eq(lowest), owner.eq(pulled)]
        with m.If(self.o_take):
            m.d.sync += self.o_value.eq(first)
        return m
