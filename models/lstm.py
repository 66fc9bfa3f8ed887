"""A recurrent layer with compressed weights (LSTM), exact in integers. Imports numpy only.

Hochreiter and Schmidhuber, "Long Short-Term Memory" (1997), with a forget gate, as in PyTorch. The
four gates are one tall sparse matrix times the step's input and the state of the step before; what
follows is element by element, with functions from tables. How real weights become such a layer is
in :mod:`celosia.models.compression.lstm`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from celosia.models.checks import check_name, check_range, integers, read_only
from celosia.models.formats import Fixed, Format
from celosia.models.sparse import SparseLinear, SparseMatrix

CODE_BITS = 16
"""Of a gate's sum, a cell and what a table takes and returns, two's complement."""

TABLE_FRACTION = 14
"""Bits after the point of what tables return: 1 is 16,384, exactly."""

GATES = 4
"""Input, forget, cell and output gate, in this order, as PyTorch has them."""

MAX_CELL_SHIFT = 7
CELL_FORMAT = Fixed(bits=CODE_BITS)
_LIMIT = 1 << CODE_BITS - 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Table:
    """A function of 16-bit codes: straight lines between ``2**k + 1`` knots, k in 4..12.

    The codes from -32768 on are cut into ``2**k`` equal segments of ``2**(16 - k)``. Code z, ``r``
    after the beginning of segment s, gives ``knots[s] + round((knots[s + 1] - knots[s]) * r /
    2**(16 - k))``, ties upwards. Knots are int64 of 16 bits; two neighbours differ by less than
    ``2**15``. The constructor keeps a read-only copy.
    """

    knots: np.ndarray

    def __post_init__(self) -> None:
        knots = read_only("knots", self.knots, 1)
        object.__setattr__(self, "knots", knots)
        if len(knots) - 1 not in [1 << power for power in range(4, 13)]:
            raise ValueError(
                f"knots must be 17, 33, 65 ... 4097, one more than segments, not {len(knots)}"
            )
        check_range("knots", knots, -_LIMIT, _LIMIT - 1)
        check_range("steps between knots", np.diff(knots), -_LIMIT, _LIMIT - 1)

    @classmethod
    def of(
        cls, function: Callable[[np.ndarray], np.ndarray], *, fraction: int, segments: int = 256
    ) -> Table:
        """Return the table of ``function``, for codes with ``fraction`` bits after the point.

        Its knots are rounded to :data:`TABLE_FRACTION` such bits, and clamped.
        """
        codes = np.linspace(-_LIMIT, _LIMIT, segments + 1)
        values = np.rint(function(codes / 2**fraction) * 2**TABLE_FRACTION)
        return cls(knots=values.clip(-_LIMIT, _LIMIT - 1).astype(np.int64))

    @property
    def segments(self) -> int:
        """How many there are, a power of two."""
        return len(self.knots) - 1

    def look_up(self, codes: np.ndarray) -> np.ndarray:
        """Return the values of ``codes``, int64 in -32768..32767 and of any shape."""
        bits = CODE_BITS - self.segments.bit_length() + 1
        places = codes + _LIMIT
        segment, rest = places >> bits, places & ((1 << bits) - 1)
        steps = np.diff(self.knots)[segment] * rest
        return np.asarray(self.knots[segment] + (steps + (1 << bits - 1) >> bits))


def sigmoid_table(*, fraction: int, segments: int = 256) -> Table:
    """Return 1 / (1 + exp(-z)) for codes with ``fraction`` bits after the point."""
    return Table.of(lambda z: 1 / (1 + np.exp(-z)), fraction=fraction, segments=segments)


def tanh_table(*, fraction: int, segments: int = 256) -> Table:
    """Return tanh(z) for codes with ``fraction`` bits after the point."""
    return Table.of(np.tanh, fraction=fraction, segments=segments)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lstm:
    """A recurrent layer over the T steps of a sequence.

    ``input`` is of shape (I, T, 1) and ``output``, the states h, of (H, T, 1); so is ``cells``, the
    states c. ``hidden`` and ``cell`` are h and c before the first step, (H, 1, 1). In step t, with
    ``W`` the ``matrix`` of (4 H, I + H), rows of the input, forget, cell and output gate::

        z = clamp(round((W [x_t, h] + bias) / 2**shift))            16 bits
        i, f, o = sigmoid(z_i), sigmoid(z_f), sigmoid(z_o)          14 bits after the point
        g = tanh(z_g)                                               14
        c = clamp(round((f c 2**cell_shift + i g) / 2**(14 + cell_shift)))   14 - cell_shift
        h = clamp(round(o cell_tanh(c) / 2**output_shift))          28 - output_shift

    Roundings go to the nearest, ties to even; clamps are to 16 bits, that of h to the format of
    ``output``. Tables have equally many segments. ``cell_shift`` is in 0..7, ``output_shift`` in
    13..27. How many bits after the point z has, tables alone say.
    """

    name: str
    input: str
    hidden: str
    cell: str
    output: str
    cells: str
    matrix: SparseMatrix
    format: Format
    bias: np.ndarray
    shift: int
    sigmoid: Table
    tanh: Table
    cell_tanh: Table
    cell_shift: int
    output_shift: int

    def __post_init__(self) -> None:
        check_name("operation", self.name)
        where = f"lstm {self.name!r}"
        object.__setattr__(self, "bias", self.linear.bias)
        rows, columns = self.matrix.shape
        if rows % GATES or columns <= rows // GATES:
            raise ValueError(
                f"{where}: matrix must have 4 H rows and more than H columns, not {rows} and "
                f"{columns}"
            )
        tables = self.sigmoid, self.tanh, self.cell_tanh
        if not all(isinstance(table, Table) for table in tables):
            raise TypeError(f"{where}: sigmoid, tanh and cell_tanh must be of type Table")
        if len({table.segments for table in tables}) > 1:
            counts = [table.segments for table in tables]
            raise ValueError(f"{where}: tables must have equally many segments, not {counts}")
        for field, low, high in (("cell_shift", 0, MAX_CELL_SHIFT), ("output_shift", 13, 27)):
            value = getattr(self, field)
            if not integers((value,)) or not low <= value <= high:
                raise ValueError(f"{where}: {field} must be in {low}..{high}, not {value!r}")

    @property
    def linear(self) -> SparseLinear:
        """The gates' sums of one step, as a layer of their own."""
        return SparseLinear(
            name=self.name,
            input=self.input,
            output=self.output,
            matrix=self.matrix,
            format=self.format,
            bias=self.bias,
            shift=self.shift,
            low=-_LIMIT,
            high=_LIMIT - 1,
        )

    @property
    def states(self) -> int:
        """``H``."""
        return self.matrix.shape[0] // GATES

    @property
    def inputs(self) -> int:
        """``I``."""
        return self.matrix.shape[1] - self.states

    @property
    def cell_scale(self) -> float:
        """The real value of a cell's code 1."""
        return 2.0 ** (self.cell_shift - TABLE_FRACTION)

    @property
    def output_scale(self) -> float:
        """The real value of an output's code 1."""
        return 2.0 ** (self.output_shift - 2 * TABLE_FRACTION)
