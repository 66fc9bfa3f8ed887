"""Layers without multiplications, with the gradients that they are trained by.

AdderNet (Chen et al., CVPR 2020): minus the distance of window and filter, ``-sum |x - w|``.
DeepShift (Elhoushi et al., 2019), as in ShiftAddNet (You et al., NeurIPS 2020): a convolution
whose weights are signed powers of two.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from celosia.models.formats import Pot
from celosia.models.network import Window

_WINDOW = "int stride, int padding) -> Tensor"


def _sized(x: torch.Tensor, weight: torch.Tensor, stride: int, padding: int) -> torch.Tensor:
    """Return an empty tensor like the result of a convolution."""
    size = [(n + 2 * padding - weight.shape[2]) // stride + 1 for n in x.shape[2:]]
    return x.new_empty((x.shape[0], weight.shape[0], *size))


@torch.library.custom_op(
    "celosia::distance_conv2d", mutates_args=(), schema=f"(Tensor input, Tensor weight, {_WINDOW}"
)
def distance_conv2d(
    x: torch.Tensor, weight: torch.Tensor, stride: int, padding: int
) -> torch.Tensor:
    """Compute an adder layer as the one operator that it is in an exported program."""
    kernel = weight.shape[2]
    columns = nn.functional.unfold(x, kernel, padding=padding, stride=stride).transpose(1, 2)
    sums = -torch.cdist(columns, weight.flatten(1), p=1)
    return sums.transpose(1, 2).reshape(_sized(x, weight, stride, padding).shape)


@torch.library.custom_op(
    "celosia::power_conv2d",
    mutates_args=(),
    schema=f"(Tensor input, Tensor weight, int bits, {_WINDOW}",
)
def power_conv2d(
    x: torch.Tensor, weight: torch.Tensor, bits: int, stride: int, padding: int
) -> torch.Tensor:
    """Compute a shift layer likewise: ``weight`` has powers of two of ``bits``, or 0."""
    return nn.functional.conv2d(x, weight, None, stride, padding)


@distance_conv2d.register_fake
def _(x: torch.Tensor, weight: torch.Tensor, stride: int, padding: int) -> torch.Tensor:
    return _sized(x, weight, stride, padding)


@power_conv2d.register_fake
def _(x: torch.Tensor, weight: torch.Tensor, bits: int, stride: int, padding: int) -> torch.Tensor:
    return _sized(x, weight, stride, padding)


ADAPTIVE_RATE = 0.2
"""AdderNet's eta: how far one step moves a layer's weights, by root mean square, for rate 1."""

SIGN_THRESHOLD = 0.3
"""DeepShift-PS: a weight whose learnt sign is nearer to 0 than this is 0."""


class _Distance(torch.autograd.Function):
    """``-sum_k |x - w|`` of windows (..., K) and filters (O, K) as (..., O), AdderNet's gradients.

    With respect to a weight ``x - w`` in place of its sign, and with respect to an input
    ``clip(w - x, -1, 1)``.
    """

    @staticmethod
    def forward(ctx: Any, windows: torch.Tensor, filters: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(windows, filters)
        return -torch.cdist(windows, filters, p=1)

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        windows, filters = ctx.saved_tensors
        flat, grad = windows.flatten(0, -2), upstream[0].flatten(0, -2)
        by_filter = grad.T @ flat - grad.sum(dim=0)[:, None] * filters
        by_window = torch.zeros_like(flat)
        for row, weight in enumerate(filters):
            by_window += grad[:, row, None] * (weight - flat).clamp(-1, 1)
        return by_window.view_as(windows), by_filter


class _Window(nn.Module):
    """What the layers share: a square window over the input and channels."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0
    ) -> None:
        super().__init__()
        for field, value, least in (
            ("inputs", inputs, 1),
            ("outputs", outputs, 1),
            ("kernel", kernel, 1),
            ("stride", stride, 1),
            ("padding", padding, 0),
        ):
            if value < least:
                raise ValueError(f"{field} must be at least {least}, not {value!r}")
        self.inputs, self.outputs, self.kernel = inputs, outputs, kernel
        self.stride, self.padding = stride, padding

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Of the weights: O I FY FX."""
        return self.outputs, self.inputs, self.kernel, self.kernel


class AdderConv2d(_Window):
    """Minus the L1 distance of every window to every filter; padding is 0 and counts ``-|w|``.

    Takes (N, ``inputs``, H, W). The output is never positive, and its spread is far from that of
    a convolution: a batch normalisation belongs behind it.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, padding: int = 0
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride, padding)
        self.weight = nn.Parameter(torch.randn(self.shape))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if torch.compiler.is_exporting():
            sums: torch.Tensor = distance_conv2d(x, self.weight, self.stride, self.padding)
            return sums
        padded = nn.functional.pad(x, (self.padding,) * 4)
        window = Window(kernel=(self.kernel, self.kernel), stride=(self.stride, self.stride))
        return distances(padded, self.weight, window, groups=1)


def distances(
    padded: torch.Tensor, weight: torch.Tensor, window: Window, groups: int
) -> torch.Tensor:
    """Return :func:`distance` of every window of ``padded`` (N, C, H, W), (N, O, OH, OW).

    ``weight`` is O I FY FX. The padding of ``window`` is not applied.
    """
    height, width = replace(window, padding=(0, 0, 0, 0)).output_size(*padded.shape[2:])
    parts = []
    for some, filters in zip(padded.chunk(groups, 1), weight.chunk(groups), strict=True):
        columns = nn.functional.unfold(some, window.kernel, window.dilation, stride=window.stride)
        parts.append(distance(columns.transpose(1, 2), filters.flatten(1)).transpose(1, 2))
    return torch.cat(parts, dim=1).reshape(len(padded), len(weight), height, width)


def distance(windows: torch.Tensor, filters: torch.Tensor) -> torch.Tensor:
    """Return ``-sum_k |windows - filters|``, (..., O), of (..., K) and (O, K).

    Its gradients are AdderNet's (section 3.2): ``windows - filters`` for the filters, and
    ``clip(filters - windows, -1, 1)`` for the windows.
    """
    result: torch.Tensor = _Distance.apply(windows, filters)  # type: ignore[no-untyped-call]
    return result


def adapt_rates(modules: Iterable[nn.Module], eta: float = ADAPTIVE_RATE) -> None:
    """Scale the gradients of adder layers as AdderNet does (section 3.3), before a step.

    The gradient g of a layer with k weights becomes ``eta * sqrt(k) / |g|_2 * g``: layers
    learn at one speed whatever the size of their gradients.
    """
    for module in modules:
        if isinstance(module, AdderConv2d) and module.weight.grad is not None:
            grad = module.weight.grad
            grad.mul_(eta * math.sqrt(grad.numel()) / grad.norm().clamp_min(1e-12))


class ShiftMode(enum.Enum):
    """What of a power of two is learnt.

    Q: the weight; its sign is kept and its magnitude rounded to the nearest exponent.
    PS: the exponent and the sign, which is -1, 0 or 1, each rounded.
    """

    Q = "q"
    PS = "ps"


class ShiftConv2d(_Window):
    """A convolution whose weights are 0 or ``+-2**p`` with ``p`` in ``lowest..0``.

    The exponents are those of :class:`celosia.models.formats.Pot` of ``bits`` bits (2..5), whose
    largest value stands for 1; the gradient passes every rounding as if it were not there.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int,
        stride: int = 1,
        padding: int = 0,
        *,
        bits: int = 5,
        mode: ShiftMode = ShiftMode.Q,
    ) -> None:
        super().__init__(inputs, outputs, kernel, stride, padding)
        self.format, self.mode = Pot(bits=bits), mode
        start = nn.init.kaiming_uniform_(torch.empty(self.shape), a=math.sqrt(5))
        if mode is ShiftMode.Q:
            self.weight = nn.Parameter(start)
        else:
            self.exponent = nn.Parameter(torch.log2(start.abs().clamp_min(2.0**self.lowest)))
            self.sign = nn.Parameter(torch.sign(start))

    @property
    def lowest(self) -> int:
        """The smallest exponent."""
        return 1 - self.format.high.bit_length()

    def power(self) -> torch.Tensor:
        """Return the weights as they are used, O I FY FX."""
        if self.mode is ShiftMode.PS:
            exponent = _through(self.exponent.clamp(self.lowest, 0), torch.round)
            return torch.exp2(exponent) * _through(self.sign, _ternary)
        return _through(self.weight, self._nearest)

    def values(self) -> torch.Tensor:
        """Return the weights as int64 values of ``format``; 1.0 is its largest value."""
        return torch.round(self.power().detach() * self.format.high).to(torch.int64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if torch.compiler.is_exporting():
            bits, power = self.format.bits, self.power()
            sums: torch.Tensor = power_conv2d(x, power, bits, self.stride, self.padding)
            return sums
        return nn.functional.conv2d(x, self.power(), None, self.stride, self.padding)

    def _nearest(self, weight: torch.Tensor) -> torch.Tensor:
        exponent = torch.log2(weight.abs().clamp_min(2.0**-64)).round()
        return torch.sign(weight) * torch.exp2(exponent.clamp(self.lowest, 0))


def _ternary(sign: torch.Tensor) -> torch.Tensor:
    return torch.where(sign.abs() < SIGN_THRESHOLD, torch.zeros_like(sign), torch.sign(sign))


def _through(value: torch.Tensor, rounding: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """Return the rounded value, with the gradient of ``value`` itself."""
    return value + (rounding(value) - value).detach()
