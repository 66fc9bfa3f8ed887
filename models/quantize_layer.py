"""Quantisation of one convolution, given the grids of the tensors round it."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch

from celosia.models.assign import assign_formats
from celosia.models.calibrate import DISTANCE_WEIGHTS
from celosia.models.find_scales import ScaleMethod, nearest, nearest_rows, whole_steps
from celosia.models.fit import LayerData, fit_layer, layer_data
from celosia.models.formats import BlockScaling, Fixed, Format
from celosia.models.functions import sampled
from celosia.models.golden import convolve
from celosia.models.graph import FloatConv, FloatGraph, convolve_float
from celosia.models.grid import Grid
from celosia.models.network import (
    MAX_ACCUMULATOR_BITS,
    MAX_SHIFT,
    MULTIPLIER_BITS,
    Conv,
    Requant,
    WeightScales,
    scales_step,
)
from celosia.models.operations import DISTANCE
from celosia.models.recipe import Recipe
from celosia.models.round_weights import Rounded, Rounder
from celosia.models.tables import Table
from celosia.models.vector_choice import weight_obstacle

MULTIPLIER_MAX = (1 << (MULTIPLIER_BITS - 1)) - 1
MOST_MULTIPLE = 127
"""Greatest weight of a resize, in what all of them are multiples of: 49 for one by 4."""
BIAS_LIMIT = 1 << 38
"""Largest bias code."""


def bias_aim(weight_bits: int, activation_bits: int) -> int:
    """Return the largest bias code that the choice of a weight scale aims at.

    Some bits more than a product has: a smaller scale would say nothing more.
    """
    return int(1 << max(20, weight_bits + activation_bits + 4))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """Formats and scales of the weight rows of one layer.

    ``scale`` float64 (O,) is the real number that 1 stands for; ``factors`` int64 (O, K) what
    each weight is multiplied by beside, the scale of its vector.
    """

    formats: tuple[Format, ...]
    scale: np.ndarray
    factors: np.ndarray

    @property
    def step(self) -> np.ndarray:
        """The real number that 1 stands for in each weight, float64 (O, K)."""
        return np.asarray(self.scale[:, None] * self.factors)

    def round(self, rows: np.ndarray) -> np.ndarray:
        """Return the values nearest to ``rows`` (float64 (O, K)), as float64."""
        return nearest_rows(rows / self.step, self.formats)


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerTask:
    """Quantisation of one convolution; ``given`` are its rows' formats where they are known.

    ``method`` is how the scales of its rows are found.
    """

    graph: FloatGraph
    op: FloatConv
    grids: Mapping[str, Grid]
    recipe: Recipe
    planned: Rows | None
    curvature: np.ndarray | None
    method: ScaleMethod
    given: tuple[Format, ...] | None = None

    def quantize(
        self,
        values: Mapping[str, torch.Tensor],
        codes: Mapping[str, np.ndarray],
        before: tuple[Format, ...],
    ) -> Conv:
        op, rows = self.op, len(self.op.weight)
        if op.distance:
            return self.distances(values, codes)
        flat = op.weight.reshape(rows, -1)
        formats = self.planned.formats if self.planned else self.given or self.formats(flat, before)
        bias, blocks = op.bias, None
        if self.planned is not None:
            rounded = Rounded(
                values=self.planned.round(flat).astype(np.int64),
                scale=self.planned.scale,
                factors=self.planned.factors,
            )
            blocks = self.blocks
        elif (even := self.even(flat)) is not None:
            rounded = even
        else:
            blocks = self.blocks
            rounder = self.rounder(formats, blocks)
            if self.recipe.error_feedback:
                rounded, bias = fit_layer(flat, op.groups, rounder, self.data(values, codes))
            else:
                rounded = rounder.round(flat)
        return Conv(
            name=op.name,
            input=op.input,
            output=op.output,
            window=op.window,
            groups=op.groups,
            weights=rounded.values.reshape(op.weight.shape),
            formats=formats,
            requant=self.requant(rounded.scale, bias, blocks),
            residual=op.residual,
            useful=op.useful,
            scales=None if blocks is None else self.scales(rounded, blocks),
        )

    def distances(
        self, values: Mapping[str, torch.Tensor], codes: Mapping[str, np.ndarray]
    ) -> Conv:
        """Quantise an adder layer: weights in the step of its input, the gain as multiplier.

        The bias takes up what rounding both changes in the mean.
        """
        op, grid = self.op, self.grids[self.op.input]
        rows = len(op.weight)
        gain = np.ones(rows) if op.gain is None else op.gain
        scale = np.where(gain < 0, -1.0, 1.0) * np.maximum(np.abs(gain), self.floor(op.bias))
        high = DISTANCE_WEIGHTS.high
        conv = Conv(
            name=op.name,
            input=op.input,
            output=op.output,
            window=op.window,
            groups=op.groups,
            weights=np.clip(np.rint(op.weight / grid.scale), -high, high).astype(np.int64),
            formats=(DISTANCE_WEIGHTS,) * rows,
            requant=self.requant(scale, op.bias),
            residual=op.residual,
            useful=op.useful,
            operation=DISTANCE,
        )
        if not self.recipe.error_feedback:
            return conv
        with torch.no_grad():
            wanted = convolve_float(op, values[op.input].to(torch.float64)).numpy()
        sums = convolve(conv, codes[op.input], grid.format) * grid.scale
        got = sums * scale[:, None, None] + op.bias[:, None, None]
        bias = op.bias + (wanted - got).mean(axis=(0, 2, 3))
        return replace(conv, requant=self.requant(scale, bias))

    def even(self, flat: np.ndarray) -> Rounded | None:
        """Return rows that are a scale times integers as they stand; None for other rows.

        Rows of one magnitude (copies, average pooling) have weights of 1; one that is next to
        nothing beside its bias is nothing. Those of a resize are small integers. Powers of two are
        values of their format, to which what training made of them is rounded.
        """
        levels = np.abs(flat).max(axis=1)
        steps = np.where(levels > 0, levels, 1.0)[:, None]
        if (whole := self.multiples) is not None:
            scale = levels / np.abs(whole).max(axis=1)
            return Rounded(values=whole, scale=scale, factors=np.ones_like(whole))
        if self.op.power is not None:
            high = self.op.power.high
            powers = nearest(flat / steps * high, self.op.power).astype(np.int64)
            scale = np.where(levels > 0, levels / high, self.floor(self.op.bias))
            return Rounded(values=powers, scale=scale, factors=np.ones_like(powers))
        if not np.isin(np.abs(flat) / steps, (0.0, 1.0)).all():
            return None
        floor = self.floor(self.op.bias)
        values = (np.rint(flat / steps) * (levels >= floor)[:, None]).astype(np.int64)
        return Rounded(values=values, scale=np.maximum(levels, floor), factors=np.ones_like(values))

    @property
    def multiples(self) -> np.ndarray | None:
        """Weights of a resize as integers, int64 (O, K); None of other layers."""
        flat = self.op.weight.reshape(len(self.op.weight), -1)
        if self.op.useful:
            return None
        steps = whole_steps(flat, MOST_MULTIPLE)
        if not steps.all():
            return None
        whole = np.rint(flat / steps[:, None]).astype(np.int64)
        return whole if np.abs(whole).max() > 1 else None

    @property
    def blocks(self) -> BlockScaling | None:
        """The scales of this layer's vectors; None where its channels are no whole vectors."""
        scaling = self.recipe.blocks
        if scaling is None or weight_obstacle(self.graph, self.op, scaling):
            return None
        return scaling

    def rounder(self, formats: tuple[Format, ...], blocks: BlockScaling | None) -> Rounder:
        low, high = self.grids[self.op.input].ends
        return Rounder(
            formats=formats,
            snap=functools.partial(self.snap, blocks=blocks),
            method=self.method,
            percentile=self.recipe.percentile,
            blocks=blocks,
            kernel=int(np.prod(self.op.window.kernel)),
            largest=(1 << (MAX_ACCUMULATOR_BITS - 2)) // max(high, -low),
        )

    def scales(self, rounded: Rounded, scaling: BlockScaling) -> WeightScales:
        factors = rounded.factors.reshape(self.op.weight.shape)
        return WeightScales(
            scaling=scaling, values=np.ascontiguousarray(factors[:, :: scaling.vector])
        )

    def formats(self, flat: np.ndarray, before: tuple[Format, ...]) -> tuple[Format, ...]:
        """Return the rows' formats; a copy takes over those of the layer before it."""
        if self.op.power is not None:
            return (self.op.power,) * len(flat)
        if (whole := self.multiples) is not None:
            return (Fixed(bits=int(np.abs(whole).max()).bit_length() + 1),) * len(flat)
        edge = self.op.input in self.graph.inputs or self.op.output in self.graph.outputs
        if edge and self.recipe.first_last_8bit:
            return (Fixed(bits=8),) * len(flat)
        if not self.op.useful and len(before) == len(flat) and self.op.pointwise:
            return before
        curvature = self.curvature
        if curvature is None:  # of layers that are not the network's own none is known
            curvature = np.zeros(len(flat))
        return assign_formats(flat, self.recipe, curvature)

    def data(
        self, values: Mapping[str, torch.Tensor], codes: Mapping[str, np.ndarray]
    ) -> LayerData:
        """Return quantised inputs and wanted sums, for the fit."""
        op = self.op
        x = torch.from_numpy(codes[op.input] * self.grids[op.input].scale)
        with torch.no_grad():
            wanted = convolve_float(op, values[op.input].to(torch.float64))
        if op.residual is not None and op.slope is None:
            given = torch.from_numpy(codes[op.residual] * self.grids[op.residual].scale)
            wanted = wanted + values[op.residual] - given
        return layer_data(op, x, wanted)

    def unit(self, blocks: BlockScaling | None) -> float:
        """Return what 1 in a sum stands for, of weights whose scale is 1."""
        grid = self.grids[self.op.input]
        return grid.scale * scales_step(blocks, grid.scaling)

    def floor(self, bias: np.ndarray, blocks: BlockScaling | None = None) -> np.ndarray:
        """Return the least sensible weight scale of each row: the bias stays small."""
        unit, scaling = self.unit(blocks), self.grids[self.op.input].scaling
        # Where there are scales, the largest has the range of codes; small ones are finer.
        finest = 1 if blocks is None else blocks.scale.high
        finest *= 1 if scaling is None else scaling.scale.top
        tiny = self.summed.scale / unit / 2**16 / finest
        widest = max(share.format.bits for share in self.recipe.weights)
        aim = bias_aim(widest, self.grids[self.op.input].format.bits)
        limit = min(aim * finest, BIAS_LIMIT)
        return np.asarray(np.maximum(np.abs(bias) / unit / limit, tiny))

    def factors(
        self, scale: np.ndarray, blocks: BlockScaling | None
    ) -> tuple[np.ndarray, float, np.ndarray]:
        """Return real multipliers for the sum and the residual, and the shifts."""
        op = self.op
        out = self.summed.scale
        main = scale * self.unit(blocks) / out
        other = 0.0 if op.residual is None else self.grids[op.residual].scale / out
        slope = np.ones(len(main)) if op.slope is None else np.abs(op.slope)
        largest = np.maximum(np.abs(main) * np.maximum(slope, 1.0), other)
        shift = np.floor(np.log2((MULTIPLIER_MAX + 0.49) / largest))
        return main, other, np.clip(shift, 0, MAX_SHIFT)

    def snap(self, scale: np.ndarray, blocks: BlockScaling | None) -> np.ndarray:
        """Return the scales next to ``scale`` whose multipliers are exact integers."""
        scale = np.maximum(scale, self.floor(self.op.bias, blocks))
        main, _, shift = self.factors(scale, blocks)
        integer = np.clip(np.rint(main * 2.0**shift), 1, MULTIPLIER_MAX)
        return np.asarray(scale * (integer / 2.0**shift) / main)

    def requant(
        self, scale: np.ndarray, bias: np.ndarray, blocks: BlockScaling | None = None
    ) -> Requant:
        op, grid = self.op, self.summed
        main, other, shift = self.factors(scale, blocks)
        slope = np.ones(len(main)) if op.slope is None else op.slope
        power = 2.0**shift

        def integers(real: np.ndarray, limit: int = MULTIPLIER_MAX) -> np.ndarray:
            return np.asarray(np.clip(np.rint(real), -limit, limit), dtype=np.int64)

        low, high = grid.ends
        ends = np.rint(np.clip(np.array([op.low, op.high]) / grid.scale, low, high))
        positive, negative = integers(main * power), integers(main * slope * power)
        # Where the multiplier is negative, a sum is when the value that it stands for is not.
        turned = scale < 0
        return Requant(
            bias=integers(bias / (scale * self.unit(blocks)), BIAS_LIMIT),
            positive=np.where(turned, negative, positive),
            negative=np.where(turned, positive, negative),
            residual=integers(np.full(len(main), other) * power),
            shift=shift.astype(np.int64),
            low=int(ends[0]),
            high=int(ends[1]),
            rounding=self.recipe.rounding,
            table=self.table(int(ends[0]), int(ends[1])),
        )

    @property
    def summed(self) -> Grid:
        """The grid of what is made of sums: of the output, or of a table's indices."""
        return self.grids[self.op.output if self.op.function is None else self.op.before]

    def table(self, low: int, high: int) -> Table | None:
        """Return the table of the layer's function for indices ``low`` to ``high``."""
        function = self.op.function
        if function is None:
            return None
        scale = self.summed.scale
        values = sampled(function, np.arange(low, high + 1) * scale)
        return Table(
            function=function.label, scale=scale, values=self.grids[self.op.output].codes(values)
        )
