"""The mapping of a whole network: steps one by one, then together, by exact timing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.energy import Energy, EnergyTable, energy, load_energy_table
from celosia.dataflow.mapper import map_step
from celosia.dataflow.mapping import LayerMapping, Mapping
from celosia.dataflow.memory import MemoryModel
from celosia.dataflow.plan import StepPlan
from celosia.dataflow.program import Counter
from celosia.dataflow.search.bound import Bound, Reason, lower_bound
from celosia.dataflow.search.layer import ROWS, Climber, Filter, Found
from celosia.dataflow.search.objective import CYCLES, Costs, Objective
from celosia.dataflow.search.pricing import Priced, Pricer
from celosia.models.errors import CelosiaError
from celosia.models.network import Network


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
        Of every step; what :func:`celosia.dataflow.compile.compile_network` takes.
    costs : Costs
        Of the whole network: those of the compiled program.
    counters : dict
        Those of the compiled program but for ``LOAD_BUSY`` and ``STORE_BUSY``.
    energy : Energy
        Where the energy goes.
    lower_bound : float
        What the objective is at least, for any mapping.
    score : float
        What it is for this one.
    steps : tuple of MappedStep
        In order.
    """

    mapping: Mapping
    costs: Costs
    counters: dict[Counter, int]
    energy: Energy
    lower_bound: float
    score: float
    steps: tuple[MappedStep, ...]


def map_network(
    network: Network,
    accelerator: Accelerator,
    memory: MemoryModel,
    *,
    objective: Objective = CYCLES,
    admits: Filter | None = None,
    table: EnergyTable | None = None,
    seconds: float | None = None,
    effort: int = ROWS,
) -> Mapped:
    """Return the best mapping found of ``network`` on ``accelerator``.

    Each step is searched by itself, then steps are changed where the whole program gains. Never
    worse than :func:`celosia.dataflow.mapper.default_mapping`, and the same each time unless
    ``seconds`` cut it short.

    Parameters
    ----------
    network, accelerator, memory
        What runs, on what, attached to what.
    objective
        What is to be small.
    admits
        Which mappings may be taken, such as ``Dataflow.admits``; all by default.
    table
        What events cost; 45 nm CMOS by default.
    seconds
        About how long it may take; by default as long as it needs.
    effort
        How many descriptors are priced for each step before its search ends.

    Raises
    ------
    CelosiaError
        As :func:`celosia.dataflow.mapper.default_mapping`; or no mapping that was tried is
        admitted: names the layer.
    """
    table = table or load_energy_table("cmos45")
    deadline = None if seconds is None else time.monotonic() + seconds
    search = _Search(
        Pricer(network, accelerator, memory, table), memory, objective, admits, table, deadline
    )
    return search.run(effort)


def price(
    network: Network,
    accelerator: Accelerator,
    memory: MemoryModel,
    mapping: Mapping,
    table: EnergyTable,
) -> Mapped:
    """Return what ``mapping`` costs; by cycles. Raises :class:`CelosiaError` if it is not legal."""
    pricer = Pricer(network, accelerator, memory, table, mapping.samples)
    layers = [mapping.layer(plan.step.name) for plan in pricer.plans]
    for plan, layer in zip(pricer.plans, layers, strict=True):
        plan.check(layer)
    search = _Search(pricer, memory, CYCLES, None, table, None)
    return search.mapped(layers, pricer.price(search.numbers, layers))


class _Search:
    """One search."""

    def __init__(
        self, pricer: Pricer, memory: MemoryModel, objective: Objective, admits: Filter | None,
        table: EnergyTable, deadline: float | None,
    ) -> None:  # fmt: skip
        self.pricer = pricer
        self.objective = objective
        self.admits = admits
        self.table = table
        self.deadline = deadline
        self.bounds = [lower_bound(plan, memory, table) for plan in pricer.plans]
        self.numbers = range(len(pricer.plans))

    def run(self, effort: int) -> Mapped:
        found = self._each(effort)
        layers = [choices[0].layer for choices in found]
        layers = self._together(layers, found)
        whole = self.pricer.price(self.numbers, layers)
        if self.admits is None:
            plain = [map_step(plan) for plan in self.pricer.plans]
            before = self.pricer.price(self.numbers, plain)
            if self._score(before) < self._score(whole):
                layers, whole = plain, before
        return self.mapped(layers, whole)

    def _score(self, priced: Priced) -> float:
        return self.objective.score(priced.costs)

    def _each(self, effort: int) -> list[list[Found]]:
        """Return the best mappings of each step by itself."""
        known: dict[bytes, LayerMapping] = {}
        every = []
        for number, plan in enumerate(self.pricer.plans):
            key = self.pricer.alike(number)
            climber = Climber(
                self.pricer, number, self.objective, self.admits or _all,
                self.objective.score(self.bounds[number].costs), self.deadline, effort,
            )  # fmt: skip
            choices = climber.search(known.get(key))
            if not choices:
                raise CelosiaError(
                    f"layer {plan.step.name!r}: none of the mappings that were tried is admitted: "
                    "allow more time, larger buffers or another dataflow"
                )
            known.setdefault(key, choices[0].layer)
            every.append(choices)
        return every

    def _together(self, layers: list[LayerMapping], found: list[list[Found]]) -> list[LayerMapping]:
        """Change steps to their next best mapping where they and their neighbours gain by it."""
        for number in self.numbers:
            near = range(max(0, number - 1), min(len(layers), number + 2))
            if self.deadline is not None and time.monotonic() > self.deadline:
                break
            best = self._score(self.pricer.price(near, layers))
            for choice in found[number]:
                if choice.layer == layers[number]:
                    continue
                tried = [*layers[:number], choice.layer, *layers[number + 1 :]]
                score = self._score(self.pricer.price(near, tried))
                if score < best:
                    best, layers = score, tried
        return layers

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
        return Mapped(
            mapping=Mapping(
                layers=tuple((plan.step.name, m) for plan, m in zip(plans, layers, strict=True))
            ),
            costs=whole.costs,
            counters=counters,
            energy=energy(counters | none, self.pricer.accelerator, self.table),
            lower_bound=self._whole_bound(),
            score=self._score(whole),
            steps=tuple(steps),
        )

    def _whole_bound(self) -> float:
        """Return what all steps cost at least: units overlap, so each one's cycles are added."""
        units = ("compute", "reads", "writes", "post")
        cycles = max(sum(getattr(bound, unit) for bound in self.bounds) for unit in units)
        least = Costs(
            cycles=cycles,
            energy=sum(bound.costs.energy for bound in self.bounds),
            dram=sum(bound.costs.dram for bound in self.bounds),
        )
        return self.objective.score(least)


def _all(_plan: StepPlan, _layer: LayerMapping) -> bool:
    return True
