"""The array: columns side by side."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from amaranth.hdl import Array as Choice
from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib.wiring import In, Out

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.array_shape import Circuit
from celosia.dataflow.dsp import column_units
from celosia.dataflow.microarchitecture import column_stages
from celosia.models.formats import Element, Esb, ScaleFormat
from celosia.rtl.column import Column, control_layout, drain_layout
from celosia.rtl.depthwise import ColumnWindow, Lines, lines_layout
from celosia.rtl.pe import LANE_BITS
from celosia.rtl.pe.esb import esb_element
from celosia.rtl.scalable import SCALABLE
from celosia.rtl.scalable.base import delayed, extended
from celosia.rtl.scalable.column import ScalableColumn
from celosia.rtl.shared import Shared

SCALE_FLAGS = ("scaled", "rounded")
"""What tells how to read the scales of activations, where they have some."""


class Operands(Shared):
    """Gives every activation its sign bit and registers it, for all columns to share.

    A lane is as wide as the columns want it, all copies of the sign bit.

    Parameters
    ----------
    lanes : int
        Activations in a word, at least 1.
    bits : int
        Bits of an activation, at least 1.
    vectors : int
        Scales in a word, 0 for none.
    scale : ScaleFormat or None
        Format of the scales.
    elements : Element or None
        Format of codes with scales where that is not fixed point; see
        :func:`~celosia.models.formats.element_of`.

    Members
    -------
    word : In(lanes * bits + vectors * scale.bits)
        Codes, lane 0 lowest, then those of the scales.
    is_signed : In(1)
        The codes are two's complement.
    activations : Out(lanes * LANE_BITS)
        Integers, sign-extended, one cycle later.
    scaled : In(1)
        The word's scales count, and its codes are elements; otherwise scales are 1 and codes
        integers. Where there are scales.
    scales : Out(vectors * scale.bits)
        Their codes, one cycle later.
    """

    def __init__(
        self,
        *,
        lanes: int,
        bits: int,
        vectors: int = 0,
        scale: ScaleFormat | None = None,
        elements: Element | None = None,
    ) -> None:
        self._lanes, self._bits = lanes, bits
        self._vectors, self._scale = vectors, scale
        self._elements = elements if isinstance(elements, Esb) else None
        scale_bits = 0 if scale is None else vectors * scale.bits
        ports = {"scaled": In(1), "scales": Out(scale_bits)}
        super().__init__(
            {
                "word": In(lanes * bits + scale_bits),
                "is_signed": In(1),
                "activations": Out(lanes * LANE_BITS),
                **(ports if scale_bits else {}),
            },
            name=f"operands_c{lanes}",
            parameters=(lanes, bits, vectors, scale, self._elements),
        )

    @property
    def lanes(self) -> int:
        return self._lanes

    @property
    def bits(self) -> int:
        return self._bits

    def build(self) -> Module:
        m = Module()
        codes = [self.word.word_select(lane, self._bits) for lane in range(self._lanes)]
        for lane, code in enumerate(codes):
            value: Value = Cat(code, code[-1] & self.is_signed).as_signed()
            if self._elements is not None:
                value = Mux(self.scaled, esb_element(self._elements, code, self.is_signed), value)
            activation = Signal(value.shape(), name=f"lane_{lane}", reset_less=True)
            m.d.sync += activation.eq(value)
            m.d.comb += self.activations.word_select(lane, LANE_BITS).eq(activation)
        if self._scale is not None and self._vectors:
            one = int(self._scale.encode(np.array(1)))
            ones = Const(sum(one << n * self._scale.bits for n in range(self._vectors)))
            scales = Signal(len(self.scales), name="scale_codes", reset_less=True)
            m.d.sync += scales.eq(Mux(self.scaled, self.word[self._lanes * self._bits :], ones))
            m.d.comb += self.scales.eq(scales)
        return m


class PartOperands(Shared):
    """Registers the parts of a word of activations that a pass takes, for all columns to share.

    Parameters
    ----------
    circuit : Circuit
        The precision-scalable circuit of the columns.
    lanes : int
        Activations in a word.
    bits : int
        Bits of an activation, at least 1.

    Members
    -------
    word, is_signed : In
        As of :class:`Operands`.
    passes : In(...)
        The pass.
    activations : Out(...)
        The parts, one cycle later.
    """

    def __init__(self, *, circuit: Circuit, lanes: int, bits: int) -> None:
        self._dot = SCALABLE[circuit](lanes=lanes, weight_bits=bits)
        self._lanes, self._bits = lanes, bits
        super().__init__(
            {
                "word": In(lanes * bits),
                "is_signed": In(1),
                "passes": In(self._dot.LAYOUT),
                "activations": Out(self._dot.activation_part_bits),
            },
            name=f"{circuit.value}_operands_c{lanes}",
            parameters=(circuit, lanes, bits),
        )

    def build(self) -> Module:
        m = Module()
        lanes = []
        for lane in range(self._lanes):
            code = self.word.word_select(lane, self._bits)
            lanes.append(extended(Cat(code, code[-1] & self.is_signed).as_signed()))
        m.d.sync += self.activations.eq(self._dot.activation_part(m, lanes, self.passes))
        return m


class Array(Shared):
    """All columns of the array, their shared operands, and the choice of what is drained.

    A drained group's accumulators are at ``drained`` three cycles after ``drain_enable`` and stay
    until the next.

    Parameters
    ----------
    accelerator : Accelerator

    Members
    -------
    activations : In(...).array(pixels)
        Activation words as the buffer delivers them.
    activations_signed, scaled, rounded : In(1)
        How to read them, and the scales with them: whether there are any, and whether their
        products with the weights' are rounded.
    weights : In(...)
        Weight word as the buffer delivers it.
    passes : In(...)
        Of precision-scalable columns: the pass that takes these words.
    lines : In(lines_layout(depthwise))
        Of columns with windows of their own.
    control : In(control_layout(...))
    drain_enable : In(1)
    drain_group : In(range(columns // post_lanes))
        Columns ``group * post_lanes`` and up.
    drain : In(drain_layout(...))
    drained : Out(post_lanes * accumulator_bits)
    """

    def __init__(self, accelerator: Accelerator) -> None:
        self._accelerator = accelerator
        array = accelerator.array
        address_bits = max(1, (accelerator.buffers.accumulators - 1).bit_length())
        self._groups = array.column_count // accelerator.post_lanes
        super().__init__(
            {
                "activations": In(accelerator.activation_word_bits).array(array.pixels),
                "activations_signed": In(1),
                **(dict.fromkeys(SCALE_FLAGS, In(1)) if array.activation_scale_bits else {}),
                "weights": In(accelerator.weight_word_bits),
                "control": In(control_layout(address_bits)),
                "drain_enable": In(1),
                "drain_group": In(range(max(self._groups, 2))),
                "drain": In(drain_layout(address_bits, array.pixels)),
                "drained": Out(accelerator.post_lanes * array.accumulator_bits),
            }
            | ({} if array.scalable is None else {"passes": In(SCALABLE[array.scalable].LAYOUT)})
            | ({} if array.depthwise is None else {"lines": In(lines_layout(array.depthwise))}),
            name="array",
            parameters=(array, accelerator.buffers.accumulators, accelerator.post_lanes),
        )

    @property
    def accelerator(self) -> Accelerator:
        return self._accelerator

    def build(self) -> Module:
        m = Module()
        array = self._accelerator.array
        shared = [self._operands(m, pixel) for pixel in range(array.pixels)]
        operands = [each.activations for each in shared]
        passes = self._passes(m)
        scaling, rounded = array.scaling if array.activation_scale_bits else None, Signal()
        if scaling is not None:
            m.d.sync += rounded.eq(self.rounded)
        lines, starts = self._lines(m), self._starts()
        drained: dict[int, Value] = {}
        for unit in column_units(array):
            kind = Column if array.scalable is None else ScalableColumn
            column = kind.of(self._accelerator, unit)
            if passes:
                m.d.comb += [mine.eq(now) for mine, now in zip(column.passes, passes, strict=True)]
            m.submodules["_".join(map(str, ("column", *unit.positions)))] = column
            groups = [place // self._accelerator.post_lanes for place in unit.positions]
            m.d.comb += [
                column.weights.eq(
                    Cat(self.weights[starts[n] : starts[n + 1]] for n in unit.positions)
                ),
                *(
                    mine.eq(theirs)
                    for mine, theirs in zip(
                        column.activations,
                        self._own(m, unit.positions[0], lines, operands),
                        strict=True,
                    )
                ),
                column.control.eq(self.control),
                column.drain.eq(self.drain),
                column.drain_enable.eq(
                    Cat(self.drain_enable & (self.drain_group == group) for group in groups)
                ),
            ]
            if scaling is not None:
                m.d.comb += [
                    mine.eq(theirs.scales)
                    for mine, theirs in zip(column.activation_scales, shared, strict=True)
                ]
                if scaling.dropped_bits:
                    m.d.comb += column.rounded.eq(rounded)
            drained |= dict(zip(unit.positions, column.drained, strict=True))
        self._choose(m, [drained[place] for place in sorted(drained)])
        return m

    def _lines(self, m: Module) -> list[Lines]:
        """Return what gives columns the activations of their windows, for each pixel lane."""
        array = self._accelerator.array
        if array.depthwise is None:
            return []
        lines = []
        for pixel, word in enumerate(self.activations):
            m.submodules[f"lines_{pixel}"] = line = Lines(array)
            m.d.comb += [line.word.eq(word), line.control.eq(self.lines)]
            lines.append(line)
        return lines

    def _own(self, m: Module, place: int, lines: list[Lines], operands: list[Value]) -> list[Value]:
        """Return the activations of the column at ``place``: the shared ones, or its windows'."""
        array = self._accelerator.array
        if not lines:
            return operands
        own: list[Value] = []
        for pixel, (line, shared) in enumerate(zip(lines, operands, strict=True)):
            window = ColumnWindow.of(array)
            m.submodules[f"window_{place}_{pixel}"] = window
            m.d.comb += [
                window.codes.eq(line.codes[place % array.lanes]),
                window.is_signed.eq(self.activations_signed),
                window.push.eq(self.lines.push),
                window.slides.eq(self.lines.slides),
                window.shared.eq(self.activations[pixel][: len(window.shared)]),
            ]
            own.append(Cat(window.activations, shared[len(window.activations) :]))
        return own

    def _starts(self) -> list[int]:
        """Return where each column's bits begin in the weight word, and the word's length."""
        array = self._accelerator.array
        widths = [sum(array.column_widths(fmt)) for fmt in array.column_formats]
        return [0, *itertools.accumulate(widths)]

    def _operands(self, m: Module, pixel: int) -> Any:
        """Return what registers a pixel lane's activations for all columns."""
        array = self._accelerator.array
        if array.scalable is None:
            scaled = array.activation_scale_bits > 0 and array.scaling is not None
            shared: Any = Operands(
                lanes=array.lanes,
                bits=array.activation_bits,
                vectors=array.vectors if scaled else 0,
                scale=array.scaling.scale if scaled and array.scaling is not None else None,
                elements=array.elements,
            )
            if scaled:
                m.d.comb += shared.scaled.eq(self.scaled)
        else:
            shared = PartOperands(
                circuit=array.scalable, lanes=array.lanes, bits=array.activation_bits
            )
            m.d.comb += shared.passes.eq(self.passes)
        m.submodules[f"operands_{pixel}"] = shared
        m.d.comb += [
            shared.word.eq(self.activations[pixel]),
            shared.is_signed.eq(self.activations_signed),
        ]
        return shared

    def _passes(self, m: Module) -> list[Any]:
        """Return what describes a pass, in each cycle from its words' to its sum's."""
        array = self._accelerator.array
        if array.scalable is None:
            return []
        return [self.passes, *delayed(m, self.passes, column_stages(array) + 1, "pass")]

    def _choose(self, m: Module, drained: list[Value]) -> None:
        """Register the accumulators of the group that was asked for two cycles before."""
        lanes = self._accelerator.post_lanes
        group = [self.drain_group]
        for n in range(2):
            group.append(Signal(self.drain_group.shape(), name=f"group_{n}", reset_less=True))
            m.d.sync += group[-1].eq(group[-2])
        groups = [
            Cat(*drained[index * lanes : (index + 1) * lanes]) for index in range(self._groups)
        ]
        chosen = Choice(groups)[group[-1]] if len(groups) > 1 else groups[0]
        output = Signal(len(self.drained), reset_less=True)
        m.d.sync += output.eq(chosen)
        m.d.comb += self.drained.eq(output)
