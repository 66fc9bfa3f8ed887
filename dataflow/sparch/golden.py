"""What a plan computes: every partial matrix and the product, in the engine's arithmetic.

Integers come out the same with any plan; floats in the order of additions of the merge tree.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from celosia.dataflow.sparch.merge_kernel import (
    ROW_SHIFT,
    Stream,
    merge_tree,
    products,
)
from celosia.dataflow.sparch.plan import Plan
from celosia.dataflow.sparch.records import Records
from celosia.models.csr import Csr


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RoundResult:
    """What a round makes: its elements, and how many pairs it adds."""

    stream: Stream
    additions: int


def evaluate(plan: Plan) -> list[RoundResult]:
    """Return what each round of ``plan`` makes; the last is the product."""
    results: list[RoundResult] = []
    ways = plan.accelerator.tree.ways
    for each, placed in zip(plan.schedule.rounds, plan.records, strict=True):
        leaves = [results[source].stream for source in each.sources]
        leaves += fed_streams(plan, placed.records, ways)[len(leaves) :]
        stream, added = merge_tree(leaves)
        results.append(RoundResult(stream=stream, additions=added))
    return results


def fed_streams(plan: Plan, records: Records, ways: int) -> list[Stream]:
    """Return the products of a round, by leaf."""
    counts = records.count
    ends = np.cumsum(counts)
    total = int(ends[-1]) if len(ends) else 0
    at = np.arange(total) + np.repeat(records.element - ends + counts, counts)
    made = products(np.repeat(plan.left.values[records.nonzero], counts), plan.right.values[at])
    keys = (np.repeat(records.row, counts) << ROW_SHIFT) | plan.right.columns[at]
    leaf = np.repeat(records.leaf, counts)
    order = np.argsort(leaf, kind="stable")
    bounds = np.searchsorted(leaf[order], np.arange(ways + 1))
    parts = [order[begin:end] for begin, end in itertools.pairwise(bounds)]
    return [Stream(keys[part], made[part]) for part in parts]


def to_csr(stream: Stream, shape: tuple[int, int]) -> Csr:
    """Return a stream as a matrix of ``shape``."""
    counts = np.bincount(stream.rows, minlength=shape[0])
    return Csr(
        shape=shape,
        starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        columns=stream.columns,
        values=stream.numbers,
    )
