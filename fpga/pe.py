"""What a processing element takes of an UltraScale+ part, in the setting of published tables."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from celosia.fpga.tools import kept, run_tool, tool_version

FLOW = "synth_xilinx -family xcup{dsp} -noiopad -noclkbuf -flatten -top {top}"
"""The setting: one flat module, no pads; DSP blocks only where they are allowed."""

STATISTICS, LEVELS, NETLIST = "stat.txt", "ltp.txt", "netlist.json"

_SITE = "LUT6_2"
"""A look-up table with two outputs: one site, which Yosys leaves out of its estimate of LCs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeSynth:
    """What one synthesised unit takes, as a whole.

    ``lut`` counts LUT1 to LUT6 and LUT6_2 cells; ``lc`` is Yosys's estimate of logic cells,
    which puts two small tables into one, with LUT6_2 cells added. ``levels`` is the longest
    path in cells, registers left out. ``netlist`` is the mapped netlist, as Yosys's JSON.
    """

    lut: int
    lc: int
    ff: int
    dsp: int
    carry: int
    levels: int
    netlist: Path


def synth_pe(verilog: str, top: str, *, dsp_allowed: bool) -> PeSynth:
    """Synthesise the module ``top`` of ``verilog``; results are kept by content.

    Raises
    ------
    MissingToolError
        When Yosys is not installed.
    ToolFailedError
        When Yosys fails.
    """
    flow = FLOW.format(dsp="" if dsp_allowed else " -nodsp", top=top)
    tool = tool_version("yosys")

    def make(folder: Path) -> None:
        (folder / "design.v").write_text(verilog)
        script = (
            f"read_verilog design.v; {flow}; tee -q -o {STATISTICS} stat -tech xilinx; "
            f"tee -q -o {LEVELS} ltp -noff; write_json -noscopeinfo {NETLIST}"
        )
        run_tool("yosys", ["-Q", "-T", "-q", "-p", script], folder)

    folder = kept(["pe", flow, tool, verilog], make)
    cells = _cells((folder / STATISTICS).read_text())
    sites = cells.get(_SITE, 0)
    return PeSynth(
        lut=sum(cells.get(f"LUT{inputs}", 0) for inputs in range(1, 7)) + sites,
        lc=_number(r"Estimated number of LCs:\s+(\d+)", (folder / STATISTICS).read_text()) + sites,
        ff=sum(count for name, count in cells.items() if re.fullmatch(r"FD[RSCP]E(_1)?", name)),
        dsp=cells.get("DSP48E2", 0),
        carry=cells.get("CARRY4", 0),
        levels=_number(r"\(length=(\d+)\)", (folder / LEVELS).read_text()),
        netlist=folder / NETLIST,
    )


def _cells(statistics: str) -> dict[str, int]:
    """Return the number of cells of each type from what ``stat`` printed."""
    return {name: int(count) for count, name in re.findall(r"^\s+(\d+)\s+(\w+)$", statistics, re.M)}


def _number(pattern: str, text: str) -> int:
    found = re.search(pattern, text)
    if found is None:
        raise ValueError(f"Yosys wrote no {pattern!r}")
    return int(found[1])
