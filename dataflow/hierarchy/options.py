"""All ways to split a loop's iterations over its slots, and what they contribute.

Factors are perfect (each tile divides the one around it) or imperfect: each tile is the smallest
with its number of iterations, so that the last one is not much smaller than the others, and is a
divisor, or at most 16, or has at most 16 iterations. For loops of up to 256 iterations that is
every number of iterations there is.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from celosia.dataflow.hierarchy.architecture import Architecture, Factors, InputTile
from celosia.dataflow.hierarchy.forms import (
    GROUPS,
    Column,
    Copies,
    Extent,
    Swept,
    Tile,
    Visits,
)
from celosia.dataflow.hierarchy.layer import Dim, Layer
from celosia.dataflow.hierarchy.skeleton import Skeleton, Slot

Integers: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]

_FEW = 16


@functools.lru_cache(maxsize=4096)
def smaller_tiles(tile: int, factors: Factors) -> tuple[int, ...]:
    """Return the tiles that one of ``tile`` may be split into, the largest first."""
    if factors is Factors.PERFECT:
        found = {t for t in range(1, int(tile**0.5) + 1) if tile % t == 0}
        return tuple(sorted(found | {tile // t for t in found}, reverse=True))
    most = min(tile, _FEW)
    found = {-(-tile // count) for count in range(1, most + 1)}
    found |= {-(-tile // -(-tile // small)) for small in range(1, most + 1)}
    return tuple(sorted(found | set(smaller_tiles(tile, Factors.PERFECT)), reverse=True))


@dataclass(slots=True)
class DimOptions:
    """The splits of one loop: ``tiles[:, i]`` are the tiles below its slot ``i``, the last 1."""

    size: int
    tiles: Integers
    _classes: dict[tuple[int, tuple[int, ...]], tuple[Integers, Integers]] = field(
        default_factory=dict
    )

    def tile(self, cut: int) -> Integers:
        """Return the tile below the first ``cut`` slots, for each split."""
        if cut:
            return self.tiles[:, cut - 1]
        return np.full(len(self.tiles), self.size, dtype=np.int64)

    def counts(self, cut: int, once: tuple[int, ...]) -> tuple[Integers, Integers]:
        """Return sizes and numbers of the tiles that the first ``cut`` slots make.

        Both have the shape (splits, sizes); sizes that do not occur have the number 0. Of the
        slots ``once`` the first iteration alone counts.
        """
        key = (cut, once)
        if key not in self._classes:
            self._classes[key] = self._counts(cut, once)
        return self._classes[key]

    def _counts(self, cut: int, once: tuple[int, ...]) -> tuple[Integers, Integers]:
        if not cut:
            whole = self.tile(0)[:, None]
            return whole, np.ones_like(whole)
        sizes, numbers = self.counts(cut - 1, tuple(slot for slot in once if slot < cut - 1))
        tile = self.tile(cut)[:, None]
        if cut - 1 in once:
            return np.minimum(sizes, tile), numbers
        full, rest = np.divmod(sizes, tile)
        whole = (full * numbers).sum(axis=1, keepdims=True)
        sizes = np.concatenate([tile, rest], axis=1)
        numbers = np.concatenate([whole, numbers * (rest > 0)], axis=1)
        used = (numbers > 0).any(axis=0)
        return sizes[:, used], numbers[:, used]


def dim_options(
    size: int, slots: Sequence[Slot], architecture: Architecture, factors: Factors
) -> DimOptions:
    """Return all splits of a loop of ``size`` iterations over ``slots``, in a fixed order."""
    places = {axis.name: axis.size for axis in architecture.axes}
    tiles = np.full((1, 1), size, dtype=np.int64)
    for number, slot in enumerate(slots):
        children: dict[int, list[int]] = {}
        for tile in np.unique(tiles[:, -1]).tolist():
            found = (1,) if number == len(slots) - 1 else smaller_tiles(tile, factors)
            most = tile if slot.axis is None else places[slot.axis]
            children[tile] = [small for small in found if -(-tile // small) <= most]
        counts = [len(children[tile]) for tile in tiles[:, -1].tolist()]
        fresh = [small for tile in tiles[:, -1].tolist() for small in children[tile]]
        tiles = np.column_stack([np.repeat(tiles, counts, axis=0), fresh]).astype(np.int64)
    return DimOptions(size=size, tiles=tiles[:, 1:])


class GroupOptions:
    """The splits of the loops of one group: every split of one with every split of the other."""

    def __init__(
        self,
        architecture: Architecture,
        layer: Layer,
        skeleton: Skeleton,
        group: tuple[Dim, ...],
        factors: Factors,
    ) -> None:
        self.architecture = architecture
        self.layer = layer
        self.dims = [
            dim_options(layer.size(dim), skeleton.slots(dim), architecture, factors)
            for dim in group
        ]
        self.group = group
        self.count = int(np.prod([len(options.tiles) for options in self.dims]))

    def factor(self, columns: Sequence[Column]) -> Integers:
        """Return the product of ``columns``, for each split of the group."""
        shape = [len(options.tiles) for options in self.dims]
        product = np.ones(shape, dtype=np.int64)
        for column in columns:
            product = product * self._column(column)
        return product.reshape(-1)

    def split(self, index: int) -> dict[Dim, list[int]]:
        """Return the tiles of split ``index``, by loop, each from its outermost slot on."""
        places = np.unravel_index(index, [len(options.tiles) for options in self.dims])
        return {
            dim: options.tiles[place].tolist()
            for dim, options, place in zip(self.group, self.dims, places, strict=True)
        }

    def _column(self, column: Column) -> Integers:
        if isinstance(column, Swept | Extent):
            return self._input(column)
        options = self.dims[self.group.index(column.dim)]
        if isinstance(column, Visits):
            value = options.counts(column.cut, column.once)[1].sum(axis=1)
        elif isinstance(column, Tile):
            value = options.tile(column.cut)
        else:
            value = self._copies(options, column)
        shape = [-1 if dim is column.dim else 1 for dim in self.group]
        placed: Integers = value.reshape(shape)
        return placed

    @staticmethod
    def _copies(options: DimOptions, column: Copies) -> Integers:
        value = np.ones(len(options.tiles), dtype=np.int64)
        for slot in column.slots:
            value = value * -(-options.tile(slot) // options.tile(slot + 1))
        return value

    def _input(self, column: Swept | Extent) -> Integers:
        """Return input rows, or columns, for each split of outputs and each of the window."""
        outputs, window = self.dims
        if isinstance(column, Extent):
            sizes = outputs.tile(column.cuts[0])[:, None], window.tile(column.cuts[1])[None, :]
            return self._reach(column.outputs, *sizes)
        p_sizes, p_counts = outputs.counts(column.cuts[0], ())
        r_sizes, r_counts = window.counts(column.cuts[1], ())
        total = np.zeros((len(p_sizes), len(r_sizes)), dtype=np.int64)
        for i in range(p_sizes.shape[1]):
            for j in range(r_sizes.shape[1]):
                counts = p_counts[:, i, None] * r_counts[None, :, j]
                sizes = p_sizes[:, i, None], r_sizes[None, :, j]
                total += self._reach(column.outputs, *sizes) * counts
        return total

    def _reach(self, dim: Dim, outputs: Integers, window: Integers) -> Integers:
        """As ``input_rows`` and ``input_columns`` of the mapping, for arrays."""
        stride: Any = self.layer.stride
        whole = (InputTile.BOX,) if dim is Dim.P else (InputTile.BOX, InputTile.ROWS)
        if self.architecture.accounting.input_tile not in whole:
            stride = np.minimum(stride, window)
        reach: Integers = (outputs - 1) * stride + window
        return reach


def group_options(
    architecture: Architecture, layer: Layer, skeleton: Skeleton, factors: Factors
) -> list[GroupOptions]:
    """Return the splits of every group."""
    return [GroupOptions(architecture, layer, skeleton, group, factors) for group in GROUPS]
