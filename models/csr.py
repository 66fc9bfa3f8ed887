"""Sparse matrices in compressed rows (CSR), checked, to and from ``scipy.sparse``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.sparse

from celosia.models.checks import integers
from celosia.models.errors import CelosiaError

MAX_DIMENSION = 1 << 27
"""Most rows or columns of a matrix: pointers to its rows, and marks of its columns, are arrays."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Csr:
    """A sparse matrix in compressed rows, in canonical order.

    Attributes
    ----------
    shape : tuple of int
        (rows, columns), both at least 1.
    starts : numpy.ndarray
        int64 (rows + 1,): row i's elements are ``starts[i]`` to ``starts[i + 1] - 1``.
    columns : numpy.ndarray
        int64 (n,): ascending within a row, none twice.
    values : numpy.ndarray
        (n,), of any number type; 0 is allowed.

    The constructor keeps read-only copies.

    Raises
    ------
    TypeError, ValueError
        An array is of another type or shape, or is not in order: names which row.
    """

    shape: tuple[int, int]
    starts: np.ndarray
    columns: np.ndarray
    values: np.ndarray

    def __post_init__(self) -> None:
        if len(self.shape) != 2 or not integers(self.shape):
            raise ValueError(f"shape must be (rows, columns), not {self.shape!r}")
        if not 1 <= min(self.shape) <= max(self.shape) <= MAX_DIMENSION:
            raise ValueError(
                f"rows and columns must be in 1..{MAX_DIMENSION}, not {self.shape[0]} x "
                f"{self.shape[1]}"
            )
        for field in ("starts", "columns", "values"):
            self._keep(field)
        rows, columns = self.shape
        if len(self.starts) != rows + 1 or self.starts[0] or (np.diff(self.starts) < 0).any():
            raise ValueError(f"starts must rise from 0 over {rows + 1} entries")
        count = int(self.starts[-1])
        if len(self.columns) != count or len(self.values) != count:
            raise ValueError(
                f"columns and values must have the {count} entries of starts, not "
                f"{len(self.columns)} and {len(self.values)}"
            )
        wrong = np.flatnonzero((self.columns < 0) | (self.columns >= columns))
        if len(wrong):
            at = int(wrong[0])
            raise ValueError(
                f"column {self.columns[at]} of row {self.row_of(at)} lies beyond the "
                f"{columns} columns"
            )
        self._check_order()

    def _keep(self, field: str) -> None:
        value = getattr(self, field)
        if not isinstance(value, np.ndarray) or value.ndim != 1:
            raise TypeError(f"{field} must be a one-dimensional array")
        if field == "values":
            if value.dtype.kind not in "iuf":
                raise TypeError(f"values must be integers or floats, not {value.dtype}")
        elif value.dtype != np.int64:
            raise TypeError(f"{field} must be an int64 array, not {value.dtype}")
        copy = value.copy()
        copy.setflags(write=False)
        object.__setattr__(self, field, copy)

    def _check_order(self) -> None:
        falls = np.diff(self.columns) <= 0
        inner = self.starts[1:-1]
        inner = inner[(inner > 0) & (inner < len(self.columns))]
        falls[inner - 1] = False
        if falls.any():
            at = int(np.flatnonzero(falls)[0])
            first, second = int(self.columns[at]), int(self.columns[at + 1])
            what = f"holds column {first} twice" if first == second else "is not sorted"
            raise ValueError(
                f"row {self.row_of(at)} {what}: column {second} comes after column {first}"
            )

    def row_of(self, position: int) -> int:
        """Return the row of the element at ``position``."""
        return int(np.searchsorted(self.starts, position, side="right")) - 1

    @property
    def nonzeros(self) -> int:
        """Stored elements, zeros among them included."""
        return len(self.columns)

    @property
    def rows(self) -> np.ndarray:
        """The row of each element, int64 (n,)."""
        return np.repeat(np.arange(self.shape[0]), np.diff(self.starts))

    @property
    def counts(self) -> np.ndarray:
        """Elements of each row, int64 (rows,)."""
        return np.diff(self.starts)

    def with_values(self, values: np.ndarray) -> Csr:
        """Return the same places with other ``values``."""
        return Csr(shape=self.shape, starts=self.starts, columns=self.columns, values=values)

    def without_zeros(self) -> Csr:
        """Return the matrix without elements that are 0."""
        kept = self.values != 0
        if kept.all():
            return self
        before = np.concatenate([[0], np.cumsum(kept)])
        return Csr(
            shape=self.shape,
            starts=before[self.starts],
            columns=self.columns[kept],
            values=self.values[kept],
        )

    def transposed(self) -> Csr:
        """Return the transpose."""
        return from_scipy(self.to_scipy().T)

    def to_scipy(self) -> Any:
        """Return the matrix as a ``scipy.sparse.csr_array``, with copies of its arrays."""
        return scipy.sparse.csr_array(
            (self.values.copy(), self.columns.copy(), self.starts.copy()), shape=self.shape
        )


def from_scipy(matrix: Any, *, what: str = "the matrix") -> Csr:
    """Return a ``scipy.sparse`` matrix or array of any layout as rows in canonical order.

    A matrix in compressed rows must be canonical already; other layouts are converted, which sorts
    them, and adds up what a COO matrix holds twice, as scipy does everywhere.

    Raises
    ------
    CelosiaError
        It is no two-dimensional sparse matrix of real numbers or has no rows or columns, indices
        lie beyond the shape, or rows hold unsorted or duplicate columns: ``what`` names it.
    """
    if not scipy.sparse.issparse(matrix) or matrix.ndim != 2:
        raise CelosiaError(
            f"{what} is no sparse matrix of two dimensions but {type(matrix).__name__}: convert "
            "it, for example with scipy.sparse.csr_array"
        )
    if matrix.dtype.kind not in "iufb":
        raise CelosiaError(f"{what} holds values of type {matrix.dtype}: they must be real numbers")
    rows = matrix if matrix.format == "csr" else matrix.tocsr()
    values = rows.data.astype(np.int64) if rows.dtype.kind == "b" else rows.data
    try:
        return Csr(
            shape=(int(rows.shape[0]), int(rows.shape[1])),
            starts=np.asarray(rows.indptr).astype(np.int64),
            columns=np.asarray(rows.indices).astype(np.int64),
            values=np.asarray(values),
        )
    except ValueError as error:
        mend = ". Where only the order is wrong, sum_duplicates() of scipy mends it"
        raise CelosiaError(
            f"{what}: {error}{mend if 'after column' in str(error) else ''}"
        ) from error
