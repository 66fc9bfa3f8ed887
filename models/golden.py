"""The golden model: what a :class:`Network` computes, to the bit.

Products are summed by :mod:`celosia.models.convolution`, products of scaled vectors in float64 and
distances in torch's, which is exact here: distances are summed one by one, and every partial
sum is an integer below ``2**53``, which a network's constructor ensures with a wide margin
(``MAX_ACCUMULATOR_BITS``) and :func:`convolve` checks again. Only distances load torch, which
takes longer than many a network.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from celosia.models.bounds import accumulator_bits, accumulator_bound, accumulator_range
from celosia.models.convolution import convolve_integers
from celosia.models.errors import CelosiaError
from celosia.models.formats import BlockScaling, Element
from celosia.models.lstm import CODE_BITS, GATES, TABLE_FRACTION, Lstm
from celosia.models.network import (
    Concat,
    Conv,
    Interleave,
    MaxPool,
    Network,
    Rounding,
    Tensor,
    WeightScales,
    Window,
)
from celosia.models.operations import Kind
from celosia.models.requantise import requantise, shift_round
from celosia.models.sparse import SparseLinear
from celosia.models.vectors import quantise_vectors, spread_scales

__all__ = [
    "accumulator_bits",
    "accumulator_bound",
    "accumulator_range",
    "convolve",
    "evaluate",
    "max_pool",
    "multiply_sparse",
    "requantise",
    "run_lstm",
    "shift_round",
]

EXACT_BITS = 53
"""Integers of a magnitude up to ``2**EXACT_BITS`` are exact in float64."""


def evaluate(network: Network, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the codes of every tensor of ``network`` for a batch of inputs.

    Parameters
    ----------
    network
        The network.
    inputs
        For each input's name its codes: any integer type, shape (N, C, H, W), values
        in the input's format; N is the same for all.

    Returns
    -------
    For each tensor's name its codes, int64 (N, C, H, W), and for that of a tensor's scales
    (``Tensor.scales_name``) the codes of the scales.

    Raises
    ------
    CelosiaError
        If an input is missing, unknown, or has a wrong shape, type or range.
    """
    values = _check_inputs(network, inputs)
    for op in network.ops:
        target = network.tensor(op.output)
        if isinstance(op, Conv):
            source = network.tensor(op.input)
            scales = values[source.scales_name] if source.scaling is not None else None
            acc = convolve(op, values[op.input], source.format, source.scaling, scales, source.zero)
            residual = None
            if op.residual is not None:
                residual = _scaled(network.tensor(op.residual), values)
            _keep(target, requantise(acc, op.requant, residual), values)
        elif isinstance(op, SparseLinear):
            values[op.output] = multiply_sparse(op, values[op.input])
        elif isinstance(op, Lstm):
            before = values[op.hidden], values[op.cell]
            values[op.output], values[op.cells] = run_lstm(
                op, target.format, values[op.input], *before
            )
        elif isinstance(op, MaxPool):
            _keep(target, max_pool(op, _scaled(network.tensor(op.input), values)), values)
        elif isinstance(op, Interleave):
            values[op.output] = interleave(op, values, target.shape)
            if target.scaling is not None:
                given = {name: values[network.tensor(name).scales_name] for name in op.inputs}
                values[target.scales_name] = interleave(op, given, target.scales_shape)
        else:
            assert isinstance(op, Concat)
            values[op.output] = np.concatenate([values[name] for name in op.inputs], axis=1)
            if target.scaling is not None:
                parts = [values[network.tensor(name).scales_name] for name in op.inputs]
                values[target.scales_name] = np.concatenate(parts, axis=1)
    return values


def _scaled(tensor: Tensor, values: dict[str, np.ndarray]) -> np.ndarray:
    """Return the codes of ``tensor``, times their scales where there are any."""
    codes = values[tensor.name]
    if tensor.scaling is None:
        return codes
    scales = spread_scales(values[tensor.scales_name], tensor.scaling, codes.shape[1])
    return np.asarray(codes * scales)


def _keep(tensor: Tensor, wide: np.ndarray, values: dict[str, np.ndarray]) -> None:
    """Keep the codes that ``wide`` values become, and their scales where there are any."""
    if tensor.scaling is None:
        values[tensor.name] = wide
        return
    elements, scales = quantise_vectors(wide, tensor.format, tensor.scaling)
    values[tensor.name], values[tensor.scales_name] = elements, scales


def convolve(
    conv: Conv,
    codes: np.ndarray,
    activation: Element,
    scaling: BlockScaling | None = None,
    scales: np.ndarray | None = None,
    zero: int = 0,
) -> np.ndarray:
    """Return the accumulators of ``conv`` without bias, int64 (N, O, OH, OW).

    ``codes`` is int64 (N, C, H, W) of values in ``activation``, padded with ``zero``; where they
    have scales of ``scaling``, ``scales`` holds the codes of those. Raises ``ValueError`` if an
    accumulator could exceed what float64 holds exactly, with such codes.
    """
    if scaling is not None and scales is not None:
        if conv.scales is not None and scaling.dropped_bits:
            _check_bound(conv, activation, scaling)
            return _convolve_vectors(conv, codes, conv.scales, scales)
        codes = codes * spread_scales(scales, scaling, codes.shape[1])
    match conv.operation.kind:
        case Kind.MULTIPLY:
            return _convolve(conv, codes, conv.scaled_weights(None), zero)
        case Kind.SHIFT:
            return _shifts(conv, codes, zero)
        case Kind.DISTANCE:
            _check_bound(conv, activation, scaling)
            return _distances(conv, codes, zero)


def _check_bound(conv: Conv, activation: Element, scaling: BlockScaling | None) -> None:
    if int(accumulator_bound(conv, activation, scaling).max()) >= 1 << EXACT_BITS:
        raise ValueError(f"conv {conv.name!r}: accumulators must stay below 2**{EXACT_BITS}")


def _convolve_vectors(
    conv: Conv, codes: np.ndarray, weights: WeightScales, scales: np.ndarray
) -> np.ndarray:
    """Return the sums of vectors, each times the rounded product of its two scales."""
    scaling, (dy, dx), (sy, sx) = weights.scaling, conv.window.dilation, conv.window.stride
    height, width = conv.window.output_size(*codes.shape[2:])
    inputs, blocks = conv.weights.shape[1], weights.values.shape[1]
    rows = len(conv.weights) // conv.groups
    elements = _pad(codes.astype(np.float64), conv.window, 0)
    given = _pad(scaling.scale.decode(scales), conv.window, 0)
    total = np.zeros((len(codes), len(conv.weights), height, width), np.int64)
    for group, block, ky, kx in np.ndindex(conv.groups, blocks, *conv.window.kernel):
        lines = slice(ky * dy, ky * dy + (height - 1) * sy + 1, sy)
        places = slice(kx * dx, kx * dx + (width - 1) * sx + 1, sx)
        first, stop = block * scaling.vector, min(inputs, (block + 1) * scaling.vector)
        mine = slice(group * rows, (group + 1) * rows)
        vector = elements[:, group * inputs + first : group * inputs + stop, lines, places]
        factors = conv.weights[mine, first:stop, ky, kx].astype(np.float64)
        dots = np.moveaxis(np.tensordot(factors, vector, (1, 1)), 0, 1).astype(np.int64)
        theirs = given[:, group * blocks + block, None, lines, places]
        scale = scaling.product(weights.values[mine, block, ky, kx, None, None], theirs)
        total[:, mine] += scale * dots
    return total


def _convolve(conv: Conv, codes: np.ndarray, weights: np.ndarray, zero: int) -> np.ndarray:
    return convolve_integers(codes, weights, conv.window, conv.groups, zero)


def _shifts(conv: Conv, codes: np.ndarray, zero: int) -> np.ndarray:
    """Sum, for each magnitude of weights, the activations that it shifts and rounds down."""
    dropped, sizes = conv.operation.dropped, np.abs(conv.weights)
    # Powers of two: what is at least 2**dropped drops nothing, the rest is 0 here.
    total = _convolve(conv, codes, np.sign(conv.weights) * (sizes >> dropped), zero)
    for size in np.unique(sizes[(sizes > 0) & (sizes < 1 << dropped)]).tolist():
        some = np.where(sizes == size, np.sign(conv.weights), 0)
        total = total + _convolve(conv, (codes * size) >> dropped, some, (zero * size) >> dropped)
    return total


def _distances(conv: Conv, codes: np.ndarray, zero: int) -> np.ndarray:
    import torch

    from celosia.models.distances import sum_distances

    weights = torch.from_numpy(conv.weights.astype(np.float64))
    padded = torch.from_numpy(_pad(codes.astype(np.float64), conv.window, zero))
    return sum_distances(padded, weights, conv.window, conv.groups).numpy().astype(np.int64)


def multiply_sparse(op: SparseLinear, codes: np.ndarray) -> np.ndarray:
    """Return the output codes of ``op`` for input ``codes``, both int64 (N, C, 1, 1)."""
    sums = op.matrix.multiply(codes[:, :, 0, 0]) + op.bias
    rounded = _rounded(sums, op.shift)
    return np.asarray(rounded.clip(op.low, op.high)[..., None, None], np.int64)


def run_lstm(
    op: Lstm, output: Element, codes: np.ndarray, hidden: np.ndarray, cell: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return the states h and c of all T steps, both int64 (N, H, T, 1).

    Parameters
    ----------
    op
        The layer.
    output
        Format of its output.
    codes
        Its input, int64 (N, I, T, 1).
    hidden, cell
        h and c before the first step, int64 (N, H, 1, 1).
    """
    linear, limit = op.linear, 1 << CODE_BITS - 1
    outputs, cells = [], []
    for step in range(codes.shape[2]):
        met = np.concatenate([codes[:, :, step : step + 1], hidden], axis=1)
        sums = np.split(multiply_sparse(linear, met), GATES, axis=1)
        take, keep, give = (op.sigmoid.look_up(sums[gate]) for gate in (0, 1, 3))
        total = (keep * cell << op.cell_shift) + take * op.tanh.look_up(sums[2])
        cell = _rounded(total, TABLE_FRACTION + op.cell_shift).clip(-limit, limit - 1)
        shown = _rounded(give * op.cell_tanh.look_up(cell), op.output_shift)
        hidden = shown.clip(output.low, output.high)
        outputs.append(hidden)
        cells.append(cell)
    return np.concatenate(outputs, axis=2), np.concatenate(cells, axis=2)


def _rounded(values: np.ndarray, shift: int) -> np.ndarray:
    return shift_round(values, np.array(shift), Rounding.HALF_EVEN)


def max_pool(pool: MaxPool, codes: np.ndarray) -> np.ndarray:
    """Return the maxima of ``codes`` (int64 (N, C, H, W)) over ``pool``'s window."""
    window = pool.window
    (dy, dx), (sy, sx) = window.dilation, window.stride
    height, width = window.output_size(*codes.shape[2:])
    padded = _pad(codes, window, np.iinfo(np.int64).min)
    result = np.full((*codes.shape[:2], height, width), np.iinfo(np.int64).min)
    for ky, kx in np.ndindex(*window.kernel):
        lines = slice(ky * dy, ky * dy + (height - 1) * sy + 1, sy)
        places = slice(kx * dx, kx * dx + (width - 1) * sx + 1, sx)
        np.maximum(result, padded[:, :, lines, places], out=result)
    return result


def interleave(
    op: Interleave, values: Mapping[str, np.ndarray], shape: tuple[int, int, int]
) -> np.ndarray:
    """Return the output of ``op``, int64 (N, *shape), from the ``values`` of its parts."""
    result = np.empty((len(values[op.inputs[0]]), *shape), np.int64)
    for part in op.parts:
        given = values[part.input]
        result[:, :, *part.places(*given.shape[2:])] = given
    return result


def _pad(codes: np.ndarray, window: Window, value: int) -> np.ndarray:
    top, left, bottom, right = window.padding
    around = ((0, 0), (0, 0), (top, bottom), (left, right))
    return np.pad(codes, around, constant_values=value)


def _check_inputs(network: Network, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    for name in inputs:
        if name not in network.inputs:
            raise CelosiaError(
                f"network {network.name!r} has no input {name!r}; give {list(network.inputs)}"
            )
    values: dict[str, np.ndarray] = {}
    for name in network.inputs:
        tensor = network.tensor(name)
        if name not in inputs:
            raise CelosiaError(f"network {network.name!r}: codes for input {name!r} are missing")
        codes = np.asarray(inputs[name])
        if codes.dtype.kind not in "iu":
            raise CelosiaError(
                f"input {name!r}: codes must be integers, not {codes.dtype}; "
                "quantise real values first (quantise_input)"
            )
        if codes.ndim != 4 or codes.shape[1:] != tensor.shape or not len(codes):
            raise CelosiaError(
                f"input {name!r}: codes must have shape (N, {', '.join(map(str, tensor.shape))}) "
                f"with N at least 1, not {codes.shape}"
            )
        if codes.min() < tensor.format.low or codes.max() > tensor.format.high:
            raise CelosiaError(
                f"input {name!r}: codes must lie in {tensor.format.low}..{tensor.format.high} "
                f"({tensor.format.name}), not {codes.min()}..{codes.max()}"
            )
        values[name] = codes.astype(np.int64)
    if len({len(codes) for codes in values.values()}) > 1:
        raise CelosiaError("all inputs must have the same number of samples")
    return values
