"""From a network of switchable precision to an integer-exact one for each width.

Weights are rounded anew for each width. Normalisations are not folded into them, which would
make a set of weights for each: they are the multipliers and biases of the requantisation.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from celosia.models.errors import CelosiaError
from celosia.models.formats import Fixed
from celosia.models.network import (
    MAX_SHIFT,
    MULTIPLIER_BITS,
    Conv,
    MaxPool,
    Network,
    Op,
    Requant,
    Tensor,
    Window,
)
from celosia.models.quantize_layer import bias_aim
from celosia.models.switchable import Block, Observer, SwitchableNet, Zero, levels

MULTIPLIER_MAX = (1 << (MULTIPLIER_BITS - 1)) - 1
MAX_WIDTH = 8
"""Widest export. A sum and its residual share one shift, so at more bits, where products are
worth much less than residuals, the sum's multiplier would have too few bits to be exact."""
OUTPUT_BITS = 8
"""Bits of the scores at every width: they are compared, not computed with."""


def export_network(model: SwitchableNet, width: int, name: str = "switchable") -> Network:
    """Return the integer network that ``model`` is at ``width`` bits.

    Parameters
    ----------
    model
        Trained, in evaluation mode.
    width
        One of its widths, at most ``MAX_WIDTH``.
    name
        Of the network, to which ``_wN`` is added.

    Raises
    ------
    CelosiaError
        If 0 is no level of the model's grids, or the width is none that it has or that
        activations can have.
    """
    if model.zero is not Zero.LEVEL:
        raise CelosiaError(
            f"{name}: grids without a level at 0 are not integers times a scale; train the "
            "network with Zero.LEVEL"
        )
    allowed = [bits for bits in model.widths if bits <= MAX_WIDTH]
    if width not in allowed:
        raise CelosiaError(
            f"{name}: width {width} cannot be had: the network has {list(model.widths)}, "
            f"and exports at most {MAX_WIDTH} bits; choose one of {allowed}"
        )
    return _Export(model, width).network(f"{name}_w{width}")


class _Export:
    """The tensors and operations so far."""

    def __init__(self, model: SwitchableNet, width: int) -> None:
        self._model, self._width = model, width
        self._tensors = [self._tensor("input", model.shape, model.entry)]
        self._ops: list[Op] = []

    def network(self, name: str) -> Network:
        for index, block in enumerate(self._model.blocks):
            assert isinstance(block, Block)
            self._stage(f"stage{index}", block)
        self._linear()
        return Network(
            name=name,
            tensors=tuple(self._tensors),
            inputs=("input",),
            outputs=("scores",),
            ops=tuple(self._ops),
        )

    def _tensor(
        self, name: str, shape: tuple[int, int, int], observer: Observer, bits: int | None = None
    ) -> Tensor:
        bits = bits or self._width
        step, _ = levels(observer.low, observer.high, bits, Zero.LEVEL, signed=observer.signed)
        fmt = Fixed(bits=bits, signed=observer.signed)
        return Tensor(name=name, shape=shape, format=fmt, scale=float(step))

    def _weights(self, weight: torch.Tensor) -> tuple[np.ndarray, float]:
        """Return integer weights and their scale."""
        data = weight.detach()
        step, first = levels(data.min(), data.max(), self._width, Zero.LEVEL, signed=True)
        codes = torch.clamp(torch.round(data / step), float(first), float(-first - 1))
        return codes.numpy().astype(np.int64), float(step)

    def _stage(self, name: str, block: Block) -> None:
        source, stage = self._tensors[-1], block.stage
        edge = stage.kernel // 2
        window = Window(
            kernel=(stage.kernel, stage.kernel),
            stride=(stage.stride, stage.stride),
            padding=(edge, edge, edge, edge),
        )
        shape = (stage.channels, *window.output_size(*source.shape[1:]))
        target = self._tensor(name, shape, block.observer)
        weights, scale = self._weights(block.conv.weight)
        norm = block.norms[str(self._width)]
        assert isinstance(norm, nn.BatchNorm2d)
        factor, offset = _normalisation(norm)
        self._add(source, target, window, weights, scale, factor, offset, residual=stage.residual)
        if stage.pool:
            half = Window(kernel=(2, 2), stride=(2, 2))
            pooled = Tensor(
                name=f"{name}_pool",
                shape=(stage.channels, *half.output_size(*shape[1:])),
                format=target.format,
                scale=target.scale,
            )
            self._tensors.append(pooled)
            self._ops.append(
                MaxPool(name=f"{name}/pool", input=name, output=pooled.name, window=half)
            )

    def _linear(self) -> None:
        source, linear = self._tensors[-1], self._model.classes
        weights, scale = self._weights(linear.weight)
        weights = weights.reshape(-1, *source.shape)
        target = self._tensor("scores", (len(weights), 1, 1), self._model.scores, OUTPUT_BITS)
        window = Window(kernel=(source.shape[1], source.shape[2]))
        bias = linear.bias.detach().to(torch.float64).numpy()
        self._add(source, target, window, weights, scale, np.ones(len(bias)), bias, residual=False)

    def _add(
        self,
        source: Tensor,
        target: Tensor,
        window: Window,
        weights: np.ndarray,
        scale: float,
        factor: np.ndarray,
        offset: np.ndarray,
        *,
        residual: bool,
    ) -> None:
        """Add ``factor * conv + offset``, per channel, and its target."""
        unit = scale * source.scale
        # A channel whose normalisation scales by less gets a larger scale.
        aim = bias_aim(self._width, source.format.bits)
        least = np.maximum(np.abs(offset) / unit / aim, 1e-9)
        factor = np.where(factor < 0, -1.0, 1.0) * np.maximum(np.abs(factor), least)
        main = factor * unit / target.scale
        other = source.scale / target.scale if residual else 0.0
        largest = np.maximum(np.abs(main), other)
        shift = np.clip(np.floor(np.log2((MULTIPLIER_MAX + 0.49) / largest)), 0, MAX_SHIFT)
        power = 2.0**shift
        multiplier = np.clip(np.rint(main * power), -MULTIPLIER_MAX, MULTIPLIER_MAX)
        requant = Requant(
            bias=np.rint(offset / (factor * unit)).astype(np.int64),
            positive=multiplier.astype(np.int64),
            negative=multiplier.astype(np.int64),
            residual=np.rint(other * power).astype(np.int64),
            shift=shift.astype(np.int64),
            low=target.format.low,
            high=target.format.high,
        )
        self._tensors.append(target)
        self._ops.append(
            Conv(
                name=f"{target.name}/conv",
                input=source.name,
                output=target.name,
                window=window,
                groups=1,
                weights=weights,
                formats=(Fixed(bits=self._width),) * len(weights),
                requant=requant,
                residual=source.name if residual else None,
            )
        )


def _normalisation(norm: nn.BatchNorm2d) -> tuple[np.ndarray, np.ndarray]:
    """Return what a batch normalisation multiplies by and then adds, float64 (C,)."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    spread = torch.sqrt(norm.running_var.to(torch.float64) + norm.eps)
    factor = norm.weight.detach().to(torch.float64) / spread
    offset = norm.bias.detach().to(torch.float64) - norm.running_mean.to(torch.float64) * factor
    return factor.numpy(), offset.numpy()
