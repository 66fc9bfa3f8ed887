"""Masks of pruned matrices: by magnitude, from outside, and of equal shares for each PE."""

from __future__ import annotations

import numpy as np

from celosia.models.compression.recipe import Balance
from celosia.models.errors import CelosiaError


def magnitude_mask(weights: np.ndarray, density: float) -> np.ndarray:
    """Return which of ``weights`` are kept, bool of the same shape: the largest magnitudes.

    ``density`` of them to the nearest, at least one; of equal ones the first.
    """
    count = max(1, round(density * weights.size))
    order = np.argsort(-np.abs(weights).reshape(-1), kind="stable")
    mask = np.zeros(weights.size, bool)
    mask[order[:count]] = True
    return mask.reshape(weights.shape)


def balanced_mask(weights: np.ndarray, density: float, balance: Balance) -> np.ndarray:
    """Return which of ``weights`` (O, I) are kept, with an equal share of them for each PE.

    A window of columns keeps as many weights as :func:`magnitude_mask` would keep of it. They are
    dealt out evenly: PEs have the same number in each window, or one more, where they have as many
    rows. One more go to those that have the fewest so far, of these to those with the largest
    next weight, so that totals of PEs differ by one as well. Each PE keeps its largest.
    """
    rows, columns = weights.shape
    pes, local = balance.pes, -(-rows // balance.pes)
    plain = magnitude_mask(weights, density)
    sizes = np.full((local * pes, columns), -1.0)  # below every magnitude: not there
    sizes[:rows] = np.abs(weights)
    owned = np.bincount(np.arange(rows) % pes, minlength=pes)
    mask = np.zeros((local * pes, columns), bool)
    totals = np.zeros(pes, np.int64)
    for first in range(0, columns, balance.window):
        stop = min(columns, first + balance.window)
        mine = sizes[:, first:stop].reshape(local, pes, -1).swapaxes(0, 1).reshape(pes, -1)
        order = np.argsort(-mine, axis=1, kind="stable")
        capacity = owned * (stop - first)
        wanted = int(plain[:, first:stop].sum())
        shares = _shares(wanted, capacity, totals, np.take_along_axis(mine, order, axis=1))
        totals += shares
        kept = np.zeros(mine.shape, bool)
        np.put_along_axis(kept, order, np.arange(mine.shape[1]) < shares[:, None], axis=1)
        part = kept.reshape(pes, local, -1).swapaxes(0, 1)
        mask[:, first:stop] = part.reshape(local * pes, -1)
    return mask[:rows]


def _shares(
    wanted: int, capacity: np.ndarray, totals: np.ndarray, descending: np.ndarray
) -> np.ndarray:
    """Return how many of ``wanted`` weights each PE keeps, of at most ``capacity``, int64 (pes,).

    ``totals`` are those that PEs have already, ``descending`` their magnitudes in this window.
    """
    level = wanted // len(capacity)
    while level < capacity.max() and np.minimum(capacity, level + 1).sum() <= wanted:
        level += 1
    shares = np.minimum(capacity, level)
    left = wanted - int(shares.sum())
    if left:
        able = np.flatnonzero(capacity > level)
        chosen = np.lexsort((-descending[able, level], totals[able] + shares[able]))[:left]
        shares[able[chosen]] += 1
    return np.asarray(shares, np.int64)


def check_mask(layer: str, mask: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return a mask from outside as bool of ``shape``.

    Masks of convolution's form, (O, C, H, W), and of linear layers', (O, C * H * W), are the same.

    Raises
    ------
    CelosiaError
        If it has another number of weights, or anything but 0 and 1.
    """
    if mask.ndim < 2 or not len(mask) or (len(mask), mask[0].size) != shape:
        raise CelosiaError(
            f"mask of layer {layer!r} must have the shape of its weights, {shape}, not {mask.shape}"
        )
    wrong = mask[(mask != 0) & (mask != 1)]
    if len(wrong):
        raise CelosiaError(
            f"mask of layer {layer!r} must hold 0 and 1 alone, not {wrong.reshape(-1)[0]}"
        )
    if not mask.any():
        raise CelosiaError(f"mask of layer {layer!r} keeps no weight at all")
    return np.asarray(mask.reshape(shape) != 0)


def check_balanced(layer: str, mask: np.ndarray, balance: Balance) -> None:
    """Refuse a bool ``mask`` (O, I) of which PEs do not have equal shares.

    Raises :class:`CelosiaError` naming the columns and two PEs.
    """
    rows, columns = mask.shape
    owned = np.bincount(np.arange(rows) % balance.pes, minlength=balance.pes)
    for first in range(0, columns, balance.window):
        part = mask[:, first : first + balance.window]
        counts = np.array([part[pe :: balance.pes].sum() for pe in range(balance.pes)])
        room = np.where(counts < owned * part.shape[1], counts, np.iinfo(np.int64).max)
        most, least = int(counts.argmax()), int(room.argmin())
        if counts[most] - 1 > room[least]:
            raise CelosiaError(
                f"mask of layer {layer!r} is not balanced over {balance.pes} PEs: of columns "
                f"{first}..{first + part.shape[1] - 1} PE {most} has {counts[most]} weights and PE "
                f"{least} has {counts[least]}: it is of another number of PEs or window, or is "
                "to be taken without balance"
            )
