"""The units of the event walk that touch no memory, and the queues and tokens of all."""

from __future__ import annotations

from collections import deque

from celosia.dataflow.descriptors import Compute, Descriptor, Post, Token
from celosia.dataflow.microarchitecture import UNIT_QUEUE_DEPTH

from .agenda import Agenda


class Tokens:
    """The nine counters."""

    def __init__(self, agenda: Agenda) -> None:
        self._agenda = agenda
        self._counts = dict.fromkeys(Token, 0)

    def take(self, wait: frozenset[Token]) -> bool:
        """Take one of each, or none if one is missing."""
        if not all(self._counts[token] for token in wait):
            return False
        for token in wait:
            self._counts[token] -= 1
        return True

    def signal(self, cycle: int, signal: frozenset[Token]) -> None:
        """Signal in ``cycle``: visible in the next."""

        def give() -> None:
            for token in signal:
                self._counts[token] += 1

        self._agenda.at(cycle + 1, give)


class Queue:
    """A unit's descriptor queue; an entry pushed in t can be taken from t + 1."""

    def __init__(self, agenda: Agenda) -> None:
        self._agenda = agenda
        self._level = 0
        self._entries: deque[Descriptor] = deque()

    @property
    def full(self) -> bool:
        return self._level == UNIT_QUEUE_DEPTH

    def push(self, descriptor: Descriptor) -> None:
        self._level += 1
        self._agenda.at(self._agenda.now + 1, lambda: self._entries.append(descriptor))

    def head(self) -> Descriptor | None:
        return self._entries[0] if self._entries else None

    def pop(self) -> None:
        self._entries.popleft()

        def leave() -> None:
            self._level -= 1

        self._agenda.at(self._agenda.now + 1, leave)


class NestUnit:
    """Compute or post: one step a cycle, back to back, a fixed latency to the signal."""

    def __init__(self, agenda: Agenda, queue: Queue, tokens: Tokens, latency: int) -> None:
        self._agenda = agenda
        self._queue = queue
        self._tokens = tokens
        self._latency = latency
        self._ready_from = 0

    def step(self) -> None:
        """Accept the next descriptor if the unit is free and its tokens are there."""
        now, head = self._agenda.now, self._queue.head()
        if head is None or now < self._ready_from or not self._tokens.take(head.wait):
            return
        if not isinstance(head, Compute | Post):
            raise TypeError(f"a {type(head).__name__} descriptor is not for this unit")
        self._queue.pop()
        self._ready_from = now + head.steps
        self._agenda.at(self._ready_from)
        self._tokens.signal(now + head.steps + self._latency, head.signal)
