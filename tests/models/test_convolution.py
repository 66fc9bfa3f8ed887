"""Exact convolutions: against sums of int64, with operands that rounded sums would get wrong."""

from __future__ import annotations

import numpy as np
import pytest

from celosia.models import convolution
from celosia.models.convolution import DOUBLE, SINGLE, convolve_integers
from celosia.models.network import Window

SEED = 424


def summed(codes: np.ndarray, weights: np.ndarray, window: Window, groups: int) -> np.ndarray:
    """The definition, in int64, one place of the kernel after the other."""
    top, left, bottom, right = window.padding
    padded = np.pad(codes, ((0, 0), (0, 0), (top, bottom), (left, right)))
    height, width = window.output_size(*codes.shape[2:])
    (dy, dx), (sy, sx) = window.dilation, window.stride
    rows, inputs = weights.shape[:2]
    total = np.zeros((len(codes), rows, height, width), np.int64)
    for row, channel, ky, kx in np.ndindex(*weights.shape):
        place = padded[:, row // (rows // groups) * inputs + channel, ky * dy :, kx * dx :]
        met = place[:, : (height - 1) * sy + 1 : sy, : (width - 1) * sx + 1 : sx]
        total[:, row] += weights[row, channel, ky, kx] * met
    return total


@pytest.mark.parametrize("bits", [(2, 4), (8, 8), (16, 16), (20, 12), (4, 26)])
@pytest.mark.parametrize("spread", [1, 1 << 21])
def test_random_windows(
    bits: tuple[int, int], spread: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any shape, in blocks of any height; factors at the ends of their ranges half of the time."""
    monkeypatch.setattr(convolution, "_SPREAD", spread)
    rng = np.random.default_rng(SEED)
    for trial in range(12):
        groups, each, rows = (int(n) for n in rng.integers(1, 5, 3))
        fy, fx, sy, sx, dy, dx = (int(n) for n in rng.integers(1, (4, 4, 4, 4, 3, 3)))
        top, left, bottom, right = (int(n) for n in rng.integers(0, 3, 4))
        window = Window(
            kernel=(fy, fx),
            stride=(sy, sx),
            dilation=(dy, dx),
            padding=(top, left, bottom, right),
        )
        a, w = (1 << n for n in bits)
        shapes = (2, groups * each, 7, 8), (groups * rows, each, fy, fx)
        codes, weights = (rng.integers(-n, n + 1, s) for n, s in zip((a, w), shapes, strict=True))
        if trial % 2:
            codes, weights = np.where(codes < 0, -a, a), np.where(weights < 0, -w, w)
        got = convolve_integers(codes, weights, window, groups)
        assert got.dtype == np.int64
        assert np.array_equal(got, summed(codes, weights, window, groups)), (SEED, trial)


def edge(total: int) -> tuple[np.ndarray, np.ndarray]:
    """A 1x1 convolution of two samples whose sums are an even number near ``total``, plus 1."""
    weights = np.full((1, 512, 1, 1), total // (512 * 64))
    weights[0, -1] += 1
    return np.concatenate([np.full((1, 512, 1, 1), 64), np.full((1, 512, 1, 1), 1)]), weights


def test_sums_on_both_sides_of_what_single_precision_holds() -> None:
    window = Window(kernel=(1, 1))
    for total in (int(SINGLE) // 2, int(SINGLE), 3 * int(SINGLE), 1 << 40):
        codes, weights = edge(total)
        assert np.array_equal(
            convolve_integers(codes, weights, window, 1), summed(codes, weights, window, 1)
        ), total


def test_a_bound_that_is_too_large_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were parts cut four times too large, the sums would be rounded, and these tests fail."""
    rng = np.random.default_rng(SEED)
    codes, weights = rng.integers(200, 256, (1, 900, 2, 2)), rng.integers(100, 128, (4, 900, 1, 1))
    window = Window(kernel=(1, 1))
    expected = summed(codes, weights, window, 1)
    assert np.array_equal(convolve_integers(codes, weights, window, 1), expected)
    monkeypatch.setattr(convolution, "SINGLE", 4 * SINGLE)
    assert not np.array_equal(convolve_integers(codes, weights, window, 1), expected)


def test_what_no_type_holds_is_refused() -> None:
    codes, weights = np.full((1, 2, 1, 1), 1 << 20), np.full((1, 2, 1, 1), int(DOUBLE) >> 21)
    window = Window(kernel=(1, 1))
    assert convolve_integers(codes, weights, window, 1).item() == DOUBLE
    with pytest.raises(ValueError, match=r"at most 2\*\*53"):
        convolve_integers(codes, weights + 1, window, 1)
    with pytest.raises(ValueError, match=r"at most 2\*\*53"):
        convolve_integers(-codes, weights + 1, window, 1)
