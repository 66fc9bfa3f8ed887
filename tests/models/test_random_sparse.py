"""Random sparse matrices keep what they promise."""

from __future__ import annotations

import numpy as np
import pytest

from celosia.models.random_sparse import Pattern, random_matrix, row_counts

SEED = 41


@pytest.mark.parametrize("pattern", Pattern)
@pytest.mark.parametrize(("shape", "nonzeros"), [((50, 70), 300), ((9, 4), 36), ((5, 80), 3)])
def test_size_and_values(pattern, shape, nonzeros):
    rng = np.random.default_rng(SEED)
    matrix = random_matrix(shape, nonzeros, rng, pattern=pattern, low=-3, high=3)
    assert matrix.shape == shape
    assert matrix.nonzeros == nonzeros
    assert matrix.values.min() >= -3
    assert matrix.values.max() <= 3
    assert matrix.values.all()
    again = random_matrix(
        shape, nonzeros, np.random.default_rng(SEED), pattern=pattern, low=-3, high=3
    )
    assert (again.columns == matrix.columns).all()
    assert (again.values == matrix.values).all()


def test_power_law_has_the_longest_row_it_is_told():
    rng = np.random.default_rng(SEED)
    for rows, nonzeros, longest in ((1000, 8000, 200), (300, 900, 150), (100, 5000, 80)):
        counts = row_counts(rows, 1000, nonzeros, longest, rng)
        assert (counts.sum(), counts.max()) == (nonzeros, longest)
        assert counts.min() >= 0
    assert np.median(row_counts(1000, 1000, 8000, 200, rng)) <= 5  # the mean is 8
    assert not row_counts(5, 5, 0, 0, rng).any()


def test_banded_lies_near_the_diagonal():
    rng = np.random.default_rng(SEED)
    matrix = random_matrix((400, 400), 4000, rng, pattern=Pattern.BANDED, longest=10)
    assert np.abs(matrix.rows - matrix.columns).max() <= 20
    assert set(matrix.counts.tolist()) == {10}


def test_too_many_elements_are_refused():
    rng = np.random.default_rng(SEED)
    for pattern in (Pattern.UNIFORM, Pattern.POWER_LAW):
        with pytest.raises(ValueError, match="do not hold 13 elements"):
            random_matrix((3, 4), 13, rng, pattern=pattern)
