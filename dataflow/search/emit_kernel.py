"""A step's rows in machine code: what :mod:`celosia.dataflow.emit` emits, as a table.

Rows equal those of the compiled program (:func:`celosia.dataflow.table.tabulate`) to the last bit,
tokens included.
"""

from __future__ import annotations

import numpy as np

from celosia.dataflow.jit import compiled, inlined, lean
from celosia.dataflow.mapping import MOST_SLOTS
from celosia.dataflow.program import Counter
from celosia.dataflow.search.count_kernel import count_compute, count_post
from celosia.dataflow.search.input_kernel import Stays, find_input, keep_outputs, row_step
from celosia.dataflow.search.loop_kernel import Shape, Walk, advance, start_walk, tiles_of
from celosia.dataflow.search.program_kernel import (
    ACCUMULATORS,
    ACTIVATIONS,
    BUFFERS,
    COMPUTE,
    CONSTANTS,
    LOAD,
    OUTPUTS,
    POST,
    RESIDUALS,
    STORE,
    TABLES,
    WEIGHTS,
    Program,
    Slots,
    add,
    close_step,
    find,
    has_room,
    lay_out,
    move,
    stored,
    take,
    touch,
)
from celosia.dataflow.windows import cut_alike

_READ_BEATS, _WRITE_BEATS = int(Counter.READ_BEATS), int(Counter.WRITE_BEATS)
_OUTPUT_READS = int(Counter.OUTPUT_READS)

_MOST_POSTS = 32
"""More than a channel tile's loads, compute, and posts of parts: windows are cut in few ways."""


@inlined
def _weights(
    shape: Shape, program: Program, slots: Slots, tiles: np.ndarray, chunk: np.ndarray
) -> int:
    """Return where the weights of ``chunk`` for the channel ``tiles`` are; load them if need be.

    ``chunk`` holds word, words, kernel row, rows, column and columns; ``tiles`` first and last.
    """
    word, words, row = chunk[0], chunk[1], chunk[2]
    rows, column, columns = chunk[3], chunk[4], chunk[5]
    height, width = shape.window[8], shape.window[9]
    if shape.sizes[5]:
        row, rows, column, columns, height, width = 0, 1, 0, 1, 1, 1
    first, stop = tiles[0], tiles[1]
    more = (((word << 16 | words) << 12 | row) << 12) | column
    slot = find(slots, WEIGHTS, first, more)
    size, start = slots.layout[WEIGHTS, 0], slots.layout[WEIGHTS, 2]
    if slot >= 0:
        return int(start + slot * size)
    positions = words * rows * columns
    slot = take(program, slots, WEIGHTS, first, more, (stop - first) * positions, False)
    start += slot * size
    bytes_ = shape.words[1]
    inner = rows, width * bytes_, columns
    outer = words, height * width * bytes_, rows * columns
    for tile in range(first, stop):
        before = 0
        for run in range(shape.tiles[tile, 7], shape.tiles[tile, 8]):
            before += max(0, min(shape.runs[run, 1], word) - shape.runs[run, 0])
        address = shape.tiles[tile, 5] + ((before * height + row) * width + column) * bytes_
        place = start + (tile - first) * positions
        touch(program, WEIGHTS, place, place + positions, True)
        loaded = program.table[add(program, LOAD, 0)]
        move(loaded, address, columns, bytes_, shape.words[3], (inner, outer))
        program.counters[_READ_BEATS] += positions * shape.words[3]
    return int(start)


@inlined
def _moved(
    shape: Shape, row: np.ndarray, place: np.ndarray, pixel: np.ndarray, block: int, run: np.ndarray
) -> int:
    """Make ``row`` move the words ``run`` of ``block`` from or to ``place``; return its beats."""
    sample, y, x = pixel[0], pixel[1], pixel[2]
    rows, columns, valid = pixel[3], pixel[4], pixel[5]
    area = -(-valid // rows) * rows * columns
    address = place[0] + sample * place[3] + (shape.blocks[block, 0] + run[0]) * place[1]
    address += y * place[2] + x * place[6]
    size, beats = shape.words[0], shape.words[2]
    inner, outer = (valid, place[2], columns), (run[1] - run[0], place[1], area)
    if place[6] > size:
        move(row, address, 1, size, beats, ((columns, place[6], 1), inner, outer))
    else:
        move(row, address, columns, size, beats, (inner, outer))
    return int(columns * valid * (run[1] - run[0]) * shape.words[2])


@inlined
def _constants(shape: Shape, program: Program, slots: Slots, tile: int, whole: bool) -> int:
    """Return where the constants of ``tile`` are; load its, or the ``whole`` step's, if need be."""
    key = -1 if whole else tile
    before, words = 0, shape.tiles[tile, 0]
    if whole:
        before, words = shape.tiles[tile, 10], slots.layout[CONSTANTS, 0]
    slot = find(slots, CONSTANTS, key, 0)
    size, start = slots.layout[CONSTANTS, 0], slots.layout[CONSTANTS, 2]
    if slot < 0:
        slot = take(program, slots, CONSTANTS, key, 0, words, False)
        first = start + slot * size
        touch(program, CONSTANTS, first, first + words, True)
        loaded = program.table[add(program, LOAD, 0)]
        loaded[3] = words * shape.words[4]
        loaded[4] = shape.tiles[0 if whole else tile, 6]
        program.counters[_READ_BEATS] += words * shape.words[4]
    return int(start + slot * size + before)


@inlined
def _table(shape: Shape, program: Program, slots: Slots) -> int:
    """Return which table is the step's, -1 where it has none; load it if need be."""
    if shape.table[0] < 0:
        return -1
    slot = find(slots, TABLES, 0, 0)
    if slot < 0:
        slot = take(program, slots, TABLES, 0, 0, 1, False)
        touch(program, TABLES, slot, slot + 1, True)
        loaded = program.table[add(program, LOAD, 0)]
        loaded[3], loaded[4] = shape.table[1], shape.table[0]
        loaded[5], loaded[8] = shape.table[2], shape.table[3]
        program.counters[_READ_BEATS] += shape.table[1] * shape.table[2]
    return int(slot)


@lean
def _residual(
    shape: Shape, program: Program, slots: Slots, pixel: np.ndarray, block: int, key: int
) -> int:
    """Return where the residual operand of ``block`` is; load it if need be."""
    slot = find(slots, RESIDUALS, key, block)
    size, start = slots.layout[RESIDUALS, 0], slots.layout[RESIDUALS, 2]
    if slot >= 0:
        return int(start + slot * size)
    sample, y, x, rows, columns, valid = (
        pixel[0], pixel[1], pixel[2], pixel[3], pixel[4], pixel[5],
    )  # fmt: skip
    words = shape.blocks[block, 1] * -(-valid // rows) * rows * columns
    slot = take(program, slots, RESIDUALS, key, block, words, True)
    start += slot * size
    place = shape.operand
    for run in shape.block_runs[shape.blocks[block, 3] : shape.blocks[block, 4]]:
        first = place[4] + shape.blocks[block, 0]
        box = (first + run[0], first + run[1]), (y, y + valid), (x, x + columns)
        store = stored(program, place[5], sample, box)
        if store >= 0:
            program.need[STORE] = store
        touch(program, RESIDUALS, start, start + words, True)
        loaded = program.table[add(program, LOAD, 0)]
        program.counters[_READ_BEATS] += _moved(shape, loaded, place, pixel, block, run)
    return int(start)


@lean
def _store(
    shape: Shape, program: Program, stays: Stays, pixel: np.ndarray, block: int, outputs: int
) -> None:
    """Store a block whose outputs are complete, or keep it on chip for its readers, or both."""
    sample, y, x, rows, columns, valid = (
        pixel[0], pixel[1], pixel[2], pixel[3], pixel[4], pixel[5],
    )  # fmt: skip
    area = -(-valid // rows) * rows * columns
    place = shape.target
    before = shape.blocks[block, 0]
    for run in shape.block_runs[shape.blocks[block, 3] : shape.blocks[block, 4]]:
        kept = before + run[0], before + run[1]
        keep_outputs(shape, program, stays, pixel, kept, outputs - before * area)
        if not stays.links[3]:
            continue
        first, stop = outputs + run[0] * area, outputs + run[1] * area
        touch(program, OUTPUTS, first, stop, False)
        index = program.at[0]
        row = program.table[add(program, STORE, 0)]
        beats = _moved(shape, row, place, pixel, block, run)
        program.counters[_WRITE_BEATS] += beats
        program.counters[_OUTPUT_READS] += beats // shape.words[2]
        word = place[4] + before
        store = program.stores[program.at[1]]
        store[0], store[1] = word + run[0], word + run[1]
        store[2], store[3] = place[7] + y * place[8], place[7] + (y + valid - 1) * place[8] + 1
        store[4] = place[9] + x * place[10]
        store[5] = place[9] + (x + columns - 1) * place[10] + 1
        store[6], store[7], store[8] = sample, sample, index
        program.at[1] += 1


@inlined
def _finish(
    shape: Shape, program: Program, slots: Slots, stays: Stays, pixel: np.ndarray, tile: int,
    accumulators: int, posted: np.ndarray, whole_constants: bool,
) -> None:  # fmt: skip
    """Post a tile of finished sums; store its block if it was the last of that."""
    rows, columns, valid = pixel[3], pixel[4], pixel[5]
    window, block = shape.window, shape.tiles[tile, 4]
    lanes = -(-valid // rows)
    area = lanes * rows * columns
    key = (pixel[0] * shape.sizes[1] + pixel[1]) * shape.sizes[2] + pixel[2]
    slot = find(slots, OUTPUTS, key, block)
    if slot < 0:
        words = shape.blocks[block, 1] * area
        slot = take(program, slots, OUTPUTS, key, block, words, True)
        posted[slot] = 0
    outputs = slots.layout[OUTPUTS, 2] + slot * slots.layout[OUTPUTS, 0]
    table = _table(shape, program, slots)
    constants = _constants(shape, program, slots, tile, whole_constants)
    residuals = -1
    if shape.operand[5] >= 0:
        residuals = _residual(shape, program, slots, pixel, block, key)
    groups, word, lane_group = shape.tiles[tile, 0], shape.tiles[tile, 1], shape.tiles[tile, 2]
    sums = ((rows - 1) * window[10] + window[12]) * ((columns - 1) * window[11] + window[13])
    size = -(-(lane_group + groups) // shape.sizes[6]) * area
    row, column = pixel[1], pixel[2]
    while row < pixel[1] + rows:
        # Parts whose windows are cut alike; most often the whole.
        down, _, tall = cut_alike(
            row, pixel[1] + rows, window[10], window[2], window[14], window[16], window[18]
        )
        across, _, wide = cut_alike(
            column, pixel[2] + columns, window[11], window[3], window[15], window[17], window[19]
        )
        touch(program, ACCUMULATORS, accumulators, accumulators + sums, False)
        touch(program, CONSTANTS, constants, constants + groups, False)
        if table >= 0:
            touch(program, TABLES, table, table + 1, False)
        first = outputs + word * area
        touch(program, OUTPUTS, first, first + size, True)
        if residuals >= 0:
            first = residuals + word * area
            touch(program, RESIDUALS, first, first + size, False)
        part = down - row, across - column, tall, wide
        add(program, POST, part[0] * part[1] * tall * wide * lanes * groups)
        count_post(
            window, pixel, part, (groups, lane_group, shape.sizes[6]), residuals >= 0,
            program.strides, program.counters,
        )  # fmt: skip
        column = across
        if column == pixel[2] + columns:
            row, column = down, pixel[2]
    posted[slot] += 1
    if posted[slot] == shape.blocks[block, 2]:
        _store(shape, program, stays, pixel, block, outputs)
        slots.full[OUTPUTS, slot] = slots.held[OUTPUTS, slot] = False
        if residuals >= 0:
            slot = find(slots, RESIDUALS, key, block)
            slots.full[RESIDUALS, slot] = slots.held[RESIDUALS, slot] = False


@inlined
def _work(
    shape: Shape, program: Program, slots: Slots, stays: Stays, pixel: np.ndarray,
    tiles: np.ndarray, chunk: np.ndarray, array: np.ndarray, summed: np.ndarray,
    posted: np.ndarray, whole: bool,
) -> None:  # fmt: skip
    """Append what one compute descriptor and all that it leads to takes."""
    window, first = shape.window, tiles[0]
    key = (pixel[0] * shape.sizes[1] + pixel[1]) * shape.sizes[2] + pixel[2]
    rows = (pixel[3] - 1) * window[10] + window[12]
    columns = (pixel[4] - 1) * window[11] + window[13]
    sums = (tiles[1] - first) * rows * columns
    slot = find(slots, ACCUMULATORS, key, first)
    if slot < 0:
        slot = take(program, slots, ACCUMULATORS, key, first, sums, True)
        summed[slot] = 0
    accumulators = slots.layout[ACCUMULATORS, 2] + slot * slots.layout[ACCUMULATORS, 0]
    weights = _weights(shape, program, slots, tiles, chunk)
    activations = find_input(shape, program, slots, stays, pixel, chunk)
    step = row_step(window, pixel[3], chunk[3])
    tall = ((rows - 1) * window[0] + (chunk[3] - 1) * window[6] + window[20]) // step + 1
    pitch = (columns - 1) * window[1] + (chunk[5] - 1) * window[7] + window[21] + 1
    kernel = 1 if shape.sizes[5] else chunk[3] * chunk[5]
    words = chunk[1] * tall * pitch
    touch(program, ACTIVATIONS, activations, activations + words, False)
    words = (tiles[1] - first) * chunk[1] * kernel
    touch(program, WEIGHTS, weights, weights + words, False)
    touch(program, ACCUMULATORS, accumulators, accumulators + sums, True)
    positions = chunk[1] * chunk[3] * chunk[5]
    steps = sums * positions * shape.sizes[4]
    if window[21] > 0:
        steps = positions * (((rows - 1) * window[0] + window[20]) // step + 1) * pitch
    add(program, COMPUTE, steps)
    nest = tiles[1] - first, chunk[1], rows, columns, chunk[3], chunk[5]
    count_compute(
        window, nest, array, (step, tall, pitch), shape.sizes[4:6], summed[slot] == 0,
        program.strides, program.counters,
    )  # fmt: skip
    summed[slot] += positions
    if summed[slot] == shape.tiles[first, 3] * window[8] * window[9]:
        for tile in range(first, tiles[1]):
            place = accumulators + (tile - first) * rows * columns
            _finish(shape, program, slots, stays, pixel, tile, place, posted, whole)
        slots.full[ACCUMULATORS, slot] = slots.held[ACCUMULATORS, slot] = False


@compiled
def emit_step(
    shape: Shape, loops: np.ndarray, array: np.ndarray, layout: np.ndarray, stays: Stays,
    program: Program,
) -> bool:  # fmt: skip
    """Append the rows of a step; false where ``program`` has no room for them.

    Parameters
    ----------
    shape
        The step.
    loops
        Those over memory, outermost first: dimension (its place in ``Dimension``) and step.
    array
        The order on the array, outermost first, of K, C, OY, OX, FY and FX (0 to 5).
    layout
        For each buffer the words of a slot, the slots, and the first one's address.
    stays
        What stays on chip; its ``bordered`` is changed.
    program
        What was emitted before; changed.
    """
    empty = np.zeros((BUFFERS, MOST_SLOTS), np.bool_)
    keys = np.zeros((BUFFERS, MOST_SLOTS, 2), np.int64)
    slots = Slots(layout, keys, empty, empty.copy())
    sums = np.zeros((2, MOST_SLOTS), np.int64)
    walk = start_walk(shape, len(loops))
    runs = np.empty_like(walk.words)
    pixel, chunk = np.zeros((2, 6), np.int64)
    return _emit(shape, loops, array, slots, stays, program, walk, runs, pixel, chunk, sums)


@lean
def _emit(
    shape: Shape, loops: np.ndarray, array: np.ndarray, slots: Slots, stays: Stays,
    program: Program, walk: Walk, runs: np.ndarray, pixel: np.ndarray, chunk: np.ndarray,
    sums: np.ndarray,
) -> bool:  # fmt: skip
    # All constants in one load where they fit beside another step's.
    last = len(shape.tiles) - 1
    whole = slots.layout[CONSTANTS, 0] == shape.tiles[last, 10] + shape.tiles[last, 0]
    lay_out(program, slots.layout)
    more = advance(shape, loops, walk, True)
    while more:
        count = tiles_of(shape, walk, runs, pixel, chunk)
        tiles = walk.part[1]
        for number in range(count):
            each = _MOST_POSTS + 2 * len(shape.block_runs)
            most = (tiles[1] - tiles[0]) * each + 5 * shape.sizes[3]
            program.at[4] = most
            if not has_room(program, most):
                return False
            chunk[0], chunk[1] = runs[number, 0], runs[number, 1] - runs[number, 0]
            _work(shape, program, slots, stays, pixel, tiles, chunk, array, sums[0], sums[1], whole)
            if program.at[3]:
                return False
        more = advance(shape, loops, walk, False)
    close_step(program, shape.target[5])
    return bool(program.at[3] == 0)
