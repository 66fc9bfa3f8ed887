"""Access counts of computes and posts in machine code: as :mod:`celosia.dataflow.accesses`."""

from __future__ import annotations

import numpy as np

from celosia.dataflow.accesses import ADDRESS_SPACE
from celosia.dataflow.jit import compiled
from celosia.dataflow.program import Counter

_COMPUTE_STEPS, _POST_STEPS = int(Counter.COMPUTE_STEPS), int(Counter.POST_STEPS)
_ACTIVATION_READS, _WEIGHT_READS = int(Counter.ACTIVATION_READS), int(Counter.WEIGHT_READS)
_SUM_READS, _SUM_WRITES = int(Counter.ACCUMULATOR_READS), int(Counter.ACCUMULATOR_WRITES)
_DRAINS, _CONSTANTS = int(Counter.ACCUMULATOR_DRAINS), int(Counter.CONSTANT_READS)
_RESIDUALS, _OUTPUTS = int(Counter.RESIDUAL_READS), int(Counter.OUTPUT_WRITES)


@compiled
def _runs(counts: np.ndarray, strides: np.ndarray) -> int:
    """Return the runs of consecutive steps of a nest, innermost loop first, with one address."""
    total = 1
    for count in counts:
        total *= count
    runs, moved = 1, 0
    for loop in range(len(counts)):
        count = counts[loop]
        total //= count
        if (strides[loop] - moved) % ADDRESS_SPACE:
            runs += (count - 1) * total
        moved += strides[loop] * (count - 1)
    return runs


@compiled
def _fresh(counts: np.ndarray, strides: np.ndarray, reduction: np.ndarray) -> int:
    """Return the runs of one accumulator address that begin with all reduction loops at 0."""
    fresh, moved = 1, 0
    for loop in range(len(counts)):
        if (strides[loop] - moved) % ADDRESS_SPACE and not reduction[loop]:
            outer = counts[loop] - 1
            for other in range(loop + 1, len(counts)):
                outer *= 1 if reduction[other] else counts[other]
            fresh += outer
        moved += strides[loop] * (counts[loop] - 1)
    return fresh


@compiled
def count_compute(
    window: np.ndarray, nest: np.ndarray, array: np.ndarray, layout: tuple[int, int, int],
    passes: int, uniform: int, fresh: bool, counters: np.ndarray,
) -> None:  # fmt: skip
    """Add the accesses of one compute descriptor to ``counters``.

    ``nest`` holds its iterations along K, C, OY, OX, FY and FX, ``array`` the order of these,
    outermost first; ``layout`` the distance of the input rows that lie in the buffer, how many
    do, and their length; ``fresh`` whether it begins its sums.
    """
    step, tall, pitch = layout
    height, width = (1, 1) if uniform else (nest[4], nest[5])
    one, row = (0, 0) if uniform else (1, width)
    sums = nest[2] * nest[3]
    strides = np.array(
        [
            [0, nest[1] * height * width, sums],
            [tall * pitch, height * width, 0],
            [window[0] // step * pitch, 0, nest[3]],
            [window[1], 0, 1],
            [window[6] // step * pitch, row, 0],
            [window[7], one, 0],
        ]
    )
    counts = np.empty(6, np.int64)
    moves = np.empty((6, 3), np.int64)
    reduction = np.empty(6, np.bool_)
    for place in range(6):
        dimension = array[5 - place]
        counts[place] = nest[dimension]
        moves[place] = strides[dimension]
        reduction[place] = dimension in (1, 4, 5)
    steps = passes
    for loop in range(6):
        steps *= int(counts[loop])
    writes = _runs(counts, moves[:, 2])
    begun = _fresh(counts, moves[:, 2], reduction) if fresh else 0
    counters[_COMPUTE_STEPS] += steps
    counters[_ACTIVATION_READS] += _runs(counts, moves[:, 0])
    counters[_WEIGHT_READS] += _runs(counts, moves[:, 1])
    counters[_SUM_READS] += writes - begun
    counters[_SUM_WRITES] += writes


@compiled
def count_post(
    window: np.ndarray, pixel: np.ndarray, groups: int, lane_group: int, lane_groups: int,
    residual: bool, counters: np.ndarray,
) -> None:  # fmt: skip
    """Add the accesses of one post descriptor over a pixel tile to ``counters``."""
    rows, columns = pixel[3], pixel[4]
    lanes = -(-pixel[5] // rows)
    wide = (columns - 1) * window[11] + window[13]
    counts = np.array([window[15], window[14], columns, rows])
    strides = np.array([window[3], window[2] * wide, window[11], window[10] * wide])
    windows = groups * lanes * rows * columns
    # The pixel lane and the group change the address whatever it is.
    within = _runs(counts, strides)
    counters[_POST_STEPS] += windows * window[14] * window[15]
    counters[_DRAINS] += within * lanes * groups
    counters[_CONSTANTS] += groups
    counters[_OUTPUTS] += windows
    if residual:
        counts = np.array([columns, rows, lanes])
        strides = np.array([1, columns, rows * columns])
        back = ((counts - 1) * strides).sum()
        reads = groups * _runs(counts, strides)
        for group in range(1, groups):
            next_word = (lane_group + group) % lane_groups == 0
            moved = (lanes * rows * columns if next_word else 0) - back
            reads -= moved % ADDRESS_SPACE == 0
        counters[_RESIDUALS] += reads
