"""Adders and trees of them."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from amaranth.hdl import Cat, Const, Value

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
