"""The event walk's recurrences, in machine code: see :mod:`celosia.dataflow.event_walk`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from celosia.dataflow.descriptors import CHUNK_DESCRIPTORS, DESCRIPTOR_BYTES, Token
from celosia.dataflow.jit import compiled, inlined, lean
from celosia.dataflow.microarchitecture import (
    LOAD_QUEUE_DEPTH,
    PAGE_BYTES,
    PROGRAM_QUEUE_DEPTH,
    READ_LATENCY,
    UNIT_QUEUE_DEPTH,
)
from celosia.dataflow.table import Column, Kind

UNKNOWN = -1
"""A cycle that is not known yet."""

BUSY = -1
"""A unit was at work on its descriptor before; of a load, also that the data half's queue is full.
"""

_CROWDED = -2

FETCH = -2
"""A descriptor had not been fetched from memory and handed over."""

_TOKENS = len(Token)

_QUEUE = 2 * UNIT_QUEUE_DEPTH - 1
"""A mask: descriptors of a unit that are kept in mind are fewer."""

_ROOM = 256
"""Gifts of a token that are not taken yet, at first: hardware counts no more."""

_HANDED, _BEGUN, _READY = range(3)

# Members of enumerations are objects; kernels take numbers.
_KIND, _WAIT, _SIGNAL, _WORK, _ADDRESS = (int(column) for column in tuple(Column)[:5])
_N1, _N2, _N3, _S1, _S2, _S3 = (int(column) for column in tuple(Column)[5:])
_COLUMNS = len(Column)
_LOAD, _COMPUTE, _POST, _STORE, _STAMP, _END, _KEEP = (int(kind) for kind in Kind)


class Machine(NamedTuple):
    """Bytes of a beat and beats of a burst; bursts in flight; the memory; latencies."""

    bus_bytes: int
    burst_beats: int
    bus_bursts: int
    latency: int
    rate: int
    memory_bursts: int
    compute_latency: int
    post_latency: int


class _State(NamedTuple):
    """Where a walk is.

    ``times`` are :class:`Walked`'s ``dispatched``, ``accepted``, ``signalled`` and ``causes``;
    ``arrived`` is when each descriptor can be handed over. ``queue`` lists, as a ring, each unit's
    latest descriptors. ``units`` holds how many were handed over to it and accepted, and when it
    can accept the next. ``given`` is when each token's counter shows each gift, as a ring;
    ``tokens`` how many were given and taken. ``port`` holds the bursts taken, the cycle from which
    the AR register is free, the memory's ``free``, when the load unit has the last beat of the
    latest load, and the write channel's ``free``; ``ends`` the last beats' cycles of the latest
    bursts, as a ring.
    ``entered`` is when the data half took each of the latest loads, as a ring; ``responses`` when
    the bursts of a store were answered. ``chunk`` is a chunk of the program as a transfer, ``runs``
    where :func:`_cut` is in the chunk that is fetched and in the load; ``at`` the next descriptor
    to hand over, and the load that the request half is at, or -1.
    """

    times: np.ndarray
    arrived: np.ndarray
    queue: np.ndarray
    units: np.ndarray
    given: np.ndarray
    tokens: np.ndarray
    port: np.ndarray
    ends: np.ndarray
    entered: np.ndarray
    responses: np.ndarray
    chunk: np.ndarray
    runs: np.ndarray
    at: np.ndarray


@inlined
def _cut(row: np.ndarray, run: np.ndarray, machine: Machine) -> int:
    """Return the beats of a transfer's next burst, 0 after the last.

    ``run`` holds the number of the next run, the next burst's address, and the beats left of
    the run that it lies in. Runs are cut at ``burst_beats`` and at 4 KiB.
    """
    if run[2] == 0:
        number = run[0]
        if number == row[_N1] * row[_N2] * row[_N3]:
            return 0
        run[0] += 1
        outer = number // row[_N1]
        run[1] = row[_ADDRESS] + number % row[_N1] * row[_S1]
        run[1] += outer % row[_N2] * row[_S2] + outer // row[_N2] * row[_S3]
        run[2] = row[_WORK]
    beats = min(run[2], machine.burst_beats)
    room = PAGE_BYTES - (run[1] & (PAGE_BYTES - 1))
    if beats * machine.bus_bytes > room:
        beats = room // machine.bus_bytes
    run[1] += beats * machine.bus_bytes
    run[2] -= beats
    return int(beats)


@inlined
def _take(
    offered: int, beats: int, machine: Machine, port: np.ndarray, ends: np.ndarray
) -> tuple[int, int]:
    """Take a burst into the AR register; return when, and its beats' start as the memory counts."""
    number, ring = port[0], len(ends) - 1  # a mask
    taken = max(offered, _port_free(machine, port, ends))
    accepted = taken + 1
    if number >= machine.memory_bursts:
        accepted = max(accepted, ends[(number - machine.memory_bursts) & ring] + 1)
    start = max(port[2], (accepted + machine.latency) * machine.rate)
    port[0] = number + 1
    port[1] = accepted
    port[2] = start + beats * machine.bus_bytes
    ends[number & ring] = -(-(start + (beats - 1) * machine.bus_bytes) // machine.rate)
    return taken, start


@inlined
def _port_free(machine: Machine, port: np.ndarray, ends: np.ndarray) -> int:
    """Return the first cycle in which the read port can take another burst."""
    number, free = port[0], port[1]
    if number >= machine.bus_bursts:
        free = max(free, ends[(number - machine.bus_bursts) & (len(ends) - 1)] + 1)
    return int(free)


@inlined
def run_store(
    row: np.ndarray, accepted: int, free: int, machine: Machine, responses: np.ndarray
) -> tuple[int, int]:
    """Run a store accepted in cycle ``accepted``; return its last B's cycle, the channel's free."""
    limit = min(machine.bus_bursts, machine.memory_bursts)
    run = responses[limit:]
    run[:] = 0
    offered, data = accepted + 2, accepted + 3
    number, rate, size = 0, machine.rate, machine.bus_bytes
    while True:
        beats = _cut(row, run, machine)
        if beats == 0:
            return data + machine.latency, free
        if number >= limit:
            offered = max(offered, responses[number % limit])
        cycle = max(offered + 1, data)
        offered += 2
        if (cycle - 1) * rate >= free:
            free = cycle * rate
        last = max(cycle, -(-(free + (beats - 1) * size) // rate))
        free += beats * size
        data = last + 1
        responses[number % limit] = data + machine.latency
        number += 1


@inlined
def _dispatch(table: np.ndarray, index: int, state: _State) -> int:
    """Hand descriptors from ``index`` on to their queues as far as is known; return the next."""
    count, times, units = len(table), state.times, state.units
    before = times[0, index - 1] if index else UNKNOWN
    while index < count:
        kind = table[index, _KIND]
        # What was fetched beyond the end is awaited before it is handed over.
        cycle = state.arrived[len(state.arrived) - 1 if kind == _END else index]
        if cycle < 0:
            break
        unit = min(kind, _STORE)
        place = units[unit, _HANDED]
        if place >= UNIT_QUEUE_DEPTH:
            if place - UNIT_QUEUE_DEPTH >= units[unit, _BEGUN]:
                break
            last = state.queue[unit, (place - UNIT_QUEUE_DEPTH) & _QUEUE]
            cycle = max(cycle, times[1, last] + 1)
        before = max(cycle, before + 1)
        times[0, index] = before
        state.queue[unit, place & _QUEUE] = index
        units[unit, _HANDED] = place + 1
        index += 1
    return index


@inlined
def _accept(table: np.ndarray, unit: int, state: _State) -> int:
    """Return the descriptor that ``unit`` accepts next, -1 where it is not known when."""
    begun = state.units[unit, _BEGUN]
    if begun == state.units[unit, _HANDED]:
        return UNKNOWN
    index = state.queue[unit, begun & _QUEUE]
    wait = table[index, _WAIT]
    cycle, cause = state.units[unit, _READY], BUSY
    if state.times[0, index] + 1 > cycle:
        cycle, cause = state.times[0, index] + 1, FETCH
    ring = state.given.shape[1] - 1
    token, left = 0, wait
    while left:
        if left & 1:
            spent = state.tokens[token, 1]
            if spent == state.tokens[token, 0]:
                return UNKNOWN
            when = state.given[token, spent & ring]
            if when > cycle:
                cycle, cause = when, token
        left >>= 1
        token += 1
    token, left = 0, wait
    while left:
        state.tokens[token, 1] += left & 1
        left >>= 1
        token += 1
    state.times[1, index] = cycle
    state.times[3, index] = cause
    state.units[unit, _BEGUN] = begun + 1
    return int(index)


@inlined
def _signal(table: np.ndarray, index: int, cycle: int, state: _State) -> None:
    """Let descriptor ``index`` signal in ``cycle``: counters show it in the next."""
    state.times[2, index] = cycle
    ring = state.given.shape[1] - 1
    token, left = 0, table[index, _SIGNAL]
    while left:
        if left & 1:
            gifts = state.tokens[token, 0]
            state.given[token, gifts & ring] = cycle + 1
            state.tokens[token, 0] = gifts + 1
            if gifts - state.tokens[token, 1] >= ring:
                state.port[5] = 1
        left >>= 1
        token += 1


@inlined
def _run_nests(table: np.ndarray, unit: int, latency: int, state: _State) -> bool:
    """Run compute's or post's descriptors as far as is known; return whether there were any."""
    any_run = False
    while True:
        index = _accept(table, unit, state)
        if index < 0:
            return any_run
        any_run = True
        ready = state.times[1, index] + table[index, _WORK]
        state.units[unit, _READY] = ready
        _signal(table, index, ready + latency, state)


@inlined
def _run_stores(table: np.ndarray, machine: Machine, state: _State) -> bool:
    """Run the store unit's descriptors as far as is known; return whether there were any."""
    any_run = False
    while True:
        index = _accept(table, _STORE, state)
        if index < 0:
            return any_run
        any_run = True
        accepted = state.times[1, index]
        if table[index, _KIND] == _END:
            state.times[2, index] = accepted + 1
            return any_run
        if table[index, _KIND] == _KEEP:
            response = accepted + 3 + table[index, _WORK]
        else:
            response, state.port[4] = run_store(
                table[index], accepted, state.port[4], machine, state.responses
            )
        state.units[_STORE, _READY] = response + 1
        _signal(table, index, response, state)


@inlined
def _accept_load(table: np.ndarray, state: _State) -> int:
    """Return the load accepted next, -1 where it is not known when; the one before was taken."""
    number = state.units[_LOAD, _BEGUN]
    if number >= LOAD_QUEUE_DEPTH:
        # Its place in the queue of the data half, free from the cycle after it was left.
        left = state.entered[number % LOAD_QUEUE_DEPTH] + 1
        state.units[_LOAD, _READY] = max(state.units[_LOAD, _READY], left)
    index = _accept(table, _LOAD, state)
    if index >= 0:
        entered = max(state.times[1, index] + 1, state.port[3])
        state.entered[number % LOAD_QUEUE_DEPTH] = entered
    return index


@inlined
def _finish_load(table: np.ndarray, index: int, taken: int, state: _State) -> None:
    """Note that the last burst of load ``index`` was taken in cycle ``taken``."""
    last = int(state.ends[(state.port[0] - 1) & (len(state.ends) - 1)]) + READ_LATENCY
    state.units[_LOAD, _READY] = taken + 1
    state.port[3] = last
    _signal(table, index, last + 1, state)


@inlined
def _arrive(first: int, beats: int, start: int, machine: Machine, arrived: np.ndarray) -> None:
    """Note when the descriptors arrive that a burst completes, ``first`` beats from the start."""
    each = max(1, DESCRIPTOR_BYTES // machine.bus_bytes)
    for beat in range(beats):
        if (first + beat + 1) % each == 0:
            cycle = -(-(start + beat * machine.bus_bytes) // machine.rate)
            arrived[(first + beat) // each] = cycle + READ_LATENCY + 1


@compiled
def _new_state(times: np.ndarray, address: int, machine: Machine, room: int) -> _State:
    chunk = np.ones(_COLUMNS, np.int64)
    chunk[_ADDRESS] = address
    chunk[_WORK] = CHUNK_DESCRIPTORS * max(1, DESCRIPTOR_BYTES // machine.bus_bytes)
    chunks = -(-times.shape[1] // CHUNK_DESCRIPTORS)
    ring = 1  # a power of two: its mask takes the place of a division
    while ring < max(machine.bus_bursts, machine.memory_bursts):
        ring *= 2
    limit = min(machine.bus_bursts, machine.memory_bursts)
    return _State(
        times,
        np.full(chunks * CHUNK_DESCRIPTORS, UNKNOWN, np.int64),
        np.empty((4, _QUEUE + 1), np.int64),
        np.zeros((4, 3), np.int64),
        np.empty((_TOKENS, room), np.int64),
        np.zeros((_TOKENS, 2), np.int64),
        np.zeros(6, np.int64),
        np.empty(ring, np.int64),
        np.empty(LOAD_QUEUE_DEPTH, np.int64),
        np.empty(limit + 3, np.int64),
        chunk,
        np.zeros((2, 3), np.int64),
        np.array([0, -1]),
    )


@inlined
def _settle(table: np.ndarray, machine: Machine, state: _State) -> None:
    """Find out all that needs no further burst."""
    at, moved = state.at, True
    while moved:
        before = at[0]
        at[0] = _dispatch(table, before, state)
        moved = at[0] > before
        moved |= _run_nests(table, _COMPUTE, machine.compute_latency, state)
        moved |= _run_nests(table, _POST, machine.post_latency, state)
        moved |= _run_stores(table, machine, state)
        if at[1] < 0:
            at[1] = _accept_load(table, state)
            moved |= at[1] >= 0


@inlined
def _ask(asked: int, taken: int, state: _State) -> int:
    """Return when chunk ``asked``'s first burst is offered, -1 where it is not known.

    The last burst of the chunk before was taken in cycle ``taken``.
    """
    if asked * CHUNK_DESCRIPTORS >= len(state.arrived):
        return UNKNOWN
    cycle = taken + 1
    # Promised places: of all but as many descriptors as leave room for this chunk.
    first = (asked + 1) * CHUNK_DESCRIPTORS - PROGRAM_QUEUE_DEPTH - 1
    if first >= 0:
        if state.times[0, first] < 0:
            return UNKNOWN
        cycle = max(cycle, state.times[0, first] + 1)
    return int(cycle + 1)


@lean
def busy_cycles(table: np.ndarray, unit: int, done: int, times: np.ndarray) -> int:
    """Return the cycles before ``done`` in which load or store had something accepted."""
    total, before = 0, 0
    for index in range(len(table)):
        kind, accepted = table[index, _KIND], times[1, index]
        if kind == _END or min(kind, _STORE) != unit or accepted < 0:
            continue
        last = times[2, index] + 1
        begin, end = max(accepted + 1, before), min(last, done)
        total += max(0, end - begin)
        before = last
    return total


@compiled
def walk_rows(table: np.ndarray, address: int, machine: Machine, times: np.ndarray) -> int:
    """Fill ``times``; return the cycles of all, or -1. Loads that the end leaves are walked too."""
    room = _ROOM
    while True:
        cycles = _walk_rows(table, machine, _new_state(times, address, machine, room))
        if cycles != _CROWDED:
            return cycles
        times[:] = UNKNOWN
        room *= 2


@lean
def _walk_rows(table: np.ndarray, machine: Machine, state: _State) -> int:
    """Walk; return ``_CROWDED`` where gifts were not taken in time."""
    asked, fetched, fetch_beats, fetch_from, fetch_taken = 0, 0, 0, UNKNOWN, 0
    load, load_beats, load_from = -1, 0, 0
    port, ends, at, unsettled = state.port, state.ends, state.at, True
    while True:
        if unsettled:
            _settle(table, machine, state)
        unsettled = False
        if state.port[5]:
            return _CROWDED
        done = state.times[2, -1]
        if done >= 0 and (at[1] < 0 or state.times[1, at[1]] >= done):
            return int(done)
        if fetch_beats == 0:
            fetch_from = _ask(asked, fetch_taken, state)
            if fetch_from >= 0:
                state.runs[0] = 0
                asked += 1
                fetch_beats = _cut(state.chunk, state.runs[0], machine)
        if load < 0 and at[1] >= 0:
            load = at[1]
            load_from = int(state.times[1, load]) + 2
            state.runs[1] = 0
            load_beats = _cut(table[load], state.runs[1], machine)
        if load < 0 and fetch_beats == 0:
            return UNKNOWN
        free = _port_free(machine, port, ends)
        if load < 0 or (fetch_beats and max(fetch_from, free) <= max(load_from, free)):
            fetch_taken, start = _take(fetch_from, fetch_beats, machine, port, ends)
            _arrive(fetched, fetch_beats, start, machine, state.arrived)
            unsettled = True
            fetched += fetch_beats
            fetch_beats = _cut(state.chunk, state.runs[0], machine)
            fetch_from = fetch_taken + 2
        else:
            taken, _ = _take(load_from, load_beats, machine, port, ends)
            load_beats = _cut(table[load], state.runs[1], machine)
            load_from = taken + 2
            if load_beats == 0:
                _finish_load(table, load, taken, state)
                unsettled = True
                load = at[1] = -1
