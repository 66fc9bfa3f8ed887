"""The exact price of a mapping: accesses of each memory by tensor, energy, cycles.

Everything is counted in whole numbers, from sums over the tiles of each loop; the last tiles of
loops that do not divide are counted with the words they have. Rules:

- A tile is fetched whenever a loop above its store steps. A fetch is read in the next level
  outwards that holds the tensor and written into its own, in every copy that wants it; copies that
  want the same words share one read.
- A tile of outputs that leaves is read (``drain_reads``) and written outwards; one that comes back
  is read there and written inwards. Partial sums of several copies are added up on their way.
- Every product reads its operands in the innermost level that holds them, once for all copies of
  the multiplier that share them, and writes its sum, which is read before unless it is the first of
  its output (``first_reads``).
- Cycles: the most of what the products take, one a cycle and multiplier, and what each bandwidth
  takes for its words. There is no prologue: tools that are compared this way have none.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from collections.abc import Mapping as Table
from dataclasses import dataclass
from fractions import Fraction

from celosia.dataflow.hierarchy.architecture import Architecture
from celosia.dataflow.hierarchy.layer import Dim, Layer, Relevance, Tensor, relevance
from celosia.dataflow.hierarchy.mapping import (
    Loop,
    Mapping,
    Store,
    check_mapping,
    input_columns,
    input_rows,
)
from celosia.dataflow.search.objective import Objective


@dataclass(frozen=True, slots=True, kw_only=True)
class Accesses:
    """Words that a level reads and writes of one tensor, in all its instances."""

    level: str
    tensor: Tensor
    reads: int
    writes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a mapping costs.

    Attributes
    ----------
    macs : int
        Products.
    steps : int
        Cycles that the products take.
    accesses : tuple of Accesses
        Of each level and each tensor that it holds.
    energy : Fraction
        pJ.
    times : dict
        Cycles that each limit takes alone, by its name; ``compute`` is one of them.
    """

    macs: int
    steps: int
    accesses: tuple[Accesses, ...]
    energy: Fraction
    times: Table[str, Fraction]

    def __post_init__(self) -> None:
        for entry in self.accesses:
            if entry.reads < 0 or entry.writes < 0:
                raise ValueError(f"accesses cannot be negative: {entry}")
        if self.steps > self.macs:
            raise ValueError(f"{self.macs} products cannot take {self.steps} cycles")

    @property
    def cycles(self) -> Fraction:
        """Cycles: those of the tightest limit. Fractions are words that share a cycle."""
        return max(self.times.values())

    @property
    def edp(self) -> Fraction:
        """Energy times delay, pJ x cycles."""
        return self.energy * self.cycles

    def of(self, level: str, tensor: Tensor) -> Accesses:
        """Return the accesses of ``tensor`` in ``level``."""
        for entry in self.accesses:
            if entry.level == level and entry.tensor is tensor:
                return entry
        raise ValueError(f"level {level!r} does not hold {tensor.value}")

    def words(self, level: str) -> int:
        """Return all accesses of ``level``."""
        return sum(entry.reads + entry.writes for entry in self.accesses if entry.level == level)


def price(architecture: Architecture, layer: Layer, mapping: Mapping) -> Price:
    """Return what ``mapping`` costs.

    Raises
    ------
    ValueError
        If the architecture cannot hold the mapping: which limit, and by how much.
    """
    check_mapping(architecture, layer, mapping)
    return _Counter(architecture, layer, mapping).price()


def objective_value(objective: Objective, architecture: Architecture, found: Price) -> Fraction:
    """Return what ``found`` is worth, exactly; the words of the outermost level count as bytes."""
    if objective.product:
        return found.edp
    outside = found.words(architecture.levels[0].name)
    return (
        Fraction(objective.energy) * found.energy
        + Fraction(objective.cycles) * found.cycles
        + Fraction(objective.dram) * outside
    )


def tile_counts(size: int, tiles: Iterable[tuple[int, bool]]) -> dict[int, int]:
    """Return how many tiles of each size splitting ``size`` again and again makes.

    Parameters
    ----------
    size
        Iterations of the whole loop.
    tiles
        Of each loop its tile, and whether only its first tile counts: that of loops whose
        iterations are made at once, of which the first has the most to do.
    """
    counts = {size: 1}
    for tile, first_only in tiles:
        after: dict[int, int] = {}
        for whole, count in counts.items():
            if first_only:
                after[min(whole, tile)] = after.get(min(whole, tile), 0) + count
                continue
            full, rest = divmod(whole, tile)
            if full:
                after[tile] = after.get(tile, 0) + count * full
            if rest:
                after[rest] = after.get(rest, 0) + count
        counts = after
    return counts


class _Counter:
    """Counts of one mapping."""

    def __init__(self, architecture: Architecture, layer: Layer, mapping: Mapping) -> None:
        self.architecture = architecture
        self.layer = layer
        self.mapping = mapping
        self.places = {axis.name: architecture.axis_place(axis) for axis in architecture.axes}
        self.reads: dict[tuple[int, Tensor], int] = {}
        self.writes: dict[tuple[int, Tensor], int] = {}

    def price(self) -> Price:
        """Count everything."""
        levels = self.architecture.levels
        for tensor in Tensor:
            path = self.architecture.path(tensor)
            for place in path:
                self.reads[place, tensor] = self.writes[place, tensor] = 0
            for parent, child in itertools.pairwise(path):
                self._move(tensor, parent, child)
            self._products(tensor, path[-1])
        accesses = tuple(
            Accesses(
                level=levels[place].name,
                tensor=tensor,
                reads=self.reads[place, tensor],
                writes=self.writes[place, tensor],
            )
            for place, tensor in sorted(self.reads, key=lambda key: key[0])
        )
        steps = self._count(None, len(self.mapping.steps), 0)
        energy = self.layer.macs * Fraction(self.architecture.mac_energy)
        for entry in accesses:
            level = self.architecture.level(entry.level)
            energy += entry.reads * Fraction(level.read_energy)
            energy += entry.writes * Fraction(level.write_energy)
        return Price(
            macs=self.layer.macs,
            steps=steps,
            accesses=accesses,
            energy=energy,
            times={"compute": Fraction(steps), **self._times(accesses)},
        )

    def _times(self, accesses: tuple[Accesses, ...]) -> dict[str, Fraction]:
        times: dict[str, Fraction] = {}
        for level in self.architecture.levels:
            reads = sum(entry.reads for entry in accesses if entry.level == level.name)
            writes = sum(entry.writes for entry in accesses if entry.level == level.name)
            limits = (
                ("reads", level.read_bandwidth, reads),
                ("writes", level.write_bandwidth, writes),
                ("words", level.bandwidth, reads + writes),
            )
            for what, rate, words in limits:
                if rate is not None:
                    times[f"{level.name} {what}"] = Fraction(words, rate)
        return times

    def _move(self, tensor: Tensor, parent: int, child: int) -> None:
        """Count what goes between two levels that hold ``tensor``."""
        (index,) = (
            index
            for index, step in enumerate(self.mapping.steps)
            if isinstance(step, Store)
            and step.tensor is tensor
            and step.level == self.architecture.levels[child].name
        )
        shared = self._count(tensor, index, parent)
        copied = self._count(tensor, index, child)
        if tensor is not Tensor.OUTPUT:
            self.reads[parent, tensor] += shared
            self.writes[child, tensor] += copied
            return
        back = shared - self.layer.words(tensor)
        self.writes[parent, tensor] += shared
        self.reads[parent, tensor] += back
        self.writes[child, tensor] += back
        if self.architecture.accounting.drain_reads:
            self.reads[child, tensor] += copied

    def _products(self, tensor: Tensor, place: int) -> None:
        """Count what the multipliers read and write in the innermost level of ``tensor``."""
        count = self._count(tensor, len(self.mapping.steps), place)
        self.reads[place, tensor] += count
        if tensor is Tensor.OUTPUT:
            self.writes[place, tensor] += count
            if not self.architecture.accounting.first_reads:
                self.reads[place, tensor] -= self.layer.words(tensor)

    def _count(self, tensor: Tensor | None, index: int, level: int) -> int:
        """Return the words of all tiles of ``tensor`` at step ``index``; without one, the steps.

        Copies that axes inside of ``level`` want of the same tile count once.
        """
        tiles = {
            dim: tile_counts(self.layer.size(dim), self._tiles(tensor, dim, index, level))
            for dim in Dim
        }
        words = 1
        for dim in Dim:
            kind = Relevance.NONE if tensor is None else relevance(tensor, dim)
            if kind is Relevance.NONE:
                words *= sum(tiles[dim].values())
            elif kind is Relevance.FULL:
                words *= sum(size * count for size, count in tiles[dim].items())
        if tensor is Tensor.INPUT:
            for output, window, extent in (
                (Dim.P, Dim.R, input_rows),
                (Dim.Q, Dim.S, input_columns),
            ):
                words *= sum(
                    extent(self.architecture, self.layer, p, r) * p_count * r_count
                    for p, p_count in tiles[output].items()
                    for r, r_count in tiles[window].items()
                )
        return words

    def _tiles(
        self, tensor: Tensor | None, dim: Dim, index: int, level: int
    ) -> list[tuple[int, bool]]:
        moves = tensor is not None and relevance(tensor, dim) is not Relevance.NONE
        return [
            (
                step.tile,
                step.axis is not None and not moves and self.places[step.axis] > level,
            )
            for step in self.mapping.steps[:index]
            if isinstance(step, Loop) and step.dim is dim
        ]
