"""Matrices of meshes and graphs have the rows and the products that they are asked for."""

from __future__ import annotations

import numpy as np
import pytest

from celosia.models.random_graphs import graph_matrix, mesh_matrix, products_of, row_lengths

SEED = 77


def test_lengths_of_rows():
    for rows, nonzeros, longest, square, least in (
        (2000, 16000, 280, 22.0, 1),
        (1000, 12000, 500, 60.0, 0),
        (3000, 48000, 31, 16.7, 1),
        (50, 200, 4, 4.0, 1),
    ):
        counts = row_lengths(rows, nonzeros, longest, square, least=least)
        assert (counts.sum(), counts.max()) == (nonzeros, longest)
        assert counts.min() >= least
        assert (np.diff(counts) >= 0).all()
        assert (counts**2).sum() / nonzeros == pytest.approx(square, rel=0.15)
    assert set(row_lengths(50, 200, 4, 4.0).tolist()) == {4}
    with pytest.raises(ValueError, match="3 rows of 1 to 4 elements do not hold 13"):
        row_lengths(3, 13, 4, 4.0)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_long_rows_of_a_mesh_meet_long_rows(dimensions):
    counts = row_lengths(3000, 60_000, 90, 28.0)
    matrix = mesh_matrix(counts, dimensions, np.random.default_rng(SEED), reach=1.5)
    assert (np.sort(matrix.counts) == counts).all()
    assert products_of(matrix.counts, matrix.columns) == pytest.approx(28 * 60_000, rel=0.15)
    far = np.abs(matrix.rows - matrix.columns)
    assert np.median(np.minimum(far, 3000 - far)) < 3000 / 4


def test_a_mesh_too_small_for_its_rows():
    with pytest.raises(ValueError, match="has no rows of 20 elements"):
        mesh_matrix(np.full(15, 20), 3, np.random.default_rng(SEED))


@pytest.mark.parametrize("scattered", [False, True])
@pytest.mark.parametrize("near", [0.0, 0.8])
def test_products_of_a_graph(near, scattered):
    rng = np.random.default_rng(SEED)
    counts = rng.permutation(row_lengths(3000, 24_000, 280, 22.0, least=0))
    matrix = graph_matrix(counts, 400_000, rng, near=near, window=128, scattered=scattered)
    assert (np.sort(matrix.counts) == np.sort(counts)).all()
    assert products_of(matrix.counts, matrix.columns) == pytest.approx(400_000, rel=0.1)
    close = np.mean(np.abs(matrix.rows - matrix.columns) < 128)
    assert (close > 0.5) == (near > 0 and not scattered)


def test_a_graph_without_edges_and_a_full_one():
    rng = np.random.default_rng(SEED)
    assert graph_matrix(np.zeros(5, np.int64), 0, rng).nonzeros == 0
    assert graph_matrix(np.full(5, 5), 125, rng).nonzeros == 25
