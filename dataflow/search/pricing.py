"""Exact prices of mappings without compiling: rows, walk and counts, all in machine code.

What a program's cycles depend on is found once for a network on an accelerator; a mapping of one
step, of neighbouring steps or of all is then priced by emitting its rows and walking them.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.arrange import SumRanges, arrange
from celosia.dataflow.descriptors import CHUNK_DESCRIPTORS, DESCRIPTOR_BYTES, Token, Unit
from celosia.dataflow.emit import StepAddresses
from celosia.dataflow.energy import EnergyTable, energy
from celosia.dataflow.event_walk import machine_of
from celosia.dataflow.lookup import table_transfer
from celosia.dataflow.mapping import ARRAY_DIMENSIONS, MOST_SLOTS, Dimension, LayerMapping
from celosia.dataflow.memory import MemoryModel
from celosia.dataflow.memory_layout import BASE_ADDRESS, MemoryLayout
from celosia.dataflow.plan import StepPlan
from celosia.dataflow.program import Counter
from celosia.dataflow.residency import Residency, Room, Stay, may_stay, residency
from celosia.dataflow.resident import Place
from celosia.dataflow.search.emit_kernel import emit_step
from celosia.dataflow.search.input_kernel import Stays, input_keys
from celosia.dataflow.search.loop_kernel import WINDOW, Shape
from celosia.dataflow.search.objective import Costs
from celosia.dataflow.search.program_kernel import Program
from celosia.dataflow.table import Column, Kind
from celosia.dataflow.tiles import ChannelTile
from celosia.dataflow.walk_kernel import UNKNOWN, walk_rows
from celosia.models.network import Network

_BUFFERS = (
    "activations", "weights", "accumulators", "constants", "residuals", "outputs", "tables",
)  # fmt: skip
_DIMENSIONS = {dimension: number for number, dimension in enumerate(Dimension)}
_ARRAY: dict[Dimension, int] = {d: number for number, d in enumerate(ARRAY_DIMENSIONS)}
_STEP_ROWS = 1 << 14
"""Rows for which there is room at first, for each step; pages of it that are not used cost nothing.
"""

_SLOT_PARTS = 1024
"""Parts of a slot that are kept apart at first."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Priced:
    """Costs of some steps run by themselves, one after another, from start to interrupt.

    ``table`` is the program's; ``times`` are those of :class:`~celosia.dataflow.event_walk.Walked`;
    ``stamps`` the cycle in which each step's stores were acknowledged.
    """

    costs: Costs
    counters: np.ndarray
    table: np.ndarray
    times: np.ndarray
    stamps: tuple[int, ...]


class Pricer:
    """Prices mappings of one network on one accelerator with one memory.

    Attributes
    ----------
    plans : tuple of StepPlan
        The steps in order.
    accelerator : Accelerator
        What they run on.
    samples : int
        Of one start.
    layout : MemoryLayout
        Where everything but a program lies.
    """

    def __init__(
        self,
        network: Network,
        accelerator: Accelerator,
        memory: MemoryModel,
        table: EnergyTable,
        samples: int = 1,
        ranges: SumRanges | None = None,
    ) -> None:
        arrangement = arrange(network, accelerator, ranges)
        steps = arrangement.lowered.steps
        self.plans = tuple(StepPlan(step, arrangement, accelerator, samples) for step in steps)
        self.samples = samples
        self.accelerator = accelerator
        self._table = table
        self._machine = machine_of(accelerator, memory)
        self.layout = MemoryLayout(arrangement, self.plans, samples, BASE_ADDRESS)
        self._lowered = arrangement.lowered
        self._roots = {name: number for number, name in enumerate(arrangement.lowered.tensors)}
        self._shapes = [
            self._shape(plan, data)
            for plan, data in zip(self.plans, self.layout.steps, strict=True)
        ]
        self._room = 1
        self._alone: Program | None = None
        layers = dict.fromkeys(plan.step.layer for plan in self.plans)
        self._stamps = {layer: self.layout.stamp(place) for place, layer in enumerate(layers)}
        self._keys: dict[tuple[int, LayerMapping], np.ndarray] = {}
        buffers = accelerator.buffers
        self._bank = buffers.activations // buffers.activation_banks
        whole = Room(start=0, words=buffers.activations)
        self._nothing = Residency(rooms=(whole,) * len(self.plans), stays=(), kept=frozenset())

    def _place(self, place: Place | None) -> np.ndarray:
        if place is None:
            return np.full(11, -1)
        at = place.placement
        root = self._roots[place.root]
        first = at.address, at.plane, at.pitch, at.sample_bytes, place.word, root
        rest = place.top, place.down, place.left, place.across
        return np.array([*first, at.x_bytes, *rest])

    def _shape(self, plan: StepPlan, data: StepAddresses) -> Shape:
        accelerator, step = self.accelerator, plan.step
        bits = accelerator.activation_word_bits, accelerator.weight_word_bits
        tiles, runs = _tile_rows(plan, data)
        blocks: list[list[int]] = []
        block_runs: list[tuple[int, int]] = []
        for block in plan.blocks:
            row = [block.word, block.words, len(block.tiles), len(block_runs)]
            block_runs += block.runs
            blocks.append([*row, len(block_runs)])
        window, pool = step.window, step.pool
        values = (
            *window.stride, *pool.dilation, *window.padding[:2], *plan.dilation,
            *plan.kernel, *pool.stride, *pool.extent, *pool.kernel, *step.within, *plan.reach,
        )  # fmt: skip
        array = accelerator.array
        sizes = (plan.samples, *plan.size, array.pixels, plan.passes, plan.uniform)
        beats = [accelerator.beats(n) for n in (*bits, accelerator.constant_word_bits)]
        return Shape(
            tiles=np.array(tiles, np.int64),
            runs=np.array(runs, np.int64),
            blocks=np.array(blocks, np.int64),
            block_runs=np.array(block_runs, np.int64),
            window=np.array(values, np.int64),
            source=self._place(data.source),
            target=self._place(data.target),
            operand=self._place(data.residual),
            words=np.array([*(accelerator.word_bytes(n) for n in bits), *beats], np.int64),
            sizes=np.array((*sizes, array.lanes // accelerator.post_lanes), np.int64),
            table=np.array(_table_row(plan, data), np.int64),
        )

    def alike(self, number: int) -> bytes:
        """Return a key that steps have in common which differ in nothing but addresses."""
        shape = self._shapes[number]
        places = shape.source[1:4], shape.target[1:4], shape.target[6:], shape.operand[1:4]
        parts = (
            shape.tiles[:, :5], shape.runs, shape.blocks, shape.block_runs, shape.window,
            shape.table[1:],
        )  # fmt: skip
        return b"".join(part.tobytes() for part in (*parts, *places, shape.words, shape.sizes))

    def fits_chip(self, number: int, layer: LayerMapping) -> bool:
        """Return whether all tiles of a step's input fit the buffer of activations."""
        size = self.plans[number].sizes(layer)["activations"]
        return len(self._input_keys(number, layer)) * size <= self.accelerator.buffers.activations

    def may_stay(self, number: int) -> tuple[bool, bool]:
        """Return whether the input and the output of a step may stay on chip, if they fit."""
        return may_stay(self.plans, number, self._lowered)

    def leaves_bank(self, number: int, layer: LayerMapping) -> bool:
        """Return whether one bank of the activations holds what a step loads at least."""
        tiles = layer.buffering.activations or 1
        return tiles * self.plans[number].sizes(layer)["activations"] <= self._bank

    def alone(self, number: int, layer: LayerMapping) -> Priced:
        """Return what a step costs run by itself; an input that stays on chip is there already.

        ``layer`` must be legal; otherwise as :meth:`price`.
        """
        chip = self._nothing
        if layer.resident:
            room = self._nothing.rooms[number]
            chip = replace(chip, stays=(Stay(writer=-1, reader=number, room=room),))
        return self._price([number], {number: layer}, chip)

    def price(self, steps: Sequence[int], layers: Sequence[LayerMapping]) -> Priced:
        """Return what ``steps`` (their numbers) cost when the network is mapped by ``layers``.

        They run as a program of their own: nothing is there before but inputs that stay on chip,
        and nothing comes after.

        Parameters
        ----------
        steps
            Which, in order.
        layers
            Of all steps of the network; those of ``steps`` and those that read on chip what
            they make must be legal.

        Raises
        ------
        CelosiaError
            As :func:`celosia.dataflow.residency.residency`.
        ValueError
            If tokens do not add up, which no legal mapping leads to.
        """
        chip = self._nothing
        if any(layer.resident for layer in layers):
            chip = residency(
                self.plans, layers, self._lowered, lambda n: len(self._input_keys(n, layers[n]))
            )
        return self._price(steps, dict(enumerate(layers)), chip)

    def _price(
        self, steps: Sequence[int], layers: Mapping[int, LayerMapping], chip: Residency
    ) -> Priced:
        while True:
            program = self._emitted(steps, layers, chip)
            if program is not None:
                break
            self._room *= 2
        table = program.table[: program.at[0]]
        if program is self._alone:
            table = table.copy()
        times = np.full((4, len(table)), UNKNOWN, np.int64)
        address = self.layout.end
        cycles = walk_rows(table, address, self._machine, times)
        if cycles < 0:
            raise ValueError("the program halts: a descriptor waits for a token that nobody gives")
        counters = program.counters.copy()
        chunks = -(-len(table) // CHUNK_DESCRIPTORS)
        fetched = chunks * CHUNK_DESCRIPTORS * DESCRIPTOR_BYTES // self.accelerator.bus.data_bytes
        counters[Counter.READ_BEATS] += fetched
        counters[Counter.CYCLES] = cycles
        beats = counters[Counter.READ_BEATS] + counters[Counter.WRITE_BEATS]
        spent = energy(
            {counter: int(counters[counter]) for counter in Counter}, self.accelerator, self._table
        )
        costs = Costs(
            cycles=cycles, energy=spent.total, dram=int(beats) * self.accelerator.bus.data_bytes
        )
        stamps = times[1, table[:, Column.KIND] == Kind.STAMP]
        return Priced(
            costs=costs, counters=counters, table=table, times=times, stamps=tuple(stamps.tolist())
        )

    def _emitted(
        self, steps: Sequence[int], layers: Mapping[int, LayerMapping], chip: Residency
    ) -> Program | None:
        """Return the program of ``steps``, or ``None`` where it takes more room."""
        stays = self._stays(chip, layers)
        program = self._empty(len(steps))
        for place, number in enumerate(steps):
            layer = layers[number]
            array = np.array([_ARRAY[dimension] for dimension in layer.array])
            emitted = emit_step(
                self._shapes[number], self._loops(number, layer), array,
                self._slots(number, layer, chip.rooms[number]),
                stays._replace(links=self._links(number, chip)), program,
            )  # fmt: skip
            if not emitted:
                return None
            last = place + 1 == len(steps)
            if last or self._layer(steps[place + 1]) != self._layer(number):
                self._append(program, Kind.STAMP, number)
        self._append(program, Kind.END, 0)
        return program

    def _empty(self, steps: int) -> Program:
        """Return an empty program with room for so many steps; for one it is always the same."""
        room, parts = self._room * _STEP_ROWS * steps, self._room * _SLOT_PARTS
        program = self._alone
        if steps > 1 or program is None or len(program.table) < room:
            program = _new_program(room, parts, len(self.plans))
        if steps == 1:
            self._alone = program
        for emptied in (program.at, program.counters, program.layout, program.parts):
            emptied[:] = 0
        for unknown in (program.newest, program.need, program.banks):
            unknown[:] = -1
        program.banks[2] = self._bank
        return program

    def _layer(self, number: int) -> str:
        return self.plans[number].step.layer

    def _append(self, program: Program, kind: Kind, number: int) -> None:
        row = program.table[program.at[0]]
        row[:] = 0
        row[Column.KIND] = kind
        row[Column.N1 : Column.N3 + 1] = 1
        if kind is Kind.STAMP:
            row[Column.WORK] = 1
            row[Column.ADDRESS] = self._stamps[self._layer(number)]
            program.counters[Counter.WRITE_BEATS] += 1
        program.at[0] += 1

    def _input_keys(self, number: int, layer: LayerMapping) -> np.ndarray:
        """Return the tiles of activations of a step; at most one more than fit their buffer."""
        known = number, layer
        if known not in self._keys:
            plan = self.plans[number]
            most = self.accelerator.buffers.activations // plan.sizes(layer)["activations"]
            keys = np.empty((most + 1, 12), np.int64)
            count = input_keys(self._shapes[number], self._loops(number, layer), keys)
            self._keys[known] = keys[:count]
        return self._keys[known]

    def _loops(self, number: int, layer: LayerMapping) -> np.ndarray:
        trips = self.plans[number].trips(layer)
        return np.array([(_DIMENSIONS[o.dimension], o.step) for o, _ in trips], np.int64)

    def _stays(self, chip: Residency, layers: Mapping[int, LayerMapping]) -> Stays:
        """Return what stays on ``chip`` as the kernels have it; ``links`` are of no step."""
        keys = [np.empty((0, 12), np.int64)]
        rows, windows, sources = [], [], []
        first = 0
        for stay in chip.stays:
            shape, layer = self._shapes[stay.reader], layers[stay.reader]
            found = self._input_keys(stay.reader, layer)
            size = self.plans[stay.reader].sizes(layer)["activations"]
            rows.append([stay.room.start, size, first, first + len(found)])
            first += len(found)
            keys.append(found)
            windows.append(shape.window)
            sources.append([*shape.source[:6], *self.plans[stay.reader].source.shape[1:]])
        return Stays(
            rows=np.array(rows, np.int64).reshape(-1, 4),
            windows=np.array(windows, np.int64).reshape(-1, WINDOW),
            sources=np.array(sources, np.int64).reshape(-1, 8),
            keys=np.concatenate(keys),
            bordered=np.zeros(first, np.bool_),
            links=np.empty(4, np.int64),
        )

    def _links(self, number: int, chip: Residency) -> np.ndarray:
        """Return ``Stays.links`` of a step."""
        own = [row for row, stay in enumerate(chip.stays) if stay.reader == number]
        made = [row for row, stay in enumerate(chip.stays) if stay.writer == number]
        stored = self.plans[number].step.output not in chip.kept
        return np.array([*(own or [-1]), *((made[0], made[-1] + 1) if made else (0, 0)), stored])

    def _slots(self, number: int, layer: LayerMapping, room: Room) -> np.ndarray:
        """Return words, slots and the first one's address of each buffer, as the compiler has."""
        plan, buffers = self.plans[number], self.accelerator.buffers
        sizes, counts = plan.sizes(layer), plan.slots(layer)
        groups = sum(tile.groups for tile in plan.tiles)
        if groups <= buffers.constants // 2:
            sizes["constants"] = groups
            counts["constants"] = min(counts["constants"], buffers.constants // groups)
        rows = np.zeros((len(_BUFFERS), 3), np.int64)
        for row, name in zip(rows, _BUFFERS, strict=True):
            if name in sizes:
                size, count, start = sizes[name], counts[name], 0
                depth = getattr(buffers, name)
                if name == "activations":
                    start, depth = room.start, room.words
                    count = min(count, depth // size)
                half = depth // 2 if number % 2 and count * size <= depth // 2 else 0
                row[:] = size, count, start + half
        if self.accelerator.tables is not None:
            rows[-1] = 1, self.accelerator.tables.count, 0
        return rows


def _new_program(room: int, parts: int, steps: int) -> Program:
    """Return a program with room for so many rows, parts of a slot, and steps; not yet empty."""
    buffers, slots = len(_BUFFERS), MOST_SLOTS + 1
    return Program(
        table=np.empty((room, len(Column)), np.int64),
        at=np.empty(5, np.int64),
        newest=np.empty(len(Token), np.int64),
        counters=np.empty(len(Counter), np.int64),
        layout=np.empty((buffers, 3), np.int64),
        spans=np.empty((buffers, slots, parts, 4), np.int64),
        parts=np.empty((buffers, slots), np.int64),
        latest=np.empty((buffers, slots), np.int64),
        loose=np.empty((slots * parts, 4), np.int64),
        stores=np.empty((room, 9), np.int64),
        groups=np.empty((room, 8), np.int64),
        steps=np.empty((steps, 3), np.int64),
        banks=np.empty((3, 2), np.int64),
        need=np.empty(len(Unit), np.int64),
        strides=np.empty((len(ARRAY_DIMENSIONS), 4), np.int64),
    )


def _table_row(plan: StepPlan, data: StepAddresses) -> tuple[int, int, int, int]:
    """Return ``Shape.table``."""
    if data.table is None:
        return -1, 0, 0, 0
    moved = table_transfer(plan.step.requant, plan.accelerator, data.table, 0)
    beats = moved.words * plan.accelerator.beats(plan.accelerator.table_word_bits)
    return moved.address, beats, moved.n1, moved.s1


def _tile_rows(
    plan: StepPlan, data: StepAddresses
) -> tuple[list[list[int]], list[tuple[int, int]]]:
    """Return the rows of ``Shape.tiles`` and ``Shape.runs``."""
    numbers: dict[tuple[tuple[int, int], ...], int] = {}
    runs: list[tuple[int, int]] = []
    blocks = {tile.index: n for n, block in enumerate(plan.blocks) for tile in block.tiles}

    def row(tile: ChannelTile, before: int) -> list[int]:
        first = len(runs)
        runs.extend(tile.runs)
        return [
            tile.groups, tile.word, tile.lane_group, tile.input_words, blocks[tile.index],
            data.weights[tile.index], data.constants[tile.index], first, len(runs),
            numbers.setdefault(tile.runs, len(numbers)), before,
        ]  # fmt: skip

    groups = itertools.accumulate((tile.groups for tile in plan.tiles), initial=0)
    rows = [row(tile, before) for tile, before in zip(plan.tiles, groups, strict=False)]
    return rows, runs
