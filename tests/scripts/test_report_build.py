"""The page of a build, from what Vivado's scripts and the open tools write."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from celosia.dataflow.presets import preset
from celosia.fpga import ecp5
from celosia.fpga.boards import find_board
from celosia.fpga.devices import ECP5_85K, Resources
from celosia.fpga.ecp5 import Bitstream
from celosia.fpga.vivado.package import package
from celosia.models.errors import CelosiaError
from celosia.scripts.cli import main
from celosia.scripts.report import read_summary

from .test_report import Balance

STAND_IN = Path(__file__).parents[1] / "fpga" / "vivado" / "vivado.tcl"
TCLSH = shutil.which("tclsh")

SYSTEM: dict[str, Any] = {
    "kind": "system", "accelerator": "tiny", "hash": "7c04e9", "board": "zcu102",
    "part": "xczu9eg-ffvb1156-2-e", "vivado": "2023.2", "clock_asked_mhz": 200.0,
    "clock_mhz": 187.5, "lut": 101234, "ff": 54321, "bram": 210.5, "uram": 0, "dsp": 768,
    "watts": 4.321, "setup_slack_ns": 0.25, "hold_slack_ns": 0.011, "timing_met": True,
    "routed": True, "strategy": "Vivado Implementation Defaults", "strategies_tried": 1,
}  # fmt: skip
"""What ``tcl/report.tcl`` writes of a system."""

AREA = {k: v for k, v in SYSTEM.items() if not k.startswith("strateg")} | {
    "kind": "area",
    "routed": False,
}
"""And of the engine alone."""


def bitstream(path: Path, fmax_mhz: float = 68.12) -> Bitstream:
    """Return what a bitstream of a few bytes in ``path`` is told of as."""
    path.write_bytes(b"bits" * 1_000)
    return Bitstream(
        path=path,
        accelerator="ecp5",
        device=ECP5_85K,
        tools=("Yosys 0.70", "nextpnr-0.11.1"),
        fmax_mhz=fmax_mhz,
        clock_mhz=25.0,
        memory_bytes=128 << 10,
        used=Resources(lut=20_573, ff=11_116, dsp=39, bram=127),
    )


def page_of(path: Path) -> str:
    """Return what ``celosia report`` makes of ``path``, checked to be whole."""
    target = (path if path.is_dir() else path.parent) / "report.html"
    with pytest.raises(SystemExit) as ended:
        main(["report", str(path)])
    assert ended.value.code == 0
    page = target.read_text()
    parser = Balance()
    parser.feed(page)
    assert (parser.open, parser.outside) == ([], [])
    return page.replace("\n", " ")


def test_a_system(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    file.write_text(json.dumps(SYSTEM))
    page = page_of(file)
    assert page == page_of(tmp_path)
    assert "tiny for zcu102 (xczu9eg-ffvb1156-2-e)" in page
    assert 'class="badge good">timing met' in page
    assert "Vivado Implementation Defaults" in page
    assert "Made with Vivado 2023.2." in page
    assert "Its hash is 7c04e9" in page
    for tile in ("200 MHz", "187.5 MHz", "0.25 ns", "0.011 ns", "4.321 W"):
        assert f"<b>{tile}</b>" in page
    assert '<td>lut</td><td>101,234</td><td>274,080</td> <td class="">36.9 %</td>' in page
    assert "<td>bram</td><td>210.5</td><td>912</td>" in page
    assert '<td>uram</td><td>0</td><td>-</td> <td class="">-</td>' in page


def test_timing_that_is_not_met(tmp_path: Path) -> None:
    slow = {"timing_met": False, "setup_slack_ns": -0.3, "strategies_tried": 4, "watts": None}
    (tmp_path / "report.json").write_text(json.dumps(SYSTEM | slow))
    page = page_of(tmp_path)
    assert 'class="badge bad">timing NOT met' in page
    assert "the last of 4 that were tried" in page
    assert "<b>-0.3 ns</b>" in page
    assert "power by Vivado&#39;s estimate<b>-</b>" in page


def test_the_engine_alone(tmp_path: Path) -> None:
    untimed = {"setup_slack_ns": None, "hold_slack_ns": None, "timing_met": False, "board": "other"}
    (tmp_path / "area.json").write_text(json.dumps(AREA | untimed))
    page = page_of(tmp_path)
    assert "synthesised and not placed" in page
    assert "<td>lut</td><td>101,234</td><td>-</td>" in page
    # A system is more than the engine alone.
    (tmp_path / "report.json").write_text(json.dumps(SYSTEM))
    assert "placed and routed" in page_of(tmp_path)


@pytest.mark.parametrize(("fmax_mhz", "said"), [(68.12, "met"), (24.9, "NOT met")])
def test_a_bitstream(tmp_path: Path, fmax_mhz: float, said: str) -> None:
    made = bitstream(tmp_path / "ecp5_top.bit", fmax_mhz)
    (tmp_path / "report.json").write_text(json.dumps(made.as_dict()))
    page = page_of(tmp_path)
    assert "ecp5 for ecp5-85k (LFE5U-85F-6BG381C)" in page
    assert f">timing {said}</span>" in page
    assert "Made with Yosys 0.70, nextpnr-0.11.1." in page
    for tile in (f"{fmax_mhz:g} MHz", "25 MHz", "128 KiB", "4,000 bytes"):
        assert f"<b>{tile}</b>" in page
    assert '<td>lut</td><td>20,573</td><td>83,640</td> <td class="">24.6 %</td>' in page
    assert "<td>uram</td>" not in page


def test_the_command_says_it_in_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for fmax_mhz, status, said in ((68.12, 0, "closes at"), (24.9, 1, "DOES NOT CLOSE at")):
        made = bitstream(tmp_path / "ecp5_top.bit", fmax_mhz)
        monkeypatch.setattr(ecp5, "bitstream", lambda *_, made=made, **__: made)
        with pytest.raises(SystemExit) as ended:
            main(["bitstream", "ecp5", "-o", str(tmp_path)])
        assert ended.value.code == status
        out = " ".join(capsys.readouterr().out.split())
        assert f"{said} the board's 25 MHz: up to {fmax_mhz:.2f} MHz" in out
        assert "made with Yosys 0.70, nextpnr-0.11.1" in out
        assert "20,573" in out
        assert not re.search(r"[{}\[\]]", out)


MADE = bitstream(Path(os.devnull)).as_dict()


@pytest.mark.parametrize(
    ("whole", "name"),
    [(build, name) for build in (SYSTEM, MADE) for name in build if name != "kind"],
)
def test_what_a_build_must_say(tmp_path: Path, whole: dict[str, Any], name: str) -> None:
    file = tmp_path / "report.json"
    file.write_text(json.dumps({key: value for key, value in whole.items() if key != name}))
    with pytest.raises(CelosiaError, match=rf"report.json lacks '{name}', (a |true|num)"):
        read_summary(file)
    for wrong in ([1], {"a": "b"}, float("inf"), float("nan")):
        file.write_text(json.dumps(whole | {name: wrong}))
        with pytest.raises(CelosiaError, match=rf"report.json: '{name}' must be (a |true|num)"):
            read_summary(file)


@pytest.mark.parametrize("kind", ["bridge", 3, None, ["system"]])
def test_builds_of_no_known_kind(tmp_path: Path, kind: object) -> None:
    (tmp_path / "report.json").write_text(json.dumps(SYSTEM | {"kind": kind}))
    with pytest.raises(CelosiaError, match="is no summary of a run"):
        read_summary(tmp_path)


@pytest.mark.skipif(TCLSH is None, reason="tclsh is not installed")
@pytest.mark.parametrize(
    ("arguments", "name", "kept"), [([], "report", SYSTEM), (["to=area"], "area", AREA)]
)
def test_what_the_scripts_write(
    tmp_path: Path, arguments: list[str], name: str, kept: dict[str, Any]
) -> None:
    package(preset("tiny"), find_board("zcu102"), tmp_path)
    subprocess.run(
        [str(TCLSH), STAND_IN, "build.tcl", *arguments], cwd=tmp_path, check=True, timeout=60,
        capture_output=True, env={**os.environ, "VIVADO_LOG": str(tmp_path / "log")},
    )  # fmt: skip
    written = json.loads((tmp_path / "out" / f"{name}.json").read_text())
    assert written.keys() == kept.keys()
    page = page_of(tmp_path / "out")
    assert "timing met" in page
    assert "<td>dsp</td><td>768</td><td>2,520</td>" in page
