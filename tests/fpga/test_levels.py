# amaranth: UnusedElaboratable=no
"""Logic levels: counted on real netlists, hierarchical and flat, cell by cell; bounds of blocks."""

import random
from dataclasses import replace

import pytest

from celosia.dataflow.accelerator import Bus
from celosia.dataflow.array_shape import ArrayShape, Circuit, ColumnGroup
from celosia.dataflow.eie.accelerator import CellUnit, PeArray, PeMemories, Widths
from celosia.dataflow.eie.presets import EIE_PRESETS
from celosia.dataflow.eie.presets import PAPER as EIE_PAPER
from celosia.dataflow.eie.presets import TINY as EIE_TINY
from celosia.dataflow.presets import PRESETS, preset
from celosia.dataflow.sparch.presets import TINY as SPARCH_TINY
from celosia.dataflow.sparch.presets import ZCU102 as SPARCH_ZCU102
from celosia.fpga.devices import ECP5_85K, ZCU102
from celosia.fpga.levels import Paths, module_paths
from celosia.fpga.tools import ToolFailedError
from celosia.fpga.yosys import synth, synth_verilog
from celosia.models.formats import Esb, Fixed, Sp2
from celosia.models.operations import DISTANCE, MULTIPLY
from celosia.rtl.column import Column
from celosia.rtl.eie.activations import ActivationFiles
from celosia.rtl.eie.control import Broadcaster
from celosia.rtl.post_nest import PostNest
from celosia.rtl.quantise import VectorQuantiser
from celosia.rtl.requant import Requant
from celosia.rtl.verilog import write_verilog
from celosia.scripts.area_cases import checks

SPLIT = """
module parity(input [35:0] a, output y);
  assign y = ^a;
endmodule
module adder(input clk, input [15:0] a, input [15:0] b, output reg [15:0] s);
  always @(posedge clk) s <= a + b;
endmodule
module top(input clk, input [35:0] a, input [15:0] b, output reg [15:0] s);
  reg [35:0] held; reg [15:0] other; wire y; wire [15:0] sum;
  parity p(.a(held), .y(y));
  adder q(.clk(clk), .a({16{y}} & other), .b(other), .s(sum));
  always @(posedge clk) begin held <= a; other <= b; s <= sum; end
endmodule
"""


def cell(kind, parameters=None, /, inputs=None, outputs=None):
    return {
        "type": kind,
        "parameters": parameters or {},
        "connections": {**(inputs or {}), **(outputs or {})},
        "port_directions": dict.fromkeys(inputs or {}, "input")
        | dict.fromkeys(outputs or {}, "output"),
    }


def lut(output, *inputs):
    named = {f"I{n}": [net] for n, net in enumerate(inputs)}
    return cell(f"LUT{len(inputs)}", inputs=named, outputs={"O": [output]})


def register(output, net):
    return cell("FDRE", inputs={"C": [1], "D": [net]}, outputs={"Q": [output]})


def netlist(cells, ports=None):
    return {"cells": dict(enumerate(cells)), "ports": ports or {}}


def levels(*cells):
    return module_paths({"top": netlist(cells)}, ["top"], {})["top"].inside


@pytest.fixture
def _cache(monkeypatch, tmp_path):
    monkeypatch.setenv("CELOSIA_CACHE", str(tmp_path))


@pytest.mark.usefixtures("_cache")
def test_paths_go_through_modules():
    report = synth_verilog(SPLIT, "top", ZCU102, levels=True)
    # Two or three tables for 36 bits, one in front of the sum, the sum's own, and its carries.
    assert report.logic_levels in (5, 6)
    assert report.as_dict()["logic_levels"] == report.logic_levels
    # The same design with a top of its own: the modules are known, and so are their paths.
    again = SPLIT.replace("held <= a;", "held <= ~a;")
    assert synth_verilog(again, "top", ZCU102, levels=True).logic_levels == report.logic_levels
    assert synth_verilog(SPLIT, "top", ZCU102).logic_levels is None


@pytest.mark.usefixtures("_cache")
def test_paths_of_what_holds_a_changed_module_are_found_anew():
    outer = (
        "module outer(input clk, input [35:0] a, input [15:0] b, output [15:0] s);\n"
        "  top inside(.clk(clk), .a(a), .b(b), .s(s));\nendmodule\n"
    )
    before = synth_verilog(SPLIT + outer, "outer", ZCU102, levels=True).logic_levels
    slower = SPLIT.replace("y = ^a;", "y = ^(a * 36'd3141592653);") + outer
    synth_verilog(slower, "parity", ZCU102, levels=True)  # alone: it is known from now on
    assert synth_verilog(slower, "outer", ZCU102, levels=True).logic_levels > before


def test_levels_of_other_vendors_are_refused():
    with pytest.raises(ValueError, match="levels must be False: those of ecp5-85k's cells"):
        synth_verilog(SPLIT, "top", ECP5_85K, levels=True)


def test_a_chain_is_as_long_as_it_is():
    chain = [register(10, 2), *(lut(11 + n, 10 + n) for n in range(5)), register(20, 15)]
    assert levels(*chain) == 5
    assert levels(register(10, 10)) == 0
    # From a port of the design no register begins a path.
    assert levels(lut(11, 10), register(12, 11)) == 0


def test_a_run_of_carries_is_one_level():
    def carry(first, carry_in):
        nets = list(range(first, first + 8))
        return cell(
            "CARRY4",
            inputs={"CI": [carry_in], "CYINIT": ["0"], "DI": ["0"] * 4, "S": [10, 10, 10, 10]},
            outputs={"O": nets[:4], "CO": nets[4:]},
        )

    run = [register(10, 2), carry(100, "0"), carry(200, 107), carry(300, 207)]
    assert levels(*run, register(20, 303)) == 1
    assert levels(*run, lut(21, 303), register(20, 21)) == 2


def test_registers_of_dsp_blocks_cut_paths():
    def dsp(product, total):
        values = {"MREG": product, "PREG": total, "ADREG": 0, "BREG": 0}
        return cell(
            "DSP48E2",
            {name: f"{value:032b}" for name, value in values.items()},
            inputs={"A": [10], "B": [10], "C": ["0"], "D": ["0"]},
            outputs={"P": [30]},
        )

    around = [register(10, 2), lut(31, 30), register(20, 31)]
    assert levels(*around, dsp(0, 0)) == 2
    assert levels(*around, dsp(1, 0)) == 2  # behind the product's register: the sum, the table
    assert levels(*around, dsp(1, 1)) == 1


def test_reads_of_table_memory_follow_their_address():
    memory = cell(
        "RAM32M16",
        inputs={"ADDRA": [10], "ADDRH": [11], "DIA": [11], "WE": [11], "WCLK": [1]},
        outputs={"DOA": [30], "DOH": [31]},
    )
    assert levels(register(10, 2), memory, lut(32, 30), register(20, 32)) == 2
    assert module_paths({"m": netlist([memory])}, ["m"], {})["m"].inside == 0


def test_unknown_cells_and_loops_are_told():
    with pytest.raises(ToolFailedError, match="a cell of type ODDR in module top: its paths"):
        levels(cell("ODDR", inputs={"D": [3]}, outputs={"Q": [4]}))
    with pytest.raises(ToolFailedError, match="a loop of look-up tables in module top"):
        levels(lut(3, 4), lut(4, 3))


def test_modules_say_what_the_same_cells_do_in_one():
    """Random netlists in two halves, one of which is a module."""
    rng = random.Random(8)
    inputs, outputs = list(range(10, 80)), [*range(80, 84), *range(100, 112)]
    ports = {
        "a": {"direction": "input", "bits": inputs},
        "b": {"direction": "output", "bits": outputs},
    }
    for _ in range(200):
        first, reads = [], [*inputs, *outputs[:4]]
        for net in outputs[4:]:
            first.append(lut(net, *rng.choices(reads, k=2)))
            reads.append(net)
        first += [register(net, rng.choice(reads)) for net in outputs[:4]]
        other, reads = [], list(outputs)
        for net in range(200, 212):
            other.append(lut(net, *rng.choices(reads, k=2)))
            reads.append(net)
        other += [register(net, rng.choice(reads)) for net in inputs[20:]]
        other += [lut(net, *rng.choices(inputs[20:], k=2)) for net in inputs[:20]]
        held = cell("half", inputs={"a": inputs}, outputs={"b": outputs})
        flat = levels(*first, *other)
        modules = {"half": netlist(first, ports), "top": netlist([held, *other])}
        found = module_paths(modules, ["half", "top"], {})
        assert found["top"].inside == flat
        known = Paths.of_json(found["half"].as_json())
        assert known == found["half"]
        assert module_paths(modules, ["top"], {"half": known})["top"] == found["top"]


def column(weight_format, circuit, operation=MULTIPLY, *, lanes, activation_bits):
    return Column(
        operation=operation,
        weight_format=weight_format,
        lanes=lanes,
        pixels=1,
        activation_bits=activation_bits,
        accumulator_bits=24,
        depth=512,
        circuit=circuit,
    )


def quantiser(name):
    accelerator = preset(name)
    return VectorQuantiser(
        scaling=accelerator.array.scaling,
        elements=accelerator.array.element(is_signed=False),
        wide_bits=accelerator.requant_bits,
    )


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(Requant(accumulator_bits=32, code_bits=9), id="post lane"),
        pytest.param(PostNest(lane_groups=2), id="post loops"),
        pytest.param(ActivationFiles(EIE_TINY), id="EIE's activations"),
        pytest.param(Broadcaster(EIE_TINY, 0), id="EIE's broadcasts"),
        pytest.param(Broadcaster(EIE_PAPER, 0), id="EIE's broadcasts of many"),
        pytest.param(
            column(Sp2(bits=4), Circuit.LUTS, lanes=64, activation_bits=5),
            id="sums of shifts",
            marks=pytest.mark.campaign,
        ),
        *(
            pytest.param(
                column(Sp2(bits=bits), circuit, lanes=16, activation_bits=9),
                id=f"sums of {bits}-bit shifts, {circuit.value}",
                marks=pytest.mark.campaign,
            )
            for bits in (6, 8)
            for circuit in (Circuit.LANES, Circuit.LUTS)
        ),
        pytest.param(
            column(Fixed(bits=12), Circuit.LUTS, lanes=8, activation_bits=9),
            id="sums of six rows",
            marks=pytest.mark.campaign,
        ),
        *(
            pytest.param(
                column(Esb(bits=bits, linear=linear), Circuit.LANES, lanes=16, activation_bits=9),
                id=f"floats of {bits} bits, {linear} of them digits",
                marks=pytest.mark.campaign,
            )
            for bits, linear in ((4, 1), (5, 1), (5, 2), (6, 2), (6, 3))
        ),
        *(
            pytest.param(
                column(Fixed(bits=bits), Circuit.LANES, DISTANCE, lanes=lanes, activation_bits=9),
                id=f"distances of {bits} bits, {lanes} lanes",
                marks=pytest.mark.campaign,
            )
            for bits, lanes in ((6, 8), (8, 8), (11, 24))
        ),
        *(
            pytest.param(quantiser(name), id=name, marks=pytest.mark.campaign)
            for name in ("small_vsq", "small_mxfp4", "small_nvfp4")
        ),
    ],
)
def test_blocks_have_few_levels(block):
    report = synth_verilog(write_verilog(block), block.module_name, ZCU102, levels=True)
    assert 0 < report.logic_levels <= 6


def scalable(circuit):
    """The preset `tiny` with two columns of a precision-scalable circuit."""
    array = ArrayShape(
        columns=(ColumnGroup(format=Fixed(bits=16), count=2, circuit=circuit),),
        lanes=16,
        pixels=1,
        accumulator_bits=40,
        activation_bits=16,
    )
    return replace(preset("tiny"), name=f"tiny_{circuit.value}", array=array)


def eie(name, *, array, widths, memories, bus=EIE_TINY.bus, cell=None):
    return replace(
        EIE_TINY,
        name=name,
        array=PeArray(**array),
        widths=Widths(**widths),
        memories=PeMemories(**memories),
        bus=bus,
        cell=cell,
    )


OTHER_EIE = (
    eie(
        "eie_small",
        array={"pes": 3, "queue": 1},
        widths={"index": 1, "weight": 2, "codebook": False, "activation": 8, "accumulator": 24},
        memories={"entries": 1024, "pointers": 96, "biases": 24, "activations": 12,
                  "accumulators": 6, "row_entries": 2, "window": 2, "pointer_bits": 10},
    ),
    eie(
        "eie_20_pes",
        array={"pes": 20, "queue": 5, "channels": 2, "skip_empty": True},
        widths={"index": 5, "weight": 8, "codebook": False, "activation": 8, "accumulator": 32},
        memories={"entries": 12288, "pointers": 1536, "biases": 96, "activations": 96,
                  "accumulators": 96, "row_entries": 4, "window": 32},
    ),
    eie(
        "eie_4_channels",
        array={"pes": 12, "queue": 4, "channels": 4, "skip_empty": True},
        widths={"weight": 8, "codebook": False, "index": 3, "accumulator": 36},
        memories={"entries": 12288, "pointers": 2048, "biases": 160, "activations": 160,
                  "accumulators": 96, "window": 32},
        bus=Bus(data_bits=128),
        cell=CellUnit(segments=4096),
    ),
    eie(
        "eie_16_codebooks",
        array={"pes": 5, "queue": 3},
        widths={"weight": 8, "value": 12, "accumulator": 44},
        memories={"entries": 4096, "pointers": 512, "biases": 64, "activations": 144,
                  "accumulators": 48, "row_entries": 4, "window": 16, "codebooks": 16},
        bus=Bus(data_bits=512),
        cell=CellUnit(segments=16),
    ),
    eie(
        "eie_wide_bus",
        array={"pes": 3, "queue": 1, "skip_empty": True},
        widths={"weight": 2, "activation": 2},
        memories={"entries": 65536, "pointers": 2048, "biases": 128, "activations": 8,
                  "accumulators": 16, "pointer_bits": 8, "window": 2},
        bus=Bus(data_bits=512, burst_beats=16, outstanding=32),
    ),
    eie(
        "eie_rows_of_16",
        array={"pes": 8, "queue": 64},
        widths={"weight": 8, "value": 12, "activation": 12, "accumulator": 44},
        memories={"entries": 65536, "pointers": 2048, "biases": 128, "activations": 192,
                  "accumulators": 128, "row_entries": 16, "pointer_bits": 24, "window": 16},
        bus=Bus(data_bits=512, address_bits=64, outstanding=32),
    ),
    eie(
        "eie_deep_queues",
        array={"pes": 16, "queue": 64, "channels": 4, "skip_empty": True},
        widths={"index": 8, "weight": 8, "accumulator": 44},
        memories={"entries": 65536, "pointers": 16384, "biases": 768, "activations": 960,
                  "accumulators": 768, "pointer_bits": 24, "codebooks": 16},
        bus=Bus(data_bits=256),
    ),
    eie(
        "eie_few_pointers",
        array={"pes": 16, "queue": 2, "channels": 4},
        widths={"index": 5, "weight": 8, "codebook": False, "activation": 8, "accumulator": 16},
        memories={"entries": 4096, "pointers": 512, "biases": 256, "activations": 1280,
                  "accumulators": 32, "pointer_bits": 24, "window": 32},
        bus=Bus(data_bits=128, address_bits=32, burst_beats=16, outstanding=1),
    ),
    eie(
        "eie_24_pes",
        array={"pes": 24, "channels": 2},
        widths={"index": 3, "weight": 1, "accumulator": 32},
        memories={"entries": 16384, "pointers": 512, "biases": 64, "activations": 640,
                  "accumulators": 16, "row_entries": 1, "window": 16},
        bus=Bus(data_bits=128, burst_beats=16),
        cell=CellUnit(),
    ),
)  # fmt: skip
"""Of sizes and widths unlike those of the presets."""


@pytest.mark.campaign
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    "accelerator",
    [
        *(preset(name) for name in PRESETS),
        *(scalable(circuit) for circuit in Circuit if circuit.scalable),
        *checks(Circuit.DSP, 6),
        *EIE_PRESETS.values(),
        *OTHER_EIE,
        SPARCH_TINY,
        SPARCH_ZCU102,
    ],
    ids=lambda accelerator: accelerator.name,
)
def test_a_whole_engine_has_few_levels(accelerator):
    report = synth(accelerator, ZCU102, levels=True)
    assert 0 < report.logic_levels <= 6
