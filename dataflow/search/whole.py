"""All steps together: what of them stays on chip, and which of their mappings suit each other.

Prices of a few neighbouring steps, exact for what they are, say what is worth trying; what
is taken is better for the whole program, by its exact price.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from celosia.dataflow.mapping import Buffering, Dimension, LayerMapping, tiled
from celosia.dataflow.plan import StepPlan
from celosia.dataflow.search.moves import moves, simplified
from celosia.dataflow.search.objective import Objective
from celosia.dataflow.search.pricing import Priced, Pricer
from celosia.models.errors import CelosiaError

_DOWN, _ACROSS = (1, 2, 3, 4), (1, 2, 3, 4, 6, 8)
"""Tiles that :func:`cuts` cuts rows and columns into."""

_LONGEST = 4
"""Inputs in a row that are tried on chip at once."""

_ROUNDS = 8
"""How often all steps are cut anew in the end, while that is of use."""

_TRIED = 8
"""Cuts of a step that the whole is priced with."""

_MENDED = 16
"""Times the effort for a step that goes, for each of them, to those of a long program that wait."""

_LEAST_SLACK = 0.002
"""Share of all cycles that a step waits for at least if it is one of those."""

_HALVES = ("activations", "weights", "outputs")
"""Buffers of which a step may leave one half to the next, which then loads or posts earlier."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """Mappings of one step: the best by themselves, the best first, and some for company.

    With ``resident`` ones the step's input stays on chip; ``small`` is one that leaves a bank of
    the activations free, if any that was found does. ``cuts`` may suit the steps on either side
    better than what is best alone. ``least`` are the cycles of any mapping by itself.
    """

    plain: tuple[LayerMapping, ...] = ()
    resident: tuple[LayerMapping, ...] = ()
    small: LayerMapping | None = None
    cuts: tuple[LayerMapping, ...] = ()
    least: int = 0


class Whole:
    """Searches the mapping of all steps from mappings of each.

    Parameters
    ----------
    pricer, objective
        What prices, and what is to be small.
    choices
        Of each step.
    deadline
        Of :func:`time.monotonic`, or ``None``.
    effort
        Descriptors that are priced for each step before no more of its cuts are tried; those of
        programs that are priced whole too seldom with so many are not.
    """

    def __init__(
        self,
        pricer: Pricer,
        objective: Objective,
        choices: Sequence[Choices],
        deadline: float | None,
        effort: int,
    ) -> None:
        self._pricer = pricer
        self._effort = effort
        self._rows = 0
        self._objective = objective
        self._choices = choices
        self._deadline = deadline
        self._count = len(pricer.plans)
        makers = {plan.step.output: number for number, plan in enumerate(pricer.plans)}
        self._makers = [makers.get(plan.step.input, -1) for plan in pricer.plans]
        self.layers = [choice.plain[0] for choice in choices]
        self.priced = self._price_all(self.layers)

    @property
    def _late(self) -> bool:
        return self._deadline is not None and time.monotonic() > self._deadline

    def search(self) -> None:
        """Make ``layers``, and ``priced`` with them, as good as it finds."""
        self._suit()
        if any(choice.resident for choice in self._choices):
            self._keep()
            self._suit()
        if _TRIED * len(self.priced.table) > self._effort:
            self._mend()  # the whole is too long to be priced for each step
            return
        for _ in range(_ROUNDS):
            if not self._recut():
                break

    def offer(self, layers: Sequence[LayerMapping]) -> bool:
        """Take ``layers`` if the whole program is better with them; return whether it is."""
        try:
            priced = self._price_all(layers)
        except CelosiaError:
            return False
        score = self._objective.score
        if score(priced.costs) >= score(self.priced.costs):
            return False
        self.layers, self.priced = list(layers), priced
        return True

    def _price_all(self, layers: Sequence[LayerMapping]) -> Priced:
        priced = self._pricer.price(range(self._count), layers)
        self._rows += len(priced.table)
        return priced

    def _near(self, layers: Sequence[LayerMapping], steps: range, weights: Objective) -> float:
        """Return the score of ``steps`` and one on each side; infinite if they are not legal."""
        near = range(max(0, steps.start - 1), min(self._count, steps.stop + 1))
        try:
            priced = self._pricer.price(near, layers)
        except CelosiaError:
            return float("inf")
        self._rows += len(priced.table)
        return weights.score(priced.costs)

    # Mappings that suit each other

    def _suit(self) -> None:
        """Change steps one by one to what is better for them and their neighbours."""
        weights = self._objective.near(self.priced.costs)
        layers = self.layers
        for number, choice in enumerate(self._choices):
            if self._late:
                break
            steps = range(number, number + 1)
            best = self._near(layers, steps, weights)
            others = choice.resident if layers[number].resident else choice.plain
            for layer in (*others, *halved(self._pricer.plans[number], layers[number])):
                if layer == layers[number]:
                    continue
                tried = [*layers[:number], layer, *layers[number + 1 :]]
                score = self._near(tried, steps, weights)
                if score < best:
                    best, layers = score, tried
        self.offer(layers)

    def _recut(self) -> bool:
        """Change steps one by one to those of their cuts with which the whole is better.

        Prices of neighbours choose which are tried. Returns whether any was taken.
        """
        weights = self._objective.near(self.priced.costs)
        better = False
        for number, choice in enumerate(self._choices):
            most, scored = self._rows + self._effort, []
            others = self._others(number, choice)
            for place, layer in enumerate(others):
                if self._rows >= most or self._late:
                    break
                tried = [*self.layers[:number], layer, *self.layers[number + 1 :]]
                scored.append((self._near(tried, range(number, number + 1), weights), place))
            for _, place in sorted(scored)[:_TRIED]:
                if self._late:
                    break
                layer = others[place]
                better |= self.offer([*self.layers[:number], layer, *self.layers[number + 1 :]])
        return better

    def _others(self, number: int, choice: Choices) -> list[LayerMapping]:
        """Return what a step is changed to: those next to its mapping, and its cuts."""
        layer = self.layers[number]
        near = *halved(self._pricer.plans[number], layer), *self._beside(number, choice)
        cut = () if layer.resident else choice.cuts
        return [other for other in dict.fromkeys((*near, *cut)) if other != layer]

    def _beside(self, number: int, choice: Choices) -> list[LayerMapping]:
        """Return the mappings next to that of a step; none where a dataflow says what must be."""
        plan, layer = self._pricer.plans[number], self.layers[number]
        if not choice.cuts:
            return []
        near = (simplified(plan, other) for other in moves(plan, layer, array=False))
        return [other for other in near if plan.is_legal(other)]

    def _mend(self) -> None:
        """Change steps that take longer than they must, and those beside them, the worst first.

        A step may wait for what its neighbours' tiles ask of it, so these are changed too.
        """
        if not self._objective.near(self.priced.costs).cycles:
            return
        most = self._rows + _MENDED * self._effort * self._count
        fresh = set(range(self._count))
        while fresh and self._rows < most and not self._late:
            slack = self._slack()
            urgent = {n: (max(slack[max(0, n - 1) : n + 2]), slack[n]) for n in sorted(fresh)}
            number = max(urgent, key=lambda n: urgent[n])
            if urgent[number][0] < _LEAST_SLACK * self.priced.costs.cycles:
                break
            fresh.remove(number)
            if self._mend_step(number):
                fresh |= {n for n in range(number - 1, number + 2) if 0 <= n < self._count}

    def _slack(self) -> list[int]:
        """Return for each step the cycles that it and all of its layer take beyond the least."""
        layers = [plan.step.layer for plan in self._pricer.plans]
        names, ends = dict.fromkeys(layers), self.priced.stamps
        slack = dict(zip(names, np.diff(ends, prepend=0).tolist(), strict=True))
        for layer, choice in zip(layers, self._choices, strict=True):
            slack[layer] -= choice.least
        return [slack[layer] for layer in layers]

    def _mend_step(self, number: int) -> bool:
        """Change a step to the best of its cuts and of what is next to it; return if one was."""
        choice, weights = self._choices[number], self._objective.near(self.priced.costs)
        now, near = self.layers[number], self._beside(number, choice)
        every = [*choice.plain, *choice.resident, *choice.cuts, *near]
        if choice.resident:
            every += [replace(layer, resident=True) for layer in choice.cuts]
        every = [layer for layer in dict.fromkeys(every) if layer != now]
        scored = []
        for place, layer in enumerate(every):
            if self._late:
                break
            tried = [*self.layers[:number], layer, *self.layers[number + 1 :]]
            scored.append((self._near(tried, range(number, number + 1), weights), place))
        for score, place in sorted(scored)[:_TRIED]:
            layer = every[place]
            if score < float("inf") and self.offer(
                [*self.layers[:number], layer, *self.layers[number + 1 :]]
            ):
                return True
        return False

    # What stays on chip

    def _keep(self) -> None:
        """Let those inputs stay on chip with which the whole is better.

        What a run of inputs gains is found by pricing the steps from the first's maker to the last
        that reads one. Of all runs those are tried first that together gain most and share no
        step, then every other that gains something, the most first.
        """
        weights = self._objective.near(self.priced.costs)
        readers = [n for n, choice in enumerate(self._choices) if choice.resident]
        gains: dict[tuple[int, int], float] = {}
        for first in range(len(readers)):
            for stop in range(first + 1, min(first + _LONGEST, len(readers)) + 1):
                if self._late:
                    break
                gains[first, stop] = self._gain(readers[first:stop], weights)
        for first, stop in _disjoint(gains, len(readers)):
            self._offer_resident(readers[first:stop])
        rest = sorted(gains, key=lambda run: -gains[run])
        for first, stop in rest:
            if gains[first, stop] > 0 and not self._late:
                self._offer_resident(readers[first:stop])
        for number in readers:
            if self.layers[number].resident and not self._late:
                plain = self._choices[number].plain[0]
                self.offer([*self.layers[:number], plain, *self.layers[number + 1 :]])

    def _steps(self, readers: Sequence[int]) -> range:
        """Return the steps from the first that makes an input of ``readers`` to the last."""
        return range(min(self._makers[reader] for reader in readers), max(readers) + 1)

    def _gain(self, readers: Sequence[int], weights: Objective) -> float:
        """Return by how much those steps are better with the inputs of ``readers`` on chip."""
        steps = self._steps(readers)
        before = self._near(self.layers, steps, weights)
        return before - min(self._near(tried, steps, weights) for tried in self._kept(readers))

    def _offer_resident(self, readers: Sequence[int]) -> None:
        if all(self.layers[reader].resident for reader in readers):
            return
        weights, steps = self._objective.near(self.priced.costs), self._steps(readers)
        tries = [
            (self._near(tried, steps, weights), n, tried)
            for n, tried in enumerate(self._kept(readers))
        ]
        self.offer(min(tries)[2])

    def _kept(self, readers: Sequence[int]) -> Iterator[list[LayerMapping]]:
        """Yield the mapping of all with the inputs of ``readers`` on chip, in some ways.

        Steps meanwhile get mappings that leave a bank free.
        """
        for place in range(max(len(self._choices[reader].resident) for reader in readers)):
            layers = self.layers.copy()
            for reader in readers:
                found = self._choices[reader].resident
                layers[reader] = found[min(place, len(found) - 1)]
            for number in self._steps(readers):
                small = self._choices[number].small
                fits = self._pricer.leaves_bank(number, layers[number])
                if small is not None and not fits and not layers[number].resident:
                    layers[number] = small
            yield layers


def _disjoint(gains: dict[tuple[int, int], float], count: int) -> list[tuple[int, int]]:
    """Return the runs with the largest sum of gains of which no two overlap, in order."""
    best: list[tuple[float, tuple[tuple[int, int], ...]]] = [(0.0, ())]
    for stop in range(1, count + 1):
        found = best[-1]
        for first in range(max(0, stop - _LONGEST), stop):
            gain, runs = best[first]
            more = gain + gains.get((first, stop), 0.0)
            if more > found[0]:
                found = more, (*runs, (first, stop))
        best.append(found)
    return list(best[-1][1])


def cuts(plan: StepPlan) -> Iterator[LayerMapping]:
    """Yield mappings that cut rows and columns into few tiles, each in several orders."""
    whole = plan.whole
    first, words = ((Dimension.K, 1),), ((Dimension.C, -(-whole[Dimension.C] // 2)),)
    sizes = (
        sorted({-(-whole[dimension] // parts) for parts in counts})
        for dimension, counts in ((Dimension.OY, _DOWN), (Dimension.OX, _ACROSS))
    )
    for rows, columns in itertools.product(*sizes):
        pixels = ((Dimension.OY, rows), (Dimension.OX, columns))
        for order in (
            (*pixels, *first), (*first, *pixels), pixels, (*pixels, *first, *words),
        ):  # fmt: skip
            layer = tiled(order)
            if plan.is_legal(layer):
                yield layer


def halved(plan: StepPlan, layer: LayerMapping) -> Iterator[LayerMapping]:
    """Yield ``layer`` with as many tiles in a buffer as fit one half of it, where more do now."""
    sizes, slots = plan.sizes(layer), plan.slots(layer)
    limits: dict[str, int] = {}
    for name in _HALVES:
        half = getattr(plan.accelerator.buffers, name) // 2 // sizes[name]
        if 0 < half < slots[name]:
            limits[name] = half
    every = [{name: half} for name, half in limits.items()]
    for some in (*every, limits) if len(limits) > 1 else every:
        known = {name: layer.buffering.tiles(name) for name in Buffering.__slots__}
        other = replace(layer, buffering=Buffering(**(known | some)))
        if plan.is_legal(other):
            yield other
