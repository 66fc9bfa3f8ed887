"""The file form of SpArch engines.

.. code-block:: toml

    engine = "sparch"
    name = "sparch_paper"

    [elements]
    kind = "float32"  # integer, fixed, bfloat16 or float32
    bits = 32
    fraction = 0
    accumulator = 32
    index_bits = 24

    [merger]
    width = 16
    chunk = 4

    [tree]
    ways = 64
    leaf_fifo = 256
    node_fifo = 128

    [right]
    lines = 1024
    line_beats = 6
    look_ahead = 256
    multipliers = 4
    groups = 4  # 1 by default

    [partials]
    alive = 256
    writer_beats = 128
    writer_rows = 4  # 1 by default

    [bus]
    data_bits = 512
    address_bits = 40
    burst_beats = 64
    outstanding = 64

Keys whose field has a default may be left out; no other key is taken.
"""

from __future__ import annotations

from typing import Any

from celosia.dataflow.accelerator import Bus
from celosia.dataflow.parts_file import dump_parts, parse_parts
from celosia.dataflow.sparch.accelerator import (
    Elements,
    Merger,
    MergeTree,
    Partials,
    RightBuffer,
    SparchAccelerator,
)

SPARCH_ENGINE = "sparch"
_PARTS: dict[str, type] = {
    "elements": Elements,
    "merger": Merger,
    "tree": MergeTree,
    "right": RightBuffer,
    "partials": Partials,
    "bus": Bus,
}


def dump_sparch(accelerator: SparchAccelerator) -> str:
    """Return the TOML text of ``accelerator``: every field, always in the same order."""
    return dump_parts(SPARCH_ENGINE, accelerator, _PARTS)


def parse_sparch(table: dict[str, Any], where: str) -> SparchAccelerator:
    """Return the engine that a file's ``table`` describes; ``where`` names the file in errors.

    Raises :class:`CelosiaError` naming the key that is unknown, missing or out of range.
    """
    return parse_parts(table, where, _PARTS, SparchAccelerator, defaults=("elements", "bus"))
