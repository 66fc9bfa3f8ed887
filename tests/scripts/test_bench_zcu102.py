"""The bench of the ZCU102's W4A4 engine: the engine, the counting, the tables and the report."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from celosia.dataflow.area import ULTRASCALE_PLUS, estimate_area
from celosia.dataflow.dsp import column_units
from celosia.dataflow.presets import preset
from celosia.fpga.devices import ZCU102, Resources
from celosia.fpga.yosys import Block, SynthReport
from celosia.scripts import bench_zcu102 as bench
from celosia.scripts.bench_networks import CASES, NetworkRow
from celosia.scripts.cli import main
from celosia.scripts.report import read_summary, render
from celosia.scripts.report_network import frames


def found(lut: float = 200_000) -> bench.Zcu102:
    used = Resources(lut=lut, ff=90_000, dsp=2_145, bram=800.5)
    top = Block(name="top", count=1, own=used, inclusive=used)
    report = SynthReport(
        design="top", device=ZCU102, tool="Yosys 0.70", blocks=(top,), logic_levels=6
    )
    rows = tuple(
        NetworkRow(
            network=name, accelerator=bench.ACCELERATOR, weight_bits=4, products_per_cycle=12_288,
            products=900_000, cycles_predicted=1_000_000, cycles_measured=1_000_000,
            utilisation=0.25, tensors=9, tensors_compared=9, bit_exact=True, cycles_exact=True,
            map_seconds=1.0, sim_seconds=2.0, build_seconds=3.0,
            tier_exact=True, tier_seconds=1.5, weights="random", layers=(),
        )
        for name in bench.PUBLISHED
    )  # fmt: skip
    return bench.Zcu102(synthesis=report, rows=rows)


def test_the_engine_is_what_the_bench_says() -> None:
    engine = preset(bench.ACCELERATOR)
    assert engine.products == 12_288
    assert engine.array.activation_bits == 4
    assert {group.format.bits for group in engine.array.columns} == {4}
    assert (engine.bus.ports, engine.bus.port_bits) == (4, 128)
    # Two columns and both pixels share a DSP block: four products in each.
    fixed = [u for u in column_units(engine.array) if u.group.format.name == "fixed4"]
    assert {len(unit.positions) for unit in fixed} == {2}
    # Blocks by the geometry; look-up tables are for synthesis to say.
    area, budget = estimate_area(engine, ULTRASCALE_PLUS), ZCU102.budget
    assert area["dsp"] <= bench.LIMITS["dsp"] * budget.dsp
    assert area["bram"] <= bench.LIMITS["bram"] * budget.bram
    assert {c.network for c in CASES if c.accelerator == bench.ACCELERATOR} == set(bench.PUBLISHED)


def test_what_is_told_is_what_was_measured() -> None:
    value = json.loads(json.dumps(found().as_dict()))
    assert (value["lut"], value["dsp"], value["bram36"]) == (200_000, 2_145, 800.5)
    assert (value["logic_levels"], value["note"]) == (6, "not placed and routed")
    assert value["fits"] is value["holds"] is True
    rates = value["networks"]["resnet50"]["frames_per_second"]
    assert rates == {"200": 200.0, "250": 250.0, "300": 300.0}
    assert value["networks"]["resnet50"]["published_frames_per_second"]["DPU"] == 191.0
    large = found(lut=210_000)
    assert large.synthesis.fits
    assert not large.fits
    assert not large.holds
    wrong = replace(found().rows[0], bit_exact=False)
    assert not replace(found(), rows=(wrong, *found().rows[1:])).holds


def test_the_tables_stand_beside_published_figures() -> None:
    lines = bench.markdown(found()).splitlines()
    assert lines[2] == "| LUT | 200,000 | 274,080 | 73.0 % | 75 % |"
    assert lines[4] == "| BRAM36 | 800.5 | 912 | 87.8 % | 90 % |"
    assert lines[5] == "| logic levels | 6 | - | - | - |"
    assert lines[9] == (
        "| resnet18 | 1,000,000 | 1,000,000 | 25.0 % | yes | 200.0 | 250.0 | 300.0 "
        "| FILM-QNN 214.8 |"
    )
    assert "| 76.6 % | 75 %, DOES NOT FIT |" in bench.markdown(found(lut=210_000))


def test_area_alone_runs_no_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = found()
    monkeypatch.setattr(bench, "synth", lambda *_, **__: whole.synthesis)
    monkeypatch.delattr(bench, "bench_networks")
    printed = {}
    for option in ("--json", "--markdown", None):
        with pytest.raises(SystemExit) as ended:
            main(["bench", "zcu102", "--area", *([option] if option else [])])
        assert ended.value.code == 0
        printed[option] = capsys.readouterr().out
    value = json.loads(printed["--json"])
    assert value == whole.as_dict() | {"networks": {}, "holds": None}
    assert printed["--markdown"].splitlines()[-1] == "| logic levels | 6 | - | - | - |"
    assert "logic levels" in printed[None]
    assert "Frames a second" not in printed[None]
    (tmp_path / "summary.json").write_text(printed["--json"])
    assert read_summary(tmp_path)["networks"] == {}


def test_the_report_shows_frames_a_second(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    path.write_text(json.dumps(found().as_dict()))
    page = " ".join(render(read_summary(path), []).split())
    assert (
        "<b>not placed and routed</b>: 200.0 at 200 MHz, 250.0 at 250 MHz, 300.0 at 300 MHz."
    ) in page
    assert "Published for the board: FILM-QNN 109.1, DPU 191.0." in page


@pytest.mark.parametrize(
    "run",
    [
        {"cycles_measured": 100},
        {"cycles_measured": None, "area": {"device": "zcu102"}},
        {"cycles_measured": 0, "area": {"device": "zcu102"}},
        {"cycles_measured": 100, "area": {"device": "ecp5-85k"}},
    ],
)
def test_other_runs_have_no_frames_a_second(run: dict[str, object]) -> None:
    assert not frames(run)
    started = {"cycles_measured": 1000, "samples_per_start": 4, "area": {"device": "zcu102"}}
    assert frames(started)["250"] == 1e6
