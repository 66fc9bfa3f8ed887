"""What drives a block of columns cycle by cycle, with stalls, and what its totals then are."""

from __future__ import annotations

import numpy as np

from celosia.dataflow.array_shape import ArrayShape
from celosia.dataflow.microarchitecture import tree_levels
from celosia.models.formats import Fixed

from .column_drive import operation_terms
from .compiled import numbers, packed


class BlockDrive:
    """Extremes, then ``count`` random steps, for a block of ``shape``."""

    def __init__(self, shape: ArrayShape, count: int, rng: np.random.Generator) -> None:
        self._shape = shape
        self._latency = len(tree_levels(shape.lanes)) + 1
        tables = [fmt.decode_table() for fmt in shape.column_formats]
        size = (count, shape.lanes)
        self._weights = [rng.integers(0, len(table), size) for table in tables]
        bits = shape.activation_bits
        self._codes = rng.integers(0, 1 << bits, (count, shape.pixels, shape.lanes))
        self._signed = rng.integers(0, 2, count)
        # All pairs of extremes, in all lanes of all columns and pixels.
        for step, (weight, code, is_signed) in enumerate(np.ndindex(2, 4, 2)):
            for codes, table in zip(self._weights, tables, strict=True):
                codes[step] = table.argmin() if weight else table.argmax()
            self._codes[step] = (0, (1 << bits) - 1, 1 << bits - 1, (1 << bits - 1) - 1)[code]
            self._signed[step] = is_signed
        self._starts = 2 + np.cumsum(1 + (rng.random(count) < 0.3) * rng.integers(1, 4, count))
        self._clears = rng.random(count) < 0.1
        self._clears[0] = True

    def inputs(self, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Return every port's bytes, cycle by cycle; operands are anything in stalls."""
        shape, count = self._shape, len(self._starts)
        cycles = int(self._starts[-1]) + self._latency + 4
        chosen = rng.integers(0, count, cycles)
        chosen[self._starts] = np.arange(count)
        flags = np.zeros((2, cycles, 1), np.uint8)
        flags[0, self._starts + self._latency, 0] = 1
        flags[1, self._starts + self._latency, 0] = self._clears
        bits = [
            (codes[..., None] >> np.arange(fmt.bits) & 1).reshape(count, -1)
            for fmt, codes in zip(shape.column_formats, self._weights, strict=True)
        ]
        ports = {
            f"activations_{pixel}": packed(self._codes[:, pixel], shape.activation_bits)[chosen]
            for pixel in range(shape.pixels)
        }
        return {
            "weights": packed(np.concatenate(bits, axis=1), 1)[chosen],
            **ports,
            "is_signed": packed(self._signed[:, None], 1)[chosen],
            "step": flags[0],
            "clear": flags[1],
        }

    def expected(self) -> np.ndarray:
        """Return the totals after each step, (count, columns * pixels)."""
        shape, half = self._shape, 1 << self._shape.accumulator_bits - 1
        both = [
            Fixed(bits=shape.activation_bits, signed=s).decode(self._codes) for s in (False, True)
        ]
        values = np.where(self._signed[:, None, None] == 1, both[1], both[0])
        dots = np.stack(
            [
                operation_terms(group.operation, group.format, codes[:, None], values).sum(axis=-1)
                for group, codes in zip(shape.column_groups, self._weights, strict=True)
            ],
            axis=1,
        ).reshape(len(values), -1)
        totals = np.zeros_like(dots)
        total = dots[0]
        for step, (dot, clear) in enumerate(zip(dots, self._clears, strict=True)):
            total = (((0 if clear else total) + dot + half) & (2 * half - 1)) - half
            totals[step] = total
        return totals

    def totals(self, outputs: dict[str, np.ndarray], prefix: str) -> np.ndarray:
        """Return what the outputs whose names begin with ``prefix`` held after each step."""
        shape = self._shape
        bits = shape.accumulator_bits
        return np.stack(
            [
                numbers(outputs[f"{prefix}totals_{n}"], bits)[self._starts + self._latency + 1]
                for n in range(shape.column_count * shape.pixels)
            ],
            axis=1,
        )
