"""A block of columns with plain accumulators: what a circuit takes, apart from the engine."""

from __future__ import annotations

import itertools

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib.wiring import In, Out

from celosia.dataflow.array_shape import ArrayShape
from celosia.dataflow.dsp import ColumnUnit, column_units
from celosia.models.operations import MULTIPLY, Operation
from celosia.rtl.array import Operands
from celosia.rtl.circuits import dot_of
from celosia.rtl.dot import DotShape
from celosia.rtl.pe import LANE_BITS
from celosia.rtl.shared import Shared


class Products(Shared):
    """The dot products of columns that share DSP blocks, or of one column.

    Parameters
    ----------
    shape : ArrayShape
        The array that the columns are in.
    unit : ColumnUnit
        The columns.

    Members
    -------
    weights : In(columns * lanes * bits)
        Registered codes, those of the first column lowest.
    activations : In(lanes * LANE_BITS).array(pixels)
        Activations sign-extended to ``LANE_BITS`` bits, lane 0 lowest.
    sums : Out(signed(LANE_BITS)).array(columns * pixels)
        ``len(tree_levels(lanes))`` cycles later, column by column.
    """

    def __init__(self, shape: ArrayShape, unit: ColumnUnit) -> None:
        columns, group = len(unit.positions), unit.group
        self._circuit = group.circuit
        self._dot = DotShape(
            weight_format=group.format,
            lanes=shape.lanes,
            pixels=shape.pixels,
            activation_bits=shape.activation_bits + 1,
            operation=group.operation,
            columns=columns,
        )
        super().__init__(
            {
                "weights": In(columns * shape.lanes * group.format.bits),
                "activations": In(shape.lanes * LANE_BITS).array(shape.pixels),
                "sums": Out(signed(LANE_BITS)).array(columns * shape.pixels),
            },
            name=f"{group.circuit.prefix}{_kind(group.operation)}products_{group.format.name}_k{columns}"
            f"_c{shape.lanes}_x{shape.pixels}",
            parameters=(self._dot, self._circuit),
        )

    def build(self) -> Module:
        m = Module()
        sums = dot_of(self._dot, self._circuit).sums(m, self.weights, list(self.activations))
        m.d.comb += [mine.eq(found) for mine, found in zip(self.sums, sums, strict=True)]
        return m


class ProductBlock(Shared):
    """All columns of an array, and a register to add each one's sums up in.

    A step's operands are given in one cycle; its sums are added, ``len(tree_levels(lanes)) + 1``
    cycles later, to what came before, or with ``clear`` to 0.

    Parameters
    ----------
    shape : ArrayShape
        Columns that multiply, lanes and pixels; no scales, and none precision-scalable.
        Accumulators wrap.

    Members
    -------
    weights : In(columns * lanes * bits)
        Codes of the columns, in their order.
    activations : In(lanes * activation_bits).array(pixels)
    is_signed : In(1)
        Activations are two's complement.
    step, clear : In(1)
        Given when the sums are there.
    totals : Out(signed(accumulator_bits)).array(columns * pixels)
        Pixel by pixel of column 0, then of the next.
    """

    def __init__(self, shape: ArrayShape) -> None:
        if shape.scaling is not None or shape.scalable is not None:
            raise ValueError("shape must have neither scales nor precision-scalable columns")
        self._array = shape
        names = (
            f"{g.circuit.value}_{_kind(g.operation)}{g.format.name}_k{g.count}"
            for g in shape.columns
        )
        pixels, columns = shape.pixels, shape.column_count
        super().__init__(
            {
                "weights": In(sum(fmt.bits for fmt in shape.column_formats) * shape.lanes),
                "activations": In(shape.lanes * shape.activation_bits).array(pixels),
                "is_signed": In(1),
                "step": In(1),
                "clear": In(1),
                "totals": Out(signed(shape.accumulator_bits)).array(columns * pixels),
            },
            name="_".join(("block", *names, f"c{shape.lanes}_x{pixels}")),
            parameters=(shape,),
        )

    @property
    def shape(self) -> ArrayShape:
        return self._array

    def build(self) -> Module:
        m = Module()
        shape = self._array
        words = []
        for pixel, word in enumerate(self.activations):
            operands = Operands(lanes=shape.lanes, bits=shape.activation_bits)
            m.submodules[f"operands_{pixel}"] = operands
            m.d.comb += [operands.word.eq(word), operands.is_signed.eq(self.is_signed)]
            words.append(operands.activations)
        weights = Signal(len(self.weights), name="held", reset_less=True)
        m.d.sync += weights.eq(self.weights)
        starts = [0, *itertools.accumulate(shape.lanes * f.bits for f in shape.column_formats)]
        for unit in column_units(shape):
            products = Products(shape, unit)
            m.submodules["_".join(map(str, ("products", *unit.positions)))] = products
            codes = Cat(weights[starts[n] : starts[n + 1]] for n in unit.positions)
            m.d.comb += [
                products.weights.eq(codes),
                *(mine.eq(word) for mine, word in zip(products.activations, words, strict=True)),
            ]
            places = [n * shape.pixels + p for n in unit.positions for p in range(shape.pixels)]
            for place, term in zip(places, products.sums, strict=True):
                total = Signal(
                    signed(shape.accumulator_bits), name=f"total_{place}", reset_less=True
                )
                with m.If(self.step):
                    m.d.sync += total.eq(Mux(self.clear, 0, total) + term)
                m.d.comb += self.totals[place].eq(total)
        return m


def _kind(operation: Operation) -> str:
    """Return what stands before names of what does not multiply."""
    return "" if operation == MULTIPLY else f"{operation.name}_"
