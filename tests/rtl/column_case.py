"""A column to be tested, and the width that its accumulators need."""

from __future__ import annotations

from dataclasses import dataclass

from celosia.dataflow.array_shape import Circuit
from celosia.models.formats import BlockScaling, Format
from celosia.models.operations import MULTIPLY, Operation
from celosia.rtl.column import Column
from celosia.rtl.dot import DotShape

from .column_drive import DEPTH, ColumnDrive

STEPS = 64
"""Steps of the longest reduction; accumulators are no wider than it needs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A column."""

    weights: Format
    bits: int
    circuit: Circuit = Circuit.LANES
    lanes: int = 16
    columns: int = 1
    pixels: int = 1
    operation: Operation = MULTIPLY
    scaling: BlockScaling | None = None

    @property
    def shape(self) -> DotShape:
        return DotShape(
            weight_format=self.weights, lanes=self.lanes, pixels=self.pixels,
            activation_bits=self.bits + 1, operation=self.operation, columns=self.columns,
        )  # fmt: skip

    @property
    def accumulator_bits(self) -> int:
        """What the longest reduction needs."""
        return ColumnDrive.accumulator_bits(self.shape, self.scaling, STEPS)

    def column(self) -> Column:
        return Column(
            weight_format=self.weights, lanes=self.lanes, pixels=self.pixels,
            activation_bits=self.bits + 1, accumulator_bits=self.accumulator_bits,
            depth=DEPTH, circuit=self.circuit, scaling=self.scaling,
            activation_scales=self.scaling is not None, operation=self.operation,
            columns=self.columns,
        )  # fmt: skip
