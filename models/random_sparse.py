"""Random sparse matrices of given patterns and row statistics, for tests and measurements."""

from __future__ import annotations

import enum

import numpy as np

from celosia.models.csr import Csr


class Pattern(enum.Enum):
    """Where the elements of a random matrix lie."""

    UNIFORM = "uniform"
    """Anywhere, every row about as long as the others."""
    POWER_LAW = "power law"
    """Rows and columns of very different lengths, as in networks of people or pages."""
    BANDED = "banded"
    """Near the diagonal, as in meshes."""
    BLOCK = "block"
    """In dense blocks on the diagonal, and a few elsewhere."""


def row_counts(
    rows: int, columns: int, nonzeros: int, longest: int, rng: np.random.Generator
) -> np.ndarray:
    """Return lengths of rows, int64: ``nonzeros`` in all, the longest of ``longest``.

    Lengths follow a power law of the exponent that gives the mean; rows are in random order.

    Raises
    ------
    ValueError
        No such rows exist.
    """
    longest = min(longest, columns)
    if not 0 <= nonzeros <= rows * longest or (nonzeros and not longest):
        raise ValueError(f"{rows} rows of at most {longest} do not hold {nonzeros} elements")
    if not nonzeros:
        return np.zeros(rows, np.int64)
    ranks = (np.arange(rows) + 0.5) / rows
    low, high = 0.0, 60.0
    for _ in range(60):  # the exponent by bisection: the steeper, the fewer
        middle = (low + high) / 2
        total = np.maximum(longest * (1 - ranks) ** middle, 0).sum()
        low, high = (middle, high) if total > nonzeros else (low, middle)
    exact = longest * (1 - ranks) ** low
    exact *= nonzeros / exact.sum()
    counts = np.minimum(np.floor(exact).astype(np.int64), longest)
    counts[0] = min(longest, nonzeros)
    missing = nonzeros - int(counts.sum())
    while missing > 0:
        open_rows = np.flatnonzero(counts < longest)
        chosen = rng.choice(open_rows, min(missing, len(open_rows)), replace=False)
        counts[chosen] += 1
        missing = nonzeros - int(counts.sum())
    while missing < 0:
        filled = np.flatnonzero(counts[1:] > 0) + 1
        chosen = rng.choice(filled, min(-missing, len(filled)), replace=False)
        counts[chosen] -= 1
        missing = nonzeros - int(counts.sum())
    return rng.permutation(counts)


def random_matrix(
    shape: tuple[int, int],
    nonzeros: int,
    rng: np.random.Generator,
    *,
    pattern: Pattern = Pattern.UNIFORM,
    longest: int | None = None,
    low: int = -9,
    high: int = 9,
) -> Csr:
    """Return a matrix with integers in ``low..high``, int64, none of them 0.

    Parameters
    ----------
    shape
        Rows and columns.
    nonzeros
        Elements, exactly.
    rng
        Where chance comes from.
    pattern
        Where they lie.
    longest
        Elements of the longest row; the columns by default. Of other patterns than
        ``POWER_LAW`` rows are as even as ``nonzeros`` allows, and no longer than this.
    """
    rows, columns = shape
    most = columns if longest is None else min(longest, columns)
    if pattern is Pattern.POWER_LAW:
        counts = row_counts(rows, columns, nonzeros, most, rng)
    else:
        if nonzeros > rows * most:
            raise ValueError(f"{rows} rows of at most {most} do not hold {nonzeros} elements")
        counts = np.full(rows, nonzeros // rows)
        counts[rng.choice(rows, nonzeros % rows, replace=False)] += 1
    weights = _column_weights(columns, rng) if pattern is Pattern.POWER_LAW else None
    found = [
        _row(row, int(count), shape, pattern, weights, rng) for row, count in enumerate(counts)
    ]
    values = rng.integers(low, high, nonzeros, endpoint=True)
    values[values == 0] = high
    return Csr(
        shape=shape,
        starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        columns=np.concatenate([*found, np.empty(0, np.int64)]),
        values=values,
    )


def _column_weights(columns: int, rng: np.random.Generator) -> np.ndarray:
    """Return cumulative probabilities of columns: a power law in random order."""
    weights = rng.permutation((np.arange(columns) + 1.0) ** -0.8)
    reached = np.cumsum(weights)
    return np.asarray(reached / reached[-1])


def _row(
    row: int,
    count: int,
    shape: tuple[int, int],
    pattern: Pattern,
    weights: np.ndarray | None,
    rng: np.random.Generator,
) -> np.ndarray:
    """Return ``count`` columns of ``row``, rising."""
    rows, columns = shape
    first, width = 0, columns
    if pattern is Pattern.BANDED or (pattern is Pattern.BLOCK and rng.random() < 0.9):
        width = min(columns, max(2 * count, 4))
        middle = row * columns // rows
        if pattern is Pattern.BLOCK:
            middle -= middle % width - width // 2
        first = min(max(0, middle - width // 2), columns - width)
    if weights is not None and 4 * count < columns:
        found = np.unique(np.searchsorted(weights, rng.random(count)))
        while len(found) < count:
            more = np.searchsorted(weights, rng.random(2 * (count - len(found))))
            found = np.unique(np.concatenate([found, more]))
        return np.sort(rng.permutation(found)[:count])
    return first + np.sort(rng.choice(width, count, replace=False))
