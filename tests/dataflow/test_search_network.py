from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from celosia.dataflow import search
from celosia.dataflow.compile import compile_network
from celosia.dataflow.dataflows import Dataflow
from celosia.dataflow.energy import load_energy_table
from celosia.dataflow.mapper import default_mapping
from celosia.dataflow.memory import DDR4
from celosia.dataflow.presets import preset
from celosia.dataflow.program import Counter
from celosia.dataflow.search import (
    CYCLES,
    DRAM,
    EDP,
    ENERGY,
    Costs,
    Objective,
    Pricer,
    Reason,
    judge,
    whole,
)
from celosia.dataflow.timing import timing
from celosia.models.errors import CelosiaError
from celosia.models.formats import Fixed
from celosia.models.network import Network
from celosia.models.random_network import random_network

from .builders import Build, k, same

EFFORT = 200
"""Some mappings of each step."""

map_network = partial(search.map_network, effort=EFFORT)


def network() -> Network:
    build = Build()
    first = build.conv(build.input((8, 12, 12)), 16, same(3))
    middle = build.conv(first, 16, same(3))
    last = build.conv(middle, 16, same(3), residual=first)
    build.conv(build.pool(last, k(2, stride=(2, 2))), 40, k(1))
    return build.network()


@pytest.mark.parametrize("objective", [CYCLES, ENERGY, EDP, DRAM], ids=lambda o: o.name)
def test_never_worse_than_the_default_and_exact(objective) -> None:
    target = preset("small")
    mapped = map_network(network(), target, DDR4, objective=objective)
    exact = timing(compile_network(network(), target, mapped.mapping), DDR4)
    assert mapped.costs.cycles == exact.cycles
    assert all(exact.counters[counter] == count for counter, count in mapped.counters.items())
    assert mapped.costs.energy == mapped.energy.total
    beats = exact.counters[Counter.READ_BEATS] + exact.counters[Counter.WRITE_BEATS]
    assert mapped.costs.dram == beats * target.bus.data_bytes
    pricer = Pricer(network(), target, DDR4, load_energy_table("cmos45"))
    plain = default_mapping(network(), target)
    before = pricer.price(
        range(len(pricer.plans)), [plain.layer(plan.step.name) for plan in pricer.plans]
    )
    assert mapped.lower_bound < mapped.score <= objective.score(before.costs)
    assert mapped.score == objective.score(mapped.costs)
    assert mapped.lower_bound == objective.score(mapped.least)
    assert mapped.gap == pytest.approx(1 - mapped.lower_bound / mapped.score)


def test_the_search_finds_what_the_default_misses() -> None:
    target = preset("small")
    plain = timing(compile_network(network(), target), DDR4).cycles
    assert map_network(network(), target, DDR4, effort=1500).costs.cycles < plain


def test_the_same_mapping_each_time() -> None:
    one, other = (map_network(network(), preset("tiny"), DDR4).mapping for _ in range(2))
    assert one == other


def test_steps_say_what_bounds_them() -> None:
    mapped = map_network(network(), preset("small"), DDR4)
    assert [step.name for step in mapped.steps] == [name for name, _ in mapped.mapping.layers]
    assert mapped.steps[1].reason is Reason.COMPUTE
    assert all(step.costs.cycles > step.bound.costs.cycles for step in mapped.steps)


@pytest.mark.parametrize("dataflow", Dataflow)
def test_a_dataflow_is_kept_to(dataflow) -> None:
    target = keeping("small", 4096)
    mapped = map_network(network(), target, DDR4, dataflow=dataflow)
    exact = timing(compile_network(network(), target, mapped.mapping), DDR4)
    assert mapped.costs.cycles == exact.cycles
    pricer = Pricer(network(), target, DDR4, load_energy_table("cmos45"))
    for plan in pricer.plans:
        assert dataflow.why_not(plan, mapped.mapping.layer(plan.step.name)) is None


@pytest.mark.parametrize("dataflow", Dataflow)
def test_a_dataflow_that_fits_no_buffer_is_refused_with_what_is_missing(dataflow) -> None:
    target = preset("tiny")
    small = replace(target, buffers=replace(target.buffers, weights=1, activations=1))
    with pytest.raises(
        CelosiaError,
        match=rf"layer 'op0': one tile needs \d+ words of the activations buffer, .* are missing; "
        rf"raise buffers.activations .*this is its smallest {dataflow.value} tile",
    ):
        map_network(network(), small, DDR4, dataflow=dataflow)


def test_what_two_constraints_leave_no_room_for_names_both() -> None:
    """Weight-stationary sums of a deep reduction want its weights, all of them, in one tile."""
    target = preset("small")
    small = replace(target, buffers=replace(target.buffers, weights=8))
    with pytest.raises(CelosiaError, match=r"weights buffer, .* has 8: .* weight_stationary"):
        map_network(network(), small, DDR4, dataflow=Dataflow.WEIGHT_STATIONARY)
    assert map_network(network(), small, DDR4, dataflow=Dataflow.OUTPUT_STATIONARY).steps


def test_time_is_kept_and_the_default_is_what_is_left() -> None:
    target = preset("small")
    mapped = map_network(network(), target, DDR4, seconds=0)
    plain = timing(compile_network(network(), target), DDR4).cycles
    assert mapped.costs.cycles == plain


def keeping(name: str, activations: int):
    target = preset(name)
    buffers = replace(target.buffers, activations=activations, activation_banks=2)
    return replace(target, buffers=buffers)


@pytest.mark.parametrize("objective", [CYCLES, ENERGY, EDP, DRAM], ids=lambda o: o.name)
def test_what_stays_on_chip_is_found_where_it_is_better(objective, monkeypatch) -> None:
    target = keeping("small", 4096)
    with_it = map_network(network(), target, DDR4, objective=objective)
    resident = [name for name, found in with_it.mapping.layers if found.resident]
    assert resident
    program = compile_network(network(), target, with_it.mapping)
    exact = timing(program, DDR4)
    assert with_it.costs.cycles == exact.cycles
    assert all(exact.counters[counter] == count for counter, count in with_it.counters.items())
    for found in ("_keep", "_mend"):
        monkeypatch.setattr(whole.Whole, found, lambda _self: None)
    without = map_network(network(), target, DDR4, objective=objective)
    assert not any(found.resident for _, found in without.mapping.layers)
    assert with_it.lower_bound < with_it.score < without.score


def test_no_objective_is_served_better_by_another() -> None:
    target = keeping("small", 4096)
    mix = Objective.parse("cycles=1,energy=0.001,dram=0.5")
    found = {
        objective: map_network(network(), target, DDR4, objective=objective).costs
        for objective in (CYCLES, ENERGY, EDP, DRAM, mix)
    }
    for objective, costs in found.items():
        assert objective.score(costs) <= min(map(objective.score, found.values())), objective.name


def test_less_energy_is_not_less_traffic_than_the_least() -> None:
    """Where a search by traffic alone stops at mappings that all move as much."""
    found = {
        objective: map_network(
            random_network(3, (Fixed(bits=4),)), preset("small"), DDR4, objective=objective
        ).costs
        for objective in (DRAM, ENERGY)
    }
    assert found[DRAM].dram <= found[ENERGY].dram


def test_inputs_that_fit_no_bank_are_loaded() -> None:
    target = keeping("small", 256)
    mapped = map_network(network(), target, DDR4)
    assert (
        mapped.costs.cycles
        == timing(compile_network(network(), target, mapped.mapping), DDR4).cycles
    )


def test_batches_are_judged_by_the_sample() -> None:
    target = preset("small")
    one = map_network(network(), target, DDR4, objective=DRAM)
    many = map_network(network(), target, DDR4, objective=DRAM, samples=(1, 4))
    assert many.mapping.samples == 4
    assert many.score == many.costs.dram / 4 < one.score
    assert many.lower_bound < many.score
    exact = timing(compile_network(network(), target, many.mapping), DDR4)
    assert many.costs.cycles == exact.cycles
    for wrong in ((), (0,), (257,)):
        with pytest.raises(ValueError, match="samples must hold numbers from 1 to 256"):
            map_network(network(), target, DDR4, samples=wrong)


def test_a_sample_of_a_product_is_judged_by_its_own_product() -> None:
    costs = Costs(cycles=8, energy=6.0, dram=4)
    assert [o.each(costs, 2) for o in (CYCLES, ENERGY, EDP, DRAM)] == [4, 3, 12, 2]
    assert EDP.parts == (CYCLES, ENERGY)
    assert CYCLES.parts == ()
    assert Objective.parse("cycles=1,dram=2").parts == (CYCLES, DRAM)


def test_a_judgement_is_the_default_mapping_timed_exactly() -> None:
    target = preset("small")
    judged = judge(network(), target, DDR4, load_energy_table("cmos45"))
    assert judged.mapping == default_mapping(network(), target)
    exact = timing(compile_network(network(), target, judged.mapping), DDR4)
    assert judged.costs.cycles == exact.cycles
    assert judged.bound.cycles < judged.costs.cycles
    assert judged.bound.energy < judged.costs.energy
    assert judged.bound.dram < judged.costs.dram


def test_short_programs_are_cut_anew_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    short, target = random_network(3, (Fixed(bits=4),)), preset("small")
    search_it = partial(search.map_network, short, target, DDR4, effort=2000)
    mapped = search_it()
    exact = timing(compile_network(short, target, mapped.mapping), DDR4)
    assert mapped.costs.cycles == exact.cycles
    monkeypatch.setattr(whole.Whole, "_recut", lambda _self: False)
    assert mapped.costs.cycles < search_it().costs.cycles


def test_long_programs_are_mended_where_they_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    target = keeping("small", 4096)
    mapped = map_network(network(), target, DDR4)
    exact = timing(compile_network(network(), target, mapped.mapping), DDR4)
    assert mapped.costs.cycles == exact.cycles
    monkeypatch.setattr(whole.Whole, "_mend", lambda _self: None)
    assert mapped.costs.cycles < map_network(network(), target, DDR4).costs.cycles
