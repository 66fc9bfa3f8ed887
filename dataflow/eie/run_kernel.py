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
    up. ``ready`` is the number of entries of the column looked up, ``left`` those not issued of
    the one at work (both :data:`NOTHING` where there is none), with their channels.
    """

    places: np.ndarray
    taken: np.ndarray
    unseen: np.ndarray
    tail: np.ndarray
    head: np.ndarray
    pending: np.ndarray
    ready: np.ndarray
    ready_channel: np.ndarray
    left: np.ndarray
    channel: np.ndarray
    turn: np.ndarray


@compiled
def _full(pe: _Pe, counts: np.ndarray, channel: int, depth: int, skips: bool) -> bool:
    """Return whether some PE cannot take a broadcast on ``channel``."""
    for k in range(len(pe.ready)):
        taken = pe.taken[k, channel]
        if skips and pe.pending[k, channel] != NOTHING:
            taken += counts[k, pe.pending[k, channel]] > 0
        if taken >= depth:
            return True
    return False


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
    busy = pe.left[k] != NOTHING
    had_ready = pe.ready[k] != NOTHING
    looks, owner = NOTHING, 0
    if not had_ready or not busy:
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
    if looks == NOTHING:
        return 0
    pe.ready[k], pe.ready_channel[k] = counts[k, looks], owner
    return 1


@compiled
def run_tile(
    counts: np.ndarray, columns: np.ndarray, ends: np.ndarray, depth: int, skips: bool
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
    depth
        Places of a queue.
    skips
        Whether columns without entries are not queued.
    """
    pes, channels = counts.shape[0], columns.shape[0]
    none = np.full((pes, channels), NOTHING, np.int64)
    zeros = np.zeros((6, pes, channels), np.int64)
    empty = np.full((5, pes), NOTHING, np.int64)
    pe = _Pe(
        np.zeros((pes, channels, depth), np.int64), zeros[0], zeros[1], zeros[2], zeros[3], none,
        empty[0], empty[1], empty[2], empty[3], np.zeros(pes, np.int64),
    )  # fmt: skip
    windows, window = ends.shape[1], 0
    at, reach = np.zeros(channels, np.int64), np.zeros(channels, np.int64)
    taken, offered = np.full(channels, NOTHING), np.full(channels, NOTHING)
    fired, pushed = np.full(channels, NOTHING), np.full(channels, NOTHING)
    cycle = broadcasts = stalls = look_ups = 0
    while True:
        cycle += 1
        found = (at < reach).any()
        at_work = found or (taken != NOTHING).any() or (offered != NOTHING).any()
        if not at_work and window == windows:
            idle = not pe.taken.any() and not (pe.pending != NOTHING).any()
            if idle:
                return Tally(cycle, broadcasts, stalls, look_ups)
        for c in range(channels):
            fired[c] = NOTHING
            if offered[c] != NOTHING:
                if _full(pe, counts, c, depth, skips):
                    stalls += 1
                else:
                    fired[c] = offered[c]
                    offered[c] = NOTHING
                    broadcasts += 1
            if taken[c] != NOTHING and offered[c] == NOTHING:
                offered[c] = taken[c]
                taken[c] = NOTHING
            if taken[c] == NOTHING and at[c] < reach[c]:
                taken[c] = columns[c, at[c]]
                at[c] += 1
        if not found and window < windows:
            reach[:] = ends[:, window]
            window += 1
        for k in range(pes):
            for c in range(channels):
                pushed[c] = fired[c]
                if skips:
                    waits = pe.pending[k, c]
                    kept = waits != NOTHING and counts[k, waits] > 0
                    pushed[c] = waits if kept else NOTHING
                    pe.pending[k, c] = fired[c]
            look_ups += _move(pe, k, counts, pushed)
