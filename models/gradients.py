"""What the gradient of a rounding is taken to be, in quantisation-aware training.

A quantiser limits a value to the range of its grid, ``clip(x)``, and rounds it. Rounding has
no useful gradient; all estimators let the gradient pass it as if it were not there (Bengio et al.,
2013) and differ in what they make of the limits.
"""

from __future__ import annotations

import enum
from typing import Any

import torch


class Gradient(enum.Enum):
    """The derivative of ``clip(x)`` that training uses; 1 inside the range for all.

    STRAIGHT_THROUGH: 1 outside as well.
    PIECEWISE_LINEAR: 0 outside, the derivative as it is.
    MAGNITUDE_AWARE: ``s / |x|`` outside, with the limit s on that side ("OCTAV", ICML 2022,
    section 4): ``clip(x) = a x`` with an a that is held fixed.
    """

    STRAIGHT_THROUGH = "ste"
    PIECEWISE_LINEAR = "pwl"
    MAGNITUDE_AWARE = "mad"

    def factor(
        self, x: torch.Tensor, low: torch.Tensor | float, high: torch.Tensor | float
    ) -> torch.Tensor:
        """Return the derivative at each element of ``x`` for a range ``low`` <= 0 <= ``high``."""
        one = torch.ones_like(x)
        if self is Gradient.STRAIGHT_THROUGH:
            return one
        least, most = (torch.as_tensor(end, dtype=x.dtype) for end in (low, high))
        limited = x.clamp(least, most)
        if self is Gradient.PIECEWISE_LINEAR:
            return (limited == x).to(x.dtype)
        return torch.where(limited == x, one, limited / torch.where(x == 0, one, x))


def pass_gradient(
    x: torch.Tensor,
    rounded: torch.Tensor,
    low: torch.Tensor | float,
    high: torch.Tensor | float,
    gradient: Gradient,
) -> torch.Tensor:
    """Return ``rounded`` with a gradient with respect to ``x``.

    Parameters
    ----------
    x
        Real values.
    rounded
        What the quantiser makes of them, same shape.
    low, high
        Limits of the grid, scalars or broadcast with ``x``.
    gradient
        What the derivative is taken to be.
    """
    factor = gradient.factor(x.detach(), low, high)
    result: torch.Tensor = _Passed.apply(x, rounded, factor)  # type: ignore[no-untyped-call]
    return result


class _Passed(torch.autograd.Function):
    """The second argument, whose derivative with respect to the first is the third."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, rounded: torch.Tensor, factor: torch.Tensor
    ) -> torch.Tensor:
        ctx.save_for_backward(factor)
        return rounded.detach().clone()

    @staticmethod
    def backward(ctx: Any, *upstream: torch.Tensor) -> tuple[torch.Tensor, None, None]:
        (factor,) = ctx.saved_tensors
        return upstream[0] * factor, None, None
