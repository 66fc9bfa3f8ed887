"""When each load and step of an EIE program happens, cycle by cycle. In machine code.

Written from ``docs/eie.md`` and from ``docs/architecture.md`` where engines share parts: the
program's fetch, the read port, the memory. Cycles are counted from the start, which is cycle 0.
"""

from __future__ import annotations

import enum

import numpy as np

from celosia.dataflow.descriptors import CHUNK_DESCRIPTORS, DESCRIPTOR_BYTES
from celosia.dataflow.jit import compiled
from celosia.dataflow.microarchitecture import (
    LOAD_QUEUE_DEPTH,
    PAGE_BYTES,
    PROGRAM_QUEUE_DEPTH,
    UNIT_QUEUE_DEPTH,
)
from celosia.dataflow.table import Column as Transfer
from celosia.dataflow.walk_kernel import Machine, run_store


class Kind(enum.IntEnum):
    """What a row is."""

    LOAD = 0
    RUN = 1
    STORE = 2
    STAMP = 3
    END = 4


class Column(enum.IntEnum):
    """The columns of the table of a program."""

    KIND = 0
    AFTER = 1
    """Steps (of a load) or loads (of a run) that it waits for."""
    ADDRESS = 2
    WORK = 3
    """Beats; of a run cycles from its acceptance to the last in which it is at work."""


_KIND, _AFTER, _ADDRESS, _WORK = (int(column) for column in Column)
_LOAD, _RUN, _STORE, _STAMP, _END = (int(kind) for kind in Kind)
_T_ADDRESS, _T_WORK, _T_N1, _T_N2, _T_N3 = (
    int(column)
    for column in (Transfer.ADDRESS, Transfer.WORK, Transfer.N1, Transfer.N2, Transfer.N3)
)
_CHUNK_BYTES = CHUNK_DESCRIPTORS * DESCRIPTOR_BYTES
_TRANSFER_COLUMNS = len(Transfer)


@compiled
def _split(state: np.ndarray, address: int, beats: int, machine: Machine) -> None:
    """Offer the first burst of a run from the next cycle on.

    ``state`` are a splitter's registers: whether a burst is offered, its address and beats, whether
    more of the run is left, its address and beats.
    """
    room = (PAGE_BYTES - (address & (PAGE_BYTES - 1))) // machine.bus_bytes
    size = min(beats, room, machine.burst_beats)
    state[0], state[1], state[2] = 1, address, size
    state[3] = beats > size
    state[4], state[5] = address + size * machine.bus_bytes, beats - size


@compiled
def _idle(state: np.ndarray) -> bool:
    return not state[0] and not state[3]


@compiled
def walk_program(
    table: np.ndarray,
    address: int,
    accumulators: int,
    machine: Machine,
    accepted: np.ndarray,
) -> int:
    """Fill ``accepted`` with the cycle in which each step is accepted; return the cycles of all.

    Accepted loads are not noted. Returns -1 for a program that ends without an end.
    """
    count = len(table)
    chunks = -(-count // CHUNK_DESCRIPTORS)
    beats_each = max(1, DESCRIPTOR_BYTES // machine.bus_bytes)
    program, load = np.zeros(6, np.int64), np.zeros(6, np.int64)
    row = np.ones(_TRANSFER_COLUMNS, np.int64)
    responses = np.zeros(min(machine.bus_bursts, machine.memory_bursts) + 3, np.int64)
    # Fetch: chunks asked for, free places, beats that arrived, descriptors there and handed over.
    asked, free, arrived = 0, PROGRAM_QUEUE_DEPTH, 0
    there, handed = 0, 0
    # Units: descriptors in their queues, as numbers of the table.
    loads, steps = np.zeros(UNIT_QUEUE_DEPTH, np.int64), np.zeros(UNIT_QUEUE_DEPTH, np.int64)
    load_level, step_level = 0, 0
    way = np.zeros(LOAD_QUEUE_DEPTH, np.int64)  # beats of the loads on their way
    way_level, way_beats, loads_done, finishing = 0, 0, 0, 0
    steps_done, busy_until, write_free = 0, accumulators, 0
    # The read port: AR, and bursts in flight, whose they are and how many beats they have.
    ar, ar_beats, flying = 0, 0, 0
    ring = 1
    while ring < machine.bus_bursts + 1:
        ring *= 2
    rings = np.zeros((3, ring), np.int64)
    owners, lengths, begins = rings[0], rings[1], rings[2]
    first, in_memory = 0, 0  # the first in flight; how many of them the memory has
    memory_free, moved, next_beat = 0, 0, 0
    cycle = 0
    while True:
        cycle += 1
        # What registers show at the beginning of the cycle.
        ready_for_ar = in_memory < machine.memory_bursts
        beat = in_memory > 0 and cycle * machine.rate >= next_beat
        can_take = (not ar or ready_for_ar) and flying < machine.bus_bursts
        awaited = asked * CHUNK_DESCRIPTORS - there
        program_offers, load_offers = program[0], load[0]
        # Compute unit.
        step_taken = False
        if step_level and cycle > busy_until:
            index = steps[0]
            kind = table[index, _KIND]
            if kind != _RUN or table[index, _AFTER] <= loads_done:
                accepted[index], step_taken = cycle, True
                if kind == _END:
                    return cycle + 1
                if kind == _RUN:
                    busy_until = cycle + table[index, _WORK]
                else:
                    row[_T_ADDRESS], row[_T_WORK] = table[index, _ADDRESS], table[index, _WORK]
                    busy_until, write_free = run_store(row, cycle, write_free, machine, responses)
        # Load unit.
        load_taken = -1
        if load_level and way_level < LOAD_QUEUE_DEPTH and _idle(load):
            index = loads[0]
            if table[index, _AFTER] <= steps_done:
                load_taken = index
        # Fetch.
        asks = asked < chunks and free >= CHUNK_DESCRIPTORS and _idle(program)
        # Hand over.
        hands = -1
        if handed < there:
            kind = table[handed, _KIND] if handed < count else _END
            room = load_level if kind == _LOAD else step_level
            if room < UNIT_QUEUE_DEPTH and not (kind == _END and awaited > 0):
                hands = handed
        # The read port.
        takes_program = can_take and program_offers
        takes_load = can_take and not program_offers and load_offers

        # The end of the cycle: registers change.
        loads_done += finishing
        finishing = 0
        if beat:
            moved += 1
            next_beat += machine.bus_bytes
            if owners[first % ring]:
                way_beats += 1
                if way_beats == way[0]:
                    way_beats, finishing = 0, 1
                    way[:-1] = way[1:]
                    way_level -= 1
            else:
                arrived += 1
                there = arrived // beats_each
            if moved == lengths[first % ring]:
                moved = 0
                first += 1
                flying -= 1
                in_memory -= 1
                next_beat = begins[first % ring]
        if ar and ready_for_ar:
            start = max(memory_free, (cycle + machine.latency) * machine.rate)
            begins[(first + in_memory) % ring] = start
            if in_memory == 0:
                next_beat = start
            in_memory += 1
            memory_free = start + ar_beats * machine.bus_bytes
            ar = 0
        if takes_program or takes_load:
            source = program if takes_program else load
            ar, ar_beats = 1, source[2]
            place = (first + flying) % ring
            owners[place], lengths[place] = takes_load, ar_beats
            flying += 1
            source[0] = 0
        # Splitters: what is left of a run is offered two cycles after its last burst was taken.
        if not program_offers:
            if program[3]:
                _split(program, program[4], program[5], machine)
            elif asks:
                _split(program, address + asked * _CHUNK_BYTES,
                       _CHUNK_BYTES // machine.bus_bytes, machine)  # fmt: skip
        if not load_offers:
            if load[3]:
                _split(load, load[4], load[5], machine)
            elif load_taken >= 0:
                _split(load, table[load_taken, _ADDRESS], table[load_taken, _WORK], machine)
        if asks:
            asked += 1
            free -= CHUNK_DESCRIPTORS
        if step_taken:
            steps[:-1] = steps[1:]
            step_level -= 1
        if load_taken >= 0:
            way[way_level] = table[load_taken, _WORK]
            way_level += 1
            loads[:-1] = loads[1:]
            load_level -= 1
        if hands >= 0:
            if table[hands, _KIND] == _LOAD:
                loads[load_level] = hands
                load_level += 1
            else:
                steps[step_level] = hands
                step_level += 1
            handed += 1
            free += 1
        steps_done += cycle == busy_until and cycle > accumulators
