"""Finding scales: which real number the integer 1 of a format shall stand for.

Every method takes rows of values and a format and gives one scale a row; activations are one row.
"""

from __future__ import annotations

import enum
import functools
import math
from collections.abc import Callable

import numpy as np
import torch

from celosia.models.formats import Fixed, Format
from celosia.models.threads import product

RATIOS = np.arange(12, 64) / 60
"""Scales that the search tries, as a share of the one that just covers the largest value."""

DEFAULT_PERCENTILE = 99.9
"""Share of a row's values, in per cent, that the percentile method does not clip."""

OCTAV_STEPS = 100
"""Most steps of OCTAV's recursion; some 8 to 14 are usual."""

GAUSSIAN_REACH = 12.0
"""Beyond so many standard deviations float64 has no normal numbers left."""

SCALES_PER_OCTAVE = 12
"""How densely the distribution aligner looks for its minimum before it closes in on it."""

MOST_PARTS = 15
"""Greatest multiple that the least of some weights is thought to be: 15 in a resize by 8."""

Snap = Callable[[np.ndarray], np.ndarray]


class ScaleMethod(enum.Enum):
    """How scales are found.

    MAX: the least scale at which nothing is clipped.
    PERCENTILE: the least at which a given share of the values is not clipped.
    MSE: search for the least squared error.
    OCTAV: the recursion of "Optimal Clipping and Magnitude-aware Differentiation" (ICML 2022).
    DDA: ESB's aligner of distributions (TPDS 33(11), 2022): the best for a Gaussian of the
    row's spread.
    """

    MAX = "max"
    PERCENTILE = "percentile"
    MSE = "mse"
    OCTAV = "octav"
    DDA = "dda"


def find_scales(
    rows: np.ndarray,
    fmt: Format,
    method: ScaleMethod,
    percentile: float = DEFAULT_PERCENTILE,
) -> np.ndarray:
    """Return a scale for each row, float64 (O,); a row of zeros gets 0.

    Parameters
    ----------
    rows
        Real values, float64 (O, K).
    fmt
        Their format.
    method
        How the scale is found.
    percentile
        For ``PERCENTILE``, above 0 and at most 100.

    Raises
    ------
    ValueError
        If a value is no finite number, or negative (positive) and the format has no such values.
    """
    check_values(rows, fmt)
    if method is ScaleMethod.MAX:
        return np.asarray(_needed(rows, fmt).max(axis=1))
    if method is ScaleMethod.PERCENTILE:
        scale = np.percentile(_needed(rows, fmt), percentile, axis=1)
        # Where so few values are not 0 that all of them would be clipped, none is.
        return np.asarray(np.where(scale > 0, scale, _needed(rows, fmt).max(axis=1)))
    if method is ScaleMethod.MSE:
        return search_scales(rows, (fmt,) * len(rows))
    if method is ScaleMethod.OCTAV:
        return _octav(rows, fmt)
    return _dda(rows, fmt)


def check_values(rows: np.ndarray, fmt: Format) -> None:
    """Raise ``ValueError`` where ``rows`` holds what no scale brings into ``fmt``."""
    if not np.isfinite(rows).all():
        raise ValueError("values must be finite: there is a NaN or an infinity among them")
    for sign, found, held in (
        ("negative", rows.min(initial=0.0) < 0, fmt.low < 0),
        ("positive", rows.max(initial=0.0) > 0, fmt.high > 0),
    ):
        if found and not held:
            raise ValueError(f"there are {sign} values, and {fmt.name} has none")


def nearest(values: np.ndarray, fmt: Format) -> np.ndarray:
    """Return the value of ``fmt`` nearest to each entry of ``values``, as float64.

    Halfway between two values the one with the even code is taken, as IEEE 754 and the
    microscaling formats do; where both codes are even or odd, the one nearer to 0.
    """
    grid, limits = _limits(fmt)
    return np.asarray(grid[np.searchsorted(limits, values)], dtype=np.float64)


@functools.cache
def _limits(fmt: Format) -> tuple[np.ndarray, np.ndarray]:
    """Return the values, and for each but the last the largest number that is rounded to it."""
    grid = fmt.values.astype(np.float64)
    middle = (grid[1:] + grid[:-1]) / 2
    even = fmt.encode(fmt.values) % 2 == 0
    up = np.where(even[1:] == even[:-1], middle < 0, even[1:])
    return grid, np.where(up, np.nextafter(middle, -np.inf), middle)


def nearest_rows(rows: np.ndarray, formats: tuple[Format, ...]) -> np.ndarray:
    """Return ``rows`` (O, ...) with every row rounded to values of its own format."""
    result = np.empty_like(rows)
    for fmt in dict.fromkeys(formats):
        chosen = np.array([other == fmt for other in formats])
        result[chosen] = nearest(rows[chosen], fmt)
    return result


def search_scales(
    rows: np.ndarray,
    formats: tuple[Format, ...],
    hessian: np.ndarray | None = None,
    snap: Snap | None = None,
) -> np.ndarray:
    """Return the scale of each row of ``rows`` (O, K) with the least rounding error.

    The error of a row is ``e H e`` with its difference ``e`` and ``hessian`` H (K, K), or
    ``e e`` without one. ``snap`` moves every scale that is tried to one that can be had;
    without it a row of zeros gets 0.
    """
    most = np.empty(len(rows))
    for fmt in dict.fromkeys(formats):
        chosen = np.array([other == fmt for other in formats])
        most[chosen] = _needed(rows[chosen], fmt).max(axis=1)
    best = np.array(most)
    best_error = np.full(len(rows), np.inf)
    for ratio in RATIOS:
        scale = most * ratio if snap is None else snap(most * ratio)
        safe = np.where(scale > 0, scale, 1.0)[:, None]
        error = nearest_rows(rows / safe, formats) * safe - rows
        weighted = error if hessian is None else product(error, hessian)
        total = (weighted * error).sum(axis=1)
        better = total < best_error
        best[better], best_error[better] = scale[better], total[better]
    return best


def whole_steps(rows: np.ndarray, most: int) -> np.ndarray:
    """Return the greatest number of which all of a row are multiples, float64 (O,).

    It is 0 where there is none such that the multiples are at most ``most``, and for a row of
    zeros. Only numbers that are the row's least over 1 to ``MOST_PARTS`` are tried.
    """
    size = np.abs(rows)
    least = np.where(size > 0, size, np.inf).min(axis=1, initial=np.inf)
    found = np.zeros(len(rows))
    for parts in range(1, MOST_PARTS + 1):
        step = np.where(np.isfinite(least), least / parts, 1.0)
        ratios = size / step[:, None]
        fits = (np.abs(ratios - np.rint(ratios)) <= 1e-9 * np.maximum(ratios, 1)).all(axis=1)
        fits &= np.isfinite(least) & (ratios.max(axis=1, initial=0) < most + 0.5)
        found = np.where((found == 0) & fits, step, found)
    return found


def _needed(rows: np.ndarray, fmt: Format) -> np.ndarray:
    """Return the least scale at which each value alone is not clipped."""
    return np.maximum(rows / max(fmt.high, 1), rows / min(fmt.low, -1)) + 0.0  # no -0


def octav(rows: np.ndarray, noise: float, start: np.ndarray | None = None) -> np.ndarray:
    """Return OCTAV's clipping point of each row, float64 (O,); 0 for a row of zeros.

    ``s <- E[|x|; |x| > s] / (noise P(0 < |x| <= s) + P(|x| > s))`` until it stands still.

    Parameters
    ----------
    rows
        Real values, float64 (O, K).
    noise
        Mean squared rounding error of what is not clipped, in units of the squared clipping
        point: ``4**-B / 3`` for B signed bits, ``4**-B / 12`` for unsigned ones.
    start
        Where the recursion begins, (O,); by default the mean of what is not 0.
    """
    size = np.abs(rows)
    filled = (size > 0).sum(axis=1)
    clip = size.sum(axis=1) / np.maximum(filled, 1) if start is None else start
    for _ in range(OCTAV_STEPS):
        above = size > clip[:, None]
        beyond = above.sum(axis=1)
        bottom = noise * (filled - beyond) + beyond
        new = np.where(above, size, 0.0).sum(axis=1) / np.where(bottom > 0, bottom, 1.0)
        if np.allclose(new, clip, rtol=1e-12, atol=0.0):
            break
        clip = new
    # Where all sizes are one the recursion goes back and forth between it and 0: nothing
    # is to be clipped there.
    least = np.where(size > 0, size, np.inf).min(axis=1)
    most = size.max(axis=1)
    return np.asarray(np.where(least < most, clip, most))


def _octav(rows: np.ndarray, fmt: Format) -> np.ndarray:
    """Return OCTAV's scales.

    B signed bits are clipped at ``2**(B - 1)`` steps, unsigned ones at ``2**B``. A format that is
    not uniform is clipped at its largest value: of its rounding error only what its smallest
    step makes grows with the scale, the rest is in proportion to the values.
    """
    reach = float(1 << (fmt.bits - fmt.signed) if isinstance(fmt, Fixed) else fmt.high)
    return octav(rows, 1 / (12 * reach**2)) / reach


def _dda(rows: np.ndarray, fmt: Format) -> np.ndarray:
    """Return the aligner's scales; unsigned data is taken for half of a Gaussian."""
    if fmt.low < 0:
        spread = rows.std(axis=1, ddof=min(1, rows.shape[1] - 1))
    else:
        filled = np.maximum((rows > 0).sum(axis=1), 1)
        spread = np.sqrt((rows**2).sum(axis=1) / filled)
    # Rows that are all one value have no spread: nothing is to be clipped there.
    most = _needed(rows, fmt).max(axis=1)
    return np.asarray(np.where(spread > 0, gaussian_scale(fmt) * spread, most))


@functools.cache
def gaussian_scale(fmt: Format) -> float:
    """Return ESB's lambda: the scale with the least squared error for the normal distribution.

    Formats without negative values are taken for half of it.
    """
    return best_gaussian_scale(fmt.values if fmt.low < 0 else fmt.values[fmt.values >= 0])


def best_gaussian_scale(levels: np.ndarray) -> float:
    """Return the scale of ``levels`` (ascending) with the least :func:`gaussian_error`."""
    most = float(np.abs(levels).max())
    octaves = math.log2(6.0 * most)
    tried = np.exp2(np.linspace(-octaves, 0.0, int(octaves * SCALES_PER_OCTAVE))) * 3.0
    errors = [gaussian_error(levels, float(scale)) for scale in tried]
    place = int(np.argmin(errors))
    low = math.log(tried[max(place - 1, 0)])
    high = math.log(tried[min(place + 1, len(tried) - 1)])
    golden = (math.sqrt(5) - 1) / 2
    while high - low > 1e-9:
        left, right = high - golden * (high - low), low + golden * (high - low)
        if gaussian_error(levels, math.exp(left)) < gaussian_error(levels, math.exp(right)):
            high = right
        else:
            low = left
    return math.exp((low + high) / 2)


def gaussian_error(levels: np.ndarray, scale: float) -> float:
    """Return the mean squared error of a standard normal number rounded to ``levels * scale``.

    ``levels`` ascend; where none is negative the number's magnitude is rounded. In closed form:
    between two limits, ``p**2`` and ``p`` times the density have the integrals
    ``P - p density`` and ``-density``.
    """
    grid = torch.from_numpy(levels.astype(np.float64) * scale)
    grid = grid[grid.abs() <= max(GAUSSIAN_REACH, float(grid.abs().min()))]
    begin = torch.tensor([-torch.inf if float(grid[0]) < 0 else 0.0], dtype=torch.float64)
    end = torch.tensor([torch.inf], dtype=torch.float64)
    limits = torch.cat([begin, (grid[1:] + grid[:-1]) / 2, end])
    density = torch.exp(-(limits**2) / 2) / math.sqrt(2 * math.pi)
    below = torch.special.ndtr(limits)
    weighted = torch.where(torch.isfinite(limits), limits, 0.0) * density
    share = below.diff()
    first, second = -density.diff(), share - weighted.diff()
    error = (second - 2 * grid * first + grid**2 * share).sum()
    return float(error if float(grid[0]) < 0 else 2 * error)
