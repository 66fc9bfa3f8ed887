"""Formats and scales of activations, from what a float graph does to calibration data."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from celosia.models.errors import CelosiaError
from celosia.models.find_scales import find_scales
from celosia.models.formats import E8M0, BlockScaling, Element, Fixed, element_of
from celosia.models.functions import Ending
from celosia.models.graph import FloatConv, FloatGraph, reads
from celosia.models.grid import Grid
from celosia.models.network import Concat, Interleave, MaxPool
from celosia.models.recipe import Recipe
from celosia.models.vector_choice import activation_obstacle
from celosia.models.vectors import vector_limit

DISTANCE_WEIGHTS = Fixed(bits=8)
"""Format of the weights of distances; the lowest code is no weight."""

SAMPLES = 60_000
"""Most values that the search for one scale looks at."""

_EVEN = 1e-5
"""Share of the largest value by which floats may miss the multiples that they stand for."""


def calibrate(
    graph: FloatGraph, values: Mapping[str, torch.Tensor], recipe: Recipe
) -> dict[str, Grid]:
    """Return the grid of every tensor of ``graph``.

    What functions are taken of has one too, by ``FloatConv.before``: the indices of a table.
    Tensors that must agree (around a pooling, the members of a concat) share one.
    A grid is unsigned where the graph proves that no value is negative, and for inputs where
    the calibration data has none.

    Parameters
    ----------
    graph
        The fused graph.
    values
        Each tensor's values on the calibration data, as ``evaluate_float`` gives.
    recipe
        For the widths, and how scales are found.

    Raises
    ------
    CelosiaError
        If a tensor with values of both signs is to have one bit.
    """
    positive = _non_negative(graph, values)
    grids: dict[str, Grid] = {}
    for names in grid_groups(graph):
        bits = max(_width(graph, name, recipe) for name in names)
        fmt = Fixed(bits=bits, signed=not all(name in positive for name in names))
        if recipe.elements is not None and recipe.blocks is not None:
            element = element_of(recipe.elements, signed=fmt.signed)
            if not activation_obstacle(graph, names, fmt.signed, recipe.blocks.vector):
                grid = _scaled_grid(values, names, element, recipe.blocks)
                grids.update(dict.fromkeys(names, grid))
                continue
        judged = _judged(graph, names)
        data = np.concatenate([_sample(values[name]) for name in judged])
        if fmt.high == 0 and data.max() > 0:
            raise CelosiaError(
                f"tensor {names[0]!r} has values of both signs, and one bit holds -1 and 0 only: "
                "give it 2 bits or more (activation_bits, output_bits), or a ReLU"
            )
        step = even_step(data, fmt) if all(name in graph.inputs for name in names) else None
        scale = max(step or tensor_scale(data, fmt, recipe), _least_step(graph, names))
        grid = Grid(format=fmt, scale=scale)
        grids.update(dict.fromkeys(names, grid))
    for op in graph.ops:
        if isinstance(op, FloatConv) and op.function is not None:
            grids[op.before] = _index_grid(op.function, values[op.before], recipe.table_bits)
    return grids


def _index_grid(function: Ending, values: torch.Tensor, bits: int) -> Grid:
    """Return the grid of what ``function`` is taken of: as far as it, and the data, changes."""
    data, (low, high) = _sample(values), function.reach
    fmt = Fixed(bits=bits)
    most = max(min(float(data.max()), high), min(-float(data.min()), -low), 0.0)
    return Grid(format=fmt, scale=most / fmt.high if most > 0 else 1.0)


def _scaled_grid(
    values: Mapping[str, torch.Tensor], names: list[str], element: Element, scaling: BlockScaling
) -> Grid:
    """Return the grid whose largest scale is that of the largest value.

    Its unit is VS-Quant's gamma, NVFP4's scale of a tensor; with scales that are powers of two
    it is one too, so that they are OCP's (MX 1.0, section 6.3).
    """
    most = max(float(values[name].abs().max()) for name in names)
    unit = most / vector_limit(element, scaling)
    if isinstance(scaling.scale, E8M0):
        exponent = np.frexp(most)[1] - element.high.bit_length()
        unit = float(np.ldexp(1.0 / scaling.scale.top, exponent))
    return Grid(format=element, scale=unit if most > 0 else 1.0, scaling=scaling)


def tensor_scale(values: np.ndarray, fmt: Fixed, recipe: Recipe) -> float:
    """Return the scale of a tensor with ``values`` (K,) in ``fmt``; 1 where all are 0."""
    (found,) = find_scales(values[None], fmt, recipe.activation_scale, recipe.percentile)
    return float(found) if found > 0 else 1.0


def even_step(values: np.ndarray, fmt: Fixed) -> float | None:
    """Return the number of which all ``values`` (K,) are multiples that ``fmt`` holds, or None.

    Inputs that were integers, such as the bytes of a photo, then lose nothing. Of a range that
    begins at the real 0 neither end need be a code's: one multiple beyond each saturates.
    """
    levels = np.unique(values)
    steps = np.diff(levels)
    steps = steps[steps > _EVEN * np.abs(levels).max()]
    if not len(steps):
        return None
    codes = levels / steps.min()
    # The mean of all steps is nearer to the number than the least, which has the largest error.
    step = float(steps.min() * (codes[-1] - codes[0]) / (np.rint(codes[-1]) - np.rint(codes[0])))
    codes = levels / step
    near = np.rint(codes)
    if np.abs(codes - near).max() > _EVEN * len(fmt.values):
        return None
    return step if fmt.low - 1 <= near[0] and near[-1] <= fmt.high + 1 else None


def _least_step(graph: FloatGraph, names: list[str]) -> float:
    """Return the step that the weights of distances from ``names`` need: they have the same one.

    No weight is clipped (AdderNet's 8-bit quantisation as ShiftAddNet, NeurIPS 2020, does it).
    """
    weights = [
        np.abs(op.weight).max()
        for op in graph.ops
        if isinstance(op, FloatConv) and op.distance and op.input in names
    ]
    return float(max(weights, default=0.0)) / DISTANCE_WEIGHTS.high


def _width(graph: FloatGraph, name: str, recipe: Recipe) -> int:
    if name in graph.outputs:
        return recipe.output_width
    return recipe.input_width if name in graph.inputs else recipe.activation_bits


def grid_groups(graph: FloatGraph) -> list[list[str]]:
    """Return the tensors, those that must have one grid together."""
    leader = {name: name for name in graph.shapes()}

    def find(name: str) -> str:
        while leader[name] != name:
            name = leader[name]
        return name

    for op in graph.ops:
        if isinstance(op, MaxPool | Concat | Interleave):
            for name in reads(op):
                leader[find(name)] = find(op.output)
    groups: dict[str, list[str]] = {}
    for name in leader:
        groups.setdefault(find(name), []).append(name)
    return list(groups.values())


def _judged(graph: FloatGraph, names: list[str]) -> list[str]:
    """Return those of ``names`` that a convolution reads or that are outputs.

    What only a pooling reads need not be represented well where the pooling drops it.
    """
    readers = graph.readers()
    judged = [
        name
        for name in names
        if name in graph.outputs or any(isinstance(op, FloatConv) for op in readers[name])
    ]
    return judged or names


def _non_negative(graph: FloatGraph, values: Mapping[str, torch.Tensor]) -> set[str]:
    """Return the tensors that cannot be negative (inputs: that never were)."""
    known = {name for name in graph.inputs if float(values[name].min()) >= 0}
    for op in graph.ops:
        if not isinstance(op, FloatConv):
            if all(name in known for name in reads(op)):
                known.add(op.output)
            continue
        carried = (
            op.input in known
            and not op.distance
            and (op.weight >= 0).all()
            and (op.bias >= 0).all()
            and op.high >= 0
        )
        ramp = op.slope is not None and not op.slope.any() and op.high >= 0
        added = op.residual is None or op.residual in known
        if op.function is not None:
            if op.function.non_negative:
                known.add(op.output)
        elif op.low >= 0 or (added and (carried or ramp)):
            known.add(op.output)
    return known


def _sample(values: torch.Tensor) -> np.ndarray:
    """Return some of ``values`` drawn at random, the same at each call, and both extremes.

    Every n-th would be from the same columns of each map where n and the width have a factor
    in common.
    """
    flat: np.ndarray = values.detach().reshape(-1).to(torch.float64).numpy()
    if len(flat) <= SAMPLES:
        return flat
    drawn = flat[np.random.default_rng(0).integers(len(flat), size=SAMPLES)]
    return np.concatenate([drawn, [flat.min(), flat.max()]])
