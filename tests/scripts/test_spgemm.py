"""``celosia spgemm`` and the library call behind it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import scipy.io
import scipy.sparse

from celosia.dataflow.memory import DDR4, IDEAL
from celosia.dataflow.sparch.choose import choose, strategies
from celosia.dataflow.sparch.presets import PAPER, TINY
from celosia.fpga.devices import ZCU102
from celosia.fpga.netlist import Netlist
from celosia.models.errors import CelosiaError
from celosia.models.matrix_market import read_matrix_market, write_matrix_market
from celosia.models.random_sparse import Pattern, random_matrix
from celosia.scripts import built
from celosia.scripts.cli import run_command
from celosia.scripts.spgemm import Mode, multiplication, spgemm
from celosia.sim.product import run_product
from celosia.sim.run import Simulator

SEED = 31


@pytest.fixture(scope="module")
def simulator():
    return Simulator(TINY)


def some_matrix(pattern=Pattern.NETWORK):
    return random_matrix((50, 50), 420, np.random.default_rng(SEED), pattern=pattern, longest=30)


@pytest.mark.parametrize("mode", Mode)
def test_a_product_is_scipys(simulator, mode):
    matrix = some_matrix().to_scipy()
    done = spgemm(matrix, accelerator=TINY, mode=mode, simulator=simulator)
    assert done.holds
    assert done.verdict_line() == "every bit, cycle and counter as expected"
    difference = done.result - matrix @ matrix
    difference.eliminate_zeros()
    assert difference.nnz == 0
    value = done.as_dict()
    assert value["cycles_measured"] == value["cycles_predicted"]
    moved = 16 * sum(
        value["counters"][f"{name}_beats"]
        for name in ("left", "right", "partial_read", "partial_write", "output", "pointer")
    )
    assert value["dram_bytes"] == moved
    assert len(done.tables()) == 1


def test_the_adaptive_mode_is_never_slower(simulator):
    for pattern in Pattern:
        matrix = some_matrix(pattern)
        cycles = [
            spgemm(matrix, accelerator=TINY, mode=mode, simulator=simulator).run.cycles
            for mode in (Mode.SPARCH, Mode.ROWWISE, Mode.ADAPTIVE)
        ]
        assert cycles[2] <= min(cycles[:2])


def test_the_best_is_chosen_by_exact_timing():
    matrix = some_matrix()
    best = choose(matrix, matrix, TINY, DDR4)
    each = [choose(matrix, matrix, TINY, DDR4, tried=(one,)) for one in strategies(TINY)]
    assert best.timing.cycles == min(priced.timing.cycles for priced in each)
    offered = strategies(PAPER)
    assert len(set(offered)) == len(offered) == 8


def test_differences_are_named(simulator):
    matrix = some_matrix()
    priced = choose(matrix, matrix, TINY, IDEAL, tried=strategies(TINY)[:1])
    run = run_product(simulator, priced.program, IDEAL)
    wrong = run.output.values.copy()
    wrong[5] += 1
    broken = replace(run, output=run.output.with_values(wrong), cycles=run.cycles + 1)
    done = multiplication(priced, broken)
    assert not done.holds
    row, column = run.output.rows[5], run.output.columns[5]
    assert f"element 5: expected {wrong[5] - 1} in row {row}, column {column}" in (
        done.verdict_line()
    )
    assert f"cycles: expected {run.cycles}, got {run.cycles + 1}" in done.verdict_line()


def test_the_command(tmp_path, capsys):
    matrix = some_matrix().to_scipy()
    source, target = tmp_path / "a.mtx", tmp_path / "c.mtx"
    scipy.io.mmwrite(source, matrix)
    words = ["spgemm", str(source), "--accelerator", "sparch_tiny", "-o", str(target)]
    assert run_command([*words, "--json", "--mode", "sparch"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["exact"]
    assert value["netlist"] is None
    written = read_matrix_market(target).to_scipy()
    assert (written.toarray() == (matrix @ matrix).toarray()).all()
    assert run_command([*words[:2], str(source), *words[2:], "--mode", "rowwise"]) == 0
    assert "as expected" in capsys.readouterr().out


def test_a_product_runs_on_a_netlist(simulator, tmp_path, capsys, monkeypatch):
    """What is simulated is said; what Yosys makes is run in ``tests/fpga/test_netlist.py``."""
    cells = Netlist(verilog=simulator.verilog, device=ZCU102, cells={"FDRE": 2000, "LUT6": 3})
    monkeypatch.setattr(built, "netlist", lambda accelerator, device: cells)
    source = tmp_path / "a.mtx"
    scipy.io.mmwrite(source, scipy.sparse.eye_array(3, dtype=int))
    words = ["spgemm", str(source), "--accelerator", "sparch_tiny", "--netlist", "zcu102"]
    assert run_command([*words, "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["netlist"] == {"device": "zcu102", "cells": {"FDRE": 2000, "LUT6": 3}}
    assert run_command(words) == 0
    line = "on a netlist of 2,003 cells of zcu102: every bit, cycle and counter as expected"
    assert line in capsys.readouterr().out
    with pytest.raises(ValueError, match="device must be None"):
        spgemm(some_matrix(), accelerator=TINY, simulator=simulator, device=ZCU102)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--mode", "outer"], "there is no mode 'outer': known are sparch, rowwise, adaptive"),
        (["--accelerator", "tiny"], "tiny is no SpArch engine"),
        (["--netlist", "x"], "unknown device 'x'"),
        (["--netlist", "pynq-z2"], "no models of the cells of pynq-z2"),
        (["--accelerator", "sparch_paper", "--netlist", "zcu102"], "has 1,024 ways"),
        (["--memory", "fast"], "memory 'fast' is not understood"),
        (["-o", "."], "Is a directory"),  # before anything is run
    ],
)
def test_wrong_words_are_refused(tmp_path, capsys, change, message):
    source = tmp_path / "a.mtx"
    scipy.io.mmwrite(source, scipy.sparse.eye_array(3, dtype=int))
    words = ["spgemm", str(source), "--accelerator", "sparch_tiny", *change]
    assert run_command(words) == 1
    assert message in " ".join(capsys.readouterr().err.split())


def test_wrong_matrices_are_refused(simulator, tmp_path, capsys):
    with pytest.raises(CelosiaError, match="left matrix is no sparse matrix"):
        spgemm(np.eye(3), accelerator=TINY, simulator=simulator)
    with pytest.raises(CelosiaError, match="4 columns and the right one 3 rows"):
        spgemm(scipy.sparse.eye_array(3, 4, dtype=int, format="csr"), accelerator=TINY)
    path = tmp_path / "a.mtx"
    path.write_text("%%MatrixMarket matrix coordinate real general\n3 3 1\n1 1 nan\n")
    assert run_command(["spgemm", str(path), "--accelerator", "sparch_tiny"]) == 1
    assert "holds nan in row 0" in " ".join(capsys.readouterr().err.split())
    with pytest.raises(CelosiaError, match="cannot write"):
        write_matrix_market(scipy.sparse.eye_array(2), tmp_path)
