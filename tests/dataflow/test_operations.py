"""Distances and truncating shifts, from the network to the functional referee."""

from __future__ import annotations

import re

import numpy as np
import pytest

from celosia.dataflow.arrange import arrange
from celosia.dataflow.interpret_buffers import unpack
from celosia.dataflow.packing import weight_words
from celosia.dataflow.plan import StepPlan
from celosia.models.errors import CelosiaError
from celosia.models.formats import parse_format
from celosia.models.operations import DISTANCE, MULTIPLY, shift
from celosia.models.random_network import random_network

from .builders import Build, accelerator, check, k, same

FORMATS = tuple(parse_format(name) for name in ("fixed8", "fixed4", "pot_5", "pot_4"))
OPERATIONS = (MULTIPLY, DISTANCE, shift(6), shift(3))
COLUMNS = {"fixed8": 3, "pot_5": 1, "fixed8 distance": 2, "pot_5 shift_6": 2, "pot_5 shift_3": 1}
TARGETS = {
    "9x5x2": accelerator(COLUMNS, 5, 2, accumulator_bits=40),
    "9x3x1": accelerator(COLUMNS, 3, 1, accumulator_bits=40, data_bits=128, post_lanes=3),
}


@pytest.mark.parametrize("name", list(TARGETS))
@pytest.mark.parametrize("seed", range(10))
def test_random_networks_equal_the_golden_model(seed: int, name: str) -> None:
    network = random_network(seed, FORMATS, operations=OPERATIONS)
    check(network, TARGETS[name], seeds=(None, 1))


def test_lanes_without_a_channel_are_switched_off() -> None:
    """Three of five lanes hold a channel; the others any activation, and no weight."""
    build = Build()
    build.conv(build.input((3, 4, 4)), 2, same(3), operation=DISTANCE)
    target = accelerator({"fixed8": 1, "fixed8 distance": 2}, 5, 1)
    arrangement = arrange(build.network(), target)
    plan = StepPlan(arrangement.lowered.steps[0], arrangement, target)
    words = weight_words(plan, plan.tiles[0])
    codes = unpack(words, np.full(15, 8)).reshape(3, 3, 3, 5)
    distance = [
        i for i, group in enumerate(target.array.column_groups) if group.operation == DISTANCE
    ]
    assert (codes[:, :, distance, 3:] == 0x80).all()
    assert (codes[:, :, distance, :3] != 0x80).all()
    assert (np.delete(codes, distance, axis=2) == 0).all()


@pytest.mark.parametrize("source", ["fixed8", "ufixed8", "fixed2"])
@pytest.mark.parametrize(
    ("operation", "row"), [(DISTANCE, "fixed4"), (shift(6), "pot_5"), (MULTIPLY, "fixed8")]
)
def test_residual_operands_are_copied_by_columns_of_the_operation(
    source: str, operation: object, row: str
) -> None:
    """The operand comes from other columns: a copy moves it, as it is, to those of the sum."""
    build = Build()
    taken = build.input((6, 5, 5), source)
    left = build.conv(taken, 6, k(1), operation=shift(3), rows=("pot_5",))
    build.conv(taken, 6, same(3), operation=operation, rows=(row,), residual=left)
    program = check(build.network(), TARGETS["9x5x2"], seeds=(None, 1))
    assert "op1/residual" in {placement.name for placement in program.placements}


def test_grouped_distances() -> None:
    """Lanes of other groups hold their channels, and must be switched off too."""
    for groups, channels in ((6, 6), (3, 9), (2, 4)):
        build = Build()
        build.conv(build.input((6, 5, 5)), channels, same(3), groups=groups, operation=DISTANCE)
        check(build.network(), TARGETS["9x5x2"])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {"fixed8": 2},
            "layer 'op0', output channel 0: no column of accelerator 'test' takes distances to fix",
        ),
        ({"fixed8": 1, "fixed4 distance": 1}, "(its columns: fixed8, fixed4 (distance))"),
        (
            {"fixed8 distance": 2},
            "layer 'op1': it copies or pools, which takes columns that multiply, and no column of",
        ),
    ],
)
def test_no_column_for_an_operation_wrong(columns: dict[str, int], message: str) -> None:
    build = Build()
    # The pool is of what the convolution reads too, so it stays a step of its own.
    tensor = build.input((3, 4, 4))
    build.conv(tensor, 2, k(1), operation=DISTANCE)
    build.pool(tensor, k(2))
    with pytest.raises(CelosiaError, match=re.escape(message)):
        arrange(build.network(), accelerator(columns, 4, 1))


def test_no_column_drops_as_many_bits_wrong() -> None:
    build = Build()
    build.conv(build.input((3, 4, 4)), 2, k(1), operation=shift(5), rows=("pot_5",))
    target = accelerator({"pot_5": 1, "pot_5 shift_6": 1}, 4, 1)
    with pytest.raises(CelosiaError, match=r"shifts by, dropping 5 bits, pot_5 weights .*shift_6"):
        arrange(build.network(), target)


def test_no_column_for_the_copy_wrong() -> None:
    """A distance copies signed activations by a weight that is as wide as they are."""
    build = Build()
    taken = build.input((4, 4, 4), "fixed8")
    left = build.conv(taken, 4, k(1), rows=("fixed8",))
    build.conv(taken, 4, k(1), operation=DISTANCE, rows=("fixed4",), residual=left)
    target = accelerator({"fixed8": 1, "fixed4 distance": 1}, 4, 1)
    with pytest.raises(CelosiaError, match=r"no column .* takes distances to fixed8 weights"):
        arrange(build.network(), target)
