"""Precision-scalable units on their own: what is measured, and what is run with vectors."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from celosia.dataflow.array_shape import Circuit
from celosia.dataflow.precision import MAX_PRECISION
from celosia.rtl.queue import Queue
from celosia.rtl.scalable import SCALABLE
from celosia.rtl.scalable.base import PrecisionLayout, delayed, lanes_of, register
from celosia.rtl.shared import Shared


class ScalableMac(Shared):
    """The arithmetic of a unit: parts of operands to an accumulator, one pass a cycle.

    Parameters
    ----------
    circuit : Circuit
        A precision-scalable one.
    lanes : int
        Terms of a dot product.
    weight_bits : int
        Bits in which a weight is stored, two's complement.
    accumulator_bits : int
        Bits of the accumulator; it wraps.

    Members
    -------
    weights, activations : In(...)
        The parts that a pass takes, registered.
    passes : In(...).array(...)
        What describes a pass, at index n in the n-th cycle after its words were there: at index 1
        in the cycle of its parts.
    clear : In(1)
        Set ``total`` to 0, whatever the pass is.
    total : Out(signed(accumulator_bits))
        The accumulator; a word is added after its last pass was at the highest index.
    """

    def __init__(
        self, *, circuit: Circuit, lanes: int, weight_bits: int, accumulator_bits: int
    ) -> None:
        self._dot = dot = SCALABLE[circuit](lanes=lanes, weight_bits=weight_bits)
        self._accumulator_bits = accumulator_bits
        super().__init__(
            {
                "weights": In(dot.weight_part_bits),
                "activations": In(dot.activation_part_bits),
                "passes": In(dot.LAYOUT).array(dot.delays),
                "clear": In(1),
                "total": Out(signed(accumulator_bits)),
            },
            name=f"{circuit.value}_mac_c{lanes}",
            parameters=(circuit, lanes, weight_bits, accumulator_bits),
        )

    def build(self) -> Module:
        m = Module()
        dot, control = self._dot, list(self.passes)
        partial = dot.pass_sum(m, self.weights, self.activations, control, "word")
        so_far = dot.so_far(m, partial, control, self._accumulator_bits, "word")
        with m.If(self.clear):
            m.d.sync += self.total.eq(0)
        with m.Elif(control[-1].last):
            m.d.sync += self.total.eq(self.total + so_far)
        return m


def word_layout(lanes: int) -> data.StructLayout:
    """Return the layout of a word of operands, 16 bits a lane, lane 0 lowest, and how to take it.

    Operands are sign-extended to 16 bits where they have signs, else zero-extended.
    """
    return data.StructLayout(
        {
            "weights": lanes * MAX_PRECISION,
            "activations": lanes * MAX_PRECISION,
            "precision": PrecisionLayout,
        }
    )


class ScalableUnit(Shared):
    """A unit that takes words of operands of any widths, one after the other, and gives sums.

    A word takes as many cycles as :func:`celosia.dataflow.precision.passes` says, whatever the
    width of the one before: the next is taken in the cycle of the last pass. Its dot product
    is there some cycles later; a queue keeps those that are not taken.

    Parameters
    ----------
    circuit : Circuit
        A precision-scalable one.
    lanes : int
        Terms of a dot product.
    sum_bits : int
        Bits of a dot product; it wraps.

    Members
    -------
    i : In(stream.Signature(word_layout(lanes)))
        Words.
    o : Out(stream.Signature(signed(sum_bits)))
        The dot product of each.
    """

    i: stream.Interface
    o: stream.Interface

    def __init__(self, *, circuit: Circuit, lanes: int, sum_bits: int = 40) -> None:
        self._circuit, self._lanes, self._sum_bits = circuit, lanes, sum_bits
        super().__init__(
            {
                "i": In(stream.Signature(word_layout(lanes))),
                "o": Out(stream.Signature(signed(sum_bits))),
            },
            name=f"{circuit.value}_unit_c{lanes}",
            parameters=(circuit, lanes, sum_bits),
        )

    def build(self) -> Module:
        m = Module()
        dot = SCALABLE[self._circuit](lanes=self._lanes, weight_bits=MAX_PRECISION)
        m.submodules.sequencer = sequencer = dot.sequencer()
        # As many words as are in the pipeline of a unit that takes one in every cycle.
        depth = dot.delays + 2
        m.submodules.sums = sums = Queue(signed(self._sum_bits), depth=depth)
        word: Any = Signal(word_layout(self._lanes))
        busy, accept = Signal(), Signal()
        held = Signal(range(depth + 1))
        control: Any = Signal(dot.LAYOUT, name="control")
        m.d.comb += [
            control.eq(sequencer.control),
            control.last.eq(sequencer.control.last & busy),
            self.i.ready.eq((~busy | control.last) & (held != depth)),
            accept.eq(self.i.valid & self.i.ready),
            sequencer.load.eq(accept),
            sequencer.advance.eq(busy),
            sequencer.precision.eq(self.i.p.precision),
        ]
        m.d.sync += held.eq(held + accept - (self.o.valid & self.o.ready))
        with m.If(accept):
            m.d.sync += [word.eq(self.i.p), busy.eq(1)]
        with m.Elif(control.last):
            m.d.sync += busy.eq(0)
        stages = [control, *delayed(m, control, dot.delays - 1, "pass")]
        weights = dot.weight_part(m, lanes_of(word.weights, self._lanes), control)
        activations = dot.activation_part(m, lanes_of(word.activations, self._lanes), control)
        parts = register(m, weights, "weights"), register(m, activations, "activations")
        partial = dot.pass_sum(m, *parts, stages, "word")
        m.d.comb += [
            sums.i.valid.eq(stages[-1].last),
            sums.i.payload.eq(dot.so_far(m, partial, stages, self._sum_bits, "word")),
            self.o.valid.eq(sums.o.valid),
            self.o.payload.eq(sums.o.payload),
            sums.o.ready.eq(self.o.ready),
        ]
        return m
