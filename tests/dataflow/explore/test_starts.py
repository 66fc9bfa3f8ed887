from dataclasses import replace

import numpy as np
import pytest

from celosia.dataflow.array_shape import Circuit
from celosia.dataflow.compile import compile_network
from celosia.dataflow.explore.bounds import bound
from celosia.dataflow.explore.demand import demand
from celosia.dataflow.explore.outcome import Goal, Outcome, Quantity, parse_limit
from celosia.dataflow.explore.reasons import reasons
from celosia.dataflow.explore.space import AcceleratorSpace
from celosia.dataflow.explore.starts import check_budget, starts
from celosia.dataflow.mapper import default_mapping
from celosia.dataflow.memory import DDR4, IDEAL
from celosia.dataflow.presets import preset
from celosia.dataflow.program import Counter
from celosia.dataflow.timing import timing
from celosia.models.errors import CelosiaError
from celosia.models.formats import parse_format
from celosia.models.random_network import random_network

FORMATS = tuple(parse_format(name) for name in ("fixed4", "sp2_4", "fixed8"))


def area(accelerator):
    array = accelerator.array
    each = array.lanes * array.pixels
    lut = sum(g.count * each * (3 if g.circuit is Circuit.DSP else 30) for g in array.columns)
    dsp = sum(g.count * each * (g.circuit is Circuit.DSP) / 2 for g in array.columns)
    words = accelerator.buffers.activations * array.pixels + accelerator.buffers.weights
    return {"lut": 2000.0 + lut, "ff": 0.0, "dsp": dsp, "bram": words / 512}


def goal(*limits, samples=1):
    return Goal(
        objective=Quantity.FPS,
        limits=tuple(map(parse_limit, limits)),
        clock_mhz=100.0,
        samples=samples,
    )


def setting(seed):
    network = random_network(seed, FORMATS)
    return network, AcceleratorSpace([demand(network)], Circuit.DSP, "found")


def test_starts_are_within_the_limits_and_the_same_each_time():
    network, space = setting(3)
    made = goal("lut<=20000", "dsp<=100", "bram<=100")
    points = starts(space, made, area, [network], DDR4)
    assert points == starts(space, made, area, [network], DDR4)
    assert 4 <= len(points) <= 8
    assert len({space.accelerator(point) for point in points}) == len(points)
    for point in points:
        assert made.violation(Outcome(area=area(space.accelerator(point))), 0) == 0


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("seed", range(4))
def test_no_accelerator_is_quicker_than_the_bound(seed, samples):
    network, space = setting(seed)
    made = goal("lut<=20000", "dsp<=100", samples=samples)
    least = bound(space, made, area, (network,), IDEAL)
    rng = np.random.default_rng(seed)
    tried = 0
    for point in [*starts(space, made, area, [network], IDEAL)] + [
        space.sample(rng) for _ in range(300)
    ]:
        accelerator = space.accelerator(point)
        if made.broken(Outcome(area=area(accelerator)), 0):
            continue
        assert accelerator.array.products <= least.products
        if tried == 5:
            continue
        try:
            mapping = replace(default_mapping(network, accelerator), samples=samples)
            program = compile_network(network, accelerator, mapping)
        except CelosiaError:
            continue
        tried += 1
        assert timing(program, IDEAL).cycles >= least.cycles
    assert tried


def test_weights_are_read_once_for_all_frames_of_a_start():
    network, space = setting(1)
    slow = replace(IDEAL, bytes_per_cycle=1)
    one, ten = (
        bound(space, goal("lut<=20000", "dsp<=0", samples=samples), area, (network,), slow).cycles
        for samples in (1, 10)
    )
    assert one < ten < 10 * one


def test_the_bound_is_near_what_columns_can_do():
    network, space = setting(1)
    least = bound(space, goal("lut<=32000", "dsp<=0"), area, (network,), IDEAL)
    assert 32000 / 30 <= least.products <= 32000 / 30 + 3


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (
            ["lut<=1500"],
            "1 column, 4 lanes and 1 pixel: it needs 2,012 look-up tables, the limit is 1,500: 512",
        ),
        (["bram<=0"], r"it needs \d+ block RAMs, the limit is 0: \d+ too many$"),
    ],
)
def test_a_budget_that_holds_nothing_is_refused_with_what_is_missing(limits, message):
    space = AcceleratorSpace([demand(random_network(2, FORMATS[2:]))], Circuit.DSP, "found")
    check_budget(space, goal("lut<=20000"), area)
    with pytest.raises(CelosiaError, match=message):
        check_budget(space, goal(*limits), area)


def test_reasons_add_up_to_the_counters():
    network = random_network(5, FORMATS)
    program = compile_network(network, preset("small"))
    took = timing(program, DDR4)
    found = reasons(program, took, DDR4)
    assert [reason.name for reason in found] == [layer.name for layer in took.layers]
    assert sum(r.compute for r in found) == took.counters[Counter.COMPUTE_STEPS]
    assert sum(r.post for r in found) == took.counters[Counter.POST_STEPS]
    assert sum(r.cycles for r in found) <= took.cycles
    beat = program.accelerator.bus.data_bytes
    for reason in found:
        assert reason.cause in reason.text
        assert reason.bound == max(reason.busy.values())
        assert 0 <= reason.utilisation <= 1
        assert reason.write * beat >= beat


def test_a_layer_bound_by_its_array_says_so():
    wide = replace(preset("tiny"), bus=replace(preset("tiny").bus, data_bits=512))
    found = [
        reason
        for seed in range(4)
        for program in [compile_network(random_network(seed, FORMATS), wide)]
        for reason in reasons(program, timing(program, IDEAL), IDEAL)
    ]
    assert {"array", "memory reads"} <= {reason.cause for reason in found}
    assert any("array busy" in reason.text and "idle" in reason.text for reason in found)
