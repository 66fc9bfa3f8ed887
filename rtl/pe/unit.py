"""A processing element on its own: lanes, adder tree and accumulator, to be measured and proved.

It is made of the lanes that the engine's columns are made of, with operands of exact width and
no registers but the accumulator: what a published table of look-up tables a lane counts.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Module, Signal, Value, signed
from amaranth.lib.wiring import In, Out

from celosia.models.formats import Esb, Fixed, Format
from celosia.rtl.pe import LUT_MULTIPLIERS, MULTIPLIERS, multiplier
from celosia.rtl.pe.base import Term
from celosia.rtl.pe.difference import difference
from celosia.rtl.pe.esb_product import esb_product
from celosia.rtl.shared import Shared


class SignStyle(enum.Enum):
    """Who settles the carry that a lane owes."""

    NAIVE = "naive"
    """The lane: its term is the whole product, and each lane has an adder for it."""
    CARRY = "carry"
    """The adder tree: the carry of each lane is the carry-in of one of its adders."""


class Lane(enum.Enum):
    """What a lane computes of a weight and an activation."""

    PRODUCT = "product"
    """Their product: of fixed-point activations and any weights, or of two floats."""
    ROWS = "rows"
    """The same of look-up tables alone, fewest of them: fixed-point weights as recoded rows."""
    DIFFERENCE = "difference"
    """``-|activation - weight|`` of fixed-point operands in one scale, as in AdderNet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneShape:
    """What a lane is made for: formats of weight and activation, and what it computes.

    Activations are :class:`~celosia.models.formats.Fixed`, or
    :class:`~celosia.models.formats.Esb` where the weights are.
    """

    weights: Format
    activations: Format
    lane: Lane = Lane.PRODUCT

    def __post_init__(self) -> None:
        fixed = isinstance(self.activations, Fixed)
        if self.lane is Lane.DIFFERENCE and not (fixed and isinstance(self.weights, Fixed)):
            raise ValueError(
                "operands of a difference must be fixed point, not "
                f"{self.weights.name} and {self.activations.name}"
            )
        floats = isinstance(self.activations, Esb) and isinstance(self.weights, Esb)
        if not fixed and not (floats and self.lane is Lane.PRODUCT):
            raise ValueError(
                "activations must be fixed point, or of an esb format like the weights, not "
                f"{self.activations.name} with weights of {self.weights.name}"
            )

    @property
    def extremes(self) -> tuple[int, int]:
        """Least and greatest term, carries settled."""
        pairs = [
            (weight, activation)
            for weight in (self.weights.low, self.weights.high)
            for activation in (self.activations.low, self.activations.high)
        ]
        if self.lane is Lane.DIFFERENCE:
            return min(-abs(activation - weight) for weight, activation in pairs), 0
        products = [weight * activation for weight, activation in pairs]
        return min(*products, 0), max(*products, 0)

    @property
    def term_bits(self) -> int:
        """Bits of a term, signed, with its carry or without."""
        low, high = self.extremes
        return max((-low).bit_length(), high.bit_length()) + 1


def term(m: Module, shape: LaneShape, weight: Value, activation: Value, name: str) -> Term:
    """Return the term of one lane for the codes ``weight`` and ``activation``."""
    if shape.lane is Lane.DIFFERENCE:
        return difference(
            m, _integer(shape.weights, weight), _integer(shape.activations, activation), name
        )
    if isinstance(shape.weights, Esb) and isinstance(shape.activations, Esb):
        return esb_product(m, shape.weights, shape.activations, weight, activation, name)
    known = LUT_MULTIPLIERS if shape.lane is Lane.ROWS else MULTIPLIERS
    unit = multiplier(m, shape.weights, weight, name, width=shape.term_bits, known=known)
    value = unit.product(_integer(shape.activations, activation)).as_signed()
    return Term(value=value, owed=unit.owed)


def _integer(fmt: Format, code: Value) -> Value:
    """Return the integer that a fixed-point code stands for."""
    return code.as_signed() if isinstance(fmt, Fixed) and fmt.signed else code


class Unit(Shared):
    """A dot product of some lanes and its accumulator, one step a cycle.

    Parameters
    ----------
    shape : LaneShape
        Of each lane.
    lanes : int
        Terms of a step, a power of two.
    accumulator_bits : int
        Of the accumulator, two's complement; sums wrap.
    sign_style : SignStyle
        Who settles the carries of lanes. It changes area, never bits or cycles.

    Members
    -------
    weights : In(lanes * shape.weights.bits)
        Codes, lane 0 lowest.
    activations : In(lanes * shape.activations.bits)
        Codes, lane 0 lowest.
    step : In(1)
        Add the dot product of this cycle's operands to ``total``.
    clear : In(1)
        Set ``total`` to 0, whatever ``step`` is.
    total : Out(signed(accumulator_bits))
        From the cycle after.

    Raises
    ------
    ValueError
        If ``lanes`` is no power of two, or the accumulator narrower than a term.
    """

    def __init__(
        self, *, shape: LaneShape, lanes: int, accumulator_bits: int, sign_style: SignStyle
    ) -> None:
        if lanes < 1 or lanes & (lanes - 1):
            raise ValueError(f"lanes must be a power of two, not {lanes!r}")
        if accumulator_bits < shape.term_bits:
            raise ValueError(
                f"accumulator_bits must be at least a term's {shape.term_bits}, "
                f"not {accumulator_bits!r}"
            )
        self._shape, self._lanes, self._style = shape, lanes, sign_style
        super().__init__(
            {
                "weights": In(lanes * shape.weights.bits),
                "activations": In(lanes * shape.activations.bits),
                "step": In(1),
                "clear": In(1),
                "total": Out(signed(accumulator_bits)),
            },
            name=f"unit_{shape.lane.value}_{shape.weights.name}_{shape.activations.name}"
            f"_c{lanes}_{sign_style.value}",
            parameters=(shape, lanes, accumulator_bits, sign_style),
        )

    @property
    def shape(self) -> LaneShape:
        return self._shape

    @property
    def lanes(self) -> int:
        return self._lanes

    def build(self) -> Module:
        m = Module()
        dot = dot_product(m, self._shape, self._style, self.weights, self.activations)
        accumulate(m, self, dot)
        return m


def dot_product(
    m: Module, shape: LaneShape, style: SignStyle, weights: Value, activations: Value
) -> Term:
    """Return the sum of the terms of all lanes; the last carry is owed.

    Parameters
    ----------
    m : Module
        Takes the logic.
    shape : LaneShape
        Of each lane.
    style : SignStyle
        Who settles the carries.
    weights, activations : Value
        Codes of as many lanes as there are, a power of two; lane 0 lowest.
    """
    terms: list[Value] = []
    owed: list[Value] = []
    for lane in range(len(weights) // shape.weights.bits):
        weight = weights.word_select(lane, shape.weights.bits)
        activation = activations.word_select(lane, shape.activations.bits)
        made = term(m, shape, weight, activation, str(lane))
        value = Signal(signed(shape.term_bits), name=f"term_{lane}")
        if made.owed is not None and style is SignStyle.CARRY:
            owed.append(made.owed)
            m.d.comb += value.eq(made.value)
        else:
            m.d.comb += value.eq(made.value + (0 if made.owed is None else made.owed))
        terms.append(value)
    bits = shape.term_bits
    while len(terms) > 1:
        bits += 1
        sums = [Signal(signed(bits), name=f"sum_{bits}_{n}") for n in range(len(terms) // 2)]
        for n, total in enumerate(sums):
            carry = owed.pop() if owed else 0
            m.d.comb += total.eq(terms[2 * n] + terms[2 * n + 1] + carry)
        terms = [*sums]
    return Term(value=terms[0], owed=owed.pop() if owed else None)


def accumulate(m: Module, unit: Any, addend: Term) -> None:
    """Add ``addend`` to the port ``total`` of ``unit`` at each ``step``; ``clear`` sets it to 0."""
    carry = 0 if addend.owed is None else addend.owed
    with m.If(unit.clear):
        m.d.sync += unit.total.eq(0)
    with m.Elif(unit.step):
        m.d.sync += unit.total.eq(unit.total + addend.value + carry)
