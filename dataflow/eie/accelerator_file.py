"""The file form of EIE engines.

.. code-block:: toml

    engine = "eie"
    name = "eie_paper"

    [array]
    pes = 64
    queue = 8
    channels = 1
    skip_empty = false

    [widths]
    index = 4
    weight = 4
    codebook = true
    value = 16
    activation = 16
    accumulator = 40

    [memories]  # of each PE
    entries = 131072
    pointers = 32768
    biases = 512
    activations = 512
    accumulators = 192
    row_entries = 8
    pointer_bits = 16
    codebooks = 4
    window = 64

    [bus]
    data_bits = 128
    address_bits = 40
    burst_beats = 64
    outstanding = 8

    [cell]  # only where recurrent layers run
    segments = 256

Keys whose field has a default may be left out; no other key is taken.
"""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any

from celosia.dataflow.accelerator import Bus
from celosia.dataflow.eie.accelerator import CellUnit, EieAccelerator, PeArray, PeMemories, Widths
from celosia.dataflow.toml_tables import as_table, build, check_keys
from celosia.models.errors import CelosiaError

ENGINE = "eie"
_PARTS: dict[str, type] = {
    "array": PeArray,
    "widths": Widths,
    "memories": PeMemories,
    "bus": Bus,
    "cell": CellUnit,
}


def dump_eie(accelerator: EieAccelerator) -> str:
    """Return the TOML text of ``accelerator``: every field, always in the same order."""
    lines = [f'engine = "{ENGINE}"', f'name = "{accelerator.name}"']
    for part, kind in _PARTS.items():
        value = getattr(accelerator, part)
        if value is None:
            continue
        lines += ["", f"[{part}]"]
        lines += [f"{f.name} = {str(getattr(value, f.name)).lower()}" for f in fields(kind)]
    return "\n".join([*lines, ""])


def parse_eie(table: dict[str, Any], where: str) -> EieAccelerator:
    """Return the engine that a file's ``table`` describes; ``where`` names the file in errors.

    Raises :class:`CelosiaError` naming the key that is unknown, missing or out of range.
    """
    check_keys(where, "", table, ("engine", "name", *_PARTS), ("widths", "bus", "cell"))
    name = table["name"]
    if not isinstance(name, str):
        raise CelosiaError(f"{where}: name must be a string, not {name!r}")
    parts = {
        part: _part(where, part, table.get(part, {}), kind)
        for part, kind in _PARTS.items()
        if part != "cell" or part in table
    }
    return build(where, "the engine", lambda: EieAccelerator(name=name, **parts))


def _part(where: str, part: str, value: object, kind: type) -> Any:
    table = as_table(where, part, value)
    known = [field.name for field in fields(kind)]
    optional = [field.name for field in fields(kind) if field.default is not MISSING]
    check_keys(where, f"{part}.", table, known, optional)
    return build(where, part, lambda: kind(**table))
