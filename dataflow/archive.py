"""Files of a JSON document and a row of bytes: npz without pickle, with a checksum of both."""

from __future__ import annotations

import hashlib
import io
import json
import struct
import tokenize
import zipfile
import zlib
from pathlib import Path

import numpy as np

from celosia.models.errors import CelosiaError
from celosia.models.files import atomic_file

_DAMAGED = (
    OSError, ValueError, KeyError, EOFError, RuntimeError, SyntaxError,
    zipfile.BadZipFile, zlib.error, tokenize.TokenError, struct.error,
)  # fmt: skip
"""What reading a damaged archive of arrays raises."""


def save_archive(path: str | Path, document: object, image: np.ndarray, what: str) -> None:
    """Write ``document`` (JSON values) and ``image`` (uint8) to ``path``, whole or not at all.

    The same values give the same bytes. Raises :class:`CelosiaError` naming ``what`` the file
    is, and its path, if it cannot be written.
    """
    text = json.dumps(document, separators=(",", ":")).encode()
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        document=np.frombuffer(text, np.uint8),
        image=image,
        sha256=np.frombuffer(_digest(text, image), np.uint8),
    )
    try:
        with atomic_file(path) as draft:
            draft.write_bytes(buffer.getvalue())
    except OSError as error:
        raise CelosiaError(f"cannot write {what} {path}: {error}") from error


def load_archive(path: str | Path, what: str) -> tuple[bytes, np.ndarray]:
    """Return the JSON text and the bytes that :func:`save_archive` wrote.

    Raises :class:`CelosiaError` if the file is missing, truncated or corrupt.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise CelosiaError(f"cannot read {what} {path}: {error}") from error
    try:
        document, image, digest = _read_members(data)
    except _DAMAGED as error:
        raise CelosiaError(f"{path} is no {what} or is damaged: {error}") from error
    if digest != _digest(document, image):
        raise CelosiaError(f"{what} {path} is damaged: its checksum is wrong; compile again")
    return document, image


def _read_members(data: bytes) -> tuple[bytes, np.ndarray, bytes]:
    """Return the document, the bytes and the digest of a file's contents."""
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
