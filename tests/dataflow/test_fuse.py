"""Max-pooling behind convolutions, and inputs unfolded along both axes of the kernel."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from celosia.dataflow.arrange import arrange
from celosia.dataflow.compile import compile_network
from celosia.dataflow.energy import load_energy_table
from celosia.dataflow.mapper import default_mapping
from celosia.dataflow.mapping import Dimension, Mapping, tiled
from celosia.dataflow.memory import SLOW
from celosia.dataflow.random_mapping import random_network_mapping
from celosia.dataflow.search import Pricer
from celosia.dataflow.table import tabulate
from celosia.dataflow.windows import ENDLESS, cut_alike
from celosia.models.network import Window

from .builders import Build, accelerator, check, k, same

DEPTHS = 512, 512, 512, 64, 512, 512
EIGHT = accelerator({"fixed8": 8}, 8, 1, post_lanes=2, depths=DEPTHS)
PAIRS = accelerator({"fixed8": 8}, 8, 2, post_lanes=8)
WIDE = accelerator({"fixed8": 8}, 16, 1, post_lanes=8, data_bits=128, depths=DEPTHS)
POOLS = {
    "overlapping": Window(kernel=(3, 3), stride=(2, 2), padding=(1, 1, 1, 1)),
    "ceil": Window(kernel=(3, 3), stride=(2, 2), padding=(0, 0, 1, 1)),
    "dilated": Window(kernel=(3, 2), stride=(1, 2), dilation=(2, 2), padding=(2, 1, 1, 0)),
    "apart": k(2, stride=(2, 2)),
}


def pooled(pool: Window, **conv: object) -> Build:
    build = Build()
    build.pool(build.conv(build.input((8, 11, 12)), 8, same(3), **conv), pool)  # type: ignore[arg-type]
    return build


@pytest.mark.parametrize("pool", POOLS.values(), ids=POOLS)
def test_windows_beyond_the_sums_are_cut(pool: Window) -> None:
    network = pooled(pool, fmt="fixed5").network()
    assert [step.name for step in arrange(network, EIGHT).lowered.steps] == ["op0"]
    program = check(network, EIGHT)
    assert program.kept == ("top0",)
    # Tiles that begin and end anywhere, and rows of the search's kernels for the same mappings.
    pricer = Pricer(network, EIGHT, SLOW, load_energy_table("cmos45"))
    for seed in range(3):
        mapping = random_network_mapping(network, EIGHT, np.random.default_rng(seed))
        program = check(network, EIGHT, mapping, (None,))
        priced = pricer.price([0], [mapping.layer("op0")])
        np.testing.assert_array_equal(priced.table, tabulate(program.descriptors, EIGHT))


def test_pixel_lanes_share_windows() -> None:
    apart, padded = (pooled(POOLS[name]).network() for name in ("apart", "overlapping"))
    assert len(arrange(apart, PAIRS).lowered.steps) == 1
    assert len(arrange(padded, PAIRS).lowered.steps) == 2
    check(apart, PAIRS)
    check(padded, PAIRS)


def test_what_others_read_is_made() -> None:
    build = Build()
    first = build.conv(build.input((8, 8, 8)), 8, same(3))
    second = build.conv(first, 8, same(1), residual=first)
    build.pool(second, POOLS["apart"])
    other = build.conv(first, 8, same(1))
    build.pool(other, POOLS["apart"])
    build.concat("top2", "top4")
    # A residual operand, two readers, and one convolution for its pooling alone.
    steps = arrange(build.network(), EIGHT).lowered.steps
    assert [step.name for step in steps] == ["op0", "op1", "op2", "op3"]
    check(build.network(), EIGHT)


@pytest.mark.parametrize("first", [k(3), k(1, stride=(2, 1))])
def test_a_second_maximum_is_a_step_of_its_own(first: Window) -> None:
    build = Build()
    conv = build.conv(build.input((8, 11, 12)), 8, same(3))
    build.pool(build.pool(conv, first), POOLS["overlapping"])
    network = build.network()
    assert len(arrange(network, EIGHT).lowered.steps) >= 2
    check(network, EIGHT)


def test_sums_are_not_made_too_often() -> None:
    network = pooled(POOLS["overlapping"]).network()
    few = replace(EIGHT, buffers=replace(EIGHT.buffers, accumulators=24))
    assert len(arrange(network, few).lowered.steps) == 2
    check(network, few)


def test_every_position_of_the_kernel_in_a_word() -> None:
    build = Build()
    source = build.input((3, 17, 16))
    first = build.conv(source, 24, Window(kernel=(7, 7), stride=(2, 2), padding=(3, 3, 3, 3)))
    build.pool(first, POOLS["overlapping"])
    network = build.network()
    lowered = arrange(network, WIDE).lowered
    # 147 values in ten words of 16 lanes, where outputs and padding of the pooling are.
    unfold = lowered.unfolds["in0"]
    assert (unfold.copies, unfold.stride, unfold.origin) == ((7, 7), (2, 2), (-5, -5))
    assert lowered.steps[0].window == Window(kernel=(1, 1))
    check(network, WIDE)
    layer = tiled(((Dimension.OY, 1), (Dimension.OX, 3), (Dimension.K, 1), (Dimension.C, 2)))
    check(network, WIDE, Mapping(layers=(("op0", layer),)), (None,))


def test_a_stride_that_leaves_pixels_out_is_not_the_layouts() -> None:
    build = Build()
    build.conv(build.input((2, 9, 9)), 8, Window(kernel=(2, 3), stride=(3, 3)))
    (unfold,) = arrange(build.network(), WIDE).lowered.unfolds.values()
    assert (unfold.copies, unfold.stride) == ((2, 3), (1, 3))
    check(build.network(), WIDE)


def test_runs_of_windows_cut_alike() -> None:
    # Elements 2 to 6 of windows of 3, 2 apart, that begin at 0, 2, 4 and 6.
    found, place = [], 0
    while place < 4:
        last, skipped, left = cut_alike(place, 4, 2, 1, 3, 2, 7)
        found.append((place, last, skipped, left))
        place = last
    assert found == [(0, 1, 2, 1), (1, 3, 0, 3), (3, 4, 0, 1)]
    assert cut_alike(0, 4, 2, 1, 3, 0, ENDLESS) == (4, 0, 3)


def test_a_wrong_cut_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    network = pooled(POOLS["overlapping"]).network()
    mapping = default_mapping(network, EIGHT)

    def whole(output: int, stop: int, *window: int) -> tuple[int, int, int]:
        return stop, 0, window[2]

    monkeypatch.setattr("celosia.dataflow.emit_step.cut_alike", whole)
    with pytest.raises(AssertionError):
        check(network, EIGHT, mapping, (None,))
    assert compile_network(network, EIGHT, mapping).kept == ("top0",)
