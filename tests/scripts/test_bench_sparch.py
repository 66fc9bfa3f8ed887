"""``celosia bench sparch``."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import scipy.io
import scipy.sparse

from celosia.dataflow.sparch.presets import TINY, published
from celosia.models.errors import CelosiaError
from celosia.scripts.bench_sparch import (
    PUBLISHED,
    Limits,
    bench_sparch,
    modes_of,
    summary,
    tables,
)
from celosia.scripts.cli import run_command
from celosia.scripts.sparch_matrices import MATRICES, find_matrices
from celosia.scripts.sparch_results import JSON_FIELDS

SMALL = Limits(products=1000)
MODES_HERE = tuple(mode for mode in modes_of(TINY) if mode != PUBLISHED)
"""Those that run on the engine itself."""


def test_rows_of_all_modes():
    rows = bench_sparch(TINY, names=("m133", "mario"), modes=MODES_HERE, limits=SMALL)
    assert [(row.matrix, row.mode) for row in rows] == [
        (f"{name} (generated)", mode) for name in ("m133-b3", "mario002") for mode in MODES_HERE
    ]
    assert all(row.holds and row.exact for row in rows)
    by_mode = {row.mode: row for row in rows if row.matrix.startswith("mario")}
    moved = [row.dram_bytes_predicted for row in by_mode.values()]
    assert moved[:4] == sorted(moved[:4], reverse=True)  # what each part saves
    assert all(row.cycles_measured == row.cycles_predicted for row in rows)
    means = summary(rows)
    assert list(means.faster) == ["sparch"]
    assert means.faster["sparch"] >= 1
    assert list(means.saved) == list(means.gflops) == list(MODES_HERE)
    assert means.saved["sparch"] == pytest.approx(
        np.prod([row.saved for row in rows if row.mode == "sparch"]) ** 0.5
    )


def test_the_published_organisation_is_a_mode():
    """It runs on an engine of its own, with as many multipliers."""
    how = {"names": ("mario",), "limits": SMALL, "predict": True}
    rows = bench_sparch(TINY, modes=("sparch", PUBLISHED, "adaptive"), **how)
    own, paper, best = rows
    (alone,) = bench_sparch(published(TINY), modes=("sparch",), **how)
    assert paper == replace(alone, mode=PUBLISHED)
    assert own.cycles_predicted != paper.cycles_predicted
    assert paper.cycles_predicted
    assert best.cycles_predicted
    gain = paper.cycles_predicted / best.cycles_predicted
    assert summary(rows).faster[PUBLISHED] == pytest.approx(gain)
    single = replace(TINY, right=replace(TINY.right, multipliers=1))
    assert PUBLISHED not in modes_of(single)
    with pytest.raises(ValueError, match="sparch_tiny must have at least two multipliers"):
        published(single)


def test_what_is_too_large_is_only_predicted():
    names, modes = ("mario",), ("no condensing", "sparch")
    limits = replace(SMALL, cycles=0, elements=5000)
    bytes_only, predicted = bench_sparch(TINY, names=names, modes=modes, limits=limits)
    assert predicted.cycles_predicted
    assert predicted.exact is predicted.cycles_measured is predicted.sim_seconds is None
    assert predicted.holds
    assert bytes_only.cycles_predicted is bytes_only.gflops_at_1ghz is None
    assert bytes_only.dram_bytes_predicted > predicted.dram_bytes_predicted
    measured = bench_sparch(TINY, names=names, modes=modes, limits=SMALL)
    for one, other in zip(measured, (bytes_only, predicted), strict=True):
        assert one.dram_bytes_measured == other.dram_bytes_predicted
    assert measured[1].cycles_measured == predicted.cycles_predicted
    again = bench_sparch(
        TINY, names=names, modes=modes, limits=replace(limits, cycles=10**9), predict=True
    )
    assert again == [bytes_only, predicted]
    assert len(tables([bytes_only, predicted])) == 2  # of the matrix, and means


def test_limits_are_checked():
    with pytest.raises(ValueError, match="cycles must be at least 0, not -1"):
        Limits(cycles=-1)


def test_a_row_that_does_not_hold():
    row = bench_sparch(TINY, names=("p2p",), modes=("sparch",), limits=SMALL)[0]
    assert row.holds
    assert not replace(row, exact=False).holds
    assert not replace(row, dram_bytes_measured=row.dram_bytes_predicted + 16).holds


def test_nothing_is_measured_twice(tmp_path):
    """An interrupted run loses no row, not even where it was cut off while writing one."""
    file = tmp_path / "rows.jsonl"
    how = {"names": ("mario",), "limits": SMALL, "predict": True, "results": file}
    rows = bench_sparch(TINY, modes=("sparch", "row-wise"), **how)
    lines = file.read_text().splitlines()
    assert len(lines) == 2
    marked = json.loads(lines[0]) | {"cycles_predicted": 12345}
    file.write_text(json.dumps(marked) + "\n" + lines[1][:50])
    again = bench_sparch(TINY, modes=("sparch", "row-wise"), **how)
    assert again == [replace(rows[0], cycles_predicted=12345), rows[1]]
    assert len(file.read_text().splitlines()) == 2
    how["limits"] = Limits(products=1100)  # another setting: nothing of it counts
    assert bench_sparch(TINY, modes=("sparch",), **how)[0].cycles_predicted != 12345
    file.write_text("{}\n")
    with pytest.raises(CelosiaError, match="line 1: no row of this bench"):
        bench_sparch(TINY, **how)
    with pytest.raises(CelosiaError, match="cannot read"):
        bench_sparch(TINY, **how | {"results": tmp_path})
    with pytest.raises(CelosiaError, match="cannot write"):
        bench_sparch(TINY, **how | {"results": tmp_path / "nowhere" / "rows.jsonl"})


DENSITIES = {
    "2cubes_sphere": 1.6e-4, "amazon0312": 2.0e-5, "ca-CondMat": 3.5e-4, "cage12": 1.2e-4,
    "cop20k_A": 1.8e-4, "email-Enron": 2.7e-4, "filter3D": 2.4e-4, "m133-b3": 2.0e-5,
    "mario002": 1.4e-5, "offshore": 6.3e-5, "p2p-Gnutella31": 3.8e-5, "patents_main": 9.7e-6,
    "poisson3Da": 1.9e-3, "roadNet-CA": 1.4e-6, "scircuit": 3.3e-5, "web-Google": 6.1e-6,
    "webbase-1M": 3.1e-6, "wiki-Vote": 1.5e-3,
}  # fmt: skip
COUNTED = {
    "wiki-Vote": 4_542_805, "p2p-Gnutella31": 538_318, "ca-CondMat": 4_127_524,
    "poisson3Da": 11_768_678, "email-Enron": 51_501_448,
}  # fmt: skip
"""Products as an independent artefact counted them."""


def test_the_paper_s_statistics():
    assert len(MATRICES) == 20
    by_name = {each.name: each for each in MATRICES}
    for name, density in DENSITIES.items():
        found = by_name[name].nonzeros / by_name[name].rows ** 2
        assert found == pytest.approx(density, rel=0.05), name
    assert {name: by_name[name].products for name in COUNTED} == COUNTED


@pytest.mark.parametrize("name", ["wiki-Vote", "p2p-Gnutella31", "ca-CondMat", "poisson3Da"])
def test_stand_ins_make_as_many_products(name):
    (known,) = (each for each in MATRICES if each.name == name)
    whole = known.matrix(known.products)
    assert (whole.shape[0], whole.nonzeros) == (known.rows, known.nonzeros)
    assert whole.counts.max() == known.longest
    assert whole.counts[whole.columns].sum() == pytest.approx(known.products, rel=0.08)


@pytest.mark.parametrize("known", MATRICES, ids=lambda each: each.name)
def test_stand_ins_are_cut_with_rows_as_they_are(known):
    small = known.matrix(30_000)
    mean = known.nonzeros / known.rows
    assert small.nonzeros / small.shape[0] == pytest.approx(mean, rel=0.1)
    assert small.counts.max() <= known.longest
    assert small.counts[small.columns].sum() < max(80_000, 20 * mean**3)
    assert (small.columns == known.matrix(30_000).columns).all()


def test_files_come_first(tmp_path):
    scipy.io.mmwrite(tmp_path / "one.mtx", scipy.sparse.eye_array(5, dtype=int))
    found = find_matrices(tmp_path, ("one", "cage12"), 100)
    assert [each.name for each in found] == ["one", "cage12 (generated)"]
    assert found[0].matrix().nonzeros == 5
    assert found[0].share == 1
    with pytest.raises(CelosiaError, match="there is no matrix 'two': known are one, "):
        find_matrices(tmp_path, ("two",), 100)
    with pytest.raises(CelosiaError, match="is no folder"):
        find_matrices(tmp_path / "one.mtx", (), 100)


def test_the_command(capsys, tmp_path):
    words = ["bench", "sparch", "m133", "--accelerator", "sparch_tiny", "--products", "500"]
    words += ["--workers", "1", "--mode", "sparch"]
    assert run_command([*words, "--mode", "adaptive", "--json"]) == 0
    values = json.loads(capsys.readouterr().out)
    assert [value["mode"] for value in values] == ["sparch", "adaptive"]
    assert tuple(values[0]) == JSON_FIELDS
    assert run_command([*words, "--results", str(tmp_path / "rows.jsonl"), "--predict"]) == 0
    assert "OuterSPACE" in capsys.readouterr().out
    assert run_command([*words, "--mode", "fast"]) == 1
    assert "there is no mode 'fast'" in " ".join(capsys.readouterr().err.split())
