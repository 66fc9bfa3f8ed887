"""The writer of a SpArch engine, cycle by cycle. In machine code."""

from __future__ import annotations

from celosia.dataflow.jit import inlined, lean
from celosia.dataflow.sparch.counters import SparchCounter
from celosia.dataflow.sparch.cycle_memory import can_ask, move_splitter
from celosia.dataflow.sparch.cycle_state import Field, Machine, Params, Reg, Split, Step, Work
from celosia.dataflow.sparch.merge_kernel import ROW_SHIFT


@inlined
def write_done(machine: Machine) -> bool:
    """Return whether what was begun is done in this cycle."""
    now = machine.now
    idle = now[Reg.WRITES_TAKEN] == now[Reg.WRITES_DONE] and not now[Reg.AW_WAITS]
    empty = now[Reg.ELEMENT_BEATS] == 0 and now[Reg.POINTER_BEATS] == 0
    return now[Reg.FLUSHED] != 0 and empty and idle


@lean
def _gather(
    machine: Machine, p: Params, number: int, beats: int, comes: int, sent: bool, taken: bool
) -> int:
    """Move the writer with splitter ``number``; return the beats that a run takes of its own.

    Its registers are those of ``beats`` on: beats in its queue, those in no run, address.
    """
    now, then = machine.now, machine.then
    free, address = now[beats + 1], now[beats + 2]
    longest = min(p.burst_beats, p.writer_beats)
    run = min(free, longest)
    asks = free >= longest or (now[Reg.FLUSHED] and free != 0)
    asks = asks and can_ask(machine, number)
    move_splitter(machine, p, number, asks, address, run, taken)
    then[beats] = now[beats] + comes - sent
    then[beats + 1] = free + comes
    if asks:
        then[beats + 1] -= run
        then[beats + 2] = address + run * p.bus_bytes
    return run if asks else 0


@lean
def _take_rows(machine: Machine, p: Params, rows: int) -> tuple[int, int]:
    """Return how many elements of the product are taken, and how many rows are done."""
    shown, size = min(p.width, machine.level[1]), machine.ring_keys.shape[1]
    ended = machine.closed[1] and shown == 0
    first = machine.now[Reg.ROW]
    taken = done = 0
    for row in range(first, min(first + p.writer_rows, rows)):
        count = taken
        while count < shown:
            key = machine.ring_keys[1, (machine.head[1] + count) % size]
            if key >> ROW_SHIFT != row:
                break
            count += 1
        taken = min(count, p.output_lanes)
        if count > p.output_lanes or not (shown > count or ended):
            break
        done += 1
    return taken, done


@lean
def _take(machine: Machine, p: Params, work: Work) -> tuple[int, int]:
    """Take elements of the root; return whether a beat of elements and of pointers is full."""
    now, then = machine.now, machine.then
    step = work.steps[now[Reg.STEP]]
    final, first = step[Field.FINAL] != 0, now[Reg.FIRST_POINTER] != 0
    ended = machine.closed[1] and machine.level[1] == 0
    lanes = p.output_lanes if final else p.partial_lanes
    take, done = 0, 0
    if not final:
        take = min(lanes, p.width, machine.level[1])
        size = machine.ring_keys.shape[1]
        for element in range(take):
            place = (machine.head[1] + element) % size
            at = step[Field.STORE] + now[Reg.WRITTEN] + element
            machine.store_keys[at] = machine.ring_keys[1, place]
            machine.store_numbers[at] = machine.ring_numbers[1, place]
    elif not first:
        take, done = _take_rows(machine, p, step[Field.ROWS])
    machine.took[1] = take
    machine.counters[SparchCounter.MERGED] += take
    then[Reg.WRITTEN] = now[Reg.WRITTEN] + take
    then[Reg.ROW] = now[Reg.ROW] + done
    then[Reg.FIRST_POINTER] = 0
    ends = not first and ended and (not final or now[Reg.ROW] == step[Field.ROWS])
    elements = _fill(machine, Reg.WAITING, take, lanes, ends)
    pointers = _fill(machine, Reg.POINTERS_WAITING, done + first, p.pointer_lanes, ends)
    if ends:
        then[Reg.FLUSHED] = 1
    return elements, pointers


@inlined
def _fill(machine: Machine, waiting: int, comes: int, lanes: int, ends: bool) -> int:
    """Put what ``comes`` into the beat at hand; return 1 if that is full, or it ``ends``."""
    held = machine.now[waiting] + comes
    full = held >= lanes or (ends and held != 0)
    machine.then[waiting] = max(0, held - lanes) if full else held
    return int(full)


@lean
def move_writer(
    machine: Machine, p: Params, work: Work, kind: int, sent: int, taken: int, done: bool
) -> None:
    """Let the writer do a cycle.

    ``kind`` of the descriptor that is taken in it, ``sent`` is the splitter whose beat goes out,
    ``taken`` the one whose burst does.
    """
    now, then = machine.now, machine.then
    elements, pointers = 0, 0
    room = now[Reg.ELEMENT_BEATS] < p.writer_beats and now[Reg.POINTER_BEATS] < p.writer_beats
    if now[Reg.STAMPING] and not now[Reg.FLUSHED]:
        elements = 1
        then[Reg.FLUSHED] = 1
    elif now[Reg.WORKING] and not now[Reg.FLUSHED] and room:
        elements, pointers = _take(machine, p, work)
    _gather(
        machine, p, Split.ELEMENTS, Reg.ELEMENT_BEATS, elements, sent == Split.ELEMENTS,
        taken == Split.ELEMENTS,
    )  # fmt: skip
    _gather(
        machine, p, Split.POINTERS, Reg.POINTER_BEATS, pointers, sent == Split.POINTERS,
        taken == Split.POINTERS,
    )  # fmt: skip
    if sent == Split.POINTERS:
        machine.counters[SparchCounter.POINTER_BEATS] += 1
    elif sent == Split.ELEMENTS and now[Reg.RUNS]:
        if work.steps[now[Reg.STEP], Field.FINAL]:
            machine.counters[SparchCounter.OUTPUT_BEATS] += 1
        else:
            machine.counters[SparchCounter.PARTIAL_WRITE_BEATS] += 1
    if done:
        then[Reg.WORKING] = then[Reg.STAMPING] = then[Reg.FLUSHED] = 0
    if kind == Step.STAMP or now[Reg.BEGIN]:
        _begin(machine, work, kind)


@lean
def _begin(machine: Machine, work: Work, kind: int) -> None:
    """Begin with a stamp, or with the round at work."""
    now, then = machine.now, machine.then
    stamp = kind == Step.STAMP
    step = work.steps[now[Reg.TAKEN_STEPS] if stamp else now[Reg.STEP]]
    then[Reg.WORKING], then[Reg.STAMPING] = not stamp, stamp
    then[Reg.WRITTEN] = then[Reg.ROW] = 0
    then[Reg.FIRST_POINTER] = step[Field.FINAL] if not stamp else 0
    then[Reg.ELEMENT_ADDRESS] = step[Field.ADDRESS] if stamp else step[Field.TARGET]
    then[Reg.POINTER_ADDRESS] = step[Field.POINTERS]
