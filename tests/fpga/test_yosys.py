"""Synthesis reports, from real Yosys runs on small Verilog and from invented statistics."""

import os

import pytest

from celosia.fpga.devices import CELLS, ECP5_85K, PYNQ_Z2, ZCU102, Family, Resources
from celosia.fpga.tools import ToolFailedError, run_tool
from celosia.fpga.yosys import Block, SynthReport, _blocks, split_modules, synth_verilog

MULTIPLIER = """
module mac(input clk, input signed [15:0] a, input signed [15:0] b, output reg signed [39:0] y);
  always @(posedge clk) y <= y + a * b;
endmodule
module ram(input clk, input [9:0] ra, input [9:0] wa, input [35:0] d, output reg [35:0] q);
  reg [35:0] rows[0:1023];
  always @(posedge clk) begin q <= rows[ra]; rows[wa] <= d; end
endmodule
module top(input clk, input signed [15:0] a, input signed [15:0] b, output [39:0] x,
           output [39:0] y, input [9:0] ra, input [9:0] wa, input [35:0] d, output [35:0] q);
  mac first(.clk(clk), .a(a), .b(b), .y(x));
  mac second(.clk(clk), .a(b), .b(16'd7), .y(y));
  ram store(.clk(clk), .ra(ra), .wa(wa), .d(d), .q(q));
endmodule
"""


@pytest.fixture(autouse=True)
def _cache(monkeypatch, tmp_path):
    monkeypatch.setenv("CELOSIA_CACHE", str(tmp_path))


@pytest.mark.parametrize("device", [ZCU102, PYNQ_Z2, ECP5_85K], ids=lambda device: device.name)
def test_blocks_of_a_real_design(device):
    report = synth_verilog(MULTIPLIER, "top", device)
    blocks = {block.name: block for block in report.blocks}
    assert report.blocks[0].name == "top"
    assert {name: block.count for name, block in blocks.items()} == {"top": 1, "mac": 2, "ram": 1}
    assert blocks["mac"].own.dsp == 1
    assert report.total.dsp == 2
    assert report.total.bram == (2 if device is ECP5_85K else 1)
    assert report.fits
    assert report.fractions["dsp"] == 2 / device.budget.dsp
    assert report.as_dict()["total"]["dsp"] == 2


def test_a_second_run_needs_no_tool(monkeypatch):
    first = synth_verilog(MULTIPLIER, "top", ECP5_85K)
    monkeypatch.setattr("celosia.fpga.yosys.run_tool", None)
    assert synth_verilog(MULTIPLIER, "top", ECP5_85K) == first


def test_bad_verilog_is_the_tools_complaint():
    with pytest.raises(ToolFailedError, match="syntax error"):
        synth_verilog("module top(; endmodule", "top", ECP5_85K)


def test_counts_multiply_down_the_hierarchy():
    modules = {"leaf": {"LUT4": 3}, "mid": {"leaf": 2, "FDRE": 1}, "top": {"mid": 4, "leaf": 1}}
    blocks = _blocks(modules, "top", CELLS[Family.ULTRASCALE_PLUS])
    assert {block.name: block.count for block in blocks} == {"top": 1, "mid": 4, "leaf": 9}
    assert blocks[0].inclusive == Resources(lut=27, ff=4)


def test_unknown_cell_is_refused():
    with pytest.raises(ToolFailedError, match="2 cells of type GTYE4 in module top"):
        _blocks({"top": {"GTYE4": 2}}, "top", CELLS[Family.ULTRASCALE_PLUS])


def test_report_says_what_does_not_fit():
    much = Resources(lut=300_000)
    block = Block(name="top", count=1, own=much, inclusive=much)
    report = SynthReport(design="top", device=ZCU102, tool="t", blocks=(block,))
    assert not report.fits
    assert not report.as_dict()["fits"]


@pytest.mark.parametrize(
    "device",
    [pytest.param(ZCU102, marks=pytest.mark.campaign), ECP5_85K],
    ids=lambda device: device.name,
)
def test_modules_that_were_mapped_before_are_not_mapped_again(device, monkeypatch):
    other = MULTIPLIER.replace("[9:0]", "[8:0]").replace("0:1023", "0:511")
    synth_verilog(MULTIPLIER, "top", device)
    taken = []

    def run(name, arguments, folder, processes=None):
        taken.append({kind: (folder / f"{kind}.v").read_text() for kind in ("known", "new")})
        return run_tool(name, arguments, folder, processes)

    monkeypatch.setattr("celosia.fpga.yosys.run_tool", run)
    again = synth_verilog(other, "top", device)
    assert [set(split_modules(text)) for text in taken[0].values()] == [{"mac"}, {"ram", "top"}]
    monkeypatch.setenv("CELOSIA_CACHE", f"{os.environ['CELOSIA_CACHE']}/empty")
    assert synth_verilog(other, "top", device).blocks == again.blocks
    assert not taken[1]["known"]


def test_what_is_around_modules_is_kept_with_them():
    assert set(split_modules(MULTIPLIER)) == {"mac", "ram", "top"}
    assert split_modules("`define A\n" + MULTIPLIER) == {}
