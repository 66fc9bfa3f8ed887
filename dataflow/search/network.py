"""The mapping of a whole network: steps one by one, then together, by exact timing."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.arrange import SumRanges
from celosia.dataflow.dataflows import Dataflow
from celosia.dataflow.energy import Energy, EnergyTable, energy, load_energy_table
from celosia.dataflow.mapper import map_steps
from celosia.dataflow.mapping import MOST_SAMPLES, LayerMapping, Mapping
from celosia.dataflow.memory import MemoryModel
from celosia.dataflow.program import Counter
from celosia.dataflow.search.bound import Bound, Reason, lower_bound, network_bound
from celosia.dataflow.search.layer import ROWS, Climber, first_choice
from celosia.dataflow.search.objective import CYCLES, Costs, Objective
from celosia.dataflow.search.pricing import Priced, Pricer
from celosia.dataflow.search.whole import Choices, Whole, cuts
from celosia.models.network import Network

_SHARE = 2
"""Of the effort for each step by itself, which part is for it beside others."""

_KEPT = 4
"""Mappings of a step that are tried beside those of others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MappedStep:
    """One step of a mapped network.

    Attributes
    ----------
    name : str
        As in the mapping.
    layer : LayerMapping
        How it runs.
    costs : Costs
        Of the step run by itself, from start to interrupt; the whole costs less than their sum.
    bound : Bound
        What it costs at least, in any mapping.
    reason : Reason
        What bounds it.
    """

    name: str
    layer: LayerMapping
    costs: Costs
    bound: Bound
    reason: Reason


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mapped:
    """A mapping and what it costs, exactly.

    Attributes
    ----------
    mapping : Mapping
        Of every step, and for how many samples; what
        :func:`celosia.dataflow.compile.compile_network` takes.
    costs : Costs
        Of one start, of all its samples: those of the compiled program.
    counters : dict
        Those of the compiled program but for ``LOAD_BUSY`` and ``STORE_BUSY``.
    energy : Energy
        Where the energy goes.
    least : Costs
        What any mapping of as many samples costs at least: of each cost by itself.
    lower_bound : float
        What the objective is at least for one sample, for any mapping of as many at once.
    score : float
        What it is for this one.
    steps : tuple of MappedStep
        In order.
    """

    mapping: Mapping
    costs: Costs
    counters: dict[Counter, int]
    energy: Energy
    least: Costs
    lower_bound: float
    score: float
    steps: tuple[MappedStep, ...]

    @property
    def gap(self) -> float:
        """By what share of it the score may be too large at most, 0..1."""
        return 1 - self.lower_bound / self.score


def map_network(
    network: Network,
    accelerator: Accelerator,
    memory: MemoryModel,
    *,
    objective: Objective = CYCLES,
    dataflow: Dataflow | None = None,
    table: EnergyTable | None = None,
    seconds: float | None = None,
    effort: int = ROWS,
    samples: Collection[int] = (1,),
) -> Mapped:
    """Return the best mapping found of ``network`` on ``accelerator``.

    Each step is searched by itself, then steps are changed where the whole program gains: what
    stays on chip where there are two banks of activations, and which halves of buffers steps use.
    Without a dataflow never worse than :func:`celosia.dataflow.mapper.default_mapping`, and the
    same each time unless ``seconds`` cut it short.

    Parameters
    ----------
    network, accelerator, memory
        What runs, on what, attached to what.
    objective
        What is to be small.
    dataflow
        What the mapping of every step must be; anything by default.
    table
        What events cost; 45 nm CMOS by default.
    seconds
        About how long it may take; by default as long as it needs.
    effort
        How many descriptors are priced for each step before its search ends.
    samples
        What one start may run: of these numbers, each 1..256, the one with which a sample scores
        best, of equals the first.

    Raises
    ------
    ValueError
        If there is nothing in ``samples``, or a number out of its range.
    CelosiaError
        As :func:`celosia.dataflow.mapper.default_mapping`, or for a dataflow
        :func:`celosia.dataflow.mapper.smallest_of`.
    """
    table = table or load_energy_table("cmos45")
    deadline = None if seconds is None else time.monotonic() + seconds
    if not samples or not all(1 <= count <= MOST_SAMPLES for count in samples):
        raise ValueError(f"samples must hold numbers from 1 to {MOST_SAMPLES}, not {samples!r}")

    def search(count: int) -> Mapped:
        pricer = Pricer(network, accelerator, memory, table, count)
        return _Search(pricer, memory, objective, dataflow, table, deadline).run(effort)

    return min(map(search, samples), key=lambda found: found.score)


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The mapper's own choice for every step: its exact costs, and what any costs at least."""

    mapping: Mapping
    costs: Costs
    bound: Costs


def judge(
    network: Network, accelerator: Accelerator, memory: MemoryModel, table: EnergyTable,
    ranges: SumRanges | None = None,
) -> Judged:  # fmt: skip
    """Return what ``network`` costs as :func:`default_mapping` maps it; searches nothing.

    For sweeps over many accelerators: of each mapping one program is priced, and ``ranges`` are
    those of ``network`` from the accelerators before. Raises as
    :func:`celosia.dataflow.mapper.default_mapping`.
    """
    pricer = Pricer(network, accelerator, memory, table, ranges=ranges)
    mapping = map_steps(list(pricer.plans))
    layers = [layer for _, layer in mapping.layers]
    search = _Search(pricer, memory, CYCLES, None, table, None)
    costs = pricer.price(search.numbers, layers).costs
    return Judged(mapping=mapping, costs=costs, bound=search.least())


class _Search:
    """One search."""

    def __init__(
        self, pricer: Pricer, memory: MemoryModel, objective: Objective,
        dataflow: Dataflow | None, table: EnergyTable, deadline: float | None,
    ) -> None:  # fmt: skip
        self.pricer = pricer
        self.memory = memory
        self.objective = objective
        self.dataflow = dataflow
        self.table = table
        self.deadline = deadline
        self.bounds = [
            lower_bound(plan, memory, table, chip=pricer.may_stay(number))
            for number, plan in enumerate(pricer.plans)
        ]
        self.numbers = range(len(pricer.plans))

    def run(self, effort: int) -> Mapped:
        whole = self._whole(self.objective, effort)
        return self.mapped(whole.layers, whole.priced)

    def _whole(self, objective: Objective, effort: int) -> Whole:
        """Return the best found; of what weighs up several, none worse than what each finds."""
        plain = [first_choice(plan, self.dataflow) for plan in self.pricer.plans]
        others = [self._whole(part, effort) for part in objective.parts]
        # What a step adds to a product depends on the others.
        near = min(
            (found.priced.costs for found in others),
            key=objective.score,
            default=self.pricer.price(self.numbers, plain).costs,
        )
        choices = self._choices(objective.near(near), effort)
        whole = Whole(self.pricer, objective, choices, self.deadline, effort // _SHARE)
        whole.search()
        for other in others:
            whole.offer(other.layers)
        whole.offer(plain)
        return whole

    def _choices(self, weights: Objective, effort: int) -> list[Choices]:
        """Return the best mappings of each step by itself."""
        known: dict[bytes, Choices] = {}
        every = []
        for number in self.numbers:
            key = self.pricer.alike(number)
            alike = known.get(key, Choices())
            found = self._climber(number, weights, effort).search(alike.plain)
            plain = tuple(f.layer for f in found[:_KEPT])
            choice = Choices(plain=plain, least=self.bounds[number].costs.cycles)
            if self.dataflow is None:
                choice = replace(choice, cuts=tuple(cuts(self.pricer.plans[number])))
            if self.pricer.accelerator.buffers.keeps:
                fits = (f.layer for f in found if self.pricer.leaves_bank(number, f.layer))
                choice = replace(choice, small=next(fits, None))
            if self.pricer.may_stay(number)[0]:
                climber = self._climber(number, weights, effort, resident=True)
                stays = climber.search(alike.resident, plain)[:_KEPT]
                choice = replace(choice, resident=tuple(f.layer for f in stays))
            known.setdefault(key, choice)
            every.append(choice)
        return every

    def _climber(
        self, number: int, weights: Objective, effort: int, *, resident: bool = False
    ) -> Climber:
        bound = weights.score(self.bounds[number].costs)
        return Climber(
            self.pricer, number, weights, self.dataflow, bound, self.deadline, effort,
            resident,
        )  # fmt: skip

    def mapped(self, layers: Sequence[LayerMapping], whole: Priced) -> Mapped:
        """Return the value of ``layers``, which cost ``whole``."""
        plans = self.pricer.plans
        steps = []
        for number, (plan, layer, bound) in enumerate(zip(plans, layers, self.bounds, strict=True)):
            alone = self.pricer.alone(number, layer).costs
            busiest = max(bound.compute, bound.reads, bound.writes, bound.post)
            reason = bound.reason if 2 * busiest >= alone.cycles else Reason.LATENCY
            steps.append(
                MappedStep(
                    name=plan.step.name, layer=layer, costs=alone, bound=bound, reason=reason
                )
            )
        counters = {counter: int(whole.counters[counter]) for counter in Counter}
        for timed in (Counter.LOAD_BUSY, Counter.STORE_BUSY):
            del counters[timed]
        none = {Counter.LOAD_BUSY: 0, Counter.STORE_BUSY: 0}
        least = self.least()
        return Mapped(
            mapping=Mapping(
                layers=tuple((plan.step.name, m) for plan, m in zip(plans, layers, strict=True)),
                samples=self.pricer.samples,
            ),
            costs=whole.costs,
            counters=counters,
            energy=energy(counters | none, self.pricer.accelerator, self.table),
            least=least,
            lower_bound=self.objective.each(least, self.pricer.samples),
            score=self.objective.each(whole.costs, self.pricer.samples),
            steps=tuple(steps),
        )

    def least(self) -> Costs:
        """Return what all steps cost at least, together."""
        return network_bound(self.pricer.plans, self.bounds, self.memory)
