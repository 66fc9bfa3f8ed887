"""Reading and writing ``.pt2`` files (torch.export) without running code from them.

``torch.export.load`` unpickles parts of a file and evaluates symbolic expressions
in it, so a hostile file could run code. Here the file is examined first, with the same
reader, and everything that would lead there is refused.
"""

from __future__ import annotations

import io
import json
import logging
import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from celosia.models.errors import CelosiaError
from celosia.models.files import atomic_file

_PLAIN_MEMBERS = re.compile(
    r"models/model\.json|data/(weights|constants)/\w+(\.json)?|data/sample_inputs/model\.pt|"
    r"archive_format|archive_version|byteorder|version|\.data/\w+|\.format_version|"
    r"\.storage_alignment"
)
_TARGET = re.compile(r"torch\.ops\.\w+(\.\w+)+|_operator\.\w+|math\.\w+|torch\.sym_\w+")
_SYMPY = "Symbol Integer Add Mul Pow Mod PythonMod FloorDiv CeilDiv Max Min positive integer"
_EXPRESSION = re.compile(
    rf"(?:[\s\d+\-*/(),=]|'[su]\d+'|\b(?:[su]\d+|True|False|{'|'.join(_SYMPY.split())})\b)*"
)


def load_model(path: str | Path) -> torch.export.ExportedProgram:
    """Read a model that ``torch.export.save`` (torch 2.9 or newer) wrote.

    Raises
    ------
    CelosiaError
        If the file is missing, truncated, of another kind, or holds pickled objects.
    """
    where = Path(path)
    try:
        content = where.read_bytes()
    except OSError as error:
        raise CelosiaError(f"cannot read {where}: {error.strerror or error}") from error
    try:
        reader = torch._C.PyTorchFileReader(io.BytesIO(content))
        members = {name: reader.get_record(name) for name in reader.get_all_records()}
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            damaged = archive.testzip()  # torch reads on over wrong checksums
    except (RuntimeError, ValueError, zipfile.BadZipFile) as error:
        raise _unusable(where, "it is no archive or is truncated") from error
    if damaged is not None:
        raise _unusable(where, f"{damaged} does not match its checksum")
    _examine(where, members)
    from torch.export.pt2_archive._package import load_pt2

    logger = logging.getLogger("torch.export")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return load_pt2(io.BytesIO(content)).exported_programs["model"]
    except Exception as error:  # a damaged file can fail anywhere in torch
        raise _unusable(where, f"torch cannot read it: {_first_line(error)}") from error
    finally:
        logger.setLevel(level)


def save_model(
    module: torch.nn.Module, example: tuple[torch.Tensor, ...], path: str | Path
) -> None:
    """Export ``module`` in evaluation mode for ``example`` and write it to ``path`` (.pt2).

    Raises
    ------
    CelosiaError
        If torch cannot export the module, or the file cannot be written.
    """
    exported = export_model(module, example)
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(exported, buffer)
    try:
        with atomic_file(path) as draft:
            draft.write_bytes(buffer.getvalue())
    except OSError as error:
        raise CelosiaError(f"cannot write {path}: {error.strerror or error}") from error


def export_model(
    module: torch.nn.Module, example: tuple[torch.Tensor, ...]
) -> torch.export.ExportedProgram:
    """Export ``module`` in evaluation mode; ``example`` are inputs with a batch of 1.

    Raises
    ------
    CelosiaError
        If torch cannot export the module.
    """
    training = module.training
    module.eval()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.export.export(module, example)
    except Exception as error:  # torch raises many kinds here
        raise CelosiaError(
            f"torch.export cannot trace {type(module).__name__}: {_first_line(error)}; "
            "the model must run without data-dependent control flow"
        ) from error
    finally:
        module.train(training)


def _examine(path: Path, members: dict[str, bytes]) -> None:
    """Refuse every member that could make torch run code."""
    if "models/model.json" not in members:
        raise _unusable(path, "it holds no exported model")
    for name in members:
        if not _PLAIN_MEMBERS.fullmatch(name):
            raise _unusable(path, f"it holds {name}, which a plain exported model does not")
    try:
        for kind in ("weights", "constants"):
            config = json.loads(members[f"data/{kind}/model_{kind}_config.json"])["config"]
            for name, entry in config.items():
                if entry["use_pickle"] or not re.fullmatch(
                    r"(weight|tensor)_\d+", entry["path_name"]
                ):
                    raise CelosiaError(
                        f"{path}: {name} is stored as a pickled object, which could run code; "
                        "export the model with plain tensors only"
                    )
        _examine_document(path, json.loads(members["models/model.json"]))
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        if isinstance(error, CelosiaError):
            raise
        raise _unusable(path, f"its description is damaged ({error})") from error
    try:
        samples = io.BytesIO(members.get("data/sample_inputs/model.pt", b""))
        torch.load(samples, weights_only=True)
    except Exception as error:  # unpickling hostile or damaged bytes can fail in any way
        raise _unusable(path, "its sample inputs are damaged or hold code") from error


def _examine_document(path: Path, entry: Any) -> None:
    if isinstance(entry, list):
        for item in entry:
            _examine_document(path, item)
    elif isinstance(entry, dict):
        for key, value in entry.items():
            pattern = {"target": _TARGET, "expr_str": _EXPRESSION}.get(key)
            if pattern is not None and isinstance(value, str) and not pattern.fullmatch(value):
                raise CelosiaError(
                    f"{path}: {key} {value!r} is not what torch.export writes; "
                    "export the model again"
                )
            _examine_document(path, value)


def _unusable(path: Path, reason: str) -> CelosiaError:
    return CelosiaError(
        f"{path} is not a usable .pt2 file: {reason}; "
        "write it with torch.export.save of torch 2.9 or newer"
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
