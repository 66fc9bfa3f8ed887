"""The memory side of the event walk: bursts, and when their beats transfer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.descriptors import Transfer
from celosia.dataflow.memory import MemoryModel
from celosia.dataflow.microarchitecture import PAGE_BYTES

from .agenda import Agenda


def burst_lengths(
    transfer: Transfer, beats_per_word: int, bus_bytes: int, burst_beats: int
) -> Iterator[int]:
    """Yield the beats of each burst in order: runs cut at ``burst_beats`` and at 4 KiB."""
    for i3 in range(transfer.n3):
        for i2 in range(transfer.n2):
            for i1 in range(transfer.n1):
                address = transfer.address + i1 * transfer.s1 + i2 * transfer.s2 + i3 * transfer.s3
                left = transfer.words * beats_per_word
                while left:
                    beats = min(left, burst_beats, (PAGE_BYTES - address % PAGE_BYTES) // bus_bytes)
                    yield beats
                    left -= beats
                    address += beats * bus_bytes


@dataclass(frozen=True, slots=True)
class Burst:
    """A read burst and what to do when it is accepted by the memory (given its beats' cycles)."""

    beats: int
    accepted: Callable[[BeatCycles], None]


@dataclass(frozen=True, slots=True)
class BeatCycles:
    """When the beats of a burst transfer: ``ceil((start + k * beat_bytes) / bytes_per_cycle)``.

    Who asked for them has them in the cycle after.
    """

    start: int
    beat_bytes: int
    bytes_per_cycle: int

    def __getitem__(self, beat: int) -> int:
        return -(-(self.start + beat * self.beat_bytes) // self.bytes_per_cycle)


class ReadPort:
    """The arbiter, its AR register, and the memory's read channel behind it."""

    def __init__(self, agenda: Agenda, accelerator: Accelerator, memory: MemoryModel) -> None:
        self._agenda = agenda
        self._bus = accelerator.bus
        self._memory = memory
        self._register: Burst | None = None
        self._register_from = 0
        self._in_flight = 0  # as the port counts: taken, last beat not transferred
        self._in_memory = 0  # as the memory counts: accepted, last beat not transferred
        self._free = 0
        self._taken_in = -1

    def step(self) -> None:
        """Hand the AR register to the memory if it accepts."""
        now = self._agenda.now
        if (
            self._register is None
            or now < self._register_from
            or self._in_memory >= self._memory.outstanding
        ):
            return
        burst, self._register = self._register, None
        rate = self._memory.bytes_per_cycle
        cycles = BeatCycles(
            max(self._free, (now + self._memory.latency) * rate), self._bus.data_bytes, rate
        )
        self._free = cycles.start + burst.beats * self._bus.data_bytes
        self._in_memory += 1

        def finish() -> None:
            self._in_memory -= 1
            self._in_flight -= 1

        self._agenda.at(cycles[burst.beats - 1] + 1, finish)
        self._agenda.at(now + 1)
        burst.accepted(cycles)

    def take(self, burst: Burst) -> bool:
        """Take a burst into the AR register if it is free, or freed in this cycle."""
        now = self._agenda.now
        if (
            self._register is not None
            or self._in_flight >= self._bus.outstanding
            or self._taken_in == now
        ):
            return False
        self._register, self._register_from, self._taken_in = burst, now + 1, now
        self._in_flight += 1
        self._agenda.at(now + 1)
        return True
