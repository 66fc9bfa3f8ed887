from __future__ import annotations

import math

import numpy as np
import pytest

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.accesses import transfer_words
from celosia.dataflow.arrange import arrange
from celosia.dataflow.descriptors import Buffer, Compute, Load
from celosia.dataflow.mapping import Buffering, Dimension, LayerMapping, Mapping, tiled
from celosia.dataflow.nest import loop_nest, works
from celosia.dataflow.plan import StepPlan
from celosia.dataflow.random_mapping import random_mapping, random_network_mapping
from celosia.models.network import Network, Window
from celosia.models.random_network import random_network

from .builders import ACCELERATORS, FORMATS, Build, accelerator, check, k, same

N, K, C, OY, OX, FY, FX = Dimension


def plans(network: Network, target: Accelerator, samples: int = 1) -> list[StepPlan]:
    arrangement = arrange(network, target)
    return [StepPlan(step, arrangement, target, samples) for step in arrangement.lowered.steps]


@pytest.mark.parametrize("groups", [1, 4])
@pytest.mark.parametrize("seed", range(20))
def test_works_cover_every_sum_once(seed: int, groups: int) -> None:
    build = Build()
    build.conv(build.input((24, 13, 9)), 24, Window(kernel=(3, 2)), groups=groups)
    target = accelerator({"fixed8": 6}, 4, 3, post_lanes=2)
    (plan,) = plans(build.network(), target, samples=2)
    mapping = random_mapping(plan, np.random.default_rng(seed))
    seen = np.zeros((2, len(plan.tiles), 6, *plan.size, *plan.kernel), int)
    for work in works(plan, mapping):
        pixel, chunk = work.pixel, work.chunk
        assert pixel.lanes <= 3
        assert (pixel.lanes - 1) * pixel.rows + pixel.last_rows == pixel.valid
        assert [tile.index for tile in work.tiles] == [
            plan.tiles[work.first + n].index for n in range(len(work.tiles))
        ]
        words = chunk.word, chunk.word + chunk.words
        for number, tile in enumerate(work.tiles):
            assert any(start <= words[0] < words[1] <= stop for start, stop in tile.runs)
            seen[
                pixel.sample,
                work.first + number,
                slice(*words),
                pixel.y : pixel.y + pixel.valid,
                pixel.x : pixel.x + pixel.cols,
                chunk.kernel_row : chunk.kernel_row + chunk.kernel_rows,
                chunk.kernel_column : chunk.kernel_column + chunk.kernel_columns,
            ] += 1
        tile_sizes = plan.tile(mapping)
        assert len(work.tiles) <= tile_sizes[K]
        assert chunk.words <= tile_sizes[C]
        assert pixel.rows <= tile_sizes[OY]
    for number, tile in enumerate(plan.tiles):
        read = np.zeros(6, int)
        for run in tile.runs:
            read[slice(*run)] = 1
        assert (seen[:, number] == read[:, None, None, None, None]).all()


@pytest.mark.parametrize("name", ["2x4x1", "7x5x1", "24x12x3"])
@pytest.mark.parametrize("seed", range(6))
def test_random_mappings_are_exact(seed: int, name: str) -> None:
    random, target = np.random.default_rng(seed), ACCELERATORS[name]
    network = random_network(seed, FORMATS)
    samples = int(random.choice([1, 1, 3]))
    mapping = random_network_mapping(network, target, random, samples)
    check(network, target, mapping, seeds=(None, seed))


def test_weights_are_loaded_once_for_a_batch() -> None:
    build = Build()
    build.conv(build.input((16, 6, 6)), 16, same(3))
    target = accelerator({"fixed8": 4}, 4, 1, depths=(512, 80, 128, 64, 8, 512), post_lanes=4)
    words = []
    for order in (((N, 1), (K, 1), (OY, 3)), ((K, 1), (N, 1), (OY, 3))):
        mapping = Mapping(layers=(("op0", tiled(order)),), samples=4)
        program = check(build.network(), target, mapping, seeds=(None, 3))
        loads = [d for d in program.descriptors if isinstance(d, Load)]
        weights = [load.transfer for load in loads if load.target is Buffer.WEIGHTS]
        words.append(sum(transfer_words(transfer) for transfer in weights))
    assert words == [4 * 4 * 36, 4 * 36]


def test_an_input_stationary_nest_reads_each_activation_once() -> None:
    build = Build()
    build.conv(build.input((16, 5, 6)), 16, k(1))
    target = accelerator({"fixed8": 4}, 4, 1, post_lanes=4)
    (plan,) = plans(build.network(), target)
    mapping = LayerMapping(array=(OY, OX, C, FY, FX, K))
    assert len(list(works(plan, mapping))) == 1
    program = check(build.network(), target, Mapping(layers=(("op0", mapping),)))
    computes = [d for d in program.descriptors if isinstance(d, Compute)]
    assert len(computes) == 1
    assert computes[0].loops[0].weights == 4
    assert computes[0].loops[0].activations == 0


def test_the_nest_as_a_value() -> None:
    build = Build()
    build.conv(build.input((20, 7, 9)), 12, same(3))
    target = accelerator({"fixed8": 4}, 4, 2, depths=(512, 90, 64, 16, 8, 99), post_lanes=4)
    (plan,) = plans(build.network(), target)
    order = ((K, 2), (OY, 3), (K, 1), (C, 2))
    memory, array, space = loop_nest(plan, tiled(order, buffering=Buffering(weights=3)))
    assert [(o.dimension, o.count, o.step, o.last) for o in memory.loops] == [
        (K, 2, 2, 1), (OY, 2, 3, 1), (K, 2, 1, 1), (C, 3, 2, 1),
    ]  # fmt: skip
    assert [(o.dimension, o.count) for o in array.loops] == [
        (OY, 3), (OX, 9), (C, 2), (FY, 3), (FX, 3),
    ]  # fmt: skip
    assert [(o.dimension, o.count, o.spatial) for o in space.loops] == [
        (K, 4, True), (C, 4, True), (OY, 2, True),
    ]  # fmt: skip
    assert ("weights", 3, 18) in memory.buffers
    total = math.prod(o.count for o in array.loops)
    assert total == 3 * 9 * 2 * 9
