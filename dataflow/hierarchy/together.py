"""Mappings that hold all tensors of a level at one place of the nest, as Timeloop does.

Such a nest has a *block* of loops for each level: those over its tiles, one after the other, then
those of the axes below it; the tiles of all tensors that the next level holds are fetched there. A
tile that no loop moves is not fetched again, so each of these nests costs what it costs with its
stores lifted (:meth:`Mapping.lifted`), and :func:`together_classes` are the lifted classes.

Of the order of a block's loops it matters only which lie last: a store is lifted past the loops
that do not move its tensor, and each loop moves all tensors but one. So a block is one of six:
all loops, with those that leave one tensor alone last, or only those that leave one tensor alone,
which its stores then pass altogether. Classes whose loops are all in another one are left out.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from celosia.dataflow.hierarchy.architecture import Architecture
from celosia.dataflow.hierarchy.layer import Dim, Layer, Relevance, Tensor, relevance
from celosia.dataflow.hierarchy.mapping import (
    Loop,
    Mapping,
    Store,
    lift_stores,
    tile_words,
)
from celosia.dataflow.hierarchy.skeleton import Place, Skeleton, Slot, distinct
from celosia.models.errors import CelosiaError


def together_classes(architecture: Architecture, layer: Layer) -> list[Skeleton]:
    """Return the classes of mappings of ``layer`` with stores at one place a level, lifted.

    What a store holds is its whole tile. In a fixed order, none twice.
    """
    dims = [dim for dim in Dim if layer.size(dim) > 1]
    # A loop of an axis goes along with a store, which then cannot pass another over its dimension.
    spread = itertools.product(
        *(_subsets([dim for dim in axis.spreads if dim in dims]) for axis in architecture.axes)
    )
    blocks = [[*_orders(dims)] for _ in architecture.levels[1:]]
    found = [
        Skeleton(places=_once(lift_stores(_nest(architecture, [*orders, dims], axes))), slides=())
        for axes in spread
        for orders in itertools.product(*blocks)
    ]
    return distinct(architecture, layer, _largest(found))


def _nest(
    architecture: Architecture, orders: Sequence[Sequence[Dim]], axes: Sequence[Sequence[Dim]]
) -> list[Place]:
    """Return the nest with these loops in the blocks, and these on the axes."""
    places: list[Place] = []
    for number, order in enumerate(orders):
        places += [Slot(dim=dim) for dim in order]
        places += [
            Slot(dim=dim, axis=axis.name)
            for axis, dims in zip(architecture.axes, axes, strict=True)
            if architecture.axis_place(axis) == number + 1
            for dim in dims
        ]
        if number + 1 < len(orders):
            level = architecture.levels[number + 1]
            places += [Store(tensor=tensor, level=level.name) for tensor in level.holds]
    return places


def _subsets(dims: Sequence[Dim]) -> list[list[Dim]]:
    choices = itertools.product((True, False), repeat=len(dims))
    return [list(itertools.compress(dims, choice)) for choice in choices]


def _largest(every: Sequence[Skeleton]) -> list[Skeleton]:
    """Return ``every`` without those of which another has the same stores and no loop less."""
    found: dict[tuple[Place, ...], dict[tuple[frozenset[Place], ...], Skeleton]] = {}
    for skeleton in every:
        stores = [place for place in skeleton.places if isinstance(place, Store)]
        gaps: list[set[Place]] = [set()]
        for place in skeleton.places:
            if isinstance(place, Store):
                gaps.append(set())
            else:
                gaps[-1].add(place)
        found.setdefault(tuple(stores), {}).setdefault(tuple(map(frozenset, gaps)), skeleton)
    return [
        skeleton
        for alike in found.values()
        for gaps, skeleton in alike.items()
        if not any(
            other is not gaps and all(a <= b for a, b in zip(gaps, other, strict=True))
            for other in alike
        )
    ]


def _once(places: list[Place]) -> tuple[Place, ...]:
    """Return ``places`` with one loop over a dimension between two stores: two cost the same."""
    kept: list[Place] = []
    seen: set[Place] = set()
    for place in places:
        if isinstance(place, Store):
            seen = set()
        elif place in seen:
            continue
        else:
            seen.add(place)
        kept.append(place)
    return tuple(kept)


def _orders(dims: Sequence[Dim]) -> Iterator[list[Dim]]:
    """Yield the loops of a block that matter, of those over ``dims``."""
    for tensor in Tensor:
        still = [dim for dim in dims if relevance(tensor, dim) is Relevance.NONE]
        yield [dim for dim in dims if dim not in still] + still
        yield still


def together(architecture: Architecture, layer: Layer, mapping: Mapping, tool: str) -> Mapping:
    """Return ``mapping`` with all stores of a level at one place, at the price of its lifted form.

    Parameters
    ----------
    architecture, layer, mapping
        Tiles of the mapping divide those around them; loops of one iteration are left out.
    tool
        Who wants it so, for refusals.

    Raises
    ------
    CelosiaError
        If a store cannot be put where the others of its level are, as a loop between moves its
        tile; or if the whole tiles, of which ``tool`` keeps no part, do not fit a level.
    """
    cuts = _cuts(architecture, mapping, tool)
    temporal = [s for s in mapping.steps if isinstance(s, Loop) and s.axis is None]
    steps: list[Loop | Store] = []
    for number, (low, high) in enumerate(itertools.pairwise([0, *cuts, len(temporal)])):
        steps += temporal[low:high]
        inside = [a.name for a in architecture.axes if architecture.axis_place(a) == number + 1]
        steps += [s for s in mapping.steps if isinstance(s, Loop) and s.axis in inside]
        if number < len(cuts):
            level = architecture.levels[number + 1]
            steps += [Store(tensor=tensor, level=level.name) for tensor in level.holds]
    made = _tiled(layer, mapping, steps)
    _check_room(architecture, layer, made, tool)
    return made


def _cuts(architecture: Architecture, mapping: Mapping, tool: str) -> list[int]:
    """Return before which loop, of those one after the other, each inner level's tiles lie."""
    loops: list[Loop] = []
    stores: list[tuple[int, Store]] = []
    for step in mapping.steps:
        if isinstance(step, Store):
            stores.append((len(loops), step))
        elif step.axis is None:
            loops.append(step)
    cuts = [0]
    for level in architecture.levels[1:]:
        own = [(place, store) for place, store in stores if store.level == level.name]
        cuts.append(max([cuts[-1], *(place for place, _ in own)]))
        for place, store in own:
            for loop in loops[place : cuts[-1]]:
                if relevance(store.tensor, loop.dim) is not Relevance.NONE:
                    raise CelosiaError(
                        f"{tool} holds all tensors of a level at one place, outer levels before "
                        f"inner ones; here a loop over {loop.dim.value}, which moves tiles of "
                        f"{store.tensor.value}, lies between its store in {level.name!r} and that "
                        "place. Without --mapping, the best one that can be written is searched"
                    )
    return cuts[1:]


def _tiled(layer: Layer, mapping: Mapping, steps: Sequence[Loop | Store]) -> Mapping:
    """Return ``steps`` with the iterations that each loop has in ``mapping``."""
    left = {dim: layer.size(dim) for dim in Dim}
    counts: dict[Loop, int] = {}
    for step in mapping.steps:
        if isinstance(step, Loop):
            counts[step] = left[step.dim] // step.tile
            left[step.dim] = step.tile
    left = {dim: layer.size(dim) for dim in Dim}
    made: list[Loop | Store] = []
    for step in steps:
        if isinstance(step, Loop):
            left[step.dim] //= counts[step]
            made.append(Loop(dim=step.dim, tile=left[step.dim], axis=step.axis))
        else:
            made.append(step)
    return Mapping(steps=tuple(made))


def _check_room(architecture: Architecture, layer: Layer, mapping: Mapping, tool: str) -> None:
    """Refuse whole tiles that do not fit their level."""
    tiles = {dim: layer.size(dim) for dim in Dim}
    needed: dict[str, int] = {}
    for step in mapping.steps:
        if isinstance(step, Loop):
            tiles[step.dim] = step.tile
        else:
            words = tile_words(architecture, layer, step.tensor, tiles)
            needed[step.level] = needed.get(step.level, 0) + words
    for name, words in needed.items():
        most = architecture.level(name).words
        if most is not None and words > most:
            raise CelosiaError(
                f"{tool} keeps whole tiles: level {name!r} holds {most:,} words, the tiles of this "
                f"mapping have {words:,}: {words - most:,} too many. Without --mapping, the best "
                "one that can be written is searched"
            )
