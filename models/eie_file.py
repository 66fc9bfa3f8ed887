"""The file form of a compressed matrix: what a deployment ships, checked when it is read."""

from __future__ import annotations

import hashlib
import io
import json
import tokenize
import zipfile
import zlib
from pathlib import Path

import numpy as np

from celosia.models.eie import Compressed
from celosia.models.errors import CelosiaError
from celosia.models.files import advice, atomic_file
from celosia.models.formats import Format, parse_format

FORMAT = "celosia-eie"
_ARRAYS = {"codes": np.uint16, "gaps": np.uint8, "pointers": np.int64, "bases": np.int64}


def _digest(header: dict[str, object], arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for name in _ARRAYS:
        digest.update(f"{name}{arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()


def save_compressed(compressed: Compressed, fmt: Format, path: str | Path) -> None:
    """Write ``compressed``, of codes of ``fmt``, to ``path``, whole or not at all.

    Raises :class:`CelosiaError` if the file cannot be written.
    """
    header: dict[str, object] = {
        "format": FORMAT,
        "shape": list(compressed.shape),
        "pes": compressed.pes,
        "index_bits": compressed.index_bits,
        "weights": fmt.name,
    }
    arrays = {name: getattr(compressed, name).astype(kind) for name, kind in _ARRAYS.items()}
    text = json.dumps({**header, "sha256": _digest(header, arrays)})
    buffer = io.BytesIO()
    np.savez_compressed(buffer, header=np.frombuffer(text.encode(), np.uint8), **arrays)
    try:
        with atomic_file(path) as draft:
            draft.write_bytes(buffer.getvalue())
    except OSError as error:
        raise CelosiaError(
            f"cannot write {path}: {error.strerror or error}{advice(error)}"
        ) from error


def load_compressed(path: str | Path, *, pes: int | None = None) -> tuple[Compressed, Format]:
    """Read what :func:`save_compressed` wrote: the matrix and what its codes stand for.

    Parameters
    ----------
    path
        The file.
    pes
        How many PEs it must be interleaved over; any number by default.

    Raises
    ------
    CelosiaError
        If the file is missing, truncated, damaged, no such file or for another number of PEs, or
        if pointers and indices in it are not those of a matrix: names what and where.
    """
    try:
        with np.load(io.BytesIO(Path(path).read_bytes()), allow_pickle=False) as archive:
            members = {name: archive[name] for name in ("header", *_ARRAYS)}
        header = json.loads(members.pop("header").tobytes())
        expected = header.pop("sha256")
        if header["format"] != FORMAT:
            raise ValueError("it is of another format")
        rows, columns = header["shape"]
        fmt = parse_format(header["weights"])
    except OSError as error:
        raise CelosiaError(f"cannot read {path}: {error.strerror or error}") from error
    except (
        ValueError, KeyError, TypeError, AttributeError, EOFError, RuntimeError,
        zipfile.BadZipFile, zlib.error, tokenize.TokenError,
    ) as error:  # fmt: skip
        raise CelosiaError(
            f"{path} is no usable compressed matrix: it is truncated or damaged ({error})"
        ) from error
    for name, kind in _ARRAYS.items():
        if members[name].dtype != kind or members[name].ndim != 1 + (name == "pointers"):
            raise CelosiaError(f"{path} is no usable compressed matrix: array {name} is damaged")
    if pes is not None and header["pes"] != pes:
        raise CelosiaError(
            f"{path} is interleaved over {header['pes']} PEs, not {pes}: compress the matrix again"
        )
    try:
        compressed = Compressed(
            shape=(rows, columns), pes=header["pes"], index_bits=header["index_bits"], **members
        )
    except (CelosiaError, ValueError) as error:
        raise CelosiaError(f"{path}: {error}") from error
    if _digest(header, members) != expected:
        raise CelosiaError(
            f"{path} is no usable compressed matrix: its checksum does not match its content"
        )
    return compressed, fmt
