"""The student of quantisation-aware training: a float graph whose values lie on integers' grids."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import torch

from celosia.models.addernet import distances
from celosia.models.calibrate import DISTANCE_WEIGHTS
from celosia.models.gradients import Gradient, pass_gradient
from celosia.models.graph import (
    FloatConv,
    FloatGraph,
    FloatOp,
    finish_float,
    interleave_float,
    pad_float,
    pool_float,
)
from celosia.models.network import Concat, Conv, Interleave, MaxPool, Network
from celosia.models.quantize import Plan, quantize
from celosia.models.recipe import Recipe


class Student:
    """A float graph whose weights learn and whose values are rounded.

    Parameters
    ----------
    graph
        The fused graph.
    start
        What quantisation without training made of it: the first grids, and the first weights
        where it fitted them to the data.
    recipe
        Formats and methods.
    weight_gradient, activation_gradient
        What the gradients of the roundings are taken to be.
    """

    def __init__(
        self,
        graph: FloatGraph,
        start: Network,
        recipe: Recipe,
        weight_gradient: Gradient,
        activation_gradient: Gradient,
    ) -> None:
        self.source, self.recipe = graph, recipe
        self.weight_gradient, self.activation_gradient = weight_gradient, activation_gradient
        self.plan = Plan.of(start)
        self.weights: dict[str, torch.Tensor] = {}
        self.biases: dict[str, torch.Tensor] = {}
        self.gains: dict[str, torch.Tensor] = {}
        for layer in graph.ops:
            if isinstance(layer, FloatConv) and layer.distance:
                gain = np.ones(len(layer.weight)) if layer.gain is None else layer.gain
                self.weights[layer.name] = _parameter(layer.weight)
                self.biases[layer.name] = _parameter(layer.bias)
                self.gains[layer.name] = _parameter(gain)
        for op in start.ops:
            if isinstance(op, Conv) and op.name in self.plan.rows:
                scale = self.plan.rows[op.name].scale
                source = start.tensor(op.input)
                unit = source.scale * op.product_step(source.scaling)
                self.weights[op.name] = _parameter(
                    op.scaled_weights(None) * scale[:, None, None, None]
                )
                self.biases[op.name] = _parameter(op.requant.bias * scale * unit)

    @property
    def parameters(self) -> list[torch.Tensor]:
        """Everything that learns."""
        return [*self.weights.values(), *self.biases.values(), *self.gains.values()]

    def refresh(self, inputs: Mapping[str, np.ndarray]) -> None:
        """Find formats of rows and all scales anew, by the recipe, from what was learnt."""
        plain = replace(self.recipe, error_feedback=False)
        self.plan = Plan.of(quantize(self.graph(), inputs, plain))

    def rounded(self, op: FloatConv) -> torch.Tensor:
        """Return the weights of ``op`` rounded, with their gradient."""
        if op.name not in self.weights:
            return torch.from_numpy(op.weight).to(torch.float32)
        weight = self.weights[op.name]
        if op.distance:
            return self.rounded_distances(op, weight)
        rows = self.plan.rows[op.name]
        low, high = (
            np.array([[getattr(fmt, end)] for fmt in rows.formats]) * rows.step
            for end in ("low", "high")
        )
        grid = rows.round(flat_rows(weight)) * rows.step
        least, most, target = (
            torch.from_numpy(values.reshape(op.weight.shape)).to(torch.float32)
            for values in (low, high, grid)
        )
        return pass_gradient(weight, target, least, most, self.weight_gradient)

    def rounded_distances(self, op: FloatConv, weight: torch.Tensor) -> torch.Tensor:
        """Return the weights of an adder layer in the step of its input, with their gradient."""
        step = self.plan.grids[op.input].scale
        high = DISTANCE_WEIGHTS.high * step
        rounded = torch.round(weight.detach().clamp(-high, high) / step) * step
        return pass_gradient(weight, rounded, -high, high, self.weight_gradient)

    def settle(self, name: str, value: torch.Tensor) -> torch.Tensor:
        """Return ``value`` rounded to the grid of the tensor ``name``.

        Scales of vectors are those of this value, and held fixed: gradients pass elements.
        """
        grid = self.plan.grids[name]
        low, high = (end * grid.scale for end in grid.ends)
        if grid.scaling is None:
            rounded = torch.round(value.detach().clamp(low, high) / grid.scale) * grid.scale
        else:
            rounded = torch.from_numpy(grid.settle(value.detach().numpy())).to(value.dtype)
        return pass_gradient(value, rounded, low, high, self.activation_gradient)

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return every tensor, (N, C, H, W), as the integer network would have it."""
        values = {name: self.settle(name, value) for name, value in inputs.items()}
        for op in self.source.ops:
            if isinstance(op, MaxPool):
                value = pool_float(op, values[op.input])
                scaled = self.plan.grids[op.output].scaling is not None
                values[op.output] = self.settle(op.output, value) if scaled else value
            elif isinstance(op, Concat):
                values[op.output] = torch.cat([values[name] for name in op.inputs], dim=1)
            elif isinstance(op, Interleave):
                values[op.output] = interleave_float(op, values)
            else:
                value = self.convolve(op, self.rounded(op), values)
                value = value if op.function is None else op.function(value)
                values[op.output] = self.settle(op.output, value)
        return values

    def convolve(
        self, op: FloatConv, weight: torch.Tensor, values: Mapping[str, torch.Tensor]
    ) -> torch.Tensor:
        """Return the output of ``op`` before its function and rounding."""
        bias = self.biases.get(op.name, torch.from_numpy(op.bias).to(torch.float32))
        window = op.window
        if op.distance:
            sums = distances(pad_float(values[op.input], window, 0.0), weight, window, op.groups)
            v = sums * self.gains[op.name][:, None, None] + bias[:, None, None]
            return finish_float(op, v, None if op.residual is None else values[op.residual])
        v = torch.nn.functional.conv2d(
            pad_float(values[op.input], window, 0.0),
            weight,
            bias,
            window.stride,
            0,
            window.dilation,
            op.groups,
        )
        residual = None if op.residual is None else values[op.residual]
        return finish_float(op, v, residual)

    def graph(self) -> FloatGraph:
        """Return the source graph with the learnt weights."""
        ops: list[FloatOp] = []
        for op in self.source.ops:
            if isinstance(op, FloatConv) and op.name in self.weights:
                weight = self.weights[op.name].detach().to(torch.float64).numpy()
                bias = self.biases[op.name].detach().to(torch.float64).numpy()
                gain = op.gain
                if op.distance:
                    gain = self.gains[op.name].detach().to(torch.float64).numpy().copy()
                ops.append(replace(op, weight=weight.copy(), bias=bias.copy(), gain=gain))
            else:
                ops.append(op)
        return replace(self.source, ops=tuple(ops))


def flat_rows(weight: torch.Tensor) -> np.ndarray:
    """Return a weight tensor as float64 (O, K)."""
    rows: np.ndarray = weight.detach().to(torch.float64).numpy().reshape(len(weight), -1)
    return rows


def _parameter(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values.copy()).to(torch.float32).requires_grad_(True)
