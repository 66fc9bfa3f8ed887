"""Matrix Market files, as the SuiteSparse collection distributes them."""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io
import scipy.sparse

from celosia.models.csr import MAX_DIMENSION, Csr, from_scipy
from celosia.models.errors import CelosiaError
from celosia.models.files import advice, atomic_file


def read_matrix_market(path: str | Path) -> Csr:
    """Return the sparse matrix of a Matrix Market file, ``.mtx`` or ``.mtx.gz``.

    Symmetric and skew-symmetric files are expanded; elements of a pattern are 1. A file lists its
    elements in any order, each once.

    Raises
    ------
    CelosiaError
        There is no such file, it is damaged or malformed (says in which line where that is known),
        holds an index beyond its shape or an element twice, is dense or complex, or has no rows or
        columns.
    """
    where = str(path)
    if not Path(path).is_file():
        raise CelosiaError(f"cannot read matrix {where}: there is no such file")
    try:
        matrix: Any = scipy.io.mmread(where, spmatrix=False)
    except (ValueError, OverflowError, OSError, EOFError, zlib.error) as error:
        raise CelosiaError(f"{where} is no usable Matrix Market file: {error}") from error
    if not scipy.sparse.issparse(matrix):
        raise CelosiaError(
            f"{where} holds a dense array: write it in coordinate format, for example with "
            "scipy.io.mmwrite of a sparse array"
        )
    if max(matrix.shape) > MAX_DIMENSION:
        raise CelosiaError(
            f"{where}: {matrix.shape[0]} x {matrix.shape[1]} is more than {MAX_DIMENSION} rows or "
            "columns"
        )
    rows, columns = matrix.coords
    order = np.lexsort((columns, rows))
    twice = (np.diff(rows[order]) == 0) & (np.diff(columns[order]) == 0)
    if twice.any():
        at = order[int(np.flatnonzero(twice)[0])]
        raise CelosiaError(
            f"{where} holds the element of row {rows[at] + 1} and column {columns[at] + 1} twice"
        )
    return from_scipy(matrix, what=where)


def write_matrix_market(matrix: Any, path: str | Path) -> None:
    """Write a ``scipy.sparse`` matrix to a Matrix Market file, whole or not at all.

    Raises :class:`CelosiaError` if the file cannot be written.
    """
    content = io.BytesIO()
    scipy.io.mmwrite(content, matrix)
    try:
        with atomic_file(path) as draft:
            draft.write_bytes(content.getvalue())
    except OSError as error:
        raise CelosiaError(
            f"cannot write {path}: {error.strerror or error}{advice(error)}"
        ) from error
