"""Quantisation-aware fine-tuning with a straight-through estimator.

The float graph is trained with its weights and activations rounded to the very grids that
the integer network has; the gradient passes the rounding as if it were not there (Bengio
et al., 2013) and stops where an activation saturates. The teacher is the float graph
itself, so no labels are needed; labels help where there are some.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from celosia.models.calibrate import Grid, calibrate
from celosia.models.errors import CelosiaError
from celosia.models.formats import Fixed, Format
from celosia.models.golden import evaluate
from celosia.models.graph import (
    FloatConv,
    FloatGraph,
    FloatOp,
    evaluate_float,
    finish_float,
    pad_float,
    pool_float,
)
from celosia.models.network import Concat, MaxPool, Network
from celosia.models.quantize import check_calibration, dequantise, quantise_inputs, quantize
from celosia.models.recipe import Recipe
from celosia.models.round_weights import assign_formats, nearest_rows, search_scales


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How long and how fast to train.

    ``epochs`` passes over the calibration data in batches of ``batch`` samples, learning
    rate falling from ``learning_rate`` (a share of each layer's weight spread) to 0 along
    a cosine. The same ``seed`` gives the same network on the same machine.
    """

    epochs: int = 10
    batch: int = 32
    learning_rate: float = 1e-2
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 1:
            raise ValueError(
                f"epochs and batch must be positive, not {self.epochs!r} and {self.batch!r}"
            )
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be positive, not {self.learning_rate!r}")


def finetune(
    graph: FloatGraph,
    calibration: np.ndarray | Mapping[str, np.ndarray],
    recipe: Recipe,
    schedule: Schedule,
    labels: np.ndarray | None = None,
    head: int = 0,
) -> Network:
    """Fine-tune ``graph`` for ``recipe`` and quantise it.

    Parameters
    ----------
    graph
        The fused float graph; it is not changed.
    calibration
        Training inputs, as for :func:`celosia.models.quantize.quantize`.
    recipe
        Formats and methods.
    schedule
        Length and speed of the training.
    labels
        Classes of the calibration samples, int64 (N,), if known.
    head
        Position of the output that ``labels`` are for.

    Returns
    -------
    The fine-tuned network, or the one that :func:`quantize` gives without training where that
    is nearer to the float graph's outputs on the calibration data.

    Raises
    ------
    CelosiaError
        If data or labels do not fit the graph.
    """
    inputs = check_calibration(graph, calibration)
    count = len(next(iter(inputs.values())))
    if labels is not None and (labels.shape != (count,) or labels.dtype != np.int64):
        raise CelosiaError(f"labels must be int64 of shape ({count},), not {labels.shape}")
    if not 0 <= head < len(graph.outputs):
        raise CelosiaError(f"head must be the position of an output, not {head}")
    tensors = {name: torch.from_numpy(data) for name, data in inputs.items()}
    with torch.no_grad():
        values = evaluate_float(graph, tensors)
    grids = calibrate(graph, values, recipe)
    teacher = {name: values[name] for name in graph.outputs}
    student = _Student(graph, grids, recipe)
    _train(student, tensors, teacher, schedule, labels, graph.outputs[head])
    nearest = replace(recipe, error_feedback=False)
    networks = [
        quantize(student.graph(), inputs, nearest, grids),
        quantize(graph, inputs, recipe),
    ]
    return min(networks, key=lambda network: _distance(network, inputs, teacher))


def _train(
    student: _Student,
    inputs: Mapping[str, torch.Tensor],
    teacher: Mapping[str, torch.Tensor],
    schedule: Schedule,
    labels: np.ndarray | None,
    head: str,
) -> None:
    generator = torch.Generator().manual_seed(schedule.seed)
    count = len(next(iter(inputs.values())))
    groups = [
        {"params": [parameter], "lr": schedule.learning_rate * float(parameter.std(correction=0))}
        for parameter in student.parameters
    ]
    optimiser = torch.optim.Adam(groups)
    steps = schedule.epochs * -(-count // schedule.batch)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    spread = {name: float(value.var()) + 1e-12 for name, value in teacher.items()}
    for _ in range(schedule.epochs):
        student.refresh()
        order = torch.randperm(count, generator=generator)
        for start in range(0, count, schedule.batch):
            chosen = order[start : start + schedule.batch]
            outputs = student.forward({name: data[chosen] for name, data in inputs.items()})
            loss = torch.zeros(())
            for name, wanted in teacher.items():
                error = (outputs[name] - wanted[chosen]) ** 2
                loss = loss + error.mean() / spread[name]
            if labels is not None:
                scores = outputs[head].flatten(1)
                classes = torch.from_numpy(labels)[chosen]
                loss = loss + torch.nn.functional.cross_entropy(scores, classes)
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            optimiser.step()
            cosine.step()


def _distance(
    network: Network, inputs: Mapping[str, np.ndarray], teacher: Mapping[str, torch.Tensor]
) -> float:
    """Return how far the integer network's outputs are from the float ones, relatively."""
    codes = evaluate(network, quantise_inputs(network, inputs))
    total = 0.0
    for name, wanted in teacher.items():
        target = wanted.numpy().astype(np.float64)
        error = dequantise(network, name, codes[name]) - target
        total += float((error**2).mean()) / (float(target.var()) + 1e-12)
    return total


class _Student:
    """A float graph whose weights learn and whose values are rounded."""

    def __init__(self, graph: FloatGraph, grids: Mapping[str, Grid], recipe: Recipe) -> None:
        self.source = graph
        self.grids = grids
        self.recipe = recipe
        self.weights: dict[str, torch.Tensor] = {}
        self.biases: dict[str, torch.Tensor] = {}
        self.formats: dict[str, tuple[Format, ...]] = {}
        self.scales: dict[str, torch.Tensor] = {}
        for op in graph.ops:
            if isinstance(op, FloatConv) and op.useful:
                self.weights[op.name] = _parameter(op.weight)
                self.biases[op.name] = _parameter(op.bias)

    @property
    def parameters(self) -> list[torch.Tensor]:
        """Everything that learns."""
        return [*self.weights.values(), *self.biases.values()]

    def refresh(self) -> None:
        """Choose formats and scales anew for the present weights, as quantisation will."""
        for op in self.source.ops:
            if isinstance(op, FloatConv) and op.name in self.weights:
                rows = _rows(self.weights[op.name])
                edge = op.input in self.source.inputs or op.output in self.source.outputs
                wide = edge and self.recipe.first_last_8bit
                formats: tuple[Format, ...] = (Fixed(bits=8),) * len(rows)
                if not wide:
                    formats = assign_formats(rows, self.recipe)
                scale = search_scales(rows, formats)
                self.formats[op.name] = formats
                self.scales[op.name] = torch.from_numpy(np.where(scale > 0, scale, 1.0))

    def rounded(self, op: FloatConv) -> torch.Tensor:
        """Return the weights of ``op`` rounded, with the gradient passed through."""
        if op.name not in self.weights:
            return torch.from_numpy(op.weight).to(torch.float32)
        weight = self.weights[op.name]
        scale = self.scales[op.name].numpy()[:, None]
        grid = nearest_rows(_rows(weight) / scale, self.formats[op.name]) * scale
        target = torch.from_numpy(grid.reshape(op.weight.shape)).to(torch.float32)
        return weight + (target - weight).detach()

    def settle(self, name: str, value: torch.Tensor) -> torch.Tensor:
        """Return ``value`` rounded to the grid of the tensor ``name``."""
        grid = self.grids[name]
        limited = value.clamp(grid.format.low * grid.scale, grid.format.high * grid.scale)
        rounded = torch.round(limited / grid.scale) * grid.scale
        return limited + (rounded - limited).detach()

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        values = {name: self.settle(name, value) for name, value in inputs.items()}
        for op in self.source.ops:
            if isinstance(op, MaxPool):
                values[op.output] = pool_float(op, values[op.input])
            elif isinstance(op, Concat):
                values[op.output] = torch.cat([values[name] for name in op.inputs], dim=1)
            else:
                value = self.convolve(op, values)
                values[op.output] = self.settle(op.output, value)
        return values

    def convolve(self, op: FloatConv, values: Mapping[str, torch.Tensor]) -> torch.Tensor:
        bias = self.biases.get(op.name, torch.from_numpy(op.bias).to(torch.float32))
        window = op.window
        v = torch.nn.functional.conv2d(
            pad_float(values[op.input], window, 0.0),
            self.rounded(op),
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
                ops.append(replace(op, weight=weight.copy(), bias=bias.copy()))
            else:
                ops.append(op)
        return replace(self.source, ops=tuple(ops))


def _parameter(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values).to(torch.float32).requires_grad_(True)


def _rows(weight: torch.Tensor) -> np.ndarray:
    """Return a weight tensor as float64 (O, K)."""
    rows: np.ndarray = weight.detach().to(torch.float64).numpy().reshape(len(weight), -1)
    return rows
