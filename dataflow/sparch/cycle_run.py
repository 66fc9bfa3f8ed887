"""A SpArch engine from start to end, cycle by cycle. In machine code."""

from __future__ import annotations

from celosia.dataflow.jit import lean
from celosia.dataflow.sparch.counters import SparchCounter
from celosia.dataflow.sparch.cycle_feed import (
    close_leaves,
    gates_rest,
    groups_rest,
    move_fetch,
    move_gate,
    move_multipliers,
    move_partials,
    move_records,
    queue_records,
)
from celosia.dataflow.sparch.cycle_memory import (
    move_beats,
    read_beat,
    take_read,
    take_write,
    write_beat,
)
from celosia.dataflow.sparch.cycle_program import move_control, move_sequencer, start
from celosia.dataflow.sparch.cycle_state import Machine, Params, Reg, Split, Step, Work
from celosia.dataflow.sparch.cycle_tree import move_tree, settle_tree
from celosia.dataflow.sparch.cycle_write import move_writer, write_done


@lean
def _feed(machine: Machine, p: Params, work: Work, reader: int, taken: int) -> None:
    """Let what feeds the leaves do a cycle: ``reader``'s beat comes, a burst is ``taken``."""
    now = machine.now
    idle = groups_rest(machine, p) and gates_rest(machine, p)
    machine.then[Reg.FINISHED] = now[Reg.RUNS] and not now[Reg.BEGIN] and idle
    move_fetch(machine, p, work, reader == Split.RIGHT, taken == Split.RIGHT)
    move_partials(machine, p, reader == Split.PARTIAL, taken == Split.PARTIAL)
    for number in range(p.groups):
        taken_products = move_gate(machine, p, work, number)
        move_multipliers(machine, p, work, number, taken_products)
    queue_records(machine, p, work)
    move_records(machine, p, work, reader == Split.LEFT, taken == Split.LEFT)
    if now[Reg.BEGIN]:
        machine.over[:] = False
        machine.shut[:] = False


@lean
def run_engine(machine: Machine, p: Params, work: Work, address: int, most: int) -> int:
    """Run a program from its start, cycle 0, and return its cycles; -1 where ``most`` pass."""
    start(machine, p, work, address)
    counters = machine.counters
    cycle = 0
    while cycle < most:
        cycle += 1
        close_leaves(machine, p)
        done = write_done(machine)
        program = machine.now[Reg.BEAT_HELD] == Split.PROGRAM
        reader = machine.now[Reg.BEAT_GIVEN]
        machine.then[Reg.BEAT_HELD] = read_beat(machine, p, cycle)
        machine.then[Reg.BEAT_GIVEN] = machine.now[Reg.BEAT_HELD]
        if reader > Split.PROGRAM:
            counters[SparchCounter.LEFT_BEATS] += reader == Split.LEFT
            counters[SparchCounter.RIGHT_BEATS] += reader == Split.RIGHT
            counters[SparchCounter.PARTIAL_READ_BEATS] += reader == Split.PARTIAL
        taken = take_read(machine, p, cycle)
        write_beat(machine, p, cycle)
        sent = move_beats(machine)
        written = take_write(machine, p)
        move_sequencer(machine, p, work, program, taken == Split.PROGRAM)
        kind = move_control(machine, work, cycle, done)
        _feed(machine, p, work, reader, taken)
        move_tree(machine, p, cycle)
        move_writer(machine, p, work, kind, sent, written, done)
        settle_tree(machine, p)
        for register in range(len(machine.now)):
            machine.now[register] = machine.then[register]
        if kind == Step.END:
            return cycle + 1
    return -1
