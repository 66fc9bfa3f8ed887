# amaranth: UnusedElaboratable=no
"""Blocks of columns: 100,000 vectors of each that is measured, and of a mix of circuits."""

from __future__ import annotations

import re

import numpy as np
import pytest

from celosia.dataflow.array_shape import ArrayShape, Circuit, ColumnGroup
from celosia.models.formats import parse_format
from celosia.models.operations import DISTANCE
from celosia.rtl.block import ProductBlock
from celosia.rtl.dot import LaneDot
from celosia.rtl.dsp_dot import DspDot
from celosia.rtl.pe.distance import Distance
from celosia.rtl.verilog import write_parts
from celosia.scripts.pe_blocks import block_cases

from .block_drive import BlockDrive
from .compiled import Compiled, Mutation, mutants

COUNT = 100_000
SEED = 83
CASES = {case.title: case for case in block_cases()}
QUICK = {
    "block of 8 x 2 fixed8 columns, dsp w8a8 carry+dsp",
    "block of 8 x 2 fixed4 columns, dsp w4a4 carry+dsp",
    "block of 2 x 1 fixed4 columns, luts w4a4 carry",
}


def array_of(columns: str, *, lanes: int = 16, pixels: int = 1, bits: int = 8) -> ArrayShape:
    """An array of columns such as ``fixed8@dsp*2``."""
    groups = re.findall(r"(\w+)@(\w+)\*(\d+)", columns)
    return ArrayShape(
        columns=tuple(
            ColumnGroup(format=parse_format(fmt), count=int(count), circuit=Circuit(circuit))
            for fmt, circuit, count in groups
        ),
        lanes=lanes, pixels=pixels, accumulator_bits=24, activation_bits=bits,
    )  # fmt: skip


def mutation(block: ProductBlock) -> Mutation:
    """What breaks every kind of block: each DSP's factor, a lane's distance, or a lane's code."""
    if any(group.circuit is Circuit.DSP for group in block.shape.columns):
        whole = DspDot.operands
        return Mutation(
            name="bad", owner=DspDot, attribute="operands",
            broken=lambda *given: (*whole(*given)[:2], whole(*given)[2] ^ 1),
        )  # fmt: skip
    if any(group.operation == DISTANCE for group in block.shape.columns):
        apart = Distance.apart
        return Mutation(
            name="bad", owner=Distance, attribute="apart",
            broken=lambda self, m, activation, name: apart(self, m, activation ^ 1, name),
        )  # fmt: skip
    lane = LaneDot._lane
    return Mutation(
        name="bad", owner=LaneDot, attribute="_lane",
        broken=lambda self, m, code, name: lane(self, m, code ^ (name == "0"), name),
    )  # fmt: skip


def check(block: ProductBlock, count: int) -> None:
    print("seed", SEED)
    rng = np.random.default_rng(SEED)
    drive = BlockDrive(block.shape, count, rng)
    compiled = Compiled(mutants(lambda: ProductBlock(block.shape), [mutation(block)]))
    outputs = compiled.play(drive.inputs(rng))
    expected = drive.expected()
    np.testing.assert_array_equal(drive.totals(outputs, "good_"), expected)
    assert not np.array_equal(drive.totals(outputs, "bad_"), expected)


@pytest.mark.parametrize(
    "title",
    [
        pytest.param(title, marks=[] if title in QUICK else [pytest.mark.campaign])
        for title in CASES
    ],
)
def test_blocks(title: str) -> None:
    """Of the table of processing elements."""
    block = CASES[title].build()
    assert isinstance(block, ProductBlock)
    check(block, COUNT)


def test_columns_of_every_circuit() -> None:
    """Formats and circuits side by side, columns that share DSPs not being neighbours."""
    shape = array_of("fixed4@dsp*3 sp2_4@luts*2 fixed8@lanes*1 fixed8@dsp*1", lanes=9, pixels=2)
    check(ProductBlock(shape), 20_000)


@pytest.mark.parametrize("title", [title for title in CASES if "dsp w" in title])
def test_primitives_take_the_models_places(title: str) -> None:
    """Both versions of the DSP blocks have the same modules with the same ports, and no more."""
    parts = write_parts(CASES[title].build())
    headers = [
        sorted(re.findall(r"^module (\w+)\(([^)]*)\)", text, flags=re.M))
        for text in (parts.models, parts.primitives)
    ]
    assert headers[0] == headers[1]
    assert headers[0]
    ports = [sorted(re.findall(r"^  ((?:in|out)put) (?:reg )?(.*?)(?: =.*)?;$", text, flags=re.M))
             for text in (parts.models, parts.primitives)]  # fmt: skip
    assert ports[0] == ports[1]
    assert parts.primitives.count("DSP48E2 #(") == len(headers[0])
    assert "DSP48E2" not in parts.logic
    for name, _ in headers[0]:
        assert re.search(rf"^  {name} ", parts.logic, flags=re.M)
