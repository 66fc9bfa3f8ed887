"""The merge tree: its layers one behind another, and the queue at the root."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from celosia.dataflow.sparch.accelerator import SparchAccelerator
from celosia.rtl.shared import Shared
from celosia.rtl.sparch.fifos import WordQueue
from celosia.rtl.sparch.layer import MergeLayer
from celosia.rtl.sparch.merge import total
from celosia.rtl.sparch.words import element_layout, index_bits, word_layout


class MergeTree(Shared):
    """Merges the streams of its leaves into one.

    :class:`~celosia.rtl.sparch.layer.MergeLayer` has the cycles of each layer; what leaves the
    root waits in a queue of ``node_fifo`` elements.

    Parameters
    ----------
    accelerator : SparchAccelerator

    Members
    -------
    start : In(1)
        Everything is empty and open from the next cycle on.
    put : In(groups)
        For each group of multipliers: ``put_count`` elements of ``put_word`` are put into its leaf
        ``put_leaf``, which has room; leaf k is number k // groups of group k mod groups.
    put_leaf, put_count, put_word : In
        One group's beside another's.
    closed : In(leaves)
        To which leaves nothing more is put, from this cycle on.
    levels : Out(leaves * bits)
        Elements in each leaf, as many bits as 0 to ``leaf_fifo`` need; what was taken in the cycle
        before counts still.
    window : Out(word_layout(...))
        What left the root first.
    shown : Out(ways)
        Which of it are meant: the first ones.
    take : In(ways)
        Which of those are taken: the first ones.
    ended : Out(1)
        All has been taken.
    additions : Out
        Pairs of equal keys that were added in the cycle before.
    moves : Out(1)
        Some node is served in this cycle.
    """

    def __init__(self, accelerator: SparchAccelerator) -> None:
        self._accelerator = accelerator
        tree, ways, elements = accelerator.tree, accelerator.merger.width, accelerator.elements
        groups = accelerator.right.groups
        self._element = element_layout(elements.key_bits, elements.accumulator)
        word = word_layout(self._element, ways)
        super().__init__(
            {
                "start": In(1),
                "put": In(groups),
                "put_leaf": In(groups * index_bits(tree.ways // groups)),
                "put_count": In(groups * ways.bit_length()),
                "put_word": In(data.ArrayLayout(word, groups)),
                "closed": In(tree.ways),
                "levels": Out(tree.ways * tree.leaf_fifo.bit_length()),
                "window": Out(word),
                "shown": Out(ways),
                "take": In(ways),
                "ended": Out(1),
                "additions": Out(range(tree.layers * ways + 1)),
                "moves": Out(1),
            },
            name="merge_tree",
            parameters=(accelerator,),
        )

    def build(self) -> Module:
        m = Module()
        accelerator = self._accelerator
        layers: list[Any] = []
        for number in range(accelerator.tree.layers):
            layer = MergeLayer(accelerator, layer=number)
            m.submodules[f"layer_{number}"] = layer
            layers.append(layer)
        m.submodules.root = root = WordQueue(
            ways=accelerator.merger.width, capacity=accelerator.tree.node_fifo,
            element=self._element,
        )  # fmt: skip
        targets: list[Any] = [root, *layers[:-1]]
        for layer, target in zip(layers, targets, strict=True):
            m.d.comb += [
                layer.start.eq(self.start),
                target.put.eq(layer.o_put),
                target.put_count.eq(layer.o_count),
                Value.cast(target.put_word).eq(Value.cast(layer.o_word)),
            ]
            if target is root:
                m.d.comb += layer.o_levels.eq(root.level)
            else:
                m.d.comb += [
                    layer.o_levels.eq(target.levels),
                    target.put_fifo.eq(layer.o_fifo),
                    target.closed.eq(layer.o_closed),
                ]
        leaves, closed = layers[-1], Signal()
        m.d.comb += [
            leaves.put.eq(self.put),
            leaves.put_fifo.eq(self.put_leaf),
            leaves.put_count.eq(self.put_count),
            leaves.put_word.eq(self.put_word),
            leaves.closed.eq(self.closed),
            self.levels.eq(leaves.levels),
            root.clear.eq(self.start),
            self.window.eq(root.window),
            self.shown.eq(root.there),
            root.take.eq(self.take),
            closed.eq(layers[0].o_closed),
            self.ended.eq(closed & ~root.there[0]),
            self.additions.eq(total([layer.additions for layer in layers])),
            self.moves.eq(Cat(layer.serves for layer in layers).any()),
        ]
        return m
