from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from celosia.dataflow.accelerator_file import (
    dump_accelerator,
    fingerprint,
    load_accelerator,
    parse_accelerator,
)
from celosia.dataflow.engines import ALL_PRESETS, dump_engine, load_engine
from celosia.dataflow.presets import PRESETS, preset
from celosia.models.errors import CelosiaError

from .builders import accelerator

TEXT = dump_accelerator(preset("small"))


@pytest.mark.parametrize("name", list(PRESETS))
def test_presets_come_back(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text(dump_accelerator(preset(name)))
    assert load_accelerator(path) == preset(name)


def test_operations_come_back(tmp_path: Path) -> None:
    columns = {"fixed8": 1, "fixed8 distance": 3, "pot_5 shift_6": 2, "pot_5 shift_13": 1}
    path = tmp_path / "a.toml"
    path.write_text(dump_accelerator(accelerator(columns, 4, 1)))
    assert load_accelerator(path) == accelerator(columns, 4, 1)


@pytest.mark.parametrize("engine", ["small", "eie_tiny", "sparch_tiny"])
def test_ports_come_back_and_one_goes_without_saying(engine: str, tmp_path: Path) -> None:
    one = ALL_PRESETS[engine]
    assert "ports" not in dump_engine(one)
    two = replace(one, bus=replace(one.bus, ports=2))
    path = tmp_path / "a.toml"
    path.write_text(dump_engine(two))
    assert load_engine(path) == two != one


def test_fingerprints_differ() -> None:
    prints = {fingerprint(target) for target in PRESETS.values()}
    assert len(prints) == len(PRESETS)
    assert all(len(text) == 64 for text in prints)


def test_defaults_may_be_left_out() -> None:
    lines = [line for line in TEXT.splitlines() if "_bits" not in line and "bus" not in line]
    short = [line for line in lines if not line.startswith(("burst_beats", "outstanding"))]
    array = parse_accelerator("\n".join(short), "x").array
    assert (array.accumulator_bits, array.activation_bits) == (32, 8)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("lanes = 8\npixels", "lanes = 8\nwidth = 3\npixels", "unknown key array.width: allowed"),
        ("pixels = 1\n", "", "key array.pixels is missing: needed are columns, lanes, pixels$"),
        ("[post]\nlanes = 4", "", "key post is missing: needed are name, array, buffers, post$"),
        ("pixels = 1\n", 'pixels = "1"\n', "array: pixels must be an integer, not '1'"),
        ("weights = 1024\n", "weights = 0\n", r"buffers: weights must be in 1\.\.65536, not 0"),
        ('name = "small"', "name = 3", "name must be a string, not 3"),
        ("[post]\nlanes = 4", "[post]\nlanes = 3", "name or post.lanes: post_lanes must divide"),
        ("[bus]", "post = 4\n[bus]", "unknown key buffers.post"),
        ("sp2_4", "sp9_4", "unknown format 'sp9_4': known are .*fixedN"),
        ("count = 4,", "counts = 4,", r"unknown key array.columns\[0\].counts"),
        ('circuit = "lanes"', "circuit = 3", r"columns\[0\].circuit must be one of lanes.*, not 3"),
        ('operation = "multiply"', "operation = 3", r"operation must be a string, not 3"),
        ('operation = "multiply"', 'operation = "add"', "unknown operation 'add': known are"),
        ('operation = "multiply"', 'operation = "distance"', "needs signed fixed-point weights"),
        ("data_bits = 64", "data_bits = 65", "bus: data_bits must be 64, 128, 256 or 512, not 65"),
        ("[bus]", "[bus]\nports = 3", "bus: ports must be 1, 2 or 4, not 3"),
        ("[bus]", "[bus]\nports = 5", r"bus: ports must be in 1\.\.4, not 5"),
        ("[bus]", "[bus]\nports = 4", "bus: ports must be at most 2 at 64 data bits .*, not 4"),
        ("[bus]", "[bus", "not a TOML file"),
        ("= 64", "= " + "9" * 5000, "not a TOML file"),
        ("= 64", "= " + "[" * 20_000, "not a TOML file"),
    ],
)  # fmt: skip
def test_files_wrong(old: str, new: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    assert old in TEXT
    path.write_text(TEXT.replace(old, new, 1))
    with pytest.raises(CelosiaError, match=f"bad.toml: .*{message}"):
        load_accelerator(path)


@pytest.mark.parametrize("columns", ["[]", "3", "[3]", "[{ format = 3, count = 1 }]"])
def test_columns_wrong(columns: str) -> None:
    start, stop = TEXT.index("columns"), TEXT.index("lanes =")
    with pytest.raises(CelosiaError, match=r"x: array\.columns"):
        parse_accelerator(f"{TEXT[:start]}columns = {columns}\n{TEXT[stop:]}", "x")


def test_missing_file_wrong(tmp_path: Path) -> None:
    with pytest.raises(CelosiaError, match="cannot read accelerator file"):
        load_accelerator(tmp_path / "none.toml")


def test_unknown_preset_wrong() -> None:
    with pytest.raises(CelosiaError, match="unknown accelerator 'huge': known are tiny, small"):
        preset("huge")
