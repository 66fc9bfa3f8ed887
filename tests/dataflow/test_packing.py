from __future__ import annotations

import numpy as np
import pytest

from celosia.dataflow.arrange import arrange
from celosia.dataflow.interpret_buffers import signed, unpack
from celosia.dataflow.packing import constant_words, pack_fields, weight_words
from celosia.dataflow.plan import StepPlan
from celosia.models.formats import parse_format

from .builders import ACCELERATORS, Build, same


def plan(name: str) -> StepPlan:
    build = Build()
    build.conv(build.input((9, 4, 4)), 11, same(3), rows=("sp2_4", "fixed8", "fixed4"))
    target = ACCELERATORS[name]
    arrangement = arrange(build.network(), target)
    return StepPlan(arrangement.lowered.steps[0], arrangement, target)


@pytest.mark.parametrize("name", list(ACCELERATORS))
def test_every_weight_lies_in_its_column_and_lane(name: str) -> None:
    step = plan(name)
    array = step.accelerator.array
    widths = np.repeat([fmt.bits for fmt in array.column_formats], array.lanes)
    seen = 0
    for tile in step.tiles:
        words = weight_words(step, tile)
        assert words.shape[1] % step.accelerator.bus.data_bytes == 0
        codes = unpack(words, widths).reshape(-1, 3, 3, array.column_count, array.lanes)
        for channel, column in zip(tile.channels, tile.columns, strict=True):
            values = array.column_formats[column].decode(codes[:, :, :, column])
            flat = values.transpose(0, 3, 1, 2).reshape(-1, 3, 3)
            expected = np.zeros_like(flat)
            # Input channels lie one after another: the input has no producer.
            expected[:9] = step.step.weights[channel]
            np.testing.assert_array_equal(flat, expected)
            seen += 1
    assert seen == 11


def test_constants_lie_by_column() -> None:
    step = plan("24x12x3")
    requant = step.step.requant
    accelerator = step.accelerator
    widths = np.tile([32, 18, 18, 18, 6], accelerator.post_lanes)
    for tile in step.tiles:
        fields = unpack(constant_words(step, tile), widths).reshape(-1, 5)
        for channel, column in zip(tile.channels, tile.columns, strict=True):
            assert signed(fields[column, 0], 32) == requant.bias[channel]
            assert signed(fields[column, 1], 18) == requant.positive[channel]
            assert signed(fields[column, 2], 18) == requant.negative[channel]
            assert fields[column, 4] == requant.shift[channel]


def test_pack_fields_puts_field_0_lowest() -> None:
    packed = pack_fields(np.array([[0x5, -1, 0x12345]]), np.array([4, 2, 18]), 8)
    assert int.from_bytes(packed[0].tobytes(), "little") == 0x5 | 0x3 << 4 | 0x12345 << 6


def test_every_format_has_code_0_for_0() -> None:
    names = [f"fixed{bits}" for bits in range(2, 9)] + [f"sp2_{bits}" for bits in range(3, 9)]
    assert all(int(parse_format(name).encode(np.array(0))) == 0 for name in names)
