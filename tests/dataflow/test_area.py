import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from celosia.dataflow.area import (
    ECP5,
    MEMORIES,
    ULTRASCALE_PLUS,
    block_areas,
    estimate_area,
    guessed,
    load_area_table,
)
from celosia.dataflow.area_blocks import Amount, Part, blocks
from celosia.dataflow.area_memory import choice_luts
from celosia.dataflow.array_shape import ArrayShape, Circuit, ColumnGroup
from celosia.dataflow.presets import PRESETS, preset
from celosia.models.formats import Fixed, Sp2, parse_format
from celosia.scripts.area_cases import checks

KEPT = Path(__file__).parents[2] / "docs" / "tables" / "area.json"
HARD = {"zcu102": Circuit.DSP, "ecp5-85k": Circuit.LANES}
FAMILIES = {"zcu102": ULTRASCALE_PLUS, "ecp5-85k": ECP5}


# Rows, bits, and block RAMs, cells of distributed memory that Yosys 0.70 makes of them: those
# about which it changes its mind.
MADE = {
    ULTRASCALE_PLUS: [
        (16, 14, 0, 1), (32, 15, 0, 2), (64, 512, 0, 74), (128, 25, 0, 8), (128, 26, 0.5, 0),
        (128, 37, 0, 12), (128, 48, 0, 14), (128, 54, 1, 0), (256, 12, 0, 8), (256, 13, 0.5, 0),
        (512, 5, 0, 8), (512, 6, 0.5, 0), (512, 512, 7.5, 0), (1024, 2, 0, 16), (1024, 3, 0.5, 0),
        (1024, 48, 1.5, 0), (2048, 1, 0, 32), (2048, 28, 2, 0), (2048, 192, 11, 0),
        (4096, 1, 0.5, 0), (4096, 19, 2.5, 0), (8192, 10, 2.5, 0), (16384, 19, 9.5, 0),
    ],
    ECP5: [
        (16, 5, 0, 2), (32, 512, 0, 256), (64, 24, 0, 24), (64, 25, 1, 0), (64, 37, 0, 40),
        (64, 48, 0, 48), (64, 54, 2, 0), (64, 512, 15, 0), (128, 11, 0, 24), (128, 12, 1, 0),
        (256, 4, 0, 16), (256, 5, 1, 0), (512, 1, 1, 0), (1024, 19, 2, 0), (1024, 56, 4, 0),
        (2048, 28, 4, 0), (2048, 192, 22, 0), (4096, 19, 5, 0), (8192, 17, 8, 0),
        (16384, 19, 19, 0),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("family", "depth", "width", "blocks", "cells"),
    [(family, *row) for family, rows in MADE.items() for row in rows],
)
def test_memories_are_made_as_yosys_makes_them(family, depth, width, blocks, cells):
    rule = MEMORIES[family]
    found, lut, ff = rule.made(depth, width)
    assert found == blocks
    assert ff >= (0 if blocks else width)
    if cells:
        assert rule.cells(depth, width) == cells
        assert lut >= cells * rule.cell_luts


def test_choices_grow_with_what_there_is_to_choose_from():
    assert [choice_luts(n, wide=True) for n in (1, 2, 4, 8)] == [0, 1, 1, 2]
    assert [choice_luts(n, wide=False) for n in (1, 2, 4, 8)] == [0, 1, 4, 8]


def engines(device, names):
    found = {engine.name: engine for engine in checks(HARD[device], 16)}
    return {name: found.get(name) or preset(name) for name in names}


@pytest.mark.parametrize("device", HARD)
def test_the_model_says_what_synthesis_says(device):
    """Of engines that the tables were not made from; ``celosia bench area --json``."""
    kept = json.loads(KEPT.read_text())[device]
    whole = {row["accelerator"]: row for row in kept if row["block"] == "engine"}
    assert whole
    half = 1 if FAMILIES[device] == ULTRASCALE_PLUS else 2
    for name, engine in engines(device, whole).items():
        model, made = estimate_area(engine, FAMILIES[device]), whole[name]
        assert model["lut"] == pytest.approx(made["lut_yosys"], rel=0.1), name
        assert model["ff"] == pytest.approx(made["ff_yosys"], rel=0.1), name
        assert model["dsp"] == made["dsp_yosys"], name
        assert model["bram"] / half == made["bram36_yosys"], name


@pytest.mark.parametrize("device", HARD)
def test_most_of_what_synthesis_makes_lies_in_blocks_within_a_tenth(device):
    kept = json.loads(KEPT.read_text())[device]
    names = dict.fromkeys(row["accelerator"] for row in kept)
    models = {
        name: block_areas(engine, FAMILIES[device])
        for name, engine in engines(device, names).items()
    }
    for amount in ("lut", "ff"):
        near = total = 0.0
        for row in kept:
            if row["block"] == "engine":
                continue
            model = getattr(models[row["accelerator"]][row["block"]], amount)
            total += row[f"{amount}_yosys"]
            if abs(model - row[f"{amount}_yosys"]) <= 0.1 * row[f"{amount}_yosys"]:
                near += row[f"{amount}_yosys"]
        assert near >= 0.75 * total, (amount, near / total)


def test_a_kind_that_was_not_measured_is_like_the_nearest():
    table = load_area_table(ULTRASCALE_PLUS)
    for kind, like in (
        ("column fixed luts", "column fixed luts"),
        ("column sp2_6 luts", "column sp2_4 luts"),
        ("column pot_3 luts", "column pot_4 luts"),
    ):
        found = table.measured(kind)
        words, others = found.split(), like.split()
        assert [word.rstrip("_0123456789") for word in words] == [
            word.rstrip("_0123456789") for word in others
        ]


@pytest.mark.parametrize("family", [ULTRASCALE_PLUS, ECP5])
def test_what_was_not_measured_is_told(family):
    assert {name: guessed(preset(name), family) for name in PRESETS} == dict.fromkeys(PRESETS, "")
    wide = replace(preset("tiny").array, columns=(
        ColumnGroup(format=Fixed(bits=12), count=2, circuit=Circuit.LUTS),
        ColumnGroup(format=Sp2(bits=3), count=2),
    ))  # fmt: skip
    assert guessed(replace(preset("tiny"), array=wide), family) == (
        "column sp2_3 lanes (taken to be column sp2_4 lanes), columns of 12-bit fixed point "
        "(measured up to 8)"
    )


def test_amounts_are_factors_times_terms_and_what_is_known():
    table = load_area_table(ULTRASCALE_PLUS)
    terms = {"one": 1, "position": 9, "bit": 81, "row": 3}
    part = Part(block="windows", kind="window", terms=terms, known=Amount(bram=2, lut=5))
    factors = table.factors["window"]
    found = table.amount(part)
    assert found.bram == 2
    lut = sum(terms[name] * factor for name, factor in factors["lut"].items())
    assert found.lut == pytest.approx(5 + lut)


def test_every_preset_has_an_area_in_milliseconds():
    for family in (ULTRASCALE_PLUS, ECP5):
        for name in PRESETS:
            engine = preset(name)
            estimate_area(engine, family)
            start = time.perf_counter()
            found = estimate_area(engine, family)
            taken = time.perf_counter() - start
            assert min(found["lut"], found["ff"], found["bram"]) > 0
            assert taken < 0.1, (name, taken)  # a few ms on an idle machine


def test_parts_of_an_engine_have_their_memories():
    accelerator = preset("small")
    rule = MEMORIES[ULTRASCALE_PLUS]
    parts = {part.block: part for part in blocks(accelerator, rule)}
    assert {"shell", "sequencer", "queues", "load", "compute", "post", "store"} <= parts.keys()
    # 2,048 words of 64 bits: four blocks of 36 Kbit; see MADE.
    assert parts["activations_buffer"].known.bram == 4
    assert "stripe" not in parts


def test_a_larger_array_takes_more():
    small = preset("small")
    array = small.array
    taken = []
    for count in (4, 8, 16):
        columns = (ColumnGroup(format=parse_format("fixed8"), count=count, circuit=Circuit.TILE),)
        shape = ArrayShape(columns=columns, lanes=array.lanes, pixels=2)
        larger = type(small)(
            name="larger", array=shape, buffers=small.buffers, bus=small.bus, post_lanes=4
        )
        taken.append([estimate_area(larger, family)["lut"] for family in (ULTRASCALE_PLUS, ECP5)])
    assert sorted(taken) == taken


@pytest.mark.parametrize(
    ("bits", "family", "blocks"),
    # Of one post lane, as Yosys makes them.
    [(16, ULTRASCALE_PLUS, 2), (18, ULTRASCALE_PLUS, 3), (40, ULTRASCALE_PLUS, 3),
     (16, ECP5, 2), (32, ECP5, 3), (36, ECP5, 4)],
)  # fmt: skip
def test_post_lanes_take_blocks_by_their_accumulators(bits, family, blocks):
    tiny = preset("tiny")
    array = ArrayShape(
        columns=(ColumnGroup(format=parse_format("sp2_4"), count=2),),
        lanes=4,
        pixels=1,
        accumulator_bits=bits,
    )
    taken = [
        estimate_area(replace(tiny, array=array, post_lanes=lanes), family)["dsp"]
        for lanes in (1, 2)
    ]
    assert taken[1] - taken[0] == blocks
