"""Depths of the hardware's pipelines and queues, as the timing model needs them.

``rtl`` is built from the same values, so they cannot differ.
"""

from __future__ import annotations

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.array_shape import ArrayShape
from celosia.dataflow.descriptors import Buffer

PAGE_BYTES = 4096
"""No burst crosses a multiple of this (AXI4 specification, A3.4.1)."""

PROGRAM_QUEUE_DEPTH = 8
"""Descriptors that the sequencer holds or has asked for."""

UNIT_QUEUE_DEPTH = 4
"""Descriptors that wait in front of a unit."""

LOAD_QUEUE_DEPTH = 8
"""Descriptors between the load unit's request half and its data half."""

READ_LATENCY = 1
"""Cycles from a beat's transfer to its requester: the sequencer, or a unit that loads."""

TOKEN_COUNTER_BITS = 8
"""Width of a token counter. The compiler never lets one pass its range; it would wrap."""

BUFFER_LATENCY = 2
"""Cycles from a compute step's addresses to its operands in the array's input registers."""

ACCUMULATE_LATENCY = 1
"""Cycles from an accumulation to the write of the accumulator memory."""

STEP_LATENCY = 1
"""Cycles from a post step's turn to its addresses, and what of them differs from the step before's.
"""

DRAIN_LATENCY = 3
"""Cycles from a post step's addresses to its accumulators in the post lanes' input registers."""

REQUANT_LATENCY = 8
"""Cycles from a post lane's input to its output code."""

POOL_LATENCY = 1
"""Cycles from an output code to the write of the output buffer."""

TABLE_LATENCY = 2
"""Cycles from a requantised value to its entry in a table."""

VECTOR_LATENCY = 6
"""Cycles from a vector of wide values to its elements and its scale."""


def tree_levels(lanes: int) -> tuple[int, ...]:
    """Return how many levels of adders lie before each register of a column's adder tree.

    The first stage holds the products and one level, the others two levels each.
    """
    levels = (lanes - 1).bit_length()
    first = min(levels, 1)
    rest = levels - first
    return (first, *([2] * (rest // 2)), *([1] * (rest % 2)))


def vector_levels(vectors: int) -> tuple[int, ...]:
    """Return how many levels of adders lie before each register behind a column's scales.

    The first stage is the multiplication by the scales alone, the others add two levels each.
    """
    levels = (vectors - 1).bit_length()
    return (0, *([2] * (levels // 2)), *([1] * (levels % 2)))


def column_stages(array: ArrayShape) -> int:
    """Cycles from a column's registered operands to the sum that meets its accumulator.

    Precision-scalable columns put the sums of their passes together in one more.
    """
    if array.scalable is not None:
        return len(tree_levels(array.lanes)) + 1
    stages = len(tree_levels(array.vector_lanes))
    return stages + (len(vector_levels(array.vectors)) if array.scaling is not None else 0)


def load_targets(accelerator: Accelerator) -> tuple[Buffer, ...]:
    """Return what loads can fill, in the order of the values."""
    return tuple(
        buffer for buffer in Buffer if buffer is not Buffer.TABLES or accelerator.tables is not None
    )


def word_beats(target: Buffer, accelerator: Accelerator) -> int:
    """Return the beats of one word of ``target`` in memory."""
    bits = {
        Buffer.ACTIVATIONS: accelerator.activation_word_bits,
        Buffer.WEIGHTS: accelerator.weight_word_bits,
        Buffer.CONSTANTS: accelerator.constant_word_bits,
        Buffer.RESIDUALS: accelerator.activation_word_bits,
        Buffer.TABLES: accelerator.table_word_bits,
    }[target]
    return accelerator.beats(bits)


def post_latency(accelerator: Accelerator) -> int:
    """Cycles from a post descriptor's last step to its signal: its outputs are written."""
    vectors = 0 if accelerator.array.elements is None else VECTOR_LATENCY
    tables = 0 if accelerator.tables is None else TABLE_LATENCY
    return STEP_LATENCY + DRAIN_LATENCY + REQUANT_LATENCY + tables + POOL_LATENCY + vectors


def compute_latency(accelerator: Accelerator) -> int:
    """Cycles from a compute descriptor's last step to its signal: its accumulators are written."""
    return BUFFER_LATENCY + column_stages(accelerator.array) + ACCUMULATE_LATENCY
