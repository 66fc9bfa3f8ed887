"""Netlists: models of cells against what was mapped, and whole engines of cells (campaign)."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from celosia.dataflow.compile import compile_network
from celosia.dataflow.eie.compile import compile_eie
from celosia.dataflow.eie.presets import PAPER as EIE_PAPER
from celosia.dataflow.eie.presets import TINY as EIE
from celosia.dataflow.memory import DDR4
from celosia.dataflow.presets import preset
from celosia.dataflow.sparch.presets import PAPER as SPARCH_PAPER
from celosia.dataflow.sparch.presets import TINY as SPARCH
from celosia.dataflow.timing import timing
from celosia.fpga.devices import ECP5_85K, PYNQ_Z2, ZCU102, Family
from celosia.fpga.netlist import (
    _CELL,
    MOST_PES,
    MOST_PRODUCTS,
    MOST_SLOTS,
    Netlist,
    _models,
    _without_contents,
    netlist,
)
from celosia.fpga.tools import ToolFailedError, run_tool
from celosia.fpga.yosys import FLOWS
from celosia.models.errors import CelosiaError
from celosia.models.formats import Codebook, Fixed
from celosia.models.golden import evaluate
from celosia.models.network import Network, Tensor
from celosia.models.random_network import random_inputs, random_network
from celosia.models.random_sparse import Pattern, random_matrix
from celosia.models.sparse import SparseLinear, SparseMatrix
from celosia.scripts.spgemm import Mode, spgemm
from celosia.scripts.tiers import predict
from celosia.sim.check import check
from celosia.sim.run import Simulator

RAM = """\
module top(input clk, input [2:0] a, input [2:0] b, input [1:0] write, input enable,
           input [7:0] d, output [7:0] q);
  localparam WIDTH = {width}, HALF = WIDTH / 2;
  wire [9:0] from = {{a[2], 5'd0, a[1], 2'd0, a[0]}}, to = {{b[2], 5'd0, b[1], 2'd0, b[0]}};
  (* ram_style = "block", syn_ramstyle = "block_ram" *) reg [WIDTH-1:0] rows[0:1023];
  reg [WIDTH-1:0] out;
  wire [WIDTH-1:0] in = {{d[7:4], {{WIDTH-8{{1'b0}}}}, d[3:0]}};
  always @(posedge clk) begin
    if (enable) out <= rows[from];
    if (write[0]) rows[to][HALF-1:0] <= in[HALF-1:0];
    if (write[1]) rows[to][WIDTH-1:HALF] <= in[WIDTH-1:HALF];
  end
  assign q = {{out[WIDTH-1:WIDTH-4], out[3:0]}};
endmodule
"""
ULTRA = """\
module top(input clk, input [1:0] a, input [1:0] b, input [1:0] write, input enable,
           input [7:0] d, output [71:0] q);
  (* ram_style = "ultra" *) reg [71:0] rows[0:3];
  reg [71:0] out;
  wire [71:0] in = {9{d}};
  always @(posedge clk) begin
    if (enable) out <= rows[a];
    if (write[0]) rows[b][35:0] <= in[35:0];
    if (write[1]) rows[b][71:36] <= in[71:36];
  end
  assign q = out;
endmodule
"""
PRODUCT = """\
module top(input clk, input signed [{bits}:0] a, input signed [{bits}:0] b, output [47:0] q);
  assign q = (a <<< 9) * (b <<< 9);
endmodule
"""
PROVE = """\
read_verilog {netlist}
read_verilog -defer cells.v
hierarchy -top top
proc; flatten; memory; opt
rename top gate
design -stash gate
read_verilog top.v
prep -flatten -top top
memory; opt
rename top gold
design -stash gold
design -copy-from gold -as gold gold
design -copy-from gate -as gate gate
miter -equiv -flatten -make_outputs gold gate miter
hierarchy -top miter
opt
sat -verify -prove trigger 0 -set-init-zero -seq 1 -tempinduct-baseonly -maxsteps 4 miter
"""


def equal(
    family: Family, design: str, folder: Path, cell: str, change: Callable[[str], str] = str
) -> bool:
    """Whether ``design``, mapped, does the same for five cycles, any inputs.

    UltraRAMs have 4 rows, which are all that is used of them.
    ``change`` makes other models of ours.
    """
    (folder / "top.v").write_text(design)
    flow = FLOWS[family].removesuffix(" -noflatten")
    map_script = f"read_verilog top.v; {flow} -top top; write_verilog -noattr netlist.v"
    run_tool("yosys", ["-Q", "-T", "-q", "-p", map_script], folder)
    text = _without_contents((folder / "netlist.v").read_text())
    assert cell in text
    (folder / "cut.v").write_text(text)
    models = _models(family, set(_CELL.findall(text))).replace("ROWS = 4096;", "ROWS = 4;")
    (folder / "cells.v").write_text(change(models))
    (folder / "prove.ys").write_text(PROVE.format(netlist="cut.v"))
    try:
        run_tool("yosys", ["-Q", "-T", "-q", "prove.ys"], folder)
    except ToolFailedError as error:
        if "proof did fail" not in str(error):
            raise
        return False
    return True


CASES = {
    "RAMB18E2": (Family.ULTRASCALE_PLUS, RAM.format(width=18)),
    "RAMB36E2": (Family.ULTRASCALE_PLUS, RAM.format(width=36)),
    "URAM288": (Family.ULTRASCALE_PLUS, ULTRA),
    "DSP48E2": (Family.ULTRASCALE_PLUS, PRODUCT.format(bits=4)),
    "DP16KD": (Family.ECP5, RAM.format(width=18)),
    "MULT18X18D": (Family.ECP5, PRODUCT.format(bits=4)),
}


@pytest.mark.parametrize("cell", CASES)
def test_models_do_what_was_mapped(cell, tmp_path):
    family, design = CASES[cell]
    assert equal(family, design, tmp_path, cell)


def test_a_wrong_model_is_found(tmp_path):
    family, design = CASES["URAM288"]

    def wrong(models: str) -> str:
        return models.replace("if (BWE_B[place])", "if (BWE_B[0])")

    assert not equal(family, design, tmp_path, "URAM288", wrong)


def test_contents_are_not_modelled():
    line = "    .INIT_00(256'hxx),\n"
    assert _without_contents(f"A #(\n{line}  )") == "A #(\n  )"
    with pytest.raises(ToolFailedError, match="INIT_00"):
        _without_contents(line.replace("xx", "x1"))


def test_registers_begin_with_anything():
    text = "FDRE #(\n    .INIT(1'h0)\n) a\n"
    text += "RAM32M16 #(\n .INIT_A(64'hxxxx)\n) b\nparameter FILL = 0;"
    one = Netlist(verilog=text, device=ZCU102, cells={})
    many = {one.powered_up(seed).verilog for seed in range(4)}
    assert len(many) == 4
    assert {found.splitlines()[1] for found in many} == {"    .INIT(1'h0)", "    .INIT(1'h1)"}
    assert all("x" not in found.replace("RAM32M16", "") for found in many)
    with pytest.raises(ValueError, match="ecp5-85k"):
        Netlist(verilog=text, device=ECP5_85K, cells={}).powered_up(1)


def test_refusals():
    with pytest.raises(CelosiaError, match=f"netlists of up to {MOST_PRODUCTS}"):
        netlist(preset("large"), ZCU102)
    with pytest.raises(CelosiaError, match=f"1,024 ways .* netlists of up to {MOST_SLOTS}"):
        netlist(SPARCH_PAPER, ZCU102)
    with pytest.raises(CelosiaError, match=f"64 processing .* netlists of up to {MOST_PES}"):
        netlist(EIE_PAPER, ZCU102)
    with pytest.raises(CelosiaError, match="pynq-z2"):
        netlist(preset("tiny"), PYNQ_Z2)


def ran(simulator: Simulator, seed: int) -> bool:
    """Whether a random network runs on ``simulator`` as its models say."""
    tiny = preset("tiny")
    formats = tuple(dict.fromkeys(tiny.array.column_formats))
    network = random_network(seed, formats, tiny.array.activation_bits)
    inputs = random_inputs(network, 2, seed)
    program = compile_network(network, tiny)
    run = simulator.run(program, inputs, cycle_limit=1 << 20)
    expected = [timing(program, DDR4)] * len(run.cycles)
    return check(program, run, evaluate(network, inputs), expected).passed


def fails(simulator: Simulator, seed: int) -> bool:
    """Whether a random network does not run, or not as its models say."""
    try:
        return not ran(simulator, seed)
    except CelosiaError:
        return True


@pytest.mark.campaign
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("device", [ZCU102, ECP5_85K], ids=lambda device: device.name)
def test_engines_of_cells_are_exact(device):
    cells = netlist(preset("tiny"), device)
    simulator = Simulator(preset("tiny"), verilog=cells.verilog)
    assert all(ran(simulator, seed) for seed in range(20))


@pytest.mark.campaign
@pytest.mark.timeout(3600)
def test_every_register_that_needs_a_reset_has_one():
    awake = netlist(preset("tiny"), ZCU102).powered_up(7)
    simulator = Simulator(preset("tiny"), verilog=awake.verilog)
    assert all(ran(simulator, seed) for seed in range(20))
    # The same without resets does not work: random registers are really there.
    cut = re.sub(r"^    \.R\(.*\)$", "    .R(1'h0)", awake.verilog, flags=re.M)
    assert cut != awake.verilog
    assert fails(Simulator(preset("tiny"), verilog=cut), 0)


def ran_sparse(simulator: Simulator, seed: int) -> bool:
    """Whether two sparse layers run on the EIE engine of ``simulator`` as its models say."""
    rng = np.random.default_rng(seed)
    sizes, fmt, code = (50, 70, 40), Codebook.of(rng.integers(-60, 60, 15), 4), Fixed(bits=8)
    tensors = tuple(
        Tensor(name=f"t{n}", shape=(size, 1, 1), format=code, scale=1.0)
        for n, size in enumerate(sizes)
    )
    ops = []
    for n, shape in enumerate([(70, 50), (40, 70)]):
        weights = rng.choice(fmt.values, shape) * (rng.random(shape) < 0.2)
        ops.append(
            SparseLinear(
                name=f"fc{n}", input=f"t{n}", output=f"t{n + 1}", format=fmt,
                matrix=SparseMatrix.from_dense(weights), bias=rng.integers(-200, 200, shape[0]),
                shift=int(rng.integers(0, 9)), low=code.low, high=code.high,
            )
        )  # fmt: skip
    network = Network(
        name="sparse", tensors=tensors, inputs=("t0",), outputs=("t2",), ops=tuple(ops)
    )
    codes = rng.integers(code.low, code.high + 1, (2, 50, 1, 1))
    inputs = {"t0": codes * (rng.random(codes.shape) < 0.5)}
    program = compile_eie(network, EIE)
    golden = evaluate(network, inputs)
    run = simulator.run(program, inputs, cycle_limit=1 << 20)
    return check(program, run, golden, predict(program, DDR4, golden)).passed


@pytest.mark.campaign
@pytest.mark.timeout(3600)
def test_sparse_engines_of_cells_are_exact_whatever_they_power_up_with():
    cells = netlist(EIE, ZCU102)
    simulator = Simulator(EIE, verilog=cells.verilog)
    assert all(ran_sparse(simulator, seed) for seed in range(10))
    awake = Simulator(EIE, verilog=cells.powered_up(7).verilog)
    assert all(ran_sparse(awake, seed) for seed in range(10))


def multiplied(simulator: Simulator, seed: int) -> bool:
    """Whether two sparse matrices are multiplied on ``simulator`` as its models say."""
    rng, patterns, modes = np.random.default_rng(seed), tuple(Pattern), tuple(Mode)
    left, right = (
        random_matrix(shape, 90, rng, pattern=patterns[seed % len(patterns)], longest=12)
        for shape in ((24, 30), (30, 20))
    )
    mode = modes[seed % len(modes)]
    return spgemm(left, right, accelerator=SPARCH, simulator=simulator, mode=mode).holds


@pytest.mark.campaign
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("device", [ZCU102, ECP5_85K], ids=lambda device: device.name)
def test_products_on_cells_are_exact_whatever_they_power_up_with(device):
    cells = netlist(SPARCH, device)
    simulator = Simulator(SPARCH, verilog=cells.verilog)
    assert all(multiplied(simulator, seed) for seed in range(24))
    if device.family is Family.ULTRASCALE_PLUS:
        awake = Simulator(SPARCH, verilog=cells.powered_up(7).verilog)
        assert all(multiplied(awake, seed) for seed in range(24))
