"""Places in the memories of processing elements, given out in a circle."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(slots=True)
class Ring:
    """A memory of ``size`` places; the oldest tenants leave as their last step is done.

    ``tenants`` holds (first place, first after, steps that must be done before it is free).
    """

    size: int
    next: int = 0
    tenants: list[tuple[int, int, int]] = field(default_factory=list)

    def gather(self, length: int) -> None:
        """Begin where the next tenants, of ``length`` places together, lie one after another."""
        if self.next + length > self.size:
            self.next = 0

    def take(self, length: int, user: int) -> tuple[int, int]:
        """Return where ``length`` places are, and after how many steps they are free.

        ``user`` is the number of steps that are done when the new tenant leaves. ``length`` is at
        most ``size``.
        """
        self.gather(length)
        first, stop = self.next, self.next + length
        after = 0
        kept: list[tuple[int, int, int]] = []
        for begin, end, leaves in self.tenants:
            if begin < stop and first < end:
                after = max(after, leaves)
            # Of a tenant whose places are taken in part, the others stay.
            parts = ((begin, min(end, first)), (max(begin, stop), end))
            kept += [(low, high, leaves) for low, high in parts if low < high]
        self.tenants = [*kept, (first, stop, user)]
        self.next = stop
        return first, after
