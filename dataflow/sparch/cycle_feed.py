"""What feeds the leaves of a SpArch engine, cycle by cycle. In machine code."""

from __future__ import annotations

from celosia.dataflow.jit import inlined, lean
from celosia.dataflow.sparch.counters import SparchCounter
from celosia.dataflow.sparch.cycle_memory import can_ask, move_splitter
from celosia.dataflow.sparch.cycle_state import Field, Machine, Params, Reg, Split, Work


@lean
def move_records(
    machine: Machine, p: Params, work: Work, beat: bool, taken: bool, goes: bool
) -> None:
    """Read work records: a ``beat`` comes, a burst is ``taken``, the first record ``goes`` on."""
    now, then = machine.now, machine.then
    run = min(now[Reg.UNASKED], p.burst_beats)
    asks = run != 0 and now[Reg.LEFT_FREE] >= p.burst_beats and can_ask(machine, Split.LEFT)
    move_splitter(machine, p, Split.LEFT, asks, now[Reg.LEFT_ADDRESS], run, taken)
    final = goes and now[Reg.RECORD] + 1 == now[Reg.RECORD_END]
    leaves = goes and (final or work.end[now[Reg.RECORD]] >= now[Reg.LEFT_END])
    pops = now[Reg.LEFT_LEVEL] != 0 and (leaves or not now[Reg.LEFT_HELD])
    then[Reg.LEFT_FREE] = now[Reg.LEFT_FREE] + pops
    then[Reg.LEFT_LEVEL] = now[Reg.LEFT_LEVEL] + beat - pops
    then[Reg.LEFT_HELD] = not final and (pops or (now[Reg.LEFT_HELD] and not leaves))
    then[Reg.LEFT_END] = now[Reg.LEFT_END] + pops * p.beat_grains
    then[Reg.RECORD] = now[Reg.RECORD] + goes
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


@inlined
def record_goes(machine: Machine, p: Params, work: Work) -> bool:
    """Return whether the first work record goes to the fetch in this cycle."""
    now = machine.now
    if not now[Reg.LEFT_HELD] or now[Reg.AHEAD] == p.look_ahead:
        return False
    record = now[Reg.RECORD]
    if now[Reg.LEFT_LEVEL] == 0 and work.end[record] > now[Reg.LEFT_END]:
        return False
    return bool(work.beats[record] == 0) or can_ask(machine, Split.RIGHT)


@lean
def move_fetch(
    machine: Machine, p: Params, work: Work, beat: bool, taken: bool, goes: bool, used: bool
) -> None:
    """Fetch lines: a ``beat`` comes, a record ``goes`` in, and one is ``used`` up."""
    now, then = machine.now, machine.then
    record = now[Reg.RECORD]
    asks = goes and work.beats[record] != 0
    address, beats = 0, 0
    if asks:
        address, beats = int(work.address[record]), int(work.beats[record])
    move_splitter(machine, p, Split.RIGHT, asks, address, beats, taken)
    then[Reg.AHEAD] = now[Reg.AHEAD] + goes - used
    machine.counters[SparchCounter.RECORDS] += goes
    if beat:
        then[Reg.FILL_BEAT] = now[Reg.FILL_BEAT] + 1
        if then[Reg.FILL_BEAT] == work.beats[work.misses[now[Reg.FILL]]]:
            then[Reg.FILL_BEAT] = 0
            then[Reg.FILL] = now[Reg.FILL] + 1
            then[Reg.THERE] += 1
    if used:
        then[Reg.USED] = now[Reg.USED] + 1
        if work.beats[now[Reg.USED]]:
            then[Reg.THERE] -= 1


@lean
def move_multipliers(machine: Machine, p: Params, work: Work, ready: bool) -> bool:
    """Multiply a group if it can be; return whether its record is used up.

    ``ready``: what is offered goes into its leaf.
    """
    now, then = machine.now, machine.then
    offers = now[Reg.OUT_VALID] != 0
    record = now[Reg.USED]
    valid = now[Reg.AHEAD] != 0 and (work.beats[record] == 0 or now[Reg.THERE] != 0)
    moves = valid and (not offers or ready)
    if moves or ready:
        then[Reg.OUT_VALID] = moves
    if not moves:
        return False
    at = now[Reg.BEGUN] if now[Reg.WITHIN] else work.first[record]
    end = work.first[record] + work.length[record]
    following = (at // p.multipliers + 1) * p.multipliers
    final = following >= end
    then[Reg.WITHIN] = not final
    then[Reg.BEGUN] = following
    then[Reg.OUT_LEAF] = work.leaf[record]
    then[Reg.OUT_COUNT] = min(following, end) - at
    then[Reg.OUT_CLOSES] = final and work.last[record]
    then[Reg.OUT_FIRST] = work.begin[record] + at - work.first[record]
    return bool(final)


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
def put_products(machine: Machine, p: Params, work: Work) -> None:
    """Put the products that are offered into their leaf, and close it after its last."""
    now = machine.now
    leaf, count, first = now[Reg.OUT_LEAF], now[Reg.OUT_COUNT], now[Reg.OUT_FIRST]
    row = p.ways + leaf
    size = machine.ring_keys.shape[1]
    for element in range(count):
        place = (machine.head[row] + machine.level[row] + element) % size
        machine.ring_keys[row, place] = work.keys[first + element]
        machine.ring_numbers[row, place] = work.numbers[first + element]
    machine.put[row] += count
    if now[Reg.OUT_CLOSES]:
        machine.shut[leaf] = True
    machine.counters[SparchCounter.PRODUCTS] += count
    machine.counters[SparchCounter.MULTIPLY_CYCLES] += 1


@lean
def put_partial(machine: Machine, p: Params, leaf: int, first: int, count: int) -> None:
    """Put elements of a partial matrix into ``leaf``."""
    row, size = p.ways + leaf, machine.ring_keys.shape[1]
    for element in range(count):
        place = (machine.head[row] + machine.level[row] + element) % size
        machine.ring_keys[row, place] = machine.store_keys[first + element]
        machine.ring_numbers[row, place] = machine.store_numbers[first + element]
    machine.put[row] += count
