"""Which layers can do with fewer bits: what rounding each alone does to the network's outputs.

No labels are needed: the float network's outputs on the calibration data are what is wanted
(the sensitivity of HAWQ, ICCV 2019, measured rather than derived).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch

from celosia.models.find_scales import find_scales, nearest
from celosia.models.fit import fit_layer, layer_data
from celosia.models.formats import Format
from celosia.models.graph import FloatConv, FloatGraph, convolve_float, evaluate_float
from celosia.models.recipe import Recipe
from celosia.models.round_weights import Rounder
from celosia.models.threads import single_thread

_LEAST = 1e-30
"""Scales of rows of zeros."""


class Sensitivity:
    """The outputs of a float network when some of its layers have weights of ``fmt``.

    Parameters
    ----------
    graph
        The fused graph.
    inputs
        Calibration data by input, float32 (N, C, H, W).
    fmt
        The format.
    recipe
        How rows are rounded: with error feedback, on what the float network gives, and scales of
        the least error, or as its scales are found.
    """

    def __init__(
        self, graph: FloatGraph, inputs: Mapping[str, np.ndarray], fmt: Format, recipe: Recipe
    ) -> None:
        self._graph = graph
        self._inputs = {name: torch.from_numpy(data) for name, data in inputs.items()}
        with torch.no_grad(), single_thread():
            values = evaluate_float(graph, self._inputs)
        self._wanted = [_flat(values[name]) for name in graph.outputs]
        self._rounded = {
            op.name: _rounded(op, values[op.input], fmt, recipe)
            for op in graph.ops
            if isinstance(op, FloatConv) and op.useful and not op.distance and op.power is None
        }

    @property
    def sizes(self) -> dict[str, int]:
        """The weights of each layer that can be rounded."""
        return {name: op.weight.size for name, op in self._rounded.items()}

    def error(self, layers: Sequence[str]) -> float:
        """Return the squared error of all outputs with ``layers`` rounded, in their variance."""
        chosen = {name: self._rounded[name] for name in layers}
        ops = (chosen.get(op.name, op) for op in self._graph.ops)
        graph = replace(self._graph, ops=tuple(ops))
        with torch.no_grad(), single_thread():
            values = evaluate_float(graph, self._inputs)
        parts = [
            float(((_flat(values[name]) - wanted) ** 2).mean() / (wanted.var(correction=0) + 1e-12))
            for name, wanted in zip(graph.outputs, self._wanted, strict=True)
        ]
        return sum(parts)

    def alone(self) -> dict[str, float]:
        """Return the error that each layer makes alone."""
        return {name: self.error((name,)) for name in self._rounded}

    def choose(self, most: float, alone: Mapping[str, float] | None = None) -> tuple[str, ...]:
        """Return the layers to round so that many weights are and the error is at most ``most``.

        In the order of what each costs ``alone`` for a weight that is rounded, as many as may be;
        a layer with which the error would be more is passed over, and those after it are tried.
        """
        sizes, alone = self.sizes, self.alone() if alone is None else alone
        order = sorted(sizes, key=lambda name: (alone[name] / sizes[name], name))
        few, many = 0, len(order)
        while few < many:
            middle = (few + many + 1) // 2
            if self.error(order[:middle]) <= most:
                few = middle
            else:
                many = middle - 1
        chosen, used = order[:few], self.error(order[:few])
        for name in order[few:]:
            # Alone too much, or with what the others make: no need to look closer.
            if used + alone[name] <= most and (now := self.error([*chosen, name])) <= most:
                chosen, used = [*chosen, name], now
        return tuple(chosen)


def _flat(values: torch.Tensor) -> torch.Tensor:
    return values.flatten(1).to(torch.float64)


def _rounded(op: FloatConv, x: torch.Tensor, fmt: Format, recipe: Recipe) -> FloatConv:
    """Return ``op`` with weights of ``fmt``, and the bias that goes with them."""
    rows = op.weight.reshape(len(op.weight), -1)
    if not recipe.error_feedback:
        scale = find_scales(rows, fmt, recipe.scale, recipe.percentile)
        step = np.where(scale > 0, scale, 1.0)[:, None]
        return replace(op, weight=(nearest(rows / step, fmt) * step).reshape(op.weight.shape))
    rounder = Rounder(
        formats=(fmt,) * len(rows),
        snap=lambda scale: np.maximum(scale, _LEAST),
    )
    with torch.no_grad(), single_thread():
        real = x.to(torch.float64)
        data = layer_data(op, real, convolve_float(op, real))
    found, bias = fit_layer(rows, op.groups, rounder, data)
    weight = (found.values * found.scale[:, None]).reshape(op.weight.shape)
    return replace(op, weight=weight, bias=bias)
