"""``celosia bench sparch``."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import scipy.io
import scipy.sparse

from celosia.dataflow.sparch.presets import TINY
from celosia.models.errors import CelosiaError
from celosia.scripts.bench_sparch import (
    MATRICES,
    MODES,
    SparchRow,
    bench_sparch,
    load_matrices,
    summary,
)
from celosia.scripts.cli import run_command


def test_rows_of_all_modes():
    rows = bench_sparch(TINY, names=("cop20k", "mario"), most=300)
    assert [(row.matrix, row.mode) for row in rows] == [
        (f"{name} (generated)", mode) for name in ("mario002", "cop20k_A") for mode in MODES
    ]
    assert all(row.holds for row in rows)
    by_mode = {row.mode: row for row in rows if row.matrix.startswith("cop20k")}
    moved = [row.dram_bytes_measured for row in by_mode.values()]
    assert moved[3] < moved[2]  # lines that stay
    assert by_mode["adaptive"].cycles_measured <= by_mode["sparch"].cycles_measured
    means = summary(rows)
    assert means.adaptive is not None
    assert means.adaptive >= 1
    assert list(means.saved) == list(MODES)


def test_a_row_that_does_not_hold():
    row = bench_sparch(TINY, names=("p2p",), modes=("sparch",), most=200)[0]
    assert row.holds
    assert not replace(row, exact=False).holds
    assert not replace(row, dram_bytes_measured=row.dram_bytes_measured + 16).holds


def test_the_paper_s_statistics():
    assert len(MATRICES) == 20
    densities = {each.name: each.nonzeros / each.rows**2 for each in MATRICES}
    published = {
        "2cubes_sphere": 1.6e-4, "amazon0312": 2.0e-5, "ca-CondMat": 3.5e-4, "cage12": 1.2e-4,
        "cop20k_A": 1.8e-4, "email-Enron": 2.7e-4, "filter3D": 2.4e-4, "m133-b3": 2.0e-5,
        "mario002": 1.4e-5, "offshore": 6.3e-5, "p2p-Gnutella31": 3.8e-5, "patents_main": 9.7e-6,
        "poisson3Da": 1.9e-3, "roadNet-CA": 1.4e-6, "scircuit": 3.3e-5, "web-Google": 6.1e-6,
        "webbase-1M": 3.1e-6, "wiki-Vote": 1.5e-3,
    }  # fmt: skip
    for name, density in published.items():
        assert densities[name] == pytest.approx(density, rel=0.05), name
    small = MATRICES[0].matrix(2000)
    assert small.nonzeros == 2000
    assert small.counts.max() <= MATRICES[0].longest


def test_files_come_first(tmp_path):
    scipy.io.mmwrite(tmp_path / "one.mtx", scipy.sparse.eye_array(5, dtype=int))
    matrices = load_matrices(tmp_path, ("one", "cage12"), 100)
    assert list(matrices) == ["one", "cage12 (generated)"]
    assert matrices["one"].nonzeros == 5
    with pytest.raises(CelosiaError, match="there is no matrix 'two': known are one, "):
        load_matrices(tmp_path, ("two",), 100)


def test_the_command(capsys):
    words = ["bench", "sparch", "m133", "--accelerator", "sparch_tiny", "--elements", "100"]
    assert run_command([*words, "--mode", "sparch", "--mode", "adaptive", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert [value["mode"] for value in values] == ["sparch", "adaptive"]
    assert set(values[0]) == set(SparchRow.__dataclass_fields__)
    assert run_command([*words, "--mode", "sparch"]) == 0
    assert "OuterSPACE" in capsys.readouterr().out
    assert run_command([*words, "--mode", "fast"]) == 1
    assert "there is no mode 'fast'" in " ".join(capsys.readouterr().err.split())
