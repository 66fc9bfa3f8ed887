"""Evolutionary search: the optimiser of 2-in-1 (MICRO 2021) and AutoMapper (DAC 2021).

Both papers sample designs, score them by a predictor, keep the best, perturb one factor at a time
and recombine. Their hyper-parameters were not published: those here are our own.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from celosia.dataflow.explore.knobs import Point, Space
from celosia.dataflow.explore.strategy import Strategy, Trial, crowding, pareto_ranks

_TRIES = 20
"""How often a child that was asked for before is perturbed again until a random one is taken."""


class Evolution(Strategy):
    """Keep the best, recombine two of them, perturb one knob of the child.

    Parameters
    ----------
    space
        What to search.
    seed
        Of the random choices.
    first
        Points to begin with; the rest of the first generation is random.
    population
        How many are kept, and asked for at a time; at least 2.
    immigrants
        Share of each generation that is random, 0 to 1.
    pareto
        Whether the best are those of the first Pareto fronts, the loneliest first (NSGA-II's
        order), instead of those with the best first value.
    """

    def __init__(
        self,
        space: Space,
        seed: int,
        *,
        first: Sequence[Point] = (),
        population: int = 16,
        immigrants: float = 0.125,
        pareto: bool = False,
    ) -> None:
        if population < 2:
            raise ValueError(f"population must be at least 2, not {population!r}")
        if not 0 <= immigrants <= 1:
            raise ValueError(f"immigrants must be in 0..1, not {immigrants!r}")
        self._space = space
        self._rng = np.random.default_rng(seed)
        self._first = [space.repaired(point) for point in first]
        self._size = population
        self._immigrants = immigrants
        self._pareto = pareto
        self._parents: list[Trial] = []
        self._asked: set[Point] = set()

    def ask(self) -> list[Point]:
        generation: list[Point] = []
        while len(generation) < self._size and len(self._asked) < self._space.size:
            point = self._fresh(self._next(len(generation)))
            if point is None:
                break
            self._asked.add(point)
            generation.append(point)
        return generation

    def _next(self, index: int) -> Point:
        if self._first:
            return self._first.pop(0)
        if len(self._parents) < 2 or index >= self._size * (1 - self._immigrants):
            return self._space.sample(self._rng)
        mother, father = self._chosen(), self._chosen()
        mask = self._rng.random(len(mother)) < 0.5
        child = [m if take else f for m, f, take in zip(mother, father, mask, strict=True)]
        return self._perturbed(self._space.repaired(child))

    def _chosen(self) -> Point:
        """Return the better of two parents taken at random: parents are sorted."""
        return self._parents[int(self._rng.integers(len(self._parents), size=2).min())].point

    def _perturbed(self, point: Point) -> Point:
        """Return ``point`` with one knob changed: to a neighbour, or to any other choice."""
        movable = [i for i, knob in enumerate(self._space.knobs) if len(knob.choices) > 1]
        if not movable:
            return point
        index = movable[int(self._rng.integers(len(movable)))]
        knob = self._space.knobs[index]
        count = len(knob.choices)
        if knob.ordered and self._rng.random() < 0.75:
            step = 1 if self._rng.random() < 0.5 else -1
            value = min(max(point[index] + step, 0), count - 1)
        else:
            value = (point[index] + 1 + int(self._rng.integers(count - 1))) % count
        return self._space.repaired((*point[:index], value, *point[index + 1 :]))

    def _fresh(self, point: Point) -> Point | None:
        """Return ``point``, or one near it that was not asked for; ``None`` if none is found."""
        for _ in range(_TRIES):
            if point not in self._asked:
                return point
            point = self._perturbed(point)
        for _ in range(_TRIES):
            point = self._space.sample(self._rng)
            if point not in self._asked:
                return point
        return next((point for point in self._space.points() if point not in self._asked), None)

    def tell(self, trials: Sequence[Trial]) -> None:
        pool = sorted([*self._parents, *trials], key=lambda trial: trial.rank)
        if self._pareto:
            ranks = pareto_ranks(pool)
            lonely = crowding(pool, ranks)
            order = sorted(range(len(pool)), key=lambda i: (ranks[i], -lonely[i], i))
            pool = [pool[i] for i in order]
        self._parents = pool[: self._size]
