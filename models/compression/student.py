"""What learns while a network is compressed: weights under masks, then what weights share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from celosia.models.compression.lower import layers_of, weights_of
from celosia.models.compression.share import nearest
from celosia.models.gradients import Gradient, pass_gradient
from celosia.models.graph import FloatGraph, FloatOp
from celosia.models.grid import Grid


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Weights are ``unit`` times integers of magnitude ``limit`` at most."""

    unit: float
    limit: int


class Student:
    """A lowered graph whose weights learn, as far as masks and shared values let them.

    ``masks`` holds which weights are not 0, bool (O, I), all in the beginning; :meth:`share` makes
    a layer's weights the entries of a table; with ``grids`` of tensors and ``steps`` of layers,
    values are rounded as in integers.
    """

    def __init__(self, graph: FloatGraph) -> None:
        self.source = graph
        self.weights = {op.name: _parameter(weights_of(op)) for op in layers_of(graph)}
        self.biases = {op.name: _parameter(op.bias) for op in layers_of(graph)}
        self.masks = {
            name: torch.ones(weight.shape, dtype=torch.bool)
            for name, weight in self.weights.items()
        }
        self.tables: dict[str, torch.Tensor] = {}
        self.places: dict[str, torch.Tensor] = {}
        self.grids: Mapping[str, Grid] = {}
        self.steps: Mapping[str, Step] = {}

    @property
    def parameters(self) -> list[torch.Tensor]:
        """Everything that learns."""
        weights = (self.tables.get(name, weight) for name, weight in self.weights.items())
        return [*weights, *self.biases.values()]

    def prune(self, name: str, mask: np.ndarray) -> None:
        """Hold the weights of a layer where ``mask`` (bool, (O, I)) is False at 0."""
        self.masks[name] = torch.from_numpy(mask)

    def share(self, name: str, centroids: np.ndarray) -> None:
        """Let every weight of a layer that is kept be the nearest of ``centroids`` (ascending).

        From now on centroids learn, each by the sum of the gradients of its weights.
        """
        weights = self.kept(name)
        self.places[name] = torch.from_numpy(nearest(weights, centroids))
        self.tables[name] = _parameter(centroids)

    def kept(self, name: str) -> np.ndarray:
        """Return the weights of a layer, 0 where they are pruned, float64 (O, I)."""
        result: np.ndarray = self.weight(name).detach().to(torch.float64).numpy()
        return result

    def weight(self, name: str) -> torch.Tensor:
        """Return the weights of a layer, float32 (O, I), with their gradient."""
        if name in self.tables:
            values = self._rounded(name, self.tables[name])[self.places[name]]
        else:
            values = self._rounded(name, self.weights[name])
        return values * self.masks[name]

    def _rounded(self, name: str, values: torch.Tensor) -> torch.Tensor:
        if name not in self.steps:
            return values
        step = self.steps[name]
        high = step.limit * step.unit
        rounded = torch.round(values.detach().clamp(-high, high) / step.unit) * step.unit
        return pass_gradient(values, rounded, -high, high, Gradient.STRAIGHT_THROUGH)

    def settle(self, name: str, value: torch.Tensor) -> torch.Tensor:
        """Return ``value`` rounded to the grid of the tensor ``name``, where it has one."""
        if name not in self.grids:
            return value
        grid = self.grids[name]
        low, high = (end * grid.scale for end in grid.ends)
        rounded = torch.round(value.detach().clamp(low, high) / grid.scale) * grid.scale
        return pass_gradient(value, rounded, low, high, Gradient.PIECEWISE_LINEAR)

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return every tensor, (N, C, 1, 1)."""
        values = {name: self.settle(name, value) for name, value in inputs.items()}
        for op in layers_of(self.source):
            source = values[op.input].flatten(1)
            sums = torch.nn.functional.linear(source, self.weight(op.name), self.biases[op.name])
            result = sums.clamp(op.low, op.high) if op.clips else sums
            values[op.output] = self.settle(op.output, result[..., None, None])
        return values

    def graph(self) -> FloatGraph:
        """Return the graph with the learnt weights, 0 where they are pruned."""
        ops: list[FloatOp] = []
        for op in layers_of(self.source):
            bias = self.biases[op.name].detach().to(torch.float64).numpy()
            weight = self.kept(op.name)[..., None, None]
            ops.append(replace(op, weight=weight, bias=bias.copy()))
        return replace(self.source, ops=tuple(ops))


def _parameter(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values.copy()).to(torch.float32).requires_grad_(True)
