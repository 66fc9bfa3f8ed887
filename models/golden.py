"""The golden model: what a :class:`Network` computes, to the bit.

Convolutions run in torch float64, which is exact here: torch has no transformed
(Winograd, FFT) float64 convolution, and every partial sum is an integer below
``2**53``, which a network's constructor ensures with a wide margin
(``MAX_ACCUMULATOR_BITS``) and :func:`convolve` checks again.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from celosia.models.bounds import accumulator_bits, accumulator_bound, accumulator_range
from celosia.models.errors import CelosiaError
from celosia.models.formats import Fixed
from celosia.models.network import Concat, Conv, MaxPool, Network, Window
from celosia.models.requantise import requantise, shift_round

__all__ = [
    "accumulator_bits",
    "accumulator_bound",
    "accumulator_range",
    "convolve",
    "evaluate",
    "max_pool",
    "requantise",
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
    For each tensor's name its codes, int64 (N, C, H, W).

    Raises
    ------
    CelosiaError
        If an input is missing, unknown, or has a wrong shape, type or range.
    """
    values = _check_inputs(network, inputs)
    for op in network.ops:
        if isinstance(op, Conv):
            acc = convolve(op, values[op.input], network.tensor(op.input).format)
            residual = None if op.residual is None else values[op.residual]
            values[op.output] = requantise(acc, op.requant, residual)
        elif isinstance(op, MaxPool):
            values[op.output] = max_pool(op, values[op.input])
        else:
            assert isinstance(op, Concat)
            values[op.output] = np.concatenate([values[name] for name in op.inputs], axis=1)
    return values


def convolve(conv: Conv, codes: np.ndarray, activation: Fixed) -> np.ndarray:
    """Return the accumulators of ``conv`` without bias, int64 (N, O, OH, OW).

    ``codes`` is int64 (N, C, H, W) of values in ``activation``. Raises ``ValueError``
    if an accumulator could exceed what float64 holds exactly.
    """
    if int(accumulator_bound(conv, activation).max()) >= 1 << EXACT_BITS:
        raise ValueError(f"conv {conv.name!r}: accumulators must stay below 2**{EXACT_BITS}")
    padded = _pad(codes, conv.window, 0.0)
    result = torch.nn.functional.conv2d(
        padded,
        torch.from_numpy(conv.scaled_weights.astype(np.float64)),
        stride=conv.window.stride,
        dilation=conv.window.dilation,
        groups=conv.groups,
    )
    return result.numpy().astype(np.int64)


def max_pool(pool: MaxPool, codes: np.ndarray) -> np.ndarray:
    """Return the maxima of ``codes`` (int64 (N, C, H, W)) over ``pool``'s window."""
    result = torch.nn.functional.max_pool2d(
        _pad(codes, pool.window, -float("inf")),
        kernel_size=pool.window.kernel,
        stride=pool.window.stride,
        dilation=pool.window.dilation,
    )
    return result.numpy().astype(np.int64)


def _pad(codes: np.ndarray, window: Window, value: float) -> torch.Tensor:
    top, left, bottom, right = window.padding
    tensor = torch.from_numpy(codes.astype(np.float64))
    return torch.nn.functional.pad(tensor, (left, right, top, bottom), value=value)


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
