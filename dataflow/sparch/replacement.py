"""What the right buffer holds where: replacement by furthest next use. In machine code."""

from __future__ import annotations

import heapq

import numpy as np

from celosia.dataflow.jit import compiled

NEVER = np.int64(1) << 40
"""A next use that does not come."""

_CANDIDATES = 128
"""Runs that are looked at for a place of several beats."""


@compiled
def _next_uses(tags: np.ndarray, count: int) -> np.ndarray:
    """Return for each record the next record with the same tag, :data:`NEVER` for the last."""
    upcoming = np.full(count, NEVER)
    uses = np.empty(len(tags), np.int64)
    for record in range(len(tags) - 1, -1, -1):
        uses[record] = upcoming[tags[record]]
        upcoming[tags[record]] = record
    return uses


@compiled
def _place(
    tags: np.ndarray, uses: np.ndarray, count: int, lines: int, pinned: int
) -> tuple[np.ndarray, np.ndarray]:
    slots = np.empty(len(tags), np.int64)
    misses = np.empty(len(tags), np.bool_)
    slot_of = np.full(count, -1, np.int64)
    tag_of = np.full(lines, -1, np.int64)
    last_use = np.full(lines, -1, np.int64)
    fresh = 0
    # (-next use, slot, last use): the furthest first; an entry whose slot was used since is stale
    free = [(np.int64(0), np.int64(0), np.int64(0)) for _ in range(0)]
    for record in range(len(tags)):
        ripe = record - pinned - 1
        if ripe >= 0 and last_use[slots[ripe]] == ripe:
            heapq.heappush(free, (-uses[ripe], slots[ripe], np.int64(ripe)))
        tag = tags[record]
        slot = slot_of[tag]
        misses[record] = slot < 0
        if slot < 0:
            if fresh < lines:
                slot = np.int64(fresh)
                fresh += 1
            else:
                _, slot, used = heapq.heappop(free)
                while last_use[slot] != used:
                    _, slot, used = heapq.heappop(free)
                slot_of[tag_of[slot]] = -1
            slot_of[tag] = slot
            tag_of[slot] = tag
        slots[record] = slot
        last_use[slot] = record
    return slots, misses


def place_lines(tags: np.ndarray, lines: int, pinned: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the buffer's line for each use, and whether it must be fetched.

    A line that is replaced was last used more than ``pinned`` uses before. Among those it is the
    one that is used again last (of those never used again the lowest).

    Parameters
    ----------
    tags
        What is used, int64 (n,): numbers from 0 on.
    lines
        Of the buffer, more than ``pinned``.
    pinned
        Uses for which a line stays.

    Returns
    -------
    int64 (n,) and bool (n,).
    """
    if lines <= pinned:
        raise ValueError(f"lines must be more than {pinned}, not {lines!r}")
    tags = np.ascontiguousarray(tags, np.int64)
    count = int(tags.max(initial=-1)) + 1
    return _place(tags, _next_uses(tags, count), count, lines, pinned)


@compiled
def _stretch(
    at: int, size: int, ripe: int, owner: np.ndarray, start: np.ndarray, length: np.ndarray,
    used: np.ndarray, uses: np.ndarray,
) -> tuple[int, int]:  # fmt: skip
    """Return ``size`` beats or more round run ``at``: the first, and the soonest next use of any.

    The first is -1 where runs used after record ``ripe`` are in the way.
    """
    low, high = start[at], start[at] + length[at]
    soonest = int(uses[used[at]])
    while high - low < size:
        below = above = -1
        if low > 0:
            run = owner[low - 1]
            if run < 0:
                below = int(NEVER) + 1
            elif used[run] <= ripe:
                below = int(uses[used[run]])
        if high < len(owner):
            run = owner[high]
            if run < 0:
                above = int(NEVER) + 1
            elif used[run] <= ripe:
                above = int(uses[used[run]])
        if below < 0 and above < 0:
            return -1, 0
        if below > above:
            run = owner[low - 1]
            low -= 1 if run < 0 else length[run]
        else:
            run = owner[high]
            high += 1 if run < 0 else length[run]
        soonest = min(soonest, max(below, above))
    return int(low), soonest


@compiled
def _anywhere(size: int, ripe: int, owner: np.ndarray, used: np.ndarray) -> int:
    """Return the first of ``size`` beats that are free or of runs last used up to ``ripe``.

    There are such where half of the buffer is: gaps are one more than runs that must stay.
    """
    first = 0
    for beat in range(len(owner)):
        if owner[beat] >= 0 and used[owner[beat]] > ripe:
            first = beat + 1
        elif beat + 1 - first == size:
            break
    return first


@compiled
def _evict(
    first: int, size: int, tag: int, owner: np.ndarray, start: np.ndarray, length: np.ndarray
) -> None:
    """Put run ``tag`` where other runs lie."""
    for beat in range(first, first + size):
        run = owner[beat]
        if run >= 0:
            owner[start[run] : start[run] + length[run]] = -1
            start[run] = -1
    owner[first : first + size] = tag
    start[tag], length[tag] = first, size


@compiled
def _place_runs(
    tags: np.ndarray, sizes: np.ndarray, uses: np.ndarray, count: int, beats: int, pinned: int
) -> tuple[np.ndarray, np.ndarray]:
    slots = np.empty(len(tags), np.int64)
    misses = np.empty(len(tags), np.bool_)
    owner = np.full(beats, -1, np.int64)
    start = np.full(count, -1, np.int64)
    length, used = np.zeros(count, np.int64), np.full(count, -1, np.int64)
    fresh = 0
    # (-next use, run, last use), as in _place; candidates that were looked at
    free = [(np.int64(0), np.int64(0), np.int64(0)) for _ in range(0)]
    seen = [(np.int64(0), np.int64(0), np.int64(0)) for _ in range(0)]
    for record in range(len(tags)):
        ripe = record - pinned - 1
        if ripe >= 0 and used[tags[ripe]] == ripe:
            heapq.heappush(free, (-uses[ripe], tags[ripe], np.int64(ripe)))
        tag, size = tags[record], sizes[record]
        misses[record] = start[tag] < 0
        if start[tag] < 0 and fresh + size <= beats:
            _evict(fresh, size, tag, owner, start, length)
            fresh += size
        elif start[tag] < 0:
            best, latest = -1, -1
            while len(free) and (len(seen) < _CANDIDATES or best < 0):
                each = heapq.heappop(free)
                run = each[1]
                if used[run] != each[2] or start[run] < 0:
                    continue
                seen.append(each)
                low, soonest = _stretch(int(run), size, ripe, owner, start, length, used, uses)
                if low >= 0 and soonest > latest:
                    best, latest = low, soonest
                if latest >= -each[0]:  # no other is used later
                    break
            if best < 0:
                best = _anywhere(size, ripe, owner, used)
            _evict(best, size, tag, owner, start, length)
            for each in seen:
                heapq.heappush(free, each)
            seen.clear()
        slots[record] = start[tag]
        used[tag] = record
    return slots, misses


def place_runs(
    tags: np.ndarray, sizes: np.ndarray, beats: int, pinned: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the buffer's first beat for each use, and whether it must be fetched.

    What is used lies in beats one after another. Beats that are replaced were last used more than
    ``pinned`` uses before. Among some places round what is used again last, that is taken of which
    the first to be used again is so the latest.

    Parameters
    ----------
    tags
        What is used, int64 (n,): numbers from 0 on.
    sizes
        Beats of each, int64 (n,); those with the same tag have the same.
    beats
        Of the buffer, at least 2 (``pinned`` + 1) times the longest.
    pinned
        Uses for which they stay.

    Returns
    -------
    int64 (n,) and bool (n,).
    """
    least = 2 * (pinned + 1) * int(sizes.max(initial=1))
    if beats < least:
        raise ValueError(f"beats must be at least {least}, not {beats!r}")
    tags = np.ascontiguousarray(tags, np.int64)
    count = int(tags.max(initial=-1)) + 1
    return _place_runs(tags, sizes, _next_uses(tags, count), count, beats, pinned)
