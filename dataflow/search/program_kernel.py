"""A program as it grows, in machine code: slots, trackers, tokens and rows of a table.

The same as :mod:`celosia.dataflow.tracking`, :mod:`celosia.dataflow.tokens` and
:mod:`celosia.dataflow.transfers`, on arrays.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from celosia.dataflow.descriptors import Token, Unit
from celosia.dataflow.jit import inlined, lean
from celosia.dataflow.table import Kind
from celosia.dataflow.tracking import Box as _Box
from celosia.dataflow.tracking import TensorTracker
from celosia.dataflow.transfers import MAX_COUNT

ACTIVATIONS, WEIGHTS, ACCUMULATORS, CONSTANTS, RESIDUALS, OUTPUTS, TABLES = range(7)
"""Buffers, in the order of the fields of ``Buffers``, and the tables, of which each is a word."""

BUFFERS = 7
"""How many there are."""

LOAD, COMPUTE, POST, STORE = (int(kind) for kind in tuple(Kind)[:4])
KEEP = int(Kind.KEEP)

_GROUP = 16
"""Stores that are looked at as one where none of them matters."""

_ENDLESS = 1 << 62
"""More words than any buffer has."""

_MILESTONES = TensorTracker.MILESTONES
_TOKENS = {(token.giver, token.taker): int(token) for token in Token}
_TOKEN = np.array([[_TOKENS.get((a, b), -1) for b in Unit] for a in Unit])


class Program(NamedTuple):
    """A program as it grows.

    ``table`` has room for more than the ``at[0]`` rows that it has; ``at[1]`` is the number of rows
    of ``stores`` and ``at[2]`` of ``steps``. ``newest`` is the last descriptor that each token was
    taken for; ``counters`` what :class:`~celosia.dataflow.program.Counter` counts. ``spans`` holds,
    of each slot of each buffer that the step has (``layout``, as :class:`Slots`'s) and of the rest
    of the buffer, parts (first word, the one after the last, writer, last user), ``parts`` how many
    there are, ``latest`` the last user of all; ``loose`` is room for parts that change slots.
    ``stores`` (words, rows, columns, first and last sample, descriptor) are of ``steps`` (tensor
    memory, first and last row), ``groups`` what several of them cover at most. ``at[3]`` says that
    there was no more room, ``at[4]`` how many rows the tile that is emitted may take but for what
    it keeps. Of each bank of activations ``banks`` has the last load, the last keep, and the words.
    ``need`` is what the next row waits for, a descriptor of each unit or -1; ``strides`` is for
    counting accesses.
    """

    table: np.ndarray
    at: np.ndarray
    newest: np.ndarray
    counters: np.ndarray
    layout: np.ndarray
    spans: np.ndarray
    parts: np.ndarray
    latest: np.ndarray
    loose: np.ndarray
    stores: np.ndarray
    groups: np.ndarray
    steps: np.ndarray
    banks: np.ndarray
    need: np.ndarray
    strides: np.ndarray


class Slots(NamedTuple):
    """The slots of each buffer: their ``keys``, whether they have one (``full``) and are held."""

    layout: np.ndarray
    keys: np.ndarray
    full: np.ndarray
    held: np.ndarray


@lean
def _copy(to: np.ndarray, place: int, rows: np.ndarray, number: int) -> None:
    for column in range(4):
        to[place, column] = rows[number, column]


@lean
def lay_out(program: Program, layout: np.ndarray) -> None:
    """Cut the buffers into the slots of another step."""
    for buffer in range(len(layout)):
        count, loose, spans = 0, program.loose, program.spans[buffer]
        for slot in range(program.layout[buffer, 1] + 1):
            for number in range(program.parts[buffer, slot]):
                _copy(loose, count, spans[slot], number)
                count += 1
        for column in range(3):
            program.layout[buffer, column] = layout[buffer, column]
        for slot in range(layout[buffer, 1] + 1):
            program.parts[buffer, slot] = 0
            program.latest[buffer, slot] = -1
        for number in range(count):
            first, stop = loose[number, 0], loose[number, 1]
            while first < stop:
                slot, end = _slot_of(program, buffer, first)
                end = min(stop, end)
                _append(program, buffer, slot, (first, end, loose[number, 2], loose[number, 3]))
                first = end


@inlined
def _append(program: Program, buffer: int, slot: int, span: tuple[int, int, int, int]) -> None:
    spans, place = program.spans[buffer, slot], program.parts[buffer, slot]
    if place == len(spans):
        program.at[3] = 1
        return
    spans[place, 0], spans[place, 1], spans[place, 2], spans[place, 3] = span
    program.parts[buffer, slot] = place + 1
    program.latest[buffer, slot] = max(program.latest[buffer, slot], span[3])


@inlined
def _slot_of(program: Program, buffer: int, word: int) -> tuple[int, int]:
    """Return the slot that ``word`` is in, of words in none the number of slots; and its end."""
    size, count, first = (
        program.layout[buffer, 0], program.layout[buffer, 1], program.layout[buffer, 2],
    )  # fmt: skip
    if word < first or count == 0:
        return count, first if word < first else _ENDLESS
    slot = (word - first) // size
    if slot >= count:
        return count, _ENDLESS
    return slot, first + (slot + 1) * size


@inlined
def touch(program: Program, buffer: int, first: int, stop: int, writes: bool) -> None:
    """Note that the next row reads or ``writes`` words, and what it needs for that."""
    while first < stop:
        slot, end = _slot_of(program, buffer, first)
        end = min(stop, end)
        _touch_slot(program, buffer, slot, (first, end), writes)
        first = end


@lean
def _touch_slot(
    program: Program, buffer: int, slot: int, words: tuple[int, int], writes: bool
) -> None:
    (first, stop), index, need = words, program.at[0], program.need
    spans, count = program.spans[buffer, slot], program.parts[buffer, slot]
    kept, extra, most = 0, count, len(spans)
    for number in range(count):
        low, high = spans[number, 0], spans[number, 1]
        if high <= first or stop <= low:
            if kept != number:
                _copy(spans, kept, spans, number)
            kept += 1
            continue
        writer, user = spans[number, 2], spans[number, 3]
        unit = min(program.table[writer, 0], STORE)
        need[unit] = max(need[unit], writer)
        if not writes:
            spans[number, 3] = index
            if kept != number:
                _copy(spans, kept, spans, number)
            kept += 1
            continue
        unit = min(program.table[user, 0], STORE)
        need[unit] = max(need[unit], user)
        if extra + 2 > most:
            program.at[3] = 1
            return
        # What sticks out on either side stays as it was.
        if low < first:
            _copy(spans, extra, spans, number)
            spans[extra, 1] = first
            extra += 1
        if stop < high:
            _copy(spans, extra, spans, number)
            spans[extra, 0] = stop
            extra += 1
    for number in range(count, extra):
        _copy(spans, kept, spans, number)
        kept += 1
    program.parts[buffer, slot] = kept
    if writes:
        _append(program, buffer, slot, (first, stop, index, index))
    elif kept:
        program.latest[buffer, slot] = index


@inlined
def has_room(program: Program, most: int) -> bool:
    """Return whether so many more rows fit."""
    return bool(
        program.at[0] + most <= len(program.table) and program.at[1] + most <= len(program.stores)
    )


@inlined
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


@inlined
def _last_use(program: Program, buffer: int, slot: int, words: int) -> int:
    """Return the last row that used any of the first ``words`` of a slot, -1 if none did."""
    first = program.layout[buffer, 2] + slot * program.layout[buffer, 0]
    spans, used = program.spans[buffer, slot], -1
    for number in range(program.parts[buffer, slot]):
        if spans[number, 0] < first + words:
            used = max(used, spans[number, 3])
    return used


@inlined
def take(
    program: Program, slots: Slots, buffer: int, key: int, more: int, words: int, held: bool
) -> int:
    """Return the free slot whose first ``words`` were used longest ago, now of (key, more)."""
    size, count = slots.layout[buffer, 0], slots.layout[buffer, 1]
    best, oldest = -1, 0
    for slot in range(count):
        if slots.held[buffer, slot]:
            continue
        used = program.latest[buffer, slot]
        if words < size:
            used = _last_use(program, buffer, slot, words)
        if best < 0 or used < oldest:
            best, oldest = slot, used
    slots.keys[buffer, best, 0] = key
    slots.keys[buffer, best, 1] = more
    slots.full[buffer, best] = True
    slots.held[buffer, best] = held
    return best


@inlined
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
    axes: tuple[tuple[int, int, int], ...],
) -> None:  # fmt: skip
    """Make ``row`` the transfer of runs of ``words`` words of ``size`` bytes along ``axes``.

    An axis is its count, bytes in memory and words in the buffer; contiguous ones are merged as in
    :func:`celosia.dataflow.transfers.transfer`.
    """
    loops = apart = 0
    for count, memory, buffer in axes:
        if count == 1:
            continue
        if loops == 0 and words * count <= MAX_COUNT and memory == words * size and buffer == words:
            words *= count
            continue
        if loops:
            before = row[4 + loops]
            follows = memory == row[7 + loops] * before and buffer == apart * before
            if follows and before * count <= MAX_COUNT:
                row[4 + loops] = before * count
                continue
        loops += 1
        row[4 + loops] = count
        row[7 + loops] = memory
        apart = buffer
    row[3] = words * beats
    row[4] = address


@lean
def stored(program: Program, memory: int, sample: int, box: _Box) -> int:
    """Return the store that a load of ``box`` of a tensor waits for, or -1."""
    last = -1
    for step in range(program.at[2]):
        if program.steps[step, 0] != memory:
            continue
        first, number = program.steps[step, 1], program.steps[step, 2] - 1
        whole = True  # of the store's group nothing was looked at
        while number >= first:
            if whole and not _meets(program.groups[number // _GROUP], sample, box):
                number -= number % _GROUP + 1
                continue
            if _meets(program.stores[number], sample, box):
                last = max(last, program.stores[number, 8])  # later ones are no earlier
                break
            whole = number % _GROUP == 0
            number -= 1
    return last


@lean
def _meets(store: np.ndarray, sample: int, box: _Box) -> bool:
    """Return whether some of ``box`` may be in ``store``."""
    words, rows, columns = box
    return bool(
        store[0] < words[1] and words[0] < store[1] and store[2] < rows[1] and rows[0] < store[3]
        and store[4] < columns[1] and columns[0] < store[5] and store[6] <= sample <= store[7]
    )  # fmt: skip


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
        program.stores[first + number, 8] = program.stores[first + milestone, 8]
        group, store = program.groups[(first + number) // _GROUP], program.stores[first + number]
        begins = (first + number) % _GROUP == 0
        for low in (0, 2, 4, 6):
            group[low] = store[low] if begins else min(group[low], store[low])
            group[low + 1] = store[low + 1] if begins else max(group[low + 1], store[low + 1])
    step = program.steps[program.at[2]]
    step[0], step[1], step[2] = memory, first, program.at[1]
    program.at[2] += 1
