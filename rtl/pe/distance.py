"""Distances of weights and activations, and their sums, as AdderNet adds them (CVPR 2020).

A distance is a difference with its sign taken off. The sign is left *pending*: a node of the
adder tree holds a value and whether the sum is its negation. Two nodes are added or subtracted,
as their signs agree or not, and the result has the sign of the first: no row of logic inverts
anything, and the carry of a subtraction is the carry-in of the addition it is.
"""

from __future__ import annotations

from dataclasses import dataclass

from amaranth.hdl import Cat, Const, Module, Signal, Value, signed

from celosia.models.formats import Fixed, Format
from celosia.rtl.pe.base import LANE_BITS


@dataclass(frozen=True, slots=True)
class Pending:
    """A sum of distances: ``value``, signed, or its negation where ``negative``, 1 bit."""

    value: Value
    negative: Value


class Distance:
    """One weight, decoded once, and its distances from any number of activations.

    The lowest code stands for no lane: its distance from every activation is 0.
    """

    def __init__(self, m: Module, weight_format: Format, code: Value, name: str) -> None:
        if not isinstance(weight_format, Fixed) or not weight_format.signed:
            raise TypeError(f"weight_format must be a signed Fixed, not {weight_format!r}")
        some = Signal(name=f"some_{name}")
        self._mask = Signal(LANE_BITS, name=f"mask_{name}")
        self._weight = Signal(signed(LANE_BITS), name=f"weight_{name}")
        lowest = 1 << weight_format.bits - 1
        m.d.comb += [
            some.eq(code != lowest),
            self._mask.eq(some.replicate(LANE_BITS)),
            # Of the lowest code, only the sign bit is 1.
            self._weight.eq(Cat(code[:-1], code[-1] & some).as_signed()),
        ]

    def apart(self, m: Module, activation: Value, name: str) -> Pending:
        """Return the distance from ``activation`` (``LANE_BITS`` bits, sign-extended)."""
        apart = Signal(signed(LANE_BITS), name=f"apart_{name}")
        m.d.comb += apart.eq(self._weight - (activation & self._mask).as_signed())
        return Pending(apart, apart[-1])


def added(one: Pending, other: Pending) -> Pending:
    """Return the sum of two sums, whose values need less than ``LANE_BITS - 1`` bits."""
    apart = one.negative ^ other.negative
    flipped = other.value ^ apart.replicate(LANE_BITS)
    # The lowest bits, 1 and ``apart``, make the carry of a subtraction.
    left, right = (
        Cat(low, value[: LANE_BITS - 1]).as_signed()
        for low, value in ((Const(1, 1), one.value), (apart, flipped))
    )
    return Pending(((left + right)[:LANE_BITS].as_signed() >> 1), one.negative)


def settled(total: Pending) -> Value:
    """Return minus the sum, signed, of ``LANE_BITS`` bits."""
    flip = ~total.negative
    flipped = total.value ^ flip.replicate(LANE_BITS)
    return (flipped + flip)[:LANE_BITS].as_signed()
