"""Small networks of adder and shift layers that read scikit-learn's digits, trained in seconds."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from celosia.models.addernet import AdderConv2d, ShiftConv2d, ShiftMode, adapt_rates
from celosia.models.threads import single_thread
from celosia.models.zoo import Workload, digit_data

__all__ = ["adder_digits", "adder_net", "shift_add_digits", "shift_add_net", "train"]


def adder_net() -> nn.Sequential:
    """Return an AdderNet: a convolution first and last, adder layers between (section 4)."""
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
        AdderConv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
        AdderConv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(128, 10),
    )  # fmt: skip


def shift_add_net(mode: ShiftMode = ShiftMode.Q) -> nn.Sequential:
    """Return a ShiftAddNet: shift layers, each but the first and last before an adder layer."""

    def block(inputs: int, outputs: int) -> list[nn.Module]:
        shift = ShiftConv2d(inputs, outputs, 3, padding=1, mode=mode)
        add = AdderConv2d(outputs, outputs, 3, padding=1)
        return [shift, add, nn.BatchNorm2d(outputs), nn.ReLU(), nn.MaxPool2d(2)]

    return nn.Sequential(
        ShiftConv2d(1, 16, 3, padding=1, mode=mode), nn.BatchNorm2d(16), nn.ReLU(),
        *block(16, 16), *block(16, 32),
        ShiftConv2d(32, 10, 2, mode=mode), nn.BatchNorm2d(10), nn.Flatten(),
    )  # fmt: skip


def adder_digits(epochs: int = 10, seed: int = 0) -> Workload:
    """Train :func:`adder_net`; the same seed gives the same weights on the same machine."""
    return _digits("digits_adder", adder_net, epochs, seed)


def shift_add_digits(epochs: int = 10, seed: int = 0, mode: ShiftMode = ShiftMode.Q) -> Workload:
    """Train :func:`shift_add_net`, as :func:`adder_digits`."""
    return _digits("digits_shift_add", lambda: shift_add_net(mode), epochs, seed)


def _digits(name: str, network: Callable[[], nn.Module], epochs: int, seed: int) -> Workload:
    data = digit_data()
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = network()
        train_images, train_labels = data.part(test=False)
        train(model, torch.from_numpy(train_images), torch.from_numpy(train_labels), epochs)
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
