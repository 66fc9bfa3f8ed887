"""Which line of the right buffer holds what: replacement by furthest next use. In machine code."""

from __future__ import annotations

import heapq

import numpy as np

from celosia.dataflow.jit import compiled

NEVER = np.int64(1) << 40
"""A next use that does not come."""


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
