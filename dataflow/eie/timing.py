"""Exact timing of an EIE program: cycles, cycles of each layer, counters.

How long a tile takes depends on which activations are zero, so a prediction is for one sample. It
needs its activations: what the golden model says of each tensor.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from celosia.dataflow.eie.accelerator import FILTER_CYCLES, EieAccelerator
from celosia.dataflow.eie.descriptors import Cell, Load, Run, Stamp, Store, Target
from celosia.dataflow.eie.program import EieCounter, EieProgram, Tile
from celosia.dataflow.eie.run_kernel import run_tile
from celosia.dataflow.eie.walk import Column, Kind, walk_program
from celosia.dataflow.memory import MemoryModel
from celosia.dataflow.timing import Timing, layer_timings
from celosia.dataflow.walk_kernel import Machine
from celosia.models.errors import CelosiaError

WRITE_CYCLES = 5
"""From nothing left to do to the last in which a run is at work, beside one for each row."""

CELL_PHASES = 5
"""From one row of elements of a recurrent layer to the next."""
CELL_CYCLES = 14
"""From acceptance to the last result, beside those of each row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTiming:
    """What one run takes.

    ``cycles`` from its acceptance to the last in which it is at work; ``broadcasts`` of
    activations and ``stalls`` of them; pointers looked up, rows of entries read and ``entries``, of
    all PEs.
    """

    cycles: int
    broadcasts: int
    stalls: int
    pointer_reads: int
    row_reads: int
    entries: int


def broadcast_order(
    accelerator: EieAccelerator, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Return in which order each channel broadcasts the nonzeros of a tile's ``values``.

    Returns
    -------
    The columns, int64 (channels, n), and how many of them come before the end of each window,
    int64 (channels, windows).
    """
    array, step = accelerator.array, accelerator.window_columns
    columns = np.flatnonzero(values)
    channel = columns % array.pes // (array.pes // array.channels)
    ends = np.arange(step, len(values) + step, step)
    lists = [columns[channel == number] for number in range(array.channels)]
    order = np.zeros((array.channels, max(1, *map(len, lists), 1)), np.int64)
    for row, found in zip(order, lists, strict=True):
        row[: len(found)] = found
    return order, np.stack([np.searchsorted(found, ends) for found in lists])


def time_run(accelerator: EieAccelerator, run: Run, tile: Tile, values: np.ndarray) -> RunTiming:
    """Return what ``run`` takes.

    ``values`` are the activations that the tile's columns meet, integers (columns,).
    """
    order, ends = broadcast_order(accelerator, values)
    array, each = accelerator.array, accelerator.memories.row_entries
    counts = np.ascontiguousarray(tile.counts)
    filter_cycles = FILTER_CYCLES if array.skip_empty else 0
    late = accelerator.late_windows
    tally = run_tile(counts, order, ends, array.buffer_levels, late, array.queue, filter_cycles)
    met = np.flatnonzero(values)
    entries, begins = counts[:, met], tile.begins[:, met] + run.entries
    rows = (begins + entries - 1) // each - begins // each + 1
    return RunTiming(
        cycles=tally.quiet + (WRITE_CYCLES + run.rows if run.write else 0),
        broadcasts=tally.broadcasts,
        stalls=tally.stalls,
        pointer_reads=tally.look_ups,
        row_reads=int(rows[entries > 0].sum()),
        entries=int(entries.sum()),
    )


def run_timings(program: EieProgram, tensors: Mapping[str, np.ndarray]) -> list[RunTiming]:
    """Return what each run of ``program`` takes for one sample's ``tensors``.

    Raises :class:`CelosiaError` where a tensor is missing or of another shape.
    """
    found = []
    runs = [descriptor for descriptor in program.descriptors if isinstance(descriptor, Run)]
    for run, tile in zip(runs, program.tiles, strict=True):
        shape = program.placement(tile.tensor).shape
        codes = np.asarray(tensors.get(tile.tensor))
        if codes.shape != shape:
            raise CelosiaError(
                f"timing of network {program.network!r} needs the activations {tile.tensor!r} of "
                f"shape {shape}, given are {codes.shape}"
            )
        values = codes[:, tile.step, 0][tile.first : tile.first + run.columns]
        found.append(time_run(program.accelerator, run, tile, values))
    return found


def eie_timing(
    program: EieProgram, memory: MemoryModel, tensors: Mapping[str, np.ndarray]
) -> Timing:
    """Predict the timing of ``program`` with ``memory`` for one sample.

    Parameters
    ----------
    program, memory
        What is run, and with what.
    tensors
        Codes of each layer's input, (C, T, 1), by name: the golden model's of one sample.

    Raises
    ------
    CelosiaError
        Where a tensor is missing or of another shape.
    """
    runs = run_timings(program, tensors)
    accelerator = program.accelerator
    bus, memory = accelerator.bus, memory.on_bus(accelerator.bus)
    machine = Machine(
        bus_bytes=bus.data_bytes,
        burst_beats=bus.burst_beats,
        bus_bursts=bus.outstanding,
        latency=memory.latency,
        rate=memory.bytes_per_cycle,
        memory_bursts=memory.outstanding,
        compute_latency=0,
        post_latency=0,
    )
    table = _table(program, [run.cycles for run in runs])
    accepted = np.zeros(len(table), np.int64)
    cycles = walk_program(
        table, program.program_address, accelerator.memories.accumulators, machine, accepted
    )
    stamps = tuple(accepted[table[:, Column.KIND] == Kind.STAMP].tolist())
    chunk_beats = program.program_bytes // bus.data_bytes
    work = {kind: int(table[table[:, Column.KIND] == kind, Column.WORK].sum()) for kind in Kind}
    counters = {
        EieCounter.CYCLES: int(cycles),
        EieCounter.RUN_CYCLES: work[Kind.RUN],
        EieCounter.BROADCASTS: sum(run.broadcasts for run in runs),
        EieCounter.STALLS: sum(run.stalls for run in runs),
        EieCounter.POINTER_READS: sum(run.pointer_reads for run in runs),
        EieCounter.ROW_READS: sum(run.row_reads for run in runs),
        EieCounter.ENTRIES: sum(run.entries for run in runs),
        EieCounter.READ_BEATS: work[Kind.LOAD] + chunk_beats,
        EieCounter.WRITE_BEATS: work[Kind.STORE] + work[Kind.STAMP],
        EieCounter.CELL_ROWS: sum(
            step.rows for step in program.descriptors if isinstance(step, Cell)
        ),
    }
    return Timing(
        cycles=int(cycles),
        layers=layer_timings(tuple(layer.name for layer in program.layers), stamps),
        counters=counters,
    )


def _table(program: EieProgram, run_cycles: list[int]) -> np.ndarray:
    """Return the program as rows of :class:`~celosia.dataflow.eie.walk.Column`."""
    words, remaining = program.accelerator.word_beats, iter(run_cycles)
    rows = []
    for descriptor in program.descriptors:
        match descriptor:
            case Load(target=target, beats=beats):
                total = beats * (words if target is Target.ACTIVATIONS else 1)
                rows.append((Kind.LOAD, descriptor.after, descriptor.address, total))
            case Run():
                rows.append((Kind.RUN, descriptor.after, 0, next(remaining)))
            case Cell(rows=height):
                rows.append((Kind.CELL, 0, 0, CELL_PHASES * height + CELL_CYCLES))
            case Store():
                rows.append((Kind.STORE, 0, descriptor.address, descriptor.rows * words))
            case Stamp():
                rows.append((Kind.STAMP, 0, descriptor.address, 1))
            case _:
                rows.append((Kind.END, 0, 0, 0))
    return np.array(rows, np.int64)


def eie_cycle_bound(program: EieProgram, memory: MemoryModel) -> int:
    """Return more cycles than ``program`` takes, whatever the activations."""
    accelerator = program.accelerator
    on_bus = memory.on_bus(accelerator.bus)
    beat_cycles = -(-accelerator.bus.data_bytes // on_bus.bytes_per_cycle)
    tiles = sum(int(np.maximum(tile.counts, 4).max(axis=0).sum()) for tile in program.tiles)
    steps = len(program.descriptors) * (1000 + 2 * on_bus.latency + 64 * beat_cycles)
    rows = _table(program, [accelerator.memories.accumulators] * len(program.tiles))
    beats = int(rows[:, Column.WORK].sum())
    return 100_000 + 2 * tiles + steps + beats * (beat_cycles + on_bus.latency + 8)
