"""The mapping of one step: hill climbing over exact prices, with a lower bound beside it."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from celosia.dataflow.dataflows import Dataflow
from celosia.dataflow.mapper import candidates, map_step, smallest_of
from celosia.dataflow.mapping import LayerMapping
from celosia.dataflow.plan import StepPlan
from celosia.dataflow.search.moves import moves, simplified
from celosia.dataflow.search.objective import Costs, Objective
from celosia.dataflow.search.pricing import Pricer

ROWS = 24_000
"""Descriptors that a step's search prices by default: tens to hundreds of mappings."""

_STARTS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A mapping of one step run by itself, and its score."""

    score: float
    layer: LayerMapping
    costs: Costs


def first_choice(plan: StepPlan, dataflow: Dataflow | None) -> LayerMapping:
    """Return the mapping of ``plan`` that is there before any search.

    Raises :class:`CelosiaError` if nothing fits: as :func:`celosia.dataflow.mapper.map_step` or,
    for a dataflow, :func:`celosia.dataflow.mapper.smallest_of`.
    """
    return map_step(plan) if dataflow is None else smallest_of(plan, dataflow)


class Climber:
    """Searches one step: what was priced is never priced again.

    Parameters
    ----------
    pricer, number
        The step, and what prices it.
    objective
        What is to be small.
    dataflow
        What mappings must be, or ``None``: anything.
    bound
        A score that no mapping is below: reaching it ends the search.
    deadline
        Of :func:`time.monotonic`, or ``None``.
    rows
        Descriptors after which no more is priced.
    resident
        Whether the step's input stays on chip.
    """

    def __init__(
        self, pricer: Pricer, number: int, objective: Objective, dataflow: Dataflow | None,
        bound: float,
        deadline: float | None, rows: int, resident: bool = False,
    ) -> None:  # fmt: skip
        self._pricer = pricer
        self._number = number
        self._plan = pricer.plans[number]
        self._objective = objective
        self._dataflow = dataflow
        self._bound = bound
        self._deadline = deadline
        self._left = rows
        self._resident = resident
        self._found: dict[LayerMapping, Found | None] = {}

    @property
    def _over(self) -> bool:
        late = self._deadline is not None and time.monotonic() > self._deadline
        return self._left <= 0 or late

    def _is_legal(self, layer: LayerMapping) -> bool:
        if not self._plan.is_legal(layer):
            return False
        if self._dataflow is not None and not self._dataflow.admits(self._plan, layer):
            return False
        return not self._resident or self._pricer.fits_chip(self._number, layer)

    def price(self, layer: LayerMapping) -> Found | None:
        """Return what ``layer`` costs; ``None`` where it is not legal or of another dataflow."""
        layer = replace(simplified(self._plan, layer), resident=self._resident)
        if layer not in self._found:
            found = None
            if self._is_legal(layer):
                priced = self._pricer.alone(self._number, layer)
                self._left -= len(priced.table)
                score = self._objective.score(priced.costs)
                found = Found(score=score, layer=layer, costs=priced.costs)
            self._found[layer] = found
        return self._found[layer]

    def search(
        self, known: Sequence[LayerMapping] = (), seeds: Sequence[LayerMapping] = ()
    ) -> list[Found]:
        """Return the mappings found, the best first; equal scores in order of discovery.

        With ``known``, of a step that is alike, only those are tried, beside the first choice.
        ``seeds`` are where the search begins, beside those that the mapper weighs. Raises as
        :func:`first_choice`.
        """
        plan, dataflow = self._plan, self._dataflow
        first = (*known, *seeds, first_choice(plan, dataflow))
        starts = [found for found in map(self.price, first) if found is not None]
        if not known:
            for layer in candidates(plan, dataflow):
                if self._over:
                    break
                found = self.price(layer)
                if found is not None:
                    starts.append(found)
            starts.sort(key=lambda found: found.score)
            for found in starts[:_STARTS]:
                self._climb(found)
        ranked = [found for found in self._found.values() if found is not None]
        return sorted(ranked, key=lambda found: found.score)

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
