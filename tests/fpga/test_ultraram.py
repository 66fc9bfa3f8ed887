"""UltraRAM: what Yosys makes of buffers that ask for it, and parts that have none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from celosia.dataflow.area import ULTRASCALE_PLUS, block_areas
from celosia.dataflow.memory_kinds import BufferMemories, MemoryKind, ultra_blocks
from celosia.dataflow.presets import preset
from celosia.fpga.boards import BOARDS
from celosia.fpga.devices import ECP5_85K, KV260, ZCU102
from celosia.fpga.ecp5 import bitstream
from celosia.fpga.netlist import netlist
from celosia.fpga.serial_boards import SERIAL_BOARDS
from celosia.fpga.vivado.package import folder_files
from celosia.fpga.yosys import synth, synth_verilog
from celosia.models.errors import CelosiaError
from celosia.rtl.buffers import OutputBuffer
from celosia.rtl.verilog import write_verilog

TINY = preset("tiny")
ULTRA = replace(TINY, memories=BufferMemories(weights=MemoryKind.ULTRA, outputs=MemoryKind.ULTRA))


def test_a_buffer_of_ultraram_is_of_ultraram() -> None:
    buffer = OutputBuffer(ULTRA)
    verilog = write_verilog(buffer)
    assert '(* ram_style = "ultra" *)' in verilog
    groups = TINY.array.lanes // TINY.post_lanes
    width = TINY.activation_word_bits // groups
    used = synth_verilog(verilog, buffer.module_name, KV260).total
    assert (used.bram, used.uram) == (0, groups * ultra_blocks(TINY.buffers.outputs, width))
    model = block_areas(ULTRA, ULTRASCALE_PLUS)["outputs_buffer"]
    assert (model.bram, model.uram) == (used.bram, used.uram)


def test_parts_without_it_are_refused(tmp_path: Path) -> None:
    for refused in (
        lambda: synth(ULTRA, ZCU102),
        lambda: netlist(ULTRA, ECP5_85K),
        lambda: bitstream(ULTRA, SERIAL_BOARDS["ulx3s"], tmp_path / "out"),
        lambda: folder_files(ULTRA, BOARDS["pynq-z2"], 100.0),
    ):
        message = r"'tiny' has weights and outputs of UltraRAM, of which .* \(kv260, zcu104\)"
        with pytest.raises(CelosiaError, match=message):
            refused()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("board", ["kv260", "zcu104"])
def test_boards_with_it_get_it(board: str) -> None:
    files = folder_files(ULTRA, BOARDS[board], 100.0)
    assert '(* ram_style = "ultra" *)' in files["rtl/celosia_tiny.v"]
    assert '[buffers.memory]\nweights = "ultra"' in files["software/accelerator.toml"]
