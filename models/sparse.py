"""Sparse matrices and the layer that multiplies by one. Imports numpy only.

A compressed layer is an operation of a :class:`~celosia.models.network.Network` like any other: its
weights are kept as the nonzeros of each column, so layers of a hundred million weights fit, and
:mod:`celosia.models.golden` evaluates it. How an engine stores it is in :mod:`celosia.models.eie`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from celosia.models.checks import check_name, integers
from celosia.models.formats import Element, Format

if TYPE_CHECKING:
    from celosia.models.network import Conv


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SparseMatrix:
    """The nonzeros of an integer matrix, column by column.

    ``shape`` is (rows, columns), both positive. Column j's nonzeros are entries ``starts[j]`` to
    ``starts[j + 1] - 1`` of ``rows`` (ascending within a column) and ``values`` (none of them 0);
    all arrays are int64. The constructor keeps read-only copies.
    """

    shape: tuple[int, int]
    starts: np.ndarray
    rows: np.ndarray
    values: np.ndarray

    def __post_init__(self) -> None:
        if len(self.shape) != 2 or not integers(self.shape) or min(self.shape) < 1:
            raise ValueError(f"shape must be (rows, columns), both positive, not {self.shape!r}")
        for field in ("starts", "rows", "values"):
            value = getattr(self, field)
            if not isinstance(value, np.ndarray) or value.dtype != np.int64 or value.ndim != 1:
                raise TypeError(f"{field} must be a one-dimensional int64 array")
            copy = value.copy()
            copy.setflags(write=False)
            object.__setattr__(self, field, copy)
        starts, (rows, columns) = self.starts, self.shape
        if len(starts) != columns + 1 or starts[0] or (np.diff(starts) < 0).any():
            raise ValueError(f"starts must rise from 0 over {columns + 1} entries")
        if len(self.rows) != starts[-1] or len(self.values) != starts[-1]:
            raise ValueError(f"rows and values must have the {starts[-1]} entries of starts")
        if not len(self.rows):
            return
        if self.rows.min() < 0 or self.rows.max() >= rows:
            raise ValueError(f"rows must lie in 0..{rows - 1}")
        first = np.zeros(len(self.rows), bool)
        first[starts[:-1][starts[:-1] < starts[-1]]] = True
        if (np.diff(self.rows) <= 0)[~first[1:]].any():
            raise ValueError("rows must ascend within each column")
        if not self.values.all():
            raise ValueError("values must not hold 0")

    @classmethod
    def from_dense(cls, weights: np.ndarray) -> SparseMatrix:
        """Return the nonzeros of ``weights``, integers (rows, columns)."""
        columns, rows = np.nonzero(weights.T)
        counts = np.bincount(columns, minlength=weights.shape[1])
        return cls(
            shape=(weights.shape[0], weights.shape[1]),
            starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            rows=rows.astype(np.int64),
            values=weights[rows, columns].astype(np.int64),
        )

    @property
    def columns(self) -> np.ndarray:
        """The column of each nonzero, int64."""
        return np.repeat(np.arange(self.shape[1]), np.diff(self.starts))

    @property
    def density(self) -> float:
        """Nonzeros over all elements."""
        return len(self.values) / (self.shape[0] * self.shape[1])

    def dense(self) -> np.ndarray:
        """Return the matrix with its zeros, int64 (rows, columns)."""
        matrix = np.zeros(self.shape, np.int64)
        matrix[self.rows, self.columns] = self.values
        return matrix

    def multiply(self, vectors: np.ndarray) -> np.ndarray:
        """Return the products with ``vectors``, int64 (N, columns) to (N, rows).

        Exact where no partial sum reaches ``2**53``, as those of every network do.
        """
        columns, result = self.columns, np.empty((len(vectors), self.shape[0]), np.int64)
        for vector, row in zip(vectors, result, strict=True):
            terms = self.values * vector[columns]
            row[:] = np.bincount(self.rows, weights=terms, minlength=self.shape[0])
        return result


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SparseLinear:
    """A matrix-vector product with a sparse matrix, rounded to output codes.

    Input and output are tensors of shape (C, 1, 1). Output o is
    ``clamp(round((W a)_o + bias_o) / 2**shift), low, high)``, ties to even; ``low = 0`` is a ReLU.
    Every nonzero of ``matrix`` is a value of ``format``, a
    :class:`~celosia.models.formats.Codebook` where weights are shared; ``bias`` is int64 (rows,).
    0 lies in ``low..high``, so that rows that are not there stay 0.
    """

    name: str
    input: str
    output: str
    matrix: SparseMatrix
    format: Format
    bias: np.ndarray
    shift: int
    low: int
    high: int

    def __post_init__(self) -> None:
        from celosia.models.network import MAX_ACCUMULATOR_BITS, MAX_SHIFT

        check_name("operation", self.name)
        where = f"sparse linear {self.name!r}"
        if not isinstance(self.matrix, SparseMatrix):
            raise TypeError(f"{where}: matrix must be a SparseMatrix, not {self.matrix!r}")
        if not isinstance(self.format, Format):
            raise TypeError(f"{where}: format must be a Format, not {self.format!r}")
        wrong = ~np.isin(self.matrix.values, self.format.values)
        if wrong.any():
            raise ValueError(
                f"{where}: weight {int(self.matrix.values[wrong][0])} is not a value of "
                f"{self.format.name}"
            )
        bias = self.bias
        if not isinstance(bias, np.ndarray) or bias.dtype != np.int64:
            raise TypeError(f"{where}: bias must be an int64 array")
        if bias.shape != self.matrix.shape[:1]:
            raise ValueError(
                f"{where}: bias must have {self.matrix.shape[0]} entries, one a row, "
                f"not shape {bias.shape}"
            )
        if int(np.abs(bias).max()) >= 1 << MAX_ACCUMULATOR_BITS - 1:
            raise ValueError(f"{where}: bias must fit {MAX_ACCUMULATOR_BITS} bits")
        copy = bias.copy()
        copy.setflags(write=False)
        object.__setattr__(self, "bias", copy)
        if not integers((self.shift,)) or not 0 <= self.shift <= MAX_SHIFT:
            raise ValueError(f"{where}: shift must be in 0..{MAX_SHIFT}, not {self.shift!r}")
        if not integers((self.low, self.high)) or not self.low <= 0 <= self.high:
            raise ValueError(
                f"{where}: low..high must be integers round 0, not {self.low!r}..{self.high!r}"
            )

    def bound(self, activation: Element) -> int:
        """Return the greatest magnitude of any partial sum, with and without bias.

        ``activation`` is the input's format.
        """
        matrix, rows = self.matrix, self.matrix.shape[0]
        ends = np.stack([matrix.values * activation.low, matrix.values * activation.high])
        low = np.bincount(matrix.rows, weights=ends.min(axis=0).clip(max=0), minlength=rows)
        high = np.bincount(matrix.rows, weights=ends.max(axis=0).clip(min=0), minlength=rows)
        sums = np.stack([low, high, low + self.bias, high + self.bias])
        return int(np.abs(sums).max())

    def accumulator_bits(self, activation: Element) -> int:
        """Return the two's complement width that holds every sum for inputs of ``activation``."""
        return self.bound(activation).bit_length() + 1

    def dense(self) -> Conv:
        """Return the same layer as a convolution, with its zeros: what a dense engine runs."""
        from celosia.models.network import Conv, Requant, Window

        rows = self.matrix.shape[0]
        ones = np.ones(rows, np.int64)
        return Conv(
            name=self.name,
            input=self.input,
            output=self.output,
            window=Window(kernel=(1, 1)),
            groups=1,
            weights=self.matrix.dense()[..., None, None],
            formats=(self.format,) * rows,
            requant=Requant(
                bias=self.bias,
                positive=ones,
                negative=ones,
                residual=0 * ones,
                shift=self.shift * ones,
                low=self.low,
                high=self.high,
            ),
        )
