"""SpArch engines that several tests of this folder run."""

from __future__ import annotations

from dataclasses import replace

from celosia.dataflow.sparch.accelerator import Elements, Merger, MergeTree, ValueKind
from celosia.dataflow.sparch.presets import TINY

FLOATS = replace(
    TINY,
    name="sparch_floats",
    elements=Elements(kind=ValueKind.FLOAT32, bits=32, accumulator=32, index_bits=12),
    merger=Merger(width=4, chunk=2),
    tree=MergeTree(ways=8, leaf_fifo=16, node_fifo=8),
    right=replace(TINY.right, groups=2),
    partials=replace(TINY.partials, writer_rows=2),
    bus=replace(TINY.bus, data_bits=256),
)
"""Eight ways, two groups of two singles a cycle, two rows of the product a cycle."""
