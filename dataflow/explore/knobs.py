"""Spaces that strategies search: a point is the index of a choice for each of some knobs."""

from __future__ import annotations

import abc
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Point = tuple[int, ...]
"""The index of the choice of each knob, in the order of the knobs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Knob:
    """One thing that can be chosen.

    ``choices`` are the values, at least one and none twice; ``ordered`` says that neighbours
    among them are alike, as sizes are.
    """

    name: str
    choices: tuple[Any, ...]
    ordered: bool = True

    def __post_init__(self) -> None:
        if not self.choices:
            raise ValueError(f"choices of {self.name!r} must not be empty")
        if len(set(self.choices)) != len(self.choices):
            raise ValueError(f"choices of {self.name!r} must differ, not {self.choices!r}")


class Space(abc.ABC):
    """Knobs, and which of their choices go with which. Strategies know nothing else of it."""

    @property
    @abc.abstractmethod
    def knobs(self) -> tuple[Knob, ...]:
        """What can be chosen."""

    def allowed(self, before: Sequence[int]) -> Sequence[int]:
        """Return the choices of knob ``len(before)`` that go with those ``before`` it.

        Ascending indices, at least one; all of them unless a space says otherwise.
        """
        return range(len(self.knobs[len(before)].choices))

    @property
    def size(self) -> int:
        """Points, those that :meth:`allowed` rules out included."""
        return math.prod(len(knob.choices) for knob in self.knobs)

    def points(self) -> Iterator[Point]:
        """Yield every allowed point once, in the order of their indices."""
        return self._points(())

    def _points(self, before: Point) -> Iterator[Point]:
        if len(before) == len(self.knobs):
            yield before
            return
        for index in self.allowed(before):
            yield from self._points((*before, index))

    def sample(self, rng: np.random.Generator) -> Point:
        """Return a point at random, each knob uniform among what the ones before it allow."""
        point: Point = ()
        for _ in self.knobs:
            allowed = self.allowed(point)
            point = (*point, allowed[int(rng.integers(len(allowed)))])
        return point

    def repaired(self, point: Sequence[int]) -> Point:
        """Return the allowed point nearest to ``point``, knob by knob; of two the lower index."""
        found: Point = ()
        for wanted in point:
            allowed = self.allowed(found)
            found = (*found, min(allowed, key=lambda index: (abs(index - wanted), index)))
        return found

    def values(self, point: Point) -> dict[str, Any]:
        """Return the chosen value of each knob by its name."""
        return {k.name: k.choices[i] for k, i in zip(self.knobs, point, strict=True)}


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainSpace(Space):
    """A space of independent knobs."""

    all: tuple[Knob, ...]

    @property
    def knobs(self) -> tuple[Knob, ...]:
        """What can be chosen."""
        return self.all
