# amaranth: UnusedElaboratable=no
"""Bitstreams: the tools on a small design, the reading of their reports, and refusals."""

import json
import re
import sys
from dataclasses import replace

import pytest

from celosia.dataflow.presets import preset
from celosia.fpga import ecp5
from celosia.fpga.devices import ECP5_85K, Family, Resources
from celosia.fpga.ecp5 import Bitstream, bitstream
from celosia.fpga.ecp5_top import Ecp5Top
from celosia.fpga.serial_boards import SERIAL_BOARDS, constraints, find_serial_board
from celosia.fpga.tools import ToolFailedError, run_tool
from celosia.fpga.yosys import count_cells
from celosia.models.errors import CelosiaError, MissingToolError

# The ports of the board's top round a counter and a multiplier.
SMALL = """
module ecp5_top(input clk, input button, input uart_rx, output uart_tx, output [3:0] led);
  reg [17:0] count = 0;
  reg [35:0] square = 0;
  always @(posedge clk) begin
    count <= button ? 0 : count + 1 + uart_rx;
    square <= count * count;
  end
  assign led = square[35:32];
  assign uart_tx = ^square;
endmodule
"""

COPIES = """
module ecp5_top(input clk, input i, output a, output b);
  {0} copy left (.clk(clk), .i(i), .o(a));
  {0} copy right (.clk(clk), .i(i), .o(b));
endmodule
module copy(input clk, input i, output reg o);
  always @(posedge clk) o <= i;
endmodule
"""

BOARD = SERIAL_BOARDS["ulx3s"]


@pytest.fixture(autouse=True)
def _cache(monkeypatch, tmp_path):
    monkeypatch.setenv("CELOSIA_CACHE", str(tmp_path / "cache"))


@pytest.mark.parametrize("board", SERIAL_BOARDS.values(), ids=SERIAL_BOARDS)
def test_a_real_bitstream_of_a_small_design(monkeypatch, tmp_path, board):
    monkeypatch.setattr(ecp5, "write_verilog", lambda top: SMALL)
    made = bitstream(preset("tiny"), board, tmp_path / "out")
    assert made.path.read_bytes()[:2] == b"\xff\x00"  # the comment header of the format
    assert board.device.part.partition("-8")[0].encode() in made.path.read_bytes()[:200]
    assert made.fmax_mhz > made.clock_mhz == 25
    assert made.meets_clock
    assert made.used.dsp == 1
    assert made.as_dict()["used"]["dsp"] == 1
    assert sorted(p.name for p in (tmp_path / "out").iterdir() if p.name[0] != ".") == [
        "ecp5_top.bit",
        "ecp5_top.lpf",
        "ecp5_top.v",
        "report.json",
        "timing.json",
    ]
    assert json.loads((tmp_path / "out" / "report.json").read_text()) == made.as_dict()
    assert [re.sub(r"[\d.]+(-\d+-g\w+)?$", "N", tool) for tool in made.tools] == [
        "Yosys N",
        "nextpnr-N",
        "Project Trellis ecppack N",
    ]
    monkeypatch.setattr(ecp5, "run_tool", None)
    again = bitstream(preset("tiny"), board, tmp_path / "again")
    assert again.path.read_bytes() == made.path.read_bytes()


def test_registers_that_are_to_be_apart_stay_so(tmp_path):
    """Two equal registers in modules of their own: one each, flat in the netlist."""
    for attribute, registers in (("", 1), ("(* apart *)", 2)):
        (tmp_path / "ecp5_top.v").write_text(COPIES.format(attribute))
        run_tool("yosys", ["-Q", "-T", "-q", "-p", ecp5.SYNTHESIS], tmp_path)
        counted = count_cells((tmp_path / "stat.json").read_text(), "ecp5_top", Family.ECP5)
        assert counted.ff == registers
        netlist = json.loads((tmp_path / "netlist.json").read_text())["modules"]
        assert "copy" not in {cell["type"] for cell in netlist["ecp5_top"]["cells"].values()}


@pytest.mark.parametrize("name", SERIAL_BOARDS)
def test_constraints_name_every_port_of_the_top(name):
    board = find_serial_board(name)
    top = Ecp5Top.of(board, preset("tiny"), memory_bytes=4096)
    ports = {
        name if len(value) == 1 else f"{name}[{bit}]"
        for name, value, _ in top.port_values()
        for bit in range(len(value))
    }
    assert ports == set(board.sites)
    text = constraints(board)
    clock = 100 if name == "ecpix5" else 80  # the oscillator's, halved; what to aim at
    assert f'FREQUENCY PORT "clk" {clock} MHZ;' in text
    assert text.count("LOCATE") == len(board.sites)
    assert board.divisor == 25


def test_boards_that_make_no_sense():
    ulx3s = SERIAL_BOARDS["ulx3s"]
    with pytest.raises(ValueError, match="no site may serve twice"):
        replace(ulx3s, receive=ulx3s.transmit)
    with pytest.raises(ValueError, match=r"times a power of two, not 75\.0"):
        replace(ulx3s, oscillator_mhz=75.0)
    with pytest.raises(CelosiaError, match="board 'zcu102': known are ecpix5, ulx3s"):
        find_serial_board("zcu102")


def test_missing_tool_leaves_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(ecp5, "write_verilog", lambda top: SMALL)
    monkeypatch.setenv("CELOSIA_NEXTPNR_ECP5", "no-such-nextpnr")
    with pytest.raises(MissingToolError, match="no-such-nextpnr"):
        bitstream(preset("tiny"), BOARD, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_failing_tool_leaves_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr(ecp5, "write_verilog", lambda top: "module ecp5_top(; endmodule")
    with pytest.raises(ToolFailedError, match="syntax error"):
        bitstream(preset("tiny"), BOARD, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    kept = tmp_path / "cache" / "fpga"
    assert all(path.suffix == ".lock" for path in kept.iterdir())


def test_place_that_cannot_be_written_is_found_first(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(ecp5, "write_verilog", None)
    with pytest.raises(NotADirectoryError, match="file"):
        bitstream(preset("tiny"), BOARD, tmp_path / "file" / "out")


def test_memories_that_cannot_fit_are_refused_at_once(monkeypatch, tmp_path):
    monkeypatch.setattr(ecp5, "write_verilog", None)
    # 1024 words of 64 x 16 weights (36 columns of 4 bits, 28 of 8), 4096 x 4 of 16 activations,
    # 2 x 8192 of 16 residuals and outputs, and the system's 128 KiB.
    message = (
        r"'large' does not fit ecp5-85k: .* take 1,376 KiB .* the device has 552 \(824 too much\)"
    )
    with pytest.raises(CelosiaError, match=message):
        bitstream(preset("large"), BOARD, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_memory_of_a_size_that_cannot_be_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(ecp5, "write_verilog", None)
    for size in (2 << 10, 192 << 10, 512 << 10):
        message = f"cannot have {size >> 10} KiB of memory: ask for a power of two from 4 to 256"
        with pytest.raises(CelosiaError, match=message):
            bitstream(preset("tiny"), BOARD, tmp_path / "out", memory_bytes=size)


def test_design_that_yosys_finds_too_large_is_not_placed(monkeypatch, tmp_path):
    small = replace(ECP5_85K, budget=Resources(lut=83_640, ff=17, dsp=156, bram=208))
    monkeypatch.setattr(ecp5, "write_verilog", lambda top: SMALL)
    monkeypatch.setenv("CELOSIA_NEXTPNR_ECP5", sys.executable)  # fails, were it run
    with pytest.raises(CelosiaError, match=r"ecp5-85k: it takes \d\d ff of 17 \(\d+ too many\)\."):
        bitstream(preset("tiny"), replace(BOARD, device=small), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_report_without_a_clock_is_refused(tmp_path):
    (tmp_path / "timing.json").write_text(json.dumps({"fmax": {}, "utilization": {}}))
    with pytest.raises(ToolFailedError, match="no clock"):
        ecp5._read_report(tmp_path / "timing.json", BOARD)


def test_every_clock_must_be_met(tmp_path):
    """Of a divided clock, the pin's and the system's: the worse says how fast the system is."""
    fmax = {
        "pin": {"achieved": 90.0, "constraint": 100.0},
        "system": {"achieved": 50.0, "constraint": 80.0},
    }
    (tmp_path / "timing.json").write_text(json.dumps({"fmax": fmax, "utilization": {}}))
    fastest, _ = ecp5._read_report(tmp_path / "timing.json", SERIAL_BOARDS["ecpix5"])
    assert fastest == pytest.approx(22.5)


def test_slow_design_does_not_meet_the_clock(tmp_path):
    made = Bitstream(
        path=tmp_path / "x.bit",
        accelerator="tiny",
        device=ECP5_85K,
        tools=(),
        fmax_mhz=24.9,
        clock_mhz=25.0,
        memory_bytes=4096,
        used=Resources(),
    )
    assert not made.meets_clock


def test_several_memory_ports_are_refused(tmp_path):
    tiny = preset("tiny")
    striped = replace(tiny, bus=replace(tiny.bus, ports=2))
    with pytest.raises(CelosiaError, match=r"has 2 memory ports, .* one memory: set ports = 1"):
        bitstream(striped, BOARD, tmp_path / "out")
