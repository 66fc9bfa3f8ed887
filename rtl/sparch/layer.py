"""A layer of the merge tree: one merger that serves the nodes of the layer in turn."""

from __future__ import annotations

from typing import Any, Final

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from celosia.dataflow.sparch.accelerator import SparchAccelerator
from celosia.rtl.shared import Shared
from celosia.rtl.sparch.choice import NodeChoice
from celosia.rtl.sparch.merge import MergeArray, TakeArray, total
from celosia.rtl.sparch.reduce import Reducer
from celosia.rtl.sparch.side import Put, Side, Steps
from celosia.rtl.sparch.words import element_layout, index_bits, word_layout


def fifo_capacity(accelerator: SparchAccelerator, layer: int) -> int:
    """Return how many elements each input of ``layer`` holds; layer 0 has the root."""
    tree = accelerator.tree
    return tree.leaf_fifo if layer == tree.layers - 1 else tree.node_fifo


PUT_LATENCY: Final = 6
"""Cycles from that in which a node is served to that in which its word is put."""


class MergeLayer(Shared):
    """The 2**layer nodes of a layer, with the queues at their inputs.

    Input 2 v and 2 v + 1 are the left and the right one of node v. A node is *ready* in a cycle in
    which an element of it is safe as far as the queues' levels say (both inputs hold any, or one
    does and the other has ended, or an element waits for its other and the right one holds any),
    and its output had room for a whole word besides those on their way there, or for three where it
    was chosen in the last two cycles: as it stood in the cycle before. The first ready node after
    the one chosen last is chosen. The ends of its queues are looked up in the next cycle, its
    windows read in the one after that, and it is served in the third; what it then takes, which may
    be nothing where it is chosen again before, leaves its queues. Pairs are found two cycles later,
    sums made in the next, zeros dropped and gaps closed in the two after: served in t, a word is
    put in t+6.

    Through each of its ``ports`` a word is put in a cycle: input k belongs to port k mod ports, of
    which it is number k // ports.

    Levels are those of :class:`~celosia.rtl.sparch.fifos.FifoFile`: what was taken in the cycle
    before counts still. An input has ended when it is closed and holds nothing. A node with both
    ended, nothing that waits and no word on its way closes its output in the cycle after.

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
        Pairs of equal keys that were added in the cycle before.
    serves : Out(1)
        A node is served in this cycle, or tried to.
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
        nodes = self._nodes
        looks, reads, serves = (Signal(name=name) for name in ("looks", "reads", "serves"))
        of, source, node = (
            Signal(index_bits(nodes), name=name) for name in ("of", "source", "node")
        )
        looks_again, reads_again = Signal(), Signal()
        m.d.sync += [reads.eq(looks), source.eq(of), serves.eq(reads), node.eq(source)]
        m.d.comb += [
            looks_again.eq(serves & (node == of)),
            reads_again.eq(serves & (node == source)),
        ]
        steps = Steps(
            looks=looks, of=of, reads=reads, source=source, serves=serves, node=node,
            looks_again=looks_again, reads_again=reads_again,
        )  # fmt: skip
        sides = [self._side(m, side, steps) for side in range(2)]
        some = [each.some for each in sides]
        m.d.comb += self.levels.eq(Cat(side.levels[v] for v in range(nodes) for side in sides))
        closed = [Cat(self.closed[2 * v + side] for v in range(nodes)) for side in range(2)]
        ended = [closed[side] & ~some[side] for side in range(2)]
        waits = Signal(nodes)  # an element waits in the node for its other
        looked = Signal(nodes)  # the node that is looked up
        on_its_way, to = Signal(PUT_LATENCY), [node]  # words, and where to
        for step in range(PUT_LATENCY):
            to.append(Signal(len(node), name=f"to_{step}"))
            m.d.sync += to[-1].eq(to[-2])
        m.submodules.choice = choice = NodeChoice(nodes)
        after = Signal(nodes)  # the nodes after the one chosen last
        empty = self._room(m, choice, looked, on_its_way[-1], to[-1])
        m.d.comb += [
            choice.waits.eq(waits),
            choice.after.eq(after),
        ]
        for side in range(2):
            m.d.comb += [
                getattr(choice, f"some_{'ab'[side]}").eq(some[side]),
                getattr(choice, f"closed_{'ab'[side]}").eq(closed[side]),
            ]
        m.d.sync += [
            looks.eq(choice.found),
            looked.eq(choice.bits),
            on_its_way.eq(Cat(serves, on_its_way[:-1])),
            self.o_closed.eq(self.o_closed | (ended[0] & ended[1] & ~waits & empty & ~looked)),
        ]
        with m.If(choice.found):
            m.d.sync += [of.eq(choice.chosen), after.eq(choice.following)]
        word, count, holds = self._merge(m, sides)
        self._add(m, word, count, holds, waits, to)
        m.d.comb += [
            self.serves.eq(serves),
            self.o_put.eq(on_its_way[-1]),
            self.o_fifo.eq(to[-1]),
        ]
        with m.If(self.start):
            m.d.sync += [self.o_closed.eq(0), waits.eq(0), on_its_way.eq(0)]
            m.d.sync += [looks.eq(0), looked.eq(0)]
        return m

    def _room(self, m: Module, choice: NodeChoice, looked: Value, puts: Value, to: Value) -> Value:
        """Say whose outputs have room for a word; return to which none is on its way."""
        most, ways = self._accelerator.tree.node_fifo, self._ways
        width = most.bit_length()
        tight, wide, empty = Signal(self._nodes), Signal(self._nodes), []
        for v in range(self._nodes):
            words = Signal(range(PUT_LATENCY + 4), name=f"words_{v}")  # on their way
            m.d.sync += words.eq(words + looked[v] - (puts & (to == v)))
            with m.If(self.start):
                m.d.sync += words.eq(0)
            held = self.o_levels.word_select(v, width) + words * ways
            m.d.sync += [
                # Not where it was looked up in the cycle before.
                tight[v].eq((held <= most - ways) & ~looked[v]),
                wide[v].eq(held <= most - 3 * ways if most >= 3 * ways else 0),
            ]
            empty.append(words == 0)
        m.d.comb += [choice.wide.eq(wide), choice.tight.eq(tight), choice.under.eq(looked)]
        return Cat(empty)

    def _merge(self, m: Module, sides: list[Side]) -> tuple[Any, Value, Value]:
        """Take of the windows; return what was taken in the cycle before, in order.

        The word, its elements, and whether the last of them waits for its other.
        """
        ways, merger = self._ways, self._accelerator.merger
        elements = self._accelerator.elements
        m.submodules.array = array = MergeArray(
            ways=ways, chunk=merger.chunk, key_bits=elements.key_bits,
            value_bits=elements.accumulator,
        )  # fmt: skip
        m.submodules.takes = takes = TakeArray(ways=ways, key_bits=elements.key_bits)
        taken = []
        for name, side in zip("ab", sides, strict=True):
            given = getattr(takes, f"{name}_taken")
            m.d.comb += [
                getattr(array, name).eq(side.window),
                getattr(array, f"{name}_there").eq(side.there),
                getattr(takes, name).eq(Cat(side.window[i].key for i in range(ways))),
                getattr(takes, f"{name}_there").eq(side.there),
                getattr(takes, f"{name}_last").eq(side.last),
                getattr(takes, f"{name}_known").eq(side.known),
                getattr(takes, f"{name}_closed").eq(side.closed),
                side.take.eq(given),
            ]
            taken.append(Signal(ways, name=f"taken_{name}"))
            m.d.sync += taken[-1].eq(side.take)
        holds = Signal()
        # Of the last one only if it was taken: the array says it of the one before the next.
        m.d.sync += holds.eq(takes.holds)
        return array.o, total([*taken[0], *taken[1]]), holds

    def _side(self, m: Module, side: int, steps: Steps) -> Side:
        """Add the queues of one input of all nodes, in as many files as ports lead to it."""
        files = max(1, self._ports // 2)
        return Side(
            m, "ab"[side], nodes=self._nodes, ways=self._ways, capacity=self._capacity,
            element=self._element, start=self.start, steps=steps,
            puts=[self._put(side, number) for number in range(files)],
            closed=self.closed.bit_select(Cat(Const(side, 1), steps.of), 1),
        )  # fmt: skip

    def _put(self, side: int, number: int) -> Put:
        """Return what is put into file ``number`` of a side."""
        port = 0 if self._ports == 1 else 2 * number + side
        put, fifo = self.put[port], self.put_fifo.word_select(port, self._fifo_bits)
        if self._ports == 1:  # one port for both sides
            put, fifo = put & (fifo[0] == side), fifo[1:]
        count = self.put_count.word_select(port, self._ways.bit_length())
        return Put(put=put, fifo=fifo, count=count, word=self.put_word[port])

    def _add(
        self, m: Module, word: Any, count: Value, holds: Value, waits: Signal, to: list[Signal]
    ) -> None:
        """Add what comes behind the merger: pairs, sums, zeros, and the way to the next layer.

        Of nodes ``to[n]`` words are n cycles after they were served.
        """
        ways, nodes = self._ways, self._nodes
        value_bits = self._accelerator.elements.accumulator
        m.submodules.reducer = reducer = Reducer(self._accelerator.elements, ways=ways)
        made: Any = Signal(word.shape(), reset_less=True)
        made_count, made_holds = Signal(range(ways + 1)), Signal()
        m.d.sync += [made.eq(word), made_count.eq(count), made_holds.eq(holds & (count == ways))]
        mine, some = to[2], made_count != 0
        held = [Signal(value_bits, name=f"held_{v}", reset_less=True) for v in range(nodes)]
        same = [waits.bit_select(mine, 1) & some]
        same += [(made_count > t) & (made[t].key == made[t - 1].key) for t in range(1, ways)]
        for v in range(nodes):
            with m.If(some & (mine == v)):
                m.d.sync += [waits[v].eq(made_holds), held[v].eq(made[ways - 1].value)]
        given: dict[str, Any] = {
            "i": made, "count": made_count, "pairs": Cat(same), "holds": made_holds,
            "held": Cat(held).word_select(mine, value_bits),
        }  # fmt: skip
        for name, value in given.items():
            port = Value.cast(getattr(reducer, name))
            stage = Signal(len(port), name=f"stage_{name}")
            m.d.sync += stage.eq(Value.cast(value))
            m.d.comb += port.eq(stage)
        m.d.comb += [
            self.o_count.eq(reducer.o_count),
            self.o_word.eq(reducer.o),
        ]
        m.d.sync += self.additions.eq(total(list(reducer.pairs)))
