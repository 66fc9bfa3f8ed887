"""Pipeline depths of the hardware, as the timing model needs them.

``rtl`` builds its pipelines from the same functions, so they cannot differ.
"""

from __future__ import annotations

from celosia.dataflow.accelerator import Accelerator

BUFFER_LATENCY = 2
"""Cycles from a compute step's addresses to its operands in the array's input registers."""

ACCUMULATE_LATENCY = 1
"""Cycles from an accumulation to the write of the accumulator memory."""

DRAIN_LATENCY = 3
"""Cycles from a post step's addresses to its accumulators in the post lanes' input registers."""

REQUANT_LATENCY = 6
"""Cycles from a post lane's input to its output code."""

POOL_LATENCY = 1
"""Cycles from an output code to the write of the output buffer."""


def tree_levels(lanes: int) -> tuple[int, ...]:
    """Return how many levels of adders lie before each register of a column's adder tree.

    The first stage holds the products and one level, the others two levels each.
    """
    levels = (lanes - 1).bit_length()
    first = min(levels, 1)
    rest = levels - first
    return (first, *([2] * (rest // 2)), *([1] * (rest % 2)))


def compute_latency(accelerator: Accelerator) -> int:
    """Cycles from a compute descriptor's last step to its signal: its accumulators are written."""
    stages = len(tree_levels(accelerator.array.lanes))
    return BUFFER_LATENCY + stages + ACCUMULATE_LATENCY


def post_latency(accelerator: Accelerator) -> int:
    """Cycles from a post descriptor's last step to its signal: its outputs are written."""
    del accelerator  # the same for all
    return DRAIN_LATENCY + REQUANT_LATENCY + POOL_LATENCY
