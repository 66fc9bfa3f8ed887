"""Rounding the weights of a layer to formats that differ from row to row."""

from __future__ import annotations

import numpy as np

from celosia.models.find_scales import Snap, nearest, nearest_rows, search_scales
from celosia.models.formats import Format
from celosia.models.recipe import Assignment, Recipe
from celosia.models.threads import product


def assign_formats(rows: np.ndarray, recipe: Recipe) -> tuple[Format, ...]:
    """Return the format of each row of ``rows`` (O, K), ``recipe.sp2_ratio`` of them SP2."""
    count = round(recipe.sp2_ratio * len(rows))
    if recipe.assignment is Assignment.VARIANCE:
        key = rows.var(axis=1)
    else:
        key = _row_error(rows, recipe.sp2) - _row_error(rows, recipe.fixed)
    chosen = set(np.argsort(key, kind="stable")[:count].tolist())
    return tuple(recipe.sp2 if row in chosen else recipe.fixed for row in range(len(rows)))


def _row_error(rows: np.ndarray, fmt: Format) -> np.ndarray:
    """Return the mean squared error of each row in ``fmt``, relative to its mean square."""
    formats = (fmt,) * len(rows)
    scale = search_scales(rows, formats)[:, None]
    safe = np.where(scale > 0, scale, 1.0)
    error = ((nearest_rows(rows / safe, formats) * safe - rows) ** 2).sum(axis=1)
    return np.asarray(error / np.maximum((rows**2).sum(axis=1), 1e-300))


def round_rows(
    rows: np.ndarray,
    formats: tuple[Format, ...],
    hessian: np.ndarray | None,
    snap: Snap,
    sweeps: int = 4,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the integer values (O, K) and the scales (O,) that stand for ``rows``.

    With a Hessian the weights are rounded one after another, each making good for the
    errors of the others, in several sweeps of coordinate descent on ``e H e``, with a new
    scale fitted between them.

    Parameters
    ----------
    rows
        Real weights, float64 (O, K).
    formats
        The format of each row.
    hessian
        Second moments of the layer's input, (K, K), positive definite; None for rounding
        to the nearest.
    snap
        Moves scales to ones that the requantisation can have; it never returns 0.
    sweeps
        Sweeps of coordinate descent.
    """
    scale = search_scales(rows, formats, hessian, snap)
    values = nearest_rows(rows / scale[:, None], formats)
    if hessian is None:
        return values.astype(np.int64), scale
    for sweep in range(sweeps):
        values = _descend(rows, values, scale, formats, hessian)
        if sweep < sweeps - 1:
            weighted = product(values, hessian)
            below = (weighted * values).sum(axis=1)
            fitted = (weighted * rows).sum(axis=1) / np.where(below > 0, below, 1.0)
            good = (below > 0) & (fitted > 0)
            scale = snap(np.where(good, fitted, scale))
    return values.astype(np.int64), scale


def _descend(
    rows: np.ndarray,
    values: np.ndarray,
    scale: np.ndarray,
    formats: tuple[Format, ...],
    hessian: np.ndarray,
) -> np.ndarray:
    """Return ``values`` after each was set, in turn, to the best given all others."""
    values = values.copy()
    error = values * scale[:, None] - rows
    gradient = product(error, hessian)
    groups = [
        (fmt, np.array([i for i, other in enumerate(formats) if other == fmt]))
        for fmt in dict.fromkeys(formats)
    ]
    for column in range(rows.shape[1]):
        wanted = values[:, column] - gradient[:, column] / (hessian[column, column] * scale)
        new = np.empty(len(rows))
        for fmt, members in groups:
            new[members] = nearest(wanted[members], fmt)
        change = (new - values[:, column]) * scale
        moved = np.flatnonzero(change)
        if len(moved):
            values[:, column] = new
            gradient[moved] += np.outer(change[moved], hessian[column])
    return values
