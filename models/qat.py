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
from celosia.models.gradients import Gradient
from celosia.models.graph import FloatGraph
from celosia.models.network import Network
from celosia.models.quantize import check_calibration, quantize
from celosia.models.recipe import Recipe
from celosia.models.student import Student
from celosia.models.threads import single_thread
from celosia.models.training import Goal, train

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
    tensors = {name: torch.from_numpy(data) for name, data in inputs.items()}
    goal = Goal.of(graph, tensors, labels, head)
    few = {name: data[:CALIBRATED] for name, data in inputs.items()}
    start = quantize(graph, few, recipe)
    student = Student(graph, start, recipe, schedule.weight_gradient, schedule.activation_gradient)
    if not student.parameters:
        raise CelosiaError("the model has no weights to fine-tune: quantise it without epochs")
    with single_thread():
        train(
            student,
            tensors,
            goal,
            epochs=schedule.epochs,
            batch=schedule.batch,
            learning_rate=schedule.learning_rate,
            seed=schedule.seed,
            before=lambda epoch: _refresh(student, few, schedule, epoch),
        )
        networks = [start, quantize(student.graph(), few, recipe, student.plan)]
        return min(networks, key=lambda network: goal.judge(network, few))


def _refresh(
    student: Student, few: Mapping[str, np.ndarray], schedule: Schedule, epoch: int
) -> None:
    """Find formats and scales anew where the schedule says so."""
    # Not in the second half: the weights have to settle on their grids.
    if 0 < 2 * epoch < schedule.epochs and schedule.refresh and epoch % schedule.refresh == 0:
        student.refresh(few)
