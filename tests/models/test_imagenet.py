from __future__ import annotations

import numpy as np

from celosia.models.golden import evaluate
from celosia.models.imagenet import ResNet18, mobilenet_v2, resnet18
from celosia.models.mobilenet import MobileNetV2
from celosia.models.network import Conv
from celosia.models.random_network import random_inputs


def test_resnet18_has_the_published_size() -> None:
    # He et al. give no count; that of their released model, batch normalisation included.
    assert sum(weights.numel() for weights in ResNet18().parameters()) == 11_689_512


def test_resnet18_is_imported_whole() -> None:
    network = resnet18(64, width=4)
    convolutions = [op for op in network.ops if isinstance(op, Conv)]
    # 20 convolutions, global average pooling, a linear layer.
    assert len(convolutions) == 22
    assert sum(op.residual is not None for op in convolutions) == 8
    values = evaluate(network, random_inputs(network, 1, 0))[network.outputs[0]]
    assert values.shape == (1, 1000, 1, 1)
    assert len(np.unique(values)) > 10


def test_mobilenet_v2_has_the_published_size() -> None:
    # Sandler et al., table 4: 3.4 M; the released model has, batch normalisation included:
    assert sum(weights.numel() for weights in MobileNetV2().parameters()) == 3_504_872


def test_mobilenet_v2_is_imported_whole() -> None:
    network = mobilenet_v2(64, width=2)
    convolutions = [op for op in network.ops if isinstance(op, Conv)]
    # 52 convolutions, global average pooling, a linear layer.
    assert len(convolutions) == 54
    assert sum(op.residual is not None for op in convolutions) == 10
    assert sum(op.groups > 1 and op.window.kernel == (3, 3) for op in convolutions) == 17
    # ReLU6 is a clip: that of the stem, of each widening and depthwise one, of the last.
    assert sum(op.requant.low == 0 for op in convolutions) >= 35
    values = evaluate(network, random_inputs(network, 1, 0))[network.outputs[0]]
    assert values.shape == (1, 1000, 1, 1)
    assert len(np.unique(values)) > 10
