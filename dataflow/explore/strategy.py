"""What every search strategy does: it asks for points, and is told what they cost."""

from __future__ import annotations

import abc
import functools
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from celosia.dataflow.explore.knobs import Point, Space


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What a point costs.

    ``values`` are all to be made small, the first is what the search is for; those of a point
    that cannot be built are infinite. ``violation`` is 0 for points within all limits, else by how
    much they exceed them, as a share of the limits: it leads a search back.
    """

    values: tuple[float, ...]
    violation: float = 0.0

    def __post_init__(self) -> None:
        if not self.values or any(math.isnan(value) for value in self.values):
            raise ValueError(f"values must be numbers, at least one, not {self.values!r}")
        if not self.violation >= 0:
            raise ValueError(f"violation must be 0 or more, not {self.violation!r}")

    @property
    def feasible(self) -> bool:
        """Whether the point is within all limits."""
        return self.violation == 0

    @property
    def rank(self) -> tuple[float, tuple[float, ...]]:
        """What points are ordered by: limits first, then the first value, then the others."""
        return self.violation, self.values


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """A point and what it costs."""

    point: Point
    score: Score

    @property
    def rank(self) -> tuple[tuple[float, tuple[float, ...]], Point]:
        """The fixed order of trials: the better first, equal ones by their points."""
        return self.score.rank, self.point


class Strategy(abc.ABC):
    """Asks for generations of points, and is told the scores of each whole generation in order.

    How many workers evaluate a generation, and in which order they finish, is hidden from it:
    with the same seed it asks for the same points.
    """

    @abc.abstractmethod
    def ask(self) -> list[Point]:
        """Return the next generation, allowed points; none when there is nothing left to try."""

    @abc.abstractmethod
    def tell(self, trials: Sequence[Trial]) -> None:
        """Take the scores of the points last asked for, in that order."""


class Exhaustive(Strategy):
    """Every point of a space, ``generation`` at a time."""

    def __init__(self, space: Space, generation: int = 64) -> None:
        self._points = space.points()
        self._generation = generation

    def ask(self) -> list[Point]:
        return list(itertools.islice(self._points, self._generation))

    def tell(self, trials: Sequence[Trial]) -> None:
        """Learn nothing: what is asked does not depend on scores."""


def dominates(a: Sequence[float], b: Sequence[float]) -> bool:
    """Whether ``a`` is nowhere above ``b`` and somewhere below it."""
    return all(x <= y for x, y in zip(a, b, strict=True)) and tuple(a) != tuple(b)


def front(trials: Sequence[Trial]) -> list[Trial]:
    """Return the feasible trials that no other dominates, in the fixed order.

    Of trials with equal values the one whose point comes first stays.
    """
    chosen: list[Trial] = []
    for trial in sorted((t for t in trials if t.score.feasible), key=lambda t: t.rank):
        # Sorted by values, nothing that follows can dominate what was chosen.
        values = trial.score.values
        if not any(t.score.values == values or dominates(t.score.values, values) for t in chosen):
            chosen.append(trial)
    return chosen


def pareto_ranks(trials: Sequence[Trial]) -> list[int]:
    """Return the front of each trial: 0 for those that none dominates, 1 for the next, ...

    What breaks limits comes after all that does not, ordered by how much (Deb's rules,
    "NSGA-II", 2002, section VI).
    """
    ranks = [-1] * len(trials)
    left = [i for i, trial in enumerate(trials) if trial.score.feasible]
    rank = 0
    while left:
        values = {i: trials[i].score.values for i in left}
        now = [i for i in left if not any(dominates(values[j], values[i]) for j in left)]
        for index in now:
            ranks[index] = rank
        left = [i for i in left if ranks[i] < 0]
        rank += 1
    broken = sorted({t.score.violation for t in trials if not t.score.feasible})
    for index, trial in enumerate(trials):
        if ranks[index] < 0:
            ranks[index] = rank + broken.index(trial.score.violation)
    return ranks


def crowding(trials: Sequence[Trial], ranks: Sequence[int]) -> list[float]:
    """Return how far apart the neighbours of each trial lie within its front, infinite at ends."""
    distance = [0.0] * len(trials)
    for rank in set(ranks):
        members = [i for i, r in enumerate(ranks) if r == rank and trials[i].score.feasible]
        for axis in range(len(trials[members[0]].score.values) if members else 0):
            place = functools.partial(_value, trials, axis)
            order = sorted(members, key=place)
            width = place(order[-1]) - place(order[0])
            if not math.isfinite(width) or width <= 0:
                continue
            distance[order[0]] = distance[order[-1]] = math.inf
            for left, mid, right in zip(order, order[1:], order[2:], strict=False):
                distance[mid] += (place(right) - place(left)) / width
    return distance


def _value(trials: Sequence[Trial], axis: int, index: int) -> float:
    return trials[index].score.values[axis]
