"""Files that are either written whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MANIFEST = ".celosia-files"
"""Written into every directory made here: the files that it holds, one on each line."""


def check_writable(path: str | Path) -> None:
    """Refuse, before a long computation, what :func:`atomic_file` would refuse after it.

    Raises :class:`OSError` as it does, but for a disk that is full. Nothing is made.
    """
    target = Path(path)
    _check_file(target)
    folder = next(folder for folder in target.absolute().parents if folder.exists())
    if not folder.is_dir():
        raise _refusal(errno.ENOTDIR, folder)
    with _naming(target), tempfile.TemporaryFile(dir=folder):
        pass


def advice(error: OSError) -> str:
    """Return what to do when a file cannot be written, "" where the error says it."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return "; free some space, or name another place"
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return "; name a folder that you may write to"
    return ""


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Yield a path to write to; it takes the place of ``path`` when the block ends.

    The folder of ``path`` is made where it is missing. When the block raises (a full
    disk, Ctrl-C, anything) what was there before stays and nothing else is left.

    Raises
    ------
    OSError
        If the file cannot be written, or ``path`` is a directory, a device or a pipe; it names
        ``path``.
    """
    target = Path(path)
    _check_file(target)
    make_folder(target.parent)
    with _naming(target):
        # The suffix is kept: numpy and others choose the form of the file by it.
        handle, name = tempfile.mkstemp(prefix=".", suffix=target.suffix, dir=target.parent)
    os.close(handle)
    draft = Path(name)
    try:
        with _naming(target, draft):
            yield draft
            draft.chmod(0o666 & ~_umask())
            draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


@contextmanager
def atomic_directory(path: str | Path) -> Iterator[Path]:
    """Yield an empty directory to fill; its files are moved to ``path`` when the block ends.

    Files of an earlier run into the same directory that are not written again are removed;
    files that were not written by this function stay, and none is written over. When the block
    raises, ``path`` is as it was before.

    Raises
    ------
    OSError
        If the files cannot be written, one is there that was not written by this function, or
        ``path`` is no directory; it names what.
    """
    target = Path(path)
    existing = target.is_dir()
    if not existing and target.exists():
        raise _refusal(errno.ENOTDIR, target)
    make_folder(target.parent)
    # Inside a directory that is there: it may be a file system of its own, and its parent locked.
    place = target if existing else target.parent
    with _naming(target):
        draft = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=place))
    try:
        with _naming(target, draft):
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
        if name not in before and (target / name).exists():
            raise OSError(
                errno.EEXIST,
                "it is there, and not of an earlier run: choose another folder, or move it away",
                str(target / name),
            )
    for name in files:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (draft / name).replace(target / name)
    for name in before - set(files):
        stale = target / name
        # A manifest is only a text file: never follow it out of the directory.
        if stale.resolve().is_relative_to(target.resolve()):
            stale.unlink(missing_ok=True)
    (draft / MANIFEST).replace(manifest)


def _check_file(target: Path) -> None:
    if target.is_dir():
        raise _refusal(errno.EISDIR, target)
    if target.exists() and not target.is_file():
        # Never put a file in the place of a device: /dev/null would be gone for all.
        raise OSError(errno.EEXIST, "it is a device or a pipe, not a file", str(target))


def make_folder(folder: Path) -> None:
    """Make ``folder`` and those above it; :class:`OSError` says that a file lies in its place."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise _refusal(errno.ENOTDIR, folder) from error


def _refusal(number: int, path: Path) -> OSError:
    return OSError(number, os.strerror(number), str(path))


@contextmanager
def _naming(target: Path, draft: Path | None = None) -> Iterator[None]:
    """Let errors that name no file, or one of ``draft``, name ``target``; all, without a draft."""
    try:
        yield
    except OSError as error:
        other = None if error.filename is None else Path(str(error.filename))
        if draft is not None and other is not None and not other.is_relative_to(draft):
            raise
        raise OSError(error.errno, error.strerror or str(error), str(target)) from error


def _umask() -> int:
    """Return the process's file creation mask, which can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
