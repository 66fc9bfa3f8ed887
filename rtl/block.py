"""A block of columns with plain accumulators: what a circuit takes, apart from the engine."""

from __future__ import annotations

import itertools

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib.wiring import In, Out

from celosia.dataflow.accelerator import ArrayShape
from celosia.dataflow.dsp import column_units
from celosia.rtl.array import Operands
from celosia.rtl.circuits import DOTS
from celosia.rtl.dot import DotShape
from celosia.rtl.shared import Shared


class ProductBlock(Shared):
    """All columns of an array without scales, and a register to add each one's sums up in.

    A step's operands are given with ``step``; its sums are added
    ``len(tree_levels(lanes)) + 1`` cycles later to what came before, or with ``clear`` to 0.

    Parameters
    ----------
    shape : ArrayShape
        Columns, lanes and pixels. Accumulators wrap.

    Members
    -------
    weights : In(columns * lanes * bits)
        Codes of the columns, in their order.
    activations : In(lanes * activation_bits).array(pixels)
    is_signed : In(1)
        Activations are two's complement.
    step, clear : In(1)
        Given with the sums, as many cycles after the operands.
    totals : Out(signed(accumulator_bits)).array(columns * pixels)
        Pixel by pixel of column 0, then of the next.
    """

    def __init__(self, shape: ArrayShape) -> None:
        if shape.scaling is not None or shape.scalable is not None:
            raise ValueError("shape must have neither scales nor precision-scalable columns")
        self._array = shape
        names = (f"{g.count}_{g.circuit.value}_{g.format.name}" for g in shape.columns)
        super().__init__(
            {
                "weights": In(sum(fmt.bits for fmt in shape.column_formats) * shape.lanes),
                "activations": In(shape.lanes * shape.activation_bits).array(shape.pixels),
                "is_signed": In(1),
                "step": In(1),
                "clear": In(1),
                "totals": Out(signed(shape.accumulator_bits)).array(
                    shape.column_count * shape.pixels
                ),
            },
            name="_".join(("block", *names, f"c{shape.lanes}_x{shape.pixels}")),
            parameters=(shape,),
        )

    def build(self) -> Module:
        m = Module()
        shape = self._array
        words = []
        for pixel, word in enumerate(self.activations):
            operands = Operands(lanes=shape.lanes, bits=shape.activation_bits)
            m.submodules[f"operands_{pixel}"] = operands
            m.d.comb += [operands.word.eq(word), operands.is_signed.eq(self.is_signed)]
            words.append(operands.activations)
        weights = Signal(len(self.weights), reset_less=True)
        m.d.sync += weights.eq(self.weights)
        widths = [shape.lanes * fmt.bits for fmt in shape.column_formats]
        starts = [0, *itertools.accumulate(widths)]
        for unit in column_units(shape):
            dot = DOTS[unit.group.circuit](
                DotShape(
                    weight_format=unit.group.format,
                    lanes=shape.lanes,
                    pixels=shape.pixels,
                    activation_bits=shape.activation_bits + 1,
                    columns=len(unit.positions),
                )
            )
            codes = Cat(weights[starts[n] : starts[n + 1]] for n in unit.positions)
            part = Module()
            m.submodules["_".join(map(str, ("dot", *unit.positions)))] = part
            sums = dot.sums(part, codes, words)
            places = [n * shape.pixels + p for n in unit.positions for p in range(shape.pixels)]
            for place, term in zip(places, sums, strict=True):
                total = Signal(signed(shape.accumulator_bits), name=f"total_{place}")
                with m.If(self.step):
                    m.d.sync += total.eq(Mux(self.clear, 0, total) + term)
                m.d.comb += self.totals[place].eq(total)
        return m
