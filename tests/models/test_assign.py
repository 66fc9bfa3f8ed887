"""Formats for rows: counts, orders, the cheapest choice, refusals."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from celosia.models.assign import assign_formats, cheapest, row_counts
from celosia.models.recipe import Assignment, Recipe, Share, msq, parse_mix

RMSMP = parse_mix("pot_4:60,fixed4:35,fixed8:5")


@pytest.mark.parametrize(
    ("mix", "rows", "counts"),
    [
        ("pot_4:60,fixed4:35,fixed8:5", 100, (60, 35, 5)),
        ("pot_4:60,fixed4:35,fixed8:5", 40, (24, 14, 2)),
        ("pot_4:60,fixed4:35,fixed8:5", 7, (4, 3, 0)),  # 4.2, 2.45, .35: one left, to .45
        ("pot_4:60,fixed4:35,fixed8:5", 1, (1, 0, 0)),
        ("sp2_4:50,fixed4:50", 3, (2, 1)),  # of equals the first
        ("pot_4:65/26,fixed4:30/12,fixed8:5/2", 40, (26, 12, 2)),
        ("pot_4:65/26,fixed4:30/12,fixed8:5/2", 120, (78, 36, 6)),
        # 41.6, 19.2, 3.2: one tile, then a granule of each that fits, PoT takes the rest.
        ("pot_4:65/26,fixed4:30/12,fixed8:5/2", 64, (36, 24, 4)),
        ("sp2_4:60/8,fixed4:40/8", 4, (4, 0)),
    ],
)
def test_counts(mix: str, rows: int, counts: tuple[int, ...]) -> None:
    assert row_counts(parse_mix(mix), rows) == counts


def test_counts_add_up_and_are_near_their_due() -> None:
    random = np.random.default_rng(1)
    for _ in range(300):
        ratios = random.dirichlet(np.ones(3))
        granules = random.integers(1, 9, 3)
        shares = [
            Share(format=share.format, ratio=float(ratio), granule=int(granule))
            for share, ratio, granule in zip(RMSMP, ratios, granules, strict=True)
        ]
        rows = int(random.integers(1, 200))
        counts = row_counts(shares, rows)
        assert sum(counts) == rows
        assert min(counts) >= 0
        parts = sum(count % share.granule > 0 for count, share in zip(counts, shares, strict=True))
        assert parts <= 1
        if granules.max() == 1:
            assert np.abs(np.array(counts) - ratios * rows).max() < 1


def test_variance() -> None:
    rows = np.random.default_rng(0).normal(size=(10, 200)) * np.arange(1, 11)[:, None]
    formats = assign_formats(rows, Recipe(weights=msq(sp2_ratio=0.3)))
    assert [fmt.name for fmt in formats] == ["sp2_4"] * 3 + ["fixed4"] * 7
    formats = assign_formats(rows[::-1], Recipe(weights=parse_mix("pot_4:50,fixed4:40,fixed8:10")))
    assert [fmt.name for fmt in formats] == ["fixed8"] + ["fixed4"] * 4 + ["pot_4"] * 5


def test_error() -> None:
    random = np.random.default_rng(0)
    uniform = random.uniform(-1, 1, size=(5, 200))
    peaked = random.laplace(size=(5, 200)) ** 3
    recipe = Recipe(weights=parse_mix("pot_4:50,fixed4:50"), assignment=Assignment.MSE)
    formats = assign_formats(np.concatenate([uniform, peaked]), recipe)
    assert [fmt.name for fmt in formats] == ["fixed4"] * 5 + ["pot_4"] * 5


def test_curvature() -> None:
    """The most curved rows get 8 bits, whatever their variance; the others go by variance."""
    rows = np.random.default_rng(0).normal(size=(20, 4096)) * np.arange(1, 21)[:, None]
    curvature = np.zeros(20)
    curvature[3] = 2.0
    recipe = Recipe(weights=RMSMP, assignment=Assignment.HESSIAN)
    names = [fmt.name for fmt in assign_formats(rows, recipe, curvature)]
    assert names[3] == "fixed8"
    assert names[:3] + names[4:13] == ["pot_4"] * 12
    assert names[13:] == ["fixed4"] * 7
    for wrong in (None, curvature[1:], np.full(20, np.nan)):
        with pytest.raises(ValueError, match="curvature must be 20 finite numbers"):
            assign_formats(rows, recipe, wrong)


def test_cheapest_is_the_cheapest() -> None:
    random = np.random.default_rng(2)
    for counts in ((3, 4), (2, 3, 2), (1, 2, 1, 3), (0, 7), (7, 0, 0)):
        for _ in range(20):
            costs = random.normal(size=(7, len(counts)))
            chosen = cheapest(costs, counts)
            assert np.bincount(chosen, minlength=len(counts)).tolist() == list(counts)
            kinds = np.repeat(np.arange(len(counts)), counts)
            best = min(
                sum(costs[row, kind] for row, kind in enumerate(order))
                for order in set(itertools.permutations(kinds.tolist()))
            )
            assert costs[np.arange(7), chosen].sum() == pytest.approx(best)
