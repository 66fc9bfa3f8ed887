"""The folder for Vivado, run against a stand-in: see ``vivado.tcl``."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.eie.presets import TINY as TINY_EIE
from celosia.dataflow.engines import Description, fingerprint
from celosia.dataflow.presets import preset
from celosia.dataflow.sparch.presets import TINY as TINY_SPARCH
from celosia.fpga.boards import BOARDS, find_board
from celosia.fpga.vivado.package import STRATEGIES, package, settings, tcl_word
from celosia.models.errors import CelosiaError
from celosia.rtl.core import core_name, core_registers

STAND_IN = Path(__file__).parent / "vivado.tcl"
TCLSH = shutil.which("tclsh")
pytestmark = pytest.mark.skipif(TCLSH is None, reason="tclsh is not installed")

ENGINES: dict[str, Description] = {
    "dense": preset("tiny"),
    "eie": TINY_EIE,
    "sparch": TINY_SPARCH,
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packaged folders, ``engine/board`` each."""
    root = tmp_path_factory.mktemp("packaged")
    for name, engine in ENGINES.items():
        package(engine, find_board("zcu102"), root / name / "zcu102")
    for board in BOARDS.values():
        package(ENGINES["dense"], board, root / "dense" / board.name)
    return root


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a run of Vivado's stand-in left."""

    status: int
    said: str
    commands: list[str]
    out: Path

    def report(self, name: str = "report") -> dict[str, object]:
        loaded: dict[str, object] = json.loads((self.out / f"{name}.json").read_text())
        return loaded


def run(folder: Path, work: Path, *arguments: str, **machine: str) -> Outcome:
    """Run a copy of ``folder`` in ``work``; ``machine`` are the stand-in's variables."""
    copy = work / "folder"
    shutil.copytree(folder, copy)
    log = work / "log"
    environment = {**os.environ, "VIVADO_LOG": str(log)}
    environment |= {f"VIVADO_{name.upper()}": value for name, value in machine.items()}
    done = subprocess.run(
        [str(TCLSH), STAND_IN, "build.tcl", *arguments],
        cwd=copy, env=environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    return Outcome(
        status=done.returncode,
        said=done.stderr,
        commands=log.read_text().splitlines(),
        out=copy / "out",
    )


@pytest.mark.parametrize(
    ("engine", "board"),
    [*((name, "zcu102") for name in ENGINES), *(("dense", board) for board in BOARDS)][1:],
)
def test_to_a_bitstream(folders: Path, tmp_path: Path, engine: str, board: str) -> None:
    accelerator = ENGINES[engine]
    done = run(folders / engine / board, tmp_path)
    assert (done.status, done.said) == (0, "")
    top = core_name(accelerator)
    assert {"bit", "hwh", "xsa"} <= {path.suffix[1:] for path in done.out.glob(f"{top}.*")}
    report = done.report()
    assert report["accelerator"] == accelerator.name
    assert report["hash"] == fingerprint(accelerator)
    assert report["board"] == board
    assert report["clock_asked_mhz"] == find_board(board).clock_mhz
    assert (report["lut"], report["ff"], report["bram"]) == (101234, 54321, 210.5)
    assert (report["dsp"], report["uram"], report["watts"]) == (768, 0, 4.321)
    assert (report["setup_slack_ns"], report["hold_slack_ns"]) == (0.25, 0.011)
    assert (report["timing_met"], report["strategies_tried"]) == (True, 1)
    named = [words.split()[1] for words in done.commands if words.startswith("ipx::add_register ")]
    assert named == [register.name for register in core_registers(accelerator)]


def test_area_alone(folders: Path, tmp_path: Path) -> None:
    done = run(folders / "dense" / "zcu102", tmp_path, "to=area", "clock=250")
    assert (done.status, done.said) == (0, "")
    report = done.report("area")
    assert (report["clock_mhz"], report["routed"], report["timing_met"]) == (250, False, True)
    assert "create_clock -name aclk -period 4.0 aclk" in done.commands
    assert not any(words.startswith("create_bd") for words in done.commands)


def test_core_alone(folders: Path, tmp_path: Path) -> None:
    done = run(folders / "dense" / "zcu102", tmp_path, "to=core")
    assert (done.status, done.said) == (0, "")
    assert (done.out / "core" / "component.xml").exists()


def test_strategies_are_tried_until_timing_is_met(folders: Path, tmp_path: Path) -> None:
    done = run(folders / "dense" / "zcu102", tmp_path, "clock=300", slacks="-0.5 -0.1 0.02 0.3")
    assert done.status == 0
    report = done.report()
    assert (report["strategy"], report["strategies_tried"]) == (STRATEGIES[2], 3)


def test_no_bitstream_where_timing_is_not_met(folders: Path, tmp_path: Path) -> None:
    done = run(folders / "dense" / "zcu102", tmp_path, slacks="-0.5 -0.1 -0.2 -0.3")
    assert done.status == 2
    assert "timing is not met" in done.said
    report = done.report()
    assert (report["timing_met"], report["setup_slack_ns"]) == (False, -0.3)
    assert not list(done.out.glob("celosia_*.bit"))


@pytest.mark.parametrize(
    ("arguments", "machine", "message"),
    [
        ([], {"without": "part"}, "part xczu9eg-ffvb1156-2-e is not installed"),
        ([], {"without": "board"}, "board files xilinx.com:zcu102:part0 are not installed"),
        ([], {"without": "license"}, "Vivado has no licence for xczu9eg-ffvb1156-2-e"),
        (["to=area"], {"without": "license"}, "Vivado has no licence for xczu9eg-ffvb1156-2-e"),
        ([], {"version": "2019.1"}, "Vivado 2019.1 is too old"),
        (["to=moon"], {}, "to=moon is not a place to go to"),
        (["clock=fast"], {}, "clock=fast must be a number above 0"),
        (["jobs=0"], {}, "jobs=0 must be a number above 0"),
        (["colour=red"], {}, "argument 'colour=red' is not understood"),
    ],
)
def test_what_is_missing_is_said_in_one_line(
    folders: Path, tmp_path: Path, arguments: list[str], machine: dict[str, str], message: str
) -> None:
    done = run(folders / "dense" / "zcu102", tmp_path, *arguments, **machine)
    assert done.status == 1
    assert message in done.said
    assert len(done.said.splitlines()) == 1


@pytest.mark.parametrize(
    ("script", "old", "new", "message"),
    [
        ("system", "connect_bd_intf_net [", "connect_bd_intf_nets [", "invalid command name"),
        ("system", "-fixed -include_bit", "-fixed -with_bit", "unknown option -with_bit"),
        ("system", "reset/ext_reset_in", "reset/ext_reset", "has no pin ext_reset"),
        ("system", "$name/aclk", "reset/slowest_sync_clk", "is connected already"),
        ("system", "exclude_bd_addr_seg $segment", "", "is no memory and may be written"),
        ("system", "interconnect_aresetn", "aux_reset_in", "has no pin aux_reset_in"),
        ("settings", "PSU__USE__IRQ0", "PSU__USE__IRQ7", "has no parameter"),
        ("settings", "maxihpm0_fpd_aclk ", "", "maxihpm0_fpd_aclk is not connected"),
        ("settings", "interrupt_port interrupt", "interrupt_port irq", "no port irq"),
        ("settings", "memory {m_axi_gmem0}", "memory {m_axi_gmem1}", "no AXI interface"),
        ("core", "supported_families", "families", "has no property families"),
    ],
)
def test_stand_in_refuses_what_is_wrong(
    folders: Path, tmp_path: Path, script: str, old: str, new: str, message: str
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(folders / "dense" / "zcu102", broken)
    path = broken / "tcl" / f"{script}.tcl"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    done = run(broken, tmp_path)
    assert done.status == 1
    assert message in done.said


@pytest.mark.parametrize(
    "text",
    ["plain", "two words", "{", "}{", "[exit]", "$x", 'a"b', "back\\slash", "", ";", "#", "é"],
)
def test_words_survive_tcl(text: str) -> None:

    script = f"fconfigure stdout -encoding utf-8; puts [lindex {tcl_word((text, 'x'))} 0]"
    done = subprocess.run(
        [str(TCLSH)], input=script, capture_output=True, text=True, check=True, encoding="utf-8",
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )  # fmt: skip
    assert done.stdout == text + "\n"


def test_dsp_blocks_where_the_part_has_them(tmp_path: Path) -> None:
    tiny = preset("tiny")
    groups = tuple(
        dataclasses.replace(group, circuit=type(group.circuit).DSP)
        for group in tiny.array.columns
        if group.format.name == "fixed8"
    )
    array = dataclasses.replace(tiny.array, columns=groups * 1)
    engine = dataclasses.replace(tiny, array=array, post_lanes=1)
    assert isinstance(engine, Accelerator)
    top = core_name(engine)
    for board, blocks in (("zcu102", "dsp48e2"), ("pynq-z2", "model")):
        package(engine, find_board(board), tmp_path / board)
        files = {path.name for path in (tmp_path / board / "rtl").iterdir()}
        assert files == {f"{top}.v", f"{top}_{blocks}.v"}


def test_refusals() -> None:
    with pytest.raises(CelosiaError, match="unknown board 'moon': known are kv260"):
        find_board("moon")
    for clock in (0.0, -1.0, float("nan"), 1e9):
        with pytest.raises(CelosiaError, match="MHz is not possible on zcu102"):
            settings(preset("tiny"), find_board("zcu102"), clock)
    zcu102 = find_board("zcu102")
    with pytest.raises(ValueError, match="clock_mhz must be"):
        dataclasses.replace(zcu102, clock_mhz=0.0)
    with pytest.raises(ValueError, match="files must be vendor"):
        dataclasses.replace(zcu102, files="zcu102")
    with pytest.raises(ValueError, match="one entry for each interface"):
        dataclasses.replace(zcu102.system, memory_clock=())
    few = dataclasses.replace(zcu102.system, memory=(), memory_clock=(), memory_settings=())
    with pytest.raises(CelosiaError, match="has 1 memory ports and zcu102 has 0"):
        settings(preset("tiny"), dataclasses.replace(zcu102, system=few), 200.0)


def test_folder_names_no_machine(folders: Path) -> None:
    for path in (folders / "dense" / "zcu102").rglob("*"):
        if path.is_file():
            assert not re.search(r"/(work|home|tmp|root)/", path.read_text()), path
