"""The event queue under the timing walk: clock cycles, and what becomes visible in each."""

from __future__ import annotations

import heapq
from collections.abc import Callable


class Agenda:
    """Actions by the cycle in which their effect is visible, as registers show it.

    A component that acts in cycle t changes registers, which others see in t+1: it
    books the change for t+1. Cycles in which nothing becomes visible are skipped.
    """

    def __init__(self) -> None:
        self.now = 0
        self._order = 0
        self._heap: list[tuple[int, int, Callable[[], None] | None]] = []

    def at(self, cycle: int, action: Callable[[], None] | None = None) -> None:
        """Run ``action`` (or merely wake the components) when ``cycle`` begins; after now."""
        self._order += 1
        heapq.heappush(self._heap, (cycle, self._order, action))

    def advance(self) -> bool:
        """Go to the next cycle with an entry and run its actions; false if there is none."""
        if not self._heap:
            return False
        self.now = self._heap[0][0]
        while self._heap and self._heap[0][0] == self.now:
            _, _, action = heapq.heappop(self._heap)
            if action is not None:
                action()
        return True
