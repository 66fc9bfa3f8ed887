"""Bursts between a SpArch engine and memory, cycle by cycle: splitters, ports, the memory model.

Written from ``docs/architecture.md``. In machine code.
"""

from __future__ import annotations

from celosia.dataflow.jit import inlined, lean
from celosia.dataflow.microarchitecture import PAGE_BYTES
from celosia.dataflow.sparch.counters import SparchCounter
from celosia.dataflow.sparch.cycle_state import Machine, Params, Reg, Run, Split

NOBODY = -1
"""Instead of a reader: no beat comes."""


@inlined
def can_ask(machine: Machine, number: int) -> bool:
    """Return whether splitter ``number`` takes a run in this cycle."""
    return bool(machine.split[number, Run.VALID] == 0 and machine.split[number, Run.MORE] == 0)


@lean
def move_splitter(
    machine: Machine, p: Params, number: int, asks: bool, address: int, beats: int, taken: bool
) -> None:
    """Let splitter ``number`` do a cycle: ``asks`` for a run, its burst ``taken``."""
    run = machine.split[number]
    if run[Run.VALID]:
        if taken:
            run[Run.VALID] = 0
            run[Run.REST_ADDRESS] = run[Run.ADDRESS] + run[Run.BEATS] * p.bus_bytes
            run[Run.REST_BEATS] -= run[Run.BEATS]
        return
    if run[Run.MORE] == 0:
        if not asks:
            return
        run[Run.REST_ADDRESS], run[Run.REST_BEATS] = address, beats
    to_page = (PAGE_BYTES - run[Run.REST_ADDRESS] % PAGE_BYTES) // p.bus_bytes
    most = min(to_page, p.burst_beats)
    run[Run.VALID] = 1
    run[Run.ADDRESS] = run[Run.REST_ADDRESS]
    run[Run.BEATS] = min(run[Run.REST_BEATS], most)
    run[Run.MORE] = run[Run.REST_BEATS] > most


@lean
def move_runs(
    machine: Machine, p: Params, asks: bool, address: int, beats: int, taken: bool
) -> None:
    """Do as :func:`move_splitter` for rows of B: runs wait, and one that fits follows at once."""
    now, then = machine.now, machine.then
    run, ring = machine.split[Split.RIGHT], machine.row_runs
    then[Reg.ROW_FREED] = 0
    if run[Run.VALID] == 0 or (taken and run[Run.MORE] == 0):
        waits = now[Reg.ROW_RUNS_TAIL] != now[Reg.ROW_RUNS_HEAD]
        run[Run.VALID] = 0
        if run[Run.MORE] == 0 and waits:
            place = now[Reg.ROW_RUNS_HEAD] % len(ring)
            then[Reg.ROW_RUNS_HEAD] = now[Reg.ROW_RUNS_HEAD] + 1
            then[Reg.ROW_FREED] = 1
            move_splitter(machine, p, Split.RIGHT, True, ring[place, 0], ring[place, 1], False)
        else:
            move_splitter(machine, p, Split.RIGHT, False, 0, 0, False)
    else:
        move_splitter(machine, p, Split.RIGHT, False, 0, 0, taken)
    if asks:
        place = now[Reg.ROW_RUNS_TAIL] % len(ring)
        ring[place, 0], ring[place, 1] = address, beats
        then[Reg.ROW_RUNS_TAIL] = now[Reg.ROW_RUNS_TAIL] + 1


@lean
def read_beat(machine: Machine, p: Params, cycle: int) -> int:
    """Return whose beat transfers in ``cycle``, a reader of :class:`Split`, or ``NOBODY``."""
    now, then = machine.now, machine.then
    done = now[Reg.READS_DONE]
    if done == now[Reg.READS_ACCEPTED]:
        return NOBODY
    burst = machine.reads[done % len(machine.reads)]
    start = burst[2] + now[Reg.READ_BEAT] * p.bus_bytes
    if -(-start // p.rate) > cycle:
        return NOBODY
    then[Reg.READ_BEAT] = now[Reg.READ_BEAT] + 1
    if then[Reg.READ_BEAT] == burst[1]:
        then[Reg.READ_BEAT] = 0
        then[Reg.READS_DONE] = done + 1
    machine.counters[SparchCounter.READ_BEATS] += 1
    return int(burst[0])


@lean
def take_read(machine: Machine, p: Params, cycle: int) -> int:
    """Move the read port; return the reader whose burst is taken in ``cycle``, or ``NOBODY``."""
    now, then, reads = machine.now, machine.then, machine.reads
    ready = now[Reg.READS_ACCEPTED] - now[Reg.READS_DONE] < p.memory_bursts
    if now[Reg.AR_VALID] and ready:
        burst = reads[now[Reg.READS_ACCEPTED] % len(reads)]
        burst[2] = max(now[Reg.READ_FREE], (cycle + p.latency) * p.rate)
        then[Reg.READ_FREE] = burst[2] + burst[1] * p.bus_bytes
        then[Reg.READS_ACCEPTED] = now[Reg.READS_ACCEPTED] + 1
        then[Reg.AR_VALID] = 0
    elif now[Reg.AR_VALID]:
        return NOBODY
    if now[Reg.READS_TAKEN] - now[Reg.READS_DONE] >= p.bus_bursts:
        return NOBODY
    for reader in range(Split.RIGHT + 1):
        if machine.split[reader, Run.VALID]:
            burst = reads[now[Reg.READS_TAKEN] % len(reads)]
            burst[0], burst[1] = reader, machine.split[reader, Run.BEATS]
            then[Reg.READS_TAKEN] = now[Reg.READS_TAKEN] + 1
            then[Reg.AR_VALID] = 1
            return reader
    return NOBODY


@lean
def take_write(machine: Machine, p: Params) -> int:
    """Move AW and the arbiter before it; return the splitter whose burst it takes, or ``NOBODY``.

    The burst taken is in ``writes`` from then on.
    """
    now, then = machine.now, machine.then
    open_writes = now[Reg.WRITES_TAKEN] - now[Reg.WRITES_DONE]
    offered = now[Reg.AW_VALID] != 0 and open_writes < p.bus_bursts
    taken = offered and open_writes < p.memory_bursts
    then[Reg.AW_WAITS] = offered and not taken
    if taken:
        then[Reg.WRITES_TAKEN] = now[Reg.WRITES_TAKEN] + 1
        then[Reg.AW_VALID] = 0
    if now[Reg.AW_VALID]:
        return NOBODY
    for writer in range(Split.ELEMENTS, Split.POINTERS + 1):
        if machine.split[writer, Run.VALID]:
            burst = machine.writes[now[Reg.WRITES_LOADED] % len(machine.writes)]
            burst[0], burst[1] = writer, machine.split[writer, Run.BEATS]
            then[Reg.WRITES_LOADED] = now[Reg.WRITES_LOADED] + 1
            then[Reg.AW_VALID] = 1
            return writer
    return NOBODY


@lean
def move_beats(machine: Machine) -> int:
    """Move a beat to the write port; return the splitter whose beat it is, or ``NOBODY``."""
    now, then = machine.now, machine.then
    moved = now[Reg.WRITES_MOVED]
    if moved == now[Reg.WRITES_LOADED] or now[Reg.SEND_LEVEL] >= 2:
        return NOBODY
    burst = machine.writes[moved % len(machine.writes)]
    owner = burst[0]
    beats = now[Reg.ELEMENT_BEATS] if owner == Split.ELEMENTS else now[Reg.POINTER_BEATS]
    if beats == 0:
        return NOBODY
    then[Reg.MOVED_BEAT] = now[Reg.MOVED_BEAT] + 1
    if then[Reg.MOVED_BEAT] == burst[1]:
        then[Reg.MOVED_BEAT] = 0
        then[Reg.WRITES_MOVED] = moved + 1
    then[Reg.SEND_LEVEL] += 1
    return int(owner)


@lean
def write_beat(machine: Machine, p: Params, cycle: int) -> None:
    """Move W and B."""
    now, then, writes = machine.now, machine.then, machine.writes
    done = now[Reg.WRITES_DONE]
    if done < now[Reg.WRITES_SENT] and writes[done % len(writes), 2] + p.latency <= cycle:
        then[Reg.WRITES_DONE] = done + 1
    sent = now[Reg.WRITES_SENT]
    if sent == now[Reg.WRITES_TAKEN] or cycle * p.rate < now[Reg.WRITE_FREE]:
        return
    if now[Reg.SEND_LEVEL] == 0:
        return
    burst = writes[sent % len(writes)]
    free = now[Reg.WRITE_FREE]
    late = (cycle - 1) * p.rate < free  # it waited for the bandwidth
    then[Reg.WRITE_FREE] = (free if late else cycle * p.rate) + p.bus_bytes
    then[Reg.WRITE_BEAT] = now[Reg.WRITE_BEAT] + 1
    then[Reg.SEND_LEVEL] -= 1
    if then[Reg.WRITE_BEAT] == burst[1]:
        then[Reg.WRITE_BEAT] = 0
        then[Reg.WRITES_SENT] = sent + 1
        burst[2] = cycle
    machine.counters[SparchCounter.WRITE_BEATS] += 1
