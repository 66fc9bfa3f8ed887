"""Matrix Market files, as the SuiteSparse collection distributes them."""

from __future__ import annotations

import io
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import scipy.io

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
        There is no such file, it is a folder, damaged or malformed (says in which line where that
        is known), holds an index beyond its shape or an element twice, is dense or complex, has no
        rows or columns or too many, or declares a symmetry or a size that it cannot have.
    """
    where = str(path)
    if not Path(path).is_file():
        what = "it is a folder" if Path(path).is_dir() else "there is no such file"
        raise CelosiaError(f"cannot read matrix {where}: {what}")
    symmetry = _check_header(where)
    try:
        matrix: Any = scipy.io.mmread(where, spmatrix=False)
    except _FAULTS as error:
        raise CelosiaError(f"{where} is no usable Matrix Market file: {error}") from error
    except MemoryError as error:
        raise CelosiaError(
            f"{where} declares more elements than this machine's memory holds: {error}"
        ) from error
    rows, columns = matrix.coords
    if symmetry == "skew-symmetric" and matrix.data[rows == columns].any():
        at = int(rows[(rows == columns) & (matrix.data != 0)][0]) + 1
        raise CelosiaError(
            f"{where} is skew-symmetric and holds an element in row {at} and column {at}, where "
            "there is none but 0"
        )
    order = np.lexsort((columns, rows))
    twice = (np.diff(rows[order]) == 0) & (np.diff(columns[order]) == 0)
    if twice.any():
        at = order[int(np.flatnonzero(twice)[0])]
        raise CelosiaError(
            f"{where} holds the element of row {rows[at] + 1} and column {columns[at] + 1} twice"
        )
    return from_scipy(matrix, what=where)


_FAULTS = (ValueError, OverflowError, OSError, EOFError, zlib.error)
"""What scipy raises for files that are none."""


def _check_header(where: str) -> str:
    """Refuse what the header alone forbids, before memory is taken for it; return the symmetry."""
    try:
        rows, columns, elements, layout, field, symmetry = scipy.io.mminfo(where)
    except _FAULTS as error:
        raise CelosiaError(f"{where} is no usable Matrix Market file: {error}") from error
    if layout != "coordinate":
        raise CelosiaError(
            f"{where} holds a dense array: write it in coordinate format, for example with "
            "scipy.io.mmwrite of a sparse array"
        )
    if field == "complex":
        raise CelosiaError(f"{where} holds complex values: they must be real numbers")
    if min(rows, columns) < 1:
        raise CelosiaError(f"{where}: a matrix of {rows} x {columns} has no elements to multiply")
    if max(rows, columns) > MAX_DIMENSION:
        raise CelosiaError(
            f"{where}: {rows} x {columns} is more than {MAX_DIMENSION} rows or columns"
        )
    if symmetry != "general" and rows != columns:
        raise CelosiaError(f"{where} is {symmetry} and not square but {rows} x {columns}")
    if elements > rows * columns:
        raise CelosiaError(
            f"{where} declares {elements} elements, and {rows} x {columns} has no more than "
            f"{rows * columns}"
        )
    return str(symmetry)


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
