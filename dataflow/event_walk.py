"""The event walk: when each descriptor, burst and token happens, to the cycle.

Everything that the hardware waits for lies in the past of what waits, so the cycle in which a
descriptor is handed over, accepted or done is the maximum of a few earlier cycles: recurrences
without a clock. Only the read port chooses between two requesters by time; it takes its next burst
when all that does not depend on it is known. ``docs/architecture.md`` states the rules;
``tests/dataflow/plain_walk`` has them again as registers and events, and the co-simulation tests
hold both to the RTL.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.descriptors import Descriptor
from celosia.dataflow.memory import MemoryModel
from celosia.dataflow.microarchitecture import compute_latency, post_latency
from celosia.dataflow.table import Column, Kind, tabulate
from celosia.dataflow.walk_kernel import UNKNOWN, Machine, busy_cycles, walk_rows


@dataclass(frozen=True, slots=True, eq=False)
class Walked:
    """What a walk found: all in cycles from start.

    ``dispatched``, ``accepted`` and ``signalled`` hold, for each descriptor, the cycle in which it
    was handed to its unit's queue, in which its unit accepted it, and in which it signalled (of
    the end: in which it is done), int64. ``causes`` says what the unit waited for last before it
    accepted: ``BUSY`` or ``FETCH`` of :mod:`celosia.dataflow.walk_kernel`, or the value of a
    :class:`Token`.
    """

    cycles: int
    stamps: tuple[int, ...]
    load_busy: int
    store_busy: int
    dispatched: np.ndarray
    accepted: np.ndarray
    signalled: np.ndarray
    causes: np.ndarray


def walk(
    accelerator: Accelerator,
    descriptors: Sequence[Descriptor],
    address: int,
    memory: MemoryModel,
) -> Walked:
    """Walk a program from start to interrupt.

    ``address`` is where its descriptors lie. Raises ``ValueError`` if the program
    comes to a halt before its end (its tokens do not add up).
    """
    return walk_table(accelerator, tabulate(descriptors, accelerator), address, memory)


def machine_of(accelerator: Accelerator, memory: MemoryModel) -> Machine:
    """Return what of an accelerator and its memory decides when things happen."""
    bus, memory = accelerator.bus, memory.on_bus(accelerator.bus)
    return Machine(
        bus_bytes=bus.data_bytes,
        burst_beats=bus.burst_beats,
        bus_bursts=bus.outstanding,
        latency=memory.latency,
        rate=memory.bytes_per_cycle,
        memory_bursts=memory.outstanding,
        compute_latency=compute_latency(accelerator),
        post_latency=post_latency(accelerator),
    )


def walk_table(
    accelerator: Accelerator, table: np.ndarray, address: int, memory: MemoryModel
) -> Walked:
    """Walk a program by its table, see :func:`celosia.dataflow.table.tabulate`; as :func:`walk`."""
    machine = machine_of(accelerator, memory)
    times = np.full((4, len(table)), UNKNOWN, np.int64)
    cycles = walk_rows(table, address, machine, times)
    if cycles < 0:
        raise ValueError("the program halts: a descriptor waits for a token that nobody gives")
    stamps = times[1, table[:, Column.KIND] == Kind.STAMP]
    load, store = (busy_cycles(table, kind, cycles, times) for kind in (Kind.LOAD, Kind.STORE))
    return Walked(cycles, tuple(stamps.tolist()), load, store, *times)
