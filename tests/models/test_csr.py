"""Sparse matrices in compressed rows, and the files they come from."""

from __future__ import annotations

import gzip

import numpy as np
import pytest
import scipy.io
import scipy.sparse

from celosia.models.csr import Csr, from_scipy
from celosia.models.errors import CelosiaError
from celosia.models.matrix_market import read_matrix_market

SEED = 7


def csr(starts=(0, 2, 2, 3), columns=(0, 3, 1), values=(5, -1, 2), shape=(3, 4)):
    return Csr(
        shape=shape, starts=np.array(starts), columns=np.array(columns), values=np.array(values)
    )


def test_there_and_back():
    rng = np.random.default_rng(SEED)
    for layout in ("csr", "csc", "coo", "lil", "dok", "bsr"):
        dense = rng.integers(-3, 3, (6, 8)) * (rng.random((6, 8)) < 0.4)
        matrix = from_scipy(scipy.sparse.csr_array(dense).asformat(layout))
        assert (matrix.to_scipy().toarray() == dense).all()
        assert (matrix.transposed().to_scipy().toarray() == dense.T).all()
        assert (dense[matrix.rows, matrix.columns] == matrix.values).all()
        assert matrix.counts.sum() == matrix.nonzeros
    assert from_scipy(scipy.sparse.csr_array([[True, False]])).values.tolist() == [1]


def test_arrays_cannot_be_changed():
    values = np.array([5, -1, 2])
    matrix = csr(values=values)
    values[0] = 9
    assert matrix.values[0] == 5
    with pytest.raises(ValueError, match="read-only"):
        matrix.values[0] = 1


def test_zeros_are_kept_until_they_are_dropped():
    matrix = csr(values=(0, 3, 0))
    assert matrix.nonzeros == 3
    less = matrix.without_zeros()
    assert (less.starts.tolist(), less.columns.tolist()) == ([0, 1, 1, 1], [3])
    assert less.without_zeros() is less
    assert less.with_values(np.array([2.5])).values.tolist() == [2.5]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": (3,)}, "shape must be"),
        ({"shape": (0, 4)}, "rows and columns must be in"),
        ({"shape": (3, 2**27 + 1)}, "rows and columns must be in"),
        ({"starts": (0, 2, 1, 3)}, "starts must rise from 0 over 4"),
        ({"starts": (1, 2, 2, 3)}, "starts must rise"),
        ({"starts": (0, 2, 3)}, "starts must rise"),
        ({"starts": (0, 2, 2, 4)}, "must have the 4 entries"),
        ({"columns": (0, 4, 1)}, "column 4 of row 0 lies beyond the 4 columns"),
        ({"columns": (0, 3, -1)}, "column -1 of row 2 lies beyond"),
        ({"columns": (3, 3, 1)}, "row 0 holds column 3 twice"),
        ({"columns": (3, 0, 1)}, "row 0 is not sorted: column 0 comes after column 3"),
    ],
)
def test_wrong_rows_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        csr(**change)


def test_wrong_types_are_refused():
    with pytest.raises(TypeError, match="columns must be an int64 array"):
        csr(columns=(0.0, 3.0, 1.0))
    with pytest.raises(TypeError, match="values must be integers or floats"):
        csr(values=(1j, 2, 3))
    with pytest.raises(TypeError, match="values must be a one-dimensional array"):
        Csr(shape=(1, 1), starts=np.array([0, 0]), columns=np.array([0])[:0], values=[])


def test_wrong_scipy_matrices_are_refused():
    with pytest.raises(CelosiaError, match="left is no sparse matrix"):
        from_scipy(np.eye(2), what="left")
    with pytest.raises(CelosiaError, match="they must be real numbers"):
        from_scipy(scipy.sparse.csr_array([[1j]]))
    with pytest.raises(CelosiaError, match=r"row 0 holds column 1 twice.*sum_duplicates"):
        from_scipy(scipy.sparse.csr_array((np.ones(2), [1, 1], [0, 2]), shape=(1, 3)))
    with pytest.raises(CelosiaError, match="row 0 is not sorted"):
        from_scipy(scipy.sparse.csr_array((np.ones(2), [2, 1], [0, 2]), shape=(1, 3)))


def test_files_are_read(tmp_path):
    rng = np.random.default_rng(SEED)
    dense = rng.integers(-9, 9, (7, 5)) * (rng.random((7, 5)) < 0.5)
    path = tmp_path / "a.mtx"
    scipy.io.mmwrite(path, scipy.sparse.coo_array(dense))
    assert (read_matrix_market(path).to_scipy().toarray() == dense).all()
    packed = tmp_path / "a.mtx.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert (read_matrix_market(packed).to_scipy().toarray() == dense).all()
    path.write_text("%%MatrixMarket matrix coordinate pattern symmetric\n3 3 2\n2 1\n3 3\n")
    assert read_matrix_market(path).to_scipy().toarray().tolist() == [
        [0, 1, 0], [1, 0, 0], [0, 0, 1],
    ]  # fmt: skip


HEAD = "%%MatrixMarket matrix coordinate real general\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no usable Matrix Market file.*banner"),
        (HEAD + "3 3 2\n1 1 1.5\n", "Truncated file"),
        (HEAD + "3 3 1\n4 1 1.5\n", "Line 3: Row index out of bounds"),
        (HEAD + "3 3 1\n1 0 1.5\n", "Line 3: Column index out of bounds"),
        (HEAD + "3 3 1\n1 1 x\n", "Line 3"),
        (HEAD + "3 3 1\n1 1 1\n2 2 1\n", "too long"),
        (HEAD + "3 3 2\n2 1 1.5\n2 1 2\n", "row 2 and column 1 twice"),
        (HEAD + "3 3 2\n1 1 1.5\n2 2", "Line 4"),
        (HEAD + "0 3 0\n", "0 x 3 has no elements to multiply"),
        (HEAD + "-3 3 0\n", "can't be negative"),
        (HEAD + "2147483647 2147483647 1\n1 1 1\n", "more than 134217728 rows"),
        (HEAD + "99999999999999999999 3 1\n1 1 1\n", "out of range"),
        (HEAD + "3 3 10\n1 1 1\n", "declares 10 elements, and 3 x 3 has no more than 9"),
        (HEAD + "99999999 99999999 99999999999999\n1 1 1\n", "this machine's memory holds"),
        (HEAD.replace("real", "complex") + "1 1 1\n1 1 1 2\n", "must be real numbers"),
        (HEAD.replace("real general", "complex hermitian") + "1 1 1\n1 1 1 0\n", "must be real"),
        (HEAD.replace("general", "symmetric") + "3 4 1\n2 1 1\n", "is symmetric and not square"),
        (HEAD.replace("general", "symmetric") + "3 3 2\n1 2 1\n2 1 1\n", "column 2 twice"),
        (HEAD.replace("general", "skew-symmetric") + "3 3 1\n2 2 1\n", "in row 2 and column 2"),
        (HEAD.replace("general", "diagonal") + "3 3 1\n2 2 1\n", "header element: diagonal"),
        (HEAD.replace("matrix", "vector") + "3 1\n2 2\n", "not supported"),
        ("\0\1\2" * 100, "banner"),
        (HEAD.replace("coordinate", "array") + "1 1\n1\n", "holds a dense array"),
        (HEAD.replace("real", "integer") + "1 1 1\n1 1 99999999999999999999\n", "out of range"),
    ],
)
def test_wrong_files_are_refused(tmp_path, text, message):
    path = tmp_path / "a.mtx"
    path.write_text(text)
    with pytest.raises(CelosiaError, match=message):
        read_matrix_market(path)


def test_files_that_cannot_be_read_are_refused(tmp_path):
    with pytest.raises(CelosiaError, match="it is a folder"):
        read_matrix_market(tmp_path)
    with pytest.raises(CelosiaError, match="there is no such file"):
        read_matrix_market(tmp_path / "none.mtx")
    path = tmp_path / "a.mtx.gz"
    lines = "".join(f"{1 + i // 9} {1 + i % 9} {i * i}\n" for i in range(81))
    packed = gzip.compress((HEAD + "9 9 81\n" + lines).encode())
    flipped = packed[:100] + bytes([packed[100] ^ 255]) + packed[101:]
    for damaged in (packed[:-9], packed[:60], flipped, b"", HEAD.encode(), packed + b"rubbish"):
        path.write_bytes(damaged)
        with pytest.raises(CelosiaError, match="no usable Matrix Market file"):
            read_matrix_market(path)


def test_kinds_of_files(tmp_path):
    path = tmp_path / "a.mtx"
    for kind, line, expected in (
        ("integer skew-symmetric", "2 1 5", [[0, -5], [5, 0]]),
        ("integer symmetric", "1 2 5", [[0, 5], [5, 0]]),
        ("unsigned-integer general", "2 1 5", [[0, 0], [5, 0]]),
        ("pattern general", "2 1", [[0, 0], [1, 0]]),
    ):
        head = f"%%MatrixMarket matrix coordinate {kind}\r\n"
        comments = "% a long story\n" * 5000
        path.write_text(f"{head}{comments}\n2 2 1\n\n{line}\n\n", newline="")
        assert read_matrix_market(path).to_scipy().toarray().tolist() == expected
