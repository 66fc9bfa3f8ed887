"""What trains on the output of a float graph, and what it is trained towards."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch

from celosia.models.errors import CelosiaError
from celosia.models.golden import evaluate
from celosia.models.graph import FloatGraph, evaluate_float
from celosia.models.inputs import dequantise, quantise_inputs
from celosia.models.network import Network


class Trainee(Protocol):
    """What learns: its parameters, and what it makes of a batch."""

    @property
    def parameters(self) -> Sequence[torch.Tensor]:
        """Everything that learns."""
        ...

    def forward(self, inputs: Mapping[str, torch.Tensor]) -> Mapping[str, torch.Tensor]:
        """Return tensors by name, the outputs among them."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Goal:
    """What outputs should be: the float graph's, and of one of them the classes, if known.

    ``teacher`` holds the float graph's outputs (N, C, 1, 1) by name, ``labels`` the classes, int64
    (N,), that the output ``head`` should give.
    """

    teacher: Mapping[str, torch.Tensor]
    labels: torch.Tensor | None
    head: str

    @classmethod
    def of(
        cls,
        graph: FloatGraph,
        inputs: Mapping[str, torch.Tensor],
        labels: np.ndarray | None,
        head: int,
    ) -> Goal:
        """Return what ``graph`` makes of ``inputs``, with the classes of its output ``head``.

        Raises :class:`CelosiaError` if the labels, or the position, do not fit.
        """
        count = len(next(iter(inputs.values())))
        if labels is not None and (labels.shape != (count,) or labels.dtype != np.int64):
            raise CelosiaError(
                f"labels must be int64 of shape ({count},), not {labels.dtype} of {labels.shape}"
            )
        if not 0 <= head < len(graph.outputs):
            raise CelosiaError(f"head must be the position of an output, not {head}")
        with torch.no_grad():
            values = evaluate_float(graph, inputs)
        return cls(
            teacher={name: values[name] for name in graph.outputs},
            labels=None if labels is None else torch.from_numpy(labels),
            head=graph.outputs[head],
        )

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


def train(
    trainee: Trainee,
    inputs: Mapping[str, torch.Tensor],
    goal: Goal,
    *,
    epochs: int,
    batch: int,
    learning_rate: float,
    seed: int,
    before: Callable[[int], None] = lambda epoch: None,
) -> None:
    """Train ``trainee`` towards ``goal`` with Adam, whose rate falls to 0 along a cosine.

    Parameters
    ----------
    trainee, inputs, goal
        What learns, from which samples (N, C, H, W) by input, and what.
    epochs, batch
        Passes over the samples, and how many of them make a step.
    learning_rate
        As a share of each parameter's magnitude.
    seed
        Of the order of samples.
    before
        Called with its number before each epoch.
    """
    generator = torch.Generator().manual_seed(seed)
    count = len(next(iter(inputs.values())))
    groups = [
        {"params": [parameter], "lr": learning_rate * _level(parameter)}
        for parameter in trainee.parameters
    ]
    optimiser = torch.optim.Adam(groups)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, epochs * -(-count // batch))
    for epoch in range(epochs):
        before(epoch)
        for chosen in torch.split(torch.randperm(count, generator=generator), batch):
            outputs = trainee.forward({name: data[chosen] for name, data in inputs.items()})
            optimiser.zero_grad()
            torch.autograd.backward(goal.loss(outputs, chosen))
            optimiser.step()
            cosine.step()


def _level(parameter: torch.Tensor) -> float:
    """Return the root mean square of ``parameter``, but not 0."""
    return max(float(parameter.detach().square().mean().sqrt()), 1e-3)
