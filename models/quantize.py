"""Post-training quantisation: from a float graph to an integer-exact :class:`Network`.

Activations get one scale for each tensor, found on calibration data; weights one scale for
each row, or for each vector of a row. With ``Recipe.error_feedback`` layers are treated in
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

from celosia.models.calibrate import calibrate
from celosia.models.curvature import row_curvatures
from celosia.models.errors import CelosiaError
from celosia.models.find_scales import ScaleMethod
from celosia.models.formats import BlockScaling, Fixed, Format
from celosia.models.golden import convolve, interleave, max_pool
from celosia.models.graph import FloatConv, FloatGraph, evaluate_float
from celosia.models.grid import Grid
from celosia.models.inputs import check_images
from celosia.models.network import (
    Concat,
    Conv,
    Interleave,
    MaxPool,
    Network,
    Op,
    Tensor,
)
from celosia.models.operations import DISTANCE
from celosia.models.quantize_layer import LayerTask, Rows
from celosia.models.recipe import Assignment, Recipe
from celosia.models.requantise import requantise
from celosia.models.vector_choice import check_vectors
from celosia.models.vectors import quantise_vectors, spread_scales

__all__ = [
    "Assignment",
    "Plan",
    "Recipe",
    "Rows",
    "quantize",
    "weight_scale",
]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Plan:
    """All grids of a quantisation: of tensors, and of useful layers' weights, by name.

    Weights of distances have none of their own but that of their input.
    """

    grids: dict[str, Grid]
    rows: dict[str, Rows]

    @staticmethod
    def of(network: Network) -> Plan:
        """Return the grids that ``network`` has."""
        grids = {
            tensor.name: Grid(format=tensor.format, scale=tensor.scale, scaling=tensor.scaling)
            for tensor in network.tensors
        }
        for op in network.ops:
            if isinstance(op, Conv) and op.requant.table is not None:
                bits = max(2, (len(op.requant.table.values) - 1).bit_length())
                index = Grid(format=Fixed(bits=bits), scale=op.requant.table.scale)
                grids[FloatConv.before_of(op.output)] = index
        rows = {
            op.name: Rows(formats=op.formats, scale=weight_scale(network, op), factors=_factors(op))
            for op in network.ops
            if isinstance(op, Conv) and op.useful and op.operation != DISTANCE
        }
        return Plan(grids=grids, rows=rows)


def _factors(op: Conv) -> np.ndarray:
    """Return the scale of each weight's vector, int64 (O, K); 1 where there are none."""
    if op.scales is None:
        return np.ones((len(op.weights), op.weights[0].size), dtype=np.int64)
    return op.scales.spread(op.weights.shape[1]).reshape(len(op.weights), -1)


def weight_scale(network: Network, op: Conv) -> np.ndarray:
    """Return the real value of weight 1, with scale 1, in each row of ``op``, float64 (O,)."""
    source = network.tensor(op.input)
    table = op.requant.table
    target = network.tensor(op.output).scale if table is None else table.scale
    ratio = target / (source.scale * op.product_step(source.scaling))
    return np.asarray(np.maximum(op.requant.positive, 1) / 2.0**op.requant.shift * ratio)


def quantize(
    graph: FloatGraph,
    calibration: np.ndarray | Mapping[str, np.ndarray],
    recipe: Recipe,
    plan: Plan | None = None,
    layers: Mapping[str, Format] | None = None,
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
    layers
        The format of all rows of some layers, by name, instead of the recipe's. Their scales
        are those of the least error: few bits want some clipping, whatever the others do.

    Raises
    ------
    CelosiaError
        If the calibration data does not fit the graph's inputs, or the recipe cannot hold
        what is in the graph: one bit for both signs, vectors that do not divide the channels,
        sums that no accumulator holds.
    """
    inputs = check_calibration(graph, calibration)
    check_vectors(graph, recipe)
    with torch.no_grad():
        tensors = {name: torch.from_numpy(data) for name, data in inputs.items()}
        values = evaluate_float(graph, tensors)
    _check_finite(values)
    known = calibrate(graph, values, recipe) if plan is None else plan.grids
    rows = {} if plan is None else plan.rows
    assigns = plan is None and recipe.assignment is Assignment.HESSIAN
    curvatures = _curvatures(graph, tensors, recipe) if assigns else {}
    codes = {name: known[name].codes(data) for name, data in inputs.items()}
    parts: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def keep(name: str, wide: np.ndarray) -> None:
        """Keep what a tensor holds of ``wide`` integers; of vectors both parts as well."""
        grid = known[name]
        if grid.scaling is not None:
            parts[name] = elements, scales = quantise_vectors(wide, grid.format, grid.scaling)
            wide = elements * spread_scales(scales, grid.scaling, wide.shape[1])
        codes[name] = wide

    ops: list[Op] = []
    formats: dict[str, tuple[Format, ...]] = {}
    shapes = graph.shapes()
    # The parts of an interleave lie alike, so that their rows have the same formats.
    whole = {
        name: op.output for op in graph.ops if isinstance(op, Interleave) for name in op.inputs
    }
    for op in graph.ops:
        if isinstance(op, MaxPool):
            keep(op.output, max_pool(op, codes[op.input]))
            formats[op.output] = formats.get(op.input, ())
            ops.append(op)
        elif isinstance(op, Concat):
            codes[op.output] = np.concatenate([codes[name] for name in op.inputs], axis=1)
            if known[op.output].scaling is not None:
                several = zip(*(parts[name] for name in op.inputs), strict=True)
                elements, scales = (np.concatenate(some, axis=1) for some in several)
                parts[op.output] = elements, scales
            ops.append(op)
        elif isinstance(op, Interleave):
            codes[op.output] = interleave(op, codes, shapes[op.output])
            if (scaling := known[op.output].scaling) is not None:
                parts[op.output] = _interleaved(op, parts, shapes[op.output], scaling)
            ops.append(op)
        else:
            task = LayerTask(
                graph=graph,
                op=op,
                grids=known,
                recipe=recipe,
                planned=rows.get(op.name),
                curvature=curvatures.get(op.name),
                given=_given(op, layers or {}, formats.get(whole.get(op.output, ""))),
                method=ScaleMethod.MSE if op.name in (layers or {}) else recipe.scale,
            )
            conv = task.quantize(values, codes, formats.get(op.input, ()))
            formats[op.output] = conv.formats
            if op.output in whole:
                formats.setdefault(whole[op.output], conv.formats)
            residual = None if op.residual is None else codes[op.residual]
            source = known[op.input]
            elements, given = parts.get(op.input, (codes[op.input], None))
            acc = convolve(conv, elements, source.format, source.scaling, given)
            keep(op.output, requantise(acc, conv.requant, residual))
            ops.append(conv)
    return _network(graph, known, ops)


def _given(
    op: FloatConv, layers: Mapping[str, Format], siblings: tuple[Format, ...] | None
) -> tuple[Format, ...] | None:
    """Return the formats of the rows of ``op`` where they are asked for, or its siblings have."""
    if op.name in layers:
        return (layers[op.name],) * len(op.weight)
    return siblings if op.useful else None


def _interleaved(
    op: Interleave,
    parts: Mapping[str, tuple[np.ndarray, np.ndarray]],
    shape: tuple[int, int, int],
    scaling: BlockScaling,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the elements and scales of the output of ``op`` from those of its parts."""
    few = -(-shape[0] // scaling.vector), *shape[1:]
    elements, scales = (
        interleave(op, {name: parts[name][which] for name in op.inputs}, size)
        for which, size in enumerate((shape, few))
    )
    return elements, scales


def _curvatures(
    graph: FloatGraph, inputs: Mapping[str, torch.Tensor], recipe: Recipe
) -> dict[str, np.ndarray]:
    """Return the curvature of each row of each layer; refuse layers that have none."""
    for op in graph.ops:
        if isinstance(op, FloatConv) and op.distance:
            raise CelosiaError(
                f"layer {op.name!r} is an adder layer, whose curvature is not defined: "
                "assign formats by variance or error"
            )
    return row_curvatures(graph, inputs, seed=recipe.seed)


def _network(graph: FloatGraph, grids: Mapping[str, Grid], ops: list[Op]) -> Network:
    """Return the network of ``ops``; refuse in words what no network can hold."""
    try:
        return Network(
            name=graph.name,
            tensors=tuple(
                Tensor(
                    name=name,
                    shape=shape,
                    format=grids[name].format,
                    scale=grids[name].scale,
                    scaling=grids[name].scaling,
                )
                for name, shape in graph.shapes().items()
            ),
            inputs=tuple(graph.inputs),
            outputs=graph.outputs,
            ops=tuple(ops),
            trained=graph.trained,
        )
    except ValueError as error:
        raise CelosiaError(
            f"the recipe does not fit the network: {error}; use formats with fewer bits or a "
            "smaller range"
        ) from error


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
        name: check_images(name, graph.inputs[name], values) for name, values in calibration.items()
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
