"""Walking the loops of a transfer: runs of words, and single words."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, signed, unsigned
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from celosia.rtl.shared import Shared


def nest_layout(address_bits: int, stride_bits: int, lane_bits: int) -> data.StructLayout:
    """Three loops round a run: for i3, i2, i1 it begins at ``address + i1*s1 + i2*s2 + i3*s3``.

    Counts are at least 1, strides signed. ``lane`` is passed on, plus i3; it may
    be 0 bits wide.
    """
    return data.StructLayout(
        {
            "address": address_bits,
            "lane": lane_bits,
            "n1": unsigned(16),
            "n2": unsigned(16),
            "n3": unsigned(8),
            "s1": signed(stride_bits),
            "s2": signed(stride_bits),
            "s3": signed(stride_bits),
        }
    )


def start_layout(address_bits: int, lane_bits: int) -> data.StructLayout:
    """Where a run begins, its lane, and whether it is the last of its nest."""
    return data.StructLayout({"address": address_bits, "lane": lane_bits, "last": 1})


class RunWalker(Shared):
    """Gives the start of each run of a nest, i1 innermost.

    A nest taken in cycle t has its first run offered in t+1; then one run a cycle. The next nest
    can be taken in the cycle in which the last run is.

    Parameters
    ----------
    address_bits : int
        Width of addresses; they wrap.
    stride_bits : int
        Width of strides.
    lane_bits : int
        Width of lanes, 0 where there are none.

    Members
    -------
    i : In(stream.Signature(nest_layout(address_bits, stride_bits, lane_bits)))
        Nests.
    o : Out(stream.Signature(start_layout(address_bits, lane_bits)))
        Runs, registered.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, *, address_bits: int, stride_bits: int, lane_bits: int) -> None:
        self._address_bits = address_bits
        self._nest = nest_layout(address_bits, stride_bits, lane_bits)
        super().__init__(
            {
                "i": In(stream.Signature(self._nest)),
                "o": Out(stream.Signature(start_layout(address_bits, lane_bits))),
            },
            name=f"run_walker_a{address_bits}_s{stride_bits}_l{lane_bits}",
            parameters=(address_bits, stride_bits, lane_bits),
        )

    def build(self) -> Module:
        m = Module()
        nest: Any = Signal(self._nest, reset_less=True)
        active, last = Signal(), Signal()
        left1 = Signal(16, reset_less=True)
        left2 = Signal(16, reset_less=True)
        left3 = Signal(8, reset_less=True)
        # Whether what is left is 0, and whether a loop has one iteration only.
        ended = [Signal(name=f"ended{loop}") for loop in (1, 2, 3)]
        soon = [Signal(name=f"soon{loop}") for loop in (1, 2, 3)]
        once = [Signal(name=f"once{loop}") for loop in (1, 2)]
        base2 = Signal(self._address_bits, reset_less=True)
        base3 = Signal(self._address_bits, reset_less=True)
        base = Signal(self._address_bits)
        stride = Signal(nest.s1.shape())
        following = Signal(self._address_bits)
        m.d.comb += [
            base.eq(Mux(ended[0], Mux(ended[1], base3, base2), nest.address)),
            stride.eq(Mux(ended[0], Mux(ended[1], nest.s3, nest.s2), nest.s1)),
            following.eq(base + stride),
            self.o.valid.eq(active),
            self.o.p.address.eq(nest.address),
            self.o.p.lane.eq(nest.lane),
            self.o.p.last.eq(last),
            soon[0].eq(Mux(ended[0], once[0], left1 == 1)),
            soon[1].eq(Mux(ended[0], Mux(ended[1], once[1], left2 == 1), ended[1])),
            soon[2].eq(Mux(ended[0] & ended[1], left3 == 1, ended[2])),
            self.i.ready.eq(~active | (self.o.ready & last)),
        ]
        ones = [self.i.p[f"n{loop}"] == 1 for loop in (1, 2, 3)]
        # What is loaded means nothing where no nest is offered: only ``active`` waits for one.
        with m.If(self.i.ready):
            m.d.sync += [
                active.eq(self.i.valid),
                nest.eq(self.i.p),
                Cat(ended).eq(Cat(ones)),
                Cat(once).eq(Cat(ones[:2])),
                last.eq(Cat(ones).all()),
                left1.eq(self.i.p.n1 - 1),
                left2.eq(self.i.p.n2 - 1),
                left3.eq(self.i.p.n3 - 1),
                base2.eq(self.i.p.address),
                base3.eq(self.i.p.address),
            ]
        with m.Elif(self.o.ready):
            m.d.sync += nest.address.eq(following)
            m.d.sync += [Cat(ended).eq(Cat(soon)), last.eq(Cat(soon).all())]
            with m.If(~ended[0]):
                m.d.sync += left1.eq(left1 - 1)
            with m.Else():
                m.d.sync += [left1.eq(nest.n1 - 1), base2.eq(following)]
                with m.If(~ended[1]):
                    m.d.sync += left2.eq(left2 - 1)
                with m.Else():
                    m.d.sync += [
                        left2.eq(nest.n2 - 1),
                        base3.eq(following),
                        left3.eq(left3 - 1),
                        nest.lane.eq(nest.lane + 1),
                    ]
        return m


def word_nest_layout(lane_bits: int) -> data.StructLayout:
    """Return the layout of a nest of runs of ``words`` consecutive words of a buffer."""
    return data.StructLayout({"nest": nest_layout(16, 16, lane_bits), "words": unsigned(16)})


class WordWalker(Shared):
    """Gives the buffer address of each word of a transfer, in order.

    A nest taken in cycle t has its first word offered in t+1; then one word a cycle. The next
    nest can be taken in the cycle in which the last word is.

    Parameters
    ----------
    lane_bits : int
        Width of lanes, 0 where there are none.

    Members
    -------
    i : In(stream.Signature(word_nest_layout(lane_bits)))
        Nests.
    o : Out(stream.Signature(start_layout(16, lane_bits)))
        Words; ``last`` marks the last of the nest.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, *, lane_bits: int) -> None:
        self._lane_bits = lane_bits
        super().__init__(
            {
                "i": In(stream.Signature(word_nest_layout(lane_bits))),
                "o": Out(stream.Signature(start_layout(16, lane_bits))),
            },
            name=f"word_walker_l{lane_bits}",
            parameters=(lane_bits,),
        )

    def build(self) -> Module:
        m = Module()
        m.submodules.runs = runs = RunWalker(
            address_bits=16, stride_bits=16, lane_bits=self._lane_bits
        )
        index = Signal(16, reset_less=True)
        last_but_one = Signal(16, reset_less=True)
        last, single = Signal(), Signal()  # the run's last word, its only one
        m.d.comb += [
            runs.i.valid.eq(self.i.valid),
            runs.i.payload.eq(self.i.p.nest),
            self.i.ready.eq(runs.i.ready),
            self.o.valid.eq(runs.o.valid),
            self.o.p.address.eq(runs.o.p.address + index),
            self.o.p.lane.eq(runs.o.p.lane),
            self.o.p.last.eq(runs.o.p.last & last),
            runs.o.ready.eq(self.o.ready & last),
        ]
        # As in the walker of runs, what is loaded means nothing where no nest is offered.
        with m.If(self.i.ready):
            m.d.sync += [
                index.eq(0),
                last_but_one.eq(self.i.p.words - 2),
                single.eq(self.i.p.words == 1),
                last.eq(self.i.p.words == 1),
            ]
        with m.Elif(self.o.ready):
            m.d.sync += [
                index.eq(Mux(last, 0, index + 1)),
                last.eq(Mux(last, single, index == last_but_one)),
            ]
        return m
