"""What the precision-scalable circuits have in common.

A column of such a circuit holds a word of operands for several *passes*, one a cycle
(:mod:`celosia.dataflow.precision` counts them). In each it takes a *part* of every operand,
multiplies and adds up the parts of all lanes, and puts that sum to those of the passes before,
most significant first: all lanes are of one significance in one pass, and the significance
hardly ever rises, so that one shift of what was added up before serves them all.
"""

from __future__ import annotations

import abc
from collections.abc import Sequence
from typing import Any, ClassVar

from amaranth.hdl import Array as Choice
from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from celosia.dataflow.microarchitecture import tree_levels
from celosia.dataflow.precision import MAX_PRECISION
from celosia.rtl.shared import Shared

PrecisionLayout = data.StructLayout(
    {"weight_bits": 5, "activation_bits": 5, "weights_signed": 1, "activations_signed": 1}
)
"""Widths of operands, 1 to 16 bits each, and how to read them."""

COMMON = {"first": 1, "shift": 2, "last": 1}
"""What every circuit says of a pass: whether it is its word's first or last, and how far what the
passes before it gave is shifted: an index into :attr:`ScalableDot.SHIFTS`."""


class PassSequencer(Shared):
    """Runs through the passes of a word at some precision, again and again.

    Parameters
    ----------
    layout : StructLayout
        What describes a pass.
    name : str
        Module name.

    Members
    -------
    precision : In(PrecisionLayout)
        Taken with ``load``.
    load : In(1)
        From the next cycle on be at the first pass of a word.
    advance : In(1)
        From the next cycle on be at the next pass; after a word's last at the first of the next.
        ``load`` wins.
    control : Out(layout)
        The pass.
    """

    def __init__(self, layout: data.StructLayout, *, name: str) -> None:
        super().__init__(
            {
                "precision": In(PrecisionLayout),
                "load": In(1),
                "advance": In(1),
                "control": Out(layout),
            },
            name=name,
            parameters=(),
        )

    def build(self) -> Module:
        m = Module()
        held: Any = Signal(PrecisionLayout, name="held")
        following: Any = Signal(PrecisionLayout, name="following")
        begin = Signal()
        m.d.comb += [
            following.eq(Mux(self.load, Value.cast(self.precision), Value.cast(held))),
            begin.eq(self.load | (self.advance & self.control.last)),
        ]
        m.d.sync += held.eq(following)
        with m.If(begin):
            m.d.sync += self.control.first.eq(1)
        with m.Elif(self.advance):
            m.d.sync += self.control.first.eq(0)
        self._sequence(m, held, following, begin)
        return m

    @abc.abstractmethod
    def _sequence(self, m: Module, held: Any, following: Any, begin: Value) -> None:
        """Add what drives ``control`` but ``first``.

        ``held`` is the precision of the pass, ``following`` that of the next cycle, which is a
        word's first pass if ``begin`` is 1.
        """


def by_width(table: Sequence[int], bits: Value, width: int) -> Value:
    """Return ``table[bits - 1]`` for ``bits`` in 1..16, ``width`` bits wide."""
    chosen: Value = Const(table[0], width)
    for index in range(1, MAX_PRECISION):
        if table[index] != table[index - 1]:
            chosen = Mux(bits > index, Const(table[index], width), chosen)
    return chosen


def lanes_of(word: Value, lanes: int) -> list[Value]:
    """Return the ``lanes`` operands in ``word``, lane 0 lowest, sign-extended to 16 bits."""
    bits = len(word) // lanes
    return [extended(word.word_select(lane, bits).as_signed()) for lane in range(lanes)]


def extended(value: Value) -> Value:
    """Return the 16 bits of ``value``, extended as its sign says."""
    return (value | Const(0, signed(MAX_PRECISION)))[:MAX_PRECISION]


class ScalableDot(abc.ABC):
    """The dot products of a column of one precision-scalable circuit.

    Sums come :attr:`stages` cycles after registered parts, whatever the circuit.

    Parameters
    ----------
    lanes : int
        Terms of a dot product.
    weight_bits : int
        Bits in which a weight is stored, two's complement.
    """

    LAYOUT: ClassVar[data.StructLayout]
    """What describes a pass."""
    SHIFTS: ClassVar[tuple[int, ...]]
    """How far the sum so far can be shifted before a pass is added, at most 4 distances."""

    def __init__(self, *, lanes: int, weight_bits: int) -> None:
        self._lanes, self._weight_bits = lanes, weight_bits

    @property
    def lanes(self) -> int:
        return self._lanes

    @property
    def tree(self) -> tuple[int, ...]:
        """Levels of adders before each register of the tree."""
        return tree_levels(self._lanes)

    @property
    def stages(self) -> int:
        """Cycles from registered parts to sums: the tree, and the sum over passes."""
        return len(self.tree) + 1

    @property
    def delays(self) -> int:
        """Cycles for which a pass is described: from its word to the last of its sum."""
        return self.stages + 2

    @staticmethod
    @abc.abstractmethod
    def sequencer() -> PassSequencer:
        """Return the component that runs through the passes."""

    @property
    @abc.abstractmethod
    def activation_part_bits(self) -> int:
        """Bits of the parts of a word of activations."""

    @property
    @abc.abstractmethod
    def weight_part_bits(self) -> int:
        """Bits of the parts of a word of weights."""

    @abc.abstractmethod
    def activation_part(self, m: Module, lanes: Sequence[Value], control: Any) -> Value:
        """Return the parts that a pass takes of a word of activations, to be registered.

        ``lanes`` holds 16 bits for each lane, sign-extended where activations are signed.
        """

    @abc.abstractmethod
    def weight_part(self, m: Module, lanes: Sequence[Value], control: Any) -> Value:
        """Return the parts that a pass takes of a word of weights, to be registered."""

    @abc.abstractmethod
    def pass_sum(
        self, m: Module, weights: Value, activations: Value, control: Sequence[Any], name: str
    ) -> tuple[Value, Value]:
        """Return the signed sum of one pass, less a carry of 1 bit, and the carry.

        Both come from the tree's last register.

        Parameters
        ----------
        m : Module
            Takes the logic.
        weights, activations : Value
            Registered parts.
        control : sequence
            What describes the pass, at index n in the n-th cycle after its word was there.
        name : str
            Ends the names of signals.
        """

    def so_far(
        self,
        m: Module,
        partial: tuple[Value, Value],
        control: Sequence[Any],
        width: int,
        name: str,
    ) -> Signal:
        """Return the sum over the passes so far, ``width`` bits, in a register.

        ``partial`` is the sum of one pass as :meth:`pass_sum` gives it.
        """
        now = control[self.stages]
        so_far = Signal(signed(width), name=f"so_far_{name}", reset_less=True)
        before = Signal(signed(width), name=f"before_{name}")
        with m.If(~now.first):
            m.d.comb += before.eq(Choice([so_far << shift for shift in self.SHIFTS])[now.shift])
        # One adder: the carry goes in below its lowest bit.
        value, carry = partial
        m.d.sync += so_far.eq((Cat(carry, value).as_signed() + Cat(carry, before).as_signed()) >> 1)
        return so_far


def delayed(m: Module, control: Any, cycles: int, name: str) -> list[Any]:
    """Return ``control`` as it was 1, 2, ... ``cycles`` cycles before."""
    stages: list[Any] = []
    for n in range(cycles):
        stage: Any = Signal(control.shape(), name=f"{name}_{n + 1}", reset_less=True)
        m.d.sync += stage.eq(stages[-1] if stages else control)
        stages.append(stage)
    return stages


def register(m: Module, value: Value, name: str) -> Signal:
    """Return ``value`` one cycle later."""
    held = Signal(value.shape(), name=name, reset_less=True)
    m.d.sync += held.eq(value)
    return held
