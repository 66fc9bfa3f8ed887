"""Trees: of adders, and of choices among many."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from amaranth.hdl import Array, Cat, Const, Mux, Value

Node = TypeVar("Node")


def paired(terms: Sequence[Node], add: Callable[[Any, Any], Node] = operator.add) -> list[Node]:
    """Return the sums of neighbours, one level of a tree; an odd last term as it is."""
    sums = [add(one, other) for one, other in zip(terms[::2], terms[1::2], strict=False)]
    return [*sums, *terms[2 * len(sums) :]]


def carried(one: Value, other: Value, carry: Value) -> Value:
    """Return ``one + other + carry``, unsigned, of one bit more than operands of equal width.

    Written as one adder, with the carry made below its lowest bit, where synthesis would make two.
    """
    return (Cat(Const(1, 1), one) + Cat(carry, other))[1:]


def lowest_bit(flags: Value) -> tuple[Value, Value]:
    """Return whether any of ``flags`` (a power of two of them) is 1, and the number of the lowest.

    By quarters, of which the first two bits of the number tell which has it.
    """
    width = len(flags)
    if width == 1:
        return flags, Const(0, 0)
    if width == 2:
        return flags.any(), ~flags[0]
    quarter = width // 4
    parts = [lowest_bit(flags[n * quarter : (n + 1) * quarter]) for n in range(4)]
    some = Cat(found for found, _ in parts)
    high = Cat(~some[0] & (some[1] | ~some[2]), ~(some[0] | some[1]))
    return flags.any(), Cat(Array([index for _, index in parts])[high], high)


def one_of(picks: Iterable[Value], values: Iterable[Value]) -> Value:
    """Return the value that is picked; at most one is, of none the result is 0."""
    masked = [Mux(pick, value, 0) for pick, value in zip(picks, values, strict=True)]
    return functools.reduce(operator.or_, masked)
