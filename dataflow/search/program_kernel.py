"""A program as it grows, in machine code: slots, trackers, tokens and rows of a table.

The same as :mod:`celosia.dataflow.tracking`, :mod:`celosia.dataflow.tokens` and
:mod:`celosia.dataflow.transfers`, on arrays.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from celosia.dataflow.descriptors import Token, Unit
from celosia.dataflow.jit import lean
from celosia.dataflow.table import Kind
from celosia.dataflow.tracking import TensorTracker
from celosia.dataflow.transfers import MAX_COUNT

ACTIVATIONS, WEIGHTS, ACCUMULATORS, CONSTANTS, RESIDUALS, OUTPUTS = range(6)
"""Buffers, in the order of the fields of ``Buffers``."""

LOAD, COMPUTE, POST, STORE = (int(kind) for kind in tuple(Kind)[:4])
KEEP = int(Kind.KEEP)

_MILESTONES = TensorTracker.MILESTONES
_TOKENS = {(token.giver, token.taker): int(token) for token in Token}
_TOKEN = np.array([[_TOKENS.get((a, b), -1) for b in Unit] for a in Unit])


class Program(NamedTuple):
    """A program as it grows.

    ``table`` has room for more than the ``at[0]`` rows that it has; ``at[1]`` is the number of
    rows of ``stores`` and ``at[2]`` of ``steps``. ``newest`` is the last descriptor that each
    token was taken for; ``counters`` what :class:`~celosia.dataflow.program.Counter` counts.
    ``spans`` holds for each buffer parts (first word, the one after the last, writer, last user)
    and ``parts`` how many there are. ``stores`` (words, rows, sample, descriptor) are those of
    ``steps`` (tensor memory, first and last row). ``at[3]`` says that there was no more room,
    ``at[4]`` how many rows the tile that is emitted may take but for what it keeps. Of each bank
    of activations ``banks`` has the last load, the last keep, and the words. ``need`` is what the
    next row waits for, a descriptor of each unit or -1; ``strides`` is for counting accesses.
    """

    table: np.ndarray
    at: np.ndarray
    newest: np.ndarray
    counters: np.ndarray
    spans: np.ndarray
    parts: np.ndarray
    stores: np.ndarray
    steps: np.ndarray
    banks: np.ndarray
    need: np.ndarray
    strides: np.ndarray


class Slots(NamedTuple):
    """The slots of each buffer: their ``keys``, whether they have one (``full``) and are held.

    ``used`` is for one buffer's last uses.
    """

    layout: np.ndarray
    keys: np.ndarray
    full: np.ndarray
    held: np.ndarray
    used: np.ndarray


@lean
def _copy(rows: np.ndarray, to: int, number: int) -> None:
    for column in range(rows.shape[1]):
        rows[to, column] = rows[number, column]


@lean
def touch(program: Program, buffer: int, first: int, stop: int, writes: bool) -> None:
    """Note that the next row reads or ``writes`` words, and what it needs for that."""
    index, spans, need = program.at[0], program.spans[buffer], program.need
    count = program.parts[buffer]
    kept = 0
    extra = count
    for number in range(count):
        low, high = spans[number, 0], spans[number, 1]
        if high <= first or stop <= low:
            if kept != number:
                _copy(spans, kept, number)
            kept += 1
            continue
        writer, user = spans[number, 2], spans[number, 3]
        unit = min(program.table[writer, 0], STORE)
        need[unit] = max(need[unit], writer)
        if not writes:
            spans[number, 3] = index
            if kept != number:
                _copy(spans, kept, number)
            kept += 1
            continue
        unit = min(program.table[user, 0], STORE)
        need[unit] = max(need[unit], user)
        # What sticks out on either side stays as it was.
        if low < first:
            _copy(spans, extra, number)
            spans[extra, 1] = first
            extra += 1
        if stop < high:
            _copy(spans, extra, number)
            spans[extra, 0] = stop
            extra += 1
    for number in range(count, extra):
        _copy(spans, kept, number)
        kept += 1
    if writes:
        spans[kept, 0] = first
        spans[kept, 1] = stop
        spans[kept, 2] = spans[kept, 3] = index
        kept += 1
    program.parts[buffer] = kept


@lean
def has_room(program: Program, most: int) -> bool:
    """Return whether so many more rows fit, and what they touch."""
    fits = program.at[0] + most <= len(program.table)
    fits &= program.at[1] + most <= len(program.stores)
    for buffer in range(len(program.parts)):
        fits &= program.parts[buffer] + 2 * most <= program.spans.shape[1]
    return bool(fits)


@lean
def find(slots: Slots, buffer: int, key: int, more: int) -> int:
    """Return the slot that holds (``key``, ``more``), -1 if none does."""
    for slot in range(slots.layout[buffer, 1]):
        if (
            slots.full[buffer, slot]
            and slots.keys[buffer, slot, 0] == key
            and slots.keys[buffer, slot, 1] == more
        ):
            return slot
    return -1


@lean
def take(
    program: Program, slots: Slots, buffer: int, key: int, more: int, words: int, held: bool
) -> int:
    """Return the free slot whose first ``words`` were used longest ago, now of (key, more)."""
    size, count, first = slots.layout[buffer]
    used, spans = slots.used, program.spans[buffer]
    used[:count] = -1
    for number in range(program.parts[buffer]):
        low, high, user = spans[number, 0], spans[number, 1], spans[number, 3]
        for slot in range(
            max(0, (low - first) // size), min(count, (high - 1 - first) // size + 1)
        ):
            start = first + slot * size
            if low < start + words and start < high:
                used[slot] = max(used[slot], user)
    best = -1
    for slot in range(count):
        if not slots.held[buffer, slot] and (best < 0 or used[slot] < used[best]):
            best = slot
    slots.keys[buffer, best, 0] = key
    slots.keys[buffer, best, 1] = more
    slots.full[buffer, best] = True
    slots.held[buffer, best] = held
    return best


@lean
def add(program: Program, kind: int, work: int) -> int:
    """Append a row that waits for what was noted; return its number."""
    index, need = program.at[0], program.need
    row = program.table[index]
    row[:] = 0
    row[0] = kind
    row[3] = work
    row[5:8] = 1
    for giver in range(4):
        token = _TOKEN[giver, min(kind, STORE)]
        if token >= 0 and need[giver] > program.newest[token]:
            program.newest[token] = need[giver]
            row[1] |= 1 << token
            program.table[need[giver], 2] |= 1 << token
        need[giver] = -1
    program.at[0] = index + 1
    return int(index)


@lean
def move(
    row: np.ndarray, address: int, words: int, size: int, beats: int,
    inner: tuple[int, int, int], outer: tuple[int, int, int],
) -> None:  # fmt: skip
    """Make ``row`` the transfer of runs of ``words`` words of ``size`` bytes along two axes.

    An axis is its count, bytes in memory and words in the buffer; contiguous ones are merged as in
    :func:`celosia.dataflow.transfers.transfer`.
    """
    loops = 0
    for count, memory, buffer in (inner, outer):
        if count == 1:
            continue
        if loops == 0 and words * count <= MAX_COUNT and memory == words * size and buffer == words:
            words *= count
            continue
        if loops:
            before = row[4 + loops]
            follows = memory == row[7 + loops] * before and buffer == inner[2] * before
            if follows and before * count <= MAX_COUNT:
                row[4 + loops] = before * count
                continue
        loops += 1
        row[4 + loops] = count
        row[7 + loops] = memory
    row[3] = words * beats
    row[4] = address


@lean
def stored(
    program: Program, memory: int, sample: int, words: tuple[int, int], rows: tuple[int, int]
) -> int:
    """Return the store that a load of the ``words`` and ``rows`` of a tensor waits for, or -1."""
    last = -1
    for step in range(program.at[2]):
        if program.steps[step, 0] != memory:
            continue
        for number in range(program.steps[step, 2] - 1, program.steps[step, 1] - 1, -1):
            store = program.stores[number]
            if (
                store[0] < words[1] and words[0] < store[1] and store[2] < rows[1]
                and rows[0] < store[3] and store[4] == sample
            ):  # fmt: skip
                last = max(last, store[5])  # later ones are no earlier
                break
    return last


@lean
def close_step(program: Program, memory: int) -> None:
    """Let loads wait for stores into tensor ``memory`` by the step that is complete.

    For a few of them only, so that it takes few tokens.
    """
    first = 0 if program.at[2] == 0 else program.steps[program.at[2] - 1, 2]
    count = program.at[1] - first
    if count == 0:
        return
    stride = -(-count // _MILESTONES)
    for number in range(count):
        milestone = min((number // stride + 1) * stride, count) - 1
        program.stores[first + number, 5] = program.stores[first + milestone, 5]
    step = program.steps[program.at[2]]
    step[0], step[1], step[2] = memory, first, program.at[1]
    program.at[2] += 1
