"""What feeds the leaves of a SpArch engine, cycle by cycle. In machine code."""

from __future__ import annotations

from celosia.dataflow.jit import inlined, lean
from celosia.dataflow.sparch.counters import SparchCounter
from celosia.dataflow.sparch.cycle_memory import can_ask, move_runs, move_splitter
from celosia.dataflow.sparch.cycle_state import (
    Field,
    Group,
    Machine,
    Params,
    Reg,
    Run,
    Split,
    Work,
)


@inlined
def records_in_flight(machine: Machine, p: Params, work: Work) -> int:
    """Return how many records were taken from the oldest on that is not used up."""
    oldest = machine.now[Reg.RECORD]
    for number in range(p.groups):
        group = machine.group[number]
        if group[Group.TAKEN] != group[Group.USED]:
            oldest = min(oldest, work.queued[number, group[Group.USED]])
    return int(machine.now[Reg.RECORD] - oldest)


@inlined
def records_shown(machine: Machine, p: Params, work: Work) -> int:
    """Return how many work records are shown: they begin in the beat held, and all is there."""
    now = machine.now
    most = min(p.groups, now[Reg.RECORD_END] - now[Reg.RECORD])
    if not now[Reg.LEFT_HELD]:
        return 0
    for number in range(most):
        record = now[Reg.RECORD] + number
        if number and work.end[record - 1] >= now[Reg.LEFT_END]:
            return number
        if work.end[record] > now[Reg.LEFT_END] and now[Reg.LEFT_LEVEL] == 0:
            return number
    return int(most)


@lean
def records_go(machine: Machine, p: Params, work: Work) -> int:
    """Return how many work records go to the fetch in this cycle."""
    room = p.look_ahead - records_in_flight(machine, p, work)
    able = machine.split[Split.RIGHT, Run.MORE] < 2
    most = min(records_shown(machine, p, work), room)
    for number in range(most):
        if work.beats[machine.now[Reg.RECORD] + number]:
            if not able:
                return number
            able = False
    return int(most)


@lean
def move_records(
    machine: Machine, p: Params, work: Work, beat: bool, taken: bool, goes: int
) -> None:
    """Read work records: a ``beat`` comes, a burst is ``taken``, the first ``goes`` go on."""
    now, then = machine.now, machine.then
    run = min(now[Reg.UNASKED], p.burst_beats)
    asks = run != 0 and now[Reg.LEFT_FREE] >= p.burst_beats and can_ask(machine, Split.LEFT)
    move_splitter(machine, p, Split.LEFT, asks, now[Reg.LEFT_ADDRESS], run, taken)
    after = now[Reg.RECORD] + goes
    final = goes != 0 and after == now[Reg.RECORD_END]
    leaves = goes != 0 and (final or work.end[after - 1] >= now[Reg.LEFT_END])
    pops = now[Reg.LEFT_LEVEL] != 0 and (leaves or not now[Reg.LEFT_HELD])
    then[Reg.LEFT_FREE] = now[Reg.LEFT_FREE] + pops
    then[Reg.LEFT_LEVEL] = now[Reg.LEFT_LEVEL] + beat - pops
    then[Reg.LEFT_HELD] = not final and (pops or (now[Reg.LEFT_HELD] and not leaves))
    then[Reg.LEFT_END] = now[Reg.LEFT_END] + pops * p.beat_grains
    then[Reg.RECORD] = after
    if asks:
        then[Reg.LEFT_ADDRESS] = now[Reg.LEFT_ADDRESS] + run * p.bus_bytes
        then[Reg.UNASKED] = now[Reg.UNASKED] - run
        then[Reg.LEFT_FREE] -= run
    if now[Reg.BEGIN]:
        step = work.steps[now[Reg.STEP]]
        then[Reg.LEFT_ADDRESS] = step[Field.ADDRESS]
        then[Reg.UNASKED] = step[Field.BEATS]
        then[Reg.LEFT_END] = 0
        then[Reg.RECORD] = step[Field.RECORDS]
        then[Reg.RECORD_END] = step[Field.RECORDS_END]


@lean
def move_fetch(machine: Machine, p: Params, work: Work, beat: bool, taken: bool, goes: int) -> None:
    """Fetch lines: a ``beat`` comes, a burst is ``taken``, ``goes`` records go in."""
    now, then = machine.now, machine.then
    asks, address, beats = False, 0, 0
    for record in range(now[Reg.RECORD], now[Reg.RECORD] + goes):
        machine.group[work.leaf[record] % p.groups, Group.TAKEN] += 1
        if work.beats[record]:
            asks, address, beats = True, int(work.address[record]), int(work.beats[record])
    move_runs(machine, p, Split.RIGHT, asks, address, beats, taken)
    machine.counters[SparchCounter.RECORDS] += goes
    if beat:
        then[Reg.FILL_BEAT] = now[Reg.FILL_BEAT] + 1
        if then[Reg.FILL_BEAT] == work.beats[work.misses[now[Reg.FILLED]]]:
            then[Reg.FILL_BEAT] = 0
            then[Reg.FILLED] = now[Reg.FILLED] + 1


@lean
def move_multipliers(machine: Machine, p: Params, work: Work, number: int, ready: bool) -> None:
    """Let group ``number`` multiply, if it can; ``ready``: what it offers goes into its leaf."""
    group = machine.group[number]
    waits = group[Group.TAKEN] != group[Group.USED]
    record = work.queued[number, group[Group.USED]] if waits else 0
    valid = waits and machine.now[Reg.FILLED] >= work.needs[record]
    moves = valid and (group[Group.OUT_VALID] == 0 or ready)
    if moves or ready:
        group[Group.OUT_VALID] = moves
    if not moves:
        return
    at = group[Group.BEGUN] if group[Group.WITHIN] else work.first[record]
    end = work.first[record] + work.length[record]
    following = (at // p.multipliers + 1) * p.multipliers
    final = following >= end
    group[Group.WITHIN] = not final
    group[Group.BEGUN] = following
    group[Group.OUT_LEAF] = work.leaf[record]
    group[Group.OUT_COUNT] = min(following, end) - at
    group[Group.OUT_CLOSES] = final and work.last[record]
    group[Group.OUT_FIRST] = work.begin[record] + at - work.first[record]
    group[Group.USED] += final


@inlined
def groups_rest(machine: Machine, p: Params) -> bool:
    """Return whether no record waits for multipliers and no products are offered."""
    for number in range(p.groups):
        group = machine.group[number]
        if group[Group.TAKEN] != group[Group.USED] or group[Group.OUT_VALID]:
            return False
    return True


@lean
def move_partials(machine: Machine, p: Params, beat: bool, taken: bool) -> tuple[int, int, int]:
    """Read partial matrices; return leaf, first element and count of what comes in this cycle."""
    now, then = machine.now, machine.then
    most = p.partial_burst * p.partial_lanes
    asks, leaf, elements = False, 0, 0
    if now[Reg.RUNS] and not now[Reg.BEGIN] and can_ask(machine, Split.PARTIAL):
        if now[Reg.RUNS_TAIL] - now[Reg.RUNS_HEAD] <= p.bus_bursts:
            for step in range(p.ways):
                leaf = (now[Reg.LEAF_AFTER] + step) % p.ways
                held = machine.level[p.ways + leaf] + machine.promised[leaf]
                if machine.unasked[leaf] and held + most <= p.leaf_fifo:
                    asks = True
                    break
    if asks:
        elements = min(most, machine.unasked[leaf])
    beats = -(-elements // p.partial_lanes)
    address = machine.leaf_address[leaf]
    move_splitter(machine, p, Split.PARTIAL, asks, address, beats, taken)
    into, first, count = -1, 0, 0
    if beat:
        run = machine.runs[now[Reg.RUNS_HEAD] % len(machine.runs)]
        into, first = run[0], machine.source_at[run[0]]
        count = min(run[1] - now[Reg.RUN_DONE], p.partial_lanes)
        then[Reg.RUN_DONE] = now[Reg.RUN_DONE] + count
        if then[Reg.RUN_DONE] == run[1]:
            then[Reg.RUN_DONE] = 0
            then[Reg.RUNS_HEAD] = now[Reg.RUNS_HEAD] + 1
        machine.promised[into] -= count
        machine.source_at[into] += count
    if asks:
        run = machine.runs[now[Reg.RUNS_TAIL] % len(machine.runs)]
        run[0], run[1] = leaf, elements
        then[Reg.RUNS_TAIL] = now[Reg.RUNS_TAIL] + 1
        then[Reg.LEAF_AFTER] = (leaf + 1) % p.ways
        machine.promised[leaf] += elements
        machine.unasked[leaf] -= elements
        machine.leaf_address[leaf] += p.partial_burst * p.bus_bytes
    return int(into), int(first), int(count)


@lean
def close_leaves(machine: Machine, p: Params) -> None:
    """Say of each leaf whether it is closed in this cycle."""
    for leaf in range(p.ways):
        if machine.is_source[leaf]:
            shut = machine.unasked[leaf] == 0 and machine.promised[leaf] == 0
        else:
            shut = machine.shut[leaf] or not machine.is_fed[leaf]
        machine.closed[p.ways + leaf] = shut


@lean
def put_products(machine: Machine, p: Params, work: Work, number: int) -> bool:
    """Put what group ``number`` offers into its leaf, if there is room; return whether.

    After its last products the leaf is closed.
    """
    group = machine.group[number]
    leaf, count, first = group[Group.OUT_LEAF], group[Group.OUT_COUNT], group[Group.OUT_FIRST]
    row = p.ways + leaf
    if group[Group.OUT_VALID] == 0 or machine.level[row] + count > p.leaf_fifo:
        return False
    size = machine.ring_keys.shape[1]
    for element in range(count):
        place = (machine.head[row] + machine.level[row] + element) % size
        machine.ring_keys[row, place] = work.keys[first + element]
        machine.ring_numbers[row, place] = work.numbers[first + element]
    machine.put[row] += count
    if group[Group.OUT_CLOSES]:
        machine.shut[leaf] = True
    machine.counters[SparchCounter.PRODUCTS] += count
    machine.counters[SparchCounter.MULTIPLY_CYCLES] += 1
    return True


@lean
def put_partial(machine: Machine, p: Params, leaf: int, first: int, count: int) -> None:
    """Put elements of a partial matrix into ``leaf``."""
    row, size = p.ways + leaf, machine.ring_keys.shape[1]
    for element in range(count):
        place = (machine.head[row] + machine.level[row] + element) % size
        machine.ring_keys[row, place] = machine.store_keys[first + element]
        machine.ring_numbers[row, place] = machine.store_numbers[first + element]
    machine.put[row] += count
