"""Weight sharing: k-means of one layer's weights ("Deep Compression", section 3)."""

from __future__ import annotations

import numpy as np

from celosia.models.compression.recipe import Start

ROUNDS = 100
"""Most rounds of k-means; it ends earlier where no weight changes its cluster."""


def first_centroids(values: np.ndarray, clusters: int, start: Start, seed: int) -> np.ndarray:
    """Return where the centroids of ``values`` (K,) begin, float64 (clusters,), ascending.

    ``seed`` matters to random starts alone. There are at least as many values as clusters.
    """
    match start:
        case Start.LINEAR:
            return np.asarray(np.linspace(values.min(), values.max(), clusters))
        case Start.DENSITY:
            return np.asarray(np.quantile(values, (np.arange(clusters) + 0.5) / clusters))
        case Start.RANDOM:
            rng = np.random.default_rng(seed)
            return np.asarray(np.sort(rng.choice(values, clusters, replace=False)))


def nearest(values: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Return the number of the centroid nearest to each of ``values``, int64 of their shape.

    ``centroids`` (clusters,) ascend; half-way between two it is the lower.
    """
    return np.searchsorted((centroids[1:] + centroids[:-1]) / 2, values).astype(np.int64)


def cluster(values: np.ndarray, clusters: int, start: Start, seed: int = 0) -> np.ndarray:
    """Return the centroids of ``values`` (K,), float64, ascending, at most ``clusters``.

    Lloyd's algorithm: each centroid becomes the mean of the values nearest to it until none
    changes. A cluster without values goes to the value that is farthest from its centroid, and is
    left out where it has none in the end. As many distinct values as clusters, or fewer, are the
    centroids themselves.
    """
    distinct = np.unique(values.astype(np.float64))
    if len(distinct) <= clusters:
        return distinct
    ordered = np.sort(values.astype(np.float64))
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    centroids = first_centroids(ordered, clusters, start, seed)
    before = np.zeros(0)
    for _ in range(ROUNDS):
        middles = (centroids[1:] + centroids[:-1]) / 2
        ends = np.concatenate([[0], np.searchsorted(ordered, middles, "right"), [len(ordered)]])
        counts = np.diff(ends)
        means = np.diff(sums[ends]) / np.maximum(counts, 1)
        empty = counts == 0
        if empty.any():
            distances = np.abs(ordered - np.repeat(means, counts))
            means[empty] = ordered[np.argsort(-distances, kind="stable")[: empty.sum()]]
        elif np.array_equal(ends, before):
            break
        centroids, before = np.sort(means), ends
    return np.unique(centroids[np.unique(nearest(ordered, centroids))])
