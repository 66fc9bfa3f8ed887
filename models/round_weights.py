"""Rounding the weights of a layer to formats that differ from row to row."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace

import numpy as np

from celosia.models.blocks import Blocks, quantise_blocks
from celosia.models.find_scales import (
    DEFAULT_PERCENTILE,
    ScaleMethod,
    Snap,
    find_scales,
    nearest,
    nearest_rows,
    search_scales,
)
from celosia.models.formats import UE4M3, BlockScaling, Format, IntScale
from celosia.models.threads import product

SWEEPS = 4
"""Sweeps of coordinate descent."""

NEAR = 2.0**-8
"""A unit so near to what the requantisation has, in relation, is as good; others are cut again."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rounded:
    """Rows as integers: row ``o`` stands for ``values[o] * factors[o] * scale[o]``.

    ``values`` int64 (O, K) in the rows' formats, ``scale`` float64 (O,), ``factors`` the scale of
    each weight's vector, int64 (O, K), 1 where there are none.
    """

    values: np.ndarray
    scale: np.ndarray
    factors: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rounder:
    """How the rows of a layer are rounded.

    Attributes
    ----------
    formats
        The format of each row.
    snap
        Moves scales to ones that the requantisation can have; it never returns 0.
    method, percentile
        How scales of rows are found.
    blocks
        Scales for vectors along the input channels; None for one scale a row.
    kernel
        Kernel positions: a row is (channels, kernel) flattened, and no vector holds two
        positions.
    largest
        Largest sum of magnitudes of a row's integers that its accumulator holds.
    """

    formats: tuple[Format, ...]
    snap: Snap
    method: ScaleMethod = ScaleMethod.MSE
    percentile: float = DEFAULT_PERCENTILE
    blocks: BlockScaling | None = None
    kernel: int = 1
    largest: int = 1 << 42

    def part(self, rows: slice) -> Rounder:
        """Return the same for some of the rows."""
        count = len(self.formats)

        def snap(scale: np.ndarray) -> np.ndarray:
            every = np.ones(count)
            every[rows] = scale
            return self.snap(every)[rows]

        return replace(self, formats=self.formats[rows], snap=snap)

    def round(self, rows: np.ndarray, hessian: np.ndarray | None = None) -> Rounded:
        """Return ``rows`` (float64 (O, K)) rounded.

        With ``hessian``, the second moments of the layer's input (K, K), positive definite, the
        weights are rounded one after another, each making good for the errors of the others,
        in several sweeps of coordinate descent on ``e H e``; between them the scales are
        fitted again where the method is the search for the least error. Without, every
        weight is rounded to the nearest.
        """
        if self.blocks is None:
            scale = self._scales(rows, hessian)
            factors = np.ones(rows.shape, dtype=np.int64)
            values = nearest_rows(rows / scale[:, None], self.formats)
        else:
            values, factors, unit = self._cut(rows, self.blocks)
            scale = self.snap(unit)
            far = np.abs(scale / unit - 1) > NEAR
            if far.any():
                part = replace(self, formats=tuple(itertools.compress(self.formats, far)))
                values[far], factors[far], _ = part._cut(rows[far], self.blocks, scale[far])
        fitted = self.blocks is None and self.method is ScaleMethod.MSE
        for sweep in range(0 if hessian is None else SWEEPS):
            assert hessian is not None
            values = _descend(rows, values, scale[:, None] * factors, self.formats, hessian)
            if fitted and sweep < SWEEPS - 1:
                weighted = product(values, hessian)
                below = (weighted * values).sum(axis=1)
                best = (weighted * rows).sum(axis=1) / np.where(below > 0, below, 1.0)
                scale = self.snap(np.where((below > 0) & (best > 0), best, scale))
        return Rounded(values=values.astype(np.int64), scale=scale, factors=factors)

    def _scales(self, rows: np.ndarray, hessian: np.ndarray | None) -> np.ndarray:
        if self.method is ScaleMethod.MSE:
            return search_scales(rows, self.formats, hessian, self.snap)
        scale = np.empty(len(rows))
        for fmt in dict.fromkeys(self.formats):
            chosen = np.array([other == fmt for other in self.formats])
            scale[chosen] = find_scales(rows[chosen], fmt, self.method, self.percentile)
        return self.snap(scale)

    def _cut(
        self, rows: np.ndarray, scaling: BlockScaling, known: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return elements and their vectors' scales (O, K), and the unit (O,), ``known`` or not."""
        channels = rows.shape[1] // self.kernel
        whole = -(-channels // scaling.vector) * scaling.vector
        places = np.zeros((len(rows), self.kernel, whole))
        places[:, :, :channels] = rows.reshape(-1, channels, self.kernel).transpose(0, 2, 1)

        def back(data: np.ndarray) -> np.ndarray:
            cube = data.reshape(-1, self.kernel, whole)[:, :, :channels]
            return np.ascontiguousarray(cube.transpose(0, 2, 1)).reshape(len(cube), -1)

        values, factors = np.zeros(rows.shape), np.ones(rows.shape, dtype=np.int64)
        unit = np.ones(len(rows))
        for fmt in dict.fromkeys(self.formats):
            chosen = np.array([other == fmt for other in self.formats])
            mine = None if known is None else known[chosen]
            cut = self._fitting(places[chosen].reshape(int(chosen.sum()), -1), fmt, scaling, mine)
            values[chosen], factors[chosen] = back(cut.values), back(cut.factors)
            unit[chosen] = cut.unit
        return values, factors, unit

    def _fitting(
        self, rows: np.ndarray, fmt: Format, scaling: BlockScaling, unit: np.ndarray | None
    ) -> Blocks:
        """Return ``rows`` in vectors, as published, with sums that the accumulators hold.

        NVFP4 has one unit for a tensor. Integer scales of few bits are rounded up for elements of
        many, as VS-Quant's error asks for. Floats and powers of two that reach too far are cut
        off below.
        """
        few = isinstance(scaling.scale, IntScale) and fmt.bits > scaling.scale.bits + 1
        common = isinstance(scaling.scale, UE4M3)
        cut = quantise_blocks(rows, fmt, scaling, unit=unit, common=common, round_up=few)
        if common and unit is None:
            cut = _lowered(cut)
        sums = np.abs(cut.integers).sum(axis=1)
        if not isinstance(scaling.scale, IntScale) and (sums > self.largest).any():
            excess = np.ceil(np.log2(np.maximum(sums / self.largest, 1.0)))
            cut = quantise_blocks(rows, fmt, scaling, unit=cut.unit * np.exp2(excess))
        return cut


def _lowered(cut: Blocks) -> Blocks:
    """Return the same numbers with the least exponents of the floats that are their scales.

    What all scales of a row have in common goes into its unit: its integers are smaller by
    as much, and the requantisation has more bits for them. Vectors of zeros do not count.
    """
    vector = cut.scaling.vector
    filled = np.add.reduceat(np.abs(cut.values), np.arange(0, cut.values.shape[1], vector), axis=1)
    least = np.where(filled > 0, cut.scales, cut.scaling.scale.high).min(axis=1)
    shift = np.maximum(np.frexp(least)[1] - 4, 0)  # normal scales are 8 and more
    scales = np.where(filled > 0, cut.scales >> shift[:, None], 1)
    return replace(cut, scales=scales, unit=np.ldexp(cut.unit, shift))


def _descend(
    rows: np.ndarray,
    values: np.ndarray,
    step: np.ndarray,
    formats: tuple[Format, ...],
    hessian: np.ndarray,
) -> np.ndarray:
    """Return ``values`` after each was set, in turn, to the best given all others.

    ``step`` (O, K) is the real number that 1 stands for.
    """
    values = values.copy()
    error = values * step - rows
    gradient = product(error, hessian)
    groups = [
        (fmt, np.array([i for i, other in enumerate(formats) if other == fmt]))
        for fmt in dict.fromkeys(formats)
    ]
    for column in range(rows.shape[1]):
        wanted = values[:, column] - gradient[:, column] / (
            hessian[column, column] * step[:, column]
        )
        new = np.empty(len(rows))
        for fmt, members in groups:
            new[members] = nearest(wanted[members], fmt)
        change = (new - values[:, column]) * step[:, column]
        moved = np.flatnonzero(change)
        if len(moved):
            values[:, column] = new
            gradient[moved] += np.outer(change[moved], hessian[column])
    return values
