"""The mappings next to a mapping: one tile size, one place of a loop, one order away."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from celosia.dataflow.mapping import (
    ARRAY_DIMENSIONS,
    INPUT_STATIONARY_ARRAY,
    OUTPUT_STATIONARY_ARRAY,
    WEIGHT_STATIONARY_ARRAY,
    Dimension,
    LayerMapping,
    TileLoop,
)
from celosia.dataflow.plan import StepPlan

_ORDERS = (OUTPUT_STATIONARY_ARRAY, WEIGHT_STATIONARY_ARRAY, INPUT_STATIONARY_ARRAY)


def simplified(plan: StepPlan, mapping: LayerMapping) -> LayerMapping:
    """Return ``mapping`` without loops that change nothing: the one of its kind.

    Those are loops of one iteration, and the outermost one if it is over samples.
    """
    loops: list[TileLoop] = []
    left = plan.whole
    for loop in mapping.loops:
        implied = loop.dimension is Dimension.N and not loops
        if loop.step < left[loop.dimension] and not implied:
            loops.append(loop)
            left[loop.dimension] = loop.step
    return replace(mapping, loops=tuple(loops))


def moves(plan: StepPlan, mapping: LayerMapping, *, array: bool) -> Iterator[LayerMapping]:
    """Yield the mappings next to ``mapping``, legal or not, in a fixed order.

    Every tile size smaller and larger by halves and by one, with its loop where it was or, where
    there was none, anywhere; samples inside any loops; neighbouring loops swapped; loops moved to
    both ends; with ``array`` also other orders on the array.
    """
    loops, whole, tile = mapping.loops, plan.whole, plan.tile(mapping)
    for dimension in ARRAY_DIMENSIONS:
        for step in _sizes(tile[dimension], whole[dimension]):
            yield from _resized(mapping, TileLoop(dimension=dimension, step=step), whole[dimension])
    if plan.samples > 1 and all(loop.dimension is not Dimension.N for loop in loops):
        samples = TileLoop(dimension=Dimension.N, step=1)
        for place in range(1, len(loops) + 1):
            yield replace(mapping, loops=(*loops[:place], samples, *loops[place:]))
    for place in range(len(loops) - 1):
        swapped = (*loops[:place], loops[place + 1], loops[place], *loops[place + 2 :])
        if loops[place].dimension is not loops[place + 1].dimension:
            yield replace(mapping, loops=swapped)
    for place in range(len(loops)):
        rest = (*loops[:place], *loops[place + 1 :])
        if all(loop.dimension is not loops[place].dimension for loop in rest):
            if place > 0:
                yield replace(mapping, loops=(loops[place], *rest))
            if place + 1 < len(loops):
                yield replace(mapping, loops=(*rest, loops[place]))
    if array:
        for order in _ORDERS:
            if order != mapping.array:
                yield replace(mapping, array=order)


def _sizes(size: int, whole: int) -> list[int]:
    """Return sizes near ``size``, and those that cut ``whole`` into one piece more or less."""
    pieces = -(-whole // size)
    near = [-(-size // 2), 2 * size, size - 1, size + 1, -(-whole // (pieces + 1))]
    if pieces > 1:
        near.append(-(-whole // (pieces - 1)))
    near.append(whole)
    return list(dict.fromkeys(n for n in near if 1 <= n <= whole and n != size))


def _resized(mapping: LayerMapping, loop: TileLoop, whole: int) -> Iterator[LayerMapping]:
    """Yield ``mapping`` with the innermost loop over a dimension changed to ``loop``."""
    places = [n for n, other in enumerate(mapping.loops) if other.dimension is loop.dimension]
    if not places:
        for place in range(len(mapping.loops) + 1):
            yield replace(mapping, loops=(*mapping.loops[:place], loop, *mapping.loops[place:]))
        return
    outer = [mapping.loops[n].step for n in places[:-1]]
    if outer and outer[-1] <= loop.step:
        return
    place = places[-1]
    inside = () if loop.step == whole else (loop,)
    yield replace(mapping, loops=(*mapping.loops[:place], *inside, *mapping.loops[place + 1 :]))
