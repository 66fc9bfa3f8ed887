"""Random QDQ networks: every code of the imported network against onnxruntime's."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from celosia.models.integer.grids import Imported
from celosia.models.onnx_import.importer import import_quantised_onnx

from .builders import Made
from .test_quantised import codes, differing

Step = Callable[["Drawn", str], str]


class Drawn:
    """Draws a network of quantised operators; all scales are powers of two.

    Zero points are even where there are any: onnxruntime rounds halves before it adds them.
    """

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.kind = [np.int8, np.uint8][seed % 2]
        self.zero = 0 if seed % 4 < 2 else int(2 * self.random.integers(-9, 20)) % 50
        self.channels, self.size = 4, 8
        self.made = Made((1, self.channels, self.size, self.size))
        self.scales: dict[str, float] = {}
        self.value = self.coded("x", 2.0**-4)

    def coded(self, value: str, scale: float | None = None) -> str:
        scale = 2.0 ** int(self.random.integers(-5, -2)) if scale is None else scale
        return self.made.coded(value, scale, self.zero, self.kind)

    def weights(self, *shape: int, axis: int = 0) -> str:
        """Return weights whose sums stay in range, with a scale or several."""
        stored = codes(-127, 128, *shape, seed=int(self.random.integers(1 << 30)))
        rows = shape[axis] if self.random.random() < 0.5 else 1
        scale = 2.0 ** self.random.integers(-9, -6, rows)
        kinds = self.made.const(stored, np.int8), self.made.const(scale if rows > 1 else scale[0])
        if rows > 1:
            return self.made.node("DequantizeLinear", *kinds, axis=axis)
        return self.made.node("DequantizeLinear", *kinds)

    def draw(self, steps: int) -> None:
        for _ in range(steps):
            names = [name for name, _, fits in STEPS if fits(self)]
            name = str(self.random.choice(names))
            made = next(step for other, step, _ in STEPS if other == name)(self, self.value)
            self.value = self.coded(made)
        flat = self.made.node("Flatten", self.value)
        inner = self.channels * self.size * self.size
        if self.random.random() < 0.5:
            out = self.made.node("Gemm", flat, self.weights(5, inner), transB=1)
        else:
            out = self.made.node("Gemm", flat, self.weights(inner, 5, axis=1))
        self.made.node("QuantizeLinear", out, *self.made.scalar(0.5, self.zero, self.kind))


def convolution(net: Drawn, value: str) -> str:
    kernel, stride = int(net.random.integers(1, 4)), int(net.random.integers(1, 3))
    groups = int(net.random.choice([n for n in (1, 2, net.channels) if net.channels % n == 0]))
    rows = groups * int(net.random.integers(1, 7 // min(groups, 3)))
    weight = net.weights(rows, net.channels // groups, kernel, kernel)
    ways: tuple[dict[str, Any], ...] = (
        {"auto_pad": "SAME_UPPER"},
        {"auto_pad": "SAME_LOWER"},
        {"pads": [kernel // 2] * 4},
    )
    way = ways[int(net.random.integers(3))]
    net.size = -(-net.size // stride) if "pads" not in way else (
        (net.size + 2 * (kernel // 2) - kernel) // stride + 1)  # fmt: skip
    net.channels = rows
    return net.made.node("Conv", value, weight, group=groups, strides=[stride] * 2, **way)


def transposed(net: Drawn, value: str) -> str:
    kernel, rows = int(net.random.integers(2, 4)), int(net.random.integers(1, 5))
    weight = net.weights(net.channels, rows, kernel, kernel, axis=1)
    net.channels, net.size = rows, 2 * (net.size - 1) + kernel
    return net.made.node("ConvTranspose", value, weight, strides=[2, 2])


def resize(net: Drawn, value: str) -> str:
    net.size *= 2
    mode = str(net.random.choice(["nearest", "linear"]))
    return net.made.node("Resize", value, "", net.made.const([1, 1, 2, 2]), mode=mode)


def pool(net: Drawn, value: str) -> str:
    kind = str(net.random.choice(["MaxPool", "AveragePool"]))
    net.size //= 2
    return net.made.node(kind, value, kernel_shape=[2, 2], strides=[2, 2])


def activation(net: Drawn, value: str) -> str:
    kind = str(net.random.choice(["Relu", "Clip", "LeakyRelu", "PRelu"]))
    made = net.made
    if kind == "Clip":
        return made.node("Clip", value, made.const(-1.0), made.const(1.5))
    if kind == "LeakyRelu" and not net.zero:
        return made.node("LeakyRelu", value, alpha=0.125)
    if kind == "PRelu" and not net.zero:
        slopes = 2.0 ** -net.random.integers(1, 5, (net.channels, 1, 1))
        return made.node("PRelu", value, made.const(slopes))
    return made.node("Relu", value)


def joined(net: Drawn, value: str) -> str:
    """Add to, take from or put beside another convolution of the same pixels."""
    kind = str(net.random.choice(["Add", "Sub", "Concat"]))
    other = net.made.node("Conv", value, net.weights(net.channels, net.channels, 1, 1))
    parts = [value, net.coded(other)]
    if net.random.random() < 0.5:
        parts.reverse()
    if kind == "Concat":
        net.channels *= 2
        return net.made.node("Concat", *parts, axis=1)
    return net.made.node(kind, *parts)


def passed(net: Drawn, value: str) -> str:
    return net.made.node("Dropout", net.made.node("Identity", value))


STEPS: list[tuple[str, Step, Callable[[Drawn], bool]]] = [
    ("convolution", convolution, lambda net: True),
    ("transposed", transposed, lambda net: net.size < 7 and net.channels <= 8),
    ("resize", resize, lambda net: net.size < 7),
    ("pool", pool, lambda net: net.size >= 4),
    ("activation", activation, lambda net: True),
    ("joined", joined, lambda net: net.channels <= 8),
    ("passed", passed, lambda net: True),
]


def check(net: Drawn, path: Path) -> tuple[Imported, dict[str, tuple[int, int, int]]]:
    path = net.made.save(
        path / "m.onnx",
        net.made.nodes[-1].output[0],
        kind=TensorProto.INT8 if net.kind is np.int8 else TensorProto.UINT8,
    )
    found = import_quantised_onnx(path)
    return found, differing(net.made, found)


@pytest.mark.parametrize("seed", range(12))
def test_random_networks_give_the_codes_of_onnxruntime(tmp_path: Path, seed: int) -> None:
    net = Drawn(seed)
    net.draw(6)
    found, wrong = check(net, tmp_path)
    operators = [node.op_type for node in net.made.nodes if "Linear" not in node.op_type]
    assert all(item.exact for item in found.agreements), (seed, operators)
    assert wrong
    assert not any(count for count, _, _ in wrong.values()), (seed, operators, wrong)


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(12, 212))
def test_many_random_networks(tmp_path: Path, seed: int) -> None:
    test_random_networks_give_the_codes_of_onnxruntime(tmp_path, seed)
