"""Sums of operands times bits, as the bit-serial circuits make them in every pass."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Cat, Module, Value

from celosia.dataflow.microarchitecture import tree_levels
from celosia.rtl.scalable.base import register
from celosia.rtl.tree import paired


def gated_sum(
    m: Module, operands: Sequence[Value], bits: Value, inverted: Value, name: str
) -> Value:
    """Return the sum of the ``operands`` whose bit in ``bits`` is 1, after the tree's registers.

    Unsigned. Where ``inverted`` is 1 the top bit of each product is inverted: an operand in two's
    complement then counts ``2**(width - 1)`` more than it is worth, see :func:`worth`.
    """
    width = len(operands[0])
    terms: list[Value] = []
    for lane, operand in enumerate(operands):
        product = operand & bits[lane].replicate(width)
        terms.append(product ^ (inverted << width - 1))
    for stage, levels in enumerate(tree_levels(len(operands))):
        for _ in range(levels):
            terms = paired(terms)
        terms = [register(m, term, f"sum_{stage}_{name}_{i}") for i, term in enumerate(terms)]
    return terms[0]


def worth(
    total: Value, width: int, lanes: int, inverted: Value, negative: Value, scale: Value
) -> tuple[Value, Value]:
    """Return what a sum of :func:`gated_sum` is worth, negated where ``negative``; signed.

    ``lanes`` operands of ``width`` bits were added; the result is shifted left by ``scale``. The
    second part of the result is a carry to be added to the first.
    """
    excess = lanes << width - 1
    if lanes & lanes - 1:
        plain: Value = total - (inverted.replicate(excess.bit_length()) & excess)
    else:
        # The sum is below twice the excess: taking it away inverts the top bit and borrows.
        below, top = total[: excess.bit_length() - 1], total[excess.bit_length() - 1]
        plain = Cat(below, top ^ inverted, inverted & ~top)
    scaled = plain.as_signed() << scale
    return (scaled.as_unsigned() ^ negative.replicate(len(scaled))).as_signed(), negative
