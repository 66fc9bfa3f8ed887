from __future__ import annotations

import numpy as np
import pytest

from celosia.dataflow.arrange import arrange
from celosia.dataflow.mapping import LayerMapping
from celosia.dataflow.plan import StepPlan, runs_of
from celosia.models.errors import CelosiaError
from celosia.models.network import Window

from .builders import Build, accelerator, k


def plan(window: Window, *, pool: bool = False, channels: int = 20, pixels: int = 3) -> StepPlan:
    build = Build()
    source = build.input((20, 23, 19))
    if pool:
        build.pool(source, window)
    else:
        build.conv(source, channels, window)
    network, target = build.network(), accelerator({"fixed8": 6}, 4, pixels, post_lanes=2)
    arrangement = arrange(network, target)
    return StepPlan(arrangement.lowered.steps[0], arrangement, target)


def test_runs_of() -> None:
    assert runs_of(np.array([5, 1, 2, 2, 7, 6])) == ((1, 3), (5, 8))


@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("seed", range(10))
def test_rows_that_matter_are_loaded(seed: int, pool: bool) -> None:
    random = np.random.default_rng(seed)
    kernel, stride, dilation = (int(n) for n in random.integers(1, 5, 3))
    step = plan(k(kernel, stride=(stride, 1), dilation=(dilation, 1)), pool=pool)
    for rows in (1, 2, 3):
        taps = range(0, kernel * dilation, dilation)
        needed = {row * stride + tap for row in range(rows) for tap in taps}
        kernel_rows = step.kernel[0]
        apart = step.row_step(rows, kernel_rows)
        loaded = {i * apart for i in range(step.input_rows(rows, kernel_rows, apart))}
        assert needed <= loaded
        assert max(needed) == max(loaded)


@pytest.mark.parametrize(("rows", "columns"), [(1, 4), (2, 17), (8, 5)])
def test_pixel_tiles_cover_the_output_once(rows: int, columns: int) -> None:
    step = plan(k(3))
    seen = np.zeros(step.size, int)
    for tile in step.pixel_tiles(LayerMapping(rows=rows, columns=columns, words=1, kernel_rows=3)):
        assert tile.lanes <= 3
        assert tile.rows <= rows
        assert (tile.lanes - 1) * tile.rows + tile.last_rows == tile.valid
        seen[tile.y : tile.y + tile.valid, tile.x : tile.x + tile.cols] += 1
    assert (seen == 1).all()


@pytest.mark.parametrize(("words", "kernel_rows"), [(1, 1), (1, 2), (1, 3), (2, 3), (9, 3)])
def test_chunks_cover_the_reduction_once(words: int, kernel_rows: int) -> None:
    step = plan(k(3))
    mapping = LayerMapping(rows=1, columns=1, words=words, kernel_rows=kernel_rows)
    for tile in step.tiles:
        seen = np.zeros((5, 3), int)
        weights = np.zeros(5 * 9, int)
        for chunk in step.chunks(tile, mapping):
            rows = slice(chunk.kernel_row, chunk.kernel_row + chunk.kernel_rows)
            seen[chunk.word : chunk.word + chunk.words, rows] += 1
            size = chunk.words * chunk.kernel_rows * 3
            weights[chunk.weights : chunk.weights + size] += 1
        assert (seen == 1).all()
        assert (weights == 1).all()


def test_blocks_fill_whole_words() -> None:
    # Six columns on four lanes: two tiles are three words.
    step = plan(k(1), channels=20)
    assert [(block.word, block.words, len(block.tiles)) for block in step.blocks] == [
        (0, 3, 2),
        (3, 2, 2),
    ]
    assert [(t.word, t.lane_group, t.groups) for t in step.tiles] == [
        (0, 0, 3), (1, 1, 3), (0, 0, 3), (1, 1, 1),
    ]  # fmt: skip


def test_needs_and_check() -> None:
    step = plan(k(3))
    mapping = LayerMapping(rows=2, columns=17, words=5, kernel_rows=3)
    assert step.needs(mapping) == {
        "activations": 5 * 4 * 19,
        "weights": 45,
        "accumulators": 34,
        "constants": 3,
        "outputs": 3 * 3 * 2 * 17,
    }
    step.check(mapping)
    wide = LayerMapping(rows=7, columns=17, words=5, kernel_rows=3)
    with pytest.raises(
        CelosiaError,
        match=r"layer 'op0': one tile needs 855 words of the activations buffer, accelerator "
        r"'test' has 512: 343 are missing; raise buffers.activations or use a smaller tile",
    ):
        step.check(wide)
