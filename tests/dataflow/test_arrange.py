from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from celosia.dataflow import arrange as arrange_module
from celosia.dataflow.arrange import SumRanges, arrange
from celosia.dataflow.layout import Unfold
from celosia.models.bounds import sum_range
from celosia.models.errors import CelosiaError
from celosia.models.network import Window

from .builders import ACCELERATORS, Build, accelerator, k, same

EIGHT = accelerator({"fixed8": 8}, 8, 1)


def test_residual_operands_lie_like_the_output() -> None:
    build = Build()
    first = build.conv(build.input((8, 4, 4)), 12, same(3), rows=("sp2_4", "fixed8"))
    build.conv(first, 12, same(1), rows=("sp2_4", "fixed8"), residual=first)
    positions = arrange(build.network(), ACCELERATORS["8x8x1"]).positions
    np.testing.assert_array_equal(positions["top0"], positions["top1"])


def test_parts_of_an_interleave_lie_alike() -> None:
    build = Build()
    source = build.input((8, 4, 4))
    parts = [build.conv(source, 12, same(1), rows=rows) for rows in (("sp2_4",), ("fixed8",))]
    whole = build.interleave(*parts)
    build.conv(whole, 4, same(3))
    net = build.network()
    arrangement = arrange(net, ACCELERATORS["8x8x1"])
    for part in parts:
        np.testing.assert_array_equal(arrangement.positions[part], arrangement.positions[whole])
        assert arrangement.lowered.root(part) == whole
    narrow = accelerator({"sp2_4": 4, "fixed4": 4}, 8, 1)
    two = Build()
    source = two.input((8, 4, 4))
    forms = ("sp2_4", "fixed4")
    two.interleave(*(two.conv(source, 12, same(1), rows=(form,)) for form in forms))
    with pytest.raises(CelosiaError, match="cannot lie alike, and accelerator"):
        arrange(two.network(), narrow)


def test_members_of_a_concat_are_word_ranges() -> None:
    build = Build()
    source = build.input((8, 4, 4))
    parts = [build.conv(source, n, same(1)) for n in (3, 9, 8)]
    build.concat(*parts)
    arrangement = arrange(build.network(), EIGHT)
    assert [arrangement.first_word[part] for part in parts] == [0, 1, 3]
    assert arrangement.word_count["top3"] == 4
    assert arrangement.lowered.root(parts[1]) == "top3"
    expected = [0, 1, 2, *range(8, 17), *range(24, 32)]
    np.testing.assert_array_equal(arrangement.positions["top3"], expected)


def test_inputs_of_few_channels_are_unfolded() -> None:
    build = Build()
    build.conv(build.input((3, 9, 9)), 8, k(5, dilation=(1, 2)))
    lowered = arrange(build.network(), accelerator({"fixed8": 8}, 32, 1)).lowered
    # Five columns and two rows of three channels fill 30 of 32 lanes; three times two rows.
    unfold = Unfold(copies=(2, 5), step=(1, 2), stride=(1, 1), origin=(0, 0), grid=(9, 9))
    assert lowered.unfolds == {"in0": unfold}
    step = lowered.steps[0]
    assert step.weights.shape == (8, 30, 3, 1)
    assert (step.window.kernel, step.window.dilation) == ((3, 1), (2, 10))


def test_bands_of_rows_share_no_input_rows_where_words_hold_them() -> None:
    build = Build()
    build.conv(build.input((3, 32, 32)), 16, same(3))
    for pixels, copies in ((1, (1, 3)), (4, (3, 1))):
        unfolds = arrange(build.network(), accelerator({"fixed8": 16}, 16, pixels)).lowered.unfolds
        assert unfolds["in0"].copies == copies


def test_an_input_with_two_readers_is_not_unfolded() -> None:
    build = Build()
    source = build.input((1, 9, 9))
    build.conv(source, 8, k(3))
    build.conv(source, 8, k(3))
    assert not arrange(build.network(), EIGHT).lowered.unfolds


def test_pooling_packs_sparse_words() -> None:
    build = Build()
    first = build.conv(build.input((8, 4, 4)), 8, same(1), rows=("fixed8",))
    build.pool(first, k(2))
    arrangement = arrange(build.network(), ACCELERATORS["8x8x1"])
    # Half of the columns are fixed8: 8 channels in 16 positions, packed by the pooling.
    assert (arrangement.word_count["top0"], arrangement.word_count["top1"]) == (2, 1)


def test_borders_serve_every_reader() -> None:
    build = Build()
    source = build.conv(build.input((8, 9, 9)), 8, same(1))
    build.conv(source, 8, Window(kernel=(3, 3), padding=(2, 0, 1, 1)))
    build.conv(source, 8, Window(kernel=(5, 1), padding=(0, 3, 4, 0)))
    arrangement = arrange(build.network(), EIGHT)
    assert arrangement.borders["top0"] == (2, 3, 4, 1)
    assert arrangement.fills["top0"] == 0


def test_signed_pooling_borders_are_the_lowest_code() -> None:
    build = Build()
    build.pool(build.input((8, 9, 9), "fixed5"), Window(kernel=(3, 3), padding=(1, 1, 1, 1)))
    assert arrange(build.network(), EIGHT).fills["in0"] == -16


def test_sums_are_found_once_for_all_accelerators(monkeypatch: pytest.MonkeyPatch) -> None:
    build = Build()
    build.conv(build.conv(build.input((8, 4, 4)), 12, same(3)), 12, same(3))
    network = build.network()
    asked: list[np.ndarray] = []

    def counted(*arguments: Any) -> Any:
        asked.append(arguments[1])
        return sum_range(*arguments)

    monkeypatch.setattr(arrange_module, "sum_range", counted)
    ranges = SumRanges(network)
    first = arrange(network, EIGHT, ranges)
    assert len(asked) == 2
    again = arrange(network, EIGHT, ranges)
    assert len(asked) == 2
    for name, positions in first.positions.items():
        np.testing.assert_array_equal(again.positions[name], positions)
    # What is known of a network still refuses an accelerator whose accumulators are too narrow.
    narrow = replace(EIGHT, array=replace(EIGHT.array, accumulator_bits=16))
    with pytest.raises(CelosiaError, match=r"raise array\.accumulator_bits"):
        arrange(network, narrow, ranges)
    assert len(asked) == 2
