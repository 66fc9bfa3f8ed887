"""The file form of programs: an npz of a JSON document and the memory image, without pickle.

A SHA-256 over both is checked when the file is read.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import tokenize
import zipfile
import zlib
from dataclasses import asdict, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np

from celosia.dataflow.accelerator_file import dump_accelerator, parse_accelerator
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
from celosia.dataflow.layout import Placement, Unfold
from celosia.dataflow.precision import Precision
from celosia.dataflow.program import CompiledLayer, Program
from celosia.models.errors import CelosiaError
from celosia.models.files import atomic_file
from celosia.models.formats import Esb, Fixed, parse_format
from celosia.models.network import Rounding

VERSION = 3
_DAMAGED = (
    OSError, ValueError, KeyError, EOFError, RuntimeError, SyntaxError,
    zipfile.BadZipFile, zlib.error, tokenize.TokenError, struct.error,
)  # fmt: skip
"""What reading a damaged archive of arrays raises."""
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
    document = json.dumps(_encode(program), separators=(",", ":")).encode()
    digest = _digest(document, program.image)
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        document=np.frombuffer(document, np.uint8),
        image=program.image,
        sha256=np.frombuffer(digest, np.uint8),
    )
    try:
        with atomic_file(path) as draft:
            draft.write_bytes(buffer.getvalue())
    except OSError as error:
        raise CelosiaError(f"cannot write program file {path}: {error}") from error


def load_program(path: str | Path) -> Program:
    """Read a program that :func:`save_program` wrote.

    Raises :class:`CelosiaError` if the file is missing, truncated, corrupt or of
    another version.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise CelosiaError(f"cannot read program file {path}: {error}") from error
    try:
        document, image, digest = _read_members(data)
    except _DAMAGED as error:
        raise CelosiaError(f"{path} is no program file or is damaged: {error}") from error
    if digest != _digest(document, image):
        raise CelosiaError(f"program file {path} is damaged: its checksum is wrong; compile again")
    try:
        return _decode(json.loads(document), image, str(path))
    except _NO_PROGRAM as error:
        raise CelosiaError(f"program file {path} cannot be used: {error}") from error


def _read_members(data: bytes) -> tuple[bytes, np.ndarray, bytes]:
    """Return the document, the memory image and the digest of a program file's bytes."""
    members = []
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        for name in ("document", "image", "sha256"):
            content = io.BytesIO(archive.read(f"{name}.npy"))
            array = np.lib.format.read_array(content, allow_pickle=False)
            if array.dtype != np.uint8 or array.ndim != 1:
                raise ValueError(f"its member {name} is no row of bytes")
            members.append(array)
    document, image, digest = members
    return document.tobytes(), image, digest.tobytes()


def _digest(document: bytes, image: np.ndarray) -> bytes:
    return hashlib.sha256(len(document).to_bytes(8, "little") + document + image.tobytes()).digest()


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
    placements = []
    for placement in program.placements:
        entry = {f.name: getattr(placement, f.name) for f in fields(placement)}
        unfold = None if placement.unfold is None else asdict(placement.unfold)
        entry |= {"format": placement.format.name, "unfold": unfold}
        entry |= {"words": placement.words.tolist(), "lanes": placement.lanes.tolist()}
        placements.append(entry)
    return {
        "version": VERSION,
        "network": program.network,
        "accelerator": dump_accelerator(program.accelerator),
        "descriptors": [[type(d).__name__, _plain(d)] for d in program.descriptors],
        "layers": [_plain(layer) for layer in program.layers],
        "placements": placements,
        "inputs": program.inputs,
        "outputs": program.outputs,
        "base_address": program.base_address,
        "program_address": program.program_address,
        "samples": program.samples,
        "kept": program.kept,
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
        placements=tuple(_placement(entry) for entry in document["placements"]),
        inputs=tuple(document["inputs"]),
        outputs=tuple(document["outputs"]),
        image=image,
        base_address=document["base_address"],
        program_address=document["program_address"],
        samples=document["samples"],
        kept=tuple(document["kept"]),
    )


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


def _placement(entry: dict[str, Any]) -> Placement:
    fmt = parse_format(entry["format"])
    if not isinstance(fmt, Fixed | Esb):
        raise TypeError(f"tensor {entry['name']!r} has format {fmt.name}")
    unfold = entry["unfold"]
    if unfold is not None:
        unfold = Unfold(**{key: tuple(value) for key, value in unfold.items()})
    changed = {
        "format": fmt,
        "shape": tuple(entry["shape"]),
        "border": tuple(entry["border"]),
        "words": np.array(entry["words"], np.int64),
        "lanes": np.array(entry["lanes"], np.int64),
        "unfold": unfold,
    }
    return Placement(**{**entry, **changed})
