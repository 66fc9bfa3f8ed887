"""Access counts of computes and posts in machine code: as :mod:`celosia.dataflow.accesses`."""

from __future__ import annotations

import numpy as np

from celosia.dataflow.accesses import ADDRESS_SPACE
from celosia.dataflow.jit import inlined, lean
from celosia.dataflow.program import Counter

_COMPUTE_STEPS, _POST_STEPS = int(Counter.COMPUTE_STEPS), int(Counter.POST_STEPS)
_ACTIVATION_READS, _WEIGHT_READS = int(Counter.ACTIVATION_READS), int(Counter.WEIGHT_READS)
_SUM_READS, _SUM_WRITES = int(Counter.ACCUMULATOR_READS), int(Counter.ACCUMULATOR_WRITES)
_DRAINS, _CONSTANTS = int(Counter.ACCUMULATOR_DRAINS), int(Counter.CONSTANT_READS)
_RESIDUALS, _OUTPUTS = int(Counter.RESIDUAL_READS), int(Counter.OUTPUT_WRITES)


_DRAINED = np.array([0, 1, 2, 3])
"""Loops of a post over rows, columns and the window, outermost first."""

_SLID = np.array([0, 1, 4, 2, 3, 5])
"""Loops of a compute whose windows slide, outermost first, whatever the mapping says."""

_ADDED = np.array([2, 0, 1])
"""Loops of a residual operand over pixel lanes, rows and columns, outermost first."""


@lean
def _runs(nest: np.ndarray, order: np.ndarray, column: int) -> int:
    """Return the runs of consecutive steps with one address, whose strides are in ``column``.

    ``nest`` has the iterations of each loop in column 0; ``order`` is that of the loops, outermost
    first.
    """
    total = 1
    for place in range(len(order)):
        total *= nest[order[place], 0]
    runs, moved = 1, 0
    for place in range(len(order) - 1, -1, -1):
        count, stride = nest[order[place], 0], nest[order[place], column]
        if count == 1:
            continue
        total //= count
        if (stride - moved) % ADDRESS_SPACE:
            runs += (count - 1) * total
        moved += stride * (count - 1)
    return int(runs)


@lean
def _fresh(nest: np.ndarray, order: np.ndarray) -> int:
    """Return the runs of one accumulator address that begin with all reduction loops at 0.

    ``nest`` is that of a compute, with the strides of its sums in column 3.
    """
    fresh, moved = 1, 0
    for place in range(len(order) - 1, -1, -1):
        loop = order[place]
        count, stride = nest[loop, 0], nest[loop, 3]
        if (stride - moved) % ADDRESS_SPACE and not _is_summed(loop):
            outer = count - 1
            for other in range(place):
                outer *= 1 if _is_summed(order[other]) else nest[order[other], 0]
            fresh += outer
        moved += stride * (count - 1)
    return int(fresh)


@inlined
def _is_summed(loop: int) -> bool:
    return bool(loop == 1 or loop >= 4)


@inlined
def _set(nest: np.ndarray, loop: int, count: int, strides: tuple[int, int, int]) -> None:
    nest[loop, 0] = count
    nest[loop, 1], nest[loop, 2], nest[loop, 3] = strides


@inlined
def count_compute(
    window: np.ndarray, counts: tuple[int, int, int, int, int, int], array: np.ndarray,
    layout: tuple[int, int, int], how: np.ndarray, fresh: bool, nest: np.ndarray,
    counters: np.ndarray,
) -> None:  # fmt: skip
    """Add the accesses of one compute descriptor to ``counters``.

    ``counts`` are its iterations along K, C, OY, OX, FY and FX, ``array`` the order of these,
    outermost first; ``layout`` the distance of the input rows that lie in the buffer, how many
    do, and their length; ``how`` passes and whether all kernel positions have the same weights;
    ``fresh`` whether it begins its sums. ``nest`` is room for the loops.
    """
    step, tall, pitch = layout
    if window[21] > 0:
        _count_windows(window, counts, layout, fresh, nest, counters)
        return
    height, width = (1, 1) if how[1] else (counts[4], counts[5])
    one, row = (0, 0) if how[1] else (1, width)
    _set(nest, 0, counts[0], (0, counts[1] * height * width, counts[2] * counts[3]))
    _set(nest, 1, counts[1], (tall * pitch, height * width, 0))
    _set(nest, 2, counts[2], (window[0] // step * pitch, 0, counts[3]))
    _set(nest, 3, counts[3], (window[1], 0, 1))
    _set(nest, 4, counts[4], (window[6] // step * pitch, row, 0))
    _set(nest, 5, counts[5], (window[7], one, 0))
    steps = how[0]
    for loop in range(6):
        steps *= nest[loop, 0]
    writes = _runs(nest, array, 3)
    begun = _fresh(nest, array) if fresh else 0
    counters[_COMPUTE_STEPS] += steps
    counters[_ACTIVATION_READS] += _runs(nest, array, 1)
    counters[_WEIGHT_READS] += _runs(nest, array, 2)
    counters[_SUM_READS] += writes - begun
    counters[_SUM_WRITES] += writes


@lean
def _count_windows(
    window: np.ndarray, counts: tuple[int, int, int, int, int, int],
    layout: tuple[int, int, int], fresh: bool, nest: np.ndarray, counters: np.ndarray,
) -> None:  # fmt: skip
    """Do what :func:`count_compute` does where windows slide over lines of words."""
    step, tall, pitch = layout
    lines = ((counts[2] - 1) * window[0] + window[20]) // step + 1
    _set(nest, 0, 1, (0, 0, 0))
    _set(nest, 1, counts[1], (tall * pitch, counts[4], 0))
    _set(nest, 2, lines, (pitch, 0, 0))
    _set(nest, 3, pitch, (1, 0, 0))
    _set(nest, 4, counts[4], (window[6] // step * pitch, 1, 0))
    _set(nest, 5, 1, (0, 0, 0))
    turns, sums = counts[1] * counts[4], counts[2] * counts[3]
    counters[_COMPUTE_STEPS] += turns * lines * pitch
    counters[_ACTIVATION_READS] += _runs(nest, _SLID, 1)
    counters[_WEIGHT_READS] += _runs(nest, _SLID, 2)
    counters[_SUM_READS] += turns * sums - (sums if fresh else 0)
    counters[_SUM_WRITES] += turns * sums


@inlined
def count_post(
    window: np.ndarray, pixel: np.ndarray, part: tuple[int, int, int, int],
    word: tuple[int, int, int], residual: bool, nest: np.ndarray, counters: np.ndarray,
) -> None:  # fmt: skip
    """Add the accesses of one post descriptor over a part of a pixel tile to ``counters``.

    The ``part`` has rows and columns of outputs, and of each one's window of sums; ``word`` its
    groups of lanes, the first one's place in a word and the groups of a word; ``nest`` is room for
    the loops.
    """
    groups, lane_group, lane_groups = word
    rows, columns, tall, across = part
    lanes = -(-pixel[5] // pixel[3])
    wide = (pixel[4] - 1) * window[11] + window[13]
    _set(nest, 0, rows, (window[10] * wide, pixel[4], 0))
    _set(nest, 1, columns, (window[11], 1, 0))
    _set(nest, 2, tall, (window[2] * wide, 0, 0))
    _set(nest, 3, across, (window[3], 0, 0))
    windows = groups * lanes * rows * columns
    # The pixel lane and the group change the address whatever it is.
    within = _runs(nest, _DRAINED, 1)
    counters[_POST_STEPS] += windows * tall * across
    counters[_DRAINS] += within * lanes * groups
    counters[_CONSTANTS] += groups
    counters[_OUTPUTS] += windows
    if residual:
        _set(nest, 2, lanes, (0, rows * columns, 0))
        back = (columns - 1) + (rows - 1) * columns + (lanes - 1) * rows * columns
        reads = groups * _runs(nest, _ADDED, 2)
        for group in range(1, groups):
            next_word = (lane_group + group) % lane_groups == 0
            moved = (lanes * rows * columns if next_word else 0) - back
            reads -= moved % ADDRESS_SPACE == 0
        counters[_RESIDUALS] += reads
