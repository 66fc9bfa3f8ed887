"""Scale finders: against the papers' fixed points and tables, and against each other."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from celosia.models.find_scales import (
    ScaleMethod,
    best_gaussian_scale,
    find_scales,
    gaussian_error,
    gaussian_scale,
    nearest,
    octav,
    search_scales,
)
from celosia.models.formats import Esb, Fixed, Format, Pot, Sp2, parse_format

SAMPLES = 1_000_000
FIXED4 = Fixed(bits=4)


def normal(count: int = SAMPLES) -> np.ndarray:
    """Return ``count`` equally likely values of the normal distribution: nothing is random."""
    middle = (torch.arange(count, dtype=torch.float64) + 0.5) / count
    return torch.special.ndtri(middle).numpy()[None]


def laplace(count: int = SAMPLES) -> np.ndarray:
    """The same of the Laplace distribution of variance 1."""
    middle = (np.arange(count) + 0.5) / count - 0.5
    return (-np.sign(middle) * np.log1p(-2 * np.abs(middle)) / math.sqrt(2))[None]


def noise(rows: np.ndarray, fmt: Format, scale: np.ndarray) -> float:
    """Return signal over quantisation noise in dB."""
    error = nearest(rows / scale[:, None], fmt) * scale[:, None] - rows
    return 10 * math.log10((rows**2).mean() / (error**2).mean())


def test_nearest_is_nearest() -> None:
    values = np.linspace(-12, 12, 481)
    for fmt in (Sp2(bits=4), FIXED4, Fixed(bits=4, signed=False)):
        grid = fmt.values.astype(float)
        best = np.abs(values[:, None] - grid).min(axis=1)
        assert np.allclose(np.abs(nearest(values, fmt) - values), best)


def test_halves_go_to_even_codes() -> None:
    halves = np.array([-3.5, -2.5, -0.5, 0.5, 1.5, 2.5])
    assert nearest(halves, FIXED4).tolist() == [-4, -2, 0, 0, 2, 2]
    # FP4 E2M1 in halves: .25 .75 1.25 1.75 2.5 3.5 5 go to 0 1 1 2 2 4 4.
    ties = np.array([0.5, 1.5, 2.5, 3.5, 5, 7, 10])
    assert nearest(ties, Esb(bits=4, linear=1)).tolist() == [0, 2, 2, 4, 4, 8, 8]
    assert nearest(-ties, Esb(bits=4, linear=1)).tolist() == [0, -2, -2, -4, -4, -8, -8]
    # Of SP2's codes 2 and 4 (1 and 2) both are even: the nearer to 0.
    assert nearest(np.array([-1.5, 1.5]), Sp2(bits=4)).tolist() == [-1, 1]


OCTAV_TABLE = [
    # bits, normal, Laplace of variance 1, unsigned after ReLU: of a million random samples each
    (2, 1.7385, 2.034, 2.162),
    (3, 2.1627, 2.771, 2.565),
    (4, 2.5645, 3.562, 2.942),
    (5, 2.9450, 4.378, 3.293),
    (6, 3.2966, 5.201, 3.618),
    (8, 3.9023, 6.812, 4.190),
]


def test_octav_fixed_points() -> None:
    """The tails decide at 8 bits, so these are the samples that the table was made with."""
    random = np.random.default_rng(1)
    gaussian = random.normal(size=(1, SAMPLES))
    laplacian = random.laplace(size=(1, SAMPLES)) / math.sqrt(2)
    rectified = np.maximum(random.normal(size=(1, SAMPLES)), 0)
    for bits, *wanted in OCTAV_TABLE:
        signed, unsigned = Fixed(bits=bits), Fixed(bits=bits, signed=False)
        reach = 1 << (bits - 1)
        found = [
            float(find_scales(gaussian, signed, ScaleMethod.OCTAV)[0]) * reach,
            float(find_scales(laplacian, signed, ScaleMethod.OCTAV)[0]) * reach,
            float(find_scales(rectified, unsigned, ScaleMethod.OCTAV)[0]) * 2 * reach,
        ]
        assert found == pytest.approx(wanted, rel=5e-3)


def test_octav_solves_its_equation() -> None:
    """``E[x; x > s] = s (noise P(x <= s) + P(x > s))``, in closed form for a Laplace variable."""
    for bits in range(2, 6):
        noise_share = 4.0**-bits / 3
        (clip,) = octav(laplace(), noise_share)
        beyond = math.exp(-math.sqrt(2) * clip)
        whole = beyond * (clip + 1 / math.sqrt(2))
        assert whole == pytest.approx(clip * (noise_share * (1 - beyond) + beyond), rel=2e-3)


def test_octav_forgets_where_it_began() -> None:
    rows = normal(100_000)
    for bits in range(2, 9):
        from_mean = octav(rows, 4.0**-bits / 3)
        from_most = octav(rows, 4.0**-bits / 3, np.abs(rows).max(axis=1))
        assert from_most == pytest.approx(from_mean, rel=1e-5)


def test_octav_trace() -> None:
    rows = np.array([[0.1, -0.2, 0.3, 0.4, -0.5, 0.6, -0.9, 2.0]])
    first = octav(rows, 4.0**-4 / 3, np.array([rows.max()]))
    assert first == pytest.approx(1.98194, abs=5e-6)


def test_octav_guards() -> None:
    rows = np.array([[0.0] * 8, [-3.0] * 8, [0.0] * 7 + [5.0], [0.1 + 0.2] * 7 + [0.3]])
    assert octav(rows[:3], 4.0**-4 / 3).tolist() == [0.0, 3.0, 5.0]
    assert octav(rows[3:], 4.0**-4 / 3) == pytest.approx(0.3)


@pytest.mark.parametrize(("bits", "behind"), [(2, 0.35), (3, 0.35), (4, 0.15), (6, 0.15)])
def test_octav_is_near_the_best(bits: int, behind: float) -> None:
    fmt, rows = Fixed(bits=bits), normal(100_000)
    best = max(
        noise(rows, fmt, np.array([clip / (1 << (bits - 1))])) for clip in np.linspace(1, 5, 161)
    )
    assert noise(rows, fmt, find_scales(rows, fmt, ScaleMethod.OCTAV)) >= best - behind


def test_octav_beats_the_maximum_at_four_bits() -> None:
    rows = normal()
    found = noise(rows, FIXED4, find_scales(rows, FIXED4, ScaleMethod.OCTAV))
    most = noise(rows, FIXED4, np.abs(rows).max(axis=1) / 8)
    assert found >= most + 4


DDA_TABLE = [
    # bits, linear, lambda in units of alpha, mean squared error (sheet 3a)
    (3, 0, 0.5181, 0.04756),
    (4, 1, 0.4871, 0.012685),
    (5, 2, 0.4828, 0.003256),
    (6, 3, 0.4997, 0.000829),
    (6, 2, 0.0406, 0.002766),
    (7, 4, 0.5247, 0.000212),
    (7, 3, 0.0409, 0.000699),
    (8, 5, 0.5527, 0.000054),
]


@pytest.mark.parametrize(("bits", "linear", "wanted", "error"), DDA_TABLE)
def test_dda_lambda(bits: int, linear: int, wanted: float, error: float) -> None:
    fmt = Esb(bits=bits, linear=linear)
    scale = gaussian_scale(fmt)
    assert scale * 2**linear == pytest.approx(wanted, abs=5e-4)
    assert gaussian_error(fmt.values, scale) == pytest.approx(error, abs=5e-7)


@pytest.mark.parametrize(
    ("bits", "wanted"),
    [(2, 0.9957), (3, 0.5860), (4, 0.3352), (5, 0.1881), (6, 0.1041), (7, 0.0569), (8, 0.0308)],
)
def test_dda_lambda_without_a_zero(bits: int, wanted: float) -> None:
    levels = np.arange(-(1 << (bits - 1)), 1 << (bits - 1)) + 0.5
    assert best_gaussian_scale(levels) == pytest.approx(wanted, abs=5e-4)


@pytest.mark.parametrize(
    ("name", "known"), [("esb4_0", 0.0655), ("esb4_0", 0.0381), ("esb5_1", 0.0381 / 2)]
)
def test_dda_where_minima_tie(name: str, known: float) -> None:
    """No scale that is known to be good, nor one an octave away, has a smaller error."""
    fmt = parse_format(name)
    found = gaussian_error(fmt.values, gaussian_scale(fmt))
    for scale in (known / 2, known, known * 2):
        assert found <= gaussian_error(fmt.values, scale) * 1.001


def test_gaussian_error_is_what_is_measured() -> None:
    rows = normal()
    for fmt, scale in ((FIXED4, 0.3), (Pot(bits=4), 0.05), (Sp2(bits=4), 0.4)):
        error = float(((nearest(rows / scale, fmt) * scale - rows) ** 2).mean())
        assert gaussian_error(fmt.values, scale) == pytest.approx(error, rel=1e-4)
    half = np.abs(rows)
    fmt = Fixed(bits=4, signed=False)
    error = float(((nearest(half / 0.2, fmt) * 0.2 - half) ** 2).mean())
    assert gaussian_error(fmt.values, 0.2) == pytest.approx(error, rel=1e-3)


@pytest.mark.parametrize("name", ["fixed4", "sp2_4", "pot_4", "esb4_1", "fixed8", "ufixed4"])
def test_methods_agree_on_a_gaussian(name: str) -> None:
    """OCTAV and the aligner come near the search, whatever the format; a gain scales along."""
    fmt = parse_format(name)
    rows = normal(20_000)
    rows = rows if fmt.low < 0 else np.abs(rows)
    best = noise(rows, fmt, find_scales(rows, fmt, ScaleMethod.MSE))
    for method in (ScaleMethod.OCTAV, ScaleMethod.DDA):
        scale = find_scales(rows, fmt, method)
        assert noise(rows, fmt, scale) >= best - 0.4
        assert find_scales(rows * 8, fmt, method) == pytest.approx(scale * 8)


def test_max_and_percentile() -> None:
    rows = np.array([[-4.0, 1.0, 3.5, 0.0], [1.0, 2.0, 3.0, 14.0]])
    assert find_scales(rows, FIXED4, ScaleMethod.MAX).tolist() == [0.5, 2.0]
    line = np.arange(1001.0)[None]
    scale = find_scales(line, Fixed(bits=8, signed=False), ScaleMethod.PERCENTILE, 90.0)
    assert scale == pytest.approx(900 / 255)
    spike = np.array([[0.0] * 9999 + [7.0]])
    assert find_scales(spike, FIXED4, ScaleMethod.PERCENTILE).tolist() == [1.0]


@pytest.mark.parametrize("method", ScaleMethod)
def test_rows_without_values_or_spread(method: ScaleMethod) -> None:
    rows = np.array([[0.0] * 4, [2.0] * 4])
    scale = find_scales(rows, FIXED4, method)
    assert scale[0] == 0
    assert abs(float(nearest(rows[1, 0] / scale[1], FIXED4)) * scale[1] - 2.0) <= scale[1]


def test_search_finds_the_best_tried() -> None:
    rows = np.array([[1.0, -2.0, 3.0, 7.0], [0.0, 0.0, 0.0, 0.0]])
    assert search_scales(rows * 0.25, (FIXED4,) * 2).tolist() == [0.25, 0.0]
    values = np.arange(256)[None] * 0.125
    assert find_scales(values, Fixed(bits=8, signed=False), ScaleMethod.MSE) == pytest.approx(0.125)


@pytest.mark.parametrize("method", ScaleMethod)
@pytest.mark.parametrize(
    ("values", "name", "message"),
    [
        ([1.0, math.nan], "fixed4", "must be finite"),
        ([1.0, -math.inf], "fixed4", "must be finite"),
        ([1.0, -1.0], "ufixed4", "there are negative values, and ufixed4 has none"),
        ([1.0, -1.0], "fixed1", "there are positive values, and fixed1 has none"),
    ],
)
def test_values_that_no_scale_fits(
    method: ScaleMethod, values: list[float], name: str, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        find_scales(np.array([values]), parse_format(name), method)
