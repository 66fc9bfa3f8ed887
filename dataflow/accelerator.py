"""The description of a dense accelerator: a frozen value, written by people as TOML.

It holds what the hardware *is*; what it does to a layer is in
:mod:`celosia.dataflow.mapping` and :mod:`celosia.dataflow.program`. Its file form is in
:mod:`celosia.dataflow.accelerator_file`, ready-made ones in :mod:`celosia.dataflow.presets`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

from celosia.dataflow.array_shape import MAX_DEPTH, MAX_LANES, ArrayShape
from celosia.dataflow.checks import check_accelerator_name, check_range
from celosia.dataflow.memory_kinds import UNNAMED, BufferMemories
from celosia.models.formats import (
    Fixed,
)
from celosia.models.tables import MAX_TABLE_BITS

MIN_PORT_BITS = 32
"""Narrowest memory port."""

ROW_ENTRIES = 4
"""Entries of a table side by side in a row: 32 bits of 8-bit activations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """Tables in the post lanes, for functions of a requantised value.

    Each lane has ``count`` (1..16) of ``2**index_bits`` entries (4..12 bits), all lanes the same:
    while one is looked up in, the next layer's can be loaded into another.
    """

    index_bits: int
    count: int

    def __post_init__(self) -> None:
        check_range("index_bits", self.index_bits, 4, MAX_TABLE_BITS)
        check_range("count", self.count, 1, 16)

    @property
    def rows(self) -> int:
        """Rows of one table."""
        return (1 << self.index_bits) // ROW_ENTRIES


@dataclass(frozen=True, slots=True, kw_only=True)
class Buffers:
    """Depth of each on-chip buffer in words, 1..65536 (see :class:`Accelerator` for the words).

    With ``activation_banks`` 2 the activations, whose depth is then a power of two, lie in two
    banks: outputs that stay on chip are written into one while loads fill the other.
    """

    activations: int
    weights: int
    accumulators: int
    constants: int
    residuals: int
    outputs: int
    activation_banks: int = 1

    def __post_init__(self) -> None:
        check_range("activation_banks", self.activation_banks, 1, 2)
        for field in (
            "activations", "weights", "accumulators", "constants", "residuals", "outputs",
        ):  # fmt: skip
            check_range(field, getattr(self, field), 1, MAX_DEPTH)
        depth = self.activations
        if self.activation_banks == 2 and (depth < 2 or depth & (depth - 1)):
            raise ValueError(
                f"activations must be a power of two where activation_banks is 2, not {depth!r}"
            )

    @property
    def keeps(self) -> bool:
        """Whether outputs can stay on chip as the next layer's activations."""
        return self.activation_banks == 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Bus:
    """The AXI master port, or the ports that make up one.

    ``data_bits`` 64..512, a power of two; ``address_bits`` 32..64; ``burst_beats``
    1..256 and at most 4 KiB; ``outstanding`` bursts in flight, 1..64, for reads and
    for writes. With ``ports`` 2 or 4 the bus leaves the chip as that many ports of
    ``data_bits / ports`` bits, at least 32, and memory is striped over them:
    :mod:`celosia.dataflow.stripes`.
    """

    data_bits: int = 128
    address_bits: int = 40
    burst_beats: int = 64
    outstanding: int = 8
    ports: int = 1

    def __post_init__(self) -> None:
        check_range("data_bits", self.data_bits, 64, 512)
        if self.data_bits & (self.data_bits - 1):
            raise ValueError(f"data_bits must be 64, 128, 256 or 512, not {self.data_bits!r}")
        check_range("address_bits", self.address_bits, 32, 64)
        check_range("burst_beats", self.burst_beats, 1, 256)
        if self.burst_beats * self.data_bytes > 4096:
            raise ValueError(
                f"burst_beats must be at most {4096 // self.data_bytes} at {self.data_bits} data "
                f"bits (a burst is at most 4 KiB), not {self.burst_beats!r}"
            )
        check_range("outstanding", self.outstanding, 1, 64)
        check_range("ports", self.ports, 1, 4)
        if self.ports == 3:
            raise ValueError("ports must be 1, 2 or 4, not 3")
        if self.data_bits < MIN_PORT_BITS * self.ports:
            raise ValueError(
                f"ports must be at most {self.data_bits // MIN_PORT_BITS} at {self.data_bits} data "
                f"bits (a port has at least {MIN_PORT_BITS}), not {self.ports!r}"
            )

    @property
    def data_bytes(self) -> int:
        """Bytes of one beat, of all ports together."""
        return self.data_bits // 8

    @property
    def stripes(self) -> int:
        """Stripes that memory is cut into: the ports, none where there is one."""
        return self.ports if self.ports > 1 else 0

    @property
    def port_bits(self) -> int:
        """Width of one port."""
        return self.data_bits // self.ports

    @property
    def port_bytes(self) -> int:
        """Bytes of one beat of one port."""
        return self.port_bits // 8

    @property
    def settings(self) -> dict[str, int]:
        """What its file form says: every field, but ``ports`` only where there are several."""
        values = {field.name: int(getattr(self, field.name)) for field in fields(self)}
        return values if self.ports > 1 else {k: v for k, v in values.items() if k != "ports"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Accelerator:
    """One dense engine.

    Words of the buffers, and how they lie in memory (every word starts on a beat
    and fills a whole number of beats; lane or column 0 in the lowest bits):

    - activations, residuals, outputs: ``lanes * activation_bits`` bits, lane c at
      bit ``c * activation_bits``, then the codes of the activations' scales, if any. The
      activation buffer has one such word for each of the ``pixels`` at every address.
    - weights: for column k in order, ``lanes`` codes of the column's format, then the codes of
      the column's scales, if any.
    - constants: for each of ``post_lanes`` channels, see ``constant_bits``.
    - tables, if there are any: rows of ``ROW_ENTRIES`` codes of ``activation_bits`` bits.

    ``memories`` says what the buffers are made of.
    ``post_lanes`` must divide both the number of columns and the lanes. ``name`` is
    letters, digits, ``-`` and ``_``, and starts with a letter.
    """

    name: str
    array: ArrayShape
    buffers: Buffers
    bus: Bus
    post_lanes: int
    tables: Tables | None = None
    memories: BufferMemories = UNNAMED

    def __post_init__(self) -> None:
        check_accelerator_name(self.name)
        for field, kind in (
            ("array", ArrayShape), ("buffers", Buffers), ("bus", Bus), ("memories", BufferMemories),
        ):  # fmt: skip
            if not isinstance(getattr(self, field), kind):
                raise TypeError(
                    f"{field} must be of type {kind.__name__}, not {getattr(self, field)!r}"
                )
        if self.tables is not None and not isinstance(self.tables, Tables):
            raise TypeError(f"tables must be of type Tables, not {self.tables!r}")
        if self.tables is not None and self.array.elements is not None:
            raise ValueError(
                "tables must be left out where activations have scales (array.elements), not "
                f"{self.tables!r}"
            )
        both = math.gcd(self.array.column_count, self.array.lanes)
        check_range("post_lanes", self.post_lanes, 1, MAX_LANES)
        if both % self.post_lanes:
            raise ValueError(
                f"post_lanes must divide both the {self.array.column_count} columns and the "
                f"{self.array.lanes} lanes, so be a divisor of {both}, not {self.post_lanes!r}"
            )
        if self.array.elements is not None and self.post_lanes % self.array.vector_lanes:
            raise ValueError(
                f"post_lanes must be a multiple of the {self.array.vector_lanes} lanes of a vector "
                f"where activations have scales, not {self.post_lanes!r}"
            )

    @property
    def products(self) -> int:
        """Products a cycle."""
        return self.array.products

    @property
    def activation_word_bits(self) -> int:
        """Bits of one activation, residual or output word."""
        array = self.array
        return array.lanes * array.activation_bits + array.activation_scale_bits

    @property
    def weight_word_bits(self) -> int:
        """Bits of one weight word."""
        return sum(
            group.count * sum(self.array.column_widths(group.format))
            for group in self.array.columns
        )

    @property
    def constant_bits(self) -> int:
        """Bits of one channel's bias, positive, negative, residual and shift, from bit 0."""
        return self.array.accumulator_bits + 3 * 18 + 6

    @property
    def table_word_bits(self) -> int:
        """Bits of one row of a table."""
        return ROW_ENTRIES * self.array.activation_bits

    @property
    def requant_bits(self) -> int:
        """Bits, signed, of a requantised value, an index into a table among them."""
        index = 0 if self.tables is None else self.tables.index_bits + 1
        return max(self.array.wide_bits, index)

    @property
    def constant_word_bits(self) -> int:
        """Bits of one constant word."""
        return self.post_lanes * self.constant_bits

    def beats(self, bits: int) -> int:
        """Beats that a word of ``bits`` bits fills in memory."""
        return -(-bits // self.bus.data_bits)

    def word_bytes(self, bits: int) -> int:
        """Bytes that a word of ``bits`` bits fills in memory."""
        return self.beats(bits) * self.bus.data_bytes

    @property
    def activation_format(self) -> Fixed:
        """Storage format of activations (signedness is chosen by each descriptor)."""
        return Fixed(bits=self.array.activation_bits, signed=False)
