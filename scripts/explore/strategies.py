"""The strategies by name."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from celosia.dataflow.explore.evolution import Evolution
from celosia.dataflow.explore.gumbel import Gumbel
from celosia.dataflow.explore.knobs import Point, Space
from celosia.dataflow.explore.strategy import Exhaustive, Strategy
from celosia.models.errors import CelosiaError

MOST: Final = 1_000_000
"""Points of a space up to which trying them all can be asked for."""

Make = Callable[[Space, int, int, Sequence[Point]], Strategy]
"""Makes a strategy from a space, a seed, the number of values of a score, and first points."""


def _exhaustive(space: Space, _seed: int, _values: int, _first: Sequence[Point]) -> Strategy:
    if space.size > MOST:
        large = [f"{k.name} ({len(k.choices)})" for k in space.knobs if len(k.choices) > 1]
        raise CelosiaError(
            f"the space has {space.size:,} points, more than the {MOST:,} that can all be tried: "
            f"fix some of its knobs with --fix, such as --fix lanes=16: {', '.join(large)}"
        )
    return Exhaustive(space)


def _evolution(space: Space, seed: int, _values: int, first: Sequence[Point]) -> Strategy:
    return Evolution(space, seed, first=first)


def _pareto(space: Space, seed: int, _values: int, first: Sequence[Point]) -> Strategy:
    return Evolution(space, seed, first=first, pareto=True)


def _gumbel(space: Space, seed: int, _values: int, first: Sequence[Point]) -> Strategy:
    return Gumbel(space, seed, first=first)


def _sampler(name: str) -> Make:
    def make(space: Space, seed: int, values: int, first: Sequence[Point]) -> Strategy:
        from celosia.scripts.explore.samplers import Sampler

        return Sampler(space, seed, sampler=name, values=values, first=first)

    return make


STRATEGIES: Final[dict[str, Make]] = {
    "evolution": _evolution,
    "pareto": _pareto,
    "exhaustive": _exhaustive,
    "tpe": _sampler("tpe"),
    "nsga2": _sampler("nsga2"),
    "cma-es": _sampler("cma-es"),
    "gumbel": _gumbel,
}
"""What ``--strategy`` may be."""
