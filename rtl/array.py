"""The array: columns side by side."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Array as Choice
from amaranth.hdl import Cat, Module, Signal, signed
from amaranth.lib.wiring import In, Out

from celosia.dataflow.accelerator import Accelerator, Circuit
from celosia.dataflow.microarchitecture import column_stages
from celosia.rtl.column import Column, control_layout, drain_layout
from celosia.rtl.pe import LANE_BITS
from celosia.rtl.scalable import SCALABLE
from celosia.rtl.scalable.base import delayed, extended
from celosia.rtl.scalable.column import ScalableColumn
from celosia.rtl.shared import Shared


class Operands(Shared):
    """Gives every activation its sign bit and registers it, for all columns to share.

    A lane is as wide as the columns want it, all copies of the sign bit.

    Parameters
    ----------
    lanes : int
        Activations in a word, at least 1.
    bits : int
        Bits of an activation, at least 1.

    Members
    -------
    word : In(lanes * bits)
        Codes, lane 0 lowest.
    is_signed : In(1)
        The codes are two's complement.
    activations : Out(lanes * LANE_BITS)
        Sign-extended, one cycle later.
    """

    def __init__(self, *, lanes: int, bits: int) -> None:
        self._lanes, self._bits = lanes, bits
        super().__init__(
            {"word": In(lanes * bits), "is_signed": In(1), "activations": Out(lanes * LANE_BITS)},
            name=f"operands_c{lanes}",
            parameters=(lanes, bits),
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
            activation = Signal(signed(self._bits + 1), name=f"lane_{lane}", reset_less=True)
            m.d.sync += activation.eq(Cat(code, code[-1] & self.is_signed))
            m.d.comb += self.activations.word_select(lane, LANE_BITS).eq(activation)
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
    activations_signed : In(1)
        How to read them.
    weights : In(...)
        Weight word as the buffer delivers it.
    passes : In(...)
        Of precision-scalable columns: the pass that takes these words.
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
                "weights": In(accelerator.weight_word_bits),
                "control": In(control_layout(address_bits)),
                "drain_enable": In(1),
                "drain_group": In(range(max(self._groups, 2))),
                "drain": In(drain_layout(address_bits, array.pixels)),
                "drained": Out(accelerator.post_lanes * array.accumulator_bits),
            }
            | ({} if array.scalable is None else {"passes": In(SCALABLE[array.scalable].LAYOUT)}),
            name="array",
            parameters=(array, accelerator.buffers.accumulators, accelerator.post_lanes),
        )

    @property
    def accelerator(self) -> Accelerator:
        return self._accelerator

    def build(self) -> Module:
        m = Module()
        array = self._accelerator.array
        operands = [self._operands(m, pixel) for pixel in range(array.pixels)]
        passes = self._passes(m)
        drained, start = [], 0
        for index, column_group in enumerate(array.column_groups):
            kind = Column if array.scalable is None else ScalableColumn
            column = kind.of(self._accelerator, column_group)
            if passes:
                m.d.comb += [mine.eq(now) for mine, now in zip(column.passes, passes, strict=True)]
            m.submodules[f"column_{index}"] = column
            width = sum(array.column_widths(column_group.format))
            group = index // self._accelerator.post_lanes
            m.d.comb += [
                column.weights.eq(self.weights[start : start + width]),
                *(
                    mine.eq(theirs)
                    for mine, theirs in zip(column.activations, operands, strict=True)
                ),
                column.control.eq(self.control),
                column.drain.eq(self.drain),
                column.drain_enable.eq(self.drain_enable & (self.drain_group == group)),
            ]
            drained.append(column.drained)
            start += width
        self._choose(m, drained)
        return m

    def _operands(self, m: Module, pixel: int) -> Any:
        """Return what the columns take of a pixel lane's activations, registered."""
        array = self._accelerator.array
        if array.scalable is None:
            shared: Any = Operands(lanes=array.lanes, bits=array.activation_bits)
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
        return shared.activations

    def _passes(self, m: Module) -> list[Any]:
        """Return what describes a pass, in each cycle from its words' to its sum's."""
        array = self._accelerator.array
        if array.scalable is None:
            return []
        return [self.passes, *delayed(m, self.passes, column_stages(array) + 1, "pass")]

    def _choose(self, m: Module, drained: list[Signal]) -> None:
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
