"""Random Precision Switch: training and inference at precisions drawn at random, and attacks.

Double-Win Quant (ICML 2021, section 3), on which the 2-in-1 accelerator (MICRO 2021) builds: a
network that computes each input at a random width is hard to attack, since what fools it at one
width fails at another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from celosia.models.lfsr import draws
from celosia.models.switchable import SwitchableNet
from celosia.models.threads import single_thread


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """Projected gradient descent (Madry et al., 2018) within ``epsilon`` of each pixel.

    Starts uniformly within it and takes ``steps`` steps of ``step``; pixels are real numbers of
    0 to 1. The defaults are the published ones for CIFAR.
    """

    epsilon: float = 8 / 255
    step: float = 2 / 255
    steps: int = 7

    def __post_init__(self) -> None:
        if not (self.epsilon > 0 and self.step > 0 and self.steps >= 1):
            raise ValueError(f"epsilon, step and steps must be positive: {self!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """Stochastic gradient descent with momentum 0.9 and weight decay, along a cosine.

    ``seed`` (1..65535) is that of the precisions' generator too. With ``attack`` every batch is
    attacked at the width that it is then learnt at.
    """

    epochs: int = 10
    batch: int = 64
    learning_rate: float = 0.1
    weight_decay: float = 5e-4
    seed: int = 1
    attack: Attack | None = None

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch < 2 or not self.learning_rate > 0:
            raise ValueError(
                f"epochs and learning_rate must be positive and batch at least 2: {self!r}"
            )


def train_switchable(
    model: SwitchableNet, images: torch.Tensor, labels: torch.Tensor, training: Training
) -> None:
    """Train ``model``: every batch at a width drawn from its widths.

    Afterwards the statistics of every width's normalisations, and the running ranges, are taken
    from the training images once more, since a short training draws some widths seldom. The same
    seed gives the same weights on the same machine.

    Parameters
    ----------
    model
        The network; it is changed, and left in evaluation mode.
    images, labels
        float32 (N, C, H, W) and int64 (N,).
    training
        How long and how fast.
    """
    per_epoch = len(images) // training.batch
    if per_epoch < 1:
        raise ValueError(f"a batch of {training.batch} needs as many images, not {len(images)}")
    generator = torch.Generator().manual_seed(training.seed)
    steps = per_epoch * training.epochs
    optimiser = torch.optim.SGD(
        model.parameters(), training.learning_rate, 0.9, weight_decay=training.weight_decay
    )
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    chosen_widths = iter(draws(training.seed, steps, len(model.widths)))
    with single_thread():
        model.train()
        for _ in range(training.epochs):
            order = torch.randperm(len(images), generator=generator)
            for batch in torch.split(order, training.batch)[:per_epoch]:
                width = model.widths[next(chosen_widths)]
                x, y = images[batch], labels[batch]
                if training.attack is not None:
                    x = perturb(model, x, y, training.attack, (width,), generator)
                optimiser.zero_grad()
                torch.autograd.backward(nn.functional.cross_entropy(model(x, width), y))
                optimiser.step()
                cosine.step()
        settle(model, images, training.batch)
    model.eval()


def settle(model: SwitchableNet, images: torch.Tensor, batch: int) -> None:
    """Give every width's normalisations the mean statistics over the full batches of ``images``.

    The range of scores becomes that of all batches: unlike activations they should not saturate.
    """
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean of all batches
    full = images[: len(images) // batch * batch]
    with torch.no_grad():
        scores = torch.cat(
            [model(part, width) for width in model.widths for part in torch.split(full, batch)]
        )
    model.scores.low, model.scores.span = scores.min(), scores.max() - scores.min()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def perturb(
    model: SwitchableNet,
    images: torch.Tensor,
    labels: torch.Tensor,
    attack: Attack,
    widths: Sequence[int],
    generator: torch.Generator,
) -> torch.Tensor:
    """Return ``images`` changed so that ``model`` mistakes them, still in 0..1.

    Each step follows the sign of the gradient of the loss, averaged over ``widths``: one width
    for an attack on that one, all of them for one that takes the random switch into account
    (expectation over transformation).
    """
    noise = torch.rand(images.shape, generator=generator) * 2 - 1
    delta = noise * attack.epsilon
    for _ in range(attack.steps):
        attacked = (images + delta).clamp(0, 1).requires_grad_(True)
        loss = torch.zeros(())
        for width in widths:
            loss = loss + nn.functional.cross_entropy(model(attacked, width), labels)
        (gradient,) = torch.autograd.grad(loss, attacked)
        delta = (delta + attack.step * gradient.sign()).clamp(-attack.epsilon, attack.epsilon)
    return (images + delta).clamp(0, 1)


def random_widths(model: SwitchableNet, count: int, seed: int) -> np.ndarray:
    """Return the width of each of ``count`` inputs, int64, as :mod:`celosia.models.lfsr` draws."""
    choices = np.asarray(model.widths, dtype=np.int64)
    return np.asarray(choices[draws(seed, count, len(choices))])


def infer_random(model: SwitchableNet, images: torch.Tensor, seed: int) -> torch.Tensor:
    """Return scores (N, classes): every image computed at a width of its own, drawn at random."""
    widths = torch.from_numpy(random_widths(model, len(images), seed))
    scores = torch.zeros(len(images), model.classes.out_features)
    with torch.no_grad():
        for width in model.widths:
            chosen = widths == width
            if chosen.any():
                scores[chosen] = model(images[chosen], width)
    return scores
