"""Functions of one value: what networks have between layers and hardware has as tables."""

from __future__ import annotations

import enum
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch

_F = torch.nn.functional


class Function(enum.Enum):
    """Functions by name, as PyTorch and ONNX define them; ``GELU`` is the exact one."""

    SIGMOID = "sigmoid"
    TANH = "tanh"
    SILU = "silu"
    HARD_SWISH = "hard_swish"
    HARD_SIGMOID = "hard_sigmoid"
    GELU = "gelu"
    GELU_TANH = "gelu_tanh"
    ERF = "erf"
    SOFTPLUS = "softplus"
    MISH = "mish"
    ELU = "elu"
    SELU = "selu"
    EXP = "exp"

    @property
    def label(self) -> str:
        """What reports call it."""
        return self.value

    @property
    def reach(self) -> tuple[float, float]:
        """Where it has become constant, to a thousandth, on either side; infinite where never."""
        return _REACH.get(self, (-math.inf, math.inf))

    @property
    def non_negative(self) -> bool:
        """Whether no value is negative."""
        return self in _NON_NEGATIVE

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return its values, elementwise; gradients pass."""
        return _TORCH[self](x)


_TORCH: Final[dict[Function, Callable[[torch.Tensor], torch.Tensor]]] = {
    Function.SIGMOID: torch.sigmoid,
    Function.TANH: torch.tanh,
    Function.SILU: _F.silu,
    Function.HARD_SWISH: _F.hardswish,
    Function.HARD_SIGMOID: _F.hardsigmoid,
    Function.GELU: _F.gelu,
    Function.GELU_TANH: lambda x: _F.gelu(x, approximate="tanh"),
    Function.ERF: torch.erf,
    Function.SOFTPLUS: _F.softplus,
    Function.MISH: _F.mish,
    Function.ELU: _F.elu,
    Function.SELU: _F.selu,
    Function.EXP: torch.exp,
}
_REACH: Final = {
    Function.SIGMOID: (-8.0, 8.0),
    Function.TANH: (-4.5, 4.5),
    Function.SILU: (-10.0, math.inf),
    Function.HARD_SWISH: (-3.0, math.inf),
    Function.HARD_SIGMOID: (-3.0, 3.0),
    Function.GELU: (-4.0, math.inf),
    Function.GELU_TANH: (-4.0, math.inf),
    Function.ERF: (-2.5, 2.5),
    Function.SOFTPLUS: (-8.0, math.inf),
    Function.MISH: (-10.0, math.inf),
    Function.ELU: (-8.0, math.inf),
    Function.SELU: (-8.0, math.inf),
    Function.EXP: (-8.0, math.inf),
}
_NON_NEGATIVE: Final = frozenset(
    {Function.SIGMOID, Function.HARD_SIGMOID, Function.SOFTPLUS, Function.EXP}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """``clip(gain * x + offset, low, high)``, values below 0 times ``slope`` before that."""

    gain: float = 1.0
    offset: float = 0.0
    slope: float = 1.0
    low: float = -math.inf
    high: float = math.inf

    @property
    def label(self) -> str:
        """What reports call it."""
        return "line"

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return its values, elementwise."""
        y = self.gain * x + self.offset
        return torch.where(y < 0, self.slope * y, y).clamp(self.low, self.high)


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """What codes of a grid leave of a value.

    A code above ``low`` begins at its entry of ``begins`` (in codes, ascending), and has that very
    place where ``theirs`` says so.
    """

    scale: float
    zero: int
    low: int
    begins: tuple[float, ...]
    theirs: tuple[bool, ...]

    @property
    def label(self) -> str:
        """What reports call it."""
        return "codes"

    def codes(self, x: torch.Tensor) -> torch.Tensor:
        """Return the codes of ``x``."""
        begins = torch.tensor(self.begins, dtype=torch.float64)
        place = (x.to(torch.float64) / self.scale + self.zero).contiguous()
        below = torch.searchsorted(begins, place)
        at = below.clamp(max=len(begins) - 1)
        on = (begins[at] == place) & (below < len(begins)) & torch.tensor(self.theirs)[at]
        return (below + on.to(below.dtype) + self.low).to(x.dtype)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return what the codes of ``x`` stand for."""
        return (self.codes(x) - self.zero) * self.scale


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """One curve after another; none of them is the value itself."""

    parts: tuple[Curve, ...] = ()

    @property
    def label(self) -> str:
        """What reports call it."""
        return " ".join(part.label for part in self.parts) or "x"

    reach = (-math.inf, math.inf)
    non_negative = False

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return its values, elementwise."""
        for part in self.parts:
            x = part(x)
        return x


@dataclass(frozen=True, slots=True, kw_only=True)
class Combined:
    """The product, or the ``total``, of two curves of the same value."""

    first: Curve
    second: Curve
    total: bool = False

    @property
    def label(self) -> str:
        """What reports call it."""
        return f"({self.first.label} {'+' if self.total else '*'} {self.second.label})"

    reach = (-math.inf, math.inf)
    non_negative = False

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        """Return its values, elementwise."""
        first, second = self.first(x), self.second(x)
        return first + second if self.total else first * second


Curve = Function | Line | Steps | Chain | Combined
Ending = Function | Chain | Combined
"""What a convolution may end in."""


def sampled(curve: Curve, values: np.ndarray) -> np.ndarray:
    """Return ``curve`` of ``values``, float64 and of their shape."""
    found: np.ndarray = curve(torch.from_numpy(np.asarray(values, np.float64))).numpy()
    return found
