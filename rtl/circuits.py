"""Which circuit makes a column's dot products of what."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

from celosia.dataflow.array_shape import Circuit
from celosia.models.operations import Kind
from celosia.rtl.dot import DistanceDot, Dot, DotShape, LaneDot
from celosia.rtl.dsp_dot import DspDot
from celosia.rtl.pe import LUT_MULTIPLIERS

DOTS: Mapping[Circuit, Callable[[DotShape], Dot]] = {
    Circuit.LANES: LaneDot,
    Circuit.LUTS: functools.partial(LaneDot, multipliers=LUT_MULTIPLIERS),
    Circuit.DSP: DspDot,
}
"""What multiplies and adds in a column of each circuit."""


def dot_of(shape: DotShape, circuit: Circuit) -> Dot:
    """Return the dot products of a column of ``circuit``, which only products can choose."""
    if shape.operation.kind is Kind.DISTANCE:
        return DistanceDot(shape)
    return DOTS[circuit](shape)
