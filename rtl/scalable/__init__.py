"""Precision-scalable circuits: dot products in several passes, fewer for narrower operands."""

from __future__ import annotations

from collections.abc import Mapping

from celosia.dataflow.array_shape import Circuit
from celosia.rtl.scalable.base import PassSequencer, PrecisionLayout, ScalableDot
from celosia.rtl.scalable.fusion import FusionDot
from celosia.rtl.scalable.serial import SerialDot
from celosia.rtl.scalable.tile import TileDot

SCALABLE: Mapping[Circuit, type[ScalableDot]] = {
    Circuit.TILE: TileDot,
    Circuit.FUSION: FusionDot,
    Circuit.SERIAL: SerialDot,
}
"""What makes the dot products of a column of each precision-scalable circuit."""

__all__ = ["SCALABLE", "PassSequencer", "PrecisionLayout", "ScalableDot"]
