"""Fitting a layer's weights to quantised inputs before and while they are rounded."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from celosia.models.graph import FloatConv, pad_float
from celosia.models.round_weights import Rounded, Rounder
from celosia.models.threads import product, single_thread, solve

PATCHES = 16_384
"""Most input windows that a fit looks at."""
MAX_REDUCTION = 2_304
"""Above this many weights in a row the fit (cubic in it) is left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerData:
    """Moments of a layer's quantised input and of the sums it should give.

    For each group of G: ``mean`` (G, K), ``covariance`` (G, K, K) of the input windows,
    ``cross`` (G, O/G, K) their covariance with the wanted sums, ``wanted`` (O,) the mean of
    these; ``patches`` is how many windows were seen.
    """

    mean: np.ndarray
    covariance: np.ndarray
    cross: np.ndarray
    wanted: np.ndarray
    patches: int


def layer_data(op: FloatConv, x: torch.Tensor, wanted: torch.Tensor) -> LayerData:
    """Collect the moments.

    Parameters
    ----------
    op
        The layer.
    x
        Its quantised input as real values, float64 (N, C, H, W).
    wanted
        The sums (with bias) that it should give, (N, O, OH, OW).
    """
    rows, per_group = op.weight.shape[0], op.weight.shape[1]
    reduction = per_group * op.window.kernel[0] * op.window.kernel[1]
    places = wanted.shape[2] * wanted.shape[3]
    step = -(-len(x) * places // PATCHES)
    # An odd step visits all places of an image, whatever its size.
    step += 1 - step % 2
    seen = []
    for number in range(len(x)):  # all windows of all samples would be a lot of memory
        columns = torch.nn.functional.unfold(
            pad_float(x[number : number + 1], op.window, 0.0),
            op.window.kernel,
            dilation=op.window.dilation,
            stride=op.window.stride,
        )
        seen.append(columns[0, :, -number * places % step :: step].T)
    windows = torch.cat(seen).reshape(-1, op.groups, reduction).numpy().transpose(1, 0, 2)
    sums = wanted.flatten(2).transpose(1, 2).reshape(-1, op.groups, rows // op.groups)
    targets = sums[::step].to(torch.float64).numpy().transpose(1, 0, 2)
    mean = windows.mean(axis=1, keepdims=True)
    centre = targets.mean(axis=1, keepdims=True)
    count = windows.shape[1]
    centred = windows - mean
    return LayerData(
        mean=mean[:, 0],
        covariance=product(centred.transpose(0, 2, 1), centred) / count,
        cross=product((targets - centre).transpose(0, 2, 1), centred) / count,
        wanted=centre.reshape(-1),
        patches=count,
    )


def fit_layer(
    rows: np.ndarray, groups: int, rounder: Rounder, data: LayerData
) -> tuple[Rounded, np.ndarray]:
    """Return the rounded weights and the real bias (O,).

    Parameters
    ----------
    rows
        Real weights, (O, K).
    groups
        Groups of the convolution.
    rounder
        How the rows are rounded.
    data
        From :func:`layer_data`.
    """
    with single_thread():
        per_group = len(rows) // groups
        parts, bias = [], np.zeros(len(rows))
        for group in range(groups):
            part = slice(group * per_group, (group + 1) * per_group)
            done = _fit_group(rows[part], group, rounder.part(part), data)
            real = done.values * done.factors * done.scale[:, None]
            bias[part] = data.wanted[part] - real @ data.mean[group]
            parts.append(done)
    return Rounded(
        values=np.concatenate([part.values for part in parts]),
        scale=np.concatenate([part.scale for part in parts]),
        factors=np.concatenate([part.factors for part in parts]),
    ), bias


def _fit_group(rows: np.ndarray, group: int, rounder: Rounder, data: LayerData) -> Rounded:
    hessian = _regular(data.covariance[group], data.patches)
    if hessian is None:
        return rounder.round(rows)
    # Ridge regression towards the given weights.
    missing = data.cross[group] - product(rows, data.covariance[group])
    return rounder.round(rows + solve(hessian, missing.T).T, hessian)


def _regular(covariance: np.ndarray, patches: int) -> np.ndarray | None:
    """Return ``covariance`` with a diagonal that grows where there is little data."""
    size = len(covariance)
    if size > MAX_REDUCTION:
        return None
    level = float(np.trace(covariance)) / size
    if level <= 0:
        return None
    return np.asarray(covariance + np.eye(size) * level * (0.01 + 0.5 * size / patches))
