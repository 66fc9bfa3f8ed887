"""A column of the array: dot products that share their weights, and their accumulators."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import data, enum, memory
from amaranth.lib.wiring import In, Member, Out

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.array_shape import Circuit
from celosia.dataflow.dsp import ColumnUnit
from celosia.dataflow.microarchitecture import vector_levels
from celosia.models.formats import BlockScaling, Format
from celosia.models.operations import MULTIPLY, Operation
from celosia.rtl.circuits import dot_of
from celosia.rtl.dot import DotShape
from celosia.rtl.pe import LANE_BITS
from celosia.rtl.shared import Shared
from celosia.rtl.tree import paired
from celosia.rtl.vector import VectorMac


class Base(enum.Enum, shape=2):
    """What a step's dot product is added to."""

    ZERO = 0
    """Nothing: the accumulator starts afresh."""
    SUM = 1
    """The result of the step before, of the same accumulator."""
    MEMORY = 2
    """The accumulator as read from the memory."""
    WRITTEN = 3
    """What was written to the memory while it should have been read."""


def control_layout(address_bits: int) -> data.StructLayout:
    """Return the layout of the accumulator control, the same for all columns.

    ``read`` and ``read_address`` come in the cycle before the step they are for, ``step`` and
    ``base`` with its dot product, ``write`` and ``write_address`` in the cycle after.
    """
    return data.StructLayout(
        {
            "read": 1,
            "read_address": address_bits,
            "step": 1,
            "base": Base,
            "write": 1,
            "write_address": address_bits,
        }
    )


def drain_layout(address_bits: int, pixels: int) -> data.StructLayout:
    """Return the layout of an accumulator's choice for post-processing."""
    return data.StructLayout({"address": address_bits, "pixel": range(max(pixels, 2))})


class Column(Shared):
    """One column of the array: a dot product for each pixel lane, all with the same weights.

    Or as many columns as their circuit puts together
    (:func:`~celosia.dataflow.dsp.column_units`).

    Weights and activations given in one cycle are registered, multiplied, and added up
    (:mod:`celosia.rtl.dot`), where they have scales vector by vector (:mod:`celosia.rtl.vector`);
    the sum meets its accumulator control
    :func:`~celosia.dataflow.microarchitecture.column_stages` + 1 cycles after the weights were
    given.
    Activations come one cycle after their weights, from a register that all columns share. A
    drained accumulator is at ``drained`` two cycles after ``drain_enable`` and stays.

    Parameters
    ----------
    weight_format : Format
        Format of the weights.
    lanes : int
        Terms of a dot product, at least 1.
    pixels : int
        Dot products, at least 1.
    activation_bits : int
        Bits of an activation, its sign bit included.
    accumulator_bits : int
        Bits of an accumulator, two's complement; sums wrap.
    depth : int
        Accumulators of each pixel lane, at least 1.
    circuit : Circuit
        What the products are made of; it changes neither bits nor cycles.
    scaling : BlockScaling or None
        Scales of the weights, for each run of ``scaling.vector`` lanes, or of all where there
        are fewer.
    activation_scales : bool
        Whether activations have scales too.
    operation : Operation
        What makes terms of weights and activations; only products have scales or a circuit.
    columns : int
        Columns, 1 with scales.

    Members
    -------
    weights : In(columns * lanes * weight_format.bits + vectors * scaling.scale.bits)
        Codes, lane 0 lowest, column 0 lowest, then those of the scales.
    activations : In(lanes * LANE_BITS).array(pixels)
        Activations sign-extended to ``LANE_BITS`` bits, lane 0 lowest.
    activation_scales : In(vectors * scaling.scale.bits).array(pixels)
        The codes of their scales, and with them whether products of scales are rounded; where
        activations have scales.
    rounded : In(1)
    control : In(control_layout(...))
    drain_enable : In(columns)
        ``drain`` is meant for this column.
    drain : In(drain_layout(...))
    drained : Out(signed(accumulator_bits)).array(columns)
    """

    def __init__(
        self,
        *,
        weight_format: Format,
        lanes: int,
        pixels: int,
        activation_bits: int,
        accumulator_bits: int,
        depth: int,
        circuit: Circuit = Circuit.LANES,
        scaling: BlockScaling | None = None,
        activation_scales: bool = False,
        operation: Operation = MULTIPLY,
        columns: int = 1,
    ) -> None:
        if columns != 1 and scaling is not None:
            raise ValueError(f"columns must be 1 with scales, not {columns!r}")
        self._columns = columns
        self._format, self._circuit, self._scaling = weight_format, circuit, scaling
        self._activation_scales = activation_scales
        self._operation = operation
        self._lanes, self._pixels, self._depth = lanes, pixels, depth
        self._activation_bits, self._accumulator_bits = activation_bits, accumulator_bits
        self._vector_lanes = lanes if scaling is None else min(lanes, scaling.vector)
        vectors = lanes // self._vector_lanes
        self._scale_bits = 0 if scaling is None else vectors * scaling.scale.bits
        scales = "" if scaling is None else f"_{scaling.scale.name}_v{self._vector_lanes}"
        kind = "" if operation == MULTIPLY else f"{operation.name}_"
        several = f"_k{columns}" if columns > 1 else ""
        address_bits = max(1, (depth - 1).bit_length())
        super().__init__(
            {
                **self._operands(),
                "control": In(control_layout(address_bits)),
                "drain_enable": In(columns),
                "drain": In(drain_layout(address_bits, pixels)),
                "drained": Out(signed(accumulator_bits)).array(columns),
            },
            name=f"{circuit.prefix}column_{kind}{weight_format.name}{scales}_c{lanes}_x{pixels}{several}",
            parameters=(
                weight_format,
                lanes,
                pixels,
                activation_bits,
                accumulator_bits,
                depth,
                circuit,
                scaling,
                activation_scales,
                operation,
                columns,
            ),
        )

    @classmethod
    def of(cls, accelerator: Accelerator, unit: ColumnUnit) -> Column:
        """Return the columns of ``unit`` in ``accelerator``."""
        return cls(
            weight_format=unit.group.format,
            circuit=unit.group.circuit,
            operation=unit.group.operation,
            columns=len(unit.positions),
            scaling=accelerator.array.scaling,
            activation_scales=accelerator.array.activation_scale_bits > 0,
            lanes=accelerator.array.lanes,
            pixels=accelerator.array.pixels,
            activation_bits=accelerator.array.operand_bits,
            accumulator_bits=accelerator.array.accumulator_bits,
            depth=accelerator.buffers.accumulators,
        )

    @property
    def weight_format(self) -> Format:
        return self._format

    def _operands(self) -> dict[str, Member]:
        """Return the ports of weights and activations."""
        return {
            "weights": In(self._columns * self._lanes * self._format.bits + self._scale_bits),
            "activations": In(self._lanes * LANE_BITS).array(self._pixels),
            **self._scale_ports(),
        }

    def _scale_ports(self) -> dict[str, Member]:
        """Return the ports of the activations' scales."""
        if self._scaling is None or not self._activation_scales:
            return {}
        ports: dict[str, Member] = {"activation_scales": In(self._scale_bits).array(self._pixels)}
        return ports | ({"rounded": In(1)} if self._scaling.dropped_bits else {})

    def _totals(self, m: Module) -> list[Value]:
        """Return the dot product of each pixel lane, column by column."""
        weights = Signal(len(self.weights), reset_less=True)
        m.d.sync += weights.eq(self.weights)
        if self._scaling is not None:
            return self._scaled(m, weights, self._scaling)
        shape = DotShape(
            weight_format=self._format,
            lanes=self._lanes,
            pixels=self._pixels,
            activation_bits=self._activation_bits,
            operation=self._operation,
            columns=self._columns,
        )
        return dot_of(shape, self._circuit).sums(m, weights, list(self.activations))

    def build(self) -> Module:
        m = Module()
        totals = self._totals(m)
        for column in range(self._columns):
            mine = totals[column * self._pixels : (column + 1) * self._pixels]
            self._drain(
                m, column, [self._accumulator(m, column, n, total) for n, total in enumerate(mine)]
            )
        return m

    def _scaled(self, m: Module, weights: Value, scaling: BlockScaling) -> list[Value]:
        """Return each pixel's sum of its vectors' scaled dot products."""
        lanes, bits = self._vector_lanes, self._vector_lanes * self._format.bits
        scales = weights[self._lanes * self._format.bits :]
        sums: list[list[Value]] = []
        for index in range(self._lanes // lanes):
            mac = VectorMac(
                weight_format=self._format,
                scaling=scaling,
                activation_scales=self._activation_scales,
                lanes=lanes,
                pixels=self._pixels,
                activation_bits=self._activation_bits,
                circuit=self._circuit,
            )
            m.submodules[f"vector_{index}"] = mac
            m.d.comb += [
                mac.weights.eq(weights.word_select(index, bits)),
                mac.scale.eq(scales.word_select(index, scaling.scale.bits)),
                *(
                    mine.eq(word.word_select(index, lanes * LANE_BITS))
                    for mine, word in zip(mac.activations, self.activations, strict=True)
                ),
            ]
            if self._activation_scales:
                m.d.comb += [
                    mine.eq(codes.word_select(index, scaling.scale.bits))
                    for mine, codes in zip(
                        mac.activation_scales, self.activation_scales, strict=True
                    )
                ]
                if scaling.dropped_bits:
                    m.d.comb += mac.rounded.eq(self.rounded)
            sums.append(list(mac.sums))
        return [
            self._total(m, list(terms), pixel)
            for pixel, terms in enumerate(zip(*sums, strict=True))
        ]

    @staticmethod
    def _total(m: Module, terms: list[Value], pixel: int) -> Value:
        """Add up the vectors of one pixel."""
        for stage, levels in enumerate(vector_levels(len(terms))[1:]):
            for _ in range(levels):
                terms = paired(terms)
            kept = []
            for index, term in enumerate(terms):
                name = f"total_{stage}_{pixel}_{index}"
                kept.append(Signal(term.shape(), name=name, reset_less=True))
                m.d.sync += kept[-1].eq(term)
            terms = list(kept)
        return terms[0]

    def _accumulator(self, m: Module, column: int, pixel: int, total: Value) -> Any:
        """Accumulators of one pixel lane; returns the data of the drain's read port."""
        shape = signed(self._accumulator_bits)
        name = str(column * self._pixels + pixel)
        rows: Any = memory.Memory(shape=shape, depth=self._depth, init=[])
        m.submodules[f"accumulators_{name}"] = rows
        write = rows.write_port()
        read = rows.read_port()
        drain = rows.read_port()
        result = Signal(shape, name=f"result_{name}", reset_less=True)
        written = Signal(shape, name=f"written_{name}", reset_less=True)
        base = Signal(shape, name=f"base_{name}")
        control = self.control
        with m.Switch(control.base):
            with m.Case(Base.SUM):
                m.d.comb += base.eq(result)
            with m.Case(Base.MEMORY):
                m.d.comb += base.eq(read.data)
            with m.Case(Base.WRITTEN):
                m.d.comb += base.eq(written)
        with m.If(control.step):
            m.d.sync += result.eq(base + total)
        with m.If(control.write):
            m.d.sync += written.eq(result)
        m.d.comb += [
            read.en.eq(control.read),
            read.addr.eq(control.read_address),
            write.en.eq(control.write),
            write.addr.eq(control.write_address),
            write.data.eq(result),
            drain.en.eq(self.drain_enable[column] & (self.drain.pixel == pixel)),
            drain.addr.eq(self.drain.address),
        ]
        return drain.data

    def _drain(self, m: Module, column: int, drained: list[Value]) -> None:
        enable = Signal()
        pixel = Signal(self.drain.pixel.shape(), reset_less=True)
        m.d.sync += enable.eq(self.drain_enable[column])
        with m.If(self.drain_enable[column]):
            m.d.sync += pixel.eq(self.drain.pixel)
        with m.If(enable):
            chosen: Value = drained[0]
            for index, value in enumerate(drained[1:], 1):
                chosen = Mux(pixel == index, value, chosen)
            m.d.sync += self.drained[column].eq(chosen)
