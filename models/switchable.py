"""Networks of switchable precision: one set of weights, one batch normalisation for each width.

The algorithm side of the 2-in-1 accelerator (MICRO 2021, section 3) and of Double-Win Quant
(ICML 2021, section 3): weights and activations of all layers have the same width, which is
chosen anew for every batch or image.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence

import torch
from torch import nn

from celosia.models.blueprint import Blueprint, Stage

MAX_WIDTH = 16
MOMENTUM = 0.9
"""Share of a new batch in the running range of activations, as published."""


class Zero(enum.Enum):
    """Where the real number 0 lies among the levels of a grid.

    FREE: anywhere; the grid begins at the smallest value and ends at the largest, as published.
    LEVEL: on a level. Grids of values that are never negative begin at 0, others have one
    more level below 0 than above. Only such a grid is one of integers times a scale, so only
    networks with it become integer-exact ones.
    """

    FREE = "free"
    LEVEL = "level"


def affine(
    x: torch.Tensor,
    low: torch.Tensor,
    high: torch.Tensor,
    bits: int,
    zero: Zero = Zero.FREE,
    *,
    signed: bool = True,
) -> torch.Tensor:
    """Return ``x`` rounded to ``2**bits`` levels; its gradient passes as if it were not.

    ``s = (high - low) / (2**bits - 1)``, ``code = clamp(round((x - low) / s), 0, 2**bits - 1)``,
    result ``code s + low`` (Double-Win Quant, section 3.1).

    Parameters
    ----------
    x
        Real values.
    low, high
        The range, scalars.
    bits
        2..16.
    zero
        Where 0 lies; ``LEVEL`` moves the range.
    signed
        With ``LEVEL``, whether there are levels below 0.
    """
    step, first = levels(low, high, bits, zero, signed=signed)
    code = torch.clamp(torch.round(x / step - first), 0, (1 << bits) - 1)
    return x + ((code + first) * step - x).detach()


def levels(
    low: torch.Tensor, high: torch.Tensor, bits: int, zero: Zero, *, signed: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the step of a grid, and its lowest level in steps (see :func:`affine`)."""
    if zero is Zero.FREE:
        step = (high - low) / ((1 << bits) - 1)
        step = torch.where(step > 0, step, torch.ones_like(step))
        return step, low / step
    below = 1 << (bits - 1) if signed else 0
    above = (1 << bits) - 1 - below
    step = torch.maximum(high / above, -low / below if below else torch.zeros_like(low))
    step = torch.where(step > 0, step, torch.ones_like(step))
    return step, torch.full_like(step, -below)


class Observer(nn.Module):
    """Rounds activations; keeps a running range of theirs, which evaluation uses.

    While training the range is that of the batch. ``signed`` says whether values can be negative.
    """

    low: torch.Tensor
    span: torch.Tensor

    def __init__(self, zero: Zero, *, signed: bool) -> None:
        super().__init__()
        self.zero, self.signed = zero, signed
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("span", torch.zeros(()))

    @property
    def high(self) -> torch.Tensor:
        """Upper end of the running range."""
        return self.low + self.span

    def observe(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the range to use for ``x``; take it into the running one while training."""
        if not self.training:
            return self.low, self.high
        low, high = x.detach().min(), x.detach().max()
        self.low = (1 - MOMENTUM) * self.low + MOMENTUM * low
        self.span = (1 - MOMENTUM) * self.span + MOMENTUM * (high - low)
        return low, high

    def forward(self, x: torch.Tensor, width: int) -> torch.Tensor:
        low, high = self.observe(x)
        return affine(x, low, high, width, self.zero, signed=self.signed)


class Block(nn.Module):
    """What a :class:`Stage` describes, for several widths."""

    def __init__(self, stage: Stage, inputs: int, widths: Sequence[int], zero: Zero) -> None:
        super().__init__()
        if stage.residual and stage.channels != inputs:
            raise ValueError(
                f"a residual stage must have its input's {inputs} channels, not {stage.channels}"
            )
        self.stage, self.zero = stage, zero
        self.conv = nn.Conv2d(
            inputs, stage.channels, stage.kernel, stage.stride, stage.kernel // 2, bias=False
        )
        self.norms = nn.ModuleDict({str(bits): nn.BatchNorm2d(stage.channels) for bits in widths})
        self.observer = Observer(zero, signed=False)

    def forward(self, x: torch.Tensor, width: int) -> torch.Tensor:
        weight = rounded_weight(self.conv.weight, width, self.zero)
        y = nn.functional.conv2d(x, weight, None, self.conv.stride, self.conv.padding)
        y = self.norms[str(width)](y)
        y = self.observer(torch.relu(y + x if self.stage.residual else y), width)
        return nn.functional.max_pool2d(y, 2) if self.stage.pool else y


def rounded_weight(weight: torch.Tensor, width: int, zero: Zero) -> torch.Tensor:
    """Return weights rounded to ``width`` bits within their own range."""
    return affine(weight, weight.detach().min(), weight.detach().max(), width, zero)


class SwitchableNet(nn.Module):
    """Stages and a linear layer; every call says which width it computes with.

    Parameters
    ----------
    blueprint
        Its inputs, stages and classes.
    widths
        The widths to choose from, different, 2..16.
    zero
        Where 0 lies in grids; integer networks need ``LEVEL``.
    """

    def __init__(
        self, blueprint: Blueprint, widths: Sequence[int], zero: Zero = Zero.LEVEL
    ) -> None:
        super().__init__()
        self.widths = tuple(widths)
        if not self.widths or len(set(self.widths)) < len(self.widths):
            raise ValueError(f"widths must be one or more different ones, not {self.widths!r}")
        if not all(2 <= bits <= MAX_WIDTH for bits in self.widths):
            raise ValueError(f"widths must be in 2..{MAX_WIDTH}, not {self.widths!r}")
        self.shape, self.zero = blueprint.shape, zero
        self.entry = Observer(zero, signed=blueprint.signed)
        sources = (blueprint.shape[0], *(stage.channels for stage in blueprint.stages))
        self.blocks = nn.ModuleList(
            Block(stage, channels, self.widths, zero)
            for stage, channels in zip(blueprint.stages, sources, strict=False)
        )
        self.classes = nn.Linear(math.prod(blueprint.features), blueprint.classes)
        self.scores = Observer(zero, signed=True)

    def forward(self, x: torch.Tensor, width: int) -> torch.Tensor:
        """Return scores (N, classes) of images (N, C, H, W), computed with ``width`` bits."""
        if width not in self.widths:
            raise ValueError(f"width must be one of {self.widths}, not {width!r}")
        x = self.entry(x, width)
        for block in self.blocks:
            x = block(x, width)
        weight = rounded_weight(self.classes.weight, width, self.zero)
        result = nn.functional.linear(x.flatten(1), weight, self.classes.bias)
        self.scores.observe(result)
        return result
