"""The fetcher of partial matrices: streams of elements from memory into their leaves."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from celosia.dataflow.sparch.accelerator import SparchAccelerator
from celosia.rtl.axi.burst import BurstSplitter
from celosia.rtl.ports import BEATS_BITS, Flow, burst_layout
from celosia.rtl.queue import Queue
from celosia.rtl.shared import Shared
from celosia.rtl.sparch.descriptors import COUNT_BITS
from celosia.rtl.sparch.multiply import products_layout
from celosia.rtl.sparch.reads import beats_for
from celosia.rtl.sparch.words import index_bits
from celosia.rtl.tree import lowest_bit


class PartialFetcher(Shared):
    """Reads partial matrices, a run for one leaf at a time, each when the leaf has room for it.

    A run has ``partial_burst`` beats, or what is left. A leaf is able in a cycle if in the one
    before it had elements left and room for all of those of a whole run besides what it was
    promised, and held in the cycle before that. While no run is made ready the first able leaf
    after the one before is chosen, its run is read in the cycle after, promised in the next, and
    asked for from the cycle after that on until the burst splitter takes it. Elements are offered
    in the cycle after that in which their beat comes, and go in in the second after that.

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
        Elements in each leaf, as the tree tells them.
    bursts : Out(stream.Signature(burst_layout(address_bits)))
    beats : In(Flow(data_bits))
    o : Out(Flow(products_layout(accelerator)))
    drains : Out(leaves)
        All elements of the leaf are in it: nothing comes from the next cycle on.
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
                "drains": Out(leaves),
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
        run = data.StructLayout(
            {"leaf": index_bits(leaves), "last": range(beats), "rest": range(1, lanes + 1)}
        )
        # Of each run: its leaf, the number of its last beat, and the elements in that.
        m.submodules.runs = runs = Queue(run, depth=bus.outstanding + 1)

        address = [Signal(bus.address_bits, name=f"address_{k}") for k in range(leaves)]
        unasked = [Signal(COUNT_BITS, name=f"unasked_{k}") for k in range(leaves)]
        promised = [Signal(level_bits, name=f"promised_{k}") for k in range(leaves)]
        able, many, after = Signal(leaves), Signal(leaves), Signal(leaves)
        levels = [self.levels.word_select(k, level_bits) for k in range(leaves)]
        left = [each.any() for each in unasked]
        fits = [
            level + owed + most <= capacity for level, owed in zip(levels, promised, strict=True)
        ]
        m.d.sync += [
            able.eq(Cat(left) & Cat(fits)),
            many.eq(Cat(each > most for each in unasked)),
        ]
        m.d.comb += self.drains.eq(~Cat(left) & Cat(owed == 0 for owed in promised))
        later, first_later = lowest_bit(able & after)
        found, first = lowest_bit(able)
        leaf, elements = Signal(index_bits(leaves)), Signal(range(most + 1))
        begin, size = Signal(bus.address_bits), Signal(range(beats + 1))
        # A leaf was chosen; its run was read; it is asked for.
        chosen, read, ready, asks = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            splitter.i.valid.eq(ready & runs.i.ready),
            splitter.i.p.address.eq(begin),
            splitter.i.p.beats.eq(size),
            asks.eq(splitter.i.valid & splitter.i.ready),
            runs.i.valid.eq(asks),
            runs.i.p.leaf.eq(leaf),
            runs.i.p.last.eq(size - 1),
            runs.i.p.rest.eq(elements - (size - 1) * lanes),
            self.bursts.valid.eq(splitter.o.valid),
            self.bursts.p.address.eq(splitter.o.p.address),
            self.bursts.p.beats.eq(splitter.o.p.beats),
            splitter.o.ready.eq(self.bursts.ready),
        ]
        m.d.sync += [
            chosen.eq(self.run & found & ~chosen & ~read & ~ready),
            read.eq(chosen),
            ready.eq(read | (ready & ~asks)),
        ]
        with m.If(~chosen & ~read & ~ready):
            m.d.sync += leaf.eq(Mux(later, first_later, first))
        with m.If(chosen):
            rest = Cat(unasked).word_select(leaf, COUNT_BITS)[: len(elements)]
            m.d.sync += [
                elements.eq(Mux(many.bit_select(leaf, 1), most, rest)),
                begin.eq(Cat(address).word_select(leaf, bus.address_bits)),
                after.eq(((1 << leaves) - 2) << leaf),
            ]
        with m.If(read):
            m.d.sync += size.eq(beats_for(elements, lanes))
        landed, landed_leaf, landed_count = self._offer(m, runs)
        for k in range(leaves):
            mine = read & (leaf == k)
            lands = landed & (landed_leaf == k)
            promised_now = promised[k] + Mux(mine, elements, 0) - Mux(lands, landed_count, 0)
            m.d.sync += promised[k].eq(promised_now)
            with m.If(mine):
                m.d.sync += address[k].eq(address[k] + beats * bus.data_bytes)
                m.d.sync += unasked[k].eq(unasked[k] - elements)
            with m.If(self.set & (self.set_leaf == k)):
                m.d.sync += [address[k].eq(self.set_address), unasked[k].eq(self.set_count)]
        return m

    def _offer(self, m: Module, runs: Queue) -> tuple[Value, Value, Value]:
        """Offer the elements of each beat.

        Returns whether elements went into a leaf in the cycle before, into which, and how many.
        """
        accelerator, lanes = self._accelerator, self._accelerator.partial_lanes
        index, bits = accelerator.elements.index_bits, accelerator.partial_bits
        head: Any = runs.o.p
        beat, last = Signal.like(head.last), Signal()
        given = self.o.payload
        m.d.comb += [last.eq(beat == head.last), runs.o.ready.eq(self.beats.valid & last)]
        m.d.sync += [
            self.o.valid.eq(self.beats.valid),
            given.leaf.eq(head.leaf),
            given.count.eq(Mux(last, head.rest, lanes)),
        ]
        for lane in range(lanes):
            record = self.beats.payload[lane * bits : (lane + 1) * bits]
            m.d.sync += [
                self.o.payload.word[lane].key.eq(record[: 2 * index]),
                self.o.payload.word[lane].value.eq(record[2 * index :]),
            ]
        with m.If(self.beats.valid):
            m.d.sync += beat.eq(Mux(last, 0, beat + 1))
        landing: tuple[Value, ...] = (self.o.valid, given.leaf, given.count)
        for step in range(3):
            held = [Signal(len(each), name=f"landing_{step}_{n}") for n, each in enumerate(landing)]
            m.d.sync += [to.eq(each) for to, each in zip(held, landing, strict=True)]
            landing = tuple(held)
        return landing[0], landing[1], landing[2]
