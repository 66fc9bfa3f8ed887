"""Which rows of a layer get which format of a mix."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from celosia.models.find_scales import nearest, search_scales
from celosia.models.formats import Format
from celosia.models.recipe import Assignment, Recipe, Share


def row_counts(shares: Sequence[Share], rows: int) -> tuple[int, ...]:
    """Return how many of ``rows`` rows each share gets; they add up to ``rows``.

    Each share gets whole granules up to its due; what is left goes, granule by granule, to the
    share that lacks most among those that lack any and that it fits (RMSMP: so the mix of
    every tile is the same). With granules of 1 this is the largest-remainder rule. The last
    portion may be a part of a granule. Of equals the first is served.
    """
    due = [share.ratio * rows for share in shares]
    counts = [
        math.floor(wanted / share.granule + 1e-9) * share.granule
        for share, wanted in zip(shares, due, strict=True)
    ]
    while (left := rows - sum(counts)) > 0:
        lack = [wanted - count for wanted, count in zip(due, counts, strict=True)]
        order = sorted(range(len(shares)), key=lambda index: -round(lack[index], 9))
        fitting = [i for i in order if shares[i].granule <= left and lack[i] > 1e-9]
        chosen = (fitting or order)[0]
        counts[chosen] += min(shares[chosen].granule, left)
    return tuple(counts)


def assign_formats(
    rows: np.ndarray, recipe: Recipe, curvature: np.ndarray | None = None
) -> tuple[Format, ...]:
    """Return the format of each row of ``rows`` (O, K), as many as ``recipe`` says.

    Parameters
    ----------
    rows
        Real weights, float64.
    recipe
        The mix and how rows are chosen.
    curvature
        For ``Assignment.HESSIAN``: how curved the loss is in each row, (O,), as
        :func:`celosia.models.curvature.row_curvatures` gives.

    Raises
    ------
    ValueError
        If the curvature is needed and not there, or is not one finite number a row.
    """
    shares = recipe.weights
    counts = row_counts(shares, len(rows))
    formats = [share.format for share in shares]
    if recipe.assignment is Assignment.MSE:
        errors = np.stack([_row_error(rows, fmt) for fmt in formats], axis=1)
        return tuple(formats[int(index)] for index in cheapest(errors, counts))
    if recipe.assignment is Assignment.VARIANCE:
        return _deal(np.argsort(rows.var(axis=1), kind="stable"), formats, counts)
    if curvature is None or curvature.shape != (len(rows),) or not np.isfinite(curvature).all():
        raise ValueError(
            f"curvature must be {len(rows)} finite numbers, one a row, not {curvature!r}"
        )
    precise = sorted(range(len(shares)), key=lambda index: formats[index] not in recipe.precise)
    top = sum(count for i, count in enumerate(counts) if formats[i] in recipe.precise)
    curved = np.argsort(-curvature, kind="stable")
    others = np.sort(curved[top:])
    calm = others[np.argsort(rows[others].var(axis=1), kind="stable")]
    order = np.concatenate([curved[:top], calm])
    return _deal(order, [formats[i] for i in precise], [counts[i] for i in precise])


def _deal(
    order: np.ndarray, formats: Sequence[Format], counts: Sequence[int]
) -> tuple[Format, ...]:
    """Return the formats of rows when they are handed out in ``order``."""
    dealt = np.empty(len(order), dtype=np.int64)
    dealt[order] = np.repeat(np.arange(len(formats)), counts)
    return tuple(formats[int(index)] for index in dealt)


def cheapest(costs: np.ndarray, counts: Sequence[int]) -> np.ndarray:
    """Return for each row a kind so that kind k is chosen ``counts[k]`` times at the least cost.

    A transport problem of few kinds: as long as moving rows round a circle of kinds makes it
    cheaper, they are moved. When no such circle is left, no choice is better (Klein, 1967).

    Parameters
    ----------
    costs
        Cost of each kind for each row, float64 (rows, kinds).
    counts
        How often each kind is to be chosen; they add up to the rows.

    Returns
    -------
    int64 (rows,).
    """
    chosen = np.repeat(np.arange(len(counts)), counts)
    tolerance = 1e-12 * max(float(np.abs(costs).max(initial=0.0)), 1e-300)
    while circle := _cheaper_circle(costs, chosen, len(counts), tolerance):
        for row, kind in circle:
            chosen[row] = kind
    return chosen


def _cheaper_circle(
    costs: np.ndarray, chosen: np.ndarray, kinds: int, tolerance: float
) -> list[tuple[int, int]]:
    """Return moves (row, new kind) that form a circle and save more than ``tolerance``."""
    cost = np.full((kinds, kinds), np.inf)
    mover = np.zeros((kinds, kinds), dtype=np.int64)
    for source in range(kinds):
        members = np.flatnonzero(chosen == source)
        if len(members):
            change = costs[members] - costs[members, source][:, None]
            mover[source] = members[change.argmin(axis=0)]
            cost[source] = change.min(axis=0)
    np.fill_diagonal(cost, np.inf)
    # Bellman and Ford: distances from everywhere at once, the way back by predecessors.
    distance, before = np.zeros(kinds), np.full(kinds, -1)
    last = -1
    for _ in range(kinds):
        last = -1
        for source in range(kinds):
            for target in range(kinds):
                reached = distance[source] + cost[source, target]
                if reached < distance[target] - tolerance:
                    distance[target], before[target], last = reached, source, target
    if last < 0:
        return []
    for _ in range(kinds):
        last = int(before[last])
    moves, place = [], last
    while True:
        source = int(before[place])
        moves.append((int(mover[source, place]), place))
        place = source
        if place == last:
            return moves


def _row_error(rows: np.ndarray, fmt: Format) -> np.ndarray:
    """Return the squared error of each row in ``fmt``, relative to its sum of squares."""
    scale = search_scales(rows, (fmt,) * len(rows))[:, None]
    safe = np.where(scale > 0, scale, 1.0)
    error = ((nearest(rows / safe, fmt) * safe - rows) ** 2).sum(axis=1)
    return np.asarray(error / np.maximum((rows**2).sum(axis=1), 1e-300))
