"""Which rounds make a product: streams of nonzeros, and the tree of merges over them.

"SpArch: Efficient Architecture for Sparse Matrix Multiplication" (HPCA 2020): condensing, and
Huffman trees of as many ways as the merge tree has.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numpy as np

from celosia.models.csr import Csr


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One pass through the merge tree: ``sources`` (earlier rounds), then ``streams``, by leaf."""

    sources: tuple[int, ...]
    streams: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Schedule:
    """A product as rounds, of which the last makes the output.

    ``stream`` says of each of A's nonzeros in which stream it is, int64; in a stream no row has two
    of them. Each stream is in one round, and so is each round but the last, as a source.
    """

    stream: np.ndarray
    rounds: tuple[Round, ...]


def row_lengths(left: Csr, right: Csr) -> np.ndarray:
    """Return how many elements of B each nonzero of A meets, int64."""
    return np.asarray(right.counts[left.columns])


def condensed(left: Csr) -> np.ndarray:
    """Return the condensed column of each nonzero: its place in its row."""
    return np.asarray(np.arange(left.nonzeros) - np.repeat(left.starts[:-1], left.counts))


def longest_first(left: Csr, lengths: np.ndarray) -> np.ndarray:
    """Return the place of each nonzero in its row, rows sorted by ``lengths``, longest first.

    What does not fit the last round is then the least of each row: the best that a row-wise engine
    can do for each row by itself. Of equal lengths the first column comes first.
    """
    order = np.lexsort((left.columns, -lengths, left.rows))
    place = np.empty(left.nonzeros, np.int64)
    place[order] = condensed(left)
    return place


def huffman_rounds(weights: np.ndarray, ways: int) -> tuple[Round, ...]:
    """Return the merges of streams with ``weights``, the lightest first.

    The first round takes as many as leave ``ways`` for each other. Of equal weights, streams come
    before rounds, both in order of number.
    """
    if len(weights) <= ways:
        return (Round(sources=(), streams=tuple(range(len(weights)))),)
    count = len(weights)
    heap = [(int(weight), number) for number, weight in enumerate(weights)]
    heapq.heapify(heap)
    rounds: list[Round] = []
    take = (count - 2) % (ways - 1) + 2
    while len(heap) > 1:
        taken = [heapq.heappop(heap) for _ in range(take)]
        numbers = sorted(number for _, number in taken)
        sources = tuple(number - count for number in numbers if number >= count)
        streams = tuple(number for number in numbers if number < count)
        heapq.heappush(heap, (sum(weight for weight, _ in taken), count + len(rounds)))
        rounds.append(Round(sources=sources, streams=streams))
        take = ways
    return tuple(rounds)


def arrival_rounds(count: int, ways: int) -> tuple[Round, ...]:
    """Return merges of ``count`` streams in order, each with what was merged before."""
    rounds = [Round(sources=(), streams=tuple(range(min(ways, count))))]
    for first in range(ways, count, ways - 1):
        streams = tuple(range(first, min(first + ways - 1, count)))
        rounds.append(Round(sources=(len(rounds) - 1,), streams=streams))
    return tuple(rounds)


def schedule(
    left: Csr, right: Csr, ways: int, *, rowwise: bool, condense: bool, huffman: bool
) -> Schedule:
    """Return the rounds of ``left`` times ``right`` on a tree of ``ways``.

    ``rowwise`` orders each row by itself (:func:`longest_first`); otherwise the nonzeros of a
    condensed column, or without ``condense`` of a column, are a stream. ``huffman`` merges the
    lightest first, by the number of products. Streams without products are left out.
    """
    lengths = row_lengths(left, right)
    if rowwise:
        stream = longest_first(left, lengths)
    else:
        stream = condensed(left) if condense else left.columns.copy()
    weights = np.bincount(stream, weights=lengths).astype(np.int64)
    kept = np.flatnonzero(weights)
    renamed = np.full(len(weights), -1, np.int64)
    renamed[kept] = np.arange(len(kept))
    if huffman:
        rounds = huffman_rounds(weights[kept], ways)
    else:
        rounds = arrival_rounds(len(kept), ways)
    return Schedule(stream=renamed[stream], rounds=rounds)
