"""The writer of a SpArch engine, cycle by cycle. In machine code."""

from __future__ import annotations

from celosia.dataflow.jit import inlined, lean
from celosia.dataflow.sparch.counters import SparchCounter
from celosia.dataflow.sparch.cycle_memory import can_ask, move_splitter
from celosia.dataflow.sparch.cycle_state import Field, Machine, Params, Reg, Split, Step, Work
from celosia.dataflow.sparch.merge_kernel import ROW_SHIFT

WORDS = 4
"""Words of elements that wait for their pointers."""


@inlined
def write_done(machine: Machine) -> bool:
    """Return whether what was begun is done in this cycle."""
    now = machine.now
    idle = now[Reg.WRITES_TAKEN] == now[Reg.WRITES_DONE] and not now[Reg.AW_WAITS]
    empty = now[Reg.ELEMENT_BEATS] == 0 and now[Reg.POINTER_BEATS] == 0
    return now[Reg.FLUSHED] != 0 and empty and now[Reg.SEND_LEVEL] == 0 and idle


@lean
def _gather(
    machine: Machine, p: Params, number: int, beats: int, comes: int, sent: bool, taken: bool
) -> None:
    """Move the writer with splitter ``number``.

    Its registers are those of ``beats`` on: beats in its queue, those in no run, address.
    """
    now, then = machine.now, machine.then
    free, address = now[beats + 1], now[beats + 2]
    wants = Reg.ELEMENT_WANTS if number == Split.ELEMENTS else Reg.POINTER_WANTS
    longest, run = min(p.burst_beats, p.writer_beats), now[wants + 1]
    asks = now[wants] != 0 and can_ask(machine, number)
    move_splitter(machine, p, number, asks, address, run, taken)
    then[beats] = now[beats] + comes - sent
    then[beats + 1] = free + comes
    if asks:
        then[wants] = 0
        then[beats + 1] -= run
        then[beats + 2] = address + run * p.bus_bytes
    elif now[wants] == 0:
        then[wants] = free >= longest or (now[Reg.FLUSHED] != 0 and free != 0)
        then[wants + 1] = min(free, longest)


@lean
def _take(machine: Machine, p: Params, work: Work) -> None:
    """Take elements of the root."""
    now, then = machine.now, machine.then
    then[Reg.GIVEN] = then[Reg.GIVEN_END] = 0
    if not now[Reg.WORKING] or now[Reg.FLUSHED] or now[Reg.ENDING] or not now[Reg.ELEMENT_ROOM]:
        return
    step = work.steps[now[Reg.STEP]]
    final = step[Field.FINAL] != 0
    if final and not now[Reg.WORD_ROOM]:
        return
    ended = machine.closed[1] and machine.level[1] == 0
    take = min(p.output_lanes if final else p.partial_lanes, p.width, machine.level[1])
    size = machine.ring_keys.shape[1]
    for element in range(take):
        place = (machine.head[1] + element) % size
        key = machine.ring_keys[1, place]
        then[Reg.GIVEN_ROW] = key >> ROW_SHIFT
        if not final:
            at = step[Field.STORE] + now[Reg.WRITTEN] + element
            machine.store_keys[at] = key
            machine.store_numbers[at] = machine.ring_numbers[1, place]
    machine.took[1] = take
    machine.counters[SparchCounter.MERGED] += take
    then[Reg.WRITTEN] = now[Reg.WRITTEN] + take
    then[Reg.GIVEN] = take
    then[Reg.ELEMENT_ROOM] -= take != 0
    if ended:
        then[Reg.ENDING] = 1
        if final:
            then[Reg.GIVEN_END], then[Reg.GIVEN_ROW] = 1, step[Field.ROWS]
    if final and (take or ended):
        then[Reg.WORD_ROOM] -= 1


@lean
def _make_pointers(machine: Machine, p: Params, final: bool) -> None:
    """Make row pointers of what was taken."""
    now, then, words = machine.now, machine.then, machine.words
    given = final and (now[Reg.GIVEN] or now[Reg.GIVEN_END])
    then[Reg.TOLD] = given
    if given:
        then[Reg.TOLD_LEFT] = now[Reg.GIVEN_ROW] - now[Reg.LAST_ROW]
        then[Reg.LAST_ROW] = now[Reg.GIVEN_ROW]
    if now[Reg.TOLD]:
        if now[Reg.TOLD_LEFT]:
            words[now[Reg.WORDS_TAIL] % len(words)] = now[Reg.TOLD_LEFT]
            then[Reg.WORDS_TAIL] = now[Reg.WORDS_TAIL] + 1
        else:
            then[Reg.WORD_BACK] += 1
    left = now[Reg.POINTERS_LEFT]
    made = min(left, p.writer_rows) if now[Reg.POINTER_ROOM] else 0
    then[Reg.POINTERS_MADE] = made
    then[Reg.POINTERS_LEFT] = left - made
    then[Reg.POINTER_ROOM] -= made != 0
    if left == made and now[Reg.WORDS_HEAD] != now[Reg.WORDS_TAIL]:
        then[Reg.POINTERS_LEFT] = words[now[Reg.WORDS_HEAD] % len(words)]
        then[Reg.WORDS_HEAD] = now[Reg.WORDS_HEAD] + 1
        then[Reg.WORD_BACK] += 1


@inlined
def _fill(machine: Machine, waiting: int, room: int, comes: int, lanes: int, ends: bool) -> int:
    """Put what ``comes`` into the beat at hand; return 1 if that is full, or it ``ends``.

    A beat that does not become full gives its place back, one that ends takes one.
    """
    held = machine.now[waiting] + comes
    full = held >= lanes or (ends and held != 0)
    machine.then[waiting] = max(0, held - lanes) if full else held
    machine.then[room + 1] += (comes != 0 and not full) - int(ends and full)
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
    final = now[Reg.WORKING] != 0 and work.steps[now[Reg.STEP], Field.FINAL] != 0
    for room in (Reg.ELEMENT_ROOM, Reg.POINTER_ROOM):
        then[room] += now[room + 1]
    then[Reg.WORD_ROOM] += now[Reg.WORD_BACK]
    then[Reg.ELEMENT_BACK] = sent == Split.ELEMENTS
    then[Reg.POINTER_BACK] = sent == Split.POINTERS
    then[Reg.WORD_BACK] = 0
    idle = now[Reg.WORD_ROOM] == WORDS and not now[Reg.POINTERS_LEFT]
    able = now[Reg.ELEMENT_BEATS] < p.writer_beats and now[Reg.POINTER_BEATS] < p.writer_beats
    ends = now[Reg.ENDS] != 0
    ready = now[Reg.ENDING] != 0 and not ends and idle and able
    then[Reg.ENDS] = ready and not now[Reg.POINTERS_MADE]
    _take(machine, p, work)
    _make_pointers(machine, p, final)
    elements, pointers = 0, 0
    if now[Reg.STAMPING] and not now[Reg.FLUSHED]:
        elements = 1
        then[Reg.FLUSHED] = 1
        then[Reg.ELEMENT_BACK] -= 1
    elif now[Reg.WORKING]:
        lanes = p.output_lanes if final else p.partial_lanes
        elements = _fill(machine, Reg.WAITING, Reg.ELEMENT_ROOM, now[Reg.GIVEN], lanes, ends)
        pointers = _fill(
            machine, Reg.POINTERS_WAITING, Reg.POINTER_ROOM, now[Reg.POINTERS_MADE],
            p.pointer_lanes, ends,
        )  # fmt: skip
        if ends:
            then[Reg.FLUSHED], then[Reg.ENDING] = 1, 0
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
    then[Reg.WRITTEN] = 0
    then[Reg.LAST_ROW] = -1
    then[Reg.ELEMENT_ADDRESS] = step[Field.ADDRESS] if stamp else step[Field.TARGET]
    then[Reg.POINTER_ADDRESS] = step[Field.POINTERS]
