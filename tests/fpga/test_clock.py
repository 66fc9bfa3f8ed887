# amaranth: UnusedElaboratable=no
"""The clock of an engine's parts on ECP5, placed and routed alone (campaign)."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from amaranth.hdl import Module
from amaranth.lib.wiring import In, Out

from celosia.dataflow.presets import preset
from celosia.fpga.ecp5 import ROUTER, SEED
from celosia.fpga.serial_boards import AIM_MHZ
from celosia.fpga.tools import run_tool
from celosia.rtl.array import Array
from celosia.rtl.post import Post
from celosia.rtl.shared import Shared
from celosia.rtl.verilog import write_verilog

BOARD = """
module board(input clk, input i, input load, output o);
  reg [{inputs}-1:0] given;
  reg [{outputs}-1:0] made, seen;
  wire [{outputs}-1:0] out;
  reg loads, rst;
  always @(posedge clk) begin
    given <= {{given[{inputs}-2:0], i}};
    made <= out;
    loads <= load;
    rst <= i & loads;
    seen <= loads ? made : {{seen[{outputs}-2:0], 1'b0}};
  end
  assign o = seen[{outputs}-1];
  {name} part({connections});
endmodule
"""
"""Registers in front of every input and behind every output, filled and emptied bit by bit."""


def slices(ports: list[tuple[str, int]], bus: str) -> Iterator[str]:
    """Yield the connection of each port to its bits of ``bus``."""
    low = 0
    for name, width in ports:
        yield f".{name}({bus}[{low + width - 1}:{low}])"
        low += width


def fmax(part: Shared, folder: Path) -> float:
    """Return the fastest clock of ``part`` between registers, in MHz."""
    text = write_verilog(part)
    ports: dict[bool, list[tuple[str, int]]] = {True: [], False: []}
    for name, value, is_input in part.port_values():
        ports[is_input].append((name, len(value)))
    head = text.split(f"module {part.module_name}(")[1].split(");")[0]
    known = [
        f".{name}({name})" for name in ("clk", "rst") if name in head.replace(",", " ").split()
    ]
    (folder / "part.v").write_text(
        text
        + BOARD.format(
            name=part.module_name,
            inputs=sum(width for _, width in ports[True]),
            outputs=sum(width for _, width in ports[False]),
            connections=", ".join(
                [*known, *slices(ports[True], "given"), *slices(ports[False], "out")]
            ),
        )
    )
    script = "read_verilog part.v; synth_ecp5 -top board -json part.json"
    run_tool("yosys", ["-Q", "-T", "-q", "-p", script], folder)
    run_tool(
        "nextpnr-ecp5",
        ["--85k", "--package", "CABGA381", "--speed", "6", "--seed", str(SEED),
         "--freq", f"{AIM_MHZ:g}", "--json", "part.json", "--router", ROUTER,
         "--report", "timing.json", "--timing-allow-fail", "--quiet"],
        folder,
    )  # fmt: skip
    (clock,) = json.loads((folder / "timing.json").read_text())["fmax"].values()
    return float(clock["achieved"])


class Slow(Shared):
    """Four factors multiplied in one cycle."""

    def __init__(self) -> None:
        super().__init__({"i": In(16).array(4), "o": Out(64)}, name="slow", parameters=())

    def build(self) -> Module:
        m = Module()
        m.d.sync += self.o.eq(math.prod(self.i))
        return m


@pytest.mark.campaign
@pytest.mark.parametrize("part", [Array, Post])
def test_array_and_post_reach_the_aim(part, tmp_path):
    assert fmax(part(preset("ecp5")), tmp_path) >= AIM_MHZ


@pytest.mark.campaign
def test_what_is_too_slow_is_found(tmp_path):
    assert 10 < fmax(Slow(), tmp_path) < AIM_MHZ
