"""Weight sharing: k-means in one dimension, against another implementation."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.cluster import KMeans

from celosia.models.compression.recipe import Start
from celosia.models.compression.share import cluster, first_centroids, nearest

SEED = 149


@pytest.mark.parametrize("start", Start)
def test_centroids_equal_those_of_scikit_learn(start):
    """From the same start Lloyd's algorithm ends in the same place."""
    rng = np.random.default_rng(SEED)
    values = rng.uniform(-1, 1, 2000) ** 3
    begin = first_centroids(np.sort(values), 15, start, 3)
    found = cluster(values, 15, start, 3)
    other = KMeans(15, init=begin[:, None], n_init=1, max_iter=100, tol=0).fit(values[:, None])
    assert found == pytest.approx(np.sort(other.cluster_centers_[:, 0]), abs=1e-9)
    assert (nearest(values, found) == np.abs(values[:, None] - found).argmin(axis=1)).all()


def test_starts_are_deep_compressions():
    values = np.sort(np.random.default_rng(SEED + 1).normal(size=1001))
    linear = first_centroids(values, 5, Start.LINEAR, 0)
    assert linear == pytest.approx(values[0] + (values[-1] - values[0]) * np.arange(5) / 4)
    density = first_centroids(values, 5, Start.DENSITY, 0)
    assert np.searchsorted(values, density).tolist() == [100, 300, 500, 700, 900]
    random = first_centroids(values, 5, Start.RANDOM, 0)
    assert np.isin(random, values).all()
    assert (random == first_centroids(values, 5, Start.RANDOM, 0)).all()
    assert (random != first_centroids(values, 5, Start.RANDOM, 1)).any()


def test_few_distinct_values_are_kept_as_they_are():
    values = np.array([3.0, -1.0, 3.0, 2.0])
    assert cluster(values, 15, Start.LINEAR).tolist() == [-1.0, 2.0, 3.0]


def test_clusters_without_values_go_where_values_are():
    """An outlier would leave a linear start with two clusters."""
    values = np.concatenate([np.linspace(0, 1, 50), [1000.0]])
    found = cluster(values, 15, Start.LINEAR)
    assert len(found) == 15
    assert np.abs(values - found[nearest(values, found)]).max() < 0.1
