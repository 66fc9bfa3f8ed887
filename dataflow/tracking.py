"""Who used which part of a buffer or tensor last: where dependencies come from."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np


@dataclass(slots=True)
class _Span:
    start: int
    stop: int
    writer: int
    user: int


class BufferTracker:
    """The last writer and user (descriptor indices) of every word of a buffer."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self._spans: list[_Span] = []

    def last_use(self, start: int, stop: int) -> int:
        """Return the last descriptor that wrote or read a word of ``[start, stop)``, or -1."""
        return max((s.user for s in self._spans if s.start < stop and start < s.stop), default=-1)

    def write(self, start: int, stop: int, index: int) -> frozenset[int]:
        """Note that ``index`` writes ``[start, stop)``; return the users it must wait for."""
        kept, users = [], set()
        for span in self._spans:
            if span.stop <= start or stop <= span.start:
                kept.append(span)
                continue
            users |= {span.writer, span.user}
            if span.start < start:
                kept.append(_Span(span.start, start, span.writer, span.user))
            if stop < span.stop:
                kept.append(_Span(stop, span.stop, span.writer, span.user))
        kept.append(_Span(start, stop, index, index))
        self._spans = kept
        return frozenset(users)

    def read(self, start: int, stop: int, index: int) -> frozenset[int]:
        """Note that ``index`` reads ``[start, stop)``; return the writers it must wait for."""
        writers = set()
        for span in self._spans:
            if span.start < stop and start < span.stop:
                writers.add(span.writer)
                span.user = max(span.user, index)
        return frozenset(writers)


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
        self._starts = [first + i * size for i in range(count)]
        self._keys: dict[int, Hashable] = {}
        self._where: dict[Hashable, int] = {}
        self._held: set[int] = set()

    def find(self, key: Hashable) -> int | None:
        """Return the address of the slot that holds ``key``, if one does."""
        return self._where.get(key)

    def take(self, key: Hashable, words: int, *, hold: bool = False) -> int:
        """Return the address of a slot for ``key``: the free one whose last use is oldest.

        With ``hold`` it is not free again before :meth:`release`.
        """
        free = (start for start in self._starts if start not in self._held)
        start = min(free, key=lambda s: self._tracker.last_use(s, s + words))
        self._where.pop(self._keys.get(start), None)
        self._keys[start] = key
        self._where[key] = start
        if hold:
            self._held.add(start)
        return start

    def release(self, key: Hashable) -> None:
        """Free the slot of ``key``, which is forgotten."""
        start = self._where.pop(key)
        del self._keys[start]
        self._held.remove(start)


class TensorTracker:
    """The stores into one root tensor: words, rows and sample, and when each is acknowledged.

    A load waits for the last of the stores that it overlaps, rounded up to a milestone:
    few tokens for a layer, so that no counter overflows.
    """

    MILESTONES = 6

    def __init__(self) -> None:
        self._ranges: list[tuple[int, int, int, int, int, int]] = []
        self._done: list[np.ndarray] = []

    def store(self, sample: int, words: tuple[int, int], rows: tuple[int, int], index: int) -> None:
        """Note that ``index`` stores the ``words`` and ``rows`` (half-open) of ``sample``."""
        self._ranges.append((*words, *rows, sample, index))

    def finish(self) -> None:
        """Close the list of one step's stores."""
        if not self._ranges:
            return
        table = np.array(self._ranges, np.int64)
        self._ranges = []
        stride = -(-len(table) // self.MILESTONES)
        order = np.minimum((np.arange(len(table)) // stride + 1) * stride, len(table)) - 1
        table[:, 5] = table[order, 5]
        self._done.append(table)

    def load(self, sample: int, words: tuple[int, int], rows: tuple[int, int]) -> frozenset[int]:
        """Return the store to wait for before loading the ``words`` and ``rows`` of ``sample``."""
        last = -1
        for table in self._done:
            mask = (table[:, 0] < words[1]) & (words[0] < table[:, 1])
            mask &= (table[:, 2] < rows[1]) & (rows[0] < table[:, 3]) & (table[:, 4] == sample)
            if mask.any():
                last = max(last, int(table[mask, 5].max()))
        return frozenset() if last < 0 else frozenset((last,))
