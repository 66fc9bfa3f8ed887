"""The file form of programs: an archive of a document and the memory image."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from celosia.dataflow.accelerator_file import dump_accelerator, parse_accelerator
from celosia.dataflow.archive import load_archive, save_archive
from celosia.dataflow.descriptors import (
    Buffer,
    Compute,
    Descriptor,
    End,
    Keep,
    Load,
    Loop,
    Post,
    Sliding,
    Stamp,
    Store,
    Token,
    Transfer,
)
from celosia.dataflow.placement_file import dump_placement, parse_placement
from celosia.dataflow.precision import Precision
from celosia.dataflow.program import CompiledLayer, Made, Program, Sums
from celosia.models.errors import CelosiaError
from celosia.models.network import Rounding

VERSION = 4
_NO_PROGRAM = (
    TypeError, ValueError, LookupError, AttributeError, OverflowError, RecursionError,
)  # fmt: skip
"""What making a program of a document that describes none raises."""
_KINDS: dict[str, type[Descriptor]] = {
    kind.__name__: kind for kind in (Load, Compute, Post, Store, Keep, Stamp, End)
}


def save_program(program: Program, path: str | Path) -> None:
    """Write ``program`` to ``path``, whole or not at all.

    Raises :class:`CelosiaError` if the file cannot be written.
    """
    save_archive(path, _encode(program), program.image, "program file")


def load_program(path: str | Path) -> Program:
    """Read a program that :func:`save_program` wrote.

    Raises :class:`CelosiaError` if the file is missing, truncated, corrupt or of
    another version.
    """
    document, image = load_archive(path, "program file")
    try:
        return _decode(json.loads(document), image, str(path))
    except _NO_PROGRAM as error:
        raise CelosiaError(f"program file {path} cannot be used: {error}") from error


def _plain(value: object) -> object:
    """Return ``value`` as JSON has it: enums by name, token sets as sorted names."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, frozenset):
        return [token.name for token in sorted(value)]
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value.name if isinstance(value, Enum) else value


def _encode(program: Program) -> dict[str, object]:
    return {
        "version": VERSION,
        "network": program.network,
        "accelerator": dump_accelerator(program.accelerator),
        "descriptors": [[type(d).__name__, _plain(d)] for d in program.descriptors],
        "layers": [_plain(layer) for layer in program.layers],
        "placements": [dump_placement(placement) for placement in program.placements],
        "inputs": program.inputs,
        "outputs": program.outputs,
        "base_address": program.base_address,
        "program_address": program.program_address,
        "samples": program.samples,
        "kept": program.kept,
        "made": [_plain(made) for made in program.made],
    }


def _decode(document: dict[str, Any], image: np.ndarray, where: str) -> Program:
    if document["version"] != VERSION:
        raise ValueError(f"it has version {document['version']}, known is {VERSION}")
    layers = [CompiledLayer(**{**e, "outputs": tuple(e["outputs"])}) for e in document["layers"]]
    return Program(
        network=document["network"],
        accelerator=parse_accelerator(document["accelerator"], where),
        descriptors=tuple(_descriptor(kind, entry) for kind, entry in document["descriptors"]),
        layers=tuple(layers),
        placements=tuple(parse_placement(entry) for entry in document["placements"]),
        inputs=tuple(document["inputs"]),
        outputs=tuple(document["outputs"]),
        image=image,
        base_address=document["base_address"],
        program_address=document["program_address"],
        samples=document["samples"],
        kept=tuple(document["kept"]),
        made=tuple(_made(**entry) for entry in document["made"]),
    )


def _made(*, sums: dict[str, Any] | None, **entry: Any) -> Made:
    if sums is None:
        return Made(**entry)
    return Made(**entry, sums=Sums(**{**sums, "size": tuple(sums["size"])}))


def _descriptor(kind: str, entry: dict[str, Any]) -> Descriptor:
    values = dict(entry)
    for mask in ("wait", "signal"):
        if mask in values:
            values[mask] = frozenset(Token[name] for name in values[mask])
    if "transfer" in values:
        values["transfer"] = Transfer(**values["transfer"])
    if "target" in values:
        values["target"] = Buffer[values["target"]]
    if "loops" in values:
        values["loops"] = tuple(Loop(**loop) for loop in values["loops"])
    for name, parts in (("precision", Precision), ("sliding", Sliding)):
        if values.get(name) is not None:
            values[name] = parts(**values[name])
    if "rounding" in values:
        values["rounding"] = Rounding[values["rounding"]]
    return _KINDS[kind](**values)
