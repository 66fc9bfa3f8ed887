"""What drives a column cycle by cycle, with stalls, and what its accumulators then hold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from amaranth.lib import data

from celosia.dataflow.microarchitecture import tree_levels, vector_levels
from celosia.models.bounds import reduction_bits
from celosia.models.formats import BlockScaling, Fixed, Format
from celosia.models.operations import DISTANCE, Operation
from celosia.rtl.column import Base, Column, control_layout, drain_layout
from celosia.rtl.dot import DotShape
from celosia.rtl.pe import LANE_BITS

from .compiled import numbers, packed

DEPTH = 8
"""Accumulators of a column; vector n goes to number n modulo this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vectors:
    """Operands of ``n`` steps, and the dot products that they should give.

    Attributes
    ----------
    weights : numpy.ndarray
        Codes, (n, columns, lanes).
    activations : numpy.ndarray
        Values, (n, pixels, lanes).
    dots : numpy.ndarray
        (n, columns, pixels).
    bases : numpy.ndarray
        What each is added to: a :class:`Base` by value.
    gaps : numpy.ndarray
        Cycles from the one before to each, at least as many as there are pixels.
    scales : tuple of numpy.ndarray
        Where there are scales: codes of the weights' (n, vectors), of the activations'
        (n, pixels, vectors), and whether products of them are rounded (n,).
    """

    weights: np.ndarray
    activations: np.ndarray
    dots: np.ndarray
    bases: np.ndarray
    gaps: np.ndarray
    scales: tuple[np.ndarray, ...] = ()


def terms_range(shape: DotShape, scaling: BlockScaling | None = None) -> tuple[int, int]:
    """Return the least and greatest term of a lane, with the greatest scale where it has one."""
    bits = shape.activation_bits - 1
    ends = (Fixed(bits=bits), Fixed(bits=bits, signed=False))
    weights = shape.operation.weights(shape.weight_format)
    ranges = [shape.operation.term_range(weights, activation) for activation in ends]
    scale = 1
    if scaling is not None:
        high = np.array(scaling.scale.high)
        scale = int(scaling.product(high, high))
    return (
        scale * min(int(low.min()) for low, _ in ranges),
        scale * max(int(high.max()) for _, high in ranges),
    )


def dot_products(shape: DotShape, weights: np.ndarray, activations: np.ndarray) -> np.ndarray:
    """Return the terms (n, columns, pixels, lanes), from the format's own decoding."""
    return operation_terms(
        shape.operation, shape.weight_format, weights[:, :, None, :], activations[:, None]
    )


def operation_terms(
    operation: Operation, fmt: Format, codes: np.ndarray, activations: np.ndarray
) -> np.ndarray:
    """Return the terms of weights' ``codes``; of distances the lowest code stands for no lane."""
    values = fmt.decode(codes)
    terms = operation.terms(values, activations)
    return np.where(values == fmt.low, 0, terms) if operation == DISTANCE else terms


class ColumnDrive:
    """Drives ``column`` and reads every accumulator once."""

    def __init__(self, column: Column, shape: DotShape, scaling: BlockScaling | None) -> None:
        self._shape, self._scaling = shape, scaling
        self._bits = len(column.drained[0])
        vector = shape.lanes if scaling is None else min(shape.lanes, scaling.vector)
        self._stages = len(tree_levels(vector))
        if scaling is not None:
            self._stages += len(vector_levels(shape.lanes // vector))

    @staticmethod
    def accumulator_bits(shape: DotShape, scaling: BlockScaling | None, steps: int) -> int:
        """Return the derived width of an accumulator of ``steps`` steps."""
        return reduction_bits(terms_range(shape, scaling), steps * shape.lanes)

    def totals(self, vectors: Vectors) -> np.ndarray:
        """Return the accumulators after each vector, (n, columns, pixels)."""
        half = 1 << self._bits - 1
        totals = np.zeros_like(vectors.dots)
        total = np.zeros_like(vectors.dots[0])
        for n, (dot, base) in enumerate(zip(vectors.dots, vectors.bases, strict=True)):
            if base == Base.ZERO.value:
                total = np.zeros_like(dot)
            elif base != Base.SUM.value:
                total = totals[n - self._back(base, vectors.gaps[n], n)]
            total = ((total + dot + half) & (2 * half - 1)) - half
            totals[n] = total
        return totals

    @staticmethod
    def _back(base: int, gap: int, n: int) -> int:
        """Return which vector before ``n`` gave what it is added to."""
        if base == Base.WRITTEN.value:
            return 1 if gap > 1 else 2
        return 4 + n % 4

    def inputs(self, vectors: Vectors, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Return every port's bytes, cycle by cycle; operands are anything between vectors."""
        shape = self._shape
        starts = 4 + np.cumsum(vectors.gaps)
        cycles = int(starts[-1]) + self._stages + shape.pixels + 8
        control = np.zeros((cycles, 6), np.int64)  # read, its address, step, base, write, address
        control[:, [1, 3, 5]] = rng.integers(0, (DEPTH, 4, DEPTH), (cycles, 3))
        rows = np.arange(len(starts))
        step = starts + self._stages + 1
        control[step - 1, 0] = 1
        control[step - 1, 1] = (rows - 4 - rows % 4) % DEPTH
        control[step, 2] = 1
        control[step, 3] = vectors.bases
        control[step + 1, 4] = 1
        control[step + 1, 5] = rows % DEPTH
        drain = np.zeros((cycles, 2), np.int64)
        enable = np.zeros(cycles, np.int64)
        for pixel in range(shape.pixels):
            enable[step + 2 + pixel] = (1 << shape.columns) - 1
            drain[step + 2 + pixel] = np.stack([rows % DEPTH, rows * 0 + pixel], axis=1)
        return {
            **self._operands(vectors, starts, cycles, rng),
            "control": struct(control_layout(3), control),
            "drain": struct(drain_layout(3, shape.pixels), drain),
            "drain_enable": packed(enable[:, None], shape.columns),
        }

    def _operands(
        self, vectors: Vectors, starts: np.ndarray, cycles: int, rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """Return the ports of operands; those of cycles without a vector are of other vectors."""
        others = rng.integers(0, len(starts), cycles)
        chosen = others.copy()
        chosen[starts] = np.arange(len(starts))
        later = others.copy()
        later[starts + 1] = np.arange(len(starts))
        weights = [_bits(vectors.weights, self._shape.weight_format.bits)]
        ports = {}
        if self._scaling is not None:
            bits = self._scaling.scale.bits
            weights.append(_bits(vectors.scales[0], bits))
            if len(vectors.scales) > 1:
                for pixel in range(self._shape.pixels):
                    codes = packed(vectors.scales[1][:, pixel], bits)
                    ports[f"activation_scales_{pixel}"] = codes[later]
                if self._scaling.dropped_bits:
                    ports["rounded"] = vectors.scales[2][later, None].astype(np.uint8)
        lanes = vectors.activations.astype("<i4")
        assert LANE_BITS == 32
        for pixel in range(self._shape.pixels):
            raw = np.ascontiguousarray(lanes[:, pixel]).view(np.uint8)
            ports[f"activations_{pixel}"] = raw[later]
        return {"weights": packed(np.concatenate(weights, axis=1), 1)[chosen], **ports}

    def drained(self, vectors: Vectors, outputs: list[np.ndarray]) -> np.ndarray:
        """Return what was read of the outputs of each column (cycles, bytes), as totals."""
        step = 4 + np.cumsum(vectors.gaps) + self._stages + 1
        got = np.zeros_like(vectors.dots)
        for column, raw in enumerate(outputs):
            values = numbers(raw, self._bits)
            for pixel in range(self._shape.pixels):
                got[:, column, pixel] = values[step + 4 + pixel]
        return got


def _bits(codes: np.ndarray, bits: int) -> np.ndarray:
    """Return the bits of each row's codes, the first lowest, (n, all bits)."""
    flat = codes.reshape(len(codes), -1)
    return (flat[..., None] >> np.arange(bits) & 1).reshape(len(codes), -1)


def struct(layout: data.StructLayout, fields: np.ndarray) -> np.ndarray:
    """Return the bytes of a structure's ``fields`` (cycles, fields)."""
    bits = [_bits(fields[:, n : n + 1], field.width) for n, (_, field) in enumerate(iter(layout))]
    return packed(np.concatenate(bits, axis=1), 1)
