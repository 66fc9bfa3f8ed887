"""Proofs that what Yosys maps does what the RTL does, for any number of cycles.

The netlist, its cells' models flattened into gates, and the RTL get the same inputs from power-up
on. Which registers and nets of both are always equal is found and proved by induction with ABC,
which Yosys holds (``lcorr``, ``scorr``), and what is left is decided by ``dprove``: so names need
not be kept, and no state is assumed that is not reached. Inputs, the reset among them, are
anything in each cycle. Memories that no file fills begin with 0 on both sides.

A module may be proved without the modules in it: their ports are then ports of its own, to be
compared and to be anything. Where they are equal before and after too, so is the whole.

Solvers do not know multiplication. Where both sides multiply the same bits, they are made of the
same gates: widths are cut to what is needed and the wider factor comes first, before the products
become gates.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from pathlib import Path

from celosia.fpga.devices import Family
from celosia.fpga.netlist import _CELL, _models, _without_contents
from celosia.fpga.tools import run_tool
from celosia.fpga.yosys import FLOWS


class Verdict(enum.Enum):
    """What became of a proof, as ABC says it: outputs differ where something is satisfiable."""

    EQUAL = "snl_UNSAT"
    DIFFERENT = "snl_SAT"
    UNKNOWN = "snl_UNK"


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """The module ``top`` of Verilog texts: ``rtl`` is proved, ``source`` is what is mapped.

    They differ where primitives of a family stand for their models. Instances of modules that are
    only in ``outside`` are left out of both: what they are given is compared as outputs are, and
    what they give is as free as inputs.
    """

    top: str
    rtl: str
    source: str
    outside: str = ""

    @property
    def broken(self) -> str:
        """``rtl`` with a register's next value inverted; an output where it has no register."""
        register = r"^( +(?! |assign )[^\n]+? <= )([^=;\n]+);$"  # no comparison
        output = r"^(  assign (?:o?\w+|o\[[\d:]+\]) = )([^;\n]+);$"
        pattern = register if "posedge" in self.rtl else output
        text, changed = re.subn(pattern, r"\1~(\2);", self.rtl, count=1, flags=re.M)
        assert changed
        return text


MAP = """\
read_verilog source.v
read_verilog -lib outside.v
{flow} -top {top}
opt_clean -purge
write_verilog -noattr netlist.v
"""

SIDE = """\
design -reset
read_verilog {files}
read_verilog -lib outside.v
hierarchy -top {top}
proc
flatten
expose -evert t:* t:$* %d
memory -nordff
setundef -anyseq
opt -full
wreduce
opt -full
wreduce
opt -full
techmap -map wider_first.v
rename {top} {side}
design -stash {side}
"""

MITER = """\
design -reset
design -copy-from gold -as gold gold
design -copy-from gate -as gate gate
miter -equiv -flatten gold gate miter
hierarchy -top miter
opt -full
techmap
setundef -init -zero
opt -fast
dffunmap
simplemap
setundef -anyseq
aigmap
opt_clean
select -assert-none t:$_DFF_P_ w:in_clk %co1:+$_DFF_P_[C] %d t:$_DFF_N_ %u
write_aiger -zinit {name}.aig
design -reset
read_verilog one_gate.v
simplemap
abc -script {name}.abc
"""
"""The last four only start ABC. All registers have the one clock, which AIGER does not say."""

PROVE = """\
backup
read_aiger {name}.aig
lcorr
scorr
dprove -T {seconds}
write_status {name}.status
restore
"""

ONE_GATE = "module one_gate(input a, input b, output c);\n  assign c = a & b;\nendmodule\n"

WIDER_FIRST = """\
(* techmap_celltype = "$mul" *)
module wider_first(A, B, Y);
  parameter A_SIGNED = 0, B_SIGNED = 0, A_WIDTH = 1, B_WIDTH = 1, Y_WIDTH = 1;
  input [A_WIDTH-1:0] A;
  input [B_WIDTH-1:0] B;
  output [Y_WIDTH-1:0] Y;
  wire _TECHMAP_FAIL_ = A_WIDTH >= B_WIDTH;
  \\$mul #(.A_SIGNED(B_SIGNED), .B_SIGNED(A_SIGNED), .A_WIDTH(B_WIDTH), .B_WIDTH(A_WIDTH),
          .Y_WIDTH(Y_WIDTH)) turned(.A(B), .B(A), .Y(Y));
endmodule
"""


def prove(
    design: Design, family: Family, folder: Path, *, seconds: int = 200
) -> tuple[Verdict, Verdict]:
    """Return what becomes of the proof for ``design``, and for its broken copy.

    ``seconds`` is what ABC's last step takes at most; ``folder`` gets all files.
    """
    flow = FLOWS[family].removesuffix(" -noflatten")
    flow += " -flatten" if "xilinx" in flow else ""
    (folder / "source.v").write_text(design.source)
    (folder / "outside.v").write_text(design.outside)
    run_tool("yosys", ["-Q", "-T", "-q", "-p", MAP.format(flow=flow, top=design.top)], folder)
    text = _without_contents((folder / "netlist.v").read_text())
    (folder / "netlist.v").write_text(text)
    (folder / "cells.v").write_text(_models(family, set(_CELL.findall(text))))
    (folder / "one_gate.v").write_text(ONE_GATE)
    (folder / "wider_first.v").write_text(WIDER_FIRST)
    script = SIDE.format(
        files="netlist.v\nread_verilog -defer cells.v", top=design.top, side="gate"
    )
    for name, rtl in (("whole", design.rtl), ("broken", design.broken)):
        (folder / f"{name}.v").write_text(rtl)
        (folder / f"{name}.abc").write_text(PROVE.format(name=name, seconds=seconds))
        script += SIDE.format(files=f"{name}.v", top=design.top, side="gold")
        script += MITER.format(name=name)
    (folder / "prove.ys").write_text(script)
    run_tool("yosys", ["-Q", "-T", "-q", "prove.ys"], folder)
    whole, broken = (
        Verdict((folder / f"{name}.status").read_text().split()[0]) for name in ("whole", "broken")
    )
    return whole, broken
