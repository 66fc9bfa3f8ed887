"""A mapping onto a hierarchy: one loop nest, and where in it each tile is fetched.

A nest is a list of steps from the outermost to the innermost. A :class:`Loop` splits the tile of
its dimension into smaller ones; the last one may be smaller than the others, and is masked. A
:class:`Store` is the place of a tensor's tile in a level's memory: the tile is fetched whenever a
loop above it steps, and what lies below works on it. The outermost level holds everything and
has no stores. What a store holds at a time may be less than its tile: see :func:`resident`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, TypeAlias, TypeVar

from celosia.dataflow.hierarchy.architecture import Architecture, InputTile
from celosia.dataflow.hierarchy.layer import Dim, Layer, Relevance, Tensor, relevance


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """Iterations over tiles of ``tile``, one after the other or, on an ``axis``, at once."""

    dim: Dim
    tile: int
    axis: str | None = None

    def __post_init__(self) -> None:
        if type(self.tile) is not int or self.tile < 1:
            raise ValueError(
                f"a loop over {self.dim.value} needs a positive tile, not {self.tile!r}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """The place of a tensor's tile in the memory of ``level``."""

    tensor: Tensor
    level: str


Step: TypeAlias = Loop | Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapping:
    """A loop nest with stores, from the outermost step to the innermost."""

    steps: tuple[Step, ...]

    def trimmed(self, layer: Layer) -> Mapping:
        """Return the same without loops of one iteration."""
        tiles = {dim: layer.size(dim) for dim in Dim}
        kept: list[Step] = []
        for step in self.steps:
            if isinstance(step, Loop):
                if step.tile == tiles[step.dim]:
                    continue
                tiles[step.dim] = step.tile
            kept.append(step)
        return Mapping(steps=tuple(kept))

    def lifted(self) -> Mapping:
        """Return the same with every store above the loops that do not move its tile.

        That is what "a tile is fetched again only when a loop that moves it steps" means. Loops
        on an axis that lie between go along, but not past a loop over the same dimension.
        """
        return Mapping(steps=tuple(lift_stores(self.steps)))


class Looping(Protocol):
    """A loop, with a tile or without one yet."""

    @property
    def dim(self) -> Dim: ...

    @property
    def axis(self) -> str | None: ...


AnyLoop = TypeVar("AnyLoop", bound=Looping)


def lift_stores(steps: Iterable[AnyLoop | Store]) -> list[AnyLoop | Store]:
    """Return ``steps`` with their stores lifted as :meth:`Mapping.lifted` says."""
    made: list[AnyLoop | Store] = []
    for step in steps:
        made.append(step)
        if isinstance(step, Store):
            _lift(made, step)
    return made


def _lift(steps: list[AnyLoop | Store], store: Store) -> None:
    """Lift ``store``, the last of ``steps``, as far as it goes."""
    moving: list[AnyLoop | Store] = [store]
    place = lifted = len(steps) - 1
    best = list(steps)
    while place:
        place -= 1
        step = steps[place]
        if isinstance(step, Store):
            if step.tensor is store.tensor:
                break
        elif step.axis is not None:
            moving.insert(0, step)
        else:
            along = {s.dim for s in moving if not isinstance(s, Store)}
            if relevance(store.tensor, step.dim) is not Relevance.NONE or step.dim in along:
                break
            lifted = place
            passed = [s for s in steps[lifted:] if not any(s is m for m in moving)]
            best = [*steps[:lifted], *moving, *passed]
    steps[:] = best


def check_mapping(architecture: Architecture, layer: Layer, mapping: Mapping) -> None:
    """Refuse a mapping that the architecture cannot hold.

    Raises
    ------
    ValueError
        Naming the limit that is violated, and by how much.
    """
    _check_stores(architecture, mapping)
    tiles = {dim: layer.size(dim) for dim in Dim}
    copies = {axis.name: 1 for axis in architecture.axes}
    axes = {axis.name: axis for axis in architecture.axes}
    for step in mapping.steps:
        if isinstance(step, Store):
            continue
        before = tiles[step.dim]
        if step.tile > before:
            raise ValueError(
                f"the tile {step.tile} of a loop over {step.dim.value} is larger than the {before} "
                "around it"
            )
        tiles[step.dim] = step.tile
        if step.axis is not None:
            if step.axis not in axes:
                raise ValueError(f"there is no axis {step.axis!r}: axes are {', '.join(axes)}")
            axis = axes[step.axis]
            if step.dim not in axis.spreads:
                allowed = ", ".join(dim.value for dim in axis.spreads)
                raise ValueError(f"axis {axis.name!r} spreads {allowed}, not {step.dim.value}")
            copies[axis.name] *= -(-before // step.tile)
    for dim, tile in tiles.items():
        if tile != 1:
            raise ValueError(f"loops over {dim.value} end with tiles of {tile}, must be 1")
    for name, count in copies.items():
        if count > axes[name].size:
            raise ValueError(
                f"axis {name!r} has {axes[name].size} places, the mapping needs {count}: "
                f"{count - axes[name].size} too many"
            )
    for level, words in occupancy(architecture, layer, mapping).items():
        limit = architecture.level(level).words
        if limit is not None and words > limit:
            raise ValueError(
                f"level {level!r} holds {limit} words, the mapping needs {words}: "
                f"{words - limit} too many"
            )


def _check_stores(architecture: Architecture, mapping: Mapping) -> None:
    """Refuse stores out of order, missing or twice, and axes on the wrong side of them."""
    for tensor in Tensor:
        wanted = [architecture.levels[place].name for place in architecture.path(tensor)[1:]]
        found = [
            step.level
            for step in mapping.steps
            if isinstance(step, Store) and step.tensor is tensor
        ]
        if found != wanted:
            raise ValueError(
                f"{tensor.value} must be stored in {', '.join(wanted) or 'no level'} in this "
                f"order, not in {', '.join(found) or 'none'}"
            )
    spread = [
        (index, axis)
        for index, step in enumerate(mapping.steps)
        for axis in architecture.axes
        if isinstance(step, Loop) and step.axis == axis.name
    ]
    for index, step in enumerate(mapping.steps):
        if not isinstance(step, Store):
            continue
        for place, axis in spread:
            copied = architecture.place(step.level) >= architecture.axis_place(axis)
            if copied and place > index:
                raise ValueError(
                    f"the store of {step.tensor.value} in {step.level!r} is copied by axis "
                    f"{axis.name!r} and must lie below its loops"
                )


def resident(
    architecture: Architecture, layer: Layer, mapping: Mapping, index: int
) -> dict[Dim, int]:
    """Return the tiles, by loop, of what the store at ``index`` holds at a time.

    A store is filled word by word as the loops right below it want them, so it need not hold
    more than these loops reach at a time: those that move its tile to other words, and one that
    shifts it, whose overlap it keeps.
    """
    store = mapping.steps[index]
    assert isinstance(store, Store)
    tiles = {dim: layer.size(dim) for dim in Dim}
    for step in mapping.steps[:index]:
        if isinstance(step, Loop):
            tiles[step.dim] = step.tile
    for step in mapping.steps[index + 1 :]:
        if isinstance(step, Store) or step.axis is not None or step.tile == tiles[step.dim]:
            continue
        kind = effect(architecture, layer, store.tensor, step.dim)
        slides = kind is Relevance.PARTIAL and architecture.accounting.slides
        if kind is Relevance.FULL or slides:
            tiles[step.dim] = step.tile
        if kind is not Relevance.FULL:
            break
    return tiles


def shared_copies(architecture: Architecture, layer: Layer, mapping: Mapping, index: int) -> int:
    """Return how many different tiles the store at ``index`` holds for copies inside of it.

    Only where its place in the nest is below loops of axes that do not copy its level.
    """
    store = mapping.steps[index]
    assert isinstance(store, Store)
    level = architecture.place(store.level)
    inside = {axis.name for axis in architecture.axes if architecture.axis_place(axis) > level}
    tiles = {dim: layer.size(dim) for dim in Dim}
    copies = 1
    for step in mapping.steps[:index]:
        if isinstance(step, Loop):
            if step.axis in inside and relevance(store.tensor, step.dim) is not Relevance.NONE:
                copies *= -(-tiles[step.dim] // step.tile)
            tiles[step.dim] = step.tile
    return copies


def effect(architecture: Architecture, layer: Layer, tensor: Tensor, dim: Dim) -> Relevance:
    """Return what a step of a loop does to a tile of this layer: without overlap nothing shifts."""
    kind = relevance(tensor, dim)
    if kind is not Relevance.PARTIAL:
        return kind
    outputs, window = (layer.p, layer.r) if dim in (Dim.P, Dim.R) else (layer.q, layer.s)
    extent = input_rows if dim in (Dim.P, Dim.R) else input_columns
    apart = extent(architecture, layer, outputs, window) == outputs * window
    return Relevance.FULL if apart else Relevance.PARTIAL


def occupancy(architecture: Architecture, layer: Layer, mapping: Mapping) -> dict[str, int]:
    """Return the words that the mapping needs in each instance of each level with stores."""
    needed: dict[str, int] = {}
    for index, step in enumerate(mapping.steps):
        if isinstance(step, Store):
            tiles = resident(architecture, layer, mapping, index)
            words = tile_words(architecture, layer, step.tensor, tiles)
            words *= shared_copies(architecture, layer, mapping, index)
            needed[step.level] = needed.get(step.level, 0) + words
    return needed


def tile_words(
    architecture: Architecture, layer: Layer, tensor: Tensor, tiles: dict[Dim, int]
) -> int:
    """Return the words of a tile of ``tensor``."""
    if tensor is not Tensor.INPUT:
        words = 1
        for dim in Dim:
            if relevance(tensor, dim) is Relevance.FULL:
                words *= tiles[dim]
        return words
    rows = input_rows(architecture, layer, tiles[Dim.P], tiles[Dim.R])
    return tiles[Dim.C] * rows * input_columns(architecture, layer, tiles[Dim.Q], tiles[Dim.S])


def input_rows(architecture: Architecture, layer: Layer, outputs: int, window: int) -> int:
    """Return the input rows that a tile holds for ``outputs`` rows of ``window`` window rows."""
    if architecture.accounting.input_tile is InputTile.BOX:
        return layer.input_extent(outputs, window)
    return layer.input_touched(outputs, window)


def input_columns(architecture: Architecture, layer: Layer, outputs: int, window: int) -> int:
    """Return the same of columns."""
    if architecture.accounting.input_tile is InputTile.TOUCHED:
        return layer.input_touched(outputs, window)
    return layer.input_extent(outputs, window)
