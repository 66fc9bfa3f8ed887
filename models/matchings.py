"""A boundary matrix of a simplicial complex that is known in full: matchings of triples."""

from __future__ import annotations

import itertools

import numpy as np

from celosia.models.csr import Csr


def _matchings(points: int, size: int) -> np.ndarray:
    """Return all sets of ``size`` disjoint triples of ``points`` in order, int64 (n, ``size``)."""
    triples = np.array(list(itertools.combinations(range(points), 3)))
    masks = (1 << triples).sum(axis=1).astype(np.int32)
    found, used = np.arange(len(masks))[:, None], masks
    for _ in range(size - 1):
        free = (used[:, None] & masks) == 0
        free &= np.arange(len(masks)) > found[:, -1:]
        before, added = np.nonzero(free)
        found = np.column_stack([found[before], added])
        used = used[before] | masks[added]
    return found


def matching_boundary(points: int, size: int) -> Csr:
    """Return which sets of ``size`` disjoint triples of ``points`` hold which of one less.

    That is the boundary map of the complex whose simplices are sets of disjoint triples, without
    signs: a row for each set of ``size`` triples, with ``size`` ones. Sets are in lexicographic
    order of their triples, which are numbered so too.
    """
    rows, faces = _matchings(points, size), _matchings(points, size - 1)
    base = int(max(rows.max(), faces.max())) + 1
    weights = base ** np.arange(size - 2, -1, -1)
    names = faces @ weights
    columns = np.column_stack(
        [np.searchsorted(names, np.delete(rows, each, axis=1) @ weights) for each in range(size)]
    )
    return Csr(
        shape=(len(rows), len(faces)),
        starts=np.arange(len(rows) + 1) * size,
        columns=np.sort(columns, axis=1).ravel(),
        values=np.ones(rows.size, np.int64),
    )
