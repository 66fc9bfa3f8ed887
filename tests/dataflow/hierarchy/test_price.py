"""The price of mappings: against a walk of every iteration, the sheet's figures, and limits."""

import random
from fractions import Fraction

import pytest

from celosia.dataflow.hierarchy.architecture_file import read_architecture
from celosia.dataflow.hierarchy.layer import Dim, Layer, Tensor
from celosia.dataflow.hierarchy.mapping import Loop, Mapping, Store
from celosia.dataflow.hierarchy.price import Accesses, Price, price, tile_counts

from .architectures import deep, flat, small
from .walk import Walk, random_layer, random_mapping

SEED = 20261121
SWITCHES = (
    "",
    "[accounting]\ndrain_reads = false",
    '[accounting]\ninput_tile = "rows"',
    '[accounting]\ninput_tile = "touched"\nfirst_reads = true',
    "[accounting]\nslides = false",
)
ARCHITECTURES = [small(10**6, 10**6, switch) for switch in SWITCHES] + [deep(), flat()]


def cases(count):
    rng = random.Random(SEED)
    found = 0
    while found < count:
        architecture = rng.choice(ARCHITECTURES)
        layer = random_layer(rng)
        mapping = random_mapping(rng, architecture, layer)
        try:
            yield architecture, layer, mapping, price(architecture, layer, mapping)
        except ValueError:
            continue
        found += 1


def test_random_mappings_are_counted_as_a_walk_counts():
    for architecture, layer, mapping, cost in cases(250):
        walk = Walk(architecture, layer, mapping)
        what = f"seed {SEED}: {architecture.name}, {layer}, {mapping}"
        assert walk.macs == layer.macs
        assert cost.steps == walk.steps, what
        for entry in cost.accesses:
            key = (entry.level, entry.tensor)
            assert (entry.reads, entry.writes) == (walk.reads[key], walk.writes[key]), (key, what)


def test_energy_and_time_are_sums_over_the_accesses():
    for architecture, layer, _, cost in cases(50):
        energy = layer.macs * Fraction(architecture.mac_energy)
        for entry in cost.accesses:
            level = architecture.level(entry.level)
            energy += entry.reads * Fraction(level.read_energy)
            energy += entry.writes * Fraction(level.write_energy)
        assert cost.energy == energy
        words = cost.words("dram")
        assert cost.times["dram words"] == Fraction(words, 3)
        assert cost.cycles == max(cost.times.values()) >= cost.steps
        assert cost.edp == cost.energy * cost.cycles


def test_traffic_is_never_below_what_the_layer_has_to_move():
    for architecture, layer, _, cost in cases(60):
        assert cost.of("dram", Tensor.WEIGHT).reads >= layer.words(Tensor.WEIGHT)
        assert cost.of("dram", Tensor.OUTPUT).writes >= layer.words(Tensor.OUTPUT)
        for tensor in (Tensor.WEIGHT, Tensor.OUTPUT):
            names = [architecture.levels[place].name for place in architecture.path(tensor)]
            totals = [sum(vars_of(cost.of(name, tensor))) for name in names]
            assert totals == sorted(totals) or tensor is Tensor.OUTPUT


def vars_of(entry):
    return entry.reads, entry.writes


def nest(*steps):
    made = []
    for step in steps:
        if step[0] in "IWO" and len(step) == 2 and isinstance(step[1], str):
            made.append(Store(tensor=Tensor(step[0]), level=step[1]))
        else:
            axis = step[2] if len(step) == 3 else None
            made.append(Loop(dim=Dim(step[0]), tile=step[1], axis=axis))
    return Mapping(steps=tuple(made))


ROWS_OF_8 = nest(
    ("W", "glb"), ("I", "glb"), ("P", 8), ("K", 16), ("K", 1, "columns"), ("O", "acc"),
    ("C", 16), ("R", 1), ("S", 1), ("C", 1, "rows"), ("W", "reg"), ("P", 1), ("Q", 1),
)  # fmt: skip


def test_published_figures_of_a_layer_of_resnet():
    """ResNet-18's 64-channel 3x3 layer on architecture A: the energy that AccelForge reports.

    It reports 123,431,471.9 pJ, in single precision; the exact sum is 3.3 pJ more.
    """
    cost = price(read_architecture("a"), Layer.parse("64,64,56,56,3,3,1"), ROWS_OF_8)
    assert float(cost.energy) == 123_431_475.2
    assert cost.cycles == 451_584
    assert cost.of("dram", Tensor.INPUT) == Accesses(
        level="dram", tensor=Tensor.INPUT, reads=58 * 58 * 64, writes=0
    )


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (("columns", 8), "axis 'columns' has 8 places, the mapping needs 16: 8 too many"),
        (("acc", 447), "level 'acc' holds 447 words, the mapping needs 448: 1 too many"),
        (("glb", 73983), "level 'glb' holds 73983 words, the mapping needs 73984: 1 too many"),
    ],
)
def test_violated_limit_is_named_with_its_amount(changed, said):
    import dataclasses

    architecture = read_architecture("a")
    name, size = changed
    levels = tuple(
        dataclasses.replace(level, words=size) if level.name == name else level
        for level in architecture.levels
    )
    axes = tuple(
        dataclasses.replace(axis, size=size) if axis.name == name else axis
        for axis in architecture.axes
    )
    less = dataclasses.replace(architecture, levels=levels, axes=axes)
    with pytest.raises(ValueError, match=said):
        price(less, Layer.parse("64,64,56,56,3,3,1"), ROWS_OF_8)


def test_tiles_of_tiles_are_counted_with_their_rests():
    assert tile_counts(10, [(4, False)]) == {4: 2, 2: 1}
    assert tile_counts(10, [(4, False), (3, False)]) == {3: 2, 1: 2, 2: 1}
    assert tile_counts(10, [(4, True), (3, False)]) == {3: 1, 1: 1}


def test_impossible_prices_are_refused():
    entry = Accesses(level="dram", tensor=Tensor.INPUT, reads=-1, writes=0)
    with pytest.raises(ValueError, match="cannot be negative"):
        Price(macs=1, steps=1, accesses=(entry,), energy=Fraction(1), times={})
    with pytest.raises(ValueError, match="1 products cannot take 2 cycles"):
        Price(macs=1, steps=2, accesses=(), energy=Fraction(1), times={})
    cost = price(read_architecture("a"), Layer.parse("64,64,56,56,3,3,1"), ROWS_OF_8)
    with pytest.raises(ValueError, match="level 'acc' does not hold I"):
        cost.of("acc", Tensor.INPUT)
