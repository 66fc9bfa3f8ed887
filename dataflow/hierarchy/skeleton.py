"""Equivalence classes of loop nests: what is left of a mapping when its tiles are taken away.

Between two stores the order of loops matters little, and most loops need not be there at all:

- A loop right below a store that moves the store's tile to other words may as well lie right above
  it: as many words are fetched, fewer held at a time.
- A loop right above a store that does not move its tile may as well lie right below it: fewer words
  are fetched. It stays where it shifts the tile of the store above, which then can slide.
- Of loops that shift a tile of inputs only the first one below the store slides.
- Where rows and columns are alike, a nest with one in the other's place costs the same.

So a class is an order of the stores, in which each tensor's follow its levels, and for each store
of inputs the loop along which it slides. The rules are those of AccelForge's mapper, which also
wants the stores of all tensors in the order of the levels; without that, an accumulator may keep
its sums while tiles of inputs come and go. They lose nothing where factors are perfect.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from celosia.dataflow.hierarchy.architecture import Architecture, InputTile
from celosia.dataflow.hierarchy.layer import Dim, Layer, Relevance, Tensor, relevance
from celosia.dataflow.hierarchy.mapping import Store, effect


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A loop whose tile is still open, one after the other or on an axis."""

    dim: Dim
    axis: str | None = None


Place: TypeAlias = Slot | Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Skeleton:
    """A class of mappings: its steps, and for each store of inputs the loop that it slides along.

    ``slides`` has the positions of the slots right below stores of inputs; a store of inputs
    without one holds its tile whole.
    """

    places: tuple[Place, ...]
    slides: tuple[int, ...]

    def slots(self, dim: Dim) -> tuple[Slot, ...]:
        """Return the loops over ``dim``, from the outermost."""
        return tuple(p for p in self.places if isinstance(p, Slot) and p.dim is dim)

    def cut(self, dim: Dim, index: int) -> int:
        """Return how many loops over ``dim`` lie above the place ``index``."""
        return sum(isinstance(p, Slot) and p.dim is dim for p in self.places[:index])


def skeletons(architecture: Architecture, layer: Layer) -> list[Skeleton]:
    """Return all classes of mappings of ``layer``, in a fixed order, none twice."""
    orders = _orders(architecture)
    every = (found for order in orders for found in _with_loops(architecture, layer, order))
    return distinct(architecture, layer, every)


def distinct(architecture: Architecture, layer: Layer, every: Iterable[Skeleton]) -> list[Skeleton]:
    """Return those of ``every`` that can have all loops of ``layer``, of equal ones the first."""
    found: dict[tuple[object, ...], Skeleton] = {}
    square = _is_square(architecture, layer)
    for skeleton in every:
        if all(skeleton.slots(dim) for dim in Dim if layer.size(dim) > 1):
            if not (square and _gaps(skeleton, turned=True) in found):
                found.setdefault(_gaps(skeleton, turned=False), skeleton)
    return list(found.values())


_TURNED = {Dim.P: Dim.Q, Dim.Q: Dim.P, Dim.R: Dim.S, Dim.S: Dim.R}


def _is_square(architecture: Architecture, layer: Layer) -> bool:
    """Whether rows and columns may change places, and every price stays what it is."""
    alike = architecture.accounting.input_tile is not InputTile.ROWS
    return alike and (layer.p, layer.r) == (layer.q, layer.s)


def _gaps(skeleton: Skeleton, turned: bool) -> tuple[object, ...]:
    """Return what prices depend on: between stores, the loop that slides and the set of all.

    With ``turned``, rows and columns are in each other's place.
    """
    found: list[object] = [set()]
    for index, place in enumerate(skeleton.places):
        if isinstance(place, Store):
            found += [place, set()]
        else:
            dim = _TURNED.get(place.dim, place.dim) if turned else place.dim
            gap = found[-1]
            assert isinstance(gap, set)
            gap.add((dim, place.axis, index in skeleton.slides))
    return tuple(frozenset(part) if isinstance(part, set) else part for part in found)


def _orders(architecture: Architecture) -> list[tuple[Store, ...]]:
    """Return the orders of the stores in which each tensor's follow its levels."""
    paths = [
        tuple(
            Store(tensor=tensor, level=architecture.levels[place].name)
            for place in architecture.path(tensor)[1:]
        )
        for tensor in Tensor
    ]
    return list(_interleaved(paths))


def _interleaved(paths: list[tuple[Store, ...]]) -> Iterator[tuple[Store, ...]]:
    if not any(paths):
        yield ()
    for index, path in enumerate(paths):
        if path:
            for rest in _interleaved([*paths[:index], path[1:], *paths[index + 1 :]]):
                yield (path[0], *rest)


def _with_loops(
    architecture: Architecture, layer: Layer, stores: Sequence[Store]
) -> Iterator[Skeleton]:
    gaps: list[list[tuple[list[Place], bool]]] = []
    dims = [dim for dim in Dim if layer.size(dim) > 1]
    around: list[Store | None] = [None, *stores, None]
    axes = list(architecture.axes)
    for above, below in itertools.pairwise(around):
        inner = len(architecture.levels) if below is None else architecture.place(below.level)
        # Right above the first store that the axis copies.
        here = [axis for axis in axes if below is None or architecture.axis_place(axis) <= inner]
        axes = [axis for axis in axes if axis not in here]
        spread: list[Place] = [
            Slot(dim=dim, axis=axis.name) for axis in here for dim in dims if dim in axis.spreads
        ]
        loops = [dim for dim in dims if _belongs(architecture, layer, dim, (above, below))]
        first: list[Place] = [] if above is None else [above]
        gaps.append(
            [
                (first + [Slot(dim=dim) for dim in order] + spread, slides)
                for order, slides in _block_orders(architecture, layer, (above, below), loops)
            ]
        )
    for choice in itertools.product(*gaps):
        places: list[Place] = []
        slides = []
        for gap, slide in choice:
            slides += [len(places) + 1] if slide else []
            places += gap
        yield Skeleton(places=tuple(places), slides=tuple(slides))


def _belongs(
    architecture: Architecture,
    layer: Layer,
    dim: Dim,
    stores: tuple[Store | None, Store | None],
) -> bool:
    """Whether a loop over ``dim`` between two stores can be worth while."""
    above, below = stores
    outer = Relevance.NONE
    if above is not None:
        outer = effect(architecture, layer, above.tensor, dim)
    if outer is Relevance.FULL:
        return False
    return outer is Relevance.PARTIAL or not _passes(dim, below)


def _passes(dim: Dim, below: Store | None) -> bool:
    """Whether a loop over ``dim`` right above a store may as well lie right below it."""
    return below is not None and relevance(below.tensor, dim) is Relevance.NONE


def _block_orders(
    architecture: Architecture,
    layer: Layer,
    stores: tuple[Store | None, Store | None],
    loops: list[Dim],
) -> Iterable[tuple[list[Dim], bool]]:
    """Return the orders of a gap's loops, and whether the first one slides the store above.

    A loop that may lie below the next store as well is kept only where it slides.
    """
    above, below = stores
    shifts = [
        dim
        for dim in loops
        if above is not None
        and architecture.accounting.slides
        and effect(architecture, layer, above.tensor, dim) is Relevance.PARTIAL
    ]
    kept = [dim for dim in loops if not _passes(dim, below)]
    if not shifts:
        return [(kept, False)]
    return [([first, *(dim for dim in kept if dim is not first)], True) for first in shifts]
