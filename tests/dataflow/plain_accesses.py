"""Access counts by walking every loop of every descriptor, step by step: the referee."""

from __future__ import annotations

import itertools
from collections import Counter as Tally
from collections.abc import Iterator, Sequence

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.descriptors import Compute, Descriptor, Keep, Load, Post, Stamp, Store
from celosia.dataflow.microarchitecture import word_beats
from celosia.dataflow.program import Counter

WRAP = 1 << 16
OPERANDS = {
    "activations": Counter.ACTIVATION_READS,
    "weights": Counter.WEIGHT_READS,
    "accumulators": Counter.ACCUMULATOR_WRITES,
}


def nest(counts: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Walk indexes, innermost first in each tuple."""
    for outer_first in itertools.product(*(range(count) for count in reversed(counts))):
        yield outer_first[::-1]


def walk_compute(compute: Compute) -> Tally[Counter]:
    """Count the accesses of a compute descriptor."""
    result: Tally[Counter] = Tally()
    last = dict.fromkeys(OPERANDS, -1)
    for index in nest([loop.count for loop in compute.loops]):
        result[Counter.COMPUTE_STEPS] += 1
        for operand, counter in OPERANDS.items():
            address = getattr(compute, operand)
            for i, loop in zip(index, compute.loops, strict=True):
                address += i * getattr(loop, operand)
            changed = last[operand] != address % WRAP
            last[operand] = address % WRAP
            result[counter] += changed
            if changed and operand == "accumulators":
                pairs = zip(index, compute.loops, strict=True)
                fresh = all(i == 0 for i, loop in pairs if loop.reduction)
                result[Counter.ACCUMULATOR_READS] += compute.accumulate or not fresh
    return result


def walk_post(post: Post, accelerator: Accelerator) -> Tally[Counter]:
    """Count the accesses of a post descriptor."""
    result: Tally[Counter] = Tally()
    lane_groups = accelerator.array.lanes // accelerator.post_lanes
    counts = [post.window_x, post.window_y, post.out_x, post.out_y, post.pixels, post.groups]
    last: tuple[object, object, object] = (None, None, None)
    for wx, wy, x, y, pixel, group in nest(counts):
        sums = wx * post.acc_window_x + wy * post.acc_window_y
        sums = (sums + x * post.acc_out_x + y * post.acc_out_y) % WRAP
        out = x * post.out_out_x + y * post.out_out_y + pixel * post.out_pixel
        out = (out + (post.lane_group + group) // lane_groups * post.out_word) % WRAP
        now = ((sums, pixel, group), group, out)
        result[Counter.POST_STEPS] += 1
        result[Counter.ACCUMULATOR_DRAINS] += now[0] != last[0]
        result[Counter.CONSTANT_READS] += now[1] != last[1]
        result[Counter.RESIDUAL_READS] += post.residual and now[2] != last[2]
        result[Counter.OUTPUT_WRITES] += (wx, wy) == (post.window_x - 1, post.window_y - 1)
        last = now
    return result


def walk_program(descriptors: Sequence[Descriptor], accelerator: Accelerator) -> Tally[Counter]:
    """Count all that a program accesses."""
    beat = accelerator.bus.data_bytes
    chunks = -(-len(descriptors) // 4)
    result: Tally[Counter] = Tally({Counter.READ_BEATS: chunks * 4 * 64 // beat})
    for descriptor in descriptors:
        match descriptor:
            case Compute():
                result.update(walk_compute(descriptor))
            case Post():
                result.update(walk_post(descriptor, accelerator))
            case Load() | Store() | Keep():
                moved = descriptor.transfer
                for _ in nest([moved.words, moved.n1, moved.n2, moved.n3]):
                    if isinstance(descriptor, Load):
                        result[Counter.READ_BEATS] += word_beats(descriptor.target, accelerator)
                        continue
                    result[Counter.OUTPUT_READS] += 1
                    if isinstance(descriptor, Store):
                        beats = accelerator.beats(accelerator.activation_word_bits)
                        result[Counter.WRITE_BEATS] += beats
            case Stamp():
                result[Counter.WRITE_BEATS] += 1
    return result
