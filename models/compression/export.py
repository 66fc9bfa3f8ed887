"""From a compressed graph to an integer-exact network of :class:`SparseLinear` layers.

A layer has no multiplier but a shift, so its weights absorb the scales: with real value ``s`` of an
input's code 1 and ``t`` of an output's, a weight w is the integer ``w * s / t * 2**shift``. Of a
codebook of 16-bit values hardly anything is lost by that; plain weights of few bits lose up to one
of them, as scales come in powers of two.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from celosia.models.compression.lower import layers_of, weights_of
from celosia.models.compression.recipe import Compression
from celosia.models.compression.student import Step
from celosia.models.errors import CelosiaError
from celosia.models.formats import Codebook, Fixed, Format
from celosia.models.graph import FloatConv, FloatGraph
from celosia.models.grid import Grid
from celosia.models.network import MAX_SHIFT, Network, Tensor
from celosia.models.sparse import SparseLinear, SparseMatrix


def integer_layer(
    op: FloatConv, grids: Mapping[str, Grid], recipe: Compression, shift: int
) -> SparseLinear:
    """Return the lowered layer ``op`` in integers, to the nearest, with the shift given.

    ``grids`` are those of its input and output. Values beyond the weights' bits are clipped.
    """
    source, target = grids[op.input], grids[op.output]
    limit = (1 << recipe.value_bits - 1) - 1
    unit = unit_of(op, grids, shift)
    values = np.rint(weights_of(op) / unit).clip(-limit, limit).astype(np.int64)
    fmt: Format
    if recipe.clusters is None:
        fmt = Fixed(bits=recipe.weight_bits)
    else:
        fmt = Codebook.of(values, recipe.code_bits)
    low, high = (
        int(np.clip(np.rint(end / target.scale), target.format.low, target.format.high))
        for end in (op.low, op.high)
    )
    bias = np.rint(op.bias / (unit * source.scale)).astype(np.int64)
    return SparseLinear(
        name=op.name,
        input=op.input,
        output=op.output,
        matrix=SparseMatrix.from_dense(values),
        format=fmt,
        bias=bias,
        shift=shift,
        low=low,
        high=high,
    )


def unit_of(op: FloatConv, grids: Mapping[str, Grid], shift: int) -> float:
    """Return the real value of weight 1 of a layer with ``shift``."""
    return grids[op.output].scale / grids[op.input].scale / 2.0**shift


def find_steps(
    graph: FloatGraph, grids: Mapping[str, Grid], recipe: Compression
) -> dict[str, tuple[int, Step]]:
    """Return the shift, and the step of its weights, of each layer of a lowered graph.

    Of a codebook the largest with which values fit their 16 bits and sums the accumulators. Of
    plain weights that with the least squared error, clipped ones included.

    Raises
    ------
    CelosiaError
        If a layer's weights are too large for any shift, or its sums for the accumulators unless
        all weights that matter are rounded away.
    """
    return {op.name: _find_step(op, grids, recipe) for op in layers_of(graph)}


def _find_step(op: FloatConv, grids: Mapping[str, Grid], recipe: Compression) -> tuple[int, Step]:
    limit = (1 << recipe.value_bits - 1) - 1
    weights = weights_of(op)
    most = max(float(np.abs(weights).max()), 1e-30)
    whole = int(np.floor(np.log2(limit * unit_of(op, grids, 0) / most)))
    if recipe.clusters is None:
        # One more bit below clips the largest weights.
        whole = min((whole, whole + 1), key=lambda s: _error(weights, unit_of(op, grids, s), limit))
    for shift in range(min(whole, MAX_SHIFT), -1, -1):
        if _largest_bias(op, grids, shift) >= (1 << recipe.accumulator_bits - 1) - 1:
            continue
        layer = integer_layer(op, grids, recipe, shift)
        if layer.accumulator_bits(grids[op.input].format) > recipe.accumulator_bits:
            continue
        if len(layer.matrix.values) or not _matters(op, grids):
            return shift, Step(unit=unit_of(op, grids, shift), limit=limit)
        break
    raise CelosiaError(
        f"layer {op.name!r} fits no integers: its weights reach {most:.3g}, for activations in "
        f"steps of {grids[op.input].scale:.3g} and {grids[op.output].scale:.3g}, and sums may have "
        f"{recipe.accumulator_bits} bits: take more of them (accumulator_bits, weight_bits), or a "
        "codebook"
    )


def _largest_bias(op: FloatConv, grids: Mapping[str, Grid], shift: int) -> float:
    """Return the largest magnitude of a layer's biases in integers, before they are rounded."""
    return float(np.abs(op.bias).max()) / (unit_of(op, grids, shift) * grids[op.input].scale)


def _matters(op: FloatConv, grids: Mapping[str, Grid]) -> bool:
    """Return whether a layer's products can change an output by a code."""
    source, target = grids[op.input], grids[op.output]
    reach = max(source.format.high, -source.format.low) * source.scale
    return bool((np.abs(weights_of(op)).sum(axis=1) * reach >= target.scale).any())


def _error(weights: np.ndarray, unit: float, limit: int) -> float:
    rounded = np.rint(weights / unit).clip(-limit, limit) * unit
    return float(((weights - rounded) ** 2).sum())


def integer_network(
    graph: FloatGraph,
    grids: Mapping[str, Grid],
    recipe: Compression,
    shifts: Mapping[str, int],
) -> Network:
    """Return the lowered ``graph`` in integers.

    ``grids`` are those of all tensors, ``shifts`` those of all layers.
    """
    return Network(
        name=graph.name,
        tensors=tuple(
            Tensor(name=name, shape=shape, format=grids[name].format, scale=grids[name].scale)
            for name, shape in graph.shapes().items()
        ),
        inputs=tuple(graph.inputs),
        outputs=graph.outputs,
        ops=tuple(integer_layer(op, grids, recipe, shifts[op.name]) for op in layers_of(graph)),
        trained=graph.trained,
    )
