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

from typing import Any

from celosia.dataflow.accelerator import Bus
from celosia.dataflow.eie.accelerator import CellUnit, EieAccelerator, PeArray, PeMemories, Widths
from celosia.dataflow.parts_file import dump_parts, parse_parts

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
    return dump_parts(ENGINE, accelerator, _PARTS)


def parse_eie(table: dict[str, Any], where: str) -> EieAccelerator:
    """Return the engine that a file's ``table`` describes; ``where`` names the file in errors.

    Raises :class:`CelosiaError` naming the key that is unknown, missing or out of range.
    """
    return parse_parts(
        table, where, _PARTS, EieAccelerator, defaults=("widths", "bus"), absent=("cell",)
    )
