"""Distances of weights and activations, and their sums, as AdderNet adds them (CVPR 2020).

A distance is a difference with its sign taken off. The sign is left *pending*: a node of the
adder tree is a sum of distances or, where it is negative, minus that sum. Two nodes are added or
subtracted, as their signs agree or not, and the result has the sign of the first: no row of logic
inverts anything, the carry of a subtraction is the carry-in of the addition it is, and the bit
below the sign is the carry out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from amaranth.hdl import Cat, Const, Module, Signal, Value

from celosia.models.formats import Fixed, Format
from celosia.rtl.pe.base import Term
from celosia.rtl.tree import carried

TOGETHER: Final = 5
"""Bits of a code that fit one look-up table with a bit of an activation.

Of more, whether the code is that of no lane is known when the distance is, and what comes next
masks it.
"""


@dataclass(frozen=True, slots=True)
class Pending:
    """A sum of distances, or minus that sum: ``value - (negative << len(value))``.

    ``value`` holds the bits below the sign, unsigned, and ``negative`` the sign, 1 bit.
    """

    value: Value
    negative: Value

    def extended(self, bits: int) -> Value:
        """Return the lowest ``bits`` bits, at least those of ``value``."""
        return Cat(self.value, self.negative.replicate(bits - len(self.value)))


class Distance:
    """One weight, decoded once, and its distances from any number of activations.

    Parameters
    ----------
    m : Module
        Takes the logic.
    weight_format : Format
        Signed fixed point, in the step of the activations.
    code : Value
        Unsigned, ``weight_format.bits`` wide.
    name : str
        Ends the names of signals.
    idle : bool
        Whether the lowest code stands for no lane: its distance from every activation is 0.

    Raises
    ------
    TypeError
        If weights are not signed fixed point.
    """

    def __init__(
        self, m: Module, weight_format: Format, code: Value, name: str, *, idle: bool = True
    ) -> None:
        if not isinstance(weight_format, Fixed) or not weight_format.signed:
            raise TypeError(f"weight_format must be a signed Fixed, not {weight_format!r}")
        self._weight, self._some = code, Signal(name=f"some_{name}", init=1)
        self._late = idle and len(code) > TOGETHER
        if idle:
            # Of the lowest code, only the sign bit is 1.
            m.d.comb += self._some.eq(~code[-1] | code[:-1].any())
            if not self._late:
                self._weight = Cat(code[:-1], code[-1] & self._some)

    def apart(self, m: Module, activation: Value, name: str) -> Pending:
        """Return the distance from ``activation``, signed or unsigned as its shape says."""
        signed = activation.shape().signed
        bits = max(len(self._weight), len(activation) + (not signed))
        top = activation[-1] if signed else Const(0, 1)
        weight = Cat(self._weight, self._weight[-1].replicate(bits - len(self._weight)))
        wide = Cat(activation, top.replicate(bits - len(activation)))
        masked = wide if self._late else wide & self._some.replicate(bits)
        # With their top bits inverted both are unsigned, and the carry says which is greater.
        rows = Cat(weight[:-1], masked[-1]), Cat(~masked[:-1], ~weight[-1])
        total = Signal(bits + 1, name=f"apart_{name}")
        m.d.comb += total.eq(carried(*rows, Const(1, 1)))
        if self._late:
            return Pending(total[:-1] & self._some.replicate(bits), ~total[-1] & self._some)
        return Pending(total[:-1], ~total[-1])


def added(one: Pending, other: Pending) -> Pending:
    """Return the sum of two sums, of one bit more than the wider of them."""
    bits = max(len(one.value), len(other.value))
    apart = one.negative ^ other.negative
    flipped = other.extended(bits) ^ apart.replicate(bits)
    return Pending(carried(one.extended(bits), flipped, apart), one.negative)


def settled(total: Pending) -> Term:
    """Return minus the sum."""
    flip = ~total.negative
    value = Cat(total.value ^ flip.replicate(len(total.value)), Const(1, 1))
    return Term(value=value.as_signed(), owed=flip)
