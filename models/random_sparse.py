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
    NETWORK = "network"
    """A power law in which the longest rows are also the columns that occur most."""
    BANDED = "banded"
    """Near the diagonal, as in meshes."""
    BLOCK = "block"
    """In dense blocks on the diagonal, and a few elsewhere."""


def row_counts(
    rows: int, columns: int, nonzeros: int, longest: int, rng: np.random.Generator
) -> np.ndarray:
    """Return lengths of rows, int64: ``nonzeros`` in all, the longest of ``longest``.

    The k-th longest row has about longest / k**e, with the e that gives the sum; rows are in random
    order.

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
    ranks = np.arange(rows) + 1.0
    low, high = 0.0, 60.0
    for _ in range(60):  # the exponent by bisection: the steeper, the fewer
        middle = (low + high) / 2
        low, high = (middle, high) if longest * (ranks**-middle).sum() > nonzeros else (low, middle)
    exact = longest * ranks**-low
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
        Elements of the longest row; the columns by default. Rows of ``POWER_LAW`` and ``NETWORK``
        have one of these; others are as even as ``nonzeros`` allows, and no longer than this.
    """
    rows, columns = shape
    most = columns if longest is None else min(longest, columns)
    if pattern in (Pattern.POWER_LAW, Pattern.NETWORK):
        counts = row_counts(rows, columns, nonzeros, most, rng)
    else:
        if nonzeros > rows * most:
            raise ValueError(f"{rows} rows of at most {most} do not hold {nonzeros} elements")
        counts = np.full(rows, nonzeros // rows)
        counts[rng.choice(rows, nonzeros % rows, replace=False)] += 1
    found = _columns(shape, counts, pattern, rng)
    values = rng.integers(low, high, nonzeros, endpoint=True)
    values[values == 0] = high
    return Csr(
        shape=shape,
        starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        columns=found,
        values=values,
    )


def _columns(
    shape: tuple[int, int], counts: np.ndarray, pattern: Pattern, rng: np.random.Generator
) -> np.ndarray:
    """Return the columns of rows with ``counts`` elements, rising in each row."""
    rows, columns = shape
    first = np.zeros(rows, np.int64)
    width = np.full(rows, columns)
    if pattern in (Pattern.BANDED, Pattern.BLOCK):
        width = np.minimum(columns, np.maximum(2 * counts, 4))
        middle = np.arange(rows) * columns // rows
        if pattern is Pattern.BLOCK:
            middle -= middle % width - width // 2
            elsewhere = rng.random(rows) < 0.1
            width[elsewhere] = columns
        first = np.clip(middle - width // 2, 0, columns - width)
    popular = None
    if pattern is Pattern.POWER_LAW:
        popular = np.cumsum(rng.permutation((np.arange(columns) + 1.0) ** -0.8))
    elif pattern is Pattern.NETWORK:
        popular = np.cumsum(np.resize(counts, columns) + 0.1)
    of = np.repeat(np.arange(rows), counts)
    place = np.empty(len(of), np.int64)
    ends = np.cumsum(counts)
    dense = np.flatnonzero(3 * counts > width)  # drawing again and again would take long there
    for row in dense:
        chosen = rng.choice(width[row], counts[row], replace=False)
        place[ends[row] - counts[row] : ends[row]] = chosen
    missing = np.flatnonzero(~np.isin(of, dense))
    while len(missing):
        if popular is None:
            place[missing] = (rng.random(len(missing)) * width[of[missing]]).astype(np.int64)
        else:
            drawn = rng.random(len(missing)) * popular[-1]
            place[missing] = np.minimum(np.searchsorted(popular, drawn), columns - 1)
        order = np.lexsort((place, of))
        twice = (np.diff(of[order]) == 0) & (np.diff(place[order]) == 0)
        missing = order[1:][twice]
    found = place + first[of]
    return found[np.lexsort((found, of))]
