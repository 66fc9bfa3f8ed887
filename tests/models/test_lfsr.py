"""The shared random generator: frozen values, its period, how evenly it draws."""

import numpy as np
import pytest

from celosia.models.lfsr import PERIOD, advance, draws


def test_frozen_values() -> None:
    """What hardware has to reproduce."""
    assert [advance(1, shifts) for shifts in range(5)] == [1, 0x8000, 0x4000, 0x2000, 0x1000]
    assert advance(0xACE1, 1) == 0x5670
    assert advance(0xACE1) == 0x4722
    assert draws(0xACE1, 12, 13).tolist() == [3, 9, 11, 6, 12, 3, 4, 3, 0, 4, 2, 10]


def test_period() -> None:
    state, steps = advance(1, 1), 1
    while state != 1:
        state, steps = advance(state, 1), steps + 1
    assert steps == PERIOD


def test_draws_are_even_over_a_period() -> None:
    counts = np.bincount(draws(7, PERIOD, 13))
    assert len(counts) == 13
    assert counts.max() - counts.min() <= 1


def test_neighbouring_draws_are_not_alike() -> None:
    numbers = draws(3, 5000, 5)
    pairs = np.bincount(5 * numbers[:-1] + numbers[1:], minlength=25)
    assert pairs.min() > 150  # 200 each if independent
    assert pairs.max() < 250


def test_wrong_arguments() -> None:
    for state in (0, 65536):
        with pytest.raises(ValueError, match=f"state must be in 1..65535, not {state}"):
            draws(state, 1, 2)
    with pytest.raises(ValueError, match="count must not be negative"):
        draws(1, -1, 2)
    with pytest.raises(ValueError, match=r"choices in 1\.\.65535"):
        draws(1, 1, 0)
