from __future__ import annotations

import itertools
import time

import numpy as np
import pytest

from celosia.dataflow.arrange import arrange
from celosia.dataflow.compile import compile_network
from celosia.dataflow.descriptors import Compute
from celosia.dataflow.mapper import candidates, canonical, count_chunks, default_mapping
from celosia.dataflow.nest import works
from celosia.dataflow.plan import StepPlan
from celosia.dataflow.presets import preset
from celosia.dataflow.random_mapping import random_network_mapping
from celosia.models.errors import CelosiaError
from celosia.models.formats import parse_format
from celosia.models.network import Network, Window
from celosia.models.random_network import random_network

from .builders import Build, accelerator, k, same


def rnet() -> Network:
    """A network of R-Net's shape."""
    build = Build()
    mixed = ("sp2_4", "sp2_4", "sp2_4", "fixed4", "fixed4")
    ceil = Window(kernel=(3, 3), stride=(2, 2), padding=(0, 0, 1, 1))
    x = build.pool(build.conv(build.input((3, 24, 24)), 28, k(3)), ceil)
    x = build.pool(build.conv(x, 48, k(3), rows=mixed), k(3, stride=(2, 2)))
    x = build.conv(build.conv(x, 64, k(2), rows=mixed), 128, k(3), rows=mixed)
    build.conv(x, 4, k(1))
    build.conv(x, 2, k(1))
    return build.network()


@pytest.mark.parametrize("name", ["tiny", "small", "medium", "zcu102", "large", "ecp5"])
def test_rnet_runs_on_every_preset(name: str) -> None:
    network = rnet()
    started = time.process_time()
    program = compile_network(network, preset(name))
    assert time.process_time() - started < 2
    assert program.products == network.macs


def test_tiles_are_double_buffered() -> None:
    network, target = rnet(), preset("zcu102")
    arrangement, mapping = arrange(network, target), default_mapping(network, target)
    for step in arrangement.lowered.steps:
        needs = StepPlan(step, arrangement, target).needs(mapping.layer(step.name))
        for name, words in needs.items():
            assert 2 * words <= getattr(target.buffers, name), (step.name, name)


def test_a_full_layer_keeps_the_array_busy() -> None:
    build = Build()
    build.conv(build.input((32, 16, 16)), 32, same(3))
    network, target = build.network(), accelerator({"fixed8": 8}, 8, 2, post_lanes=8)
    program = compile_network(network, target)
    steps = sum(d.steps for d in program.descriptors if isinstance(d, Compute))
    assert steps == network.macs // target.array.products


def test_few_channels_fill_the_lanes() -> None:
    build = Build()
    build.conv(build.input((3, 16, 16)), 8, same(5))
    target = accelerator({"fixed8": 8}, 16, 1, post_lanes=8)
    program = compile_network(build.network(), target)
    steps = sum(d.steps for d in program.descriptors if isinstance(d, Compute))
    # 75 products for each of 256 pixels in 5 words of 15 lanes instead of 25 of 3.
    assert steps == 256 * 5


def test_the_smallest_tile_that_does_not_fit_wrong() -> None:
    target = accelerator({"fixed8": 4}, 4, 1, depths=(64, 2, 8, 8, 8, 8))
    build = Build()
    build.conv(build.input((8, 5, 5)), 4, k(3))
    network = build.network()
    with pytest.raises(
        CelosiaError,
        match=r"layer 'op0': one tile needs 3 words of the weights buffer, .* has 2: 1 are "
        r"missing; raise buffers.weights \(this is the smallest tile",
    ):
        default_mapping(network, target)


@pytest.mark.parametrize("seed", range(8))
def test_chunks_are_counted_as_the_loops_walk_them(seed: int) -> None:
    formats = tuple(parse_format(name) for name in ("fixed4", "sp2_4", "fixed8"))
    network, target = random_network(seed, formats), preset("small")
    mapping = random_network_mapping(network, target, np.random.default_rng(seed))
    arrangement = arrange(network, target)
    for step in arrangement.lowered.steps:
        plan, layer = StepPlan(step, arrangement, target), mapping.layer(step.name)
        found = [set() for _ in plan.tiles]
        for work in works(plan, layer):
            found[work.first].add(work.chunk)
        starts = {(chunk.word, chunk.kernel_row) for each in found for chunk in each}
        assert count_chunks(plan, layer) == ([len(each) for each in found], len(starts))


@pytest.mark.parametrize("seed", range(4))
def test_candidates_are_all_that_fit(seed: int) -> None:
    formats = tuple(parse_format(name) for name in ("fixed4", "sp2_4", "fixed8"))
    network, target = random_network(seed, formats), preset("tiny")
    arrangement = arrange(network, target)
    for step in arrangement.lowered.steps:
        plan = StepPlan(step, arrangement, target)
        found = list(candidates(plan))
        assert all(plan.is_legal(mapping) for mapping in found)
        for rows, columns in itertools.product((1, 2), (1, 2)):
            if rows * target.array.pixels <= plan.size[0] and columns <= plan.size[1]:
                mapping = canonical(plan, rows=rows, columns=columns, words=1, kernel_rows=1)
                assert plan.needs(mapping) == plan.sizes(mapping)
