"""The work records of rounds: pieces of rows of B, in the order in which they feed the tree."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from celosia.dataflow.jit import compiled
from celosia.dataflow.sparch.accelerator import SparchAccelerator
from celosia.dataflow.sparch.merge_kernel import ROW_SHIFT
from celosia.dataflow.sparch.replacement import place_lines, place_runs
from celosia.dataflow.sparch.work import record_ends
from celosia.models.csr import Csr

_OFTEN = 16
"""Times that a row is met from which on it is met often."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """How rows of B lie in memory and in the buffer.

    A piece of a row has a line of the buffer to itself. With ``packed`` it takes only the beats
    that it lies in, anywhere, and pieces in the same beats share them. With ``padded`` there are
    gaps between rows, where a row then takes the multipliers a cycle or, ``packed``, a beat less.
    With ``gathered`` rows lie in the order in which they are first met, those met most often
    first, so that short rows share beats with others of use.
    """

    packed: bool = False
    padded: bool = False
    gathered: bool = False


@compiled
def _positions(order: np.ndarray, counts: np.ndarray, group: int, positions: np.ndarray) -> None:
    at = 0
    for row in order:
        count = counts[row]
        if (at % group + count - 1) // group > (count - 1) // group and count > 0:
            at += -at % group
        positions[row] = at
        at += count
    positions[len(counts)] = at


def _gathered(left: Csr, right: Csr) -> np.ndarray:
    """Return B's rows by how often they are met (many times are all one), then by when first."""
    uses = np.bincount(left.columns, minlength=right.shape[0])
    first = np.full(right.shape[0], left.nonzeros)
    first[left.columns[::-1]] = np.arange(left.nonzeros)[::-1]
    return np.lexsort((first, -np.minimum(uses, _OFTEN)))


def row_positions(left: Csr, right: Csr, accelerator: SparchAccelerator, cut: Cut) -> np.ndarray:
    """Return where each row of B begins in memory, in elements, and where all end.

    int64 (rows + 1,). See :class:`Cut` for gaps and order.
    """
    group = 1
    if cut.padded:
        group = accelerator.right_lanes if cut.packed else accelerator.right.multipliers
    order = _gathered(left, right) if cut.gathered else np.arange(right.shape[0])
    positions = np.empty(len(right.starts), np.int64)
    _positions(order, right.counts, group, positions)
    return positions


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pieces:
    """Pieces of rows of B that nonzeros of A meet; all arrays have shape (n,).

    ``nonzero`` of A, its ``row``, the ``number`` of the piece in the row of B, the ``count``
    elements that lie from position ``begin`` on in memory, ``element`` of B the first of them, the
    ``beats`` that they lie in from beat ``address`` on, their number ``tag`` in the buffer.
    """

    nonzero: np.ndarray
    row: np.ndarray
    number: np.ndarray
    begin: np.ndarray
    element: np.ndarray
    count: np.ndarray
    tag: np.ndarray
    address: np.ndarray
    beats: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Records:
    """Work records, in order: a piece each, its ``leaf``, whether it is the ``last`` of its leaf.

    All arrays have shape (n,).
    """

    nonzero: np.ndarray
    row: np.ndarray
    leaf: np.ndarray
    begin: np.ndarray
    element: np.ndarray
    count: np.ndarray
    tag: np.ndarray
    address: np.ndarray
    beats: np.ndarray
    last: np.ndarray


def _ramps(counts: np.ndarray) -> np.ndarray:
    """Return 0 .. count - 1 for each of ``counts``, one after another."""
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    return np.asarray(np.arange(total) - np.repeat(ends - counts, counts))


def cut_pieces(
    left: Csr,
    right: Csr,
    positions: np.ndarray,
    nonzeros: np.ndarray,
    accelerator: SparchAccelerator,
    cut: Cut,
) -> Pieces:
    """Return the pieces of the rows of B that ``nonzeros`` of A meet, int64 (m,), in their order.

    ``positions`` are those of rows of B, see :func:`row_positions`; ``accelerator`` and ``cut`` say
    what the buffer holds, and how.
    """
    lanes = accelerator.right_lanes
    nonzeros = nonzeros[right.counts[left.columns[nonzeros]] > 0]
    rows = np.searchsorted(left.starts, nonzeros, side="right") - 1  # of these alone: all take long
    inner = left.columns[nonzeros]
    begins = positions[inner]
    ends = begins + right.counts[inner]

    step = accelerator.line_elements
    bases = begins // lanes * lanes
    pieces = (ends - 1 - bases) // step + 1
    number = _ramps(pieces)
    of = np.repeat(np.arange(len(pieces)), pieces)
    base = bases[of] + number * step
    begin, end = np.maximum(begins[of], base), np.minimum(ends[of], base + step)
    address = base // lanes
    beats = -(-end // lanes) - address
    if cut.packed:
        tag = address * accelerator.right.line_beats + beats - 1
    else:
        most = (positions[:-1] % lanes + right.counts - 1) // step + 1
        before = np.concatenate([[0], np.cumsum(most * (right.counts > 0))])
        tag = before[inner[of]] + number
    return Pieces(
        nonzero=nonzeros[of], row=rows[of], number=number, begin=begin,
        element=begin - begins[of] + right.starts[inner[of]], count=end - begin, tag=tag,
        address=address, beats=beats,
    )  # fmt: skip


def dealt(pieces: Pieces, leaves: int) -> np.ndarray:
    """Return the leaf of each piece, int64 (n,), dealt out to ``leaves`` in turn, from 0 on.

    A leaf has of each row only pieces one after another of one nonzero. So they are dealt out one
    by one, where a row has no more than there are leaves; otherwise as few together, a power of
    two, as make no more. Rows have at most ``leaves`` nonzeros.
    """
    starts = np.flatnonzero(np.diff(pieces.row, prepend=-1))
    row = np.cumsum(np.diff(pieces.row, prepend=-1) != 0) - 1
    together = np.ones(len(starts), np.int64)
    while True:
        begins = pieces.number % together[row] == 0
        many = np.add.reduceat(begins, starts, dtype=np.int64) > leaves if len(starts) else starts
        if not many.any():
            return (np.cumsum(begins) - 1) % max(leaves, 1)
        together[many] *= 2


def ordered_records(right: Csr, pieces: Pieces, leaf: np.ndarray) -> Records:
    """Return the records of a round whose ``pieces``, by rows, go to ``leaf`` each, int64 (n,).

    They are in order of the last key of the leaf's record before (that of its first record is
    lowest), of equal ones by leaf: ``docs/sparch.md``.
    """
    by_leaf = np.argsort(leaf, kind="stable")
    leaves = leaf[by_leaf]
    ends = (pieces.element + pieces.count - 1)[by_leaf]
    key = (pieces.row[by_leaf] << ROW_SHIFT) | right.columns[ends]
    first = np.ones(len(leaves), bool)
    first[1:] = leaves[1:] != leaves[:-1]
    runs_out = np.where(first, -1, np.roll(key, 1))
    order = np.lexsort((leaves, runs_out))
    last = np.roll(first, -1)[order]
    order = by_leaf[order]
    return Records(
        nonzero=pieces.nonzero[order], row=pieces.row[order], leaf=leaf[order],
        begin=pieces.begin[order], element=pieces.element[order], count=pieces.count[order],
        tag=pieces.tag[order], address=pieces.address[order], beats=pieces.beats[order], last=last,
    )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Placed:
    """Records with their first beat in the buffer, ``slots``; ``misses`` are fetched.

    Each ends in one of the left stream's grains, ``ends``, counted from 1.
    """

    records: Records
    slots: np.ndarray
    misses: np.ndarray
    ends: np.ndarray

    @property
    def fetched_beats(self) -> int:
        """Beats of the right matrix that are read."""
        return int(self.records.beats[self.misses].sum())


def place_records(
    rounds: list[Records], accelerator: SparchAccelerator, *, reuse: bool, packed: bool
) -> list[Placed]:
    """Return the rounds' records with places in the buffer, which keeps what it holds.

    A record has a line, or, ``packed``, as many beats as it needs. Without ``reuse`` every record
    fetches, into one line after another.
    """
    count = sum(len(records.tag) for records in rounds)
    lines, line_beats = accelerator.right.lines, accelerator.right.line_beats
    tags = np.concatenate([records.tag for records in rounds])
    beats = np.concatenate([records.beats for records in rounds])
    if not reuse:
        slots = np.arange(count) % lines * line_beats
        misses = np.ones(count, bool)
    elif packed:
        slots, misses = place_runs(tags, beats, accelerator.buffer_beats, accelerator.pinned)
    else:
        slots, misses = place_lines(tags, lines, accelerator.pinned)
        slots *= line_beats
    found, end = [], 0
    for records in rounds:
        begin, end = end, end + len(records.tag)
        fetched = misses[begin:end]
        ends = record_ends(records.row, records.leaf, fetched, accelerator)
        found.append(
            Placed(records=records, slots=slots[begin:end], misses=fetched, ends=ends)
        )  # fmt: skip
    return found


def work_fields(placed: Placed, codes: np.ndarray, lanes: int) -> list[np.ndarray]:
    """Return what work records say, :data:`~celosia.dataflow.sparch.work.FIELDS`.

    ``codes`` are those of A's values, ``lanes`` elements of B fill a beat.
    """
    records = placed.records
    return [
        codes[records.nonzero],
        records.row,
        records.leaf,
        placed.slots,
        records.begin - records.address * lanes,
        records.count - 1,
        placed.misses,
        records.last,
        np.where(placed.misses, records.address, 0),
    ]
