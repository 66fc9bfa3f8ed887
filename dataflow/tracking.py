"""Who used which part of a buffer or tensor last: where dependencies come from."""

from __future__ import annotations

import heapq
import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Hashable

import numpy as np

Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
"""Words, rows and columns of a tensor, half-open ranges."""


class BufferTracker:
    """The last writer and user (descriptor indices) of every word of a buffer.

    Words that were written together are one span: spans lie side by side without overlapping, in
    order, so that those of a range are found by their first words.
    """

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self._starts: list[int] = []
        self._stops: list[int] = []
        self._writers: list[int] = []
        self._users: list[int] = []

    def _overlap(self, start: int, stop: int) -> tuple[int, int]:
        """Return the range of spans (by their places) that have a word of ``[start, stop)``."""
        first = bisect_right(self._starts, start) - 1
        if first < 0 or self._stops[first] <= start:
            first += 1
        return first, bisect_left(self._starts, stop, first)

    def last_use(self, start: int, stop: int) -> int:
        """Return the last descriptor that wrote or read a word of ``[start, stop)``, or -1."""
        first, last = self._overlap(start, stop)
        return max(self._users[first:last], default=-1)

    def write(self, start: int, stop: int, index: int) -> frozenset[int]:
        """Note that ``index`` writes ``[start, stop)``; return the users it must wait for."""
        first, last = self._overlap(start, stop)
        starts, stops = [start], [stop]
        writers, users = [index], [index]
        if first < last:
            before, after = first, last - 1
            if self._starts[before] < start:
                starts.insert(0, self._starts[before])
                stops.insert(0, start)
                writers.insert(0, self._writers[before])
                users.insert(0, self._users[before])
            if stop < self._stops[after]:
                starts.append(stop)
                stops.append(self._stops[after])
                writers.append(self._writers[after])
                users.append(self._users[after])
        found = frozenset(self._writers[first:last]).union(self._users[first:last])
        self._starts[first:last], self._stops[first:last] = starts, stops
        self._writers[first:last], self._users[first:last] = writers, users
        return found

    def read(self, start: int, stop: int, index: int) -> frozenset[int]:
        """Note that ``index`` reads ``[start, stop)``; return the writers it must wait for."""
        first, last = self._overlap(start, stop)
        for place in range(first, last):
            self._users[place] = max(self._users[place], index)
        return frozenset(self._writers[first:last])


class Slots:
    """A buffer cut into equal slots for the tiles of one step, the least recently used first.

    Parameters
    ----------
    tracker : BufferTracker
        Of the buffer.
    size : int
        Words of a slot.
    count : int
        Slots, as many as fit at most.
    start, words : int
        Where in the buffer they may lie; all of it by default.
    high : bool
        Whether to take the upper half where the slots fit into it: steps that alternate can load
        while the step before still computes.
    """

    def __init__(
        self,
        tracker: BufferTracker,
        size: int,
        count: int,
        *,
        start: int = 0,
        words: int | None = None,
        high: bool = False,
    ) -> None:
        self._tracker = tracker
        half = (tracker.depth if words is None else words) // 2
        first = start + (half if high and count * size <= half else 0)
        self._keys: dict[int, Hashable] = {}
        self._where: dict[Hashable, int] = {}
        # Free slots, and a use of each that is no later than its last, of the words asked for.
        self._free = [(-1, first + i * size) for i in range(count)]
        self._held: set[int] = set()
        self._words = 0

    def find(self, key: Hashable) -> int | None:
        """Return the address of the slot that holds ``key``, if one does."""
        return self._where.get(key)

    def take(self, key: Hashable, words: int, *, hold: bool = False) -> int:
        """Return the address of a slot for ``key``: the free one whose last use is oldest.

        With ``hold`` it is not free again before :meth:`release`.
        """
        if words < self._words:
            # Uses of more words may be of others than these.
            self._free = [(-1, start) for _, start in self._free]
            heapq.heapify(self._free)
        self._words = words
        # Uses only become later: the first slot that was not used since is the one.
        while True:
            used, start = self._free[0]
            last = self._tracker.last_use(start, start + words)
            if last == used:
                break
            heapq.heapreplace(self._free, (last, start))
        self._where.pop(self._keys.get(start), None)
        self._keys[start] = key
        self._where[key] = start
        if hold:
            heapq.heappop(self._free)
            self._held.add(start)
        return start

    def release(self, key: Hashable) -> None:
        """Free the slot of ``key``, which is forgotten."""
        start = self._where.pop(key)
        del self._keys[start]
        self._held.remove(start)
        heapq.heappush(self._free, (-1, start))


class TensorTracker:
    """The stores into one root tensor: where and of which sample, and when each is acknowledged.

    A load waits for the last of the stores that it overlaps, rounded up to a milestone:
    few tokens for a layer, so that no counter overflows.
    """

    MILESTONES = 6

    def __init__(self) -> None:
        self._ranges: list[tuple[int, ...]] = []
        self._done: list[np.ndarray] = []

    def store(self, sample: int, box: Box, index: int) -> None:
        """Note that ``index`` stores ``box`` of ``sample``."""
        self._ranges.append((*itertools.chain(*box), sample, index))

    def finish(self) -> None:
        """Close the list of one step's stores."""
        if not self._ranges:
            return
        table = np.array(self._ranges, np.int64)
        self._ranges = []
        stride = -(-len(table) // self.MILESTONES)
        order = np.minimum((np.arange(len(table)) // stride + 1) * stride, len(table)) - 1
        table[:, 7] = table[order, 7]
        self._done.append(table)

    def load(self, sample: int, box: Box) -> frozenset[int]:
        """Return the store to wait for before loading ``box`` of ``sample``."""
        last = -1
        for table in self._done:
            mask = table[:, 6] == sample
            for low, (first, stop) in zip((0, 2, 4), box, strict=True):
                mask &= (table[:, low] < stop) & (first < table[:, low + 1])
            if mask.any():
                last = max(last, int(table[mask, 7].max()))
        return frozenset() if last < 0 else frozenset((last,))
