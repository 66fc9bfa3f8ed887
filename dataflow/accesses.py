"""Access counts of a program in closed form, as the hardware's counters count them.

An operand is fetched when its address differs from the step before. In a loop
nest the address changes between two steps by the *delta* of the loop that
advances there (its stride, less what the inner loops had moved), so counting
changes is counting, for each loop, how often it is the one that advances.
``tests/dataflow/test_accesses.py`` walks the real loops as referee.
"""

from __future__ import annotations

import enum
import math
from collections import Counter as Tally
from collections.abc import Iterable, Sequence

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.descriptors import (
    CHUNK_DESCRIPTORS,
    DESCRIPTOR_BYTES,
    Compute,
    Descriptor,
    Keep,
    Load,
    Post,
    Stamp,
    Store,
    Transfer,
)
from celosia.dataflow.microarchitecture import word_beats
from celosia.dataflow.program import Counter

ADDRESS_SPACE = 1 << 16
"""On-chip addresses are 16 bits and wrap."""


def advances(counts: Sequence[int]) -> list[int]:
    """Return how often each loop (innermost first) is the one that advances between two steps."""
    return [(count - 1) * math.prod(counts[index + 1 :]) for index, count in enumerate(counts)]


def deltas(counts: Sequence[int], strides: Sequence[int]) -> list[int]:
    """Return what an address moves by, modulo 2**16, when each loop advances.

    Its inner loops return to 0 then.
    """
    moved, result = 0, []
    for count, stride in zip(counts, strides, strict=True):
        result.append((stride - moved) % ADDRESS_SPACE)
        moved += stride * (count - 1)
    return result


def address_runs(counts: Sequence[int], strides: Sequence[int]) -> int:
    """Count the runs of consecutive steps with one address: the fetches that the nest costs."""
    moves = zip(advances(counts), deltas(counts, strides), strict=True)
    return 1 + sum(times for times, delta in moves if delta)


def _fresh_runs(compute: Compute) -> int:
    """Count the runs of equal accumulator address that begin with all reduction loops at 0."""
    if compute.sliding is not None:
        return math.prod(compute.sliding.sums(*_plane(compute)))
    counts = [loop.count for loop in compute.loops]
    moves = deltas(counts, [loop.accumulators for loop in compute.loops])
    fresh = 1
    for index, (loop, delta) in enumerate(zip(compute.loops, moves, strict=True)):
        if delta and not loop.reduction:
            outer = (1 if loop.reduction else loop.count for loop in compute.loops[index + 1 :])
            fresh += (loop.count - 1) * math.prod(outer)
    return fresh


def _plane(compute: Compute) -> tuple[int, int]:
    """Return the lines, and words of each, that windows slide over."""
    return compute.loops[1].count, compute.loops[0].count


def _sum_runs(compute: Compute) -> int:
    """Count the runs of equal accumulator address."""
    counts = [loop.count for loop in compute.loops]
    if compute.sliding is not None:
        return math.prod(compute.sliding.sums(*_plane(compute))) * math.prod(counts[2:])
    return address_runs(counts, [loop.accumulators for loop in compute.loops])


def compute_accesses(compute: Compute) -> Tally[Counter]:
    """Return the counts of one compute descriptor."""
    counts = [loop.count for loop in compute.loops]
    writes = _sum_runs(compute)
    return Tally(
        {
            Counter.COMPUTE_STEPS: compute.steps,
            Counter.ACTIVATION_READS: address_runs(
                counts, [loop.activations for loop in compute.loops]
            ),
            Counter.WEIGHT_READS: address_runs(counts, [loop.weights for loop in compute.loops]),
            Counter.ACCUMULATOR_READS: writes - (0 if compute.accumulate else _fresh_runs(compute)),
            Counter.ACCUMULATOR_WRITES: writes,
        }
    )


def post_accesses(post: Post, accelerator: Accelerator) -> Tally[Counter]:
    """Return the counts of one post descriptor."""
    counts = [post.window_x, post.window_y, post.out_x, post.out_y, post.pixels, post.groups]
    times = advances(counts)
    acc = deltas(counts[:4], [post.acc_window_x, post.acc_window_y, post.acc_out_x, post.acc_out_y])
    result = Tally(
        {
            Counter.POST_STEPS: post.steps,
            Counter.ACCUMULATOR_DRAINS: 1
            + sum(times[4:])
            + sum(n for n, delta in zip(times, acc, strict=False) if delta),
            Counter.CONSTANT_READS: post.groups,
            Counter.OUTPUT_WRITES: math.prod(counts[2:]),
        }
    )
    if post.residual:
        result[Counter.RESIDUAL_READS] = _residual_reads(post, accelerator)
    return result


def _residual_reads(post: Post, accelerator: Accelerator) -> int:
    """Count the changes of the residual word's address.

    The column group moves it only past a word's last lanes.
    """
    counts = [post.out_x, post.out_y, post.pixels]
    strides = [post.out_out_x, post.out_out_y, post.out_pixel]
    within = address_runs(counts, strides)
    back = sum((count - 1) * stride for count, stride in zip(counts, strides, strict=True))
    reads, lane_groups = post.groups * within, accelerator.array.lanes // accelerator.post_lanes
    for group in range(1, post.groups):
        next_word = (post.lane_group + group) % lane_groups == 0
        reads -= ((post.out_word if next_word else 0) - back) % ADDRESS_SPACE == 0
    return reads


def transfer_words(transfer: Transfer) -> int:
    """Return the buffer words that a transfer moves."""
    return transfer.words * transfer.n1 * transfer.n2 * transfer.n3


def descriptor_accesses(descriptor: Descriptor, accelerator: Accelerator) -> Tally[Counter]:
    """Return the counts that one descriptor adds (its own fetch from memory excluded)."""
    match descriptor:
        case Load():
            words = transfer_words(descriptor.transfer)
            return Tally({Counter.READ_BEATS: words * word_beats(descriptor.target, accelerator)})
        case Compute():
            return compute_accesses(descriptor)
        case Post():
            return post_accesses(descriptor, accelerator)
        case Store():
            words = transfer_words(descriptor.transfer)
            beats = words * accelerator.beats(accelerator.activation_word_bits)
            return Tally({Counter.OUTPUT_READS: words, Counter.WRITE_BEATS: beats})
        case Keep():
            return Tally({Counter.OUTPUT_READS: transfer_words(descriptor.transfer)})
        case Stamp():
            return Tally({Counter.WRITE_BEATS: 1})
    return Tally()


class Traffic(enum.Enum):
    """What the bytes between engine and memory are. The last two are written, the rest read."""

    ACTIVATIONS = "activations"
    WEIGHTS = "weights"
    CONSTANTS = "constants"
    RESIDUALS = "residuals"
    TABLES = "tables"
    PROGRAM = "program"
    OUTPUTS = "outputs"
    STAMPS = "stamps"


def traffic(descriptors: Sequence[Descriptor], accelerator: Accelerator) -> dict[Traffic, int]:
    """Return the bytes of all beats on the data channels, by what they are."""
    beats = dict.fromkeys(Traffic, 0)
    beats[Traffic.PROGRAM] = fetch_beats(descriptors, accelerator)
    for descriptor in descriptors:
        match descriptor:
            case Load():
                words = transfer_words(descriptor.transfer)
                each = word_beats(descriptor.target, accelerator)
                beats[Traffic[descriptor.target.name]] += words * each
            case Store():
                words = transfer_words(descriptor.transfer)
                each = accelerator.beats(accelerator.activation_word_bits)
                beats[Traffic.OUTPUTS] += words * each
            case Stamp():
                beats[Traffic.STAMPS] += 1
    return {kind: count * accelerator.bus.data_bytes for kind, count in beats.items()}


def program_chunks(descriptors: Sequence[Descriptor]) -> int:
    """Return the chunks that the sequencer fetches for a program."""
    return -(-len(descriptors) // CHUNK_DESCRIPTORS)


def fetch_beats(descriptors: Sequence[Descriptor], accelerator: Accelerator) -> int:
    """Return the beats that the sequencer reads for a program."""
    chunk = CHUNK_DESCRIPTORS * DESCRIPTOR_BYTES // accelerator.bus.data_bytes
    return program_chunks(descriptors) * chunk


def accesses(descriptors: Iterable[Descriptor], accelerator: Accelerator) -> dict[Counter, int]:
    """Return every counter that does not depend on time, for a whole program."""
    program = list(descriptors)
    total: Tally[Counter] = Tally({Counter.READ_BEATS: fetch_beats(program, accelerator)})
    for descriptor in program:
        total.update(descriptor_accesses(descriptor, accelerator))
    timed = (Counter.CYCLES, Counter.LOAD_BUSY, Counter.STORE_BUSY)
    return {counter: total[counter] for counter in Counter if counter not in timed}
