"""What a schedule computes: every partial matrix and the product, in the engine's arithmetic.

Integers come out the same with any schedule; floats in the order of additions of the merge tree.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from celosia.dataflow.sparch.merge_kernel import (
    ROW_SHIFT,
    Stream,
    empty_stream,
    merge_tree,
    products,
)
from celosia.dataflow.sparch.schedule import Schedule
from celosia.models.csr import Csr


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RoundResult:
    """What a round makes: its elements, and how many pairs it adds."""

    stream: Stream
    additions: int


def evaluate(left: Csr, right: Csr, plan: Schedule, ways: int) -> list[RoundResult]:
    """Return what each round of ``plan`` makes on a tree of ``ways``.

    ``left`` and ``right`` hold numbers (:mod:`celosia.dataflow.sparch.values`). The last is the
    product.
    """
    results: list[RoundResult] = []
    order = np.lexsort((left.rows, plan.stream))
    bounds = np.searchsorted(plan.stream[order], np.arange(int(plan.stream.max(initial=-1)) + 2))
    for each in plan.rounds:
        leaves = [results[source].stream for source in each.sources]
        leaves += [
            fed_stream(left, right, order[bounds[number] : bounds[number + 1]])
            for number in each.streams
        ]
        leaves += [empty_stream(left.values.dtype)] * (ways - len(leaves))
        stream, added = merge_tree(leaves)
        results.append(RoundResult(stream=stream, additions=added))
    return results


def fed_stream(left: Csr, right: Csr, nonzeros: np.ndarray) -> Stream:
    """Return the products of A's ``nonzeros``, of rising rows, with the rows of B they meet."""
    inner = left.columns[nonzeros]
    counts = right.counts[inner]
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    at = np.arange(total) + np.repeat(right.starts[inner] - ends + counts, counts)
    rows = np.repeat(left.rows[nonzeros], counts)
    factors = np.repeat(left.values[nonzeros], counts)
    return Stream((rows << ROW_SHIFT) | right.columns[at], products(factors, right.values[at]))


def to_csr(stream: Stream, shape: tuple[int, int]) -> Csr:
    """Return a stream as a matrix of ``shape``."""
    counts = np.bincount(stream.rows, minlength=shape[0])
    return Csr(
        shape=shape,
        starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        columns=stream.columns,
        values=stream.numbers,
    )
