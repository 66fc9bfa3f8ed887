"""Requantisations as staircases: where each output code begins, as real numbers and as integers.

A file says that a sum ``a`` becomes the code of ``gain * a + offset`` in its own rounding; the
hardware computes ``round((a + bias) * m / 2**shift)``. Both rise with ``a`` in steps, so they are
the same function of all sums where their steps are at the same sums. :func:`fit` looks for the
constants with the fewest sums between a step and its counterpart, and counts those.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace

import numpy as np

from celosia.models.network import MAX_SHIFT, MULTIPLIER_BITS

MULTIPLIER_MAX = (1 << MULTIPLIER_BITS - 1) - 1
MAX_STEPS = 1 << 10
"""Most codes of an output whose steps are all looked at."""

_NEAR = 1e-9
"""Steps as near to an integer as this, relatively, are on it: scales are products of floats."""


class Ties(enum.Enum):
    """How a file rounds. Names are those of QONNX, where halves go by their distance from 0."""

    HALF_EVEN = "HALF_EVEN"
    HALF_UP = "HALF_UP"
    HALF_DOWN = "HALF_DOWN"
    FLOOR = "FLOOR"
    CEIL = "CEIL"
    UP = "UP"
    DOWN = "DOWN"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Rounding of codes: of ``code - zero``, to which ``zero`` is added afterwards."""

    ties: Ties = Ties.HALF_EVEN
    zero: int = 0

    def begins(self, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return where ``codes`` (int64) begin, float64, and whether that very place is theirs."""
        away = codes - self.zero > 0
        middle = codes - 0.5
        match self.ties:
            case Ties.HALF_EVEN:
                return middle, (codes - self.zero) % 2 == 0
            case Ties.HALF_UP:
                return middle, away
            case Ties.HALF_DOWN:
                return middle, ~away
            case Ties.FLOOR:
                return codes.astype(float), np.full(codes.shape, True)
            case Ties.CEIL:
                return codes - 1.0, np.full(codes.shape, False)
            case Ties.UP:
                return np.where(away, codes - 1.0, codes), ~away
            case Ties.DOWN:
                return np.where(away, codes, codes - 1.0), away

    @property
    def shift(self) -> float:
        """How far its steps lie above those of rounding to the nearest, in the mean."""
        return {Ties.FLOOR: 0.5, Ties.CEIL: -0.5}.get(self.ties, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Staircase:
    """What a file computes of the sums of some rows: ``gain * sum + offset``, rounded and clamped.

    ``gain`` and ``offset`` are float64 (O,), the gain positive; ``least`` and ``most``, int64 (O,),
    the ends of what sums can be.
    """

    gain: np.ndarray
    offset: np.ndarray
    least: np.ndarray
    most: np.ndarray
    low: int
    high: int
    rule: Rule

    def steps(self) -> np.ndarray:
        """Return the least sum of each code above ``low``, int64 (O, codes)."""
        codes = np.arange(self.low + 1, self.high + 1)
        where, theirs = self.rule.begins(codes)
        sums = (where - self.offset[:, None]) / self.gain[:, None]
        near = np.rint(sums)
        sums = np.where(np.abs(sums - near) <= _NEAR * np.maximum(np.abs(near), 1), near, sums)
        first = np.where(theirs, np.ceil(sums), np.floor(sums) + 1)
        return self.within(np.clip(first, -(2.0**60), 2.0**60).astype(np.int64))

    def within(self, sums: np.ndarray) -> np.ndarray:
        """Return ``sums`` (O, codes) clipped to those that can be, and the first that cannot."""
        return np.asarray(np.clip(sums, self.least[:, None], self.most[:, None] + 1))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Constants:
    """Multipliers, shifts and biases, int64 (O,), and how far from a staircase they are.

    ``differ`` counts the sums of each row whose code is another, of ``count`` that it can have;
    it is None where they were not counted.
    """

    multiplier: np.ndarray
    shift: np.ndarray
    bias: np.ndarray
    differ: np.ndarray | None
    count: np.ndarray


def made_steps(
    codes: np.ndarray, multiplier: np.ndarray, shift: np.ndarray, *, even: bool
) -> np.ndarray:
    """Return the least ``v`` with ``round(v * multiplier / 2**shift) >= code``, int64 (O, codes).

    Ties go to even codes where ``even``, else up. Multipliers are positive.
    """
    factor, power = multiplier[:, None], np.int64(1) << shift[:, None]
    half = np.where(shift[:, None] > 0, power >> 1, 0)
    reach = codes * power - half
    first = -(-reach // factor)
    if even:
        first += (first * factor == reach) & (codes % 2 == 1) & (shift[:, None] > 0)
    return np.asarray(first)


def widest_shift(largest: np.ndarray) -> np.ndarray:
    """Return the shifts, int64, with which multipliers for factors up to ``largest`` still fit."""
    shift = np.floor(np.log2((MULTIPLIER_MAX + 0.49) / largest))
    return np.asarray(np.clip(shift, 0, MAX_SHIFT), dtype=np.int64)


def fit(stairs: Staircase, *, even: bool = True) -> Constants:
    """Return the constants nearest to ``stairs``, with ties to even or up.

    Multipliers within 2 of the ratio are tried with their best biases. Rows that are alike are
    looked at once.
    """
    columns = [stairs.gain, stairs.offset, stairs.least, stairs.most]
    _, first, alike = np.unique(
        np.stack(columns, axis=1), axis=0, return_index=True, return_inverse=True
    )
    gain, offset, least, most = (column[first] for column in columns)
    found = _fit(replace(stairs, gain=gain, offset=offset, least=least, most=most), even=even)
    alike = alike.reshape(-1)
    return Constants(
        multiplier=found.multiplier[alike],
        shift=found.shift[alike],
        bias=found.bias[alike],
        differ=None if found.differ is None else found.differ[alike],
        count=found.count[alike],
    )


def _fit(stairs: Staircase, *, even: bool) -> Constants:
    shift = widest_shift(stairs.gain)
    ratio = stairs.gain * 2.0**shift
    rows = len(ratio)
    offset = stairs.offset - stairs.rule.shift
    count = stairs.most - stairs.least + 1
    if stairs.high - stairs.low > MAX_STEPS:
        multiplier = np.clip(np.rint(ratio), 1, MULTIPLIER_MAX).astype(np.int64)
        bias = np.rint(offset / stairs.gain).astype(np.int64)
        return Constants(multiplier=multiplier, shift=shift, bias=bias, differ=None, count=count)
    codes = np.arange(stairs.low + 1, stairs.high + 1)
    wanted = stairs.steps()
    best = np.full(rows, np.iinfo(np.int64).max)
    found = np.ones(rows, np.int64), np.zeros(rows, np.int64)
    for change in (0, 1, -1, 2, -2):
        multiplier = np.clip(np.rint(ratio) + change, 1, MULTIPLIER_MAX).astype(np.int64)
        made = made_steps(codes, multiplier, shift, even=even)
        inner = (wanted > stairs.least[:, None]) & (wanted <= stairs.most[:, None])
        nominal = np.rint(offset / stairs.gain)
        lag = np.where(inner, made - wanted, nominal[:, None])
        middle = np.where(inner.any(axis=1), _median(lag, inner), nominal).astype(np.int64)
        for bias in (middle, middle - 1, middle + 1):
            wrong = np.abs(stairs.within(made - bias[:, None]) - wanted).sum(axis=1)
            better = wrong < best
            best = np.where(better, wrong, best)
            found = (
                np.where(better, multiplier, found[0]),
                np.where(better, bias, found[1]),
            )
        if not best.any():
            break
    return Constants(multiplier=found[0], shift=shift, bias=found[1], differ=best, count=count)


def _median(values: np.ndarray, there: np.ndarray) -> np.ndarray:
    """Return the median of those ``values`` of each row that are ``there``, rounded."""
    known = np.where(there, values, np.nan)
    known[~there.any(axis=1)] = 0
    return np.asarray(np.rint(np.nanmedian(known, axis=1)))
