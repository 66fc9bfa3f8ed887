"""The loops over memory in machine code: as :mod:`celosia.dataflow.nest` walks them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from celosia.dataflow.jit import compiled, lean

_K, _C, _OY = 1, 2, 3  # dimensions, by their place in Dimension

WINDOW = 22
"""Numbers in ``Shape.window``."""


class Shape(NamedTuple):
    """What a step is, whatever its mapping.

    ``tiles`` has a row for each channel tile: groups, word, lane group, input words, block, address
    of weights, address of constants, first and last row of ``runs``, a number that tiles of the
    same runs have in common, and the groups of all tiles before. ``blocks`` has a row for each
    block: word, words, tiles, first and last row of ``block_runs``. ``window`` holds, all down and
    across, the convolution's stride, the pooling's dilation, the convolution's padding, dilation
    and kernel (as ``StepPlan`` has both), the pooling's stride, extent and window, the sums that
    maxima are taken of (top, left, bottom, right), and the reach of ``StepPlan``. ``source``,
    ``target`` and ``operand`` hold address, plane, pitch, bytes of a sample, first word, the number
    of the tensor's memory (-1: there is none), bytes from one column to the next, and of that
    memory the first row, rows from one to the next, and the same of columns. ``words`` holds bytes
    of an activation and weight word, beats of these and of a constant word. ``sizes`` holds
    samples, rows, columns, pixel lanes, passes, whether all kernel positions have the same weights,
    and lane groups of a word. ``table`` holds the address of the step's table (-1: it has none),
    beats of a run of what is loaded of it, runs, and bytes between them.
    """

    tiles: np.ndarray
    runs: np.ndarray
    blocks: np.ndarray
    block_runs: np.ndarray
    window: np.ndarray
    source: np.ndarray
    target: np.ndarray
    operand: np.ndarray
    words: np.ndarray
    sizes: np.ndarray
    table: np.ndarray


@lean
def _copy(to: np.ndarray, place: int, rows: np.ndarray, number: int) -> None:
    """Make a pair of ``to`` the pair ``number`` of ``rows``."""
    to[place, 0], to[place, 1] = rows[number, 0], rows[number, 1]


@lean
def _unite(shape: Shape, first: int, stop: int, out: np.ndarray) -> int:
    """Write the runs of words that any of the channel tiles reads to ``out``; return how many."""
    count = 0
    for tile in range(first, stop):
        if tile > first and shape.tiles[tile, 9] == shape.tiles[tile - 1, 9]:
            continue  # the same runs as the tile before
        low, high = shape.tiles[tile, 7], shape.tiles[tile, 8]
        for run in shape.runs[low:high]:
            # Insert in order of the first word, and merge what touches.
            start, end = run[0], run[1]
            place = 0
            while place < count and out[place, 1] < start:
                place += 1
            last = place
            while last < count and out[last, 0] <= end:
                start, end = min(start, out[last, 0]), max(end, out[last, 1])
                last += 1
            if last == place:
                for number in range(count, place, -1):
                    _copy(out, number, out, number - 1)
                count += 1
            else:
                for number in range(last, count):
                    _copy(out, number - (last - place - 1), out, number)
                count -= last - place - 1
            out[place, 0], out[place, 1] = start, end
    return count


@lean
def common(ranges: np.ndarray, others: np.ndarray, out: np.ndarray) -> int:
    """Write what is in both lists of ranges to ``out``; return how many ranges that are."""
    found = 0
    for one in ranges:
        for other in others:
            start, stop = max(one[0], other[0]), min(one[1], other[1])
            if start < stop:
                out[found, 0], out[found, 1] = start, stop
                found += 1
    return found


class Walk(NamedTuple):
    """Where the loops over memory are.

    ``part`` holds for each dimension the range that the loops leave, ``words`` the runs of input
    words that all channel tiles read. ``state`` is the level, the number of these runs, and
    whether a loop over C left one range of them, then in ``part``. For each level ``saved`` is
    what was left before it (and ``single`` that last state), ``ranges`` and ``counts`` what it
    goes over, ``turn`` and ``position`` how far it is. ``united`` is for the runs of some tiles.
    """

    part: np.ndarray
    words: np.ndarray
    state: np.ndarray
    saved: np.ndarray
    single: np.ndarray
    ranges: np.ndarray
    counts: np.ndarray
    turn: np.ndarray
    position: np.ndarray
    united: np.ndarray


@compiled
def start_walk(shape: Shape, depth: int) -> Walk:
    """Return the walk of ``depth`` loops before its first tile."""
    most = 2 * len(shape.runs) + 2
    part = np.zeros((7, 2), np.int64)
    part[0, 1] = shape.sizes[0]
    part[1, 1] = len(shape.tiles)
    part[3, 1], part[4, 1] = shape.sizes[1], shape.sizes[2]
    part[5, 1], part[6, 1] = shape.window[8], shape.window[9]
    words = np.empty((most, 2), np.int64)
    state = np.zeros(3, np.int64)
    state[1] = _unite(shape, 0, len(shape.tiles), words)
    levels = np.zeros((4, depth + 1), np.int64)
    return Walk(
        part, words, state, np.zeros((depth + 1, 2), np.int64), levels[0],
        np.empty((depth + 1, most, 2), np.int64), levels[1], levels[2], levels[3],
        np.empty_like(words),
    )  # fmt: skip


@lean
def _enter(shape: Shape, dimension: int, walk: Walk) -> None:
    """Find what the loop at the level that is entered goes over."""
    level = walk.state[0]
    _copy(walk.saved, level, walk.part, dimension)
    walk.single[level] = walk.state[2]
    walk.turn[level] = 0
    walk.counts[level] = 1
    _copy(walk.ranges[level], 0, walk.part, dimension)
    if dimension == _C:
        count = _unite(shape, walk.part[_K, 0], walk.part[_K, 1], walk.united)
        before = walk.words[: walk.state[1]]
        if walk.state[2]:
            before = walk.part[_C : _C + 1]
        walk.counts[level] = common(before, walk.united[:count], walk.ranges[level])
    walk.position[level] = walk.ranges[level, 0, 0]


@lean
def advance(shape: Shape, loops: np.ndarray, walk: Walk, begins: bool) -> bool:
    """Go to the next tile, the first one where it ``begins``; false after the last."""
    depth = len(loops)
    enters = begins
    if not begins:
        walk.state[0] = depth - 1
    while walk.state[0] >= 0:
        level = walk.state[0]
        if level == depth:
            return True
        dimension, step = loops[level, 0], loops[level, 1]
        if dimension == _OY:
            step *= shape.sizes[3]
        if enters:
            _enter(shape, dimension, walk)
        else:
            walk.position[level] += step
            if walk.position[level] >= walk.ranges[level, walk.turn[level], 1]:
                walk.turn[level] += 1
                walk.position[level] = walk.ranges[level, walk.turn[level], 0]
        if walk.turn[level] >= walk.counts[level]:
            _copy(walk.part, dimension, walk.saved, level)
            walk.state[2] = walk.single[level]
            walk.state[0] -= 1
            enters = False
            continue
        first = walk.position[level]
        walk.part[dimension, 0] = first
        walk.part[dimension, 1] = min(walk.ranges[level, walk.turn[level], 1], first + step)
        if dimension == _C:
            walk.state[2] = 1
        walk.state[0] += 1
        enters = True
    return False


@lean
def tiles_of(
    shape: Shape, walk: Walk, runs: np.ndarray, pixel: np.ndarray, chunk: np.ndarray
) -> int:
    """Describe the tile that ``walk`` is at; return how many ``runs`` of input words it has.

    ``pixel`` becomes sample, y, x, rows, columns and valid rows; of ``chunk`` kernel row, rows,
    column and columns, after the word and words that each of ``runs`` stands for.
    """
    part = walk.part
    row = shape.tiles[part[_K, 0]]
    words = walk.words[: walk.state[1]]
    if walk.state[2]:
        words = part[_C : _C + 1]
    pixel[0], pixel[1], pixel[2] = part[0, 0], part[_OY, 0], part[4, 0]
    pixel[5] = part[_OY, 1] - part[_OY, 0]
    pixel[3] = -(-pixel[5] // shape.sizes[3])
    pixel[4] = part[4, 1] - part[4, 0]
    chunk[2], chunk[3] = part[5, 0], part[5, 1] - part[5, 0]
    chunk[4], chunk[5] = part[6, 0], part[6, 1] - part[6, 0]
    return int(common(words, shape.runs[row[7] : row[8]], runs))
