"""The mapper: against every mapping of tiny layers, published optima, and its own certificate."""

import dataclasses
import random

import pytest

from celosia.dataflow.hierarchy.architecture import Factors
from celosia.dataflow.hierarchy.architecture_file import read_architecture
from celosia.dataflow.hierarchy.layer import Layer, Tensor
from celosia.dataflow.hierarchy.mapping import occupancy
from celosia.dataflow.hierarchy.price import objective_value, price
from celosia.dataflow.hierarchy.problem import make_problem
from celosia.dataflow.hierarchy.resnet18 import RESNET18
from celosia.dataflow.hierarchy.search import solve
from celosia.dataflow.hierarchy.skeleton import skeletons
from celosia.dataflow.search.objective import ENERGY, Objective
from celosia.models.errors import CelosiaError

from .architectures import deep, flat, lean, random_levels, small
from .exhaustive import every_price
from .walk import Walk, random_layer

SEED = 20261122
OBJECTIVES = ("energy", "edp", "cycles", "dram", "energy=1,cycles=20,dram=0.5")


def check_against_every_mapping(architecture, layer, factors):
    prices = list(every_price(architecture, layer, factors))
    for name in OBJECTIVES:
        objective = Objective.parse(name)
        least = min(objective_value(objective, architecture, cost) for cost in prices)
        found = solve(architecture, layer, objective, factors=factors)
        assert found.value == least, (architecture.name, layer, factors, name)
        assert found.proven


@pytest.mark.parametrize(
    ("architecture", "sizes"),
    [
        (lean(6, 2), "2,2,2,1,1,1,1"),
        (lean(7, 3), "2,1,3,1,2,1,2"),
        (lean(5, 2, "[accounting]\nslides = false"), "1,2,2,1,2,1,1"),
        (small(6, 2), "1,2,2,1,1,1,2"),
    ],
)
def test_no_mapping_of_a_tiny_layer_is_better(architecture, sizes):
    check_against_every_mapping(architecture, Layer.parse(sizes), Factors.PERFECT)


@pytest.mark.parametrize(
    ("count", "layers"),
    [
        (2, ("2,2,2,1,1,1,1", "1,2,2,1,2,1,2")),
        (3, ("2,2,1,1,1,1,1",)),
        pytest.param(3, ("2,2,2,1,1,1,1", "1,2,2,1,2,1,2"), marks=pytest.mark.campaign),
    ],
)
def test_no_mapping_on_random_architectures_is_better(count, layers):
    """Of three and four levels, the outermost among them."""
    rng = random.Random(SEED + count)
    for sizes in layers:
        check_against_every_mapping(random_levels(rng, count), Layer.parse(sizes), Factors.PERFECT)


@pytest.mark.campaign
@pytest.mark.parametrize("words", [(5, 2), (6, 2), (7, 3), (12, 4)])
@pytest.mark.parametrize("switch", ["", "slides = false", 'input_tile = "rows"'])
def test_no_mapping_of_many_tiny_layers_is_better(words, switch):
    architecture = small(*words, f"[accounting]\n{switch}")
    sizes = ("2,2,4,1,1,1,1", "4,2,2,1,1,1,1", "2,4,2,1,1,1,1", "2,2,2,1,2,1,2", "1,2,3,1,3,1,1")
    for text in sizes:
        check_against_every_mapping(architecture, Layer.parse(text), Factors.PERFECT)


@pytest.mark.parametrize("name", RESNET18)
def test_published_optima_of_resnet18(name):
    """Energy and EDP of every layer are those of AccelForge's best, to its single precision."""
    known = RESNET18[name]
    for objective in ("energy", "edp"):
        found = solve(read_architecture("a"), RESNET18[name].layer, Objective.parse(objective))
        assert found.proven
        assert found.lower_bound == found.value >= found.relaxed_bound > 0
        assert float(found.price.energy) == pytest.approx(known.energy, rel=1e-7)
        assert float(found.price.cycles) == known.cycles


def test_energy_of_strided_layers_is_below_what_the_peer_finds():
    """AccelForge asked for energy: 35.61 uJ and 22.36 uJ."""
    for name, most in (("l2d", 26.00e6), ("l3d", 19.06e6)):
        found = solve(read_architecture("a"), RESNET18[name].layer, ENERGY)
        assert float(found.value) < most


def test_imperfect_factors_are_never_worse():
    for name in ("l4d", "fc"):
        perfect, imperfect = (
            solve(
                read_architecture("a"),
                RESNET18[name].layer,
                ENERGY,
                factors=factors,
            )
            for factors in Factors
        )
        assert imperfect.proven
        assert imperfect.value <= perfect.value
    assert imperfect.value < perfect.value  # 1000 output channels on 16 columns


def test_terms_are_the_price_of_random_mappings():
    rng = random.Random(SEED)
    for _ in range(25):
        architecture = rng.choice([small(24, 4), deep(), flat()])
        layer = random_layer(rng)
        factors = rng.choice(list(Factors))
        classes = skeletons(architecture, layer)
        for skeleton in rng.sample(classes, min(2, len(classes))):
            problem = make_problem(architecture, layer, skeleton, factors)
            if problem.mappings:
                check_terms(rng, architecture, problem)


def check_terms(rng, architecture, problem):
    """Where the kernel's limits hold a mapping has a price, and it is the sum of the terms."""
    for _ in range(10):
        choice = [rng.randrange(count) for count in problem.counts]
        mapping = problem.mapping(choice)
        terms = [1.0] * problem.factors[0].shape[0]
        for factors, index in zip(problem.factors, choice, strict=True):
            terms = [term * factor for term, factor in zip(terms, factors[:, index], strict=True)]
        terms.append(1.0)
        if (problem.limits @ terms > 0).any():
            continue
        cost = price(architecture, problem.layer, mapping)
        what = f"seed {SEED}: {architecture.name} {problem.layer} {mapping}"
        assert problem.energy @ terms == cost.energy * architecture.energy_unit, what
        assert (problem.times @ terms).max() == cost.cycles * architecture.time_unit, what
        assert problem.outside @ terms == cost.words("dram"), what


def test_the_answer_walked_has_its_price():
    architecture, layer = small(40, 6), Layer.parse("3,4,5,3,2,2,1")
    found = solve(architecture, layer, ENERGY, factors=Factors.IMPERFECT)
    walk = Walk(architecture, layer, found.mapping)
    for entry in found.price.accesses:
        key = (entry.level, entry.tensor)
        assert (entry.reads, entry.writes) == (walk.reads[key], walk.writes[key])
    assert found.price.steps == walk.steps
    for name, words in occupancy(architecture, layer, found.mapping).items():
        assert words <= architecture.level(name).words


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_answers_do_not_depend_on_workers(objective):
    aim = Objective.parse(objective)
    for architecture, name in ((read_architecture("b"), "l3d"), (read_architecture("b"), "l4d")):
        answers = [
            solve(architecture, RESNET18[name].layer, aim, workers=count) for count in (1, 2, 3, 1)
        ]
        assert len({answer.mapping for answer in answers}) == 1
        assert len({(answer.value, answer.lower_bound) for answer in answers}) == 1


def test_a_budget_leaves_a_lower_bound():
    architecture, layer = read_architecture("b"), RESNET18["l2"].layer
    best = solve(architecture, layer, ENERGY)
    some = solve(architecture, layer, ENERGY, budget=1)
    assert not some.proven
    assert some.lower_bound <= best.value <= some.value
    assert some.lower_bound < some.value
    assert some.priced < best.priced


def test_every_mapping_is_priced_without_bounds():
    """The bounded search finds what looking at everything finds."""
    from celosia.dataflow.hierarchy.exhaust import exhaust

    architecture, layer = read_architecture("b"), Layer.gemm(32, 48, 24)
    for name in OBJECTIVES:
        objective = Objective.parse(name)
        all_of_them = exhaust(architecture, layer, objective)
        found = solve(architecture, layer, objective)
        assert all_of_them.value == found.value
        assert all_of_them.priced == found.mappings > found.priced


def test_impossible_asks_name_the_limit_and_by_how_much():
    small_buffer = small(1, 4)
    with pytest.raises(CelosiaError, match="'glb' has 1 words, every mapping needs 2 or more: 1 "):
        solve(small_buffer, Layer.gemm(4, 4, 4), ENERGY)


def test_limits_that_only_together_cannot_be_kept_are_refused():
    levels = tuple(
        dataclasses.replace(level, words=3, holds=(Tensor.INPUT, Tensor.WEIGHT, Tensor.OUTPUT))
        if level.name == "glb"
        else level
        for level in small().levels
    )
    enough = dataclasses.replace(small(), levels=levels)
    assert solve(enough, Layer.gemm(2, 2, 2), ENERGY).proven


@pytest.mark.parametrize("wrong", [{"workers": 0}, {"budget": 0}])
def test_wrong_parameters_are_refused(wrong):
    with pytest.raises(ValueError, match="must be 1 or more"):
        solve(small(), Layer.gemm(2, 2, 2), ENERGY, **wrong)


def test_counts_that_are_not_exact_are_refused():
    with pytest.raises(CelosiaError, match="times what is counted exactly"):
        solve(read_architecture("a"), Layer.gemm(1 << 16, 1 << 17, 1 << 17), ENERGY)


def test_rows_and_columns_that_are_alike_are_not_searched_twice():
    architecture = read_architecture("a")
    square = solve(architecture, Layer.parse("4,4,6,6,3,3,1"), ENERGY)
    wide = solve(architecture, Layer.parse("4,4,6,8,3,3,1"), ENERGY)
    assert 3 * square.mappings < 2 * wide.mappings
