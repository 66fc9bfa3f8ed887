"""What feeds the leaves of a SpArch engine, cycle by cycle. In machine code."""

from __future__ import annotations

import numpy as np

from celosia.dataflow.jit import inlined, lean
from celosia.dataflow.sparch.counters import SparchCounter
from celosia.dataflow.sparch.cycle_memory import can_ask, move_runs, move_splitter
from celosia.dataflow.sparch.cycle_state import (
    Field,
    Gate,
    Group,
    Kind,
    Machine,
    Params,
    Piece,
    Place,
    Reg,
    Split,
    Work,
)

BATCHES = 4
"""Batches of work records that wait to be taken."""

ROW_RUNS = 4
"""Runs of rows of B that wait."""


@inlined
def _records_shown(machine: Machine, p: Params, work: Work) -> int:
    """Return how many work records could be read: they begin in the beat held, and all is there."""
    now = machine.now
    most = min(p.groups, now[Reg.RECORD_END] - now[Reg.READ])
    if not now[Reg.LEFT_HELD]:
        return 0
    for number in range(most):
        record = now[Reg.READ] + number
        if number and work.end[record - 1] >= now[Reg.LEFT_END]:
            return number
        if work.end[record] > now[Reg.LEFT_END] and now[Reg.LEFT_WAITS] == 0:
            return number
    return int(most)


@lean
def move_records(machine: Machine, p: Params, work: Work, beat: bool, taken: bool) -> None:
    """Read work records: a ``beat`` comes, a burst is ``taken``."""
    now, then = machine.now, machine.then
    wants, run = now[Reg.LEFT_WANTS] != 0, now[Reg.LEFT_RUN]
    asks = wants and can_ask(machine, Split.LEFT)
    move_splitter(machine, p, Split.LEFT, asks, now[Reg.LEFT_ADDRESS], run, taken)
    then[Reg.LEFT_WANTS] = wants and not asks
    if not wants:
        then[Reg.LEFT_WANTS] = now[Reg.UNASKED] != 0 and now[Reg.LEFT_FREE] >= p.burst_beats
        then[Reg.LEFT_RUN] = min(now[Reg.UNASKED], p.burst_beats)
    reads = _records_shown(machine, p, work) if now[Reg.PLACES] else 0
    after = now[Reg.READ] + reads
    final = reads != 0 and after == now[Reg.RECORD_END]
    spills = reads != 0 and work.end[after - 1] > now[Reg.LEFT_END]
    leaves = reads != 0 and (final or work.end[after - 1] >= now[Reg.LEFT_END])
    if now[Reg.LEFT_HELD]:
        pops = leaves and (spills or not final)
    else:
        pops = now[Reg.READ] != now[Reg.RECORD_END]
    pops = pops and now[Reg.LEFT_WAITS] != 0
    moved = now[Reg.LEFT_LEVEL] != 0 and now[Reg.LEFT_WAITS] < 2
    then[Reg.LEFT_FREE] = now[Reg.LEFT_FREE] + moved
    then[Reg.LEFT_LEVEL] = now[Reg.LEFT_LEVEL] + beat - moved
    then[Reg.LEFT_WAITS] = now[Reg.LEFT_WAITS] + moved - pops
    if leaves or not now[Reg.LEFT_HELD]:
        then[Reg.LEFT_HELD] = pops and not final
    then[Reg.LEFT_END] = now[Reg.LEFT_END] + pops * p.beat_grains
    then[Reg.READ] = after
    then[Reg.SAID] = reads
    then[Reg.READ_ALL] = reads == 0 and now[Reg.READ] == now[Reg.RECORD_END]
    then[Reg.PLACES] = now[Reg.PLACES] - (reads != 0) + now[Reg.BATCH_LEFT]
    if asks:
        then[Reg.LEFT_ADDRESS] = now[Reg.LEFT_ADDRESS] + run * p.bus_bytes
        then[Reg.UNASKED] = now[Reg.UNASKED] - run
        then[Reg.LEFT_FREE] -= run
    if now[Reg.BEGIN]:
        step = work.steps[now[Reg.STEP]]
        then[Reg.LEFT_ADDRESS] = step[Field.ADDRESS]
        then[Reg.UNASKED] = step[Field.BEATS]
        then[Reg.LEFT_END] = 0
        then[Reg.READ] = step[Field.RECORDS]
        then[Reg.RECORD_END] = step[Field.RECORDS_END]
        then[Reg.READ_ALL] = 0


@lean
def move_fetch(machine: Machine, p: Params, work: Work, beat: bool, taken: bool) -> None:
    """Take records and fetch lines: a ``beat`` comes, a burst is ``taken``."""
    now, then = machine.now, machine.then
    goes, done = 0, now[Reg.BATCH_DONE]
    able, asked = now[Reg.ROW_SLOTS] != 0, 0
    waits = now[Reg.BATCH_HEAD] != now[Reg.BATCH_TAIL]
    count = machine.batches[now[Reg.BATCH_HEAD] % len(machine.batches)] if waits else 0
    for _ in range(min(count - done, now[Reg.LOOK_LEFT])):
        if work.beats[now[Reg.RECORD] + goes]:
            if not able:
                break
            able, asked = False, 1
        goes += 1
    leaves = waits and done + goes == count
    then[Reg.BATCH_LEFT] = leaves
    then[Reg.BATCH_DONE] = 0 if leaves else done + goes
    if leaves:
        then[Reg.BATCH_HEAD] = now[Reg.BATCH_HEAD] + 1
    if now[Reg.SAID]:
        machine.batches[now[Reg.BATCH_TAIL] % len(machine.batches)] = now[Reg.SAID]
        then[Reg.BATCH_TAIL] = now[Reg.BATCH_TAIL] + 1
    then[Reg.RECORD] = now[Reg.RECORD] + goes
    then[Reg.WENT] = goes
    then[Reg.LOOK_LEFT] = now[Reg.OLDEST] + p.look_ahead - then[Reg.RECORD]
    then[Reg.ROW_SLOTS] = now[Reg.ROW_SLOTS] - asked + now[Reg.ROW_FREED]
    oldest = machine.group[0, Group.MARK]
    for number in range(1, p.groups):
        oldest = min(oldest, machine.group[number, Group.MARK])
    then[Reg.OLDEST] = oldest
    asks, address, beats = False, 0, 0
    for record in range(now[Reg.PUT], now[Reg.PUT] + now[Reg.WENT]):
        if work.beats[record]:
            asks, address, beats = True, int(work.address[record]), int(work.beats[record])
    then[Reg.PUT] = now[Reg.PUT] + now[Reg.WENT]
    move_runs(machine, p, asks, address, beats, taken)
    machine.counters[SparchCounter.RECORDS] += now[Reg.WENT]
    if beat:
        then[Reg.FILL_BEAT] = now[Reg.FILL_BEAT] + 1
        if then[Reg.FILL_BEAT] == work.beats[work.misses[now[Reg.FILLED]]]:
            then[Reg.FILL_BEAT] = 0
            then[Reg.FILLED] = now[Reg.FILLED] + 1


@lean
def queue_records(machine: Machine, p: Params, work: Work) -> None:
    """Put the records taken in the cycle before into their groups' queues."""
    put = machine.now[Reg.PUT]
    for record in range(put, put + machine.now[Reg.WENT]):
        machine.group[work.leaf[record] % p.groups, Group.TAKEN] += 1


@inlined
def _move_piece(pieces: np.ndarray, to: int, place: int) -> None:
    """Move the piece at ``place``, or that there is none."""
    for field in range(pieces.shape[1]):
        pieces[to, field] = pieces[place, field]


@lean
def move_multipliers(machine: Machine, p: Params, work: Work, number: int, ready: bool) -> None:
    """Let group ``number`` multiply, if it can; ``ready``: what it offers goes into its leaf."""
    group, queued = machine.group[number], work.queued[number]
    works = group[Group.BEGUN] != group[Group.USED]
    if works:
        group[Group.MARK] = queued[group[Group.USED]]
    elif group[Group.TAKEN] == group[Group.USED]:
        group[Group.MARK] = machine.now[Reg.PUT]
    waits = group[Group.FOUND] - group[Group.BEGUN]
    there = group[Group.LEFT] - group[Group.FOUND]
    pieces = machine.piece[number]
    full = pieces[Place.WAITS, Piece.THERE] != 0
    multiplies = pieces[Place.TURNED, Piece.THERE] == 0 or not full
    turns = pieces[Place.READ, Piece.THERE] == 0 or multiplies
    moves, final = works and turns, False
    if ready:
        _move_piece(pieces, Place.OFFERED, Place.WAITS)
        pieces[Place.WAITS, Piece.THERE] = 0
    if multiplies:
        if pieces[Place.TURNED, Piece.THERE]:
            to = Place.WAITS if pieces[Place.OFFERED, Piece.THERE] else Place.OFFERED
            _move_piece(pieces, to, Place.TURNED)
        _move_piece(pieces, Place.TURNED, Place.READ)
    if turns:
        pieces[Place.READ, Piece.THERE] = moves
    if moves:
        record, at, piece = queued[group[Group.USED]], group[Group.AT], pieces[Place.READ]
        end = work.first[record] + work.length[record]
        following = (at // p.multipliers + 1) * p.multipliers
        final = following >= end
        group[Group.AT] = following
        piece[Piece.LEAF] = work.leaf[record]
        piece[Piece.COUNT] = min(following, end) - at
        piece[Piece.CLOSES] = final and work.last[record]
        piece[Piece.FIRST] = work.begin[record] + at - work.first[record]
        group[Group.USED] += final
    if waits and (final or not works):
        group[Group.AT] = work.first[queued[group[Group.BEGUN]]]
        group[Group.BEGUN] += 1
    if there and waits < 2:
        group[Group.FOUND] += machine.now[Reg.FILLED] >= work.needs[queued[group[Group.FOUND]]]
    if there < 2 and group[Group.TAKEN] != group[Group.LEFT]:
        group[Group.LEFT] += 1


@inlined
def groups_rest(machine: Machine, p: Params) -> bool:
    """Return whether no record waits and no products are under way."""
    now = machine.now
    if not now[Reg.READ_ALL] or now[Reg.WENT] or now[Reg.BATCH_HEAD] != now[Reg.BATCH_TAIL]:
        return False
    for number in range(p.groups):
        group = machine.group[number]
        if group[Group.TAKEN] != group[Group.USED]:
            return False
        for place in range(machine.piece.shape[1]):
            if machine.piece[number, place, Piece.THERE]:
                return False
    return True


@lean
def move_partials(machine: Machine, p: Params, beat: bool, taken: bool) -> None:
    """Read partial matrices: a ``beat`` comes, a burst is ``taken``."""
    now, then = machine.now, machine.then
    most = p.partial_burst * p.partial_lanes
    leaf, elements = now[Reg.ASK_LEAF], now[Reg.ASK_ELEMENTS]
    stage = now[Reg.ASK_STAGE]
    if stage == 0 and now[Reg.RUNS] and not now[Reg.BEGIN]:
        for step in range(p.ways):
            able = (now[Reg.LEAF_AFTER] + step) % p.ways
            if machine.able[able]:
                then[Reg.ASK_LEAF], then[Reg.ASK_STAGE] = able, 1
                break
    for each in range(p.ways):
        held = machine.told[p.ways + each] + machine.promised[each]
        machine.able[each] = machine.unasked[each] != 0 and held + most <= p.leaf_fifo
        machine.drained[each] = machine.unasked[each] == 0 and machine.promised[each] == 0
    machine.promised[now[Reg.LANDED_LEAF]] -= now[Reg.LANDED]
    then[Reg.LANDED] = 0
    if stage == 1:
        then[Reg.ASK_ELEMENTS] = min(most, machine.unasked[leaf])
        then[Reg.ASK_ADDRESS] = machine.leaf_address[leaf]
        then[Reg.LEAF_AFTER] = (leaf + 1) % p.ways
        then[Reg.ASK_STAGE] = 2
    if stage == 2:
        machine.promised[leaf] += elements
        machine.unasked[leaf] -= elements
        machine.leaf_address[leaf] += p.partial_burst * p.bus_bytes
        then[Reg.ASK_STAGE] = 3
    asks = stage == 3 and can_ask(machine, Split.PARTIAL)
    asks = asks and now[Reg.RUNS_TAIL] - now[Reg.RUNS_HEAD] <= p.bus_bursts
    beats = -(-elements // p.partial_lanes)
    move_splitter(machine, p, Split.PARTIAL, asks, now[Reg.ASK_ADDRESS], beats, taken)
    if asks:
        run = machine.runs[now[Reg.RUNS_TAIL] % len(machine.runs)]
        run[0], run[1] = leaf, elements
        then[Reg.RUNS_TAIL] = now[Reg.RUNS_TAIL] + 1
        then[Reg.ASK_STAGE] = 0
    then[Reg.OFFER_COUNT] = 0
    if beat:
        run = machine.runs[now[Reg.RUNS_HEAD] % len(machine.runs)]
        count = min(run[1] - now[Reg.RUN_DONE], p.partial_lanes)
        then[Reg.OFFER_LEAF], then[Reg.OFFER_COUNT] = run[0], count
        then[Reg.OFFER_FIRST] = machine.source_at[run[0]]
        then[Reg.RUN_DONE] = now[Reg.RUN_DONE] + count
        if then[Reg.RUN_DONE] == run[1]:
            then[Reg.RUN_DONE] = 0
            then[Reg.RUNS_HEAD] = now[Reg.RUNS_HEAD] + 1
        machine.source_at[run[0]] += count


@lean
def close_leaves(machine: Machine, p: Params) -> None:
    """Say of each leaf whether it is closed in this cycle."""
    for leaf in range(p.ways):
        if machine.is_source[leaf]:
            shut = machine.drained[leaf]
        else:
            shut = machine.shut[leaf] or not machine.is_fed[leaf]
        machine.closed[p.ways + leaf] = shut


@lean
def move_gate(machine: Machine, p: Params, work: Work, number: int) -> bool:
    """Move what is under way to the leaves of group ``number``.

    Returns whether products that it offers are taken.
    """
    now, offered = machine.now, machine.piece[number, Place.OFFERED]
    checked, ready = machine.gate[number, 0], machine.gate[number, 1]
    if ready[Gate.KIND] != Kind.NONE:
        _put(machine, p, work, ready)
    partial = now[Reg.OFFER_COUNT] != 0 and now[Reg.OFFER_LEAF] % p.groups == number
    to = offered[Piece.LEAF]
    again = checked[Gate.KIND] != Kind.NONE
    takes = not partial and offered[Piece.THERE] != 0 and machine.room[to, int(again)]
    for leaf in range(number, p.ways, p.groups):
        words = 1
        for slot in range(2):
            word = machine.gate[number, slot]
            words += word[Gate.KIND] != Kind.NONE and word[Gate.LEAF] == leaf
        for more in range(2):
            most = p.leaf_fifo - (words + more) * p.multipliers
            machine.room[leaf, more] = machine.told[p.ways + leaf] <= most
        machine.shut[leaf] |= machine.over[leaf] or now[Reg.FINISHED]
    if checked[Gate.KIND] != Kind.NONE and checked[Gate.CLOSES]:
        machine.over[checked[Gate.LEAF]] = True
    for field in range(len(checked)):
        ready[field] = checked[field]
    checked[Gate.KIND] = Kind.NONE
    if partial:
        checked[Gate.KIND], checked[Gate.LEAF] = Kind.PARTIAL, now[Reg.OFFER_LEAF]
        checked[Gate.FIRST], checked[Gate.COUNT] = now[Reg.OFFER_FIRST], now[Reg.OFFER_COUNT]
        checked[Gate.CLOSES] = 0
    elif takes:
        checked[Gate.KIND], checked[Gate.LEAF] = Kind.PRODUCTS, to
        checked[Gate.FIRST], checked[Gate.COUNT] = offered[Piece.FIRST], offered[Piece.COUNT]
        checked[Gate.CLOSES] = offered[Piece.CLOSES]
    return bool(takes)


@lean
def _put(machine: Machine, p: Params, work: Work, word: np.ndarray) -> None:
    """Put a ``word`` of :class:`Gate` into its leaf."""
    leaf, first, count = word[Gate.LEAF], word[Gate.FIRST], word[Gate.COUNT]
    row, size = p.ways + leaf, machine.ring_keys.shape[1]
    products = word[Gate.KIND] == Kind.PRODUCTS
    for element in range(count):
        place = (machine.head[row] + machine.level[row] + element) % size
        if products:
            machine.ring_keys[row, place] = work.keys[first + element]
            machine.ring_numbers[row, place] = work.numbers[first + element]
        else:
            machine.ring_keys[row, place] = machine.store_keys[first + element]
            machine.ring_numbers[row, place] = machine.store_numbers[first + element]
    machine.put[row] += count
    if products:
        machine.counters[SparchCounter.PRODUCTS] += count
        machine.counters[SparchCounter.MULTIPLY_CYCLES] += 1
    else:
        machine.then[Reg.LANDED_LEAF], machine.then[Reg.LANDED] = leaf, count


@inlined
def gates_rest(machine: Machine, p: Params) -> bool:
    """Return whether nothing is under way to a leaf."""
    for number in range(p.groups):
        for slot in range(2):
            if machine.gate[number, slot, Gate.KIND] != Kind.NONE:
                return False
    return True
