"""Networks of adder and of shift layers for the small workloads, trained in seconds to minutes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from celosia.models.addernet import AdderConv2d, ShiftConv2d, ShiftMode, adapt_rates
from celosia.models.blueprint import DIGITS, Blueprint, Stage
from celosia.models.threads import single_thread
from celosia.models.zoo import ImageData, Workload

__all__ = [
    "adder_net",
    "adder_workload",
    "shift_add_net",
    "shift_add_workload",
    "train",
]


def adder_net(blueprint: Blueprint = DIGITS) -> nn.Sequential:
    """Return an AdderNet: a convolution first and last, adder layers between (section 4).

    Raises ``ValueError`` for residual stages.
    """
    first, *others = blueprint.stages
    channels = first.channels
    modules: list[nn.Module] = [
        nn.Conv2d(blueprint.shape[0], channels, *_window(first), bias=False),
        *_behind(first),
    ]
    for stage in others:
        modules += [AdderConv2d(channels, stage.channels, *_window(stage)), *_behind(stage)]
        channels = stage.channels
    edge = _edge(blueprint)
    modules += [nn.Flatten(), nn.Linear(channels * edge * edge, blueprint.classes)]
    return nn.Sequential(*modules)


def shift_add_net(blueprint: Blueprint = DIGITS, mode: ShiftMode = ShiftMode.Q) -> nn.Sequential:
    """Return a ShiftAddNet: shift layers, each but the first and last before an adder layer.

    Raises ``ValueError`` for residual stages.
    """
    first, *others = blueprint.stages
    channels = first.channels
    modules: list[nn.Module] = [
        ShiftConv2d(blueprint.shape[0], channels, *_window(first), mode=mode),
        *_behind(first),
    ]
    for stage in others:
        width = stage.channels
        modules += [
            ShiftConv2d(channels, width, *_window(stage), mode=mode),
            AdderConv2d(width, width, stage.kernel, padding=stage.kernel // 2),
            *_behind(stage),
        ]
        channels = width
    last = ShiftConv2d(channels, blueprint.classes, _edge(blueprint), mode=mode)
    modules += [last, nn.BatchNorm2d(blueprint.classes), nn.Flatten()]
    return nn.Sequential(*modules)


def _window(stage: Stage) -> tuple[int, int, int]:
    """Return kernel, stride and padding."""
    if stage.residual:
        raise ValueError("networks of adder and shift layers have no residual stages")
    return stage.kernel, stage.stride, stage.kernel // 2


def _behind(stage: Stage) -> list[nn.Module]:
    pool = [nn.MaxPool2d(2)] if stage.pool else []
    return [nn.BatchNorm2d(stage.channels), nn.ReLU(), *pool]


def _edge(blueprint: Blueprint) -> int:
    """Return the height and width of what the last stage gives."""
    _, height, width = blueprint.features
    if height != width:
        raise ValueError(f"the stages must leave a square, not {height} x {width}")
    return height


def adder_workload(
    data: ImageData, blueprint: Blueprint, epochs: int = 10, seed: int = 0
) -> Workload:
    """Train :func:`adder_net`; the same seed gives the same weights on the same machine."""
    return _trained("adder", lambda: adder_net(blueprint), data, epochs, seed)


def shift_add_workload(
    data: ImageData,
    blueprint: Blueprint,
    epochs: int = 10,
    seed: int = 0,
    mode: ShiftMode = ShiftMode.Q,
) -> Workload:
    """Train :func:`shift_add_net`, as :func:`adder_workload`."""
    return _trained("shift_add", lambda: shift_add_net(blueprint, mode), data, epochs, seed)


def _trained(
    name: str, network: Callable[[], nn.Module], data: ImageData, epochs: int, seed: int
) -> Workload:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = network()
        images, labels = data.part(test=False)
        train(model, torch.from_numpy(images), torch.from_numpy(labels), epochs)
    return data.workload(name, model)


def train(model: nn.Module, images: torch.Tensor, labels: torch.Tensor, epochs: int) -> None:
    """Train ``model`` on its classes: momentum, a cosine, adaptive rates for adder layers."""
    batch = 64
    steps = epochs * -(-len(images) // batch)
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    cosine = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    model.train()
    with single_thread():
        for _ in range(epochs):
            for chosen in torch.split(torch.randperm(len(images)), batch):
                optimiser.zero_grad()
                loss = nn.functional.cross_entropy(model(images[chosen]), labels[chosen])
                torch.autograd.backward(loss)
                adapt_rates(model.modules())
                optimiser.step()
                cosine.step()
    model.eval()
