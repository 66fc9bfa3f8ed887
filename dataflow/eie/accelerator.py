"""The description of an EIE engine: compressed sparse matrix x sparse vector.

After "EIE: Efficient Inference Engine on Compressed Deep Neural Network" (ISCA 2016), with what its
retrospective (arXiv 2306.09552) found weak as parameters. :mod:`celosia.models.eie` has the
storage, ``docs/eie.md`` says what the hardware does in which cycle.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from celosia.dataflow.accelerator import Bus
from celosia.dataflow.checks import check_accelerator_name, check_range
from celosia.models.eie import MAX_INDEX_BITS, MAX_PES
from celosia.models.lstm import CODE_BITS, MAX_CELL_SHIFT, TABLE_FRACTION
from celosia.models.network import MAX_ACCUMULATOR_BITS, MAX_ACTIVATION_BITS

OCCUPANCY_BITS = 32
"""Columns in a word of the occupancy memory."""

FILTER_CYCLES = 2
"""From a broadcast to its place in a queue, where columns without entries are skipped."""

TREE_RADIX = 4
"""Candidates of which the first is found at once."""

EARLY_WINDOW, EARLY_WINDOWS = 16, 32
"""Activations of a window, and windows of a file, of which the first is found as flags are read."""

MAX_CODE_BITS = 8
"""Widest index into a codebook."""

MAX_WEIGHT_BITS = 16
"""Widest weight, of a codebook or without one."""

MAX_ENTRIES = 1 << 20
"""Most entries, or pointers, of a PE."""

MAX_ROWS = 1 << 14
"""Most activations in a file, accumulators or biases of a PE."""

CELL_BITS, CELL_FRACTION, CELL_SHIFTS = CODE_BITS, TABLE_FRACTION, MAX_CELL_SHIFT + 1
"""Of a cell unit: bits of all codes, those after the point of a function, how far cells shift."""

FUNCTIONS = 3
"""Of a cell unit, in the order of their tables: sigmoid and tanh of gates, tanh of cells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeArray:
    """The processing elements.

    ``pes`` 1..256 own the rows in turn; up to ``queue`` (1..64) activations wait in each.
    ``channels`` (1, 2 or 4, a divisor of ``pes``) activations are broadcast a cycle, each from its
    share of the PEs and into queues of its own. With ``skip_empty`` a PE looks into a bitmap and
    does not queue what meets none of its entries; without, such a column takes it a cycle.
    """

    pes: int
    queue: int = 8
    channels: int = 1
    skip_empty: bool = False

    def __post_init__(self) -> None:
        check_range("pes", self.pes, 1, MAX_PES)
        check_range("queue", self.queue, 1, 64)
        if self.channels not in (1, 2, 4) or self.pes % self.channels:
            raise ValueError(
                f"channels must be 1, 2 or 4 and divide the {self.pes} PEs, not {self.channels!r}"
            )
        if not isinstance(self.skip_empty, bool):
            raise TypeError(f"skip_empty must be true or false, not {self.skip_empty!r}")

    @property
    def buffer_levels(self) -> int:
        """Levels of buffers, each of four, between the PEs of a channel and their broadcasts."""
        levels, sources = 0, self.pes // self.channels
        while sources > (TREE_RADIX if levels == 0 else 1):
            levels, sources = levels + 1, -(-sources // TREE_RADIX)
        return levels


@dataclass(frozen=True, slots=True, kw_only=True)
class Widths:
    """Bits of an entry's index and weight, of a value, an activation and an accumulator.

    ``index`` 1..8 counts zeros. With ``codebook`` a ``weight`` (1..8) is an index into a table of
    values of ``value`` bits (2..16); without, it is the value itself, of 2..16 bits, and ``value``
    does not matter. ``activation`` 2..16 bits hold a sign; ``accumulator`` 16..44.
    """

    index: int = 4
    weight: int = 4
    codebook: bool = True
    value: int = 16
    activation: int = 16
    accumulator: int = 40

    def __post_init__(self) -> None:
        check_range("index", self.index, 1, MAX_INDEX_BITS)
        if not isinstance(self.codebook, bool):
            raise TypeError(f"codebook must be true or false, not {self.codebook!r}")
        low, high = (1, MAX_CODE_BITS) if self.codebook else (2, MAX_WEIGHT_BITS)
        check_range("weight", self.weight, low, high)
        check_range("value", self.value, 2, MAX_WEIGHT_BITS)
        check_range("activation", self.activation, 2, MAX_ACTIVATION_BITS)
        check_range("accumulator", self.accumulator, 16, MAX_ACCUMULATOR_BITS)

    @property
    def factor(self) -> int:
        """Bits of what an activation is multiplied by."""
        return self.value if self.codebook else self.weight

    @property
    def entry(self) -> int:
        """Bits of an entry: the weight in the lowest, then the index."""
        return self.weight + self.index


@dataclass(frozen=True, slots=True, kw_only=True)
class PeMemories:
    """What each PE's memories hold.

    ``entries`` of the compressed matrix, read ``row_entries`` (a power of two) at a time;
    ``pointers`` of ``pointer_bits`` (8..24) in two banks; ``biases``; ``codebooks`` (tables);
    ``activations`` in each of two files that swap roles; ``window``, a power of two up to 64: how
    many of them are searched for nonzeros at a time; ``accumulators``, of which a row takes one.
    """

    entries: int
    pointers: int
    biases: int
    activations: int
    accumulators: int
    row_entries: int = 8
    pointer_bits: int = 16
    codebooks: int = 4
    window: int = 64

    def __post_init__(self) -> None:
        for field in fields(self):
            check_range(field.name, getattr(self, field.name), 1, MAX_ENTRIES)
        check_range("pointer_bits", self.pointer_bits, 8, 24)
        check_range("codebooks", self.codebooks, 1, 16)
        check_range("window", self.window, 2, 64)
        for name in ("row_entries", "window"):
            value = getattr(self, name)
            if value & (value - 1):
                raise ValueError(f"{name} must be a power of two, not {value!r}")
        if self.activations % self.window or self.accumulators % self.window:
            raise ValueError(
                f"activations and accumulators must be multiples of the window, {self.window}, not "
                f"{self.activations!r} and {self.accumulators!r}"
            )
        if max(self.activations, self.accumulators, self.biases) > MAX_ROWS:
            raise ValueError(
                f"activations, accumulators and biases must be at most {MAX_ROWS} each"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class CellUnit:
    """What each PE has for the elements of recurrent layers.

    Three functions of 16-bit codes lie in tables of ``segments`` (a power of two, 16..4096)
    straight lines each.
    """

    segments: int = 256

    def __post_init__(self) -> None:
        check_range("segments", self.segments, 16, 4096)
        if self.segments & (self.segments - 1):
            raise ValueError(f"segments must be a power of two, not {self.segments!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class EieAccelerator:
    """One EIE engine.

    In memory every word fills whole beats of the bus: a word of activations holds one of each PE,
    in ``activation_lane_bits`` each; a beat of pointers, biases or rows of entries is of one PE,
    in slots of powers of two bits; a value of a codebook has a beat of its own. A ``cell`` unit
    needs activations of 16 bits.
    """

    name: str
    array: PeArray
    widths: Widths
    memories: PeMemories
    bus: Bus
    cell: CellUnit | None = None

    def __post_init__(self) -> None:
        check_accelerator_name(self.name)
        kinds = {"array": PeArray, "widths": Widths, "memories": PeMemories, "bus": Bus}
        for field, kind in kinds.items():
            if not isinstance(getattr(self, field), kind):
                raise TypeError(
                    f"{field} must be of type {kind.__name__}, not {getattr(self, field)!r}"
                )
        if self.cell is not None and not isinstance(self.cell, CellUnit):
            raise TypeError(f"cell must be of type CellUnit, or None, not {self.cell!r}")
        if self.cell is not None and self.widths.activation != CODE_BITS:
            raise ValueError(
                f"a cell unit needs activations of {CODE_BITS} bits, not {self.widths.activation}"
            )
        if self.row_slot > self.bus.data_bits:
            raise ValueError(
                f"row_entries of {self.widths.entry} bits must fit a beat of "
                f"{self.bus.data_bits} bits: choose a wider bus or fewer than "
                f"{self.memories.row_entries}"
            )
        for name, each in (
            ("entries", self.row_lanes * self.memories.row_entries),
            ("pointers", self.pointer_lanes),
            ("biases", self.bias_lanes),
        ):
            if getattr(self.memories, name) % each:
                raise ValueError(
                    f"{name} must fill whole beats, so be a multiple of {each}, "
                    f"not {getattr(self.memories, name)!r}"
                )

    @property
    def products(self) -> int:
        """Products a cycle: one of each PE."""
        return self.array.pes

    @property
    def late_windows(self) -> bool:
        """Whether a window's first nonzeros are found in the cycle after its flags were read."""
        memories = self.memories
        wide = memories.window > EARLY_WINDOW
        many = memories.activations // memories.window > EARLY_WINDOWS
        return self.array.buffer_levels > 0 or wide or many

    @property
    def row_slot(self) -> int:
        """Bits that a row of entries fills in memory: a power of two."""
        bits = self.memories.row_entries * self.widths.entry
        return max(8, 1 << (bits - 1).bit_length())

    @property
    def row_lanes(self) -> int:
        """Rows of entries in a beat."""
        return self.bus.data_bits // self.row_slot

    @property
    def pointer_slot(self) -> int:
        """Bits that a pointer fills in memory."""
        return 16 if self.memories.pointer_bits <= 16 else 32

    @property
    def pointer_lanes(self) -> int:
        """Pointers in a beat."""
        return self.bus.data_bits // self.pointer_slot

    @property
    def bias_slot(self) -> int:
        """Bits that a bias fills in memory."""
        return 32 if self.widths.accumulator <= 32 else 64

    @property
    def bias_lanes(self) -> int:
        """Biases in a beat."""
        return self.bus.data_bits // self.bias_slot

    @property
    def occupancy_columns(self) -> int:
        """Columns that the occupancy memory holds: as many as pointers, in whole beats."""
        bits = self.bus.data_bits
        return -(-self.memories.pointers // bits) * bits

    @property
    def function_lanes(self) -> int:
        """Segments of the cell unit's functions in a beat."""
        return self.bus.data_bits // (2 * CODE_BITS)

    @property
    def activation_lane_bits(self) -> int:
        """Bits that an activation fills in memory."""
        return 8 if self.widths.activation <= 8 else 16

    @property
    def activation_lanes(self) -> int:
        """Activations in a beat."""
        return self.bus.data_bits // self.activation_lane_bits

    @property
    def word_beats(self) -> int:
        """Beats of a word of activations."""
        return -(-self.array.pes // self.activation_lanes)

    @property
    def window_columns(self) -> int:
        """Activations that are searched at a time, of all PEs."""
        return self.memories.window * self.array.pes
