"""The left stream: work records as they lie in memory, in grains. In machine code.

``docs/sparch.md`` has the form.
"""

from __future__ import annotations

import enum

import numpy as np

from celosia.dataflow.jit import compiled
from celosia.dataflow.sparch.accelerator import GRAIN_BITS, SparchAccelerator
from celosia.dataflow.sparch.bits import beats_of

_GRAIN = (1 << GRAIN_BITS) - 1

FIELDS = ("value", "row", "leaf", "slot", "first", "count", "fetches", "last", "address")
"""What a record says, in the order of :class:`~celosia.dataflow.sparch.accelerator.WorkLayout`."""


class Follows(enum.IntEnum):
    """How the row of a record follows from that of its leaf's record before it.

    ``SAME``: it is the same, and so is the value. ``NEXT``: it is the row after. ``SKIP``: it is as
    many rows on as a grain says. ``ROW``: the row itself is given, of a leaf's first record too.
    """

    SAME = 0
    NEXT = 1
    SKIP = 2
    ROW = 3


@compiled
def _follows(row: np.ndarray, leaf: np.ndarray, ways: int) -> np.ndarray:
    """Return the :class:`Follows` of each record."""
    before = np.full(ways, -1, np.int64)
    found = np.empty(len(row), np.int64)
    for record in range(len(row)):
        last = before[leaf[record]]
        step = row[record] - last
        found[record] = min(step, 2) if last >= 0 and 0 <= step <= _GRAIN else 3
        before[leaf[record]] = row[record]
    return found


def _sizes(accelerator: SparchAccelerator) -> np.ndarray:
    """Return the grains of records by :class:`Follows`, of those that fetch nothing."""
    grains = accelerator.grains
    behind = (0, grains.value, grains.value + 1, grains.value + grains.row)
    return grains.head + np.array(behind, np.int64)


def record_ends(
    row: np.ndarray, leaf: np.ndarray, fetches: np.ndarray, accelerator: SparchAccelerator
) -> np.ndarray:
    """Return the grain in which each record of a round ends, counted from 1, int64 (n,)."""
    found = _follows(row, leaf, accelerator.tree.ways)
    return np.cumsum(_sizes(accelerator)[found] + accelerator.grains.address * fetches)


def left_beats(ends: np.ndarray, accelerator: SparchAccelerator) -> int:
    """Return the beats of a round's records that end in ``ends``."""
    return beats_of(int(ends[-1]), accelerator.beat_grains) if len(ends) else 0


@compiled
def _put(memory: np.ndarray, at: int, value: int, grains: int) -> int:
    """Write ``value`` into ``grains`` from ``at`` on; return where they end."""
    for grain in range(grains):
        memory[at + grain] = (value >> np.uint64(GRAIN_BITS * grain)) & np.uint64(_GRAIN)
    return at + grains


@compiled
def _get(memory: np.ndarray, at: int, grains: int) -> np.uint64:
    """Return what :func:`_put` wrote."""
    value = np.uint64(0)
    for grain in range(grains):
        value |= np.uint64(memory[at + grain]) << np.uint64(GRAIN_BITS * grain)
    return value


@compiled
def _bits(code: np.uint64, bit: int, width: int) -> np.uint64:
    """Return ``width`` bits of ``code``."""
    return (code >> np.uint64(bit)) & np.uint64((1 << width) - 1)


@compiled
def _write(
    memory: np.ndarray, fields: np.ndarray, follows: np.ndarray, widths: np.ndarray,
    grains: np.ndarray, ways: int,
) -> None:  # fmt: skip
    before = np.zeros(ways, np.uint64)
    at = 0
    for record in range(fields.shape[1]):
        value, row, leaf, slot, first, count, fetches, last, address = fields[:, record]
        kind = follows[record]
        head, bit = np.uint64(kind) | last << np.uint64(2) | fetches << np.uint64(3), 4
        for each, width in ((leaf, widths[0]), (slot, widths[1]), (first, widths[2])):
            head |= each << np.uint64(bit)
            bit += width
        at = _put(memory, at, head | count << np.uint64(bit), grains[0])
        if kind:
            at = _put(memory, at, value, grains[1])
        if kind == 2:
            at = _put(memory, at, row - before[leaf], 1)
        elif kind == 3:
            at = _put(memory, at, row, grains[2])
        if fetches:
            at = _put(memory, at, address, grains[3])
        before[leaf] = row


@compiled
def _read(
    memory: np.ndarray, fields: np.ndarray, widths: np.ndarray, grains: np.ndarray, ways: int
) -> int:
    rows, values = np.zeros(ways, np.uint64), np.zeros(ways, np.uint64)
    at, most = 0, grains.sum()
    for record in range(fields.shape[1]):
        if at + most > len(memory):
            return -1
        head = _get(memory, at, grains[0])
        at += grains[0]
        kind = head & np.uint64(3)
        fields[7, record], fields[6, record] = _bits(head, 2, 1), _bits(head, 3, 1)
        bit = 4
        for number in range(4):
            width = widths[number]
            fields[2 + number, record] = _bits(head, bit, width)
            bit += width
        leaf = fields[2, record]
        if kind:
            values[leaf] = _get(memory, at, grains[1])
            at += grains[1]
        if kind == 1:
            rows[leaf] += np.uint64(1)
        elif kind == 2:
            rows[leaf] += _get(memory, at, 1)
            at += 1
        elif kind == 3:
            rows[leaf] = _get(memory, at, grains[2])
            at += grains[2]
        fields[0, record], fields[1, record], fields[8, record] = values[leaf], rows[leaf], 0
        if fields[6, record]:
            fields[8, record] = _get(memory, at, grains[3])
            at += grains[3]
    return at


def _head_widths(accelerator: SparchAccelerator) -> np.ndarray:
    work = accelerator.work
    return np.array([work.leaf, work.slot, work.first, work.count], np.int64)


def pack_work(fields: list[np.ndarray], accelerator: SparchAccelerator) -> np.ndarray:
    """Return a round's work records in memory, uint8, whole beats.

    ``fields`` are the codes of :data:`FIELDS`, each (n,); ``count`` is one less than the elements.
    """
    codes = np.array([np.asarray(field).astype(np.uint64) for field in fields])
    row, leaf, fetches = (codes[FIELDS.index(name)] for name in ("row", "leaf", "fetches"))
    signed = row.astype(np.int64), leaf.astype(np.int64), fetches.astype(np.int64)
    beats = left_beats(record_ends(*signed, accelerator), accelerator)
    memory = np.zeros(beats * accelerator.beat_grains, np.uint16)
    follows = _follows(signed[0], signed[1], accelerator.tree.ways)
    _write(
        memory, codes, follows, _head_widths(accelerator), accelerator.grains.array,
        accelerator.tree.ways,
    )  # fmt: skip
    return memory.view(np.uint8)


def unpack_work(memory: np.ndarray, count: int, accelerator: SparchAccelerator) -> np.ndarray:
    """Return the codes of :data:`FIELDS`, uint64 (9, ``count``), of records in ``memory``, uint8.

    Raises ``ValueError`` where records do not end in the last beat of it.
    """
    grains = accelerator.grains
    room = np.zeros(len(memory) // 2 + grains.most, np.uint16)  # what lies beyond is 0
    room[: len(memory) // 2] = memory.view(np.uint16)
    fields = np.empty((len(FIELDS), count), np.uint64)
    end = _read(
        room, fields, _head_widths(accelerator), grains.array, accelerator.tree.ways
    )  # fmt: skip
    if beats_of(end, accelerator.beat_grains) * accelerator.bus.data_bytes != len(memory):
        raise ValueError(f"{count} records end in grain {end} of {len(memory) // 2}")
    return fields
