"""The node of a layer of the merge tree that is served next."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib.wiring import In, Out

from celosia.rtl.shared import Shared
from celosia.rtl.sparch.words import bit_of, index_bits
from celosia.rtl.tree import lowest_bit


class NodeChoice(Shared):
    """Chooses the first ready node after the one chosen last. No latency.

    A node is ready if there is room at its output and an element is safe: both inputs hold any, or
    one does and the other has ended, or an element waits and the right one holds any. A component
    of its own, so that no more steps lie between than must.

    Parameters
    ----------
    nodes : int

    Members
    -------
    wide, tight : In(nodes)
        There is room for a word, and for what may be under way where any is; only for a word.
    under : In(nodes)
        A word may be under way that ``tight`` does not know of.
    waits : In(nodes)
        An element waits for its other.
    some_a, some_b, closed_a, closed_b : In(nodes)
        Of the left and right inputs: which hold any, and to which nothing more comes.
    after : In(nodes)
        The nodes after the one chosen last.
    found : Out(1)
        Any is ready.
    bits : Out(nodes)
        Which it is, if any: one bit.
    chosen : Out(range(nodes))
    following : Out(nodes)
        The nodes after that.
    """

    wide: Signal
    tight: Signal
    under: Signal
    waits: Signal
    some_a: Signal
    some_b: Signal
    closed_a: Signal
    closed_b: Signal
    after: Signal
    found: Signal
    bits: Signal
    chosen: Signal
    following: Signal

    def __init__(self, nodes: int) -> None:
        self._nodes = nodes
        given = ("wide", "tight", "under", "waits", "some_a", "some_b", "closed_a", "closed_b")
        super().__init__(
            {name: In(nodes) for name in (*given, "after")}
            | {
                "found": Out(1),
                "bits": Out(nodes),
                "chosen": Out(index_bits(nodes)),
                "following": Out(nodes),
            },
            name=f"node_choice_{nodes}",
            parameters=(nodes,),
        )

    def build(self) -> Module:
        m = Module()
        some_a, some_b = self.some_a, self.some_b
        safe = (self.waits & some_b) | (some_a & (some_b | self.closed_b))
        ready = Signal(self._nodes)
        m.d.comb += ready.eq(
            (self.wide | (self.tight & ~self.under)) & (safe | (some_b & self.closed_a))
        )
        found_after, first_after = lowest_bit(ready & self.after)
        found, first = lowest_bit(ready)
        m.d.comb += [
            self.found.eq(found),
            self.chosen.eq(Mux(found_after, first_after, first)),
            self.bits.eq(Mux(found, bit_of(self.chosen, self._nodes), 0)),
            self.following.eq(((1 << self._nodes) - 2) << self.chosen),
        ]
        return m
