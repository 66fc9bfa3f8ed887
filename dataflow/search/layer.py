"""The mapping of one step: hill climbing over exact prices, with a lower bound beside it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from celosia.dataflow.mapper import candidates, map_step
from celosia.dataflow.mapping import LayerMapping
from celosia.dataflow.plan import StepPlan
from celosia.dataflow.search.moves import moves, simplified
from celosia.dataflow.search.objective import Costs, Objective
from celosia.dataflow.search.pricing import Pricer
from celosia.models.errors import CelosiaError

Filter = Callable[[StepPlan, LayerMapping], bool]
"""Which mappings may be taken."""

ROWS = 24_000
"""Descriptors that a step's search prices by default: tens to hundreds of mappings."""

_STARTS = 3
_KEPT = 4
_REACHED = 3000
"""Mappings that are looked at where a constraint admits none of the mapper's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A mapping of one step run by itself, and its score."""

    score: float
    layer: LayerMapping
    costs: Costs


def _is_legal(plan: StepPlan, layer: LayerMapping) -> bool:
    try:
        plan.check(layer)
    except CelosiaError:
        return False
    return True


class Climber:
    """Searches one step: what was priced is never priced again.

    Parameters
    ----------
    pricer, number
        The step, and what prices it.
    objective
        What is to be small.
    admits
        Which mappings may be taken.
    bound
        A score that no mapping is below: reaching it ends the search.
    deadline
        Of :func:`time.monotonic`, or ``None``.
    rows
        Descriptors after which no more is priced.
    """

    def __init__(
        self, pricer: Pricer, number: int, objective: Objective, admits: Filter, bound: float,
        deadline: float | None, rows: int,
    ) -> None:  # fmt: skip
        self._pricer = pricer
        self._number = number
        self._plan = pricer.plans[number]
        self._objective = objective
        self._admits = admits
        self._bound = bound
        self._deadline = deadline
        self._left = rows
        self._found: dict[LayerMapping, Found | None] = {}

    @property
    def _over(self) -> bool:
        late = self._deadline is not None and time.monotonic() > self._deadline
        return self._left <= 0 or late

    def price(self, layer: LayerMapping) -> Found | None:
        """Return what ``layer`` costs; ``None`` where it is not legal or not admitted."""
        layer = simplified(self._plan, layer)
        if layer not in self._found:
            found = None
            if _is_legal(self._plan, layer) and self._admits(self._plan, layer):
                priced = self._pricer.alone(self._number, layer)
                self._left -= len(priced.table)
                score = self._objective.score(priced.costs)
                found = Found(score=score, layer=layer, costs=priced.costs)
            self._found[layer] = found
        return self._found[layer]

    def search(self, known: LayerMapping | None = None) -> list[Found]:
        """Return the best mappings found, the best first; equal scores in order of discovery.

        With ``known``, of a step that is alike, only that is tried, beside the mapper's choice.
        """
        first = [known] if known is not None else []
        first.append(map_step(self._plan))
        starts = [found for found in map(self.price, first) if found is not None]
        if known is None:
            for layer in candidates(self._plan):
                if self._over:
                    break
                found = self.price(layer)
                if found is not None:
                    starts.append(found)
            starts = starts or self._admitted()
            starts.sort(key=lambda found: found.score)
            for found in starts[:_STARTS]:
                self._climb(found)
        ranked = [found for found in self._found.values() if found is not None]
        return sorted(ranked, key=lambda found: found.score)[:_KEPT]

    def _admitted(self) -> list[Found]:
        """Return the first admitted mappings within some moves of the mapper's choice."""
        first = simplified(self._plan, map_step(self._plan))
        queue, seen = deque([first]), {first}
        starts: list[Found] = []
        while queue and len(starts) < _STARTS and len(seen) < _REACHED and not self._over:
            for layer in moves(self._plan, queue.popleft(), array=True):
                if layer in seen:
                    continue
                seen.add(layer)
                if _is_legal(self._plan, layer):
                    queue.append(layer)
                    found = self.price(layer)
                    starts += [] if found is None else [found]
        return starts

    def _climb(self, found: Found) -> None:
        """Take the first move that is better, until there is none."""
        array = self._objective.product or self._objective.energy > 0
        moved = True
        while moved:
            moved = False
            for layer in moves(self._plan, found.layer, array=array):
                if self._over or found.score <= self._bound:
                    return
                other = self.price(layer)
                if other is not None and other.score < found.score:
                    found, moved = other, True
                    break
