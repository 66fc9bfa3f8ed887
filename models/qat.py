"""Quantisation-aware fine-tuning, for every format.

Training starts from the quantised network: its weights and activations stay on the very
grids that they have in integers, whose scales follow the weights; what the gradient of a rounding
is taken to be is :class:`~celosia.models.gradients.Gradient`. The teacher is the float graph
itself, so
no labels are needed; labels help where there are some.

Shift layers learn the numbers that their powers of two are rounded from (DeepShift-Q); adder
layers learn with AdderNet's own gradients. Its adaptive rates, which make a layer's step
independent of the size of its gradients, are a matter of the optimiser here: Adam's steps do
not depend on it in any layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from celosia.models.errors import CelosiaError
from celosia.models.golden import evaluate
from celosia.models.gradients import Gradient
from celosia.models.graph import FloatGraph, evaluate_float
from celosia.models.network import Network
from celosia.models.quantize import check_calibration, dequantise, quantise_inputs, quantize
from celosia.models.recipe import Recipe
from celosia.models.student import Student
from celosia.models.threads import single_thread

CALIBRATED = 512
"""Most samples that scales are found on, and that two networks are compared on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How to train.

    Attributes
    ----------
    epochs
        Passes over the calibration data.
    batch
        Samples of a step.
    learning_rate
        As a share of each parameter's magnitude; it falls to 0 along a cosine.
    seed
        Of the order of samples: the same one gives the same network on the same machine.
    weight_gradient, activation_gradient
        What the gradients of the roundings are taken to be. OCTAV's authors take the
        magnitude-aware one for weights.
    refresh
        Epochs after which the formats of rows and all scales are found anew, in the first half
        of the training (RMSMP reassigns rows every 10 of its 300); 0 for never.
    """

    epochs: int = 10
    batch: int = 32
    learning_rate: float = 3e-2
    seed: int = 0
    weight_gradient: Gradient = Gradient.STRAIGHT_THROUGH
    activation_gradient: Gradient = Gradient.PIECEWISE_LINEAR
    refresh: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 1:
            raise ValueError(
                f"epochs and batch must be positive, not {self.epochs!r} and {self.batch!r}"
            )
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be positive, not {self.learning_rate!r}")
        if self.refresh < 0:
            raise ValueError(f"refresh must not be negative, not {self.refresh!r}")
        for field in ("weight_gradient", "activation_gradient"):
            if not isinstance(getattr(self, field), Gradient):
                raise TypeError(f"{field} must be a Gradient, not {getattr(self, field)!r}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Goal:
    """What outputs should be: the float graph's, and of one of them the classes, if known."""

    teacher: Mapping[str, torch.Tensor]
    labels: torch.Tensor | None
    head: str

    def loss(
        self, outputs: Mapping[str, torch.Tensor], chosen: torch.Tensor | slice
    ) -> torch.Tensor:
        """Return the mean loss of ``outputs`` for the samples ``chosen``."""
        loss = torch.zeros(())
        for name, wanted in self.teacher.items():
            error = (outputs[name] - wanted[chosen]) ** 2
            loss = loss + error.mean() / (float(wanted.var()) + 1e-12)
        if self.labels is not None:
            scores = outputs[self.head].flatten(1)
            loss = loss + torch.nn.functional.cross_entropy(scores, self.labels[chosen])
        return loss

    def judge(self, network: Network, inputs: Mapping[str, np.ndarray]) -> float:
        """Return the loss of an integer network."""
        codes = evaluate(network, quantise_inputs(network, inputs))
        outputs = {
            name: torch.from_numpy(dequantise(network, name, codes[name])) for name in self.teacher
        }
        return float(self.loss(outputs, slice(0, len(next(iter(inputs.values()))))))


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
    has the smaller loss on the calibration data.

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
    few = {name: data[:CALIBRATED] for name, data in inputs.items()}
    start = quantize(graph, few, recipe)
    goal = _Goal(
        teacher={name: values[name] for name in graph.outputs},
        labels=None if labels is None else torch.from_numpy(labels),
        head=graph.outputs[head],
    )
    student = Student(graph, start, recipe, schedule.weight_gradient, schedule.activation_gradient)
    if not student.parameters:
        raise CelosiaError("the model has no weights to fine-tune: quantise it without epochs")
    with single_thread():
        _train(student, tensors, few, goal, schedule)
        networks = [start, quantize(student.graph(), few, recipe, student.plan)]
        return min(networks, key=lambda network: goal.judge(network, few))


def _train(
    student: Student,
    inputs: Mapping[str, torch.Tensor],
    few: Mapping[str, np.ndarray],
    goal: _Goal,
    schedule: Schedule,
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
    for epoch in range(schedule.epochs):
        # Not in the second half: the weights have to settle on their grids.
        if 0 < 2 * epoch < schedule.epochs and schedule.refresh and epoch % schedule.refresh == 0:
            student.refresh(few)
        for chosen in torch.split(torch.randperm(count, generator=generator), schedule.batch):
            outputs = student.forward({name: data[chosen] for name, data in inputs.items()})
            optimiser.zero_grad()
            torch.autograd.backward(goal.loss(outputs, chosen))
            optimiser.step()
            cosine.step()


def _level(parameter: torch.Tensor) -> float:
    """Return the root mean square of ``parameter``, but not 0."""
    return max(float(parameter.detach().square().mean().sqrt()), 1e-3)
