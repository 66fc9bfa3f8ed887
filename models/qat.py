"""Quantisation-aware fine-tuning with a straight-through estimator.

Training starts from the quantised network: its weights and activations stay on the very
grids that they have in integers; the gradient passes the rounding as if it were not there (Bengio
et al., 2013) and stops where an activation saturates. The teacher is the float graph
itself, so no labels are needed; labels help where there are some.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from celosia.models.errors import CelosiaError
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
from celosia.models.network import Concat, Conv, MaxPool, Network
from celosia.models.quantize import (
    Plan,
    check_calibration,
    dequantise,
    quantise_inputs,
    quantize,
)
from celosia.models.recipe import Recipe
from celosia.models.threads import single_thread


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How long and how fast to train.

    ``epochs`` passes over the calibration data in batches of ``batch`` samples, learning
    rate falling from ``learning_rate`` (a share of each parameter's magnitude) to 0 along
    a cosine. The same ``seed`` gives the same network on the same machine.
    """

    epochs: int = 10
    batch: int = 32
    learning_rate: float = 3e-2
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
    start = quantize(graph, inputs, recipe)
    teacher = {name: values[name] for name in graph.outputs}
    student = _Student(graph, start)
    if not student.parameters:
        raise CelosiaError("the model has no weights to fine-tune: quantise it without epochs")
    with single_thread():
        _train(student, tensors, teacher, schedule, labels, graph.outputs[head])
    networks = [start, quantize(student.graph(), inputs, recipe, student.plan)]
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
        {"params": [parameter], "lr": schedule.learning_rate * _level(parameter)}
        for parameter in student.parameters
    ]
    optimiser = torch.optim.Adam(groups)
    steps = schedule.epochs * -(-count // schedule.batch)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    spread = {name: float(value.var()) + 1e-12 for name, value in teacher.items()}
    for _ in range(schedule.epochs):
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

    def __init__(self, graph: FloatGraph, start: Network) -> None:
        self.source = graph
        self.plan = Plan.of(start)
        self.weights: dict[str, torch.Tensor] = {}
        self.biases: dict[str, torch.Tensor] = {}
        for op in start.ops:
            if isinstance(op, Conv) and op.useful:
                scale = self.plan.rows[op.name].scale
                unit = start.tensor(op.input).scale
                real = op.scaled_weights(None) * scale[:, None, None, None]
                self.weights[op.name] = _parameter(real)
                self.biases[op.name] = _parameter(op.requant.bias * scale * unit)

    @property
    def parameters(self) -> list[torch.Tensor]:
        """Everything that learns."""
        return [*self.weights.values(), *self.biases.values()]

    def rounded(self, op: FloatConv) -> torch.Tensor:
        """Return the weights of ``op`` rounded, with the gradient passed through."""
        if op.name not in self.weights:
            return torch.from_numpy(op.weight).to(torch.float32)
        weight = self.weights[op.name]
        rows = self.plan.rows[op.name]
        grid = rows.round(_rows(weight)) * rows.step
        target = torch.from_numpy(grid.reshape(op.weight.shape)).to(torch.float32)
        return weight + (target - weight).detach()

    def settle(self, name: str, value: torch.Tensor) -> torch.Tensor:
        """Return ``value`` rounded to the grid of the tensor ``name``."""
        grid = self.plan.grids[name]
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


def _level(parameter: torch.Tensor) -> float:
    """Return the root mean square of ``parameter``, but not 0."""
    return max(float(parameter.detach().square().mean().sqrt()), 1e-3)


def _rows(weight: torch.Tensor) -> np.ndarray:
    """Return a weight tensor as float64 (O, K)."""
    rows: np.ndarray = weight.detach().to(torch.float64).numpy().reshape(len(weight), -1)
    return rows
