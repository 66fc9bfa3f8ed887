"""Depths of the hardware's pipelines and queues, as the timing model needs them.

``rtl`` is built from the same values, so they cannot differ.
"""

from __future__ import annotations

from dataclasses import dataclass

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.array_shape import ArrayShape
from celosia.dataflow.descriptors import Buffer
from celosia.models.formats import E8M0, UE4M3, BlockScaling, Element, Esb

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


def tree_levels(lanes: int, *, alone: bool = False) -> tuple[int, ...]:
    """Return how many levels of adders lie before each register of a column's adder tree.

    The first stage holds the products and one level, the others two levels each. Products that
    are ``alone`` in the first are given no stage more: the last has three levels where need be.
    Of two lanes there is one stage.
    """
    levels = (lanes - 1).bit_length()
    first = min(levels, 1)
    rest = levels - first
    if alone and rest:
        return (0, *([2] * (levels // 2 - 1)), 2 + levels % 2)
    return (first, *([2] * (rest // 2)), *([1] * (rest % 2)))


def vector_levels(vectors: int) -> tuple[int, ...]:
    """Return how many levels of adders lie before each register behind a column's scales.

    The first stage is the multiplication by the scales alone, the others add two levels each.
    """
    levels = (vectors - 1).bit_length()
    return (0, *([2] * (levels // 2)), *([1] * (levels % 2)))


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantiserStages:
    """Cycles of each part of what makes elements and a scale of a vector of wide values.

    Magnitudes and the scale's reciprocal take one each, the others ``largest``, ``code`` (of the
    scale), ``quotient`` and ``element``. The largest value takes one for each level of comparisons;
    for scales that are powers of two none is compared, as the highest bit of any value decides.
    """

    largest: int
    code: int
    quotient: int
    element: int

    @classmethod
    def of(cls, scaling: BlockScaling, elements: Element) -> QuantiserStages:
        """Return those for scales and elements of these formats."""
        has_float_scales = isinstance(scaling.scale, UE4M3)
        compared = 1 if isinstance(scaling.scale, E8M0) else scaling.vector
        return cls(
            largest=max(1, (compared - 1).bit_length()),
            code=4 if has_float_scales else 1,
            quotient=3 if has_float_scales else 1,
            element=2 if isinstance(elements, Esb) else 1,
        )

    @property
    def latency(self) -> int:
        """Cycles from the values to the elements and the scale."""
        return 2 + self.largest + self.code + self.quotient + self.element


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
    scaling, elements = accelerator.array.scaling, accelerator.array.elements
    vectors = 0
    if scaling is not None and elements is not None:
        vectors = QuantiserStages.of(scaling, elements).latency
    tables = 0 if accelerator.tables is None else TABLE_LATENCY
    return STEP_LATENCY + DRAIN_LATENCY + REQUANT_LATENCY + tables + POOL_LATENCY + vectors


def compute_latency(accelerator: Accelerator) -> int:
    """Cycles from a compute descriptor's last step to its signal: its accumulators are written."""
    return BUFFER_LATENCY + column_stages(accelerator.array) + ACCUMULATE_LATENCY
