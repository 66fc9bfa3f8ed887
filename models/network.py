"""The integer-exact network: what every later floor implements bit for bit.

After import, fusion and quantisation a network is a list of three kinds of
operation on integer tensors. The list is in execution order; every tensor is
written once. Everything here is a frozen value; the functions that evaluate it
are in :mod:`celosia.models.golden`, its file form in :mod:`celosia.models.storage`.

Axis order: activations ``C H W`` (one sample), weights ``O I FY FX`` (``I`` is
the number of input channels of one group, as in PyTorch).
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np

from celosia.models.formats import Fixed, Format

MULTIPLIER_BITS = 18
"""Width of the requantisation multipliers, two's complement."""

MAX_SHIFT = 47
"""Largest right shift of a requantisation."""


class Rounding(enum.Enum):
    """How a right shift rounds: ties to even (the default) or towards plus infinity."""

    HALF_EVEN = 0
    HALF_UP = 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tensor:
    """An activation tensor of one sample: integer codes times ``scale``.

    ``shape`` is (channels, height, width), all positive. ``format`` is a
    :class:`Fixed` of at most 8 bits; ``scale`` is the real value of code 1.
    """

    name: str
    shape: tuple[int, int, int]
    format: Fixed
    scale: float

    def __post_init__(self) -> None:
        if len(self.shape) != 3 or min(self.shape) < 1:
            raise ValueError(f"tensor {self.name!r}: shape must be (C, H, W), all positive, not {self.shape!r}")
        if not 1 <= self.format.bits <= 8:
            raise ValueError(f"tensor {self.name!r}: activations have 1 to 8 bits, not {self.format.bits}")
        if not self.scale > 0:
            raise ValueError(f"tensor {self.name!r}: scale must be positive, not {self.scale!r}")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Window:
    """Geometry of a sliding window. All pairs are (vertical, horizontal).

    ``padding`` is (top, left, bottom, right) and already holds what ceil mode
    adds below and to the right, so ``out = (in + pads - extent) // stride + 1``.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)

    def __post_init__(self) -> None:
        if min(*self.kernel, *self.stride, *self.dilation) < 1 or min(self.padding) < 0:
            raise ValueError(f"window must have positive kernel, stride and dilation and no negative padding: {self!r}")

    @property
    def extent(self) -> tuple[int, int]:
        """Height and width covered by one window in the input."""
        (ky, kx), (dy, dx) = self.kernel, self.dilation
        return dy * (ky - 1) + 1, dx * (kx - 1) + 1

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Size of the output for an input of ``height x width``."""
        top, left, bottom, right = self.padding
        ey, ex = self.extent
        return (height + top + bottom - ey) // self.stride[0] + 1, (width + left + right - ex) // self.stride[1] + 1


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Requant:
    """From accumulator to output code, per output channel, all exact integers.

    ``v = acc + bias``; ``p = v * (negative if v < 0 else positive) + r * residual``
    where ``r`` is the residual operand's code (0 without one);
    ``y = clamp(round(p / 2**shift), low, high)``.

    Arrays are int64 of shape (O,). Multipliers fit ``MULTIPLIER_BITS`` bits two's
    complement; ``shift`` is in 0..MAX_SHIFT. ReLU is ``negative = 0`` or ``low = 0``,
    PReLU a ``negative`` of its own, no activation ``negative == positive``.
    """

    bias: np.ndarray
    positive: np.ndarray
    negative: np.ndarray
    residual: np.ndarray
    shift: np.ndarray
    low: int
    high: int
    rounding: Rounding = Rounding.HALF_EVEN


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Conv:
    """Convolution of integer values, requantised, perhaps with a residual operand.

    A linear layer is a convolution whose kernel covers its whole input; average
    pooling is a depthwise one with weights of 1; a stand-alone activation or add
    is a depthwise 1x1 with weights of 1.

    ``weights`` holds *values* (int64, ``O I FY FX``), not codes; every value of
    row ``o`` is in ``formats[o]``. ``residual`` names a tensor of the output's shape.
    """

    name: str
    input: str
    output: str
    window: Window
    groups: int
    weights: np.ndarray
    formats: tuple[Format, ...]
    requant: Requant
    residual: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MaxPool:
    """Maximum over a window; padding never wins. Same format and scale in and out."""

    name: str
    input: str
    output: str
    window: Window


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Concat:
    """Channels of ``inputs`` one after another. All have one format, scale and size."""

    name: str
    inputs: tuple[str, ...]
    output: str


Op = Conv | MaxPool | Concat


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Network:
    """An integer-exact network: tensors by name, operations in execution order.

    The constructor checks everything: names resolve, tensors are written once and
    before they are read, shapes and formats agree, weights are values of their
    row's format, constants are in range. Raises ``ValueError`` naming the operation.
    """

    name: str
    tensors: tuple[Tensor, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    ops: tuple[Op, ...]

    def tensor(self, name: str) -> Tensor:
        """Return the tensor called ``name``; ``KeyError`` if there is none."""
        for tensor in self.tensors:
            if tensor.name == name:
                return tensor
        raise KeyError(name)
