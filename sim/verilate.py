"""Builds of a verilated engine: Verilog in, a shared library with its native harness out.

A build is kept in the cache by the hash of all that goes into it. Verilator writes C++, which is
compiled here by the compiler itself, one process for each core: no ``make``, no Perl.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from celosia.models.errors import CelosiaError, MissingToolError
from celosia.models.processes import Processes
from celosia.sim.cache import cached, find_entry
from celosia.sim.toolchain import CXX_FLAGS, Toolchain, find_toolchain, processor, trace_flags

Progress = Callable[[str, int, int], None]
"""Called as a build proceeds: what is being done, steps done, steps in all."""

NATIVE: Final = Path(__file__).parent / "native"
HARNESS: Final = NATIVE / "api.cpp"
"""That of engines."""
LIBRARY: Final = "engine.so"
SECONDS: Final = "seconds.txt"
SOURCES: Final = "sources.txt"
"""In an entry: the hash of all that went into it but the tools."""

_PREFIX: Final = "Vdut"
_VERILATOR_FLAGS: Final = (
    "--cc",
    "-O3",
    "--x-assign", "fast",
    "--x-initial", "fast",
    "--no-assert",
    "--output-split", "40000",
    # Names of parts say more than these warnings; `--lint-only -Wall` is run by rtl's tests.
    "-Wno-fatal", "-Wno-lint", "-Wno-style",
    "--prefix", _PREFIX,
)  # fmt: skip
_FAST: Final[tuple[str, ...]] = ("-O1", "-ftree-vectorize", "-march=native")
"""For what runs every cycle. With ``-O2`` a cycle takes 0.91 to 1.00 of the time, a build twice."""
_SLOW: Final[tuple[str, ...]] = ("-O0",)
"""For constructors and tracing set-up: run once."""
_COMMON: Final = "common.h"
_RUNTIME: Final = ("verilated.cpp", "verilated_threads.cpp")
_TRACE_RUNTIME: Final = ("verilated_fst_c.cpp",)
_DEFINES: Final = ("-DVL_TIME_CONTEXT",)
_MEMORIES: Final = """\
public_flat_rd -module "ram_*" -var "rows"
public_flat_rd -module "*" -var "accumulators_*"
"""
"""Of traced builds: the memories that :meth:`celosia.sim.library.Model.peek` reads."""
_TRACE_DEFINES: Final = ("-DCELOSIA_TRACE", "-DVM_TRACE=1", "-DVM_TRACE_FST=1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """A built simulator.

    Attributes
    ----------
    library : Path
        The shared library, for :class:`celosia.sim.library.Model`.
    seconds : float or None
        What it took to build, at the time it was built; None where that is not known any more.
    cached : bool
        Whether it was there already.
    traced : bool
        Whether it can write FST traces.
    """

    library: Path
    seconds: float | None
    cached: bool
    traced: bool


def verilate(
    verilog: str,
    top: str,
    *,
    traced: bool = False,
    progress: Progress | None = None,
    extra: Sequence[str] = (),
    harness: Path = HARNESS,
    visible: Sequence[tuple[str, str]] = (),
) -> Build:
    """Return a simulator of module ``top`` of ``verilog``, building it where it is not cached.

    One that is cached runs without the tools: where one is missing, what any tools made of the
    same sources for this processor serves.

    Parameters
    ----------
    verilog : str
        The whole design, as :func:`celosia.rtl.verilog.write_verilog` returns it.
    top : str
        Name of the top module; its ports are those of an engine, or what ``harness`` expects.
    traced : bool
        Build with signal traces: slower.
    progress : Callable, optional
        See :data:`Progress`; called from several threads.
    extra : sequence of str
        More options for Verilator.
    harness : Path
        C++ round the model, with the functions that whoever loads the library calls.
    visible : sequence of (str, str)
        Modules, and a signal of each, that :meth:`celosia.sim.library.Model.tap` finds; names may
        hold ``*``.

    Raises
    ------
    CelosiaError
        When a tool is missing (:class:`celosia.models.errors.MissingToolError`) and no build is
        cached, when Verilator refuses the design or the compiler fails, or when the disk is
        full. Nothing is left.
    """
    options = _Options(
        traced=traced,
        extra=tuple(extra),
        harness=harness,
        visible=tuple(visible),
    )
    sources = options.digest(verilog, top)
    try:
        toolchain = find_toolchain()
        tracing = trace_flags(toolchain) if traced else ((), ())
    except MissingToolError:
        made = find_entry(SOURCES, sources)
        if made is None:
            raise
        return _build(made, traced, cached=True)
    job = _Job(
        toolchain=toolchain, options=options, trace_flags=tracing, progress=progress or _silent
    )
    fresh = False

    def build(folder: Path) -> None:
        nonlocal fresh
        fresh = True
        begin = time.perf_counter()
        work = folder / "work"
        work.mkdir()
        job.build(work, verilog, top, folder / LIBRARY)
        shutil.rmtree(work)
        (folder / SOURCES).write_text(sources)
        (folder / SECONDS).write_text(f"{time.perf_counter() - begin:.3f}\n")

    digest = hashlib.sha256(f"{toolchain.identity}\0{sources}".encode()).hexdigest()
    return _build(cached(f"engine-{digest[:32]}", build), traced, cached=not fresh)


def _build(entry: Path, traced: bool, *, cached: bool) -> Build:
    """Return what the cache's folder ``entry`` holds."""
    try:
        seconds = float((entry / SECONDS).read_text())
    except (OSError, ValueError):
        seconds = None  # damaged: it is there to be shown, and nothing else
    return Build(library=entry / LIBRARY, seconds=seconds, cached=cached, traced=traced)


def _write_common(folder: Path) -> Path:
    header = folder / _COMMON
    header.write_text('#include "verilated.h"\n')
    return header


def _silent(_what: str, _done: int, _steps: int) -> None:
    """Show nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Options:
    """How to build, whatever the tools."""

    traced: bool
    extra: tuple[str, ...]
    harness: Path
    visible: tuple[tuple[str, str], ...]

    @property
    def config(self) -> str:
        """Verilator's configuration: what stays visible from outside."""
        lines = [f'public_flat_rd -module "{m}" -var "{name}"\n' for m, name in self.visible]
        return "".join(["`verilator_config\n", *lines, _MEMORIES if self.traced else ""])

    @property
    def verilator_flags(self) -> tuple[str, ...]:
        trace = ("--trace-fst",) if self.traced else ()
        return (*_VERILATOR_FLAGS, *trace, *self.extra)

    def digest(self, verilog: str, top: str) -> str:
        """Return the hash of all that a build depends on but the tools."""
        digest = hashlib.sha256()
        flags = (*CXX_FLAGS, *_DEFINES, *_FAST, *_SLOW, *self.verilator_flags)
        for part in (processor(), top, str(self.traced), self.config, *flags, verilog):
            digest.update(part.encode() + b"\0")
        if self.harness != HARNESS:
            digest.update(self.harness.read_bytes())
        for source in sorted(NATIVE.rglob("*")):
            if source.is_file():
                digest.update(source.name.encode() + b"\0" + source.read_bytes())
        return digest.hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """One way to build: the tools and their options."""

    toolchain: Toolchain
    options: _Options
    trace_flags: tuple[tuple[str, ...], tuple[str, ...]]
    progress: Progress

    @property
    def compile_flags(self) -> tuple[str, ...]:
        include = self.toolchain.root / "include"
        trace = (*_TRACE_DEFINES, *self.trace_flags[0]) if self.options.traced else ()
        paths = (f"-I{include}", f"-I{include / 'vltstd'}", f"-I{NATIVE}")
        return (*CXX_FLAGS, *_DEFINES, *trace, *paths)

    def build(self, work: Path, verilog: str, top: str, library: Path) -> None:
        """Fill ``library``; ``work`` is an empty folder for what lies between."""
        processes = Processes()
        source = work / "engine.v"
        source.write_text(verilog)
        command = [*self.toolchain.verilator, *self.options.verilator_flags, "--top-module", top]
        config = work / "visible.vlt"
        config.write_text(self.options.config)
        command += ["-Mdir", str(work / "cpp"), str(source), str(config)]
        self.progress("verilate", 0, 1)
        processes.run(command, work, self.toolchain.environment)
        self._compile(processes, work / "cpp")
        objects = sorted(str(path) for path in (work / "cpp").glob("*.o"))
        link = [self.toolchain.compiler, "-shared", "-o", str(library), *objects]
        link += self._runtime(processes, work)
        processes.run([*link, *self.trace_flags[1], "-pthread"], work)

    def _compile(self, processes: Processes, folder: Path) -> None:
        """Compile what Verilator wrote and the harness, the longest first."""
        sources = sorted(folder.glob("*.cpp"), key=lambda path: -path.stat().st_size)
        hot = [path for path in sources if "__Slow" not in path.name and "__Syms" not in path.name]
        jobs = [(path, _FAST) for path in (self.options.harness, *hot)]
        jobs += [(path, _SLOW) for path in sources if path not in hot]
        common = {options: self._common(processes, folder, options) for options in (_FAST, _SLOW)}
        header = folder / f"{_PREFIX}__pch.h"
        commands = [
            [self.toolchain.compiler, *self.compile_flags, f"-I{folder}", *options,
             "-include", str(common[options]), "-include", str(header),
             "-c", str(path), "-o", str(folder / f"{path.stem}.o")]
            for path, options in jobs
        ]  # fmt: skip
        processes.run_all(commands, folder, lambda done: self.progress("compile", done, len(jobs)))

    def _common(self, processes: Processes, work: Path, options: tuple[str, ...]) -> Path:
        """Return the header of Verilator's library, compiled beforehand: the same for every design.

        Reading it is most of what small files take. Compiled, it takes 90 MB: where there is no
        room, and with compilers that cannot, it is the header as it is, in ``work``.
        """

        def build(folder: Path) -> None:
            header = _write_common(folder)
            command = [self.toolchain.compiler, *self.compile_flags, *options, "-x", "c++-header"]
            self.progress("compile Verilator's header", 0, 1)
            processes.run([*command, str(header), "-o", f"{header}.gch"], work)

        flags = (*CXX_FLAGS, *_DEFINES, *options, str(self.options.traced))
        try:
            return self._shared("header", flags, build) / _COMMON
        except CelosiaError:
            return _write_common(work)

    def _shared(self, name: str, parts: Sequence[str], build: Callable[[Path], None]) -> Path:
        """Return what ``build`` made of Verilator's library with the options ``parts``."""
        identity = "\0".join((self.toolchain.identity, *parts))
        return cached(f"{name}-{hashlib.sha256(identity.encode()).hexdigest()[:32]}", build)

    def _runtime(self, processes: Processes, work: Path) -> list[str]:
        """Return the objects of Verilator's own library: the same for every design."""
        names = (*_RUNTIME, *(_TRACE_RUNTIME if self.options.traced else ()))
        flags = (*CXX_FLAGS, *_DEFINES, *_FAST)

        def build(folder: Path) -> None:
            include = self.toolchain.root / "include"
            commands = [
                [self.toolchain.compiler, *self.compile_flags, *_FAST, "-c", str(include / name),
                 "-o", str(folder / f"{Path(name).stem}.o")]
                for name in names
            ]  # fmt: skip
            self.progress("compile Verilator's library", 0, len(commands))
            processes.run_all(commands, work, lambda _done: None)

        entry = self._shared("runtime", (*names, *flags), build)
        return [str(entry / f"{Path(name).stem}.o") for name in names]
