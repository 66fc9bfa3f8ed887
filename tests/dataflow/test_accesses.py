"""The closed-form access counts against a walk of the real loops."""

import itertools
import random

import pytest

from celosia.dataflow.accelerator import Accelerator, ArrayShape, Buffers, Bus, ColumnGroup
from celosia.dataflow.accesses import compute_accesses, post_accesses
from celosia.dataflow.descriptors import Compute, Loop, Post
from celosia.dataflow.program import Counter
from celosia.models.formats import Fixed
from celosia.models.network import Rounding

ACCELERATOR = Accelerator(
    name="test",
    array=ArrayShape(columns=(ColumnGroup(format=Fixed(bits=4), count=8),), lanes=4, pixels=2),
    buffers=Buffers(
        activations=64, weights=64, accumulators=64, constants=64, residuals=64, outputs=64
    ),
    bus=Bus(data_bits=64),
    post_lanes=2,
)


def nest(counts):
    """Walk indexes, innermost first in each tuple."""
    for outer_first in itertools.product(*(range(count) for count in reversed(counts))):
        yield outer_first[::-1]


def walk_compute(compute):
    result = dict.fromkeys(("activations", "weights", "writes", "reads"), 0)
    last = {}
    for index in nest([loop.count for loop in compute.loops]):
        for operand in ("activations", "weights", "accumulators"):
            strides = [getattr(loop, operand) for loop in compute.loops]
            address = (getattr(compute, operand) + sum(map(int.__mul__, index, strides))) % 65536
            changed = last.get(operand) != address
            last[operand] = address
            if operand != "accumulators":
                result[operand] += changed
            elif changed:
                result["writes"] += 1
                fresh = all(
                    i == 0 for i, loop in zip(index, compute.loops, strict=True) if loop.reduction
                )
                result["reads"] += compute.accumulate or not fresh
    return result


@pytest.mark.parametrize("seed", range(40))
def test_compute_counts_equal_a_walk(seed):
    rng = random.Random(seed)
    loops = tuple(
        Loop(
            count=rng.randint(1, 4),
            activations=rng.choice([0, 0, 1, 3, 5]),
            weights=rng.choice([0, 0, 1, 2]),
            accumulators=0 if reduction else rng.choice([1, 4, 16]),
            reduction=reduction,
        )
        for reduction in rng.choices([False, True], k=rng.randint(1, 6))
    )
    compute = Compute(
        loops=loops,
        activations=rng.randrange(65536),
        weights=1,
        accumulators=2,
        activations_signed=False,
        accumulate=rng.random() < 0.3,
    )
    walked, counted = walk_compute(compute), compute_accesses(compute)
    assert counted[Counter.ACTIVATION_READS] == walked["activations"]
    assert counted[Counter.WEIGHT_READS] == walked["weights"]
    assert counted[Counter.ACCUMULATOR_WRITES] == walked["writes"]
    assert counted[Counter.ACCUMULATOR_READS] == walked["reads"]


def walk_post(post):
    drains = constants = residuals = writes = 0
    last = {}
    lane_groups = ACCELERATOR.array.lanes // ACCELERATOR.post_lanes
    counts = [post.window_x, post.window_y, post.out_x, post.out_y, post.pixels, post.groups]
    for wx, wy, x, y, pixel, group in nest(counts):
        acc = (
            wx * post.acc_window_x
            + wy * post.acc_window_y
            + x * post.acc_out_x
            + y * post.acc_out_y
        ) % 65536
        word = (post.lane_group + group) // lane_groups
        out = (
            x * post.out_out_x + y * post.out_out_y + pixel * post.out_pixel + word * post.out_word
        ) % 65536
        now = {"acc": (acc, pixel, group), "constants": group, "out": out}
        drains += now["acc"] != last.get("acc")
        constants += now["constants"] != last.get("constants")
        residuals += now["out"] != last.get("out")
        writes += (wx, wy) == (post.window_x - 1, post.window_y - 1)
        last = now
    return drains, constants, residuals, writes


@pytest.mark.parametrize("seed", range(40))
def test_post_counts_equal_a_walk(seed):
    rng = random.Random(seed)
    post = Post(
        window_x=rng.randint(1, 3),
        window_y=rng.randint(1, 2),
        out_x=rng.randint(1, 4),
        out_y=rng.randint(1, 3),
        pixels=rng.randint(1, 3),
        groups=rng.randint(1, 4),
        acc_window_x=1,
        acc_window_y=rng.choice([0, 5]),
        acc_out_x=rng.choice([1, 2]),
        acc_out_y=10,
        out_out_x=rng.choice([0, 1]),
        out_out_y=rng.choice([0, 4]),
        out_pixel=rng.choice([0, 12]),
        out_word=rng.choice([0, 1, 40]),
        accumulators=0,
        constants=0,
        outputs=0,
        residuals=0,
        lane_group=rng.randint(0, 1),
        low=0,
        high=255,
        rounding=Rounding.HALF_EVEN,
        residual=True,
        residual_signed=False,
    )
    drains, constants, residuals, writes = walk_post(post)
    counted = post_accesses(post, ACCELERATOR)
    assert counted[Counter.ACCUMULATOR_DRAINS] == drains
    assert counted[Counter.CONSTANT_READS] == constants
    assert counted[Counter.RESIDUAL_READS] == residuals
    assert counted[Counter.OUTPUT_WRITES] == writes
