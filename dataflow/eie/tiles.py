"""Cutting a compressed layer into tiles that fit the memories of the processing elements."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from celosia.dataflow.eie.accelerator import EieAccelerator
from celosia.dataflow.eie.descriptors import Target
from celosia.models.eie import Compressed, encode
from celosia.models.errors import CelosiaError
from celosia.models.formats import Fixed, Format
from celosia.models.sparse import SparseLinear, SparseMatrix


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LayerTile:
    """Columns ``first`` and on of rows ``first_row`` and on of a layer, as PEs store them."""

    first: int
    first_row: int
    compressed: Compressed

    @property
    def columns(self) -> int:
        """How many columns it has."""
        return self.compressed.shape[1]

    @property
    def size(self) -> int:
        """Most entries of any PE."""
        return int(self.compressed.entries.max())


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The most that a tile may take of each PE's memories."""

    entries: int
    pointers: int


def limits(accelerator: EieAccelerator, *, share: int) -> Limits:
    """Return what a tile may take so that ``share`` of them lie in the memories at once."""
    memories = accelerator.memories
    row = memories.row_entries * accelerator.row_lanes
    return Limits(
        entries=min(
            memories.entries // share // row * row, (1 << memories.pointer_bits) - 1
        ),
        pointers=memories.pointers // share // accelerator.pointer_lanes
        * accelerator.pointer_lanes,
    )  # fmt: skip


def places_of(tile: LayerTile, accelerator: EieAccelerator) -> dict[Target, int]:
    """Return what ``tile`` takes of each PE's memories, in whole beats."""
    memories = accelerator.memories
    row, lanes = memories.row_entries * accelerator.row_lanes, accelerator.pointer_lanes
    found = {
        Target.POINTERS: -(-(tile.columns + 1) // lanes) * lanes,
        Target.ENTRIES: -(-tile.size // row) * row,
    }
    if accelerator.array.skip_empty:
        bits = accelerator.bus.data_bits
        found[Target.OCCUPANCY] = -(-tile.columns // bits) * bits
    return found


def batch_words(op: SparseLinear, accelerator: EieAccelerator) -> int:
    """Return how many rows of each PE a run has at most: as accumulators and biases hold.

    Where they are not all, they are whole windows, as results are activations.

    Raises :class:`CelosiaError` where the biases of a window do not fit.
    """
    memories = accelerator.memories
    words = -(-op.matrix.shape[0] // accelerator.array.pes)
    if words <= min(memories.accumulators, memories.biases):
        return words
    most = min(memories.accumulators, memories.biases) // memories.window * memories.window
    if not most:
        raise CelosiaError(
            f"layer {op.name!r}: a PE of accelerator {accelerator.name!r} holds "
            f"{memories.biases} biases, fewer than a window of {memories.window} rows has: raise "
            "memories.biases or lower memories.window"
        )
    return most


def _part(matrix: SparseMatrix, rows: range) -> SparseMatrix:
    """Return some rows of ``matrix``, numbered from 0."""
    if len(rows) == matrix.shape[0]:
        return matrix
    mine = (matrix.rows >= rows.start) & (matrix.rows < rows.stop)
    counts = np.bincount(matrix.columns[mine], minlength=matrix.shape[1])
    return SparseMatrix(
        shape=(len(rows), matrix.shape[1]),
        starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        rows=matrix.rows[mine] - rows.start,
        values=matrix.values[mine],
    )


def _columns(whole: Compressed, columns: range) -> Compressed:
    """Return some columns of ``whole``: encoding knows no columns but each alone."""
    if len(columns) == whole.shape[1]:
        return whole
    pointers = whole.pointers[:, columns.start : columns.stop + 1]
    spans = [
        slice(int(base + part[0]), int(base + part[-1]))
        for base, part in zip(whole.bases[:-1], pointers, strict=True)
    ]
    return Compressed(
        shape=(whole.shape[0], len(columns)),
        pes=whole.pes,
        index_bits=whole.index_bits,
        codes=np.concatenate([whole.codes[span] for span in spans]),
        gaps=np.concatenate([whole.gaps[span] for span in spans]),
        pointers=pointers - pointers[:, :1],
        bases=np.concatenate([[0], np.cumsum(pointers[:, -1] - pointers[:, 0])]),
    )


def stored_format(fmt: Format, accelerator: EieAccelerator) -> Format:
    """Return what codes in the PEs' memories stand for, for weights of ``fmt``.

    Without a codebook a code is the weight itself, in all bits that the engine has.
    """
    return fmt if accelerator.widths.codebook else Fixed(bits=accelerator.widths.weight)


def tiles_of(op: SparseLinear, accelerator: EieAccelerator) -> list[LayerTile]:
    """Return the tiles of ``op``: one where it fits, else such that two fit where that can be.

    Raises :class:`CelosiaError` as :func:`cut` does.
    """
    whole = list(cut(op, accelerator, limits(accelerator, share=1)))
    if len(whole) == 1:
        return whole
    try:
        return list(cut(op, accelerator, limits(accelerator, share=2)))
    except CelosiaError:
        return whole  # one at a time


def cut(op: SparseLinear, accelerator: EieAccelerator, most: Limits) -> Iterator[LayerTile]:
    """Yield the tiles of ``op`` that keep within ``most``: by rows, in those by columns.

    Raises :class:`CelosiaError` where a window of activations, the least that can be cut, has more
    entries than a PE may hold, and as :func:`batch_words` does.
    """
    batch = batch_words(op, accelerator) * accelerator.array.pes
    rows, columns = op.matrix.shape
    step = accelerator.window_columns
    for first_row in range(0, rows, batch):
        part = _part(op.matrix, range(first_row, min(rows, first_row + batch)))
        fmt = stored_format(op.format, accelerator)
        whole = encode(part, fmt, pes=accelerator.array.pes, index_bits=accelerator.widths.index)
        first = 0
        while first < columns:
            stop = first
            while stop < columns:
                further = min(columns, stop + step)
                size = int((whole.pointers[:, further] - whole.pointers[:, first]).max())
                if size > most.entries or further - first + 1 > most.pointers:
                    break
                stop = further
            if stop == first:
                raise CelosiaError(
                    f"layer {op.name!r}: {min(step, columns - first)} columns (a window of "
                    f"activations) need more than the {most.entries} entries or {most.pointers} "
                    f"pointers that a PE of accelerator {accelerator.name!r} has for a tile: "
                    "give it more memory, more PEs or a smaller window, or prune further"
                )
            yield LayerTile(
                first=first, first_row=first_row, compressed=_columns(whole, range(first, stop))
            )
            first = stop
