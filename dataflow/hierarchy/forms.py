"""The price of a class of mappings as sums of products: one factor for each group of loops.

The tiles of ``K`` and of ``C`` each stand alone; ``P`` and ``R`` meet in the input's rows, ``Q``
and ``S`` in its columns. So every count of :mod:`celosia.dataflow.hierarchy.price` is a *term*: a
product of four factors of which each depends on the tiles of one group alone. Energy, the time of
each limit, and the words that each memory needs are sums of terms with whole, positive weights.
A search needs nothing else.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from celosia.dataflow.hierarchy.architecture import Architecture
from celosia.dataflow.hierarchy.layer import Dim, Layer, Relevance, Tensor, relevance
from celosia.dataflow.hierarchy.mapping import Store
from celosia.dataflow.hierarchy.skeleton import Skeleton, Slot

GROUPS: Final = ((Dim.K,), (Dim.C,), (Dim.P, Dim.R), (Dim.Q, Dim.S))
"""The loops whose tiles are chosen together."""


@dataclass(frozen=True, slots=True)
class Visits:
    """How many tiles the first ``cut`` loops over a dimension make; of ``once`` the first alone."""

    dim: Dim
    cut: int
    once: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Tile:
    """The tile below the first ``cut`` loops over a dimension."""

    dim: Dim
    cut: int


@dataclass(frozen=True, slots=True)
class Copies:
    """How many copies the loops ``slots`` over a dimension use of an axis."""

    dim: Dim
    slots: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Swept:
    """Input rows (or columns) of all tiles that so many loops over outputs and window make."""

    outputs: Dim
    cuts: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Extent:
    """Input rows (or columns) of one tile."""

    outputs: Dim
    cuts: tuple[int, int]


Column: TypeAlias = Visits | Tile | Copies | Swept | Extent
Term: TypeAlias = tuple[tuple[Column, ...], ...]
"""For each group the columns that are multiplied."""


@dataclass(slots=True)
class Form:
    """A sum of terms: ``constant`` and for each term its weight."""

    constant: int = 0
    weights: dict[Term, int] = field(default_factory=dict)

    def add(self, weight: int, term: Term) -> None:
        """Add ``weight`` times ``term``."""
        if weight:
            self.weights[term] = self.weights.get(term, 0) + weight


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """What must not exceed ``most``: words of a level, or places of an axis."""

    what: str
    form: Form
    most: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Forms:
    """The price of all mappings of a skeleton.

    Attributes
    ----------
    energy : Form
        In parts of a pJ, :attr:`Architecture.energy_unit` of them.
    outside : Form
        Words that the outermost level reads and writes.
    times : tuple of Form
        In parts of a cycle, :attr:`Architecture.time_unit` of them: the products, and each limit
        of bandwidth.
    limits : tuple of Limit
    """

    energy: Form
    outside: Form
    times: tuple[Form, ...]
    limits: tuple[Limit, ...]


def forms(architecture: Architecture, layer: Layer, skeleton: Skeleton) -> Forms:
    """Return the price of all mappings of ``skeleton``."""
    return _Builder(architecture, layer, skeleton).build()


class _Builder:
    def __init__(self, architecture: Architecture, layer: Layer, skeleton: Skeleton) -> None:
        self.architecture = architecture
        self.layer = layer
        self.skeleton = skeleton
        self.places = {axis.name: architecture.axis_place(axis) for axis in architecture.axes}
        self.slots = {dim: skeleton.slots(dim) for dim in Dim}
        self.reads = [Form() for _ in architecture.levels]
        self.writes = [Form() for _ in architecture.levels]

    def build(self) -> Forms:
        levels = self.architecture.levels
        for tensor in Tensor:
            path = self.architecture.path(tensor)
            for parent, child in itertools.pairwise(path):
                self._move(tensor, parent, child)
            self._products(tensor, path[-1])
        energy = Form()
        unit = self.architecture.energy_unit
        energy.constant = self.layer.macs * int(self.architecture.mac_energy * unit)
        for level, reads, writes in zip(levels, self.reads, self.writes, strict=True):
            _accumulate(energy, int(level.read_energy * unit), reads)
            _accumulate(energy, int(level.write_energy * unit), writes)
        outside = Form()
        _accumulate(outside, 1, self.reads[0])
        _accumulate(outside, 1, self.writes[0])
        return Forms(
            energy=energy,
            outside=outside,
            times=tuple(self._times()),
            limits=(*self._capacities(), *self._axes()),
        )

    def _times(self) -> Iterator[Form]:
        unit = self.architecture.time_unit
        steps = Form()
        end = len(self.skeleton.places)
        steps.add(unit, self._term(None, end, 0)[1])
        yield steps
        for level, reads, writes in zip(
            self.architecture.levels, self.reads, self.writes, strict=True
        ):
            for rate, counted in (
                (level.read_bandwidth, (reads,)),
                (level.write_bandwidth, (writes,)),
                (level.bandwidth, (reads, writes)),
            ):
                if rate is not None:
                    time = Form()
                    for words in counted:
                        _accumulate(time, unit // rate, words)
                    yield time

    def _capacities(self) -> Iterator[Limit]:
        needed: dict[str, Form] = {}
        for index, store in enumerate(self.skeleton.places):
            if isinstance(store, Store):
                weight, term = self._resident(index, store)
                needed.setdefault(store.level, Form()).add(weight, term)
        for name, form in needed.items():
            most = self.architecture.level(name).words
            if most is not None:
                yield Limit(what=f"level {name!r}", form=form, most=most)

    def _axes(self) -> Iterator[Limit]:
        for axis in self.architecture.axes:
            form = Form()
            used: list[list[Column]] = [[] for _ in GROUPS]
            for number, group in enumerate(GROUPS):
                for dim in group:
                    mine = tuple(i for i, s in enumerate(self.slots[dim]) if s.axis == axis.name)
                    if mine:
                        used[number].append(Copies(dim, mine))
            form.add(1, tuple(tuple(columns) for columns in used))
            yield Limit(what=f"axis {axis.name!r}", form=form, most=axis.size)

    def _move(self, tensor: Tensor, parent: int, child: int) -> None:
        name = self.architecture.levels[child].name
        index = self.skeleton.places.index(Store(tensor=tensor, level=name))
        shared = self._term(tensor, index, parent)
        copied = self._term(tensor, index, child)
        if tensor is not Tensor.OUTPUT:
            self.reads[parent].add(*shared)
            self.writes[child].add(*copied)
            return
        self.writes[parent].add(*shared)
        for back in (self.reads[parent], self.writes[child]):
            back.add(*shared)
            back.constant -= self.layer.words(tensor)
        if self.architecture.accounting.drain_reads:
            self.reads[child].add(*copied)

    def _products(self, tensor: Tensor, place: int) -> None:
        end = len(self.skeleton.places)
        count = self._term(tensor, end, place)
        self.reads[place].add(*count)
        if tensor is Tensor.OUTPUT:
            self.writes[place].add(*count)
            if not self.architecture.accounting.first_reads:
                self.reads[place].constant -= self.layer.words(tensor)

    def _term(self, tensor: Tensor | None, index: int, level: int) -> tuple[int, Term]:
        """Return weight and term of the words of all tiles of ``tensor`` at place ``index``.

        As ``_count`` of :mod:`celosia.dataflow.hierarchy.price`: without a tensor, the steps;
        copies that axes inside of ``level`` want of the same tile count once.
        """
        weight = 1
        columns: list[list[Column]] = [[] for _ in GROUPS]
        for number, group in enumerate(GROUPS):
            kinds = [Relevance.NONE if tensor is None else relevance(tensor, d) for d in group]
            cuts = [self.skeleton.cut(dim, index) for dim in group]
            if Relevance.PARTIAL in kinds:
                columns[number].append(Swept(group[0], (cuts[0], cuts[1])))
                continue
            for dim, kind, cut in zip(group, kinds, cuts, strict=True):
                if kind is Relevance.FULL:
                    weight *= self.layer.size(dim)
                elif cut:
                    once = self._inside(dim, cut, level)
                    columns[number].append(Visits(dim, cut, once))
        return weight, tuple(tuple(group) for group in columns)

    def _inside(self, dim: Dim, cut: int, level: int) -> tuple[int, ...]:
        """Return which of the first ``cut`` loops over ``dim`` axes inside of ``level`` run."""
        return tuple(
            index
            for index, slot in enumerate(self.slots[dim][:cut])
            if slot.axis is not None and self.places[slot.axis] > level
        )

    def _resident(self, index: int, store: Store) -> tuple[int, Term]:
        """Return weight and term of the words that the store at ``index`` holds at a time."""
        slot = self.skeleton.places[index + 1] if index + 1 in self.skeleton.slides else None
        level = self.architecture.place(store.level)
        columns: list[list[Column]] = [[] for _ in GROUPS]
        for number, group in enumerate(GROUPS):
            kinds = [relevance(store.tensor, dim) for dim in group]
            cuts = [
                self.skeleton.cut(dim, index) + (isinstance(slot, Slot) and slot.dim is dim)
                for dim in group
            ]
            if Relevance.PARTIAL in kinds:
                columns[number].append(Extent(group[0], (cuts[0], cuts[1])))
            for dim, kind, cut in zip(group, kinds, cuts, strict=True):
                if kind is Relevance.FULL:
                    columns[number].append(Tile(dim, cut))
                if kind is not Relevance.NONE and (shared := self._inside(dim, cut, level)):
                    columns[number].append(Copies(dim, shared))
        return 1, tuple(tuple(group) for group in columns)


def _accumulate(form: Form, weight: int, other: Form) -> None:
    form.constant += weight * other.constant
    for term, count in other.weights.items():
        form.add(weight * count, term)
