"""Files that are either written whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MANIFEST = ".celosia-files"
"""Written into every directory made here: the files that it holds, one on each line."""


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Yield a path to write to; it takes the place of ``path`` when the block ends.

    The folder of ``path`` is made where it is missing. When the block raises (a full
    disk, Ctrl-C, anything) what was there before stays and nothing else is left.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    # The suffix is kept: numpy and others choose the form of the file by it.
    handle, name = tempfile.mkstemp(prefix=".", suffix=target.suffix, dir=target.parent)
    os.close(handle)
    draft = Path(name)
    try:
        yield draft
        draft.chmod(0o666 & ~_umask())
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def atomic_directory(path: str | Path) -> Iterator[Path]:
    """Yield an empty directory to fill; its files are moved to ``path`` when the block ends.

    Files of an earlier run into the same directory that are not written again are removed;
    files that were not written by this function stay. When the block raises, ``path`` is as
    it was before.

    Raises
    ------
    OSError
        If the files cannot be written.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    try:
        yield draft
        draft.chmod(0o777 & ~_umask())
        files = sorted(str(f.relative_to(draft)) for f in draft.rglob("*") if f.is_file())
        (draft / MANIFEST).write_text("".join(f"{name}\n" for name in files))
        if not target.exists():
            draft.replace(target)
        else:
            _move_into(draft, files, target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _move_into(draft: Path, files: list[str], target: Path) -> None:
    manifest = target / MANIFEST
    before = set(manifest.read_text().splitlines()) if manifest.exists() else set()
    for name in files:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (draft / name).replace(target / name)
    for name in before - set(files):
        stale = target / name
        # A manifest is only a text file: never follow it out of the directory.
        if stale.resolve().is_relative_to(target.resolve()):
            stale.unlink(missing_ok=True)
    (draft / MANIFEST).replace(manifest)


def _umask() -> int:
    """Return the process's file creation mask, which can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
