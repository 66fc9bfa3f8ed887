"""What a value of a program was made of: from its place in memory back to the words of operands.

A program is a sequence: what a descriptor reads was written last by one before it. So the store
that wrote a word, the post that made it, the computes that summed it and the loads of their
operands follow from the descriptors alone, whatever compiled them.
"""

from __future__ import annotations

import enum
from collections.abc import Container, Iterable
from dataclasses import dataclass

import numpy as np

from celosia.dataflow.descriptors import (
    Buffer,
    Compute,
    Keep,
    Load,
    Post,
    Sliding,
    Store,
    Transfer,
    Unit,
    unit_of,
)
from celosia.dataflow.made import word_made
from celosia.dataflow.program import Program

_WRAP = 1 << 16


class Memory(enum.Enum):
    """Where a value lies on its way."""

    ACTIVATIONS = "activations"
    WEIGHTS = "weights"
    CONSTANTS = "constants"
    TABLES = "tables"
    RESIDUALS = "residuals"
    ACCUMULATORS = "accumulators"
    OUTPUTS = "outputs"
    DRAM = "memory"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A word of a buffer, or the bytes of one in memory, and the part of it that is meant.

    Attributes
    ----------
    memory : Memory
        Which memory.
    address : int
        In words; of ``DRAM`` in bytes.
    pixel : int
        Pixel lane, of activations and accumulators.
    lane : int
        Lane, of activations, residuals, outputs and ``DRAM``; column, of accumulators; post lane,
        of tables, which all have the same.
    """

    memory: Memory
    address: int
    pixel: int = 0
    lane: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Write:
    """That ``descriptor`` wrote ``place`` of what it read in ``sources``."""

    descriptor: int
    unit: Unit
    place: Place
    sources: tuple[Place, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Operands:
    """What one step of compute ``descriptor`` multiplied: words of the buffers, and their origin.

    ``weight_address`` and ``activation_address`` are where in memory the words came from; the
    second is None for activations that were kept on chip. ``lanes`` are those of the activation and
    of the weight that met where columns have windows of their own; elsewhere all meet their like.
    """

    descriptor: int
    accumulator: int
    pixel: int
    activation: int
    weight: int
    activation_address: int | None
    weight_address: int | None
    lanes: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """All that a value in memory was made of.

    ``writes`` are in the order of the program, the one that wrote the value last, and empty where
    nothing did; ``operands`` what was multiplied for it, of the layer that wrote it alone.
    ``post`` is the descriptor that requantised it, ``constants`` the load of its constants,
    ``tables`` that of each row of its table, and
    ``accumulators`` the sums that it took, of its window line by line.
    """

    writes: tuple[Write, ...]
    operands: tuple[Operands, ...]
    post: int | None = None
    constants: Write | None = None
    tables: tuple[Write, ...] = ()
    accumulators: tuple[Place, ...] = ()

    @property
    def descriptors(self) -> tuple[int, ...]:
        """The descriptors that took part, in the order of the program."""
        return tuple(sorted({write.descriptor for write in self.writes}))


def provenance(
    program: Program, address: int, lane: int, copies: Container[str] = ()
) -> Provenance:
    """Return what the code in ``lane`` of the activation word at ``address`` was made of.

    Parameters
    ----------
    program : Program
        What wrote it.
    address : int
        Of the word's first byte in memory.
    lane : int
        Which lane of it.
    copies : container of str
        Tensors with which the search does not end, in memory or kept on chip: such as a copy that
        no tensor of the network is.
    """
    place = Place(memory=Memory.DRAM, address=address, lane=lane)
    return _Search(program, copies).find(place, len(program.descriptors))


def output_provenance(
    program: Program, place: Place, post: int, copies: Container[str] = ()
) -> Provenance:
    """Return what a code was made of that descriptor ``post`` wrote to ``place`` of the outputs.

    ``copies`` is as in :func:`provenance`.
    """
    return _Search(program, copies).find(place, post + 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Drain:
    """How a post made one code: the place of its constants and residual, and its accumulators."""

    constants: int
    residual: int | None
    accumulators: tuple[Place, ...]


class _Search:
    """One search: what is known already, by place and reader."""

    def __init__(self, program: Program, copies: Container[str]) -> None:
        self._program = program
        self._copies = copies
        self._through = [
            range(other.at(sample), other.at(sample) + other.word_count * other.plane)
            for other in program.placements
            if other.name in copies and other.name not in program.kept
            for sample in range(program.samples)
        ]
        self._accelerator = program.accelerator
        accelerator = program.accelerator
        self._sizes = {
            Memory.ACTIVATIONS: accelerator.word_bytes(accelerator.activation_word_bits),
            Memory.RESIDUALS: accelerator.word_bytes(accelerator.activation_word_bits),
            Memory.WEIGHTS: accelerator.word_bytes(accelerator.weight_word_bits),
            Memory.CONSTANTS: accelerator.word_bytes(accelerator.constant_word_bits),
            Memory.TABLES: accelerator.word_bytes(accelerator.table_word_bits),
        }
        self._writes: dict[tuple[int, Place], Write] = {}
        self._operands: list[Operands] = []
        self._post: int | None = None
        self._constants: Write | None = None
        self._tables: tuple[Write, ...] = ()
        self._accumulators: tuple[Place, ...] = ()

    def find(self, place: Place, before: int) -> Provenance:
        if place.memory is Memory.OUTPUTS:
            self._output(place, before, whole=True)
        else:
            self._stored(place, before, whole=True)
        order = sorted(self._writes.values(), key=lambda write: write.descriptor)
        return Provenance(
            writes=tuple(order),
            operands=tuple(self._operands),
            post=self._post,
            constants=self._constants,
            tables=self._tables,
            accumulators=self._accumulators,
        )

    def _stored(self, place: Place, before: int, *, whole: bool) -> None:
        """Find the store that wrote a code of memory; ``whole``: it is the value asked for."""
        size = self._sizes[Memory.ACTIVATIONS]
        for index in range(before - 1, -1, -1):
            descriptor = self._program.descriptors[index]
            if isinstance(descriptor, Store):
                found = _buffer_word(descriptor.transfer, place.address, size)
                if found is not None:
                    source = Place(memory=Memory.OUTPUTS, address=found, lane=place.lane)
                    self._add(index, place, (source,))
                    self._output(source, index, whole=whole)
                    return

    def _add(self, index: int, place: Place, sources: Iterable[Place] = ()) -> Write:
        unit = unit_of(self._program.descriptors[index])
        write = Write(descriptor=index, unit=unit, place=place, sources=tuple(sources))
        return self._writes.setdefault((index, place), write)

    # From the output buffer to the accumulators

    def _output(self, place: Place, before: int, *, whole: bool) -> None:
        """Find what made a code of the output buffer; ``whole``: it is the value asked for."""
        for index in range(before - 1, -1, -1):
            post = self._program.descriptors[index]
            if not isinstance(post, Post):
                continue
            found = self._drained(post, place)
            if found is None:
                continue
            constants = Place(memory=Memory.CONSTANTS, address=found.constants)
            sources = [constants, *found.accumulators]
            if found.residual is not None:
                residual = Place(memory=Memory.RESIDUALS, address=found.residual, lane=place.lane)
                sources.append(residual)
                self._loaded(residual, index)
            tables = self._looked_up(post, place.lane, index)
            sources += [write.place for write in tables]
            if (index, place) in self._writes:
                return
            self._add(index, place, sources)
            written = self._loaded(constants, index)
            if whole:
                self._tables = tables
                self._post, self._constants = index, written
                self._accumulators = found.accumulators
            for sums in found.accumulators:
                self._summed(sums, index, whole=whole)
            return

    def _looked_up(self, post: Post, lane: int, before: int) -> tuple[Write, ...]:
        """Find what filled the rows of a post's table."""
        tables = self._accelerator.tables
        if post.table is None or tables is None:
            return ()
        first = post.table * tables.rows
        lane %= self._accelerator.post_lanes
        found = [
            self._loaded(Place(memory=Memory.TABLES, address=row, lane=lane), before)
            for row in range(first, first + tables.rows)
        ]
        return tuple(write for write in found if write is not None)

    def _drained(self, post: Post, place: Place) -> _Drain | None:
        """Return how ``post`` made the code at ``place``, None where it did not."""
        accelerator, lanes = self._accelerator, self._accelerator.post_lanes
        per_word = accelerator.array.lanes // lanes
        for group in range(post.groups):
            part = post.lane_group + group
            if part % per_word != place.lane // lanes:
                continue
            pixel, y, x = np.ix_(*(np.arange(n) for n in (post.pixels, post.out_y, post.out_x)))
            out = post.outputs + x * post.out_out_x + y * post.out_out_y + pixel * post.out_pixel
            out = out + part // per_word * post.out_word
            hits = np.argwhere(out % _WRAP == place.address)
            if not len(hits):
                continue
            lane, row, col = (int(n) for n in hits[-1])
            first = post.accumulators + col * post.acc_out_x + row * post.acc_out_y
            residual = int(out[lane, row, col]) - post.outputs + post.residuals
            return _Drain(
                constants=(post.constants + group) % _WRAP,
                residual=residual % _WRAP if post.residual else None,
                accumulators=tuple(
                    Place(
                        memory=Memory.ACCUMULATORS,
                        address=(first + wx * post.acc_window_x + wy * post.acc_window_y) % _WRAP,
                        pixel=lane,
                        lane=group * lanes + place.lane % lanes,
                    )
                    for wy in range(post.window_y)
                    for wx in range(post.window_x)
                ),
            )
        return None

    # From accumulators to operands

    def _summed(self, place: Place, before: int, *, whole: bool) -> None:
        """Find the computes that added to an accumulator, back to the one that began afresh."""
        for index in range(before - 1, -1, -1):
            compute = self._program.descriptors[index]
            if not isinstance(compute, Compute):
                continue
            activations, weights, begun = _steps(compute, place.address)
            if not len(weights):
                continue
            self._operate(index, place, activations, weights, whole=whole)
            if begun:
                return

    def _operate(
        self, index: int, place: Place, activations: np.ndarray, weights: np.ndarray, *, whole: bool
    ) -> None:
        read = [
            Place(memory=Memory.ACTIVATIONS, address=address, pixel=place.pixel)
            for address in activations.tolist()
        ]
        met = [Place(memory=Memory.WEIGHTS, address=address) for address in weights.tolist()]
        self._add(index, place, dict.fromkeys([*read, *met]))
        origin = {word: self._loaded(word, index) for word in dict.fromkeys([*read, *met])}
        if not whole:
            return
        lanes = self._lanes(index, place.lane, len(read))
        for activation, weight, pair in zip(read, met, lanes, strict=True):
            self._operands.append(
                Operands(
                    descriptor=index,
                    accumulator=place.address,
                    pixel=place.pixel,
                    activation=activation.address,
                    weight=weight.address,
                    activation_address=_address(origin[activation]),
                    weight_address=_address(origin[weight]),
                    lanes=pair,
                )
            )

    def _lanes(self, index: int, column: int, count: int) -> list[tuple[int, int] | None]:
        """Return ``Operands.lanes`` of what a compute multiplied in ``column``."""
        compute, array = self._program.descriptors[index], self._program.accelerator.array
        if not isinstance(compute, Compute) or compute.sliding is None or array.depthwise is None:
            return [None] * count
        sliding, windows = compute.sliding, array.depthwise
        lane = (sliding.first_lane + column) % array.lanes
        positions = np.arange(windows.positions).reshape(windows.rows, windows.columns)
        mine = positions[-1 - sliding.skip_rows :, -1 - sliding.skip_columns :].ravel()
        met: list[tuple[int, int] | None] = [(lane, position) for position in mine.tolist()]
        return met * (count // mine.size)

    # From buffers to memory

    def _loaded(self, place: Place, before: int) -> Write | None:
        """Find the load that filled a word of a buffer, or the keep that wrote it there."""
        for index in range(before - 1, -1, -1):
            descriptor = self._program.descriptors[index]
            if isinstance(descriptor, Load) and descriptor.target is Buffer[place.memory.name]:
                found = self._memory_word(descriptor, place)
                if found is not None:
                    return self._from_memory(index, place, found)
            elif isinstance(descriptor, Keep) and place.memory is Memory.ACTIVATIONS:
                kept = _kept_word(descriptor, place)
                if kept is not None:
                    return self._kept(index, place, kept)
        return None

    def _from_memory(self, index: int, place: Place, address: int) -> Write:
        """Note a load, and what stored the word before where the search goes on."""
        new = (index, place) not in self._writes
        write = self._add(index, place, (Place(memory=Memory.DRAM, address=address),))
        if new and any(address in some for some in self._through):
            for lane in range(self._accelerator.array.lanes):
                stored = Place(memory=Memory.DRAM, address=address, lane=lane)
                self._stored(stored, index, whole=False)
        return write

    def _memory_word(self, load: Load, place: Place) -> int | None:
        size = self._sizes[place.memory]
        lanes = None
        if load.target is Buffer.ACTIVATIONS:
            lanes = place.pixel - load.lane
            if not 0 <= lanes < load.transfer.n3:
                return None
        return _memory_address(load.transfer, place.address, size, lanes)

    def _kept(self, index: int, place: Place, address: int) -> Write:
        """Note a keep; all lanes of the word that it read are made by posts before it."""
        sources = [
            Place(memory=Memory.OUTPUTS, address=address, lane=lane)
            for lane in range(self._accelerator.array.lanes)
        ]
        new = (index, place) not in self._writes
        write = self._add(index, place, sources)
        made = word_made(self._program, address, index)
        if new and (made is None or made[0].tensor in self._copies):
            for source in sources:
                self._output(source, index, whole=False)
        return write


def _address(write: Write | None) -> int | None:
    """Return where in memory what a load wrote came from."""
    if write is None or write.sources[0].memory is not Memory.DRAM:
        return None
    return write.sources[0].address


def _runs(transfer: Transfer, last: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return where each run of words begins, in memory and in the buffer.

    ``last`` is the iteration of the outermost loop, None for all.
    """
    outer = np.arange(transfer.n3) if last is None else np.array([last])
    i3, i2, i1 = np.ix_(outer, np.arange(transfer.n2), np.arange(transfer.n1))
    memory = transfer.address + i1 * transfer.s1 + i2 * transfer.s2 + i3 * transfer.s3
    buffer = transfer.buffer_address + i1 * transfer.d1 + i2 * transfer.d2 + i3 * transfer.d3
    return memory.reshape(-1), buffer.reshape(-1) % _WRAP


def _buffer_word(transfer: Transfer, address: int, size: int) -> int | None:
    """Return the buffer word that a store takes to the word at ``address`` of memory."""
    memory, buffer = _runs(transfer)
    offset = address - memory
    hits = np.flatnonzero((offset >= 0) & (offset < transfer.words * size) & (offset % size == 0))
    if not len(hits):
        return None
    return int(buffer[hits[-1]] + offset[hits[-1]] // size) % _WRAP


def _memory_address(transfer: Transfer, word: int, size: int, last: int | None) -> int | None:
    """Return the address in memory that a load takes to ``word`` of its buffer."""
    memory, buffer = _runs(transfer, last)
    offset = (word - buffer) % _WRAP
    hits = np.flatnonzero(offset < transfer.words)
    return int(memory[hits[-1]] + offset[hits[-1]] * size) if len(hits) else None


def _kept_word(keep: Keep, place: Place) -> int | None:
    """Return the word of the output buffer that ``keep`` writes to ``place``."""
    last = place.pixel - keep.lane
    if not 0 <= last < keep.transfer.n3:
        return None
    return _buffer_word_of_keep(keep.transfer, place.address, last)


def _buffer_word_of_keep(transfer: Transfer, word: int, last: int) -> int | None:
    memory, buffer = _runs(transfer, last)
    offset = (word - memory) % _WRAP
    hits = np.flatnonzero(offset < transfer.words)
    return int(buffer[hits[-1]] + offset[hits[-1]]) % _WRAP if len(hits) else None


def _steps(compute: Compute, address: int) -> tuple[np.ndarray, np.ndarray, bool]:
    """Return the words of activations and weights that a compute adds up at ``address``.

    The last says whether it began afresh there, so that nothing before counts.
    """
    if compute.sliding is not None:
        return _windows(compute, compute.sliding, address)
    # The passes of a word are one product.
    loops = compute.loops if compute.precision is None else compute.loops[1:]
    counts = [loop.count for loop in reversed(loops)]
    steps = np.indices(counts).reshape(len(counts), -1)[::-1]

    def walk(base: int, strides: list[int]) -> np.ndarray:
        return np.asarray((base + np.array(strides, np.int64) @ steps) % _WRAP)

    sums = walk(compute.accumulators, [loop.accumulators for loop in loops])
    mine = np.flatnonzero(sums == address)
    reduction = np.array([loop.reduction for loop in loops], bool)
    fresh = (steps[reduction][:, mine] == 0).all(axis=0) & (not compute.accumulate)
    begun = np.flatnonzero(fresh)
    if len(begun):
        mine = mine[begun[-1] :]
    activations = walk(compute.activations, [loop.activations for loop in loops])
    weights = walk(compute.weights, [loop.weights for loop in loops])
    return activations[mine], weights[mine], bool(len(begun))


def _windows(
    compute: Compute, sliding: Sliding, address: int
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Do what :func:`_steps` does where windows slide: a sum takes all words of its window."""
    inner, down, *outer = compute.loops
    rows, columns = sliding.sums(down.count, inner.count)
    number = (address - compute.accumulators) % _WRAP
    if number >= rows * columns:
        none = np.empty(0, np.int64)
        return none, none, False
    row, column = divmod(number, columns)
    lines = row * sliding.row_stride + np.arange(sliding.skip_rows + 1)
    words = column * sliding.column_stride + np.arange(sliding.skip_columns + 1)
    window = (lines[:, None] * down.activations + words * inner.activations).ravel()
    turns = np.indices([loop.count for loop in outer]).reshape(len(outer), -1)
    first = compute.activations + np.array([loop.activations for loop in outer], np.int64) @ turns
    weights = compute.weights + np.array([loop.weights for loop in outer], np.int64) @ turns
    activations = (first[:, None] + window) % _WRAP
    met = np.repeat(weights % _WRAP, window.size)
    return activations.ravel(), met, not compute.accumulate
