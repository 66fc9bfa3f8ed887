"""A program on the engine under cocotb, with cocotbext-axi's master and memory round it.

The same program as in the native loop, and a bus that nobody here wrote: if both agree, the
native harness's idea of AXI is not a private one. Slow; for small accelerators.
"""

from __future__ import annotations

import enum
import hashlib
import importlib.metadata
import importlib.util
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from celosia.dataflow.engines import Description, kind_of
from celosia.dataflow.inputs import check_inputs
from celosia.dataflow.program import BaseProgram, Counter
from celosia.dataflow.stripes import join_image, split_image, stripe_bases
from celosia.models.errors import CelosiaError, MissingToolError
from celosia.models.processes import Processes
from celosia.rtl.core import core_name, core_verilog
from celosia.rtl.image import program_image
from celosia.sim.cache import cached
from celosia.sim.run import write_inputs
from celosia.sim.toolchain import find_toolchain

_PACKAGES: Final = ("cocotb", "cocotbext-axi", "find_libpython")
_TOOLS: Final = ("make",)

STALL_COUNTERS: Final = frozenset({Counter.CYCLES, Counter.LOAD_BUSY, Counter.STORE_BUSY})
"""Counters that depend on the memory's timing; all others are the program's own."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BenchRun:
    """What one sample did.

    Attributes
    ----------
    tensors : dict of str to numpy.ndarray
        Codes of every tensor in memory, int64 (N, C, H, W): what never leaves the chip is not seen
        from a bus.
    counters : dict of IntEnum to int
        The hardware's counters.
    """

    tensors: dict[str, np.ndarray]
    counters: dict[enum.IntEnum, int]


def run_bench(
    accelerator: Description,
    program: BaseProgram,
    inputs: Mapping[str, np.ndarray],
    *,
    stall: float = 0.3,
    seed: int = 1,
    cycle_limit: int = 1_000_000,
) -> BenchRun:
    """Run ``program`` on one sample.

    Parameters
    ----------
    accelerator : Description
        What to build; small, since cocotb makes every signal public.
    program : BaseProgram
        Compiled for it.
    inputs : mapping of str to numpy.ndarray
        Codes of each input, (1, C, H, W).
    stall : float
        About how often each channel pauses, 0 to 0.9.
    seed : int
        Of the pauses.
    cycle_limit : int
        Cycles after which the bench fails.

    Raises
    ------
    MissingToolError
        When cocotb, cocotbext-axi, make, the compiler or Verilator are missing.
    CelosiaError
        When the bench fails: with the end of its log.
    ValueError
        If ``stall`` is out of its range.
    """
    if check_inputs(program, inputs) != program.samples:
        raise CelosiaError(
            f"the cocotb bench runs one start: give inputs of shape ({program.samples}, C, H, W)"
        )
    image = program_image(program)
    write_inputs(program, image, inputs, 0)
    after, counters = run_image(
        accelerator, program, image, stall=stall, seed=seed, cycle_limit=cycle_limit
    )
    return BenchRun(
        tensors={
            p.name: np.stack([p.of(index).read(after) for index in range(program.samples)])
            for p in program.placements
            if p.name.removesuffix("/scales") not in program.kept
        },
        counters=counters,
    )


def run_image(
    accelerator: Description,
    program: BaseProgram,
    image: np.ndarray,
    *,
    stall: float = 0.3,
    seed: int = 1,
    cycle_limit: int = 1_000_000,
) -> tuple[np.ndarray, dict[enum.IntEnum, int]]:
    """Run ``program`` on memory ``image`` (uint8); return the memory after it, and the counters.

    For programs of any engine. Parameters and errors are those of :func:`run_bench`.
    """
    if not 0 <= stall <= 0.9:
        raise ValueError(f"stall must be 0 to 0.9, not {stall!r}")
    folder = build_bench(accelerator)
    kinds = kind_of(accelerator).counters
    bus = accelerator.bus
    place = (program.base_address, image.size, program.program_address, program.chunks)
    numbers = (*place, seed, cycle_limit, len(kinds))
    with tempfile.TemporaryDirectory(prefix="celosia-cocotb-") as name:
        task = Path(name)
        stripes = np.stack(split_image(image, bus))
        places = stripe_bases(bus)
        np.savez(task / "task.npz", stripes=stripes, numbers=numbers, places=places, stall=stall)
        launch("test", "program", core_name(accelerator), str(folder), str(task), cwd=task)
        with np.load(task / "result.npz") as result:
            after, counters = join_image(result["stripes"], bus)[: image.size], result["counters"]
    return after, {counter: int(counters[counter]) for counter in kinds}


def build_bench(accelerator: Description) -> Path:
    """Return the folder of the cocotb simulator of ``accelerator``, from the cache if there."""
    _require()  # before the Verilog is made, which takes longer than to look
    return build_module(core_verilog(accelerator), core_name(accelerator))


def build_module(verilog: str, top: str) -> Path:
    """Return the folder of the cocotb simulator of a Verilog module; see :func:`build_bench`.

    Raises
    ------
    MissingToolError
        When cocotb, cocotbext-axi, make, the compiler or Verilator are missing.
    CelosiaError
        When the build fails: with the end of its log.
    """
    _require()
    versions = [importlib.metadata.version(package) for package in _PACKAGES]
    parts = [find_toolchain().identity, *versions, sys.executable, top, verilog]
    parts.append((Path(__file__).parent / "launch.py").read_text())
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]

    def build(folder: Path) -> None:
        source = folder / "design.v"
        source.write_text(verilog)
        launch("build", str(source), top, str(folder), cwd=folder)
        for path in folder.iterdir():  # keep the program only
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name != top:
                path.unlink()

    return cached(f"cocotb-{digest}", build)


def launch(*arguments: str, cwd: Path) -> None:
    """Run what :mod:`celosia.sim.cocotb.launch` does in ``cwd``; ``CelosiaError`` if it fails."""
    Processes().run([sys.executable, "-m", "celosia.sim.cocotb.launch", *arguments], cwd)


def _require() -> None:
    for package in ("cocotb", "cocotbext.axi"):
        try:
            found = importlib.util.find_spec(package)
        except ModuleNotFoundError:
            found = None
        if found is None:
            raise MissingToolError(
                f"the Python package {package} is not installed: the cocotb benches need it. "
                "Install them (pip install 'cocotb>=2.1' cocotbext-axi)"
            )
    for tool in _TOOLS:
        if shutil.which(tool) is None:
            raise MissingToolError(
                f"{tool} was not found: cocotb builds its simulators with it. Install it "
                f"(Debian, Ubuntu: apt-get install {tool})"
            )
