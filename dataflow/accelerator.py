"""The description of a dense accelerator: a frozen value, written by people as TOML.

It holds what the hardware *is*; what it does to a layer is in
:mod:`celosia.dataflow.mapping` and :mod:`celosia.dataflow.program`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from celosia.models.formats import Fixed, Format


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnGroup:
    """``count`` columns of the array that multiply weights of ``format``."""

    format: Format
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrayShape:
    """The array: ``K`` columns x ``lanes`` (reduction) x ``pixels`` that share weights.

    ``accumulator_bits`` 16..40, ``activation_bits`` 1..8 (storage width of one activation).
    """

    columns: tuple[ColumnGroup, ...]
    lanes: int
    pixels: int
    accumulator_bits: int = 32
    activation_bits: int = 8

    @property
    def column_formats(self) -> tuple[Format, ...]:
        """The format of each column, groups interleaved evenly.

        Column ``i`` goes to the group that lags most behind its share, so any
        leading part of the columns holds the groups in nearly their proportion
        and a layer with few output channels still finds all formats in few words.
        """
        total = self.column_count
        placed = [0] * len(self.columns)
        order: list[Format] = []
        for position in range(1, total + 1):
            lag = [group.count * position / total - done if done < group.count else -math.inf
                   for group, done in zip(self.columns, placed, strict=True)]
            chosen = lag.index(max(lag))
            placed[chosen] += 1
            order.append(self.columns[chosen].format)
        return tuple(order)

    @property
    def column_count(self) -> int:
        """``K``: number of columns."""
        return sum(group.count for group in self.columns)

    @property
    def products(self) -> int:
        """Products a cycle: ``K x lanes x pixels``."""
        return self.column_count * self.lanes * self.pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Buffers:
    """Depth of each on-chip buffer in words (see :class:`Accelerator` for the words)."""

    activations: int
    weights: int
    accumulators: int
    constants: int
    residuals: int
    outputs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Bus:
    """The AXI master port. ``data_bits`` 64..512, a power of two; ``burst_beats`` 1..256
    (and at most 4 KiB); ``outstanding`` bursts in flight, 1..64, for reads and for writes."""

    data_bits: int = 128
    address_bits: int = 40
    burst_beats: int = 64
    outstanding: int = 8

    @property
    def data_bytes(self) -> int:
        """Bytes of one beat."""
        return self.data_bits // 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """One dense engine.

    Words of the buffers, and how they lie in memory (every word starts on a beat
    and fills a whole number of beats; lane or column 0 in the lowest bits):

    - activations, residuals, outputs: ``lanes * activation_bits`` bits, lane c at
      bit ``c * activation_bits``. The activation buffer has one such word for each
      of the ``pixels`` at every address.
    - weights: for column k in order, ``lanes`` codes of the column's format.
    - constants: for each of ``post_lanes`` channels, see ``constant_bits``.

    ``post_lanes`` must divide both the number of columns and the lanes.
    """

    name: str
    array: ArrayShape
    buffers: Buffers
    bus: Bus
    post_lanes: int

    @property
    def activation_word_bits(self) -> int:
        """Bits of one activation, residual or output word."""
        return self.array.lanes * self.array.activation_bits

    @property
    def weight_word_bits(self) -> int:
        """Bits of one weight word."""
        return self.array.lanes * sum(group.format.bits * group.count for group in self.array.columns)

    @property
    def constant_bits(self) -> int:
        """Bits of one channel's constants, from bit 0: bias, positive, negative, residual, shift."""
        return self.array.accumulator_bits + 3 * 18 + 6

    @property
    def constant_word_bits(self) -> int:
        """Bits of one constant word."""
        return self.post_lanes * self.constant_bits

    def beats(self, bits: int) -> int:
        """Beats that a word of ``bits`` bits fills in memory."""
        return -(-bits // self.bus.data_bits)

    @property
    def activation_format(self) -> Fixed:
        """Storage format of activations (signedness is chosen by each descriptor)."""
        return Fixed(bits=self.array.activation_bits, signed=False)
