"""A layer of the merge tree: one merger that serves the nodes of the layer in turn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from celosia.dataflow.sparch.accelerator import SparchAccelerator
from celosia.rtl.eie.lnzd import lowest_bit
from celosia.rtl.shared import Shared
from celosia.rtl.sparch.fifos import FifoFile
from celosia.rtl.sparch.merge import MergeArray, total
from celosia.rtl.sparch.reduce import Reducer
from celosia.rtl.sparch.words import element_layout, index_bits, word_layout


def fifo_capacity(accelerator: SparchAccelerator, layer: int) -> int:
    """Return how many elements each input of ``layer`` holds; layer 0 has the root."""
    tree = accelerator.tree
    return tree.leaf_fifo if layer == tree.layers - 1 else tree.node_fifo


@dataclass(frozen=True, slots=True, kw_only=True)
class _Side:
    """One input of all nodes.

    ``levels`` by node, ``some``: which hold any; the ``window`` of the node that is served, what it
    has ``shown`` of it, and what it is to ``take``.
    """

    levels: list[Value]
    some: Value
    window: Any
    shown: Value
    take: Signal


class MergeLayer(Shared):
    """The 2**layer nodes of a layer, with the queues at their inputs.

    Input 2 v and 2 v + 1 are the left and the right one of node v. A node is *ready* in a cycle in
    which an element of it is safe (both inputs hold any, or one does and the other has ended, or
    an element waits for its other) and its output has room for a whole word besides the one on its
    way. The first ready node after the one served last is served: served in t, what is taken
    leaves its queues in t, is added in t+1 and lies in the next layer's queue from t+2 on.

    Through each of its ``ports`` a word is put in a cycle: input k belongs to port k mod ports, of
    which it is number k // ports.

    An input has ended when it is closed and holds nothing. A node with both ended and nothing
    that waits closes its output in the cycle after.

    Parameters
    ----------
    accelerator : SparchAccelerator
    layer : int
        Its number, 0 at the root. The last has a port for each group of multipliers, others one.

    Members
    -------
    start : In(1)
        Everything is empty and open from the next cycle on.
    put : In(ports)
        For each port: ``put_count`` elements of ``put_word`` are put into its input ``put_fifo``,
        which has room.
    put_fifo, put_count, put_word : In
        One port's beside another's.
    levels : Out(inputs * bits)
        Elements in each input.
    closed : In(inputs)
        To which inputs nothing more is put, from this cycle on.
    o_levels : In(nodes * bits)
        Elements in what the outputs go to.
    o_put, o_fifo, o_count, o_word : Out
        What is put there.
    o_closed : Out(nodes)
    additions : Out(range(ways + 1))
        Pairs of equal keys that are added in this cycle.
    serves : Out(1)
        A node is served in this cycle.
    """

    def __init__(self, accelerator: SparchAccelerator, *, layer: int) -> None:
        if not 0 <= layer < accelerator.tree.layers:
            raise ValueError(f"layer must be 0 to {accelerator.tree.layers - 1}, not {layer!r}")
        self._accelerator, self._layer = accelerator, layer
        self._nodes, self._ways = 1 << layer, accelerator.merger.width
        self._ports = accelerator.right.groups if layer == accelerator.tree.layers - 1 else 1
        elements = accelerator.elements
        self._element = element_layout(elements.key_bits, elements.accumulator)
        self._capacity = fifo_capacity(accelerator, layer)
        self._fifo_bits = index_bits(2 * self._nodes // self._ports)
        word, counts = word_layout(self._element, self._ways), range(self._ways + 1)
        super().__init__(
            {
                "start": In(1),
                "put": In(self._ports),
                "put_fifo": In(self._ports * self._fifo_bits),
                "put_count": In(self._ports * self._ways.bit_length()),
                "put_word": In(data.ArrayLayout(word, self._ports)),
                "levels": Out(2 * self._nodes * self._capacity.bit_length()),
                "closed": In(2 * self._nodes),
                "o_levels": In(self._nodes * accelerator.tree.node_fifo.bit_length()),
                "o_put": Out(1),
                "o_fifo": Out(index_bits(self._nodes)),
                "o_count": Out(counts),
                "o_word": Out(word),
                "o_closed": Out(self._nodes),
                "additions": Out(counts),
                "serves": Out(1),
            },
            name=f"merge_layer_{layer}",
            parameters=(accelerator, layer),
        )

    def build(self) -> Module:
        m = Module()
        nodes, ways = self._nodes, self._ways
        merger, elements = self._accelerator.merger, self._accelerator.elements
        m.submodules.array = array = MergeArray(
            ways=ways, chunk=merger.chunk, key_bits=elements.key_bits,
            value_bits=elements.accumulator,
        )  # fmt: skip
        node = Signal(index_bits(nodes))
        sides = [self._side(m, side, node) for side in range(2)]
        some = [each.some for each in sides]
        m.d.comb += self.levels.eq(Cat(side.levels[v] for v in range(nodes) for side in sides))
        ended = [
            Cat(self.closed[2 * v + side] for v in range(nodes)) & ~some[side] for side in range(2)
        ]
        waits = Signal(nodes)  # an element waits in the node for its other
        on_its_way, to = Signal(), Signal(index_bits(nodes))
        room = self._room(on_its_way, to)
        ready = Signal(nodes)
        m.d.comb += ready.eq(
            room & (waits | (some[0] & (some[1] | ended[1])) | (some[1] & ended[0]))
        )
        self._choose(m, ready, node)

        held = [Signal(elements.accumulator, name=f"held_{v}") for v in range(nodes)]
        m.d.comb += [
            array.held.eq(waits.bit_select(node, 1)),
            array.a.eq(sides[0].window),
            array.b.eq(sides[1].window),
            array.a_count.eq(sides[0].shown),
            array.b_count.eq(sides[1].shown),
            array.a_closed.eq(self.closed.bit_select(node << 1, 1)),
            array.b_closed.eq(self.closed.bit_select((node << 1) | 1, 1)),
            sides[0].take.eq(Mux(self.serves, array.a_taken, 0)),
            sides[1].take.eq(Mux(self.serves, array.b_taken, 0)),
        ]
        for v in range(nodes):
            with m.If(self.serves & (node == v)):
                m.d.sync += [waits[v].eq(array.holds), held[v].eq(array.o[ways - 1].value)]
        m.d.sync += [self.o_closed.eq(self.o_closed | (ended[0] & ended[1] & ~waits))]
        self._add(m, array, node, Cat(held).word_select(node, elements.accumulator), on_its_way, to)
        with m.If(self.start):
            m.d.sync += [self.o_closed.eq(0), waits.eq(0), on_its_way.eq(0)]
        return m

    def _room(self, on_its_way: Value, to: Value) -> Value:
        """Return whose outputs have room for a word besides the one on its way."""
        most = self._accelerator.tree.node_fifo
        width = most.bit_length()
        coming = [Mux(on_its_way & (to == v), self._ways, 0) for v in range(self._nodes)]
        return Cat(
            self.o_levels.word_select(v, width) + coming[v] <= most - self._ways
            for v in range(self._nodes)
        )

    def _side(self, m: Module, side: int, node: Value) -> _Side:
        """Add the queues of one input of all nodes, in as many files as ports lead to it."""
        files, width = max(1, self._ports // 2), self._capacity.bit_length()
        file_bits, count = files.bit_length() - 1, self._nodes // files
        take = Signal(range(self._ways + 1), name=f"take_{'ab'[side]}")
        made: list[FifoFile] = []
        for number in range(files):
            file = FifoFile(
                fifos=count, ways=self._ways, capacity=self._capacity, element=self._element
            )
            m.submodules[f"side_{'ab'[side]}" + (f"_{number}" if files > 1 else "")] = file
            port = 0 if self._ports == 1 else 2 * number + side
            fifo = self.put_fifo.word_select(port, self._fifo_bits)
            put = self.put[port]
            if self._ports == 1:  # one port for both sides
                put, fifo = put & (fifo[0] == side), fifo[1:]
            mine = node[:file_bits] == number if files > 1 else Const(1, 1)
            m.d.comb += [
                file.clear.eq(self.start),
                file.put.eq(put),
                file.put_fifo.eq(fifo),
                file.put_count.eq(self.put_count.word_select(port, self._ways.bit_length())),
                file.put_word.eq(self.put_word[port]),
                file.show.eq(node >> file_bits),
                file.take.eq(Mux(mine, take, 0)),
            ]
            made.append(file)
        shown: Value = made[0].shown
        window: Any = Signal(word_layout(self._element, self._ways), name=f"window_{'ab'[side]}")
        m.d.comb += window.eq(made[0].window)
        if files > 1:
            chosen = node[:file_bits]
            shown = Cat(file.shown for file in made).word_select(chosen, len(shown))
            words = Cat(Value.cast(file.window) for file in made)
            m.d.comb += Value.cast(window).eq(words.word_select(chosen, len(Value.cast(window))))
        order = [(v % files, v // files) for v in range(self._nodes)]
        return _Side(
            levels=[made[file].levels.word_select(index, width) for file, index in order],
            some=Cat(made[file].some[index] for file, index in order),
            window=window, shown=shown, take=take,
        )  # fmt: skip

    def _choose(self, m: Module, ready: Value, node: Value) -> None:
        """Serve the first ready node after the one served last."""
        after = Signal(self._nodes)  # the nodes after that one
        found_after, first_after = lowest_bit(ready & after)
        found, first = lowest_bit(ready)
        m.d.comb += [
            self.serves.eq(found),
            node.eq(Mux(found_after, first_after, first)),
        ]
        with m.If(self.serves):
            m.d.sync += after.eq(((1 << self._nodes) - 2) << node)

    def _add(
        self, m: Module, array: Any, node: Value, held: Value, on_its_way: Signal, to: Signal
    ) -> None:
        """Add the second stage: additions, zeros, and the way to the next layer."""
        m.submodules.reducer = reducer = Reducer(self._accelerator.elements, ways=self._ways)
        names = ("i", "count", "pairs", "held", "holds")
        given: dict[str, Any] = {
            "i": array.o, "count": array.count, "pairs": array.pairs, "held": held,
            "holds": array.holds,
        }  # fmt: skip
        for name in names:
            port = Value.cast(getattr(reducer, name))
            stage = Signal(len(port), name=f"stage_{name}")
            m.d.sync += stage.eq(Value.cast(given[name]))
            m.d.comb += port.eq(stage)
        m.d.sync += [on_its_way.eq(self.serves), to.eq(node)]
        m.d.comb += [
            self.o_put.eq(on_its_way),
            self.o_fifo.eq(to),
            self.o_count.eq(reducer.o_count),
            self.o_word.eq(reducer.o),
            self.additions.eq(Mux(on_its_way, total(list(reducer.pairs)), 0)),
        ]
