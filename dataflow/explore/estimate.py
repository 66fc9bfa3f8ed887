"""A rough estimate of area: products as measured, the rest by a line through two presets.

Products take what :data:`celosia.dataflow.mix.MEASURED` says, or for formats that were not
measured what an array of partial products takes. What is not products is a share for each post
lane, column and pixel, and a constant: ``celosia synth`` of the presets ``zcu102`` and ``ecp5``
for the ZCU102's part is met within 10 % of the look-up tables, 20 % of the block RAM, and to the
DSP block.
"""

from __future__ import annotations

import math
from typing import Final

from celosia.dataflow.accelerator import Accelerator, Circuit, ColumnGroup
from celosia.dataflow.mix import MEASURED
from celosia.models.formats import Fixed

_SHELL: Final = 5_500
_POST_LANE: Final = 700
_SUM: Final = 160
"""Look-up tables of the shell, of a post lane, and of a column's accumulation for a pixel."""

_MULTIPLIER_BITS: Final = {True: 7, False: 17}
"""Bits of a factor up to which Yosys takes one multiplier block: DSP48, MULT18X18D."""

_MEMORY_BITS: Final = {True: (512, 72), False: (512, 36)}
"""Depth and width at which a block RAM is the widest."""

_SMALL_TABLES: Final = 1.9
"""LUT4 for each LUT6."""


def estimate_area(accelerator: Accelerator, *, large_tables: bool) -> dict[str, float]:
    """Return about what ``accelerator`` takes: ``lut``, ``ff``, ``dsp`` and ``bram``.

    Parameters
    ----------
    accelerator
        What is built.
    large_tables
        True for UltraScale+ and 7 series (LUT6, 36 Kbit), False for ECP5 (LUT4, 18 Kbit).
    """
    array = accelerator.array
    sums = array.column_count * array.pixels
    lut = float(_SHELL + _POST_LANE * accelerator.post_lanes + _SUM * sums)
    dsp = 3.0 * accelerator.post_lanes + 1
    for group in array.columns:
        products = group.count * array.lanes * array.pixels
        tables, blocks = _product(group, array.activation_bits, large_tables=large_tables)
        lut += products * tables
        dsp += products * blocks
    lut *= 1 if large_tables else _SMALL_TABLES
    return {"lut": lut, "ff": 0.6 * lut, "dsp": dsp, "bram": _memories(accelerator, large_tables)}


def _product(
    group: ColumnGroup, activation_bits: int, *, large_tables: bool
) -> tuple[float, float]:
    """Return the look-up tables and multiplier blocks of a product."""
    bits = group.format.bits
    if group.circuit.scalable:
        return {Circuit.TILE: 15.0, Circuit.FUSION: 19.0, Circuit.SERIAL: 31.0}[group.circuit], 0.0
    if group.circuit is Circuit.LANES and isinstance(group.format, Fixed):
        limit = _MULTIPLIER_BITS[large_tables]
        return 18.6, float(-(-bits // limit) * -(-(activation_bits) // limit) > 1) + 1.0
    for cost in MEASURED:
        known = (cost.weights, cost.activation_bits, cost.circuit)
        if known == (group.format.name, activation_bits, group.circuit):
            return cost.lut, cost.dsp
    if group.circuit is Circuit.DSP:
        return 5.2, 0.5 if bits + activation_bits <= 16 else 1.0
    return 1.3 * bits * activation_bits, 0.0


def _memories(accelerator: Accelerator, large_tables: bool) -> float:
    array, buffers = accelerator.array, accelerator.buffers
    word = accelerator.activation_word_bits
    shapes = [
        (buffers.activations, word, array.pixels),
        (buffers.weights, accelerator.weight_word_bits, 1),
        (buffers.constants, accelerator.constant_word_bits, 1),
        (buffers.residuals, word, 1),
        (buffers.outputs, word, 1),
        (buffers.accumulators, array.accumulator_bits, array.column_count * array.pixels),
    ]
    depth, width = _MEMORY_BITS[large_tables]
    total = 0.0
    for words, bits, count in shapes:
        # Half as wide for twice the depth; by halves of a block.
        deep = max(1.0, words / depth)
        total += count * math.ceil(2 * deep * bits / width) / 2
    return total
