"""EIE's storage of a sparse matrix: relative indices, interleaved over processing elements.

"EIE: Efficient Inference Engine on Compressed Deep Neural Network" (ISCA 2016), section III. PE k
of N owns rows k, k + N, k + 2N ... . Its part of a column is a list of entries, each a weight's
code and the number of zeros since the entry before, counted among the PE's own rows. Where there
are more zeros than the index can say, a padding entry (code 0, index at its greatest) stands for
them and for one zero more. A pointer for each column says where its entries begin, and one more
where the last ends. Imports numpy only.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from celosia.models.checks import integers
from celosia.models.errors import CelosiaError
from celosia.models.formats import Format
from celosia.models.sparse import SparseMatrix

MAX_PES = 256
MAX_INDEX_BITS = 8


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Compressed:
    """A matrix as the memories of ``pes`` processing elements hold it.

    PE k's entries are ``bases[k]`` to ``bases[k + 1] - 1`` of ``codes`` (uint16) and ``gaps``
    (uint8, below ``2**index_bits``); those of column j begin at ``pointers[k, j]``, counted from
    ``bases[k]``. ``shape`` is (rows, columns); pointers are int64 (pes, columns + 1).

    The constructor refuses what no encoder writes, with a :class:`CelosiaError` that names the PE
    and the column: pointers that fall or lead past the end, indices beyond the rows.
    """

    shape: tuple[int, int]
    pes: int
    index_bits: int
    codes: np.ndarray
    gaps: np.ndarray
    pointers: np.ndarray
    bases: np.ndarray

    def __post_init__(self) -> None:
        check_interleaving(self.pes, self.index_bits)
        if len(self.shape) != 2 or not integers(self.shape) or min(self.shape) < 1:
            raise CelosiaError(
                f"compressed matrix: shape must be two positive numbers: {self.shape!r}"
            )
        entries = len(self.codes)
        if len(self.gaps) != entries:
            raise CelosiaError(
                f"compressed matrix: {entries} codes and {len(self.gaps)} indices must be equally "
                "many: it is truncated"
            )
        if self.pointers.shape != (self.pes, self.shape[1] + 1):
            raise CelosiaError(
                f"compressed matrix: pointers for {self.pes} PEs and {self.shape[1]} columns must "
                f"have shape {(self.pes, self.shape[1] + 1)}, not {self.pointers.shape}: it is of "
                "another PE count or truncated"
            )
        self._check_pointers(entries)
        self._check_rows()

    def _check_pointers(self, entries: int) -> None:
        lengths = np.diff(self.bases)
        if len(self.bases) != self.pes + 1 or self.bases[0] or (lengths < 0).any():
            raise CelosiaError(
                f"compressed matrix: the first entries of {self.pes} PEs must rise from 0"
            )
        if self.bases[-1] != entries:
            raise CelosiaError(
                f"compressed matrix: the PEs have {int(self.bases[-1])} entries, {entries} are "
                "there: it is truncated"
            )
        beyond = np.argwhere((self.pointers < 0) | (self.pointers > entries))
        if len(beyond):
            pe, column = beyond[0].tolist()
            raise CelosiaError(
                f"compressed matrix: PE {pe}, column {column}: its pointer "
                f"{int(self.pointers[pe, column])} leads out of the {entries} entries there are"
            )
        falls = np.argwhere(np.diff(self.pointers, axis=1) < 0)
        if len(falls):
            pe, column = falls[0].tolist()
            raise CelosiaError(
                f"compressed matrix: PE {pe}, column {column}: its pointers fall from "
                f"{int(self.pointers[pe, column])} to {int(self.pointers[pe, column + 1])}"
            )
        if self.pointers[:, 0].any():
            pe = int(np.flatnonzero(self.pointers[:, 0])[0])
            raise CelosiaError(f"compressed matrix: PE {pe}: its first pointer must be 0")
        for pe in np.flatnonzero(self.pointers[:, -1] != lengths)[:1].tolist():
            raise CelosiaError(
                f"compressed matrix: PE {pe}: its last pointer is {int(self.pointers[pe, -1])}, "
                f"past or before the end of its {int(lengths[pe])} entries"
            )

    def _check_rows(self) -> None:
        if not len(self.gaps):
            return
        if int(self.gaps.max()) >= 1 << self.index_bits:
            raise CelosiaError(
                f"compressed matrix: indices must have {self.index_bits} bits, "
                f"{int(self.gaps.max())} has more"
            )
        pes, columns, local = self._places()
        wrong = local * self.pes + pes >= self.shape[0]
        if wrong.any():
            index = int(np.flatnonzero(wrong)[0])
            raise CelosiaError(
                f"compressed matrix: PE {int(pes[index])}, column {int(columns[index])}: an index "
                f"leads to row {int(local[index] * self.pes + pes[index])}, "
                f"beyond the {self.shape[0]} rows"
            )

    def _places(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return PE, column and row among the PE's own of each entry."""
        counts = np.diff(self.pointers, axis=1).reshape(-1)
        lists = np.repeat(np.arange(len(counts)), counts)  # one for each PE and column
        steps = np.cumsum(self.gaps.astype(np.int64) + 1)
        first = (np.cumsum(counts) - counts)[lists]
        local = steps - np.where(first > 0, steps[first - 1], 0) - 1
        return lists // self.shape[1], lists % self.shape[1], local

    @property
    def entries(self) -> np.ndarray:
        """Entries of each PE, padding included: int64 (pes,)."""
        return np.diff(self.bases)

    @property
    def column_entries(self) -> np.ndarray:
        """Entries of each PE in each column: int64 (pes, columns)."""
        return np.diff(self.pointers, axis=1)


def check_interleaving(pes: int, index_bits: int) -> None:
    """Refuse numbers of PEs but 1..256 and of index bits but 1..8."""
    for name, value, high in (("pes", pes, MAX_PES), ("index_bits", index_bits, MAX_INDEX_BITS)):
        if not integers((value,)) or not 1 <= value <= high:
            raise ValueError(f"{name} must be an integer in 1..{high}, not {value!r}")


def encode(matrix: SparseMatrix, fmt: Format, *, pes: int, index_bits: int = 4) -> Compressed:
    """Return ``matrix`` as ``pes`` processing elements store it.

    Parameters
    ----------
    matrix
        Every nonzero is a value of ``fmt``, whose code 0 stands for 0.
    fmt
        What codes stand for.
    pes, index_bits
        Rows are interleaved over ``pes``; an entry says up to ``2**index_bits - 1`` zeros.

    Raises
    ------
    ValueError
        If a nonzero is no value of the format, code 0 is not 0, or a number is out of range.
    """
    check_interleaving(pes, index_bits)
    if int(fmt.decode(np.array(0))):
        raise ValueError(f"code 0 of {fmt.name} must stand for 0: padding is made of it")
    span, columns = 1 << index_bits, matrix.shape[1]
    owner, local = matrix.rows % pes, matrix.rows // pes
    order = np.argsort(owner, kind="stable")  # within a PE by column, then by row
    lists = (owner * columns + matrix.columns)[order]
    local = local[order]
    before = np.empty_like(local)
    before[:1] = -1
    before[1:] = np.where(lists[1:] == lists[:-1], local[:-1], -1)
    zeros = local - before - 1
    padding = zeros >> index_bits
    last = np.cumsum(padding + 1) - 1  # where each nonzero comes behind its padding
    size = int(last[-1]) + 1 if len(last) else 0
    codes = np.zeros(size, np.uint16)
    gaps = np.full(size, span - 1, np.uint8)
    codes[last] = fmt.encode(matrix.values)[order]
    gaps[last] = zeros - padding * span
    counts = np.bincount(lists, weights=padding + 1, minlength=pes * columns).astype(np.int64)
    ends = np.cumsum(counts.reshape(pes, columns), axis=1)
    return Compressed(
        shape=matrix.shape,
        pes=pes,
        index_bits=index_bits,
        codes=codes,
        gaps=gaps,
        pointers=np.pad(ends, ((0, 0), (1, 0))),
        bases=np.concatenate([[0], np.cumsum(ends[:, -1])]),
    )


def decode(compressed: Compressed, fmt: Format) -> SparseMatrix:
    """Return the matrix that ``compressed`` stands for, without its padding.

    Raises :class:`CelosiaError` for codes that ``fmt`` does not have.
    """
    if len(compressed.codes) and int(compressed.codes.max()) >= 1 << fmt.bits:
        raise CelosiaError(
            f"compressed matrix: code {int(compressed.codes.max())} is none of the "
            f"{1 << fmt.bits} of {fmt.name}"
        )
    values = fmt.decode(compressed.codes)
    pes, columns, local = (place[values != 0] for place in compressed._places())
    rows = local * compressed.pes + pes
    order = np.lexsort((rows, columns))
    counts = np.bincount(columns, minlength=compressed.shape[1])
    return SparseMatrix(
        shape=compressed.shape,
        starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        rows=rows[order],
        values=values[values != 0][order],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """What storing a matrix takes.

    ``entries`` holds ``padding``, of which ``padding_share`` is the share. ``bits_per_weight`` is
    what all entries and pointers of ``pointer_bits`` take for each nonzero. ``balance`` is the
    mean of the PEs' entries over the most of any PE: no order of work does better.
    """

    nonzeros: int
    entries: int
    padding: int
    padding_share: float
    bits_per_weight: float
    balance: float


def statistics(compressed: Compressed, fmt: Format, *, pointer_bits: int = 16) -> Statistics:
    """Return what storing ``compressed``, of codes of ``fmt``, takes."""
    entries = len(compressed.codes)
    nonzeros = int(np.count_nonzero(fmt.decode(compressed.codes)))
    bits = entries * (fmt.bits + compressed.index_bits) + compressed.pointers.size * pointer_bits
    most = int(compressed.entries.max())
    return Statistics(
        nonzeros=nonzeros,
        entries=entries,
        padding=entries - nonzeros,
        padding_share=(entries - nonzeros) / max(entries, 1),
        bits_per_weight=bits / max(nonzeros, 1),
        balance=entries / (most * compressed.pes) if most else 1.0,
    )
