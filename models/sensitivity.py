"""Which layers can do with fewer bits: what rounding each alone does to the network's outputs.

No labels are needed: the float network's outputs on the calibration data are what is wanted
(the sensitivity of HAWQ, ICCV 2019, measured rather than derived).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from celosia.models.find_scales import find_scales, nearest
from celosia.models.formats import Format
from celosia.models.graph import FloatConv, FloatGraph, evaluate_float
from celosia.models.recipe import Recipe


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
        How the scale of each row is found.
    """

    def __init__(
        self, graph: FloatGraph, inputs: Mapping[str, np.ndarray], fmt: Format, recipe: Recipe
    ) -> None:
        self._graph = graph
        self._inputs = {name: torch.from_numpy(data) for name, data in inputs.items()}
        self._rounded = {
            op.name: _rounded(op.weight, fmt, recipe)
            for op in graph.ops
            if isinstance(op, FloatConv) and op.useful and not op.distance and op.power is None
        }
        self._wanted = self._outputs(())

    @property
    def sizes(self) -> dict[str, int]:
        """The weights of each layer that can be rounded."""
        return {name: weight.numel() for name, weight in self._rounded.items()}

    def _outputs(self, layers: Sequence[str]) -> list[torch.Tensor]:
        chosen = {name: self._rounded[name] for name in layers}
        with torch.no_grad():
            values = evaluate_float(self._graph, self._inputs, chosen)
        return [values[name].flatten(1).to(torch.float64) for name in self._graph.outputs]

    def error(self, layers: Sequence[str]) -> float:
        """Return the squared error of all outputs with ``layers`` rounded, in their variance."""
        parts = [
            float(((got - wanted) ** 2).mean() / (wanted.var(correction=0) + 1e-12))
            for got, wanted in zip(self._outputs(layers), self._wanted, strict=True)
        ]
        return sum(parts)

    def choose(self, most: float) -> tuple[str, ...]:
        """Return the layers to round so that many weights are and the error is at most ``most``.

        In the order of what each alone costs for a weight that is rounded, as many as may be.
        """
        sizes = self.sizes
        alone = {name: self.error((name,)) for name in sizes}
        order = sorted(sizes, key=lambda name: alone[name] / sizes[name])
        few, many = 0, len(order)
        while few < many:
            middle = (few + many + 1) // 2
            if self.error(order[:middle]) <= most:
                few = middle
            else:
                many = middle - 1
        return tuple(order[:few])


def _rounded(weight: np.ndarray, fmt: Format, recipe: Recipe) -> torch.Tensor:
    rows = weight.reshape(len(weight), -1)
    scale = find_scales(rows, fmt, recipe.scale, recipe.percentile)
    step = np.where(scale > 0, scale, 1.0)[:, None]
    return torch.from_numpy((nearest(rows / step, fmt) * step).reshape(weight.shape)).float()
