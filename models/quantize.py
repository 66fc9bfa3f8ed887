"""Post-training quantisation: from a float graph to an integer-exact :class:`Network`.

Activations get one scale for each tensor, found by least squared error on calibration
data; weights one scale for each row. With ``Recipe.error_feedback`` layers are treated in
order: the real weights of a layer are first fitted so that, on the inputs which the
quantised layers before it give, it computes what the float layer computes; then they are
rounded so that their errors cancel (coordinate descent on the output error, the idea
of GPTQ: Frantar et al., ICLR 2023); the bias takes up what is left in the mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from celosia.models.calibrate import Grid, calibrate
from celosia.models.errors import CelosiaError
from celosia.models.find_scales import nearest_rows
from celosia.models.fit import LayerData, fit_layer, layer_data
from celosia.models.formats import Fixed, Format
from celosia.models.golden import convolve, max_pool
from celosia.models.graph import FloatConv, FloatGraph, convolve_float, evaluate_float
from celosia.models.network import (
    MAX_SHIFT,
    MULTIPLIER_BITS,
    Concat,
    Conv,
    MaxPool,
    Network,
    Op,
    Requant,
    Tensor,
)
from celosia.models.recipe import Assignment, Recipe
from celosia.models.requantise import requantise
from celosia.models.round_weights import assign_formats, round_rows

__all__ = [
    "Assignment",
    "Plan",
    "Recipe",
    "Rows",
    "dequantise",
    "quantise_input",
    "quantise_inputs",
    "quantize",
    "weight_scale",
]

MULTIPLIER_MAX = (1 << (MULTIPLIER_BITS - 1)) - 1
BIAS_MAX = 1 << 20
"""Largest bias code that the choice of a weight scale aims at."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """Formats and real scales (float64 (O,)) of the weight rows of one layer."""

    formats: tuple[Format, ...]
    scale: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """All grids of a quantisation: of tensors, and of useful layers' weights, by name."""

    grids: dict[str, Grid]
    rows: dict[str, Rows]

    @staticmethod
    def of(network: Network) -> Plan:
        """Return the grids that ``network`` has."""
        grids = {
            tensor.name: Grid(format=tensor.format, scale=tensor.scale)
            for tensor in network.tensors
        }
        rows = {
            op.name: Rows(formats=op.formats, scale=weight_scale(network, op))
            for op in network.ops
            if isinstance(op, Conv) and op.useful
        }
        return Plan(grids=grids, rows=rows)


def weight_scale(network: Network, op: Conv) -> np.ndarray:
    """Return the real value of weight 1 in each row of ``op``, float64 (O,)."""
    ratio = network.tensor(op.output).scale / network.tensor(op.input).scale
    return np.asarray(np.maximum(op.requant.positive, 1) / 2.0**op.requant.shift * ratio)


def quantize(
    graph: FloatGraph,
    calibration: np.ndarray | Mapping[str, np.ndarray],
    recipe: Recipe,
    plan: Plan | None = None,
) -> Network:
    """Quantise ``graph``.

    Parameters
    ----------
    graph
        The fused float graph.
    calibration
        Typical inputs, float (N, C, H, W), without labels; for several inputs by name.
    recipe
        Formats and methods.
    plan
        Formats and scales where they are known already (after fine-tuning): weights are
        rounded to the nearest. By default they are found from the calibration data.

    Raises
    ------
    CelosiaError
        If the calibration data does not fit the graph's inputs.
    """
    inputs = check_calibration(graph, calibration)
    with torch.no_grad():
        tensors = {name: torch.from_numpy(data) for name, data in inputs.items()}
        values = evaluate_float(graph, tensors)
    _check_finite(values)
    known = calibrate(graph, values, recipe) if plan is None else plan.grids
    rows = {} if plan is None else plan.rows
    codes = {name: known[name].codes(data) for name, data in inputs.items()}
    ops: list[Op] = []
    formats: dict[str, tuple[Format, ...]] = {}
    for op in graph.ops:
        if isinstance(op, MaxPool):
            codes[op.output] = max_pool(op, codes[op.input])
            formats[op.output] = formats.get(op.input, ())
            ops.append(op)
        elif isinstance(op, Concat):
            codes[op.output] = np.concatenate([codes[name] for name in op.inputs], axis=1)
            ops.append(op)
        else:
            task = _Layer(graph=graph, op=op, grids=known, recipe=recipe, planned=rows.get(op.name))
            conv = task.quantize(values, codes, formats.get(op.input, ()))
            formats[op.output] = conv.formats
            residual = None if op.residual is None else codes[op.residual]
            acc = convolve(conv, codes[op.input], known[op.input].format)
            codes[op.output] = requantise(acc, conv.requant, residual)
            ops.append(conv)
    return Network(
        name=graph.name,
        tensors=tuple(
            Tensor(name=name, shape=shape, format=known[name].format, scale=known[name].scale)
            for name, shape in graph.shapes().items()
        ),
        inputs=tuple(graph.inputs),
        outputs=graph.outputs,
        ops=tuple(ops),
    )


def quantise_input(network: Network, values: np.ndarray, name: str | None = None) -> np.ndarray:
    """Return the codes, int64, of real ``values`` (N, C, H, W) for the input ``name``.

    ``name`` may be left out where there is one input. Values out of range saturate.

    Raises
    ------
    CelosiaError
        If the shape is wrong, a value is no number, or the input is not known.
    """
    if name is None:
        if len(network.inputs) != 1:
            raise CelosiaError(f"name one of the network's inputs {list(network.inputs)}")
        name = network.inputs[0]
    if name not in network.inputs:
        raise CelosiaError(
            f"network {network.name!r} has no input {name!r}; give {list(network.inputs)}"
        )
    tensor = network.tensor(name)
    data = _check_images(name, tensor.shape, values)
    return Grid(format=tensor.format, scale=tensor.scale).codes(data)


def quantise_inputs(
    network: Network, values: np.ndarray | Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Return the codes of all inputs by name, as :func:`celosia.models.golden.evaluate` wants.

    Raises
    ------
    CelosiaError
        As :func:`quantise_input`, or if an input is missing.
    """
    if isinstance(values, Mapping):
        missing = [name for name in network.inputs if name not in values]
        if missing:
            raise CelosiaError(f"values for the inputs {missing} are missing")
        return {name: quantise_input(network, data, name) for name, data in values.items()}
    return {network.inputs[0]: quantise_input(network, values)}


def dequantise(network: Network, name: str, codes: np.ndarray) -> np.ndarray:
    """Return the real values, float64, that ``codes`` of the tensor ``name`` stand for."""
    return np.asarray(codes, dtype=np.float64) * network.tensor(name).scale


def check_calibration(
    graph: FloatGraph, calibration: np.ndarray | Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Return calibration data by input name, float32; ``CelosiaError`` if it does not fit."""
    if not isinstance(calibration, Mapping):
        if len(graph.inputs) != 1:
            raise CelosiaError(
                f"the model has the inputs {list(graph.inputs)}: give calibration data by name"
            )
        calibration = {next(iter(graph.inputs)): calibration}
    if set(calibration) != set(graph.inputs):
        raise CelosiaError(
            f"calibration data is for {sorted(calibration)}, the inputs are {sorted(graph.inputs)}"
        )
    data = {
        name: _check_images(name, graph.inputs[name], values)
        for name, values in calibration.items()
    }
    if len({len(values) for values in data.values()}) > 1:
        raise CelosiaError("calibration data must have the same number of samples for all inputs")
    return data


def _check_finite(values: Mapping[str, torch.Tensor]) -> None:
    for name, data in values.items():
        if not torch.isfinite(data).all():
            raise CelosiaError(
                f"tensor {name!r} is beyond the range of a float32 on the calibration data; "
                "give typical inputs, scaled as in training"
            )


def _check_images(name: str, shape: tuple[int, int, int], values: np.ndarray) -> np.ndarray:
    data = np.asarray(values)
    if data.ndim != 4 or data.shape[1:] != shape or len(data) == 0:
        wanted = ", ".join(map(str, shape))
        raise CelosiaError(f"data for input {name!r} must be (N, {wanted}), not {data.shape}")
    with np.errstate(over="ignore"):
        single = data.astype(np.float32) if data.dtype.kind in "fiu" else None
    if single is None or not np.isfinite(single).all():
        raise CelosiaError(f"data for input {name!r} must be finite numbers that fit a float32")
    return single


@dataclass(frozen=True, slots=True, kw_only=True)
class _Layer:
    """Quantisation of one convolution."""

    graph: FloatGraph
    op: FloatConv
    grids: Mapping[str, Grid]
    recipe: Recipe
    planned: Rows | None

    def quantize(
        self,
        values: Mapping[str, torch.Tensor],
        codes: Mapping[str, np.ndarray],
        before: tuple[Format, ...],
    ) -> Conv:
        op, rows = self.op, len(self.op.weight)
        flat = op.weight.reshape(rows, -1)
        formats = self.planned.formats if self.planned else self.formats(flat, before)
        bias = op.bias
        levels = np.abs(flat).max(axis=1)
        steps = np.where(levels > 0, levels, 1.0)[:, None]
        if self.planned is not None:
            scale = self.planned.scale
            integers = nearest_rows(flat / scale[:, None], formats).astype(np.int64)
        elif np.isin(np.abs(flat) / steps, (0.0, 1.0)).all():
            # Rows of one magnitude (copies, average pooling) are exact with weights of 1.
            # A row that is next to nothing beside its bias is nothing.
            floor = self.floor(bias)
            integers = (np.rint(flat / steps) * (levels >= floor)[:, None]).astype(np.int64)
            scale = np.maximum(levels, floor)
        elif not self.recipe.error_feedback:
            integers, scale = round_rows(flat, formats, None, self.snap)
        else:
            data = self.data(values, codes)
            integers, scale, bias = fit_layer(flat, op.groups, formats, data, self.snap)
        return Conv(
            name=op.name,
            input=op.input,
            output=op.output,
            window=op.window,
            groups=op.groups,
            weights=integers.reshape(op.weight.shape),
            formats=formats,
            requant=self.requant(scale, bias),
            residual=op.residual,
            useful=op.useful,
        )

    def formats(self, flat: np.ndarray, before: tuple[Format, ...]) -> tuple[Format, ...]:
        """Return the rows' formats; a copy takes over those of the layer before it."""
        edge = self.op.input in self.graph.inputs or self.op.output in self.graph.outputs
        if edge and self.recipe.first_last_8bit:
            return (Fixed(bits=8),) * len(flat)
        if not self.op.useful and len(before) == len(flat) and self.op.pointwise:
            return before
        return assign_formats(flat, self.recipe)

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

    def floor(self, bias: np.ndarray) -> np.ndarray:
        """Return the least sensible weight scale of each row: the bias stays small."""
        unit = self.grids[self.op.input].scale
        tiny = self.grids[self.op.output].scale / unit / 2**16
        return np.asarray(np.maximum(np.abs(bias) / unit / BIAS_MAX, tiny))

    def factors(self, scale: np.ndarray) -> tuple[np.ndarray, float, np.ndarray]:
        """Return real multipliers for the sum and the residual, and the shifts."""
        op = self.op
        out = self.grids[op.output].scale
        main = scale * self.grids[op.input].scale / out
        other = 0.0 if op.residual is None else self.grids[op.residual].scale / out
        slope = np.ones(len(main)) if op.slope is None else np.abs(op.slope)
        largest = np.maximum(main * np.maximum(slope, 1.0), other)
        shift = np.floor(np.log2((MULTIPLIER_MAX + 0.49) / largest))
        return main, other, np.clip(shift, 0, MAX_SHIFT)

    def snap(self, scale: np.ndarray) -> np.ndarray:
        """Return the scales next to ``scale`` whose multipliers are exact integers."""
        scale = np.maximum(scale, self.floor(self.op.bias))
        main, _, shift = self.factors(scale)
        integer = np.clip(np.rint(main * 2.0**shift), 1, MULTIPLIER_MAX)
        return np.asarray(scale * (integer / 2.0**shift) / main)

    def requant(self, scale: np.ndarray, bias: np.ndarray) -> Requant:
        op, grid = self.op, self.grids[self.op.output]
        main, other, shift = self.factors(scale)
        slope = np.ones(len(main)) if op.slope is None else op.slope
        power = 2.0**shift

        def integers(real: np.ndarray, limit: int = MULTIPLIER_MAX) -> np.ndarray:
            return np.asarray(np.clip(np.rint(real), -limit, limit), dtype=np.int64)

        low, high = grid.format.low, grid.format.high
        ends = np.rint(np.clip(np.array([op.low, op.high]) / grid.scale, low, high))
        positive = integers(main * power)
        return Requant(
            bias=integers(bias / (scale * self.grids[op.input].scale), 1 << 38),
            positive=positive,
            negative=positive if op.slope is None else integers(main * slope * power),
            residual=integers(np.full(len(main), other) * power),
            shift=shift.astype(np.int64),
            low=int(ends[0]),
            high=int(ends[1]),
            rounding=self.recipe.rounding,
        )
