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
    leaf_fifo = 128
    node_fifo = 32

    [right]
    lines = 1024
    line_beats = 6
    look_ahead = 512
    multipliers = 8

    [partials]
    alive = 256
    writer_beats = 128

    [bus]
    data_bits = 512
    address_bits = 40
    burst_beats = 64
    outstanding = 64

Keys whose field has a default may be left out; no other key is taken.
"""

from __future__ import annotations

import enum
from dataclasses import MISSING, fields
from typing import Any

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
from celosia.dataflow.toml_tables import as_table, build, check_keys
from celosia.models.errors import CelosiaError

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
    lines = [f'engine = "{SPARCH_ENGINE}"', f'name = "{accelerator.name}"']
    for part, kind in _PARTS.items():
        value = getattr(accelerator, part)
        lines += ["", f"[{part}]"]
        lines += [f"{field.name} = {_text(getattr(value, field.name))}" for field in fields(kind)]
    return "\n".join([*lines, ""])


def parse_sparch(table: dict[str, Any], where: str) -> SparchAccelerator:
    """Return the engine that a file's ``table`` describes; ``where`` names the file in errors.

    Raises :class:`CelosiaError` naming the key that is unknown, missing or out of range.
    """
    check_keys(where, "", table, ("engine", "name", *_PARTS), ("elements", "bus"))
    name = table["name"]
    if not isinstance(name, str):
        raise CelosiaError(f"{where}: name must be a string, not {name!r}")
    parts = {part: _part(where, part, table.get(part, {}), kind) for part, kind in _PARTS.items()}
    return build(where, "the engine", lambda: SparchAccelerator(name=name, **parts))


def _text(value: int | enum.Enum) -> str:
    return f'"{value.value}"' if isinstance(value, enum.Enum) else str(value)


def _part(where: str, part: str, value: object, kind: type) -> Any:
    table = as_table(where, part, value)
    known = [field.name for field in fields(kind)]
    optional = [field.name for field in fields(kind) if field.default is not MISSING]
    check_keys(where, f"{part}.", table, known, optional)
    if kind is Elements and "kind" in table:
        chosen = build(where, "elements.kind", lambda: ValueKind(table["kind"]))
        table = {**table, "kind": chosen}
    return build(where, part, lambda: kind(**table))
