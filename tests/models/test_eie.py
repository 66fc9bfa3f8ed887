import io
import json

import numpy as np
import pytest

from celosia.models.eie import Compressed, decode, encode, statistics
from celosia.models.eie_file import load_compressed, save_compressed
from celosia.models.errors import CelosiaError
from celosia.models.formats import Codebook, Fixed, parse_format
from celosia.models.sparse import SparseMatrix

SEED = 1602
BOOK = Codebook.of(np.array([1, 2, 3, 40, -5, -60, 70, 8]), 4)


def lists(compressed):
    """(codes, gaps, pointers) of each PE."""
    for pe in range(compressed.pes):
        part = slice(compressed.bases[pe], compressed.bases[pe + 1])
        yield (
            compressed.codes[part].tolist(),
            compressed.gaps[part].tolist(),
            compressed.pointers[pe].tolist(),
        )


def test_a_column_of_the_paper():
    column = np.array([0, 0, 1, 2, *[0] * 18, 3])[:, None]
    codebook = Codebook(bits=4, table=tuple(range(16)))
    ((codes, gaps, pointers),) = lists(encode(SparseMatrix.from_dense(column), codebook, pes=1))
    assert codes == [1, 2, 0, 3]
    assert gaps == [2, 0, 15, 2]
    assert pointers == [0, 4]


def test_the_matrix_of_the_paper():
    """16 x 8 over 4 PEs, figure 3: what PE 0 holds of rows 0, 4, 8 and 12."""
    columns = [{0, 8, 12}, {4}, {0, 12}, set(), {0, 4}, {0, 12}, {0}, {8, 12}]
    matrix = np.zeros((16, 8), np.int64)
    names = {}
    for column, rows in enumerate(columns):
        for row in rows:
            matrix[row, column] = 1 + len(names)
            names[matrix[row, column]] = f"W{row},{column}"
    codebook = Codebook(bits=4, table=tuple(range(16)))
    compressed = encode(SparseMatrix.from_dense(matrix), codebook, pes=4)
    codes, gaps, pointers = next(lists(compressed))
    expected = "W0,0 W8,0 W12,0 W4,1 W0,2 W12,2 W0,4 W4,4 W0,5 W12,5 W0,6 W8,7 W12,7"
    assert " ".join(names[code] for code in codes) == expected
    assert gaps == [0, 1, 0, 1, 0, 2, 0, 0, 0, 2, 0, 2, 0]
    assert pointers == [0, 3, 4, 6, 6, 8, 10, 11, 13]
    assert compressed.entries.tolist() == [13, 0, 0, 0]


def plain_encode(matrix, pes, index_bits, fmt):
    """The rules of the paper, entry by entry."""
    for pe in range(pes):
        codes, gaps, pointers = [], [], [0]
        for column in matrix.T:
            zeros = 0
            for value in column[pe::pes]:
                if value:
                    while zeros > (1 << index_bits) - 1:
                        codes.append(0)
                        gaps.append((1 << index_bits) - 1)
                        zeros -= 1 << index_bits
                    codes.append(int(fmt.encode(value)))
                    gaps.append(zeros)
                    zeros = 0
                else:
                    zeros += 1
            pointers.append(len(codes))
        yield codes, gaps, pointers


def random_matrix(rng):
    shape = tuple(rng.integers(1, 70, 2))
    density = rng.choice([0, 1, rng.random(), 0.03])
    matrix = rng.choice(BOOK.values[BOOK.values != 0], shape) * (rng.random(shape) < density)
    if rng.random() < 0.3:
        matrix[rng.integers(shape[0])] = 0
        matrix[:, rng.integers(shape[1])] = 0
    return matrix


def test_round_trips_of_a_thousand_matrices():
    rng = np.random.default_rng(SEED)
    for _ in range(1000):
        dense = random_matrix(rng)
        pes, index_bits = int(rng.choice([1, 2, 3, 4, 16, 256])), int(rng.integers(1, 6))
        matrix = SparseMatrix.from_dense(dense)
        compressed = encode(matrix, BOOK, pes=pes, index_bits=index_bits)
        back = decode(compressed, BOOK)
        assert back.shape == dense.shape
        assert (back.dense() == dense).all()


def test_entries_are_those_of_the_rules():
    rng = np.random.default_rng(SEED + 1)
    for _ in range(60):
        dense, pes = random_matrix(rng), int(rng.choice([1, 3, 4, 64]))
        compressed = encode(SparseMatrix.from_dense(dense), BOOK, pes=pes, index_bits=2)
        assert list(lists(compressed)) == list(plain_encode(dense, pes, 2, BOOK))


def test_weights_without_a_codebook():
    dense = np.arange(-20, 20).reshape(8, 5)
    fmt = Fixed(bits=8)
    compressed = encode(SparseMatrix.from_dense(dense), fmt, pes=2)
    assert (decode(compressed, fmt).dense() == dense).all()


def test_statistics():
    dense = np.zeros((40, 2), np.int64)
    dense[[0, 38], 0] = 1, 2  # PE 0: rows 0 and 19 of its own, 18 zeros between: one padding entry
    found = statistics(encode(SparseMatrix.from_dense(dense), BOOK, pes=2), BOOK, pointer_bits=16)
    assert (found.nonzeros, found.entries, found.padding) == (2, 3, 1)
    assert found.padding_share == 1 / 3
    assert found.bits_per_weight == (3 * 8 + 6 * 16) / 2
    assert found.balance == 0.5


def good():
    dense = np.zeros((8, 3), np.int64)
    dense[[0, 2, 6], [0, 0, 1]] = 1, 2, 3
    dense[1, 2] = 40
    return encode(SparseMatrix.from_dense(dense), BOOK, pes=2)


def change(**fields):
    base = good()
    names = ("shape", "pes", "index_bits", "codes", "gaps", "pointers", "bases")
    return Compressed(**({name: getattr(base, name) for name in names} | fields))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"pointers": np.array([[0, 2, 3, 4], [0, 0, 0, 1]])}, "PE 0: its last pointer is 4, past"),
        ({"pointers": np.array([[0, 2, 3, 9], [0, 0, 0, 1]])}, "column 3: its pointer 9 leads"),
        (  # which differences alone, of 64 bits, do not show
            {"pointers": np.array([[0, 2**63 - 1, -(2**63), 3], [0, 0, 0, 1]])},
            "PE 0, column 1: its pointer 9223372036854775807 leads out of the 4 entries",
        ),
        ({"pointers": np.array([[0, 2, 1, 3], [0, 0, 0, 1]])}, "PE 0, column 1: .* fall from 2 to"),
        ({"pointers": np.array([[0, 2, 3, 3], [1, 1, 1, 1]])}, "PE 1: its first pointer"),
        ({"gaps": np.array([0, 0, 4, 0], np.uint8)}, "PE 0, column 1: .* row 8, beyond the 8 rows"),
        ({"gaps": np.array([0, 0, 16, 0], np.uint8)}, "indices must have 4 bits"),
        ({"gaps": np.zeros(3, np.uint8)}, "truncated"),
        ({"pes": 3}, "another PE count"),
        ({"shape": (0, 3)}, "shape must be two positive"),
        ({"bases": np.array([0, 3, 5])}, "the PEs have 5 entries, 4 are there"),
        ({"bases": np.array([0, 5, 4])}, "must rise from 0"),
    ],
)  # fmt: skip
def test_corrupt_data_is_refused(fields, message):
    with pytest.raises(CelosiaError, match=message):
        change(**fields)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pes": 0}, "pes must be an integer in 1..256, not 0"),
        ({"pes": 257}, "pes must be an integer"),
        ({"pes": 2, "index_bits": 9}, "index_bits must be an integer in 1..8, not 9"),
    ],
)
def test_parameters_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        encode(SparseMatrix.from_dense(np.eye(3, dtype=int)), BOOK, **options)


def test_weights_that_are_not_in_the_codebook():
    with pytest.raises(ValueError, match="9 is not a value"):
        encode(SparseMatrix.from_dense(np.full((2, 2), 9)), BOOK, pes=1)
    with pytest.raises(CelosiaError, match="code 300 is none of the 16"):
        decode(change(codes=np.array([300, 1, 1, 1], np.uint16)), BOOK)


def test_a_file_brings_everything_back(tmp_path):
    path = tmp_path / "layer.eie"
    save_compressed(good(), BOOK, path)
    back, fmt = load_compressed(path, pes=2)
    assert fmt == BOOK
    assert (decode(back, fmt).dense() == decode(good(), BOOK).dense()).all()


def test_files_that_are_refused(tmp_path):
    path = tmp_path / "layer.eie"
    save_compressed(good(), BOOK, path)
    content = path.read_bytes()
    with pytest.raises(CelosiaError, match="interleaved over 2 PEs, not 64"):
        load_compressed(path, pes=64)
    for length in range(0, len(content), 37):
        path.write_bytes(content[:length])
        with pytest.raises(CelosiaError, match=r"layer\.eie"):
            load_compressed(path)
    with pytest.raises(CelosiaError, match="cannot read"):
        load_compressed(tmp_path / "none.eie")


def rewritten(path, **changes):
    """Change arrays in a file and leave its checksum."""
    with np.load(path) as archive:
        members = {name: archive[name] for name in archive.files} | changes
    buffer = io.BytesIO()
    np.savez(buffer, **members)
    path.write_bytes(buffer.getvalue())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"pointers": np.array([[0, 2, 3, 7], [0, 0, 0, 1]])},
            "column 3: its pointer 7 leads",
        ),
        ({"gaps": np.array([0, 0, 7, 0], np.uint8)}, "beyond the 8 rows"),
        ({"codes": np.array([1, 2, 4, 4], np.uint16)}, "checksum"),
        ({"codes": np.array([1.0, 2, 4, 4])}, "array codes is damaged"),
        ({"header": np.frombuffer(json.dumps({"sha256": ""}).encode(), np.uint8)}, "truncated or"),
    ],
)
def test_damaged_files_are_refused(tmp_path, changes, message):
    path = tmp_path / "layer.eie"
    save_compressed(good(), BOOK, path)
    rewritten(path, **changes)
    with pytest.raises(CelosiaError, match=message):
        load_compressed(path)


def test_codebooks_are_formats():
    assert parse_format(BOOK.name) == BOOK
    assert BOOK.table[0] == 0
    assert BOOK.values.tolist() == [-60, -5, 0, 1, 2, 3, 8, 40, 70]
    assert (BOOK.decode(BOOK.encode(BOOK.values)) == BOOK.values).all()


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: Codebook(bits=2, table=(0, 1)), ValueError, "must have 2, 4, 8"),
        (lambda: Codebook(bits=1, table=(1, 0)), ValueError, "must begin with 0, not 1"),
        (lambda: Codebook(bits=1, table=(0, 40000)), ValueError, "not 40000"),
        (lambda: Codebook(bits=1, table=(0, 1.5)), TypeError, "must hold integers"),
        (lambda: Codebook.of(np.arange(1, 18), 4), ValueError, "15 values, not 17"),
        (lambda: parse_format("codebook_0_1_2"), ValueError, "2, 4, 8"),
    ],
)
def test_codebooks_that_are_refused(make, kind, message):
    with pytest.raises(kind, match=message):
        make()
