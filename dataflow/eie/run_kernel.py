"""How long a tile takes, cycle by cycle: broadcasts, queues and entries. In machine code.

Written from ``docs/eie.md``, not from the hardware. Times are counted from the acceptance of the
run, which is cycle 0.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from celosia.dataflow.jit import compiled

NOTHING = -1
"""Instead of a column: none is there."""


class Tally(NamedTuple):
    """What a run takes: cycles up to the last in which it is at work, and what it counts."""

    quiet: int
    broadcasts: int
    stalls: int
    look_ups: int


class _Pe(NamedTuple):
    """The processing elements' registers; rows are PEs.

    ``places`` are queues of columns, one for each channel, as rings; ``taken`` counts places,
    ``unseen`` those not looked up, ``tail`` and ``head`` are where the next comes in and is looked
    up. Of columns that a filter looks at, ``pending`` was broadcast in the cycle before, ``kept``
    is queued in this one. ``read`` is the number of entries of the column looked up last, ``ready``
    of that which waits for its first, ``left`` those not issued of the one at work (all
    :data:`NOTHING` where there is none), with their channels.
    """

    places: np.ndarray
    taken: np.ndarray
    unseen: np.ndarray
    tail: np.ndarray
    head: np.ndarray
    pending: np.ndarray
    kept: np.ndarray
    read: np.ndarray
    read_channel: np.ndarray
    ready: np.ndarray
    ready_channel: np.ndarray
    left: np.ndarray
    channel: np.ndarray
    turn: np.ndarray


@compiled
def _full(pe: _Pe, channel: int, queue: int) -> bool:
    """Return whether some PE cannot take a broadcast on ``channel``."""
    return bool((pe.taken[:, channel] >= queue).any())


@compiled
def _idle(pe: _Pe, fired: np.ndarray) -> bool:
    """Return whether nothing comes, is queued or at work."""
    came = (fired != NOTHING).any() or (pe.pending != NOTHING).any() or (pe.kept != NOTHING).any()
    return not came and not pe.taken.any()


@compiled
def _move(pe: _Pe, k: int, counts: np.ndarray, pushed: np.ndarray) -> int:
    """Let PE ``k`` do a cycle, ``pushed`` coming into its queues; return whether it looked up."""
    channels, depth = pe.places.shape[1], pe.places.shape[2]
    for c in range(channels):
        if pushed[c] != NOTHING:
            pe.places[k, c, pe.tail[k, c]] = pushed[c]
            pe.tail[k, c] = (pe.tail[k, c] + 1) % depth
            pe.unseen[k, c] += 1
            pe.taken[k, c] += 1
    busy, had_ready = pe.left[k] != NOTHING, pe.ready[k] != NOTHING
    had_read = pe.read[k] != NOTHING
    looks, owner = NOTHING, 0
    if not had_read or not had_ready or not busy:
        for step in range(channels):
            c = (pe.turn[k] + step) % channels
            if pe.unseen[k, c]:
                looks, owner = pe.places[k, c, pe.head[k, c]], c
                pe.head[k, c] = (pe.head[k, c] + 1) % depth
                pe.unseen[k, c] -= 1
                pe.turn[k] = (c + 1) % channels
                break
    if busy or had_ready:
        if not busy:
            pe.left[k], pe.channel[k] = pe.ready[k], pe.ready_channel[k]
            pe.ready[k] = NOTHING
        pe.left[k] -= 1
        if pe.left[k] <= 0:
            pe.left[k] = NOTHING
            pe.taken[k, pe.channel[k]] -= 1
    if had_read and (not had_ready or not busy):
        pe.ready[k], pe.ready_channel[k] = pe.read[k], pe.read_channel[k]
        pe.read[k] = NOTHING
    if looks == NOTHING:
        return 0
    pe.read[k], pe.read_channel[k] = counts[k, looks], owner
    return 1


@compiled
def run_tile(
    counts: np.ndarray,
    columns: np.ndarray,
    ends: np.ndarray,
    levels: int,
    late: bool,
    queue: int,
    filter_cycles: int,
) -> Tally:
    """Run a tile until nothing is left to do.

    Parameters
    ----------
    counts
        Entries of each PE in each column, int64 (pes, columns).
    columns
        For each channel its nonzero activations' columns, in order, int64 (channels, n).
    ends
        For each channel and window how many of those come before the next window, (channels, w).
    levels
        Buffers that a nonzero passes before it is taken.
    late
        Nonzeros are found in the cycle after a window's flags were read.
    queue
        Places of a queue.
    filter_cycles
        From a broadcast to its place, where columns without entries are not queued; otherwise 0.
    """
    pes, channels = counts.shape[0], columns.shape[0]
    skips = filter_cycles > 0
    none = np.full((2, pes, channels), NOTHING, np.int64)
    zeros = np.zeros((4, pes, channels), np.int64)
    empty = np.full((6, pes), NOTHING, np.int64)
    pe = _Pe(
        np.zeros((pes, channels, queue + filter_cycles), np.int64), zeros[0], zeros[1], zeros[2],
        zeros[3], none[0], none[1], empty[0], empty[1], empty[2], empty[3], empty[4], empty[5],
        np.zeros(pes, np.int64),
    )  # fmt: skip
    windows, window, loaded, begin = ends.shape[1], 0, -2, 0
    at, reach = np.zeros(channels, np.int64), np.zeros(channels, np.int64)
    taken, offered = np.full(channels, NOTHING), np.full(channels, NOTHING)
    fired, pushed = np.full(channels, NOTHING), np.full(channels, NOTHING)
    cycle = broadcasts = stalls = look_ups = 0
    was_idle, found = True, False
    while True:
        cycle += 1
        was_found, found = found, bool((at < reach).any())
        over = not was_found and cycle > loaded + 2 if late else not found
        at_work = not over or (taken != NOTHING).any() or (offered != NOTHING).any()
        if not at_work and window == windows and was_idle:
            return Tally(cycle, broadcasts, stalls, look_ups)
        for c in range(channels):
            fired[c] = NOTHING
            if offered[c] != NOTHING:
                if _full(pe, c, queue):
                    stalls += 1
                else:
                    fired[c] = offered[c]
                    offered[c] = NOTHING
                    broadcasts += 1
            if taken[c] != NOTHING and offered[c] == NOTHING:
                offered[c] = taken[c]
                taken[c] = NOTHING
            if taken[c] == NOTHING and at[c] < reach[c] and cycle >= begin:
                taken[c] = columns[c, at[c]]
                at[c] += 1
        if over and window < windows:
            reach[:] = ends[:, window]
            window += 1
            loaded, begin = cycle, cycle + 1 + levels + late
        was_idle = _idle(pe, fired)
        for k in range(pes):
            for c in range(channels):
                pushed[c] = pe.kept[k, c] if skips else fired[c]
                if skips:
                    waits = pe.pending[k, c]
                    kept = waits != NOTHING and counts[k, waits] > 0
                    pe.kept[k, c] = waits if kept else NOTHING
                    pe.pending[k, c] = fired[c]
            look_ups += _move(pe, k, counts, pushed)
