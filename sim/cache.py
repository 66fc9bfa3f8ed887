"""A cache of builds by content: each entry is a folder that is complete or not there.

``CELOSIA_CACHE`` names the folder; by default it is the user's cache folder of the platform.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import filelock

from celosia.dataflow.cache import cache_root
from celosia.models.errors import CelosiaError

LIMIT_BYTES: Final = 2 << 30
"""When the cache holds more, the entries not used for longest go, but none used just now."""

_STALE_SECONDS: Final = 24 * 3600
_IN_USE_SECONDS: Final = 600
_DRAFT: Final = ".building-"


def cache_folder() -> Path:
    """Return the cache's folder: ``$CELOSIA_CACHE`` or the user's, with ``builds`` below."""
    return cache_root() / "builds"


def cached(key: str, build: Callable[[Path], None]) -> Path:
    """Return the folder of ``key``, which ``build`` fills the first time.

    Parameters
    ----------
    key : str
        A hash of all that the build depends on; a file name.
    build : Callable
        Called with an empty folder when there is no entry. When it raises, nothing is kept.
        Two processes that want the same key build it once.

    Returns
    -------
    Path
        A folder, never changed again.

    Raises
    ------
    CelosiaError
        When the cache folder cannot be written (permissions, a full disk).
    """
    root = cache_folder()
    entry = root / key
    try:
        root.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(root / f"{key}.lock"):
            if not entry.is_dir():
                _fill(root, key, build)
                _prune(root, keep=entry)
            os.utime(entry)
    except OSError as error:
        raise CelosiaError(
            f"the build cache in {root} cannot be written: {error.strerror or error}. Free some "
            "space, or name another folder in CELOSIA_CACHE"
        ) from error
    return entry


def find_entry(note: str, text: str) -> Path | None:
    """Return the folder, of those whose file ``note`` holds ``text``, that was used last."""
    found: list[tuple[float, Path]] = []
    for file in cache_folder().glob(f"[!.]*/{note}"):
        with suppress(OSError, UnicodeDecodeError):  # pruned or damaged: no such entry
            if file.read_text() == text:
                found.append((file.parent.stat().st_mtime, file.parent))
    return max(found)[1] if found else None


def _fill(root: Path, key: str, build: Callable[[Path], None]) -> None:
    draft = root / f"{_DRAFT}{key}"
    # Left only by a process that was killed: the lock says that nobody is at it now.
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    try:
        build(draft)
        draft.rename(root / key)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _prune(root: Path, keep: Path) -> None:
    """Remove what killed processes left, and the oldest entries past the limit.

    One process at a time; what was used a short while ago stays: somebody may be at it.
    """
    with suppress(filelock.Timeout), filelock.FileLock(root / "prune.lock", timeout=0):
        now = time.time()
        entries: list[tuple[float, int, Path]] = []
        for folder in root.iterdir():
            with suppress(FileNotFoundError):  # a draft that became an entry meanwhile
                used = folder.stat().st_mtime
                if not folder.is_dir() or folder == keep:
                    continue
                if not folder.name.startswith(_DRAFT):
                    files = (file for file in folder.rglob("*") if file.is_file())
                    entries.append((used, sum(file.stat().st_size for file in files), folder))
                elif now - used > _STALE_SECONDS:
                    shutil.rmtree(folder, ignore_errors=True)
        total = sum(size for _, size, _ in entries)
        for used, size, folder in sorted(entries):
            if total <= LIMIT_BYTES or now - used < _IN_USE_SECONDS:
                return
            # Out of sight first: a half-removed entry must never look whole.
            doomed = root / f"{_DRAFT}removed-{folder.name}"
            folder.rename(doomed)
            shutil.rmtree(doomed, ignore_errors=True)
            total -= size
