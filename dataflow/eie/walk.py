"""When each load and step of an EIE program happens, cycle by cycle. In machine code.

Written from ``docs/eie.md`` and from ``docs/architecture.md`` where engines share parts: the
program's fetch, the read port, the memory. Cycles are counted from the start, which is cycle 0.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

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
    CELL = 5


class Column(enum.IntEnum):
    """The columns of the table of a program."""

    KIND = 0
    AFTER = 1
    """Steps (of a load) or loads (of a run) that it waits for."""
    ADDRESS = 2
    WORK = 3
    """Beats; of a run or a cell cycles from its acceptance to the last in which it is at work."""


_KIND, _AFTER, _ADDRESS, _WORK = (int(column) for column in Column)
_LOAD, _RUN, _STORE, _STAMP, _END, _CELL = (int(kind) for kind in Kind)
_T_ADDRESS, _T_WORK = int(Transfer.ADDRESS), int(Transfer.WORK)
_CHUNK_BYTES = CHUNK_DESCRIPTORS * DESCRIPTOR_BYTES
_TRANSFER_COLUMNS = len(Transfer)
_NOTHING = -1


class _Fetch(enum.IntEnum):
    """The program's fetch: chunks asked for, free places, beats and descriptors that arrived."""

    ASKED = 0
    FREE = 1
    ARRIVED = 2
    THERE = 3
    HANDED = 4


class _Unit(enum.IntEnum):
    """The two units: levels of their queues, loads on their way, what is done and until when."""

    LOADS = 0
    STEPS = 1
    WAY = 2
    WAY_BEATS = 3
    LOADS_DONE = 4
    FINISHING = 5
    STEPS_DONE = 6
    BUSY_UNTIL = 7
    WRITE_FREE = 8


class _Port(enum.IntEnum):
    """The read port: AR, bursts in flight, the first of them, those that the memory has.

    ``HELD`` is the beat that transferred in the cycle before: of the program, of a load, or none.
    """

    AR = 0
    AR_BEATS = 1
    FLYING = 2
    FIRST = 3
    IN_MEMORY = 4
    MEMORY_FREE = 5
    MOVED = 6
    NEXT_BEAT = 7
    HELD = 8


_ASKED, _FREE, _ARRIVED, _THERE, _HANDED = (int(field) for field in _Fetch)
(
    _LOADS, _STEPS, _WAY, _WAY_BEATS, _LOADS_DONE, _FINISHING, _STEPS_DONE, _BUSY_UNTIL,
    _WRITE_FREE,
) = (int(field) for field in _Unit)  # fmt: skip
_AR, _AR_BEATS, _FLYING, _FIRST, _IN_MEMORY, _MEMORY_FREE, _MOVED, _NEXT_BEAT, _HELD = (
    int(field) for field in _Port
)
_OF_PROGRAM, _OF_LOAD = 1, 2


class _State(NamedTuple):
    """All registers. ``program`` and ``load`` are the two splitters', see :func:`_split`.

    ``loads`` and ``steps`` are the units' queues, as numbers of the table; ``way`` has the beats of
    the loads on their way; ``owners``, ``lengths`` and ``begins`` are rings of the bursts in
    flight: whose they are, their beats, and when the memory has the first.
    """

    fetch: np.ndarray
    unit: np.ndarray
    port: np.ndarray
    program: np.ndarray
    load: np.ndarray
    loads: np.ndarray
    steps: np.ndarray
    way: np.ndarray
    owners: np.ndarray
    lengths: np.ndarray
    begins: np.ndarray


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
def _step_taken(state: _State, table: np.ndarray, cycle: int) -> int:
    """Return the step that is accepted in ``cycle``, if any."""
    if not state.unit[_STEPS] or cycle <= state.unit[_BUSY_UNTIL]:
        return _NOTHING
    index: int = state.steps[0]
    waits = table[index, _KIND] == _RUN and table[index, _AFTER] > state.unit[_LOADS_DONE]
    return _NOTHING if waits else index


@compiled
def _load_taken(state: _State, table: np.ndarray) -> int:
    """Return the load that is accepted, if any."""
    unit = state.unit
    if not unit[_LOADS] or unit[_WAY] >= LOAD_QUEUE_DEPTH or not _idle(state.load):
        return _NOTHING
    index: int = state.loads[0]
    return index if table[index, _AFTER] <= unit[_STEPS_DONE] else _NOTHING


@compiled
def _handed(state: _State, table: np.ndarray) -> int:
    """Return the descriptor that is handed to its unit's queue, if any."""
    fetch = state.fetch
    if fetch[_HANDED] >= fetch[_THERE]:
        return _NOTHING
    index: int = fetch[_HANDED]
    kind = table[index, _KIND] if index < len(table) else _END
    awaited = fetch[_ASKED] * CHUNK_DESCRIPTORS - fetch[_THERE]
    level = state.unit[_LOADS] if kind == _LOAD else state.unit[_STEPS]
    if level >= UNIT_QUEUE_DEPTH or (kind == _END and awaited > 0):
        return _NOTHING
    return index


@compiled
def _hand_over(state: _State, machine: Machine) -> None:
    """Give the beat that transferred in the cycle before to who asked for it."""
    fetch, unit, port = state.fetch, state.unit, state.port
    if port[_HELD] == _OF_LOAD:
        unit[_WAY_BEATS] += 1
        if unit[_WAY_BEATS] == state.way[0]:
            unit[_WAY_BEATS], unit[_FINISHING] = 0, 1
            state.way[:-1] = state.way[1:]
            unit[_WAY] -= 1
    elif port[_HELD] == _OF_PROGRAM:
        fetch[_ARRIVED] += 1
        fetch[_THERE] = fetch[_ARRIVED] // max(1, DESCRIPTOR_BYTES // machine.bus_bytes)
    port[_HELD] = 0


@compiled
def _transfer(state: _State, machine: Machine) -> None:
    """Let a beat transfer."""
    port = state.port
    ring = len(state.owners)
    first = port[_FIRST] % ring
    port[_MOVED] += 1
    port[_NEXT_BEAT] += machine.bus_bytes
    port[_HELD] = _OF_LOAD if state.owners[first] else _OF_PROGRAM
    if port[_MOVED] == state.lengths[first]:
        port[_MOVED] = 0
        port[_FIRST] += 1
        port[_FLYING] -= 1
        port[_IN_MEMORY] -= 1
        port[_NEXT_BEAT] = state.begins[port[_FIRST] % ring]


@compiled
def _address(state: _State, machine: Machine, cycle: int) -> None:
    """Let the memory take the burst on AR."""
    port = state.port
    start = max(port[_MEMORY_FREE], (cycle + machine.latency) * machine.rate)
    state.begins[(port[_FIRST] + port[_IN_MEMORY]) % len(state.begins)] = start
    if port[_IN_MEMORY] == 0:
        port[_NEXT_BEAT] = start
    port[_IN_MEMORY] += 1
    port[_MEMORY_FREE] = start + port[_AR_BEATS] * machine.bus_bytes
    port[_AR] = 0


@compiled
def _offer(state: _State, source: np.ndarray, is_load: bool) -> None:
    """Put the burst that a splitter offers on AR."""
    port = state.port
    port[_AR], port[_AR_BEATS] = 1, source[2]
    place = (port[_FIRST] + port[_FLYING]) % len(state.owners)
    state.owners[place], state.lengths[place] = is_load, source[2]
    port[_FLYING] += 1
    source[0] = 0


@compiled
def _queues(state: _State, table: np.ndarray, step: int, load: int, handed: int) -> None:
    """Move descriptors in and out of the units' queues."""
    unit = state.unit
    if step != _NOTHING:
        state.steps[:-1] = state.steps[1:]
        unit[_STEPS] -= 1
    if load != _NOTHING:
        state.way[unit[_WAY]] = table[load, _WORK]
        unit[_WAY] += 1
        state.loads[:-1] = state.loads[1:]
        unit[_LOADS] -= 1
    if handed != _NOTHING:
        if table[handed, _KIND] == _LOAD:
            state.loads[unit[_LOADS]] = handed
            unit[_LOADS] += 1
        else:
            state.steps[unit[_STEPS]] = handed
            unit[_STEPS] += 1
        state.fetch[_HANDED] += 1
        state.fetch[_FREE] += 1


@compiled
def _port(state: _State, machine: Machine, cycle: int) -> None:
    """Move beats, bursts and AR on; decisions are of the beginning of the cycle."""
    port = state.port
    ready = port[_IN_MEMORY] < machine.memory_bursts
    beat = port[_IN_MEMORY] > 0 and cycle * machine.rate >= port[_NEXT_BEAT]
    can_take = (not port[_AR] or ready) and port[_FLYING] < machine.bus_bursts
    _hand_over(state, machine)
    if beat:
        _transfer(state, machine)
    if port[_AR] and ready:
        _address(state, machine, cycle)
    if can_take and state.program[0]:
        _offer(state, state.program, False)
    elif can_take and state.load[0]:
        _offer(state, state.load, True)


@compiled
def _splitters(
    state: _State, table: np.ndarray, load: int, chunk: int, offered: np.ndarray, machine: Machine
) -> None:
    """Offer further bursts: what is left of a run, two cycles after its last burst was taken.

    ``load`` and ``chunk`` (an address) are what is begun, if anything; ``offered`` says which
    splitters offered a burst at the beginning of the cycle.
    """
    program, data = state.program, state.load
    if not offered[0]:
        if program[3]:
            _split(program, program[4], program[5], machine)
        elif chunk != _NOTHING:
            _split(program, chunk, _CHUNK_BYTES // machine.bus_bytes, machine)
    if not offered[1]:
        if data[3]:
            _split(data, data[4], data[5], machine)
        elif load != _NOTHING:
            _split(data, table[load, _ADDRESS], table[load, _WORK], machine)


@compiled
def _begin(accumulators: int, machine: Machine) -> _State:
    """Return the registers after the start."""
    ring = 1
    while ring < machine.bus_bursts + 1:
        ring *= 2
    rings = np.zeros((3, ring), np.int64)
    queues = np.zeros((2, UNIT_QUEUE_DEPTH), np.int64)
    splitters = np.zeros((2, 6), np.int64)
    state = _State(
        np.zeros(5, np.int64), np.zeros(9, np.int64), np.zeros(9, np.int64),
        splitters[0], splitters[1], queues[0], queues[1], np.zeros(LOAD_QUEUE_DEPTH, np.int64),
        rings[0], rings[1], rings[2],
    )  # fmt: skip
    state.fetch[_FREE] = PROGRAM_QUEUE_DEPTH
    state.unit[_BUSY_UNTIL] = accumulators
    return state


@compiled
def walk_program(
    table: np.ndarray,
    address: int,
    accumulators: int,
    machine: Machine,
    accepted: np.ndarray,
) -> int:
    """Fill ``accepted`` with the cycle in which each step is accepted; return the cycles of all.

    Accepted loads are not noted.
    """
    chunks = -(-len(table) // CHUNK_DESCRIPTORS)
    state = _begin(accumulators, machine)
    fetch, unit = state.fetch, state.unit
    row = np.ones(_TRANSFER_COLUMNS, np.int64)
    responses = np.zeros(min(machine.bus_bursts, machine.memory_bursts) + 3, np.int64)
    offered = np.zeros(2, np.int64)
    cycle = 0
    while True:
        cycle += 1
        # What is decided by what registers show at the beginning of the cycle.
        load, handed = _load_taken(state, table), _handed(state, table)
        step = _step_taken(state, table, cycle)
        asks = fetch[_ASKED] < chunks and fetch[_FREE] >= CHUNK_DESCRIPTORS and _idle(state.program)
        offered[0], offered[1] = state.program[0], state.load[0]
        if step != _NOTHING:
            accepted[step] = cycle
            kind = table[step, _KIND]
            if kind == _END:
                return cycle + 1
            if kind == _RUN or kind == _CELL:
                unit[_BUSY_UNTIL] = cycle + table[step, _WORK]
            else:
                row[_T_ADDRESS], row[_T_WORK] = table[step, _ADDRESS], table[step, _WORK]
                unit[_BUSY_UNTIL], unit[_WRITE_FREE] = run_store(
                    row, cycle, unit[_WRITE_FREE], machine, responses
                )
        # The end of the cycle: registers change.
        unit[_LOADS_DONE] += unit[_FINISHING]
        unit[_FINISHING] = 0
        _port(state, machine, cycle)
        chunk = address + fetch[_ASKED] * _CHUNK_BYTES if asks else _NOTHING
        _splitters(state, table, load, chunk, offered, machine)
        if asks:
            fetch[_ASKED] += 1
            fetch[_FREE] -= CHUNK_DESCRIPTORS
        _queues(state, table, step, load, handed)
        unit[_STEPS_DONE] += cycle == unit[_BUSY_UNTIL] and cycle > accumulators
