"""The gate before the leaves of a group: a word a cycle goes in, if its keys are in order."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import memory, stream
from amaranth.lib.wiring import In, Out

from celosia.dataflow.sparch.accelerator import SparchAccelerator
from celosia.rtl.ports import Flow
from celosia.rtl.shared import Shared
from celosia.rtl.sparch.multiply import products_layout
from celosia.rtl.sparch.words import bit_of, index_bits


class LeafGate(Shared):
    """Lets elements of partial matrices and products into a group's leaves, and closes them.

    Of G groups of multipliers, leaf k belongs to group k mod G, of which it is number k // G.
    Elements of partial matrices go first, in the cycle in which they come. Products go in in the
    first other cycle in which their leaf has room for all of them. Nothing goes in whose keys do
    not rise, leave the product, or which is for a leaf that is not open. A fed leaf is closed from
    the cycle after its last products on, or when ``finished``; a source from the cycle on in which
    it is ``drained``; any other always.

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
    finished : In(1)
        No products come any more.
    drained : In(leaves)
        Sources of which nothing comes any more.
    levels : In(leaves * bits)
        Elements in each leaf.
    put : Out(1)
    put_leaf, put_count, put_word : Out
        To the tree.
    closed : Out(leaves)
    products_put : Out(1)
        Products go in in this cycle.
    unsorted, beyond : Out(1)
        Keys do not rise; they lead beyond the product, or the leaf is not open.
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
                "finished": In(1),
                "drained": In(leaves),
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
        level_bits = accelerator.tree.leaf_fifo.bit_length()
        lasts: Any = memory.Memory(shape=key_bits, depth=max(2, leaves), init=[])
        m.submodules.lasts = lasts
        write, read = lasts.write_port(), lasts.read_port(domain="comb")
        some, shut = Signal(leaves), Signal(leaves)  # leaves that hold or held any; closed ones

        given: Any = Signal(products_layout(accelerator))
        offered, fits, opened = Signal(), Signal(), Signal()
        number = Signal(index_bits(leaves))
        level = self.levels.word_select(self.products.p.leaf >> group_bits, level_bits)
        room = level + self.products.p.count
        m.d.comb += [
            given.eq(Mux(self.partial.valid, self.partial.payload, self.products.p)),
            fits.eq(room <= accelerator.tree.leaf_fifo),
            self.products.ready.eq(~self.partial.valid & fits),
            offered.eq(self.partial.valid | (self.products.valid & fits)),
            number.eq(given.leaf >> group_bits),
            opened.eq(~self.closed.bit_select(number, 1)),
        ]
        before = some.bit_select(number, 1)
        wrong_order, outside, last = self._checked(m, given, before, read.data)
        m.d.comb += [
            read.addr.eq(number),
            self.unsorted.eq(offered & wrong_order.any()),
            self.beyond.eq(offered & (outside.any() | ~opened)),
            self.put.eq(offered & ~self.unsorted & ~self.beyond),
            self.put_leaf.eq(number),
            self.put_count.eq(given.count),
            self.put_word.eq(given.word),
            self.products_put.eq(self.put & ~self.partial.valid),
            write.en.eq(self.put),
            write.addr.eq(number),
            write.data.eq(last),
            self.closed.eq(
                Cat(
                    Mux(
                        self.sources[k],
                        self.drained[k],
                        ~self.fed[k] | shut[k],
                    )
                    for k in range(leaves)
                )
            ),
        ]
        leaf = bit_of(number, leaves)
        m.d.sync += [
            some.eq(some | Mux(self.put, leaf, 0)),
            shut.eq(shut | Mux(self.finished, -1, 0) | Mux(self.put & given.closes, leaf, 0)),
        ]
        with m.If(self.begin):
            m.d.sync += [some.eq(0), shut.eq(0)]
        return m

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
