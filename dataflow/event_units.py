"""The units of the event walk: when each accepts, asks for bursts and signals."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.accesses import word_beats
from celosia.dataflow.agenda import Agenda
from celosia.dataflow.event_memory import BeatCycles, Burst, ReadPort, burst_lengths
from celosia.dataflow.memory import MemoryModel
from celosia.dataflow.program import (
    CHUNK_DESCRIPTORS,
    DESCRIPTOR_BYTES,
    Compute,
    Descriptor,
    End,
    Load,
    Post,
    Stamp,
    Store,
    Token,
    Transfer,
    Unit,
)

QUEUE_DEPTH = 4
FETCH_DEPTH = 8
LOAD_DEPTH = 8


@dataclass
class Interval:
    """Counts the cycles in which at least one of several overlapping jobs runs."""

    running: int = 0
    since: int = 0
    total: int = 0

    def begin(self, cycle: int) -> None:
        """Begin a job that runs from ``cycle`` on."""
        if not self.running:
            self.since = cycle
        self.running += 1

    def end(self, cycle: int) -> None:
        """End a job whose last cycle was the one before ``cycle``."""
        self.running -= 1
        if not self.running:
            self.total += cycle - self.since


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
        return self._level == QUEUE_DEPTH

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


class Sequencer:
    """Fetches chunks of descriptors and hands them to the queues."""

    def __init__(
        self, agenda: Agenda, accelerator: Accelerator, port: ReadPort, queues: dict[Unit, Queue],
        descriptors: tuple[Descriptor, ...], address: int,
    ) -> None:  # fmt: skip
        self._agenda = agenda
        self._port = port
        self._queues = queues
        self._descriptors = descriptors
        self._beats_each = max(1, DESCRIPTOR_BYTES // accelerator.bus.data_bytes)
        chunk = Transfer(address=address, buffer_address=0, words=CHUNK_DESCRIPTORS)
        lengths = burst_lengths(
            chunk, self._beats_each, accelerator.bus.data_bytes, accelerator.bus.burst_beats
        )
        self._chunk = list(lengths)
        self._chunks_left = -(-len(descriptors) // CHUNK_DESCRIPTORS)
        self._pending: list[int] = []
        self._offered_from = 0
        self._promised = 0
        self._asked = 0
        self._arrived = 0
        self._beats = 0
        self._dispatched = 0

    def step(self) -> None:
        """Dispatch the head, then ask for the next burst."""
        self._dispatch()
        self._request()

    def _dispatch(self) -> None:
        if self._dispatched >= min(self._arrived, len(self._descriptors)):
            return
        descriptor = self._descriptors[self._dispatched]
        if isinstance(descriptor, End) and self._arrived < self._asked:
            return  # what was fetched beyond the end is awaited before it is handed over
        queue = self._queues[unit_of(descriptor)]
        if queue.full:
            return
        queue.push(descriptor)
        self._dispatched += 1

        def free() -> None:
            self._promised -= 1

        self._agenda.at(self._agenda.now + 1, free)

    def _request(self) -> None:
        now = self._agenda.now
        if not self._pending:
            if not self._chunks_left or self._promised > FETCH_DEPTH - CHUNK_DESCRIPTORS:
                return
            self._promised += CHUNK_DESCRIPTORS
            self._asked += CHUNK_DESCRIPTORS
            self._chunks_left -= 1
            self._pending = list(self._chunk)
            self._offered_from = now + 1
            self._agenda.at(now + 1)
            return
        if now >= self._offered_from and self._port.take(
            Burst(self._pending[0], self._accepted(self._pending[0]))
        ):
            self._pending.pop(0)
            self._offered_from = now + 2
            self._agenda.at(now + 2)

    def _accepted(self, beats: int) -> Callable[[BeatCycles], None]:
        def accepted(cycles: BeatCycles) -> None:
            for beat in range(beats):
                self._beats += 1
                if self._beats % self._beats_each == 0:
                    self._agenda.at(cycles[beat] + 1, arrive)

        def arrive() -> None:
            self._arrived += 1

        return accepted


def unit_of(descriptor: Descriptor) -> Unit:
    """Return the unit that runs a descriptor."""
    match descriptor:
        case Load():
            return Unit.LOAD
        case Compute():
            return Unit.COMPUTE
        case Post():
            return Unit.POST
        case Store() | Stamp() | End():
            return Unit.STORE


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


class LoadUnit:
    """The request half; the data half is the beats' arrival."""

    def __init__(
        self, agenda: Agenda, queue: Queue, tokens: Tokens, port: ReadPort, accelerator: Accelerator
    ) -> None:
        self._agenda = agenda
        self._queue = queue
        self._tokens = tokens
        self._port = port
        self._accelerator = accelerator
        self._bursts: deque[int] = deque()
        self._descriptor: Load | None = None
        self._offered_from = 0
        self._ready_from = 0
        self._level = 0  # of the queue between the halves, as its register shows it
        self._waiting = 0  # entries that the data half could take
        self._working = False
        self.busy = Interval()

    def step(self) -> None:
        """Offer the next burst, or accept the next descriptor."""
        if self._descriptor is None:
            self._accept()
        else:
            self._request(self._descriptor)

    def _accept(self) -> None:
        now, head = self._agenda.now, self._queue.head()
        if head is None or now < self._ready_from or self._level == LOAD_DEPTH:
            return
        if not self._tokens.take(head.wait):
            return
        if not isinstance(head, Load):
            raise TypeError(f"a {type(head).__name__} descriptor is not for this unit")
        self._queue.pop()
        self._level += 1
        self._agenda.at(now + 1, self._enter_data_half)
        self._descriptor = head
        bus = self._accelerator.bus
        beats = word_beats(head.target, self._accelerator)
        self._bursts.extend(burst_lengths(head.transfer, beats, bus.data_bytes, bus.burst_beats))
        self._offered_from = now + 2
        self._agenda.at(now + 2)
        self.busy.begin(now + 1)

    def _request(self, descriptor: Load) -> None:
        now = self._agenda.now
        last = len(self._bursts) == 1
        if now < self._offered_from or not self._port.take(
            Burst(self._bursts[0], self._accepted(self._bursts[0], descriptor if last else None))
        ):
            return
        self._bursts.popleft()
        self._offered_from = now + 2
        if last:
            self._descriptor = None
            self._ready_from = now + 1
            self._agenda.at(now + 1)
        else:
            self._agenda.at(now + 2)

    def _enter_data_half(self) -> None:
        if self._working:
            self._waiting += 1
        else:
            self._take_into_data_half()

    def _take_into_data_half(self) -> None:
        self._working = True

        def leave() -> None:
            self._level -= 1

        self._agenda.at(self._agenda.now + 1, leave)

    def _accepted(self, beats: int, done: Load | None) -> Callable[[BeatCycles], None]:
        def accepted(cycles: BeatCycles) -> None:
            if done is None:
                return
            last_beat = cycles[beats - 1]
            self._agenda.at(last_beat, end_work)
            self._tokens.signal(last_beat + 1, done.signal)
            self._agenda.at(last_beat + 2, lambda: self.busy.end(self._agenda.now))

        def end_work() -> None:
            # The next entry is taken in the cycle of the last beat, or none is there.
            if self._waiting:
                self._waiting -= 1
                self._take_into_data_half()
            else:
                self._agenda.at(self._agenda.now + 1, idle)

        def idle() -> None:
            self._working = False

        return accepted


class StoreUnit:
    """Stores, stamps and the end, with the memory's write channel behind them."""

    def __init__(
        self,
        agenda: Agenda,
        queue: Queue,
        tokens: Tokens,
        accelerator: Accelerator,
        memory: MemoryModel,
    ) -> None:
        self._agenda = agenda
        self._queue = queue
        self._tokens = tokens
        self._accelerator = accelerator
        self._memory = memory
        self._bursts: deque[int] = deque()
        self._descriptor: Store | Stamp | None = None
        self._offered_from = 0
        self._ready_from = 0
        self._data_from = 0
        self._free = 0
        self._unacknowledged = 0
        self._left = 0
        self.busy = Interval()
        self.stamps: list[int] = []
        self.done: int | None = None

    def step(self) -> None:
        """Offer the next AW, or accept the next descriptor."""
        if self._descriptor is None:
            self._accept()
        elif self._bursts:
            self._request(self._descriptor)

    def _accept(self) -> None:
        now, head = self._agenda.now, self._queue.head()
        if head is None or now < self._ready_from or not self._tokens.take(head.wait):
            return
        self._queue.pop()
        match head:
            case End():
                self.done = now + 1
                return
            case Stamp():
                self.stamps.append(now)
                self._bursts.append(1)
            case Store():
                bus = self._accelerator.bus
                beats = self._accelerator.beats(self._accelerator.activation_word_bits)
                self._bursts.extend(
                    burst_lengths(head.transfer, beats, bus.data_bytes, bus.burst_beats)
                )
            case _:
                raise TypeError(f"a {type(head).__name__} descriptor is not for this unit")
        self._descriptor = head
        self._left = len(self._bursts)
        self._offered_from = now + 2
        self._data_from = now + 3
        self._agenda.at(now + 2)
        self.busy.begin(now + 1)

    def _request(self, descriptor: Store | Stamp) -> None:
        now = self._agenda.now
        limit = min(self._accelerator.bus.outstanding, self._memory.outstanding)
        if now < self._offered_from or self._unacknowledged >= limit:
            return
        beats = self._bursts.popleft()
        self._unacknowledged += 1
        self._offered_from = now + 2
        self._agenda.at(now + 2)
        last = self._write(max(now + 1, self._data_from), beats)
        self._data_from = last + 1
        self._agenda.at(last + self._memory.latency + 1, lambda: self._acknowledge(descriptor))

    def _write(self, cycle: int, beats: int) -> int:
        """Transfer ``beats`` beats from ``cycle`` on at the earliest; return the last cycle."""
        rate, size = self._memory.bytes_per_cycle, self._accelerator.bus.data_bytes
        if (cycle - 1) * rate >= self._free:
            self._free = cycle * rate
        last = -(-(self._free + (beats - 1) * size) // rate)
        self._free += beats * size
        return max(last, cycle)

    def _acknowledge(self, descriptor: Store | Stamp) -> None:
        self._unacknowledged -= 1
        self._left -= 1
        if self._left:
            return
        now = self._agenda.now
        self._tokens.signal(now, descriptor.signal)
        self._descriptor = None
        self._ready_from = now + 1
        self.busy.end(now + 1)
        self._agenda.at(now + 1)
