"""The gate before the leaves of a group: a word a cycle goes in, if its keys are in order."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import data, memory, stream
from amaranth.lib.wiring import In, Out

from celosia.dataflow.sparch.accelerator import SparchAccelerator
from celosia.rtl.ports import Flow
from celosia.rtl.shared import Shared
from celosia.rtl.sparch.multiply import products_layout
from celosia.rtl.sparch.words import bit_of, index_bits


class LeafGate(Shared):
    """Lets elements of partial matrices and products into a group's leaves, and closes them.

    Of G groups of multipliers, leaf k belongs to group k mod G, of which it is number k // G.
    Elements of partial matrices go first, in the cycle in which they come. Products are taken in
    the first other cycle in which their leaf has room for a whole word, as it stood in the cycle
    before, besides all that was under way to it then, each counted as a word, and for another if
    anything was taken in the cycle before. What is taken in t is
    checked in t+1 and goes in in t+2. Nothing goes in whose keys do not rise, leave the product, or
    which is for a leaf that is not open. A fed leaf is closed from the cycle after its last
    products went in, or when ``finished``; a source when it is ``drained``; any other always.

    Parameters
    ----------
    accelerator : SparchAccelerator

    Members
    -------
    All of ``leaves`` are those of the group, and so are elements.

    begin : In(1)
        A round begins: nothing comes in this cycle.
    fed, sources : In(leaves)
        Of the round, which do not change in it.
    rows, columns : In(32)
        Of the product.
    partial : In(Flow(products_layout(accelerator)))
        Has room.
    products : In(stream.Signature(products_layout(accelerator)))
    rests : Out(1)
        Nothing is under way.
    finished : In(1)
        No products come any more.
    drains : In(leaves)
        Sources of which nothing comes any more from the next cycle on.
    levels : In(leaves * bits)
        Elements in each leaf, as the tree tells them.
    put : Out(1)
    put_leaf, put_count, put_word : Out
        To the tree.
    closed : Out(leaves)
    products_put : Out(1)
        Products go in in this cycle.
    unsorted, beyond : Out(1)
        Of what was checked in the cycle before keys do not rise; they lead beyond the product, or
        the leaf is not open.
    """

    def __init__(self, accelerator: SparchAccelerator) -> None:
        self._accelerator = accelerator
        self._leaves = leaves = accelerator.tree.ways // accelerator.right.groups
        given = products_layout(accelerator)
        super().__init__(
            {
                "begin": In(1),
                "fed": In(leaves),
                "sources": In(leaves),
                "rows": In(32),
                "columns": In(32),
                "partial": In(Flow(given)),
                "products": In(stream.Signature(given)),
                "rests": Out(1),
                "finished": In(1),
                "drains": In(leaves),
                "levels": In(leaves * accelerator.tree.leaf_fifo.bit_length()),
                "put": Out(1),
                "put_leaf": Out(index_bits(leaves)),
                "put_count": Out(given["count"].shape),
                "put_word": Out(given["word"].shape),
                "closed": Out(leaves),
                "products_put": Out(1),
                "unsorted": Out(1),
                "beyond": Out(1),
            },
            name="leaf_gate",
            parameters=(accelerator,),
        )

    def build(self) -> Module:
        m = Module()
        accelerator = self._accelerator
        leaves, key_bits = self._leaves, accelerator.elements.key_bits
        group_bits = accelerator.right.groups.bit_length() - 1
        lasts: Any = memory.Memory(shape=key_bits, depth=max(2, leaves), init=[])
        m.submodules.lasts = lasts
        write, read = lasts.write_port(), lasts.read_port(domain="comb")
        layout = data.StructLayout({"given": products_layout(accelerator), "partial": 1})
        chosen: Any = Signal(layout)  # is taken in this cycle
        checked: Any = Signal(layout)  # was taken in the cycle before, and in that before it
        ready: Any = Signal(layout)
        taken, is_checked, is_ready, bad = Signal(), Signal(), Signal(), Signal()
        under: list[tuple[Value, Value]] = [
            (is_checked, checked.given.leaf),
            (is_ready, ready.given.leaf),
        ]
        m.d.comb += [
            chosen.partial.eq(self.partial.valid),
            chosen.given.eq(Mux(self.partial.valid, self.partial.payload, self.products.p)),
            self.products.ready.eq(~self.partial.valid & self._fits(m, under)),
            taken.eq(self.partial.valid | (self.products.valid & self.products.ready)),
            self.rests.eq(~is_checked & ~is_ready),
        ]
        m.d.sync += [
            checked.eq(chosen),
            is_checked.eq(taken),
            ready.eq(checked),
            is_ready.eq(is_checked),
        ]

        some, over, shut, shuts = (
            Signal(leaves, name=name) for name in ("some", "over", "shut", "shuts")
        )
        number = Signal(index_bits(leaves))
        m.d.comb += number.eq(checked.given.leaf >> group_bits)
        opened = checked.partial | (self.fed & ~over).bit_select(number, 1)
        before = some.bit_select(number, 1)
        wrong_order, outside, last = self._checked(m, checked.given, before, read.data)
        m.d.comb += [
            read.addr.eq(number),
            write.en.eq(is_checked),
            write.addr.eq(number),
            write.data.eq(last),
            bad.eq(self.unsorted | self.beyond),
            self.put.eq(is_ready & ~bad),
            self.put_leaf.eq(ready.given.leaf >> group_bits),
            self.put_count.eq(ready.given.count),
            self.put_word.eq(ready.given.word),
            self.products_put.eq(self.put & ~ready.partial),
            shuts.eq(Mux(self.begin, 0, shut | over | Mux(self.finished, -1, 0))),
        ]
        leaf = bit_of(number, leaves)
        m.d.sync += [
            self.unsorted.eq(is_checked & wrong_order.any()),
            self.beyond.eq(is_checked & (outside.any() | ~opened)),
            # ``over``: no more may be taken; ``shut``: all of it is in.
            some.eq(some | Mux(is_checked, leaf, 0)),
            over.eq(over | Mux(is_checked & checked.given.closes, leaf, 0)),
            shut.eq(shuts),
            self.closed.eq((self.sources & self.drains) | ~(self.sources | (self.fed & ~shuts))),
        ]
        with m.If(self.begin):
            m.d.sync += [some.eq(0), over.eq(0)]
        return m

    def _fits(self, m: Module, under: list[tuple[Value, Value]]) -> Value:
        """Return whether the products have room.

        ``under`` way are words, the one taken last first: whether there is one, and for which leaf.
        """
        accelerator = self._accelerator
        most, capacity = accelerator.right.multipliers, accelerator.tree.leaf_fifo
        group_bits = accelerator.right.groups.bit_length() - 1
        level_bits = capacity.bit_length()
        # Of each leaf: there was room for one word, for two.
        one, two = Signal(self._leaves), Signal(self._leaves)
        for leaf in range(self._leaves):
            level = self.levels.word_select(leaf, level_bits)
            left = [capacity - words * most for words in range(1, 5)]
            room = [level <= each if each >= 0 else Const(0, 1) for each in left]
            coming = [there & (to >> group_bits == leaf) for there, to in under]
            some, both = coming[0] | coming[1], coming[0] & coming[1]
            m.d.sync += [
                one[leaf].eq(Mux(both, room[2], Mux(some, room[1], room[0]))),
                two[leaf].eq(Mux(both, room[3], Mux(some, room[2], room[1]))),
            ]
        number = self.products.p.leaf >> group_bits
        fits: Value = Mux(under[0][0], two.bit_select(number, 1), one.bit_select(number, 1))
        return fits

    def _checked(
        self, m: Module, given: Any, some: Value, before: Value
    ) -> tuple[Value, Value, Value]:
        """Return which elements do not rise, which lie outside the product, and the last key.

        ``before`` is the last key of the leaf, if it has had ``some``.
        """
        ways, index = self._accelerator.merger.width, self._accelerator.elements.index_bits
        wrong_order, outside = Signal(ways), Signal(ways)
        last = Signal(2 * index)
        for i in range(ways):
            key, meant = given.word[i].key, given.count > i
            if i:
                falls = key <= given.word[i - 1].key
            else:
                falls = some & (key <= before)
            m.d.comb += [
                wrong_order[i].eq(meant & falls),
                outside[i].eq(meant & ((key[:index] >= self.columns) | (key[index:] >= self.rows))),
            ]
            with m.If(given.count == i + 1):
                m.d.comb += last.eq(key)
        return wrong_order, outside, last
