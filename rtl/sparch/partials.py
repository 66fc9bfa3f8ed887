"""The fetcher of partial matrices: streams of elements from memory into their leaves."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from celosia.dataflow.sparch.accelerator import SparchAccelerator
from celosia.rtl.axi.burst import BurstSplitter
from celosia.rtl.eie.lnzd import lowest_bit
from celosia.rtl.ports import BEATS_BITS, Flow, burst_layout
from celosia.rtl.queue import Queue
from celosia.rtl.shared import Shared
from celosia.rtl.sparch.descriptors import COUNT_BITS
from celosia.rtl.sparch.multiply import products_layout
from celosia.rtl.sparch.reads import beats_for
from celosia.rtl.sparch.words import index_bits


class PartialFetcher(Shared):
    """Reads partial matrices, a run for one leaf at a time, each when the leaf has room for it.

    A run has ``partial_burst`` beats, or what is left. In each cycle in which its burst splitter
    is free it asks for one, for the first leaf after the one before that has elements left and
    room for all of those of a whole run besides what it holds and was promised. Elements are
    offered in the cycle in which their beat comes.

    Parameters
    ----------
    accelerator : SparchAccelerator

    Members
    -------
    set : In(1)
        Leaf ``set_leaf`` is to have ``set_count`` elements from ``set_address`` on. Only between
        rounds.
    set_leaf, set_count, set_address : In
    run : In(1)
        A round is at work.
    levels : In(leaves * bits)
        Elements in each leaf.
    bursts : Out(stream.Signature(burst_layout(address_bits)))
    beats : In(Flow(data_bits))
    o : Out(Flow(products_layout(accelerator)))
    drained : Out(leaves)
        All elements of the leaf have been offered.
    """

    def __init__(self, accelerator: SparchAccelerator) -> None:
        self._accelerator = accelerator
        bus, leaves = accelerator.bus, accelerator.tree.ways
        super().__init__(
            {
                "set": In(1),
                "set_leaf": In(index_bits(leaves)),
                "set_count": In(COUNT_BITS),
                "set_address": In(bus.address_bits),
                "run": In(1),
                "levels": In(leaves * accelerator.tree.leaf_fifo.bit_length()),
                "bursts": Out(stream.Signature(burst_layout(bus.address_bits))),
                "beats": In(Flow(bus.data_bits)),
                "o": Out(Flow(products_layout(accelerator))),
                "drained": Out(leaves),
            },
            name="partial_fetcher",
            parameters=(accelerator,),
        )

    def build(self) -> Module:
        m = Module()
        accelerator, bus = self._accelerator, self._accelerator.bus
        leaves, lanes = accelerator.tree.ways, accelerator.partial_lanes
        capacity, beats = accelerator.tree.leaf_fifo, accelerator.partial_burst
        level_bits, most = capacity.bit_length(), beats * lanes
        m.submodules.splitter = splitter = BurstSplitter(
            address_bits=bus.address_bits, data_bits=bus.data_bits, burst_beats=bus.burst_beats,
            run_bits=BEATS_BITS,
        )  # fmt: skip
        run = data.StructLayout({"leaf": index_bits(leaves), "elements": range(most + 1)})
        m.submodules.runs = runs = Queue(run, depth=bus.outstanding + 1)

        address = [Signal(bus.address_bits, name=f"address_{k}") for k in range(leaves)]
        unasked = [Signal(COUNT_BITS, name=f"unasked_{k}") for k in range(leaves)]
        promised = [Signal(level_bits, name=f"promised_{k}") for k in range(leaves)]
        able, after, leaf = Signal(leaves), Signal(leaves), Signal(index_bits(leaves))
        levels = [self.levels.word_select(k, level_bits) for k in range(leaves)]
        left = [each.any() for each in unasked]
        fits = [
            level + owed + most <= capacity for level, owed in zip(levels, promised, strict=True)
        ]
        m.d.comb += [
            able.eq(Cat(left) & Cat(fits)),
            self.drained.eq(~Cat(left) & Cat(owed == 0 for owed in promised)),
        ]
        later, first_later = lowest_bit(able & after)
        found, first = lowest_bit(able)
        rest, elements, asks = Signal(COUNT_BITS), Signal(range(most + 1)), Signal()
        m.d.comb += [
            leaf.eq(Mux(later, first_later, first)),
            rest.eq(Cat(unasked).word_select(leaf, COUNT_BITS)),
            elements.eq(Mux(rest > most, most, rest)),
            splitter.i.valid.eq(self.run & found & runs.i.ready),
            splitter.i.p.address.eq(Cat(address).word_select(leaf, bus.address_bits)),
            splitter.i.p.beats.eq(beats_for(elements, lanes)),
            asks.eq(splitter.i.valid & splitter.i.ready),
            runs.i.valid.eq(asks),
            runs.i.p.leaf.eq(leaf),
            runs.i.p.elements.eq(elements),
            self.bursts.valid.eq(splitter.o.valid),
            self.bursts.p.address.eq(splitter.o.p.address),
            self.bursts.p.beats.eq(splitter.o.p.beats),
            splitter.o.ready.eq(self.bursts.ready),
        ]
        count = self._offer(m, runs)
        with m.If(asks):
            m.d.sync += after.eq(((1 << leaves) - 2) << leaf)
        for k in range(leaves):
            mine = asks & (leaf == k)
            comes = self.beats.valid & (runs.o.p.leaf == k)
            promised_now = promised[k] + Mux(mine, elements, 0) - Mux(comes, count, 0)
            m.d.sync += promised[k].eq(promised_now)
            with m.If(mine):
                m.d.sync += address[k].eq(address[k] + beats * bus.data_bytes)
                m.d.sync += unasked[k].eq(unasked[k] - elements)
            with m.If(self.set & (self.set_leaf == k)):
                m.d.sync += [address[k].eq(self.set_address), unasked[k].eq(self.set_count)]
        return m

    def _offer(self, m: Module, runs: Queue) -> Value:
        """Offer the elements of each beat; return how many there are."""
        accelerator, lanes = self._accelerator, self._accelerator.partial_lanes
        index, bits = accelerator.elements.index_bits, accelerator.partial_bits
        head: Any = runs.o.p
        done = Signal.like(head.elements)  # elements of the run that came before
        left, last = Signal.like(head.elements), Signal()
        count = Signal(lanes.bit_length())
        m.d.comb += [
            left.eq(head.elements - done),
            last.eq(left <= lanes),
            count.eq(Mux(last, left, lanes)),
            runs.o.ready.eq(self.beats.valid & last),
            self.o.valid.eq(self.beats.valid),
            self.o.payload.leaf.eq(head.leaf),
            self.o.payload.count.eq(count),
        ]
        for lane in range(lanes):
            record = self.beats.payload[lane * bits : (lane + 1) * bits]
            m.d.comb += [
                self.o.payload.word[lane].key.eq(record[: 2 * index]),
                self.o.payload.word[lane].value.eq(record[2 * index :]),
            ]
        with m.If(self.beats.valid):
            m.d.sync += done.eq(Mux(last, 0, done + lanes))
        return count
