"""A recurrent layer on the EIE engine: its weights are loaded once, for all steps of the sequence.

One activation file holds the input, two steps of it in turn, and the output of the step before;
the other the sums of the gates, and the cells. A gate's rows are filled up to whole words, so that
all four sums of an element, and its cell, lie in the same PE.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from celosia.dataflow.eie.accelerator import EieAccelerator
from celosia.dataflow.eie.descriptors import ALL_PES, Cell, Run, Store, Target
from celosia.dataflow.eie.emit import Emitter, Places
from celosia.dataflow.eie.pack import function_bytes
from celosia.dataflow.eie.tiles import LayerTile, limits, places_of, stored_format
from celosia.dataflow.layout import Placement
from celosia.models.eie import encode
from celosia.models.errors import CelosiaError
from celosia.models.lstm import GATES, Lstm
from celosia.models.sparse import SparseMatrix

_INPUTS, _GATES = 0, 1
"""The files: of inputs and outputs, and of gates and cells."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Where things lie in the two files, in words.

    ``inputs`` are the places of inputs of even and odd steps, ``hidden`` that of outputs; ``cell``
    is that of cells. An output takes ``states`` words, of whose last ``last_pes`` PEs have a part.
    """

    inputs: tuple[int, int]
    hidden: int
    cell: int
    states: int
    last_pes: int


def rows_of(op: Lstm, accelerator: EieAccelerator) -> Rows:
    """Return where the vectors of ``op`` lie: those that are searched begin with a window."""
    pes, window = accelerator.array.pes, accelerator.memories.window
    states = -(-op.states // pes)
    second = -(-op.inputs // (pes * window)) * window
    return Rows(
        inputs=(0, second),
        hidden=2 * second,
        cell=GATES * states,
        states=states,
        last_pes=op.states - (states - 1) * pes,
    )


def check_lstm(op: Lstm, accelerator: EieAccelerator) -> None:
    """Refuse a recurrent layer that ``accelerator`` cannot run; :class:`CelosiaError` says why."""
    where, name, memories = f"layer {op.name!r}", accelerator.name, accelerator.memories
    if accelerator.cell is None:
        raise CelosiaError(
            f"{where} is recurrent, accelerator {name!r} has no cell unit: give it one (`[cell]`)"
        )
    if op.sigmoid.segments != accelerator.cell.segments:
        raise CelosiaError(
            f"{where}: its tables have {op.sigmoid.segments} segments, those of accelerator "
            f"{name!r} {accelerator.cell.segments}: make either like the other"
        )
    rows = rows_of(op, accelerator)
    for what, needed, memory, field in (
        ("two inputs and an output take", rows.hidden + rows.states, memories.activations, ""),
        ("gates and cells take", rows.cell + rows.states, memories.activations, ""),
        ("gates take", rows.cell, memories.accumulators, "accumulators"),
        ("gates take", rows.cell, memories.biases, "biases"),
    ):
        if needed > memory:
            field = field or "activations"
            raise CelosiaError(
                f"{where}: {what} {needed} of the {memory} {field} that a PE of accelerator "
                f"{name!r} has: raise memories.{field} or array.pes"
            )
    parts = tiles_of_lstm(op, accelerator)
    most = limits(accelerator, share=1)
    places = [places_of(part, accelerator) for part in parts]
    entries = sum(each[Target.ENTRIES] for each in places)
    pointers = sum(each[Target.POINTERS] for each in places)
    largest = max(part.size for part in parts)
    if entries > memories.entries or pointers > memories.pointers or largest > most.entries:
        raise CelosiaError(
            f"{where}: all its weights must lie on chip while its steps run: they need {entries} "
            f"of the {memories.entries} entries of a PE (at most {most.entries} for each part, "
            f"the largest is {largest}) and {pointers} of the {memories.pointers} pointers: give "
            f"accelerator {name!r} more memory or more PEs, or prune further"
        )
    columns = sum(each.get(Target.OCCUPANCY, 0) for each in places)
    if columns > accelerator.occupancy_columns:
        raise CelosiaError(
            f"{where}: bitmaps of its inputs and outputs, in whole beats, have {columns} columns, "
            f"those of accelerator {name!r} {accelerator.occupancy_columns}: raise "
            "memories.pointers"
        )


def _gate_words(values: np.ndarray, states: int, words: int, pes: int) -> np.ndarray:
    """Return numbers of rows when every gate's fill whole words."""
    return np.asarray(values // states * words * pes + values % states)


def tiles_of_lstm(op: Lstm, accelerator: EieAccelerator) -> tuple[LayerTile, LayerTile]:
    """Return what meets the inputs, and what meets the outputs of the step before."""
    pes, words = accelerator.array.pes, rows_of(op, accelerator).states
    starts = op.matrix.starts
    parts = []
    for columns in (range(op.inputs), range(op.inputs, op.matrix.shape[1])):
        mine = slice(int(starts[columns.start]), int(starts[columns.stop]))
        matrix = SparseMatrix(
            shape=(GATES * words * pes, len(columns)),
            starts=starts[columns.start : columns.stop + 1] - starts[columns.start],
            rows=_gate_words(op.matrix.rows[mine], op.states, words, pes),
            values=op.matrix.values[mine],
        )
        fmt = stored_format(op.format, accelerator)
        compressed = encode(matrix, fmt, pes=pes, index_bits=accelerator.widths.index)
        parts.append(LayerTile(first=0, first_row=0, compressed=compressed))
    return parts[0], parts[1]


class _Steps:
    """The steps of one layer: what is on chip, and where."""

    def __init__(self, out: Emitter, op: Lstm, placements: Mapping[str, Placement]) -> None:
        self.out, self.op, self.placements = out, op, placements
        self.rows = rows_of(op, out.accelerator)
        self.count = placements[op.input].shape[1]
        last = out.steps + 5 * self.count  # runs, cell and stores of each step
        self.parts = tiles_of_lstm(op, out.accelerator)
        begin = out.steps
        out.activations(placements[op.cell], file=_GATES, row=self.rows.cell, after=begin)
        out.activations(placements[op.hidden], file=_INPUTS, row=self.rows.hidden, after=begin)
        self._input(0, begin)
        _, after = out.rings[Target.TABLES].take(1, last)
        raw = function_bytes(out.accelerator, (op.sigmoid, op.tanh, op.cell_tanh))
        out.load(Target.TABLES, ALL_PES, raw, 0, after)
        self.table = out.codebook(op.format, last)
        pes, states = out.accelerator.array.pes, self.rows.states
        bias = np.zeros(GATES * states * pes, np.int64)
        bias[_gate_words(np.arange(len(op.bias)), op.states, states, pes)] = op.bias
        self.biases = out.biases(bias, last)
        out.gather(self.parts)
        self.places = [out.tile(part, last) for part in self.parts]

    def _input(self, step: int, after: int) -> None:
        source = self.placements[self.op.input]
        row = self.rows.inputs[step % 2]
        self.out.activations(source, file=_INPUTS, row=row, step=step, after=after)

    def _run(self, part: int, row: int, tensor: str, step: int) -> None:
        accelerator, linear, tile = self.out.accelerator, self.op.linear, self.parts[part]
        places: Places = self.places[part]
        run = Run(
            source=_INPUTS,
            window=row // accelerator.memories.window,
            columns=tile.columns,
            pointers=places.pointers,
            entries=places.entries,
            size=tile.size,
            occupancy=places.occupancy,
            codebook=self.table,
            rows=GATES * self.rows.states,
            last_pes=accelerator.array.pes,
            write=part == 1,
            biases=self.biases,
            target=0,
            shift=linear.shift,
            low=linear.low,
            high=linear.high,
            after=self.out.loads,
        )
        self.out.run(run, tile, tensor, step)

    def add(self, step: int) -> None:
        """Add everything that ``step`` does."""
        op, out, rows = self.op, self.out, self.rows
        output, cells = self.placements[op.output], self.placements[op.cells]
        before = (op.output, step - 1) if step else (op.hidden, 0)
        self._run(0, rows.inputs[step % 2], op.input, step)
        if step + 1 < self.count:
            # While the sums of this one are made. Nothing may be loaded into a file while a step
            # writes, so the run that writes the gates waits for it.
            self._input(step + 1, out.steps - 3 if step else out.steps - 1)
        self._run(1, rows.hidden, *before)
        out.step(
            Cell(
                source=_GATES,
                rows=rows.states,
                last_pes=rows.last_pes,
                gates=0,
                cell=rows.cell,
                target=rows.hidden,
                cell_shift=op.cell_shift,
                shift=op.output_shift,
                low=output.format.low,
                high=output.format.high,
            )
        )
        for placement, file, first in ((output, _INPUTS, rows.hidden), (cells, _GATES, rows.cell)):
            address = placement.address + step * placement.pitch
            out.step(Store(source=file, first=first, rows=rows.states, address=address))


def emit_lstm(out: Emitter, op: Lstm, placements: Mapping[str, Placement]) -> None:
    """Add the loads and all steps of ``op``, whose tensors lie at ``placements``."""
    steps = _Steps(out, op, placements)
    for step in range(steps.count):
        steps.add(step)
    out.files = [None, None]
