from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from celosia.dataflow.arrange import arrange
from celosia.dataflow.array_shape import Circuit, ColumnGroup
from celosia.dataflow.mapping import Buffering, Dimension, LayerMapping, Mapping, tiled
from celosia.dataflow.plan import StepPlan, runs_of
from celosia.models.errors import CelosiaError
from celosia.models.formats import Fixed
from celosia.models.network import Window

from .builders import Build, accelerator, check, k

K, C, OY, OX, FY = Dimension.K, Dimension.C, Dimension.OY, Dimension.OX, Dimension.FY


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
    mapping = tiled(((OY, 2), (OX, 17), (K, 1), (C, 5)))
    assert step.needs(mapping) == {
        "activations": 5 * 4 * 19,
        "weights": 45,
        "accumulators": 34,
        "constants": 3,
        "outputs": 3 * 3 * 2 * 17,
    }
    step.check(mapping)
    wide = tiled(((OY, 7), (K, 1)))
    with pytest.raises(
        CelosiaError,
        match=r"layer 'op0': one tile needs 855 words of the activations buffer, accelerator "
        r"'test' has 512: 343 are missing; raise buffers.activations or use a smaller tile",
    ):
        step.check(wide)


def test_sums_of_all_tiles_inside_a_cut_reduction_are_alive() -> None:
    step = plan(k(3))
    inside = tiled(((OY, 1), (OX, 6), (K, 1), (FY, 1)))
    assert step.alive(inside) == {"accumulators": 1, "outputs": 1, "residuals": 1}
    # Six columns on four lanes share words by twos; 7 x 3 pixel tiles.
    outside = tiled(((K, 2), (FY, 1), (OY, 1), (OX, 6), (K, 1)))
    assert step.alive(outside) == {"accumulators": 42, "outputs": 1, "residuals": 1}
    with pytest.raises(
        CelosiaError,
        match="42 tiles of the accumulators buffer are needed at once"
        " and 32 are kept: 10 are missing",
    ):
        step.check(outside)
    split = tiled(((K, 1), (OY, 4), (OX, 6)))
    assert step.alive(split) == {"accumulators": 1, "outputs": 6, "residuals": 6}
    with pytest.raises(CelosiaError, match=r"6 tiles need 1296 words of the outputs buffer"):
        step.check(split)


def test_asked_for_buffering_must_fit() -> None:
    step = plan(k(3))
    order = ((OY, 2), (K, 1), (C, 4))
    assert step.slots(tiled(order, buffering=Buffering(activations=1)))["activations"] == 1
    assert step.slots(tiled(order))["activations"] == 1
    with pytest.raises(CelosiaError, match="2 tiles need 608 words of the activations buffer"):
        step.check(tiled(order, buffering=Buffering(activations=2)))


def test_channel_tiles_of_other_words_wrong() -> None:
    build = Build()
    build.conv(build.input((24, 5, 5)), 24, k(3), groups=4)
    network, target = build.network(), accelerator({"fixed8": 6}, 6, 1, post_lanes=2)
    arrangement = arrange(network, target)
    step = StepPlan(arrangement.lowered.steps[0], arrangement, target)
    step.check(tiled(((K, 1),)))
    with pytest.raises(CelosiaError, match="channel tiles 0 to 1 read different input words"):
        step.check(tiled(((K, 2),)))


def test_six_loops_beside_the_passes_wrong() -> None:
    columns = (ColumnGroup(format=Fixed(bits=8), count=4, circuit=Circuit.SERIAL),)
    base = accelerator({"fixed8": 4}, 4, 1, post_lanes=2)
    target = replace(base, array=replace(base.array, columns=columns))
    build = Build()
    build.conv(build.input((8, 5, 5)), 8, k(3))
    arrangement = arrange(build.network(), target)
    step = StepPlan(arrangement.lowered.steps[0], arrangement, target)
    step.check(tiled(((K, 1),)))
    with pytest.raises(CelosiaError, match=r"a tile has 7 loops on the array, .* descriptor 6"):
        step.check(LayerMapping())


def test_tiles_of_one_word_that_are_not_finished_together() -> None:
    build = Build()
    build.conv(build.input((6, 9, 4)), 6, k(1), groups=2)
    network, target = build.network(), accelerator({"fixed8": 2}, 4, 1, post_lanes=2)
    arrangement = arrange(network, target)
    step = StepPlan(arrangement.lowered.steps[0], arrangement, target)
    assert [tile.runs for tile in step.tiles] == [((0, 1),), ((0, 2),), ((0, 2),)]
    mapping = tiled(((C, 1), (OY, 3), (K, 1)))
    assert step.alive(mapping)["outputs"] == 9
    check(network, target, Mapping(layers=(("op0", mapping),)))
    few = tiled(((C, 1), (OY, 3), (K, 1)), buffering=Buffering(outputs=8))
    with pytest.raises(CelosiaError, match="9 tiles of the outputs buffer are needed at once and"):
        step.check(few)
