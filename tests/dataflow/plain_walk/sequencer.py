"""The sequencer of the event walk: when it asks for chunks and hands descriptors over."""

from __future__ import annotations

from collections.abc import Callable

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.descriptors import (
    CHUNK_DESCRIPTORS,
    DESCRIPTOR_BYTES,
    Descriptor,
    End,
    Transfer,
    Unit,
    unit_of,
)
from celosia.dataflow.microarchitecture import PROGRAM_QUEUE_DEPTH

from .agenda import Agenda
from .memory import BeatCycles, Burst, ReadPort, burst_lengths
from .units import Queue


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
            if not self._chunks_left or self._promised > PROGRAM_QUEUE_DEPTH - CHUNK_DESCRIPTORS:
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
                    self._agenda.at(cycles[beat] + 2, arrive)

        def arrive() -> None:
            self._arrived += 1

        return accepted
