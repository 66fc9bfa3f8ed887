"""Files of tensors by name, of which nothing is run: PyTorch's state dictionaries, safetensors."""

from __future__ import annotations

import json
import pickle
import struct
from pathlib import Path

import numpy as np
import torch

from celosia.models.errors import CelosiaError

_LIMIT = 1 << 26
"""Bytes of a safetensors header, at most."""


def read_tensors(path: Path) -> dict[str, np.ndarray] | None:
    """Return the tensors of a file by name, float64; None where it holds something else.

    Files that end in ``.safetensors`` are such, others what ``torch.save`` writes.

    Raises :class:`CelosiaError` if the file cannot be read or is damaged.
    """
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    try:
        found = torch.load(path, weights_only=True, map_location="cpu")
    except OSError as error:
        raise CelosiaError(f"cannot read {path}: {error.strerror or error}") from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise CelosiaError(
            f"{path} is no file of tensors, or is damaged: write it again with torch.save"
        ) from error
    if not isinstance(found, dict) or not all(torch.is_tensor(v) for v in found.values()):
        return None
    return {str(k): v.to(torch.float64).numpy() for k, v in found.items()}


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """Return the tensors of a safetensors file, 32-bit floats alone, as float64.

    Raises :class:`CelosiaError` if the file cannot be read, is damaged, or has other types.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise CelosiaError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        (size,) = struct.unpack("<Q", raw[:8])
        if size > min(_LIMIT, len(raw) - 8):
            raise ValueError(f"its header claims {size} bytes")
        header, data = json.loads(raw[8 : 8 + size]), raw[8 + size :]
        found = {}
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            first, stop = entry["data_offsets"]
            if entry["dtype"] != "F32" or not 0 <= first <= stop <= len(data):
                raise ValueError(f"tensor {name!r} is no 32-bit floats within the file")
            values = np.frombuffer(data[first:stop], "<f4")
            found[name] = values.reshape(tuple(entry["shape"])).astype(np.float64)
    except (ValueError, KeyError, TypeError, AttributeError, struct.error) as error:
        raise CelosiaError(f"{path} is no usable safetensors file: {error}") from error
    return found
