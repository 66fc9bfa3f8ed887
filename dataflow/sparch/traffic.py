"""Bytes between a SpArch engine and memory, by stream; other dataflows on the same memory.

Exact: what the engine's counters say, in whole beats. Partial matrices and the output are counted
as if no sum were 0; :func:`measured_traffic` takes what a golden run or the hardware made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np

from celosia.dataflow.jit import compiled
from celosia.dataflow.sparch.accelerator import SparchAccelerator
from celosia.dataflow.sparch.bits import beats_of
from celosia.dataflow.sparch.plan import Plan
from celosia.dataflow.sparch.work import left_beats
from celosia.models.csr import Csr


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """Bytes of each stream; ``output`` with its row pointers."""

    left: int
    right: int
    partial_read: int
    partial_write: int
    output: int

    @property
    def total(self) -> int:
        """Bytes of all streams."""
        return sum(getattr(self, each.name) for each in fields(self))

    @property
    def read(self) -> int:
        """Bytes read."""
        return self.left + self.right + self.partial_read

    @property
    def written(self) -> int:
        """Bytes written."""
        return self.partial_write + self.output


def plan_traffic(plan: Plan) -> Traffic:
    """Return the traffic of ``plan`` where no sum is 0."""
    return measured_traffic(plan, plan.sizes)


def measured_traffic(plan: Plan, sizes: Sequence[int]) -> Traffic:
    """Return the traffic of ``plan`` whose rounds make ``sizes`` elements."""
    accelerator = plan.accelerator
    beat, rounds = accelerator.bus.data_bytes, plan.schedule.rounds
    left = sum(left_beats(placed.ends, accelerator) for placed in plan.records)
    right = sum(placed.fetched_beats for placed in plan.records)
    beats = [beats_of(size, accelerator.partial_lanes) for size in sizes]
    read = sum(beats[source] for each in rounds for source in each.sources)
    return Traffic(
        left=left * beat,
        right=right * beat,
        partial_read=read * beat,
        partial_write=sum(beats[:-1]) * beat,
        output=_output_beats(accelerator, sizes[-1], plan.left.shape[0]) * beat,
    )


def _output_beats(accelerator: SparchAccelerator, size: int, rows: int) -> int:
    """Return the beats of a product of ``size`` elements in ``rows`` rows, with pointers."""
    elements = beats_of(size, accelerator.output_lanes)
    return elements + beats_of(rows + 1, accelerator.pointer_lanes)


def _matrix_beats(accelerator: SparchAccelerator, matrix: Csr) -> int:
    """Return the beats of a factor in CSR: its elements and row pointers."""
    pointers = beats_of(len(matrix.starts), accelerator.pointer_lanes)
    return beats_of(matrix.nonzeros, accelerator.right_lanes) + pointers


@dataclass(frozen=True, slots=True, kw_only=True)
class Packing:
    """How elements lie in memory: ``lanes`` of them in each ``size`` bytes that are moved."""

    lanes: int
    size: int

    def bytes_of(self, count: int) -> int:
        """Return the bytes of ``count`` elements."""
        return beats_of(count, self.lanes) * self.size


@dataclass(frozen=True, slots=True, kw_only=True)
class OuterspaceFormat:
    """How an engine with the OuterSPACE dataflow stores things.

    An element of a ``factor``, a ``product`` in the list of its row, an element of the ``output``,
    and a ``pointer``.
    """

    factor: Packing
    product: Packing
    output: Packing
    pointer: Packing


def format_of(accelerator: SparchAccelerator) -> OuterspaceFormat:
    """Return the format with the elements of ``accelerator``, in whole beats.

    A product takes what an element of the output does: it lies in a list of its row.
    """
    beat = accelerator.bus.data_bytes
    output = Packing(lanes=accelerator.output_lanes, size=beat)
    return OuterspaceFormat(
        factor=Packing(lanes=accelerator.right_lanes, size=beat),
        product=output,
        output=output,
        pointer=Packing(lanes=accelerator.pointer_lanes, size=beat),
    )


def outerspace_traffic(plan: Plan) -> Traffic:
    """Return what the OuterSPACE dataflow ("OuterSPACE", HPCA 2018) moves for the same product.

    Elements and beats are those of the engine: :func:`outerspace_bytes`.
    """
    left, right = plan.left, plan.right
    met = np.zeros(right.shape[0], bool)
    met[left.columns] = True
    return outerspace_bytes(
        format_of(plan.accelerator),
        shape=left.shape,
        left=left.nonzeros,
        right=int(right.counts[met].sum()),
        chunks=int((right.counts[left.columns] > 0).sum()),
        products=plan.products,
        output=plan.sizes[-1],
    )


def outerspace_bytes(
    stored: OuterspaceFormat,
    *,
    shape: tuple[int, int],
    left: int,
    right: int,
    chunks: int,
    products: int,
    output: int,
) -> Traffic:
    """Return what the OuterSPACE dataflow moves.

    Both factors are read once, with a pointer for each column of the left and each row of the right
    one; of the right one only rows that are met. Each nonzero of the left matrix makes a *chunk* of
    products, which is written with a pointer to it in the list of the row, and read again to be
    merged.

    Parameters
    ----------
    stored
        How elements lie in memory.
    shape
        Of the left matrix.
    left, right, chunks, products, output
        Elements of the left matrix; of rows of the right one that are met; nonzeros that meet a
        row that is not empty; products; elements of the output.
    """
    rows, inner = shape
    partial = stored.product.bytes_of(products) + stored.pointer.bytes_of(chunks)
    return Traffic(
        left=stored.factor.bytes_of(left) + stored.pointer.bytes_of(inner + 1),
        right=stored.factor.bytes_of(right) + stored.pointer.bytes_of(inner + 1),
        partial_read=partial,
        partial_write=partial,
        output=stored.output.bytes_of(output) + stored.pointer.bytes_of(rows + 1),
    )


@compiled
def _least_recent(tags: np.ndarray, beats: np.ndarray, lines: int) -> int:
    """Return the beats fetched for ``tags`` into ``lines`` with least recent use replaced."""
    held = np.full(int(tags.max()) + 1, -1, np.int64) if len(tags) else np.zeros(0, np.int64)
    before = np.full(lines, -1, np.int64)
    after = np.full(lines, -1, np.int64)
    tag_of = np.full(lines, -1, np.int64)
    oldest = newest = -1
    used = fetched = 0
    for at in range(len(tags)):
        slot = held[tags[at]]
        if slot >= 0 and slot == newest:
            continue
        if slot < 0:
            fetched += beats[at]
            if used < lines:
                slot = used
                used += 1
            else:
                slot = oldest
                held[tag_of[slot]] = -1
            tag_of[slot], held[tags[at]] = tags[at], slot
        if before[slot] >= 0 or slot == oldest:  # out of its place in the chain
            if slot == oldest:
                oldest = after[slot]
            else:
                after[before[slot]] = after[slot]
            if after[slot] >= 0:
                before[after[slot]] = before[slot]
        before[slot], after[slot] = newest, -1
        if newest >= 0:
            after[newest] = slot
        newest = slot
        if oldest < 0:
            oldest = slot
    return fetched


def gustavson_traffic(plan: Plan) -> Traffic:
    """Return what a plain row-wise engine moves for the same product.

    Row by row of A, each nonzero's row of B is read through a buffer of the engine's size, in
    lines of one row, the least recently used replaced. A row of the product is made on chip.
    """
    accelerator = plan.accelerator
    left, right, lanes = plan.left, plan.right, accelerator.right_lanes
    beat = accelerator.bus.data_bytes
    begins, ends = right.starts[left.columns], right.starts[left.columns + 1]
    pieces = np.maximum(-(-(ends - begins) // accelerator.line_elements), 0)
    of = np.repeat(np.arange(left.nonzeros), pieces)
    piece_ends = np.cumsum(pieces)
    number = np.arange(len(of)) - np.repeat(piece_ends - pieces, pieces)
    first = begins[of] + number * accelerator.line_elements
    last = np.minimum(ends[of], first + accelerator.line_elements) - 1
    rows = -(-right.counts // accelerator.line_elements)
    tags = np.concatenate([[0], np.cumsum(rows)])[left.columns[of]] + number
    beats = last // lanes - first // lanes + 1
    fetched = _least_recent(tags, beats, accelerator.right.lines)
    pointers = beats_of(len(right.starts), accelerator.pointer_lanes)
    return Traffic(
        left=_matrix_beats(accelerator, left) * beat,
        right=(fetched + pointers) * beat,
        partial_read=0,
        partial_write=0,
        output=_output_beats(accelerator, plan.sizes[-1], left.shape[0]) * beat,
    )
