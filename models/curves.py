"""Products of curves of one value: ``x * sigmoid(x)`` and its like, found while importing."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from celosia.models.functions import Chain, Combined, Curve, Line
from celosia.models.graph import FloatConv
from celosia.models.import_values import Builder, View


def combined(
    builder: Builder, left: View, right: View, *, name: str, output: str, total: bool = False
) -> View | None:
    """Add what multiplies (or adds up, ``total``) two curves of one tensor; None for others.

    Both views have the same elements in the same order.
    """
    if left.shape != right.shape or not np.array_equal(left.index, right.index):
        return None
    known = dict(_origins(builder, right.name))
    for origin, first in _origins(builder, left.name):
        if origin in known:
            second = known[origin]
            if not first.parts and not second.parts and total:
                return None
            function = Combined(first=first, second=second, total=total)
            return builder.pointwise(left.moved(origin), name, output, function=function)
    return None


def _origins(builder: Builder, name: str) -> Iterator[tuple[str, Chain]]:
    """Yield the tensors that ``name`` is a curve of, nearest first, itself among them."""
    writers = {op.output: op for op in builder.ops}
    parts: tuple[Curve, ...] = ()
    while True:
        yield name, Chain(parts=parts)
        op = writers.get(name)
        if not isinstance(op, FloatConv) or not op.pointwise or op.residual is not None:
            return
        slope = np.ones(1) if op.slope is None else op.slope
        values = op.weight.ravel(), op.bias, slope
        if any((each != each[0]).any() for each in values):
            return
        gain, offset, bent = (float(each[0]) for each in values)
        line = Line(gain=gain, offset=offset, slope=bent, low=op.low, high=op.high)
        made: tuple[Curve, ...] = () if line == Line() else (line,)
        made += () if op.function is None else (op.function,)
        made += (builder.steps[name],) if name in builder.steps else ()
        parts, name = made + parts, op.input
