"""The requantisation of :class:`celosia.models.network.Requant`, exactly. Imports numpy only."""

from __future__ import annotations

import numpy as np

from celosia.models.network import Requant, Rounding


def shift_round(values: np.ndarray, shift: np.ndarray, rounding: Rounding) -> np.ndarray:
    """Return ``round(values / 2**shift)``, exactly, in int64.

    Parameters
    ----------
    values
        int64, magnitudes below ``2**62``.
    shift
        int64 in 0..MAX_SHIFT, of a shape that broadcasts with ``values``.
    rounding
        Where ties go.
    """
    floor = values >> shift
    rest = values - (floor << shift)
    half = np.where(shift > 0, np.int64(1) << np.maximum(shift - 1, 0), np.int64(1))
    up = rest > half
    tie = rest == half
    if rounding is Rounding.HALF_EVEN:
        tie &= (floor & 1) == 1
    return np.asarray(floor + (up | tie), dtype=np.int64)


def requantise(
    accumulators: np.ndarray, requant: Requant, residual_codes: np.ndarray | None = None
) -> np.ndarray:
    """Return the output codes of ``accumulators`` (without bias).

    Parameters
    ----------
    accumulators
        int64, shape (N, O, H, W) or any other with the channels on axis 1; with the
        bias added below ``2**43`` in magnitude, as every :class:`Network` ensures.
    requant
        The constants of the O channels.
    residual_codes
        Codes of the residual operand, same shape; ``None`` without one.

    Raises
    ------
    ValueError
        If shapes disagree.
    """
    if accumulators.ndim < 2 or accumulators.shape[1] != len(requant.bias):
        raise ValueError(
            f"accumulators must have {len(requant.bias)} channels on axis 1, "
            f"not shape {accumulators.shape}"
        )
    if residual_codes is not None and residual_codes.shape != accumulators.shape:
        raise ValueError(
            f"residual codes must have shape {accumulators.shape}, not {residual_codes.shape}"
        )
    column = (1, -1) + (1,) * (accumulators.ndim - 2)
    value = accumulators.astype(np.int64) + requant.bias.reshape(column)
    multiplier = np.where(
        value < 0, requant.negative.reshape(column), requant.positive.reshape(column)
    )
    product = value * multiplier
    if residual_codes is not None:
        product += residual_codes.astype(np.int64) * requant.residual.reshape(column)
    rounded = shift_round(product, requant.shift.reshape(column), requant.rounding)
    clamped = np.asarray(np.clip(rounded, requant.low, requant.high), dtype=np.int64)
    return clamped if requant.table is None else requant.table.values[clamped - requant.low]
