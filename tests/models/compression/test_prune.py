"""Masks: by magnitude, of equal shares, from outside."""

from __future__ import annotations

import numpy as np
import pytest

from celosia.models.compression.prune import (
    balanced_mask,
    check_balanced,
    check_mask,
    magnitude_mask,
)
from celosia.models.compression.recipe import Balance
from celosia.models.errors import CelosiaError

SEED = 1510


def test_the_largest_magnitudes_stay():
    rng = np.random.default_rng(SEED)
    for density in (0.01, 0.1, 0.37, 1.0):
        weights = rng.normal(size=(23, 17))
        mask = magnitude_mask(weights, density)
        assert mask.sum() == round(density * weights.size)
        if density < 1:
            assert np.abs(weights[mask]).min() >= np.abs(weights[~mask]).max()


def test_one_weight_stays_and_of_equal_ones_the_first():
    assert magnitude_mask(np.ones((3, 4)), 0.001).sum() == 1
    mask = magnitude_mask(np.full((2, 4), -2.0), 0.5)
    assert mask.tolist() == [[True] * 4, [False] * 4]


@pytest.mark.parametrize("shape", [(64, 40), (50, 33), (7, 100), (3, 9)])
@pytest.mark.parametrize("window", [1, 8, 1000])
def test_balanced_masks_keep_what_windows_keep_and_share_it(shape, window):
    rng = np.random.default_rng([SEED, *shape, window])
    weights = rng.normal(size=shape) * rng.exponential(size=(shape[0], 1))
    for density in (0.05, 0.3, 0.9):
        balance = Balance(pes=4, window=window)
        mask = balanced_mask(weights, density, balance)
        plain = magnitude_mask(weights, density)
        for first in range(0, shape[1], window):
            part = slice(first, first + window)
            assert mask[:, part].sum() == plain[:, part].sum()
            for pe in range(4):  # each PE keeps its largest
                mine, kept = np.abs(weights[pe::4, part]), mask[pe::4, part]
                if kept.any() and not kept.all():
                    assert mine[kept].min() >= mine[~kept].max()
        check_balanced("fc", mask, balance)
        totals = [int(mask[pe::4].sum()) for pe in range(4)]
        if density < 0.5 and shape[0] % 4 == 0:
            assert max(totals) - min(totals) <= 1


def test_balance_costs_magnitude_only():
    """Where magnitudes are equal everywhere but in order, balanced and plain keep as many."""
    rng = np.random.default_rng(SEED + 1)
    weights = rng.normal(size=(64, 64))
    plain = magnitude_mask(weights, 0.1)
    kept = {
        window: np.abs(weights[balanced_mask(weights, 0.1, Balance(pes=16, window=window))]).sum()
        for window in (1, 4, 16, 64)
    }
    assert sorted(kept.values()) == list(kept.values())  # wider windows keep more
    assert kept[64] <= np.abs(weights[plain]).sum()


def test_masks_of_other_pes_and_windows_are_refused():
    rng = np.random.default_rng(SEED + 2)
    mask = balanced_mask(rng.normal(size=(40, 32)), 0.2, Balance(pes=4, window=8))
    with pytest.raises(CelosiaError, match=r"layer 'fc' is not balanced over 5 PEs: of columns "):
        check_balanced("fc", mask, Balance(pes=5, window=8))
    with pytest.raises(CelosiaError, match="PE"):
        check_balanced("fc", mask, Balance(pes=4, window=1))
    check_balanced("fc", np.ones((5, 4), bool), Balance(pes=4, window=2))  # full PEs are no fault


def test_masks_from_outside():
    given = np.array([[1, 0, 1, 1], [0, 0, 1, 0]], np.uint8)
    assert (check_mask("fc", given, (2, 4)) == given).all()
    assert (check_mask("fc", given.reshape(2, 1, 2, 2), (2, 4)) == given).all()
    for shape in ((2, 3), (4, 2), (8,), (0, 4)):
        with pytest.raises(
            CelosiaError, match=r"mask of layer 'fc' must have the shape .*\(2, 4\)"
        ):
            check_mask("fc", np.ones(shape), (2, 4))
    with pytest.raises(CelosiaError, match=r"layer 'fc' must hold 0 and 1 alone, not 0\.5"):
        check_mask("fc", np.array([[0.5, 1, 0, 0], [0, 0, 0, 0]]), (2, 4))
    with pytest.raises(CelosiaError, match="keeps no weight"):
        check_mask("fc", np.zeros((2, 4)), (2, 4))
