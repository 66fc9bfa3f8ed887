"""A step's activations in machine code: loaded tile by tile, or kept on chip by who makes them.

The same as :mod:`celosia.dataflow.resident` and ``StepEmitter._activations``, as a table's rows.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from celosia.dataflow.jit import compiled, inlined, lean
from celosia.dataflow.program import Counter
from celosia.dataflow.search.loop_kernel import Shape, advance, start_walk, tiles_of
from celosia.dataflow.search.program_kernel import (
    ACTIVATIONS,
    COMPUTE,
    KEEP,
    LOAD,
    OUTPUTS,
    STORE,
    Program,
    Slots,
    add,
    find,
    has_room,
    move,
    stored,
    take,
    touch,
)

_READ_BEATS, _OUTPUT_READS = int(Counter.READ_BEATS), int(Counter.OUTPUT_READS)


class Stays(NamedTuple):
    """What stays on chip, and what of that concerns the step that is emitted.

    Each of ``rows`` is an input that stays: first word of its tiles, words of each, and first and
    last row of ``keys``; of those who read it ``windows`` has the window and ``sources`` the place
    of the input, as :class:`Shape` has them, and its rows and columns. ``keys`` are the tiles:
    pixel tile and chunk; ``bordered`` whether what nobody makes of a tile is there. ``links`` holds
    the row that is the step's own input (-1: none), the first and last row that are made of its
    output, and whether that goes to memory too.
    """

    rows: np.ndarray
    windows: np.ndarray
    sources: np.ndarray
    keys: np.ndarray
    bordered: np.ndarray
    links: np.ndarray


@lean
def row_step(window: np.ndarray, rows: int, kernel_rows: int) -> int:
    """Return the distance of the input rows that matter, as ``StepPlan.row_step``."""
    stride, dilation = window[0], window[6]
    if window[20] > 0:
        return 1
    if (rows - 1) * window[10] + window[12] == 1:
        return int(dilation if kernel_rows > 1 else 1)
    if kernel_rows == 1:
        return int(stride)
    return int(np.gcd(stride, dilation))


@lean
def input_tile(
    window: np.ndarray, pixel: np.ndarray, chunk: np.ndarray
) -> tuple[int, int, int, int, int, int, int, int, int]:
    """Return the tile of activations that ``chunk`` reads for ``pixel``, as ``StepPlan``'s.

    Top, left, step, rows, columns, rows between lanes; then the lanes with as many rows, all
    lanes, and the rows of the last.
    """
    rows, valid = pixel[3], pixel[5]
    step = row_step(window, rows, chunk[3])
    columns = (pixel[4] - 1) * window[11] + window[13]
    span = (chunk[3] - 1) * window[6] + window[20]
    down = window[10] * window[0]
    lanes = -(-valid // rows)
    last_rows = valid - (lanes - 1) * rows
    return (
        pixel[1] * down - window[4] + chunk[2] * window[6],
        pixel[2] * window[11] * window[1] - window[5] + chunk[4] * window[7],
        step,
        (((rows - 1) * window[10] + window[12] - 1) * window[0] + span) // step + 1,
        (columns - 1) * window[1] + (chunk[5] - 1) * window[7] + window[21] + 1,
        rows * down,
        lanes if last_rows == rows else lanes - 1,
        lanes,
        (((last_rows - 1) * window[10] + window[12] - 1) * window[0] + span) // step + 1,
    )


@inlined
def _fill(program: Program, start: int, stop: int, unit: int) -> None:
    """Let ``unit`` write words of the activations in the next row: loads and keeps take turns.

    A bank takes one write a cycle: see :class:`celosia.dataflow.descriptors.Keep`.
    """
    touch(program, ACTIVATIONS, start, stop, True)
    words = program.banks[2, 0]
    mine, other = (0, 1) if unit == LOAD else (1, 0)
    against = STORE if unit == LOAD else LOAD
    for bank in range(start // words, (stop - 1) // words + 1):
        program.need[against] = max(program.need[against], program.banks[other, bank])
        program.banks[mine, bank] = program.at[0]


@inlined
def load_input(
    shape: Shape, program: Program, slots: Slots, pixel: np.ndarray, chunk: np.ndarray
) -> int:
    """Return where the activations of ``chunk`` for ``pixel`` are; load them if need be.

    ``pixel`` holds sample, y, x, rows, columns and valid rows.
    """
    word, words, row, column = chunk[0], chunk[1], chunk[2], chunk[4]
    sample, y, x = pixel[0], pixel[1], pixel[2]
    source = shape.source
    key = (sample * shape.sizes[1] + y) * shape.sizes[2] + x
    more = (((word << 16 | words) << 12 | row) << 12) | column
    slot = find(slots, ACTIVATIONS, key, more)
    size, start = slots.layout[ACTIVATIONS, 0], slots.layout[ACTIVATIONS, 2]
    if slot >= 0:
        return int(start + slot * size)
    top, left, step, tall, cols, apart, whole, lanes, last = input_tile(shape.window, pixel, chunk)
    slot = take(program, slots, ACTIVATIONS, key, more, words * tall * cols, False)
    start += slot * size
    bytes_, pitch, plane = shape.words[0], source[2], source[1]
    address = source[0] + sample * source[3] + word * plane + top * pitch + left * bytes_
    for lane, count in ((0, whole), (whole, lanes - whole)):
        if count == 0:
            continue
        high = last if lane == whole else tall
        first = top + lane * apart
        stop = first + (count - 1) * apart + (high - 1) * step + 1
        place = source[4] + word
        box = (place, place + words), (first, stop), (left, left + cols)
        store = stored(program, source[5], sample, box)
        if store >= 0:
            program.need[STORE] = store
        _fill(program, start, start + words * tall * cols, LOAD)
        inner, outer = (high, step * pitch, cols), (words, plane, tall * cols)
        loaded = program.table[add(program, LOAD, 0)]
        move(loaded, address + lane * apart * pitch, cols, bytes_, shape.words[2], (inner, outer))
        if count > 1:
            loaded[7] = count
            loaded[10] = apart * pitch
        program.counters[_READ_BEATS] += words * high * cols * count * shape.words[2]
    return int(start)


@lean
def _inside(first: int, step: int, count: int, low: int, high: int) -> tuple[int, int]:
    """Return the range of i in 0..count for which ``low <= first + i*step < high``."""
    start = min(count, max(0, -(-(low - first) // step)))
    return start, max(start, min(count, -(-(high - first) // step)))


@lean
def _border(shape: Shape, program: Program, stays: Stays, stay: int, key: int) -> None:
    """Load what of a tile that stays lies outside the input, once."""
    if stays.bordered[key]:
        return
    stays.bordered[key] = True
    pixel, chunk = stays.keys[key, :6], stays.keys[key, 6:]
    source = stays.sources[stay]
    top, left, step, tall, cols, apart, whole, lanes, last = input_tile(
        stays.windows[stay], pixel, chunk
    )
    words, bytes_, pitch = chunk[1], shape.words[0], source[2]
    start = stays.rows[stay, 0] + (key - stays.rows[stay, 2]) * stays.rows[stay, 1]
    from_, to = _inside(left, 1, cols, 0, source[7])
    address = source[0] + pixel[0] * source[3] + chunk[0] * source[1] + left * bytes_
    for lane in range(lanes):
        high = last if lane >= whole else tall
        first = top + lane * apart
        above, below = _inside(first, step, high, 0, source[6])
        parts = (
            (0, above, 0, cols), (above, below, 0, from_), (above, below, to, cols),
            (below, high, 0, cols),
        )  # fmt: skip
        for row, row_end, column, column_end in parts:
            count, wide = row_end - row, column_end - column
            if count == 0 or wide == 0:
                continue
            _fill(program, start, start + words * tall * cols, LOAD)
            inner, outer = (count, step * pitch, cols), (words, source[1], tall * cols)
            loaded = program.table[add(program, LOAD, 0)]
            place = address + (first + row * step) * pitch + column * bytes_
            move(loaded, place, wide, bytes_, shape.words[2], (inner, outer))
            program.counters[_READ_BEATS] += words * count * wide * shape.words[2]


@inlined
def find_input(
    shape: Shape, program: Program, slots: Slots, stays: Stays, pixel: np.ndarray, chunk: np.ndarray
) -> int:
    """Return where the activations of ``chunk`` for ``pixel`` are; load what is missing."""
    stay = stays.links[0]
    if stay < 0:
        return load_input(shape, program, slots, pixel, chunk)
    first, stop = stays.rows[stay, 2], stays.rows[stay, 3]
    key = _find_key(stays.keys[first:stop], pixel, chunk)
    _border(shape, program, stays, stay, first + key)
    return int(stays.rows[stay, 0] + key * stays.rows[stay, 1])


@lean
def keep_outputs(
    shape: Shape, program: Program, stays: Stays, pixel: np.ndarray, words: tuple[int, int],
    outputs: int,
) -> None:  # fmt: skip
    """Keep the ``words`` of an output ``pixel`` tile, of which word 0 would lie at ``outputs``."""
    for stay in range(stays.links[1], stays.links[2]):
        for kept in (False, True):
            for key in range(stays.rows[stay, 2], stays.rows[stay, 3]):
                chunk = stays.keys[key, 6:]
                first, stop = max(words[0], chunk[0]), min(words[1], chunk[0] + chunk[1])
                if stays.keys[key, 0] != pixel[0] or first >= stop:
                    continue
                if not has_room(program, 5 * shape.sizes[3] + program.at[4]):
                    program.at[3] = 1
                    return
                if kept:
                    _keep_tile(shape, program, stays, stay, key, pixel, (first, stop), outputs)
                else:
                    _border(shape, program, stays, stay, key)


@lean
def _keep_tile(
    shape: Shape, program: Program, stays: Stays, stay: int, key: int, pixel: np.ndarray,
    words: tuple[int, int], outputs: int,
) -> None:  # fmt: skip
    """Keep what of ``words`` belongs into one tile."""
    chunk = stays.keys[key, 6:]
    top, left, step, tall, cols, apart, whole, lanes, last = input_tile(
        stays.windows[stay], stays.keys[key, :6], chunk
    )
    area = -(-pixel[5] // pixel[3]) * pixel[3] * pixel[4]
    from_, to = _inside(left, 1, cols, pixel[2], pixel[2] + pixel[4])
    start = stays.rows[stay, 0] + (key - stays.rows[stay, 2]) * stays.rows[stay, 1]
    for lane in range(lanes):
        high = last if lane >= whole else tall
        above, below = _inside(top + lane * apart, step, high, pixel[1], pixel[1] + pixel[5])
        count = (words[1] - words[0]) * (below - above) * (to - from_)
        if count == 0:
            continue
        touch(program, OUTPUTS, outputs + words[0] * area, outputs + words[1] * area, False)
        _fill(program, start, start + chunk[1] * tall * cols, STORE)
        # Nests run in order, and that of these outputs comes after all that read what was there.
        program.need[COMPUTE] = -1
        add(program, KEEP, count)
        program.counters[_OUTPUT_READS] += count


@lean
def _find_key(keys: np.ndarray, pixel: np.ndarray, chunk: np.ndarray) -> int:
    """Return which of ``keys`` is the tile of ``pixel`` and ``chunk``, or -1."""
    for number in range(len(keys)):
        same = True
        for part in range(6):
            same &= keys[number, part] == pixel[part] and keys[number, 6 + part] == chunk[part]
        if same:
            return number
    return -1


@compiled
def input_keys(shape: Shape, loops: np.ndarray, keys: np.ndarray) -> int:
    """Write the distinct tiles of activations to ``keys`` in order of use; return how many.

    One more than there are rows where there are more.
    """
    walk = start_walk(shape, len(loops))
    runs = np.empty_like(walk.words)
    pixel, chunk = np.zeros((2, 6), np.int64)
    found = 0
    more = advance(shape, loops, walk, True)
    while more:
        for number in range(tiles_of(shape, walk, runs, pixel, chunk)):
            chunk[0], chunk[1] = runs[number, 0], runs[number, 1] - runs[number, 0]
            if _find_key(keys[:found], pixel, chunk) >= 0:
                continue
            if found == len(keys):
                return found + 1
            for part in range(6):
                keys[found, part] = pixel[part]
                keys[found, 6 + part] = chunk[part]
            found += 1
        more = advance(shape, loops, walk, False)
    return found
