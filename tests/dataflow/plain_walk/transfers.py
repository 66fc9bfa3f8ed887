"""The units of the event walk that move data: load and store."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.accesses import transfer_words
from celosia.dataflow.descriptors import End, Keep, Load, Stamp, Store
from celosia.dataflow.memory import MemoryModel
from celosia.dataflow.microarchitecture import LOAD_QUEUE_DEPTH, word_beats

from .agenda import Agenda
from .memory import BeatCycles, Burst, ReadPort, burst_lengths
from .units import Queue, Tokens


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

    def until(self, cycle: int) -> int:
        """Return the cycles before ``cycle``, those of jobs that still run among them."""
        return self.total + (max(0, cycle - self.since) if self.running else 0)


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
        if head is None or now < self._ready_from or self._level == LOAD_QUEUE_DEPTH:
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
            last_beat = cycles[beats - 1] + 1
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
        self._descriptor: Store | Stamp | Keep | None = None
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
            case Keep():
                self._descriptor = head
                self._left = 1
                self.busy.begin(now + 1)
                # The first word is there at now + 3; the last is written, and signalled, one later.
                last = now + 2 + transfer_words(head.transfer)
                self._agenda.at(last + 1, lambda: self._finish(head))
                return
            case _:
                raise TypeError(f"a {type(head).__name__} descriptor is not for this unit")
        self._descriptor = head
        self._left = len(self._bursts)
        self._offered_from = now + 2
        self._data_from = now + 3
        self._agenda.at(now + 2)
        self.busy.begin(now + 1)

    def _request(self, descriptor: Store | Stamp | Keep) -> None:
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
        self._finish(descriptor)

    def _finish(self, descriptor: Store | Stamp | Keep) -> None:
        self._left -= 1
        if self._left:
            return
        now = self._agenda.now
        self._tokens.signal(now, descriptor.signal)
        self._descriptor = None
        self._ready_from = now + 1
        self.busy.end(now + 1)
        self._agenda.at(now + 1)
