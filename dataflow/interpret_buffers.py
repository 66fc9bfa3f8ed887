"""The on-chip memories of the referee :mod:`celosia.dataflow.interpret`, and how words are read."""

from __future__ import annotations

import numpy as np

from celosia.dataflow.accelerator import ROW_ENTRIES, Accelerator
from celosia.dataflow.descriptors import Buffer, Load
from celosia.models.network import MULTIPLIER_BITS


def field(words: np.ndarray, start: int, bits: int) -> np.ndarray:
    """Return ``bits`` bits (at most 62) of each word (uint8 rows) from bit ``start``, unsigned."""
    first, last = start // 8, (start + bits - 1) // 8 + 1
    value = np.zeros(words.shape[:-1], np.int64)
    for index in range(first, last):
        byte = words[..., index].astype(np.int64)
        shift = 8 * index - start
        value |= byte << shift if shift >= 0 else byte >> -shift
    return value & ((1 << bits) - 1)


def signed(values: np.ndarray, bits: int) -> np.ndarray:
    """Return ``values`` (their low ``bits`` bits) read as two's complement."""
    values = values & ((1 << bits) - 1)
    return np.asarray(values - ((values >> (bits - 1)) << bits))


def unpack(words: np.ndarray, widths: np.ndarray) -> np.ndarray:
    """Return the fields of ``words`` (uint8 rows), of ``widths`` bits from bit 0 on, unsigned."""
    bits = np.unpackbits(words, axis=-1, bitorder="little")
    starts = np.cumsum(widths) - widths
    most = int(widths.max())
    index = starts[:, None] + np.arange(most)
    inside = np.arange(most) < widths[:, None]
    spread = np.where(inside, bits[..., np.where(inside, index, 0)], 0)
    return np.asarray(spread @ (np.int64(1) << np.arange(most)))


class Buffers:
    """The on-chip memories, full of garbage at first."""

    def __init__(self, accelerator: Accelerator, random: np.random.Generator) -> None:
        array, depth = accelerator.array, accelerator.buffers
        self.columns, self.lanes = array.column_count, array.lanes
        self._formats, self._scaling = array.column_formats, array.scaling
        done = [group.operation for group in array.column_groups]
        self.operations = {
            operation: np.array([i for i, other in enumerate(done) if other == operation])
            for operation in dict.fromkeys(done)
        }
        self.idle = np.array([group.operation.idle(group.format) for group in array.column_groups])
        code = 1 << array.activation_bits
        lanes = array.lanes
        self.activations = random.integers(0, code, (array.pixels, depth.activations, lanes))
        self.weights = random.integers(-8, 8, (depth.weights, self.columns, lanes)).astype(float)
        vectors, scale = (
            array.vectors,
            2 if array.scaling is None else 1 << array.scaling.scale.bits,
        )
        self.weight_scales = random.integers(0, scale, (depth.weights, self.columns, vectors))
        vectors = vectors if array.activation_scale_bits else 0
        shape = (array.pixels, depth.activations, vectors)
        self.activation_scales = random.integers(0, scale, shape)
        self.residual_scales = random.integers(0, scale, (depth.residuals, vectors))
        self.output_scales = random.integers(0, scale, (depth.outputs, vectors))
        shape = (depth.accumulators, array.pixels, self.columns)
        self.accumulators = random.integers(-999, 999, shape)
        self.constants = random.integers(0, 30, (depth.constants, accelerator.post_lanes, 5))
        self.residuals = random.integers(0, code, (depth.residuals, lanes))
        self.outputs = random.integers(0, code, (depth.outputs, lanes))
        tables = accelerator.tables
        rows = 0 if tables is None else tables.count * tables.rows
        self.tables = random.integers(0, code, (rows, ROW_ENTRIES))
        self._table_widths = np.full(ROW_ENTRIES, array.activation_bits)
        self.activation_widths = np.full(lanes, array.activation_bits)
        if vectors and array.scaling is not None:
            scales = np.full(vectors, array.scaling.scale.bits)
            self.activation_widths = np.concatenate([self.activation_widths, scales])
        self._weight_widths = np.concatenate([array.column_widths(fmt) for fmt in self._formats])
        multiplier = [MULTIPLIER_BITS] * 3
        self._constant_widths = np.array([array.accumulator_bits, *multiplier, 6])
        self._post_lanes = accelerator.post_lanes

    def write(self, load: Load, lane: int, addresses: np.ndarray, data: np.ndarray) -> None:
        """Write memory words ``data`` (uint8 rows) at buffer ``addresses``."""
        match load.target:
            case Buffer.ACTIVATIONS:
                fields = unpack(data, self.activation_widths)
                self.activations[lane, addresses] = fields[:, : self.lanes]
                self.activation_scales[lane, addresses] = fields[:, self.lanes :]
            case Buffer.RESIDUALS:
                fields = unpack(data, self.activation_widths)
                self.residuals[addresses] = fields[:, : self.lanes]
                self.residual_scales[addresses] = fields[:, self.lanes :]
            case Buffer.WEIGHTS:
                self.weights[addresses], scales = self.decode_weights(data)
                if scales is not None:
                    self.weight_scales[addresses] = scales
            case Buffer.CONSTANTS:
                self.constants[addresses] = self.decode_constants(data)
            case Buffer.TABLES:
                self.tables[addresses] = self.decode_table(data)

    def decode_table(self, data: np.ndarray) -> np.ndarray:
        """Return the entries in rows of a table (uint8 rows), their bits without a sign."""
        return unpack(data, self._table_widths)

    def decode_weights(self, data: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the weights (words, columns, lanes) in memory words, and scales of their vectors.

        ``data`` is uint8 (words, bytes).
        """
        codes = unpack(data, self._weight_widths).reshape(len(data), self.columns, -1)
        weights = np.empty((len(data), self.columns, self.lanes))
        for column, fmt in enumerate(self._formats):
            weights[:, column] = fmt.decode(codes[:, column, : self.lanes])
        if self._scaling is None:
            return weights, None
        return weights, self._scaling.scale.decode(codes[..., self.lanes :])

    def decode_constants(self, data: np.ndarray) -> np.ndarray:
        """Return the constants in memory words (uint8 rows): int64 (words, post lanes, fields)."""
        widths = self._constant_widths
        starts = np.cumsum(widths) - widths
        size = int(widths.sum())
        constants = np.empty((len(data), self._post_lanes, len(widths)), np.int64)
        for post in range(self._post_lanes):
            for index, (start, bits) in enumerate(zip(starts, widths, strict=True)):
                value = field(data, post * size + int(start), int(bits))
                constants[:, post, index] = value if index == 4 else signed(value, int(bits))
        return constants
