"""``celosia mix``: the densest mix of columns on a device."""

from __future__ import annotations

import json

import pytest

from celosia.dataflow.mix import MEASURED, ColumnCost
from celosia.fpga.devices import DEVICES, Family
from celosia.models.operations import MULTIPLY
from celosia.rtl.block import ProductBlock
from celosia.scripts.bench_pe import measure
from celosia.scripts.cli import run_command
from celosia.scripts.pe_blocks import block_cases


def test_mix(capsys) -> None:
    assert run_command(["mix", "--device", "zcu102", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert [part["circuit"] for part in value["columns"]] == ["dsp", "luts"]
    assert value["products"] == sum(part["products"] for part in value["columns"])
    assert value["products"] % 64 == 0
    assert value["dsp"] <= 2520
    assert value["lut"] <= 0.6 * 274_080
    assert run_command(["mix", "--weights", "fixed8", "--activation-bits", "8"]) == 0
    assert "fixed8 x 8 bits (dsp)" in capsys.readouterr().out


@pytest.mark.parametrize("device", [name for name in DEVICES if name != "ecp5-85k"])
def test_every_board(device: str, capsys) -> None:
    """What fits is found; only UltraScale+ has the blocks that products are packed into."""
    arguments = ["mix", "--device", device, "--activation-bits", "8", "--json"]
    assert run_command([*arguments, "--weights", "fixed8", "--weights", "sp2_4"]) == 0
    value = json.loads(capsys.readouterr().out)
    part = DEVICES[device]
    circuits = {column["circuit"] for column in value["columns"]}
    assert circuits == {"dsp" if part.family is Family.ULTRASCALE_PLUS else "lanes", "luts"}
    assert part.budget.dsp - 64 < value["dsp"] <= part.budget.dsp
    assert value["lut"] <= 0.6 * part.budget.lut


def test_other_look_up_tables(capsys) -> None:
    assert run_command(["mix", "--device", "ecp5-85k"]) != 0
    assert "look-up tables of 6 inputs, which ecp5-85k has not" in " ".join(
        capsys.readouterr().err.split()
    )


def test_unknown_names(capsys) -> None:
    assert run_command(["mix", "--device", "none"]) != 0
    assert "unknown device" in capsys.readouterr().err
    assert run_command(["mix", "--weights", "fixed9"]) != 0
    assert "no column was measured with weights of fixed9" in " ".join(
        capsys.readouterr().err.split()
    )


@pytest.mark.campaign
@pytest.mark.parametrize("cost", MEASURED, ids=lambda cost: cost.title)
def test_costs_are_what_synthesis_counts(cost: ColumnCost) -> None:
    """Each cost again, of the densest of the blocks that are measured for it."""
    rows = []
    for case in block_cases():
        block = case.build()
        assert isinstance(block, ProductBlock)
        (group,) = block.shape.columns
        kind = (group.format.name, case.act_bits, group.circuit)
        wanted = (cost.weights, cost.activation_bits, cost.circuit)
        if kind == wanted and group.operation == MULTIPLY:
            row = measure(case)
            rows.append((row.dsp_per_lane, row.lut_raw_per_lane))
    dsp, lut = min(rows)
    assert dsp == cost.dsp
    assert lut == pytest.approx(cost.lut, rel=0.02)
