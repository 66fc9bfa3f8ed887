"""Depthwise convolutions whose columns take windows of their own channel."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.accelerator_file import dump_accelerator, parse_accelerator
from celosia.dataflow.arrange import arrange
from celosia.dataflow.array_shape import Circuit, ColumnGroup, Depthwise
from celosia.dataflow.compile import compile_network
from celosia.dataflow.descriptors import Compute, Loop, Sliding
from celosia.dataflow.energy import load_energy_table
from celosia.dataflow.interpret import interpret
from celosia.dataflow.mapper import default_mapping
from celosia.dataflow.mapping import Dimension, tiled
from celosia.dataflow.memory import SLOW
from celosia.dataflow.plan import StepPlan
from celosia.dataflow.program import Counter, Program
from celosia.dataflow.program_file import load_program, save_program
from celosia.dataflow.random_mapping import random_network_mapping
from celosia.dataflow.search import Pricer, lower_bound
from celosia.dataflow.table import tabulate
from celosia.dataflow.timing import timing
from celosia.models.errors import CelosiaError
from celosia.models.formats import BlockScaling, Fixed, parse_scale
from celosia.models.golden import evaluate
from celosia.models.network import Network, Window
from celosia.models.random_network import random_inputs

from .builders import ACCELERATORS, Build, accelerator, check, column_group, filled, same

TABLE = load_energy_table("cmos45")
FIXED = Fixed(bits=8)
TIMED = (Counter.LOAD_BUSY, Counter.STORE_BUSY)


def engine(columns: int, lanes: int, rows: int, across: int, *, pixels: int = 1) -> Accelerator:
    """Return an engine of ``columns`` x ``lanes`` with windows of ``rows`` x ``across``."""
    target = accelerator({"fixed8": columns}, lanes, pixels)
    return windows(target, Depthwise(rows=rows, columns=across, width=16))


def windows(target: Accelerator, depthwise: Depthwise) -> Accelerator:
    """Return ``target`` with windows."""
    return dataclasses.replace(target, array=dataclasses.replace(target.array, depthwise=depthwise))


ENGINES = {
    "as many": engine(9, 9, 3, 3),
    "fewer columns": engine(4, 12, 3, 4),
    "between words": engine(6, 9, 3, 3, pixels=2),
    "more columns": engine(12, 6, 2, 3),
    "lines of one": engine(5, 5, 1, 5, pixels=3),
}


def random_depthwise(random: np.random.Generator, layers: int = 4) -> Network:
    """Return a chain of depthwise convolutions, of all kinds, with others between."""
    build = Build(int(random.integers(1 << 30)))
    channels = int(random.integers(1, 25))
    x = build.input((channels, *(int(n) for n in random.integers(5, 14, 2))))
    for _ in range(layers):
        size = build.tensors[x].shape[1:]
        window = _window(random)
        if min(window.output_size(*size)) < 1:
            window = same(3)
        fmt = ("fixed8", "ufixed8")[random.integers(2)]
        x = build.conv(x, channels, window, groups=channels, fmt=fmt)
        if random.random() < 0.3:
            channels = int(random.integers(1, 25))
            x = build.conv(x, channels, same(1))
        elif random.random() < 0.3 and min(build.tensors[x].shape[1:]) >= 2:
            x = build.pool(x, Window(kernel=(2, 2), stride=(2, 1)))
    return build.network()


def _window(random: np.random.Generator) -> Window:
    return Window(
        kernel=(int(random.integers(1, 6)), int(random.integers(1, 5))),
        stride=(int(random.integers(1, 4)), int(random.integers(1, 4))),
        padding=tuple(int(n) for n in random.integers(0, 3, 4)),
        dilation=(int(random.integers(1, 3)), 1 + int(random.random() < 0.2)),
    )


def slides(program: Program) -> int:
    return sum(isinstance(d, Compute) and d.sliding is not None for d in program.descriptors)


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("seed", range(3))
def test_random_networks_are_right_and_cost_what_the_search_says(seed: int, name: str) -> None:
    print("seed", seed)
    random, target = np.random.default_rng(seed), ENGINES[name]
    network = random_depthwise(random)
    pricer = Pricer(network, target, SLOW, TABLE)
    drawn = random_network_mapping(network, target, random)
    for mapping in (default_mapping(network, target), drawn):
        program = check(network, target, mapping, seeds=(None, 1))
        assert slides(program)
        layers = [mapping.layer(plan.step.name) for plan in pricer.plans]
        priced = pricer.price(range(len(layers)), layers)
        np.testing.assert_array_equal(priced.table, tabulate(program.descriptors, target))
        exact = timing(program, SLOW)
        counted = {counter: int(priced.counters[counter]) for counter in Counter}
        assert all(counted[c] == exact.counters[c] for c in Counter if c not in TIMED)
        assert priced.costs.cycles == exact.cycles
        for number, (plan, layer) in enumerate(zip(pricer.plans, layers, strict=True)):
            least = lower_bound(plan, SLOW, TABLE, chip=(False, False))
            assert pricer.alone(number, layer).costs.cycles > least.costs.cycles, plan.step


def lone(window: Window, target: Accelerator) -> StepPlan:
    """The plan of a depthwise layer of 12 channels with ``window``."""
    build = Build()
    build.conv(build.input((12, 9, 9)), 12, window, groups=12)
    arrangement = arrange(build.network(), target)
    return StepPlan(arrangement.lowered.steps[0], arrangement, target)


def test_what_windows_take() -> None:
    target = ENGINES["fewer columns"]
    assert lone(same(3), target).step.own_rows == 3
    five = lone(Window(kernel=(5, 4)), target)
    # Two steps of three rows, the last of which has weights of 0.
    assert (five.step.own_rows, five.kernel, five.step.window.kernel) == (3, (2, 1), (6, 4))
    assert lone(Window(kernel=(3, 3), dilation=(2, 1)), target).kernel == (3, 1)
    for window in (
        Window(kernel=(3, 3), dilation=(1, 2)),
        Window(kernel=(3, 5)),
        Window(kernel=(3, 1)),
    ):
        assert lone(window, target).step.own_rows == 0
    assert lone(same(3), ACCELERATORS["2x4x1"]).step.own_rows == 0


def test_channels_in_other_lanes_take_the_diagonal() -> None:
    """Rows of two formats lie in other columns than their inputs: no window has their channel."""
    target = windows(
        accelerator({"sp2_4": 2, "fixed8": 2}, 12, 1), Depthwise(rows=3, columns=4, width=16)
    )
    build = Build()
    x = build.conv(build.input((4, 6, 6)), 8, same(1), rows=("sp2_4", "fixed8"))
    build.conv(x, 8, same(3), rows=("fixed8", "sp2_4"), groups=8)
    assert not slides(check(build.network(), target, seeds=(None,)))


def test_mappings_that_windows_do_not_allow() -> None:
    target = ENGINES["fewer columns"]
    plan = lone(same(3), target)
    with pytest.raises(CelosiaError, match=r"3 channel tiles share .* loop over K with step 1"):
        plan.check(tiled(()))
    depthwise = Depthwise(rows=3, columns=4, width=10)
    narrow = lone(same(3), windows(target, depthwise))
    one = ((Dimension.K, 1),)
    with pytest.raises(CelosiaError, match=r"rows of 11 input words.*width.*cut OX"):
        narrow.check(tiled(one))
    narrow.check(tiled((*one, (Dimension.OX, 8))))


def test_a_window_of_another_lane_or_place_is_wrong() -> None:
    build, target = Build(), ENGINES["fewer columns"]
    build.conv(build.input((12, 6, 6)), 12, same(3), groups=12)
    network = build.network()
    program = compile_network(network, target)
    inputs = random_inputs(network, 1, 7)
    image, golden = filled(program, inputs), evaluate(network, inputs)
    for change in ({}, {"first_lane": 3}, {"skip_columns": 1}, {"row_stride": 2}):
        descriptors = tuple(
            dataclasses.replace(d, sliding=dataclasses.replace(d.sliding, **change))
            if isinstance(d, Compute) and d.sliding
            else d
            for d in program.descriptors
        )
        after = interpret(dataclasses.replace(program, descriptors=descriptors), image)
        name = network.outputs[0]
        right = np.array_equal(program.placement(name).read(after), golden[name][0])
        assert right == (not change), change


def test_files_hold_windows(tmp_path: Path) -> None:
    target = ENGINES["more columns"]
    assert parse_accelerator(dump_accelerator(target), "here") == target
    build = Build()
    build.conv(build.input((9, 5, 5)), 9, same(3), groups=9)
    program = compile_network(build.network(), target)
    save_program(program, tmp_path / "program.npz")
    assert load_program(tmp_path / "program.npz").descriptors == program.descriptors


REFUSED = [
    ({"lanes": 8}, "at most the 8 lanes, not 3 x 4"),
    ({"columns": (column_group("fixed8 distance", 4),)}, "beside columns of operation distance"),
    (
        {"columns": (ColumnGroup(format=FIXED, count=4, circuit=Circuit.SERIAL),)},
        "serial columns take several passes",
    ),
    ({"scaling": BlockScaling(scale=parse_scale("uint4"), vector=4)}, "windows have no scales"),
]


@pytest.mark.parametrize(("fields", "words"), REFUSED)
def test_arrays_that_windows_do_not_fit(fields: dict[str, object], words: str) -> None:
    array = ENGINES["fewer columns"].array
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(array, **fields)


def test_refused_values() -> None:
    with pytest.raises(ValueError, match=r"columns must be .*2"):
        Depthwise(rows=3, columns=1, width=9)
    with pytest.raises(TypeError, match="depthwise must be a Depthwise or None"):
        dataclasses.replace(ENGINES["as many"].array, depthwise=3)  # type: ignore[arg-type]
    sliding = Sliding(skip_rows=2, skip_columns=2, row_stride=1, column_stride=1, first_lane=0)
    line = Loop(count=5, activations=1, weights=0, accumulators=0, reduction=False)
    base = {"activations": 0, "weights": 0, "accumulators": 0, "activations_signed": True}
    for loops, words in (
        ((line,), "at least 2"),
        ((dataclasses.replace(line, reduction=True), line), r"loops\[0\] must slide"),
        ((line, dataclasses.replace(line, accumulators=1)), r"loops\[1\] must slide"),
        ((line, dataclasses.replace(line, count=2)), "have a sum"),
    ):
        with pytest.raises(ValueError, match=words):
            Compute(loops=loops, sliding=sliding, **base)  # type: ignore[arg-type]
