"""Compiled kernels: Numba's ``njit`` with types, and its cache where builds are cached too."""

from __future__ import annotations

import hashlib
import importlib
import os
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar, cast

import numba

from celosia.dataflow.cache import cache_root

F = TypeVar("F", bound=Callable[..., Any])

_KEPT = 16
"""Folders of compiled kernels that stay: of other versions of this package."""


def _fingerprint(folder: Path) -> str:
    """Return a hash of the sources in ``folder``.

    Numba looks at a kernel's own file alone, and kernels call each other across files and hold
    the constants of others.
    """
    digest = hashlib.sha256(numba.__version__.encode())
    for path in sorted(folder.rglob("*.py")):
        digest.update(f"{path.relative_to(folder)}\n".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:20]


def _cache() -> bool:
    """Point Numba at a folder of this version's kernels; false if none can be written."""
    settings = vars(importlib.import_module("numba.core.config"))
    if settings["CACHE_DIR"]:  # the user's own choice, NUMBA_CACHE_DIR
        return True
    root = cache_root() / "kernels"
    chosen = root / _fingerprint(Path(__file__).parent)
    try:
        chosen.mkdir(parents=True, exist_ok=True)
        os.utime(chosen)  # the last to go is what was used last
        others = sorted(
            (path for path in root.iterdir() if path != chosen),
            key=lambda path: path.stat().st_mtime,
        )
    except OSError:
        return False
    for path in others[:-_KEPT]:
        with suppress(OSError):
            shutil.rmtree(path)
    settings["CACHE_DIR"] = str(chosen)
    return True


_CACHED = _cache()


def compiled(function: F) -> F:
    """Return ``function`` compiled to machine code at its first call, and kept for later runs.

    It must be in Numba's subset of Python: arrays, scalars and tuples, no objects.
    """
    return cast(F, numba.njit(cache=_CACHED, nogil=True)(function))


_LEAN: dict[str, Any] = {"cache": _CACHED, "nogil": True, "_nrt": False}


def lean(function: F) -> F:
    """Return ``function`` compiled as by :func:`compiled`; it must not allocate.

    Where nothing is allocated nothing needs to be counted: elsewhere each use of an array is an
    atomic addition and another to take it back, and in kernels of many arrays most of the time.
    """
    return cast(F, numba.njit(**_LEAN)(function))


def inlined(function: F) -> F:
    """Return ``function`` compiled as by :func:`lean` and put into whatever calls it."""
    return cast(F, numba.njit(forceinline=True, **_LEAN)(function))


def kept(module: str) -> bool:
    """Return whether a kernel of ``module`` (a last name) was compiled by an earlier run."""
    folder = vars(importlib.import_module("numba.core.config"))["CACHE_DIR"]
    return _CACHED and any(Path(folder).glob(f"*/{module}.*.nbi"))
