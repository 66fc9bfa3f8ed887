"""The register map and its documents."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace

import pytest

from celosia.dataflow.program import Counter
from celosia.rtl.engine import engine_registers
from celosia.rtl.registers import (
    Access,
    Cause,
    Field,
    Register,
    render_c_header,
    render_json,
    render_markdown,
)

from .test_load import accelerator

REGISTERS = engine_registers(accelerator(64), 0x5)


def test_offsets_and_names_differ():
    assert len({register.offset for register in REGISTERS}) == len(REGISTERS)
    assert len({register.name for register in REGISTERS}) == len(REGISTERS)
    offsets = [register.offset for register in REGISTERS]
    assert offsets == sorted(offsets)


def test_places_of_the_contract():
    places = {register.name: register.offset for register in REGISTERS}
    assert places["control"] == 0x20
    assert places["program_low"] == 0x30
    assert places["window_limit_high"] == 0x4C
    for counter in Counter:
        assert places[f"{counter.name.lower()}_low"] == 0x80 + 8 * counter


def test_masks_follow_the_address_width():
    masks = {register.name: register.mask for register in REGISTERS}
    assert masks["program_low"] == 0xFFFFFFFF
    assert masks["program_high"] == 0
    assert masks["window_limit_high"] == 1


@pytest.mark.parametrize(("bits", "high"), [(33, 3), (40, 0x1FF), (63, 2**32 - 1), (64, 2**32 - 1)])
def test_mask_of_the_window_limit(bits, high):
    config = accelerator(64)
    config = replace(config, bus=replace(config.bus, address_bits=bits))
    masks = {register.name: register.mask for register in engine_registers(config, 0)}
    assert masks["window_limit_high"] == high


def test_markdown_has_a_row_for_each_register_and_field():
    lines = render_markdown(REGISTERS).splitlines()
    assert len(lines) == 2 + sum(1 + len(register.fields) for register in REGISTERS)
    assert all(line.count("|") == 6 for line in lines)


def test_json_says_the_same():
    entries = json.loads(render_json(REGISTERS))["registers"]
    assert [entry["name"] for entry in entries] == [register.name for register in REGISTERS]
    assert entries[8]["fields"][0] == {
        "name": "start",
        "low": 0,
        "width": 1,
        "doc": "Run the program; ignored unless idle or done.",
    }


def test_c_header_names_everything_and_compiles(tmp_path):
    text = render_c_header(REGISTERS)
    for register in REGISTERS:
        assert re.search(rf"#define CELOSIA_{register.name.upper()}_OFFSET {register.offset:#05x}u",
                         text)  # fmt: skip
    assert f"#define CELOSIA_CAUSE_READ_RESPONSE {Cause.READ_RESPONSE.value}u" in text
    compiler = shutil.which("g++")
    assert compiler
    header = tmp_path / "registers.h"
    header.write_text(text)
    command = [compiler, "-Wall", "-Werror", "-x", "c++", "-fsyntax-only", str(header)]
    subprocess.run(command, check=True)


def test_fingerprint_wrong():
    with pytest.raises(ValueError, match=r"^fingerprint must have 128 bits, not 0x1000"):
        engine_registers(accelerator(64), 1 << 128)
    with pytest.raises(ValueError, match=r"^fingerprint must have 128 bits, not -0x1$"):
        engine_registers(accelerator(64), -1)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "Bad"}, "name must be a lower-case identifier, not 'Bad'"),
        ({"offset": 2}, "offset of a must be a multiple of 4 below 0x1000, not 0x2"),
        ({"offset": 0x1000}, "offset of a must be a multiple of 4 below 0x1000, not 0x1000"),
        ({"mask": 1 << 32}, "mask of a must have 32 bits, not 0x100000000"),
        ({"mask": 1, "reset": 2}, "reset of a must lie within its mask 0x1, not 0x2"),
    ],
)
def test_register_wrong(fields, message):
    good = {"name": "a", "offset": 0, "access": Access.READ, "doc": ""}
    with pytest.raises(ValueError, match=f"^{message}$"):
        Register(**good | fields)


def test_field_wrong():
    with pytest.raises(ValueError, match=r"^field a must lie in bits 0 to 31, not 31 \+ 2$"):
        Field(name="a", low=31, width=2, doc="")
