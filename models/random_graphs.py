"""Random square matrices that square like those of meshes and of graphs.

What a product costs depends on how often a row of the right matrix is met, and where. These
matrices have given lengths of rows and a given number of products; where elements lie is that of
a mesh in space, or of a graph with hubs and neighbourhoods.
"""

from __future__ import annotations

import numpy as np
import scipy.special

from celosia.models.csr import Csr

_SHAPES = 16
"""How many neighbourhoods of different form the nodes of a mesh have."""

_PULL = 3
"""How much the long rows of a neighbourhood are preferred: the power of an even chance."""

_CLOSE = 0.03
"""By what part the products of a graph may miss what was asked for before it is made again."""


def products_of(counts: np.ndarray, columns: np.ndarray) -> int:
    """Return the products of a matrix with itself: rows of ``counts``, elements in ``columns``."""
    return int(counts[columns].sum())


def row_lengths(
    rows: int, nonzeros: int, longest: int, square: float, *, least: int = 1
) -> np.ndarray:
    """Return lengths of rows, rising, int64 (rows,), ``nonzeros`` in all.

    They follow a log-normal distribution cut at ``least`` and ``longest`` (the last row has so
    many). Of its two parameters one makes the sum; the other makes the mean length as seen from
    an element, sum of squares over sum, come as near to ``square`` as it may.
    """
    if not rows * least <= nonzeros <= rows * longest:
        raise ValueError(
            f"{rows} rows of {least} to {longest} elements do not hold {nonzeros} in all"
        )
    low, high = 1e-3, 6.0
    for _ in range(30):
        middle = (low + high) / 2
        lengths = _log_normal(min(rows, 5000), nonzeros / rows, middle, least, longest)
        low, high = (low, middle) if (lengths**2).sum() > square * lengths.sum() else (middle, high)
    exact = _log_normal(rows, nonzeros / rows, low, least, longest)
    counts = np.sort(np.round(exact).astype(np.int64))
    counts[-1] = longest
    return _summing_to(counts, nonzeros, least, longest)


def _log_normal(rows: int, mean: float, spread: float, least: int, most: int) -> np.ndarray:
    """Return ``rows`` quantiles of a log-normal distribution with this mean when cut."""
    normal = scipy.special.ndtri((np.arange(rows) + 0.5) / rows)
    low, high = -20.0, np.log(most) + 20.0
    for _ in range(40):
        middle = (low + high) / 2
        lengths = np.clip(np.exp(middle + spread * normal), least, most)
        low, high = (low, middle) if lengths.mean() > mean else (middle, high)
    return np.asarray(np.clip(np.exp(low + spread * normal), least, most))


def _summing_to(counts: np.ndarray, total: int, least: int, most: int) -> np.ndarray:
    """Return rising ``counts`` with the inner ones changed by as little as makes the ``total``."""
    missing = total - int(counts.sum())
    while missing:
        step = 1 if missing > 0 else -1
        inner = counts[:-1]
        free = np.flatnonzero(inner < most if step > 0 else inner > least)
        chosen = free[np.linspace(0, len(free) - 1, min(abs(missing), len(free))).astype(np.int64)]
        counts[np.unique(chosen)] += step
        missing = total - int(counts.sum())
    return np.sort(counts)


def mesh_matrix(
    counts: np.ndarray, dimensions: int, rng: np.random.Generator, *, reach: float = 1.0
) -> Csr:
    """Return a matrix of a mesh: ones where nodes are near each other in space.

    Nodes are numbered line by line, as mesh generators leave them, and each is joined to the
    nearest. Lengths of rows change slowly through space, so that long rows meet long rows.

    Parameters
    ----------
    counts
        Lengths of rows, rising, int64 (rows,).
    dimensions
        Of the space, 2 or 3; it is a box that closes on itself.
    rng
        Where chance comes from.
    reach
        How far neighbourhoods fray: the volume within which a node is a neighbour varies by this
        factor, as the exponential of a normal distribution; 1 for none.
    """
    rows = len(counts)
    side = max(2, round(rows ** (1 / dimensions)))
    steps = side ** np.arange(dimensions)
    place = np.arange(rows)
    field = np.zeros(rows)
    for step in steps:
        turn = 2 * np.pi * (place // step % side) / side
        for waves in (1, 2):
            field += rng.normal() * np.sin(waves * turn + rng.uniform(0, 6))
    lengths = np.empty(rows, np.int64)
    lengths[np.argsort(field, kind="stable")] = counts
    shifts = _neighbours(int(counts.max()), rows, steps, rng, reach)
    of = np.repeat(place, lengths)
    number = np.arange(len(of)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    columns = (of + shifts[rng.integers(0, len(shifts), rows)[of], number]) % rows
    return _ones(rows, np.sort(of * rows + columns))


def _neighbours(
    most: int, rows: int, steps: np.ndarray, rng: np.random.Generator, reach: float
) -> np.ndarray:
    """Return differences of numbers to near nodes, the nearest first, in several forms."""
    radius = 2
    while (2 * radius + 1) ** len(steps) < 4 * reach * most:
        radius += 1
    axes = np.meshgrid(*[np.arange(-radius, radius + 1)] * len(steps), indexing="ij")
    offsets = np.stack([axis.ravel() for axis in axes])
    shift = steps @ offsets
    forms = []
    for _ in range(_SHAPES):
        scale = rng.uniform(0.8, 1.25, (len(steps), 1))
        distance = np.sqrt(((offsets * scale) ** 2).sum(axis=0))
        volume = distance ** len(steps) * reach ** rng.normal(size=len(shift))
        near = shift[np.argsort(np.where(distance == 0, -1, volume))] % rows
        _, first = np.unique(near, return_index=True)
        forms.append(near[np.sort(first)][:most])
    least = min(len(form) for form in forms)
    if least < most:
        raise ValueError(f"a mesh of {rows} nodes has no rows of {most} elements")
    return np.stack(forms)


def graph_matrix(
    counts: np.ndarray,
    products: int,
    rng: np.random.Generator,
    *,
    near: float = 0.0,
    window: int = 32,
    slope: float = 0.6,
    scattered: bool = False,
) -> Csr:
    """Return the adjacency matrix of a directed graph, of ones.

    Parameters
    ----------
    counts
        Lengths of rows, int64 (rows,).
    products
        Of the matrix with itself: columns with long rows are met as often as comes nearest to it.
    rng
        Where chance comes from.
    near
        Which part of the elements lies in the neighbourhood of the node, 0 to 1. Nodes are side by
        side in neighbourhoods, and there those with long rows are met more often.
    window
        Nodes of a neighbourhood.
    slope
        How uneven columns are where it is not for the length of their rows: the k-th of them is
        met in proportion to k**-slope.
    scattered
        Whether nodes have random numbers, so that what is near is not found beside each other.
    """
    rows = len(counts)
    by_chance = rng.permutation((np.arange(rows) + 1.0) ** -slope)
    by_chance /= by_chance.sum()
    counts = counts[np.lexsort((-counts, np.arange(rows) // window))]
    seed, best, wanted, last = rng.integers(0, 1 << 62), None, float(products), -1
    for _ in range(4):
        popular = np.cumsum(
            _weights(counts, by_chance, wanted / max(1, counts.sum()), near, window)
        )
        keys = _drawn(counts, popular, np.random.default_rng(seed), near, window)
        found = products_of(counts, keys % rows)
        if best is None or abs(found - products) < abs(best[0] - products):
            best = (found, keys)
        if abs(found - products) <= _CLOSE * products or found in (0, last):
            break
        last = found
        wanted *= products / found
    assert best is not None
    keys = best[1]
    if scattered:
        name = rng.permutation(rows)
        keys = np.sort(name[keys // rows] * rows + name[keys % rows])
    return _ones(rows, keys)


def _weights(
    counts: np.ndarray, by_chance: np.ndarray, mean: float, near: float, window: int
) -> np.ndarray:
    """Return how often each column is met by elements that are not near, for a ``mean`` row met.

    Between by chance and in proportion to the length of the column's row, or up to twice as far.
    """
    by_length = counts / max(1, counts.sum())
    low, high = float(by_chance @ counts), float(by_length @ counts)
    sample = np.random.default_rng(0)
    of = sample.choice(len(counts), 20_000, p=by_length) if counts.any() else np.zeros(1, np.int64)
    beside = float(counts[_beside(of, len(counts), window, sample)].mean())
    far = (mean - near * beside) / max(1e-9, 1 - near)
    share = float(np.clip((far - low) / (high - low), 0, 2)) if high > low else 0.0
    return np.asarray(np.maximum(0, share * by_length + (1 - share) * by_chance))


def _beside(of: np.ndarray, rows: int, window: int, rng: np.random.Generator) -> np.ndarray:
    """Return a node of the neighbourhood of each of ``of``."""
    place = (window * rng.random(len(of)) ** _PULL).astype(np.int64)
    return np.minimum(of // window * window + place, rows - 1)


def _drawn(
    counts: np.ndarray, popular: np.ndarray, rng: np.random.Generator, near: float, window: int
) -> np.ndarray:
    """Return row * rows + column of each element, rising."""
    rows = len(counts)
    of = np.repeat(np.arange(rows), counts)
    keys = np.empty(len(of), np.int64)
    missing = np.arange(len(of))
    for attempt in range(400):
        rows_of = of[missing]
        if attempt < 8:
            drawn = np.empty(len(missing), np.int64)
            beside = rng.random(len(missing)) < near
            drawn[beside] = _beside(rows_of[beside], rows, window, rng)
            # in order, as a search among many takes long for want of cache otherwise
            chance = np.sort(rng.random(len(missing) - int(beside.sum()))) * popular[-1]
            drawn[~beside] = rng.permutation(np.searchsorted(popular, chance))
        else:  # what is popular is full: anywhere
            drawn = rng.integers(0, rows, len(missing))
        keys[missing] = rows_of * rows + np.minimum(drawn, rows - 1)
        keys.sort(kind="stable" if attempt else None)  # nearly sorted after the first
        missing = np.flatnonzero(keys[1:] == keys[:-1]) + 1
        if not len(missing):
            return keys
    raise ValueError(f"rows of up to {counts.max()} of {rows} columns were not filled")


def _ones(rows: int, keys: np.ndarray) -> Csr:
    """Return the matrix of ones at row * rows + column of ``keys``, rising."""
    starts = np.zeros(rows + 1, np.int64)
    starts[1:] = np.cumsum(np.bincount(keys // rows, minlength=rows))
    return Csr(
        shape=(rows, rows), starts=starts, columns=keys % rows, values=np.ones(len(keys), np.int64)
    )
