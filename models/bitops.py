"""Bit operations: products, each weighed by the widths of its operands."""

from __future__ import annotations

from collections.abc import Sequence

from celosia.models.network import Conv, Network

FULL_BITS = 32
"""Width of both operands that savings are stated against."""


def bit_operations(network: Network) -> int:
    """Return the bit operations of one sample: useful products, times both operands' widths."""
    total = 0
    for op in network.ops:
        if isinstance(op, Conv) and op.useful:
            row = network.products(op) // len(op.weights)
            weight_bits = sum(fmt.bits for fmt in op.formats)
            total += row * weight_bits * network.tensor(op.input).format.bits
    return total


def bit_ratio(widths: Sequence[int]) -> float:
    """Return the mean bit operations of a random precision against 32 x 32 bits.

    Every width b of ``widths`` is drawn equally often, for weights and activations alike:
    the mean of ``b**2 / 1024`` ("Double-Win Quant", ICML 2021, table 1).
    """
    if not widths or min(widths) < 1:
        raise ValueError(f"widths must be one or more positive integers, not {widths!r}")
    return sum(bits**2 for bits in widths) / len(widths) / FULL_BITS**2
