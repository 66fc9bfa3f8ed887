import math

import numpy as np
import pytest

from celosia.dataflow.accelerator_file import dump_accelerator, parse_accelerator
from celosia.dataflow.arrange import arrange
from celosia.dataflow.array_shape import Circuit
from celosia.dataflow.columns import ColumnPool, Need
from celosia.dataflow.explore.demand import Demand, demand
from celosia.dataflow.explore.space import AcceleratorSpace
from celosia.models.errors import CelosiaError
from celosia.models.formats import BlockScaling, Fixed, IntScale, Sp2, parse_format
from celosia.models.network import Conv
from celosia.models.operations import DISTANCE, MULTIPLY, shift
from celosia.models.random_network import random_network, with_tables

FIXED8 = Fixed(bits=8)


def need(*names, bits=8, **more):
    abilities = tuple((parse_format(name), MULTIPLY) for name in names)
    return Demand(abilities=abilities, activation_bits=bits, accumulator_bits=24, **more)


DEMANDS = {
    "one": need("fixed8"),
    "msq": need("sp2_4", "fixed4"),
    "rmsmp": need("pot_4", "fixed4", "fixed8"),
    "wide": need("fixed16", bits=16),
    "adder": Demand(
        abilities=((FIXED8, DISTANCE), (FIXED8, MULTIPLY)), activation_bits=8, accumulator_bits=20
    ),
    "shift": Demand(
        abilities=((parse_format("pot_5"), shift(6)), (FIXED8, MULTIPLY)),
        activation_bits=8,
        accumulator_bits=24,
    ),
    "vectors": need("fixed4", scaling=BlockScaling(scale=IntScale(bits=4), vector=16)),
    "elements": need(
        "fixed4", "fixed8",
        scaling=BlockScaling(scale=IntScale(bits=4), vector=16),
        elements=Fixed(bits=4, signed=False),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", DEMANDS)
@pytest.mark.parametrize("hard", [Circuit.DSP, Circuit.LANES])
def test_every_point_is_an_accelerator_that_serves_the_network(name, hard):
    wanted = DEMANDS[name]
    space = AcceleratorSpace([wanted], hard, "found")
    rng = np.random.default_rng(17)
    for _ in range(40 if name == "wide" else 150):
        accelerator = space.accelerator(space.sample(rng))
        pool = ColumnPool(accelerator.array)
        for fmt, operation in wanted.abilities:
            assert pool.mask(frozenset((Need(operation=operation, format=fmt),)))
        array = accelerator.array
        assert array.activation_bits == wanted.activation_bits
        assert array.accumulator_bits == wanted.accumulator_bits
        assert math.gcd(array.column_count, array.lanes) % accelerator.post_lanes == 0
        assert parse_accelerator(dump_accelerator(accelerator), "x") == accelerator


def test_shares_become_columns():
    space = AcceleratorSpace([need("sp2_4", "fixed4", "fixed8")], Circuit.DSP, "found")
    shares = [choice.eighths for choice in space.knobs[1].choices]
    assert (8, 0, 0) not in shares  # sp2_4 holds no fixed4
    assert (0, 0, 8) in shares  # fixed8 holds all
    assert len(set(shares)) == len(shares)
    values = {"shares": shares.index((4, 3, 1)), "hard": 4, "columns": 15, "lanes": 2}
    point = tuple(values.get(knob.name, 0) for knob in space.knobs)
    columns = space.accelerator(point).array.columns
    counts = [(c.format.name, c.circuit, c.count) for c in columns]
    assert space.knobs[4].choices[15] == 64
    assert counts == [
        ("sp2_4", Circuit.LUTS, 32), ("fixed4", Circuit.DSP, 24), ("fixed8", Circuit.DSP, 8),
    ]  # fmt: skip


def test_half_of_the_fixed_columns_may_be_dsp_blocks():
    space = AcceleratorSpace([need("fixed8")], Circuit.DSP, "found", {"hard": [4]})
    point = tuple(15 if knob.name == "columns" else 0 for knob in space.knobs)
    columns = space.accelerator(point).array.columns
    assert [(c.circuit, c.count) for c in columns] == [(Circuit.DSP, 32), (Circuit.LUTS, 32)]


def test_variants_have_shares_of_their_own():
    space = AcceleratorSpace([need("fixed8"), need("sp2_4", "fixed4")], Circuit.DSP, "found")
    rng = np.random.default_rng(23)
    seen = set()
    for _ in range(60):
        point = space.sample(rng)
        formats = {column.format for column in space.accelerator(point).array.columns}
        assert formats <= ({FIXED8} if space.variant(point) == 0 else {Sp2(bits=4), Fixed(bits=4)})
        seen.add(space.variant(point))
    assert seen == {0, 1}


def test_knobs_can_be_fixed():
    fixed = {"columns": [8, 16], "lanes": [8], "scalable": ["tile"]}
    space = AcceleratorSpace([need("fixed8")], Circuit.DSP, "found", fixed)
    rng = np.random.default_rng(3)
    arrays = [space.accelerator(space.sample(rng)).array for _ in range(30)]
    assert {array.column_count for array in arrays} == {8, 16}
    assert {array.lanes for array in arrays} == {8}
    assert {array.scalable for array in arrays} == {Circuit.TILE}


@pytest.mark.parametrize(
    ("fixed", "message"),
    [
        ({"depth": [1]}, "there is no knob 'depth'"),
        ({"shares": [1]}, "there is no knob 'shares'"),
        ({"lanes": [5]}, "knob 'lanes' cannot be 5: its choices are 4, 8"),
        ({"lanes": []}, "knob 'lanes' cannot be nothing"),
    ],
)
def test_what_cannot_be_fixed_is_refused(fixed, message):
    with pytest.raises(CelosiaError, match=message):
        AcceleratorSpace([need("fixed8")], Circuit.DSP, "found", fixed)


def test_sums_too_wide_for_any_array_are_refused():
    wide = Demand(
        abilities=((parse_format("pot_5"), MULTIPLY),), activation_bits=16, accumulator_bits=40
    )
    with pytest.raises(CelosiaError, match="no array can run this network"):
        AcceleratorSpace([wide], Circuit.DSP, "found")


@pytest.mark.parametrize(
    ("formats", "more"),
    [
        (("fixed4", "sp2_4", "fixed8"), {}),
        (("fixed4",), {"scaling": BlockScaling(scale=IntScale(bits=4), vector=4)}),
        (("fixed8", "pot_5"), {"operations": (DISTANCE, shift(6))}),
    ],
)
def test_every_accelerator_of_a_network_s_space_runs_it(formats, more):
    for seed in range(6):
        network = random_network(seed, tuple(parse_format(name) for name in formats), **more)
        network = with_tables(network, seed, 4 + seed)
        found = demand(network)
        rows = {fmt for op in network.ops if isinstance(op, Conv) for fmt in op.formats}
        assert rows <= {fmt for fmt, _ in found.abilities}
        space = AcceleratorSpace([found], Circuit.DSP, "found")
        rng = np.random.default_rng(seed)
        for _ in range(5):
            arrange(network, space.accelerator(space.sample(rng)))
