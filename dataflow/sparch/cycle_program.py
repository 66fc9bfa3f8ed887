"""The sequencer and the control of a SpArch engine, cycle by cycle. In machine code."""

from __future__ import annotations

from celosia.dataflow.descriptors import CHUNK_DESCRIPTORS, DESCRIPTOR_BYTES
from celosia.dataflow.jit import lean
from celosia.dataflow.microarchitecture import PROGRAM_QUEUE_DEPTH, UNIT_QUEUE_DEPTH
from celosia.dataflow.sparch.counters import SparchCounter
from celosia.dataflow.sparch.cycle_feed import BATCHES, ROW_RUNS
from celosia.dataflow.sparch.cycle_memory import NOBODY, can_ask, move_splitter
from celosia.dataflow.sparch.cycle_state import Field, Machine, Params, Reg, Split, Step, Work
from celosia.dataflow.sparch.cycle_write import WORDS

_CHUNK_BYTES = CHUNK_DESCRIPTORS * DESCRIPTOR_BYTES


@lean
def start(machine: Machine, p: Params, work: Work, address: int) -> None:
    """Bring registers to where the engine is in the cycle after its start."""
    now = machine.now
    now[Reg.CHUNKS] = -(-len(work.steps) // CHUNK_DESCRIPTORS)
    now[Reg.PROGRAM_ADDRESS] = address
    now[Reg.FREE_PLACES] = PROGRAM_QUEUE_DEPTH
    now[Reg.RUNNING] = 1
    now[Reg.LEFT_FREE] = 2 * p.burst_beats
    now[Reg.PLACES] = BATCHES
    now[Reg.ROW_SLOTS] = ROW_RUNS
    now[Reg.LOOK_LEFT] = p.look_ahead
    now[Reg.READ_ALL] = 1
    now[Reg.ELEMENT_ROOM] = now[Reg.POINTER_ROOM] = p.writer_beats
    now[Reg.WORD_ROOM] = WORDS
    now[Reg.BEAT_HELD] = now[Reg.BEAT_GIVEN] = NOBODY
    for register in range(len(now)):
        machine.then[register] = now[register]


@lean
def move_sequencer(machine: Machine, p: Params, work: Work, beat: bool, taken: bool) -> None:
    """Fetch descriptors: a ``beat`` of the program comes, its burst is ``taken``."""
    now, then = machine.now, machine.then
    asks = now[Reg.CHUNKS] != 0 and now[Reg.FREE_PLACES] >= CHUNK_DESCRIPTORS
    asks = asks and can_ask(machine, Split.PROGRAM)
    move_splitter(
        machine, p, Split.PROGRAM, asks, now[Reg.PROGRAM_ADDRESS], _CHUNK_BYTES // p.bus_bytes,
        taken,
    )  # fmt: skip
    arrived = 0
    if beat:
        then[Reg.PROGRAM_BEAT] = now[Reg.PROGRAM_BEAT] + 1
        if then[Reg.PROGRAM_BEAT] * p.bus_bytes == DESCRIPTOR_BYTES:
            then[Reg.PROGRAM_BEAT], arrived = 0, 1
    gone = 0
    if now[Reg.RUNNING] and now[Reg.PROGRAM_LEVEL] and now[Reg.STEPS_LEVEL] < UNIT_QUEUE_DEPTH:
        is_end = work.steps[now[Reg.DISPATCHED], Field.KIND] == Step.END
        if not (is_end and now[Reg.AWAITED]):
            gone = 1
            then[Reg.DISPATCHED] = now[Reg.DISPATCHED] + 1
            then[Reg.STEPS_LEVEL] += 1
            then[Reg.RUNNING] = not is_end
    then[Reg.PROGRAM_LEVEL] = now[Reg.PROGRAM_LEVEL] + arrived - gone
    then[Reg.FREE_PLACES] = now[Reg.FREE_PLACES] + gone
    then[Reg.AWAITED] = now[Reg.AWAITED] - arrived
    if asks:
        then[Reg.CHUNKS] = now[Reg.CHUNKS] - 1
        then[Reg.PROGRAM_ADDRESS] = now[Reg.PROGRAM_ADDRESS] + _CHUNK_BYTES
        then[Reg.FREE_PLACES] -= CHUNK_DESCRIPTORS
        then[Reg.AWAITED] += CHUNK_DESCRIPTORS


@lean
def move_control(machine: Machine, work: Work, cycle: int, done: bool) -> int:
    """Take a descriptor if it can be; return the kind of what is taken, or -1.

    ``done``: what was begun is done in this cycle.
    """
    now, then = machine.now, machine.then
    then[Reg.BEGIN] = 0
    if done:
        then[Reg.BUSY] = 0
        if now[Reg.RUNS]:
            step = work.steps[now[Reg.STEP]]
            if not step[Field.FINAL]:
                machine.sizes[step[Field.PARTIAL]] = now[Reg.WRITTEN]
                machine.places[step[Field.PARTIAL]] = step[Field.STORE]
            machine.is_source[:] = False
            then[Reg.RUNS] = 0
    takes = now[Reg.STEP_CHECKED] != 0
    loads = now[Reg.STEPS_LEVEL] != 0 and (not now[Reg.STEP_WAITS] or takes)
    then[Reg.STEPS_LEVEL] -= loads
    then[Reg.STEP_WAITS] = loads or (now[Reg.STEP_WAITS] and not takes)
    then[Reg.STEP_LOOKED] = now[Reg.STEP_WAITS] and not now[Reg.BUSY] and not takes
    then[Reg.STEP_CHECKED] = now[Reg.STEP_LOOKED] and not takes
    if not takes:
        return -1
    number = now[Reg.TAKEN_STEPS]
    step = work.steps[number]
    machine.accepted[number] = cycle
    then[Reg.TAKEN_STEPS] = number + 1
    kind = step[Field.KIND]
    if kind == Step.SOURCE:
        leaf, partial = step[Field.FINAL], step[Field.PARTIAL]
        machine.is_source[leaf] = True
        machine.unasked[leaf] = machine.sizes[partial]
        machine.source_at[leaf] = machine.places[partial]
        machine.leaf_address[leaf] = step[Field.ADDRESS]
    elif kind == Step.ROUND:
        for leaf in range(len(machine.is_fed)):
            machine.is_fed[leaf] = work.fed[step[Field.ROUND], leaf]
        machine.counters[SparchCounter.ROUNDS] += 1
        then[Reg.BEGIN] = then[Reg.RUNS] = then[Reg.BUSY] = 1
        then[Reg.STEP] = number
    elif kind == Step.STAMP:
        then[Reg.BUSY] = 1
        then[Reg.STEP] = number
    return int(kind)
