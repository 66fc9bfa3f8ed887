"""Ready-made SpArch engines, by name."""

from __future__ import annotations

from dataclasses import replace

from celosia.dataflow.accelerator import Bus
from celosia.dataflow.sparch.accelerator import (
    Elements,
    Merger,
    MergeTree,
    Partials,
    RightBuffer,
    SparchAccelerator,
    ValueKind,
)

# Two elements a cycle and four ways: tests, and a first look.
TINY = SparchAccelerator(
    name="sparch_tiny",
    elements=Elements(bits=16, accumulator=40, index_bits=12),
    merger=Merger(width=2, chunk=2),
    tree=MergeTree(ways=4, leaf_fifo=32, node_fifo=32),
    right=RightBuffer(lines=32, line_beats=2, look_ahead=12, multipliers=2),
    partials=Partials(alive=64, writer_beats=16),
    bus=Bus(data_bits=128, burst_beats=16, outstanding=4),
)

# The paper's size: 64 ways, 16 elements a cycle with 4 x 4 arrays, 1,024 lines of 48 elements, 16
# multipliers, 128 GB/s at 1 GHz as 64 bytes a cycle to read and as many to write. The paper has
# them in two groups (`published`); in eight more are at work where rows are short. It multiplies
# double precision, here it is single.
PAPER = SparchAccelerator(
    name="sparch_paper",
    elements=Elements(kind=ValueKind.FLOAT32, bits=32, accumulator=32, index_bits=24),
    merger=Merger(width=16, chunk=4),
    tree=MergeTree(ways=64, leaf_fifo=256, node_fifo=256),
    right=RightBuffer(lines=1024, line_beats=6, look_ahead=500, multipliers=2, groups=8),
    partials=Partials(alive=256, writer_beats=128, writer_rows=4),
    bus=Bus(data_bits=512, burst_beats=64, outstanding=64),
)


def published(accelerator: SparchAccelerator) -> SparchAccelerator:
    """Return ``accelerator`` organised as the paper's machine, with as many multipliers.

    They are in two groups, as far as a beat of the buffer feeds them, and of the product one row a
    cycle is done. Raises ``ValueError`` where there is only one multiplier.
    """
    if accelerator.products < 2:
        raise ValueError(f"{accelerator.name} must have at least two multipliers for two groups")
    each = min(accelerator.products // 2, accelerator.merger.width, accelerator.right_lanes)
    return replace(
        accelerator,
        name=f"{accelerator.name}_published",
        right=replace(accelerator.right, groups=accelerator.products // each, multipliers=each),
        partials=replace(accelerator.partials, writer_rows=1),
    )


PUBLISHED = published(PAPER)
"""The paper's organisation: 2 x 8 multipliers, a line of the buffer for each row."""

# What the board's logic and memories hold: 32-bit integers, a bus of 256 bits.
ZCU102 = SparchAccelerator(
    name="sparch_zcu102",
    elements=Elements(bits=32, accumulator=64, index_bits=16),
    merger=Merger(width=4, chunk=4),
    tree=MergeTree(ways=16, leaf_fifo=64, node_fifo=64),
    right=RightBuffer(lines=128, line_beats=12, look_ahead=48, multipliers=4),
    partials=Partials(alive=256, writer_beats=64),
    bus=Bus(data_bits=256, burst_beats=64, outstanding=16),
)

SPARCH_PRESETS = {accelerator.name: accelerator for accelerator in (TINY, PAPER, PUBLISHED, ZCU102)}
"""All presets by name."""
