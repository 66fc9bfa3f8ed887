"""Exact timing of a SpArch program: cycles, cycles of each round, counters.

The engine is stepped cycle by cycle with its elements, so zeros that drop out count as they fall.
"""

from __future__ import annotations

import numpy as np

from celosia.dataflow.memory import MemoryModel
from celosia.dataflow.sparch.accelerator import SparchAccelerator
from celosia.dataflow.sparch.counters import SparchCounter
from celosia.dataflow.sparch.cycle_feed import BATCHES, ROW_RUNS
from celosia.dataflow.sparch.cycle_run import run_engine
from celosia.dataflow.sparch.cycle_state import (
    Field,
    Gate,
    Group,
    Machine,
    Params,
    Piece,
    Place,
    Reg,
    Run,
    Split,
    Step,
    Work,
)
from celosia.dataflow.sparch.cycle_tree import PUT_LATENCY
from celosia.dataflow.sparch.cycle_write import WORDS
from celosia.dataflow.sparch.descriptors import Round, Source, Stamp
from celosia.dataflow.sparch.merge_kernel import ROW_SHIFT, products
from celosia.dataflow.sparch.program import SparchProgram
from celosia.dataflow.timing import Timing, layer_timings


def sparch_timing(program: SparchProgram, memory: MemoryModel) -> Timing:
    """Predict the timing of ``program`` with ``memory``.

    Raises
    ------
    RuntimeError
        The engine would not come to its end: a program that the compiler did not make.
    """
    accelerator = program.accelerator
    p = engine_params(accelerator, memory)
    work = _work(program)
    machine = _machine(accelerator, p, program, work)
    most = sparch_cycle_bound(program, memory)
    cycles = run_engine(machine, p, work, program.program_address, most)
    if cycles < 0:
        raise RuntimeError(f"{program.network} does not end within {most} cycles")
    machine.counters[SparchCounter.CYCLES] = cycles
    stamps = tuple(machine.accepted[work.steps[:, Field.KIND] == Step.STAMP].tolist())
    return Timing(
        cycles=cycles,
        layers=layer_timings(tuple(layer.name for layer in program.layers), stamps),
        counters={counter: int(machine.counters[counter]) for counter in SparchCounter},
    )


def sparch_cycle_bound(program: SparchProgram, memory: MemoryModel) -> int:
    """Return more cycles than ``program`` takes."""
    plan, on_bus = program.plan, memory.on_bus(program.accelerator.bus)
    beat_cycles = -(-program.accelerator.bus.data_bytes // on_bus.bytes_per_cycle)
    each = beat_cycles + on_bus.latency + 8
    records = sum(len(placed.slots) + placed.fetched_beats for placed in plan.records)
    elements = plan.products + 2 * sum(plan.sizes)
    layers = program.accelerator.tree.layers + 1
    rows = plan.left.shape[0] + 1
    steps = len(program.descriptors) * (1000 + 4 * each)
    return 100_000 + steps + (records + elements + rows) * each + 4 * layers * elements


def engine_params(accelerator: SparchAccelerator, memory: MemoryModel) -> Params:
    """Return the sizes that the kernels step with."""
    bus, tree = accelerator.bus, accelerator.tree
    memory = memory.on_bus(bus)
    return Params(
        bus_bytes=bus.data_bytes,
        burst_beats=bus.burst_beats,
        bus_bursts=bus.outstanding,
        latency=memory.latency,
        rate=memory.bytes_per_cycle,
        memory_bursts=memory.outstanding,
        width=accelerator.merger.width,
        ways=tree.ways,
        layers=tree.layers,
        leaf_fifo=tree.leaf_fifo,
        node_fifo=tree.node_fifo,
        multipliers=accelerator.right.multipliers,
        groups=accelerator.right.groups,
        look_ahead=accelerator.right.look_ahead,
        beat_grains=accelerator.beat_grains,
        partial_lanes=accelerator.partial_lanes,
        partial_burst=accelerator.partial_burst,
        output_lanes=accelerator.output_lanes,
        pointer_lanes=accelerator.pointer_lanes,
        writer_beats=accelerator.partials.writer_beats,
        writer_rows=accelerator.partials.writer_rows,
        floating=accelerator.elements.kind.floating,
    )


def _work(program: SparchProgram) -> Work:
    """Return descriptors, records and products as arrays."""
    plan, lanes = program.plan, program.accelerator.right_lanes
    rounds = [d for d in program.descriptors if isinstance(d, Round)]
    right = rounds[0].right
    joined = {
        name: np.concatenate([getattr(placed.records, name) for placed in plan.records])
        for name in ("nonzero", "leaf", "begin", "element", "count", "beats", "address", "last")
    }
    misses = np.concatenate([placed.misses for placed in plan.records])
    counts = joined["count"]
    ends = np.cumsum(counts)
    begin = ends - counts
    at = np.arange(plan.products) + np.repeat(joined["element"] - begin, counts)
    nonzero = np.repeat(joined["nonzero"], counts)
    ways, groups = program.accelerator.tree.ways, program.accelerator.right.groups
    numbers = products(plan.left.values[nonzero], plan.right.values[at])
    return Work(
        steps=_steps(program),
        fed=np.array([[each.leaves >> leaf & 1 for leaf in range(ways)] for each in rounds], bool),
        leaf=joined["leaf"],
        first=joined["begin"] - joined["address"] * lanes,
        length=counts,
        last=joined["last"],
        beats=np.where(misses, joined["beats"], 0),
        address=right + joined["address"] * program.accelerator.bus.data_bytes,
        misses=np.concatenate([np.flatnonzero(misses), [0]]),
        needs=np.cumsum(misses),
        queued=_queued(joined["leaf"] % groups, groups),
        end=np.concatenate([placed.ends for placed in plan.records]),
        begin=begin,
        keys=(plan.left.rows[nonzero] << ROW_SHIFT) | plan.right.columns[at],
        numbers=numbers.view(np.int32).astype(np.int64) if numbers.itemsize == 4 else numbers,
    )


def _queued(group: np.ndarray, groups: int) -> np.ndarray:
    """Return the records of each group in order, int64 (groups, records)."""
    queued = np.zeros((groups, len(group)), np.int64)
    for number in range(groups):
        mine = np.flatnonzero(group == number)
        queued[number, : len(mine)] = mine
    return queued


def _steps(program: SparchProgram) -> np.ndarray:
    """Return the descriptors as rows of :class:`Field`."""
    rows: list[np.ndarray] = []
    records = stored = 0
    rounds = iter(program.plan.records)
    for descriptor in program.descriptors:
        row = np.zeros(len(Field), np.int64)
        match descriptor:
            case Source():
                row[Field.KIND] = Step.SOURCE
                row[Field.FINAL], row[Field.PARTIAL] = descriptor.leaf, descriptor.partial
                row[Field.ADDRESS] = descriptor.address
            case Round():
                row[Field.KIND] = Step.ROUND
                row[Field.FINAL], row[Field.PARTIAL] = descriptor.final, descriptor.partial
                row[Field.ADDRESS], row[Field.TARGET] = descriptor.left, descriptor.target
                row[Field.POINTERS], row[Field.ROWS] = descriptor.pointers, descriptor.rows
                row[Field.RECORDS], row[Field.BEATS] = records, descriptor.beats
                records += len(next(rounds).slots)
                row[Field.RECORDS_END] = records
                row[Field.ROUND] = sum(each[Field.KIND] == Step.ROUND for each in rows)
                row[Field.STORE] = stored
                stored += 0 if descriptor.final else descriptor.capacity
            case Stamp():
                row[Field.KIND], row[Field.ADDRESS] = Step.STAMP, descriptor.address
            case _:
                row[Field.KIND] = Step.END
        rows.append(row)
    return np.array(rows)


def _machine(
    accelerator: SparchAccelerator, p: Params, program: SparchProgram, work: Work
) -> Machine:
    """Return an engine at rest."""
    ways, codes = p.ways, np.zeros(3, np.int32)
    size = max(p.leaf_fifo, p.node_fifo)
    stored = sum(program.plan.sizes[:-1])
    partials = accelerator.partials.alive

    def zeros(*shape: int) -> np.ndarray:
        return np.zeros(shape, np.int64)

    def flags(*shape: int) -> np.ndarray:
        return np.zeros(shape, bool)

    return Machine(
        now=zeros(len(Reg)),
        then=zeros(len(Reg)),
        split=zeros(len(Split), Run.COUNT),
        group=zeros(p.groups, Group.COUNT),
        piece=zeros(p.groups, len(Place), len(Piece)),
        gate=zeros(p.groups, 2, len(Gate)),
        room=flags(ways, 2),
        ring_keys=zeros(2 * ways, size),
        ring_numbers=zeros(2 * ways, size),
        level=zeros(2 * ways),
        told=zeros(2 * ways),
        put=zeros(2 * ways),
        took=zeros(2 * ways),
        head=zeros(2 * ways),
        closed=flags(2 * ways),
        will_close=flags(2 * ways),
        waits=flags(ways),
        held=zeros(ways),
        seen=flags(ways),
        after=zeros(p.layers),
        chosen=zeros(p.layers),
        looked=zeros(p.layers),
        read=zeros(p.layers),
        fresh=zeros(2, 2 * ways),
        was_closed=flags(2, 2 * ways),
        coming=zeros(ways),
        tight=flags(ways),
        wide=flags(ways),
        stage_node=zeros(p.layers, PUT_LATENCY),
        stage_waits=flags(p.layers, PUT_LATENCY),
        stage_count=zeros(p.layers, PUT_LATENCY),
        stage_keys=zeros(p.layers, PUT_LATENCY, p.width),
        stage_numbers=zeros(p.layers, PUT_LATENCY, p.width),
        is_source=flags(ways),
        is_fed=flags(ways),
        over=flags(ways),
        shut=flags(ways),
        able=flags(ways),
        drained=flags(ways),
        unasked=zeros(ways),
        promised=zeros(ways),
        leaf_address=zeros(ways),
        source_at=zeros(ways),
        runs=zeros(p.bus_bursts + 2, 2),
        batches=zeros(BATCHES + 1),
        row_runs=zeros(ROW_RUNS + 1, 2),
        words=zeros(WORDS + 1),
        reads=zeros(p.bus_bursts + 1, 3),
        writes=zeros(p.bus_bursts + 2, 3),
        sizes=zeros(partials),
        places=zeros(partials),
        store_keys=zeros(stored + 1),
        store_numbers=zeros(stored + 1),
        codes=codes,
        floats=codes.view(np.float32),
        counters=zeros(len(SparchCounter)),
        accepted=zeros(len(work.steps)),
    )
