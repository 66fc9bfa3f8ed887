"""The loops of a mapped step: walked tile by tile, and as a value that can be drawn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from celosia.dataflow.mapping import ARRAY_DIMENSIONS, Dimension, LayerMapping, TileLoop
from celosia.dataflow.plan import StepPlan
from celosia.dataflow.tiles import ChannelTile, Chunk, PixelTile

Range = tuple[int, int]
"""First and the one after the last."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Work:
    """What one compute descriptor does: channel tiles from number ``first`` on, over one chunk."""

    pixel: PixelTile
    first: int
    tiles: tuple[ChannelTile, ...]
    chunk: Chunk


_Part = dict[Dimension, tuple[Range, ...]]
"""What the loops walked so far leave of each dimension: one range, of ``C`` several."""


def works(plan: StepPlan, mapping: LayerMapping) -> Iterator[Work]:
    """Yield what the compute descriptors of a step do, in order; ``mapping`` must be legal.

    The last tile of each dimension is what is left. Of a loop over ``C`` each channel tile takes
    part in the words that it reads; a run of words is cut from its first word that any of the
    channel tiles of the outer loops reads.
    """
    loops = [loop for loop, _ in plan.trips(mapping)]
    whole: _Part = {dimension: ((0, units),) for dimension, units in plan.whole.items()}
    whole[Dimension.C] = _union(plan, (0, len(plan.tiles)))
    whole[Dimension.OY] = ((0, plan.size[0]),)
    return _walk(plan, loops, whole)


def _walk(plan: StepPlan, loops: list[TileLoop], part: _Part) -> Iterator[Work]:
    if not loops:
        yield from _works(plan, part)
        return
    dimension, step = loops[0].dimension, loops[0].step
    ranges = part[dimension]
    if dimension is Dimension.C:
        ranges = _common(ranges, _union(plan, part[Dimension.K][0]))
    if dimension is Dimension.OY:
        step *= plan.accelerator.array.pixels
    for start, stop in ranges:
        for first in range(start, stop, step):
            piece = first, min(stop, first + step)
            yield from _walk(plan, loops[1:], part | {dimension: (piece,)})


def _works(plan: StepPlan, part: _Part) -> Iterator[Work]:
    first, stop = part[Dimension.K][0]
    tiles = plan.tiles[first:stop]
    (top, bottom), (left, right) = part[Dimension.OY][0], part[Dimension.OX][0]
    pixel = PixelTile(
        sample=part[Dimension.N][0][0],
        y=top,
        x=left,
        rows=-(-(bottom - top) // plan.accelerator.array.pixels),
        cols=right - left,
        valid=bottom - top,
    )
    (row, last_row), (column, last_column) = part[Dimension.FY][0], part[Dimension.FX][0]
    for start, end in _common(part[Dimension.C], tiles[0].runs):
        chunk = Chunk(
            word=start,
            words=end - start,
            kernel_row=row,
            kernel_rows=last_row - row,
            kernel_column=column,
            kernel_columns=last_column - column,
        )
        yield Work(pixel=pixel, first=first, tiles=tiles, chunk=chunk)


def _union(plan: StepPlan, tiles: Range) -> tuple[Range, ...]:
    """Return the runs of words that any of the channel ``tiles`` reads."""
    merged: list[Range] = []
    for start, stop in sorted({run for tile in plan.tiles[slice(*tiles)] for run in tile.runs}):
        if merged and start <= merged[-1][1]:
            merged[-1] = merged[-1][0], max(merged[-1][1], stop)
        else:
            merged.append((start, stop))
    return tuple(merged)


def _common(runs: tuple[Range, ...], others: tuple[Range, ...]) -> tuple[Range, ...]:
    """Return the runs of the words that are in both."""
    both = ((max(a, c), min(b, d)) for a, b in runs for c, d in others)
    return tuple((start, stop) for start, stop in both if start < stop)


@dataclass(frozen=True, slots=True, kw_only=True)
class NestLoop:
    """One loop of a drawn nest: ``count`` iterations of ``step`` units of ``dimension``.

    ``last`` is the size of the last iteration, less than ``step`` where that does not divide.
    ``spatial`` loops run at once.
    """

    dimension: Dimension
    count: int
    step: int
    last: int
    spatial: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class NestLevel:
    """The loops between two memories, outermost first.

    ``name`` is "memory", "array" or "space"; ``buffers`` says how many tiles of how many words
    each buffer inside the loops holds.
    """

    name: str
    loops: tuple[NestLoop, ...]
    buffers: tuple[tuple[str, int, int], ...] = ()


def loop_nest(plan: StepPlan, mapping: LayerMapping) -> tuple[NestLevel, ...]:
    """Return the loops of a mapped step, outermost level first; loops of one iteration left out.

    Units are those of :class:`~celosia.dataflow.mapping.Dimension`; in space, channels and rows.
    """
    left = plan.whole
    memory = []
    for loop, count in plan.trips(mapping):
        whole = left[loop.dimension]
        left[loop.dimension] = min(whole, loop.step)
        last = whole - (count - 1) * loop.step
        if count > 1:
            memory.append(
                NestLoop(dimension=loop.dimension, count=count, step=loop.step, last=last)
            )
    tile = plan.tile(mapping)
    array = [
        NestLoop(dimension=dimension, count=tile[dimension], step=1, last=1)
        for dimension in mapping.array
        if dimension in ARRAY_DIMENSIONS and tile[dimension] > 1
    ]
    shape = plan.accelerator.array
    space = (
        (Dimension.K, shape.column_count),
        (Dimension.C, shape.lanes),
        (Dimension.OY, shape.pixels),
    )
    sizes, slots = plan.sizes(mapping), plan.slots(mapping)
    return (
        NestLevel(
            name="memory",
            loops=tuple(memory),
            buffers=tuple((name, slots[name], size) for name, size in sizes.items()),
        ),
        NestLevel(name="array", loops=tuple(array)),
        NestLevel(
            name="space",
            loops=tuple(
                NestLoop(dimension=dimension, count=count, step=1, last=1, spatial=True)
                for dimension, count in space
            ),
        ),
    )
