"""A search from what a user asked for to what was found."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from celosia.dataflow.compile import compile_network
from celosia.dataflow.dataflows import Dataflow
from celosia.dataflow.energy import load_energy_table
from celosia.dataflow.explore.bounds import Bound, bound
from celosia.dataflow.explore.demand import demand
from celosia.dataflow.explore.evaluate import Evaluator, mapping_objective
from celosia.dataflow.explore.knobs import Point
from celosia.dataflow.explore.outcome import Goal, Quantity
from celosia.dataflow.explore.reasons import LayerReason, reasons
from celosia.dataflow.explore.search import (
    Candidate,
    Effort,
    Evaluate,
    Executor,
    Found,
    Job,
    Progress,
    Search,
)
from celosia.dataflow.explore.space import AcceleratorSpace
from celosia.dataflow.explore.starts import array_size, check_budget, starts
from celosia.dataflow.jit import kept
from celosia.dataflow.memory import MemoryModel
from celosia.dataflow.program import Program
from celosia.dataflow.search import Mapped
from celosia.dataflow.timing import timing
from celosia.fpga.devices import Device
from celosia.models.errors import CelosiaError
from celosia.scripts.explore.networks import Subject
from celosia.scripts.explore.store import SqlStore
from celosia.scripts.explore.strategies import STRATEGIES
from celosia.scripts.explore.targets import area_model, hard_circuit
from celosia.scripts.explore.workers import Workers

Tell = Callable[[Progress, Goal, Bound], None]
"""Told how a search stands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is asked for.

    Attributes
    ----------
    subject : Subject
        For which network.
    device : Device
        On which part.
    goal : Goal
        Objective, limits and clock.
    memory : MemoryModel
        What the engine is attached to.
    effort : Effort
        When to stop.
    fixed : mapping of str to sequence
        Values that knobs are limited to.
    strategy : str
        A name in :data:`STRATEGIES`.
    seed : int
        Of the strategy.
    workers : int
        Processes that evaluate.
    cluster : str or None
        As ``--cluster`` says; None for processes of this machine.
    store : str
        URL of the database of outcomes.
    dataflow : Dataflow or None
        What every mapping must be; None for any.
    """

    subject: Subject
    device: Device
    goal: Goal
    memory: MemoryModel
    effort: Effort
    fixed: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    strategy: str = "evolution"
    seed: int = 0
    workers: int = 1
    cluster: str | None = None
    store: str = "sqlite://"
    dataflow: Dataflow | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Exploration:
    """What was found: the search, its best accelerator, and that one's mapping in full."""

    request: Request
    found: Found
    best: Candidate
    bound: Bound
    mapped: Mapped
    program: Program
    reasons: tuple[LayerReason, ...]


def default_workers() -> int:
    """Return how many processes may run on this machine at once."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def check_strategy(name: str) -> None:
    """Raise :class:`CelosiaError` listing the known strategies if ``name`` is none."""
    if name not in STRATEGIES:
        raise CelosiaError(f"--strategy {name!r} is unknown: choose {', '.join(STRATEGIES)}")


def explore(request: Request, tell: Tell) -> Exploration:
    """Search as ``request`` says; ``tell`` is told how it stands.

    Raises
    ------
    CelosiaError
        When nothing is within the limits: it says which are broken, and by how much. When
        workers, cluster or store fail.
    """
    subject, goal, device = request.subject, request.goal, request.device
    networks = tuple(variant.network for variant in subject.variants)
    space = AcceleratorSpace(
        [demand(network) for network in networks],
        hard_circuit(device),
        _name(f"{subject.name}_{device.name}"),
        request.fixed,
    )
    area = area_model(device)
    check_budget(space, goal, area)
    most = bound(space, goal, area, networks, request.memory)
    _check_bound(goal, most)
    evaluator = Evaluator(
        networks=networks,
        memory=request.memory,
        objective=mapping_objective(goal.objective),
        table=load_energy_table("fpga"),
        device=device.name,
        dataflow=request.dataflow,
        samples=goal.samples,
    )
    first = starts(space, goal, area, networks, request.memory)
    strategy = STRATEGIES[request.strategy](space, request.seed, len(goal.front), first)
    _compile_kernels(evaluator, space, first)
    with SqlStore(request.store) as store, executor_of(request, evaluator) as executor:
        search = Search(
            space=space,
            goal=goal,
            area=area,
            key=evaluator.key(),
            strategy=strategy,
            executor=executor,
            store=store,
        )
        found = search.run(request.effort, lambda progress: tell(progress, goal, most))
    best = _best(found, goal)
    mapped = evaluator.map(best.job.accelerator, best.job.variant)
    program = compile_network(networks[best.job.variant], best.job.accelerator, mapped.mapping)
    return Exploration(
        request=request,
        found=found,
        best=best,
        bound=most,
        mapped=mapped,
        program=program,
        reasons=reasons(program, timing(program, request.memory), request.memory),
    )


def _compile_kernels(evaluate: Evaluator, space: AcceleratorSpace, first: Sequence[Point]) -> None:
    """Map one accelerator where no kernel was compiled yet.

    Once, before the clock of ``--time`` starts, and not in each of the workers.
    """
    if kept("emit_kernel"):
        return
    for point in first[:1]:
        with suppress(CelosiaError):  # what cannot run the network is an outcome of the search
            evaluate.map(space.accelerator(point), space.variant(point))


@contextmanager
def executor_of(request: Request, evaluate: Evaluate) -> Iterator[Executor]:
    """Yield what evaluates: processes of this machine, or a cluster."""
    with ExitStack() as stack:
        if request.cluster is None:
            yield stack.enter_context(Workers(evaluate, request.workers, _describe))
        else:
            # Takes a second to import.
            from celosia.scripts.explore.cluster import cluster_of

            yield stack.enter_context(cluster_of(request.cluster, evaluate, request.workers))


def _describe(job: Job) -> str:
    return f"one accelerator of {array_size(job.accelerator.array)}"


def _name(text: str) -> str:
    """Return a name that an accelerator may have."""
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", text)
    return plain if plain[:1].isalpha() else f"n{plain}"


def _check_bound(goal: Goal, most: Bound) -> None:
    """Refuse at once what no accelerator within the budget can reach."""
    fps = goal.fps(most.cycles)
    for limit in goal.limits:
        if limit.quantity is Quantity.FPS and fps < limit.value:
            raise CelosiaError(
                f"limit {limit.text} cannot hold: within the other limits no accelerator exceeds "
                f"{fps:,.1f} frames/s at {goal.clock_mhz:g} MHz ({most.products:,} products and "
                f"{most.rate} bytes a cycle); {limit.value - fps:,.1f} are missing"
            )


def _best(found: Found, goal: Goal) -> Candidate:
    if found.best is not None:
        return found.best
    nearest = found.nearest
    if nearest is None:
        raise CelosiaError("no accelerator was considered: allow more time or candidates")
    outcome = nearest.outcome
    broken = goal.broken(outcome, nearest.job.variant)
    reason = "; ".join([*broken, *([outcome.problem] if outcome.problem else [])])
    raise CelosiaError(
        f"none of {len(found.candidates)} accelerators is within all limits ({found.ended}). The "
        f"nearest, of {array_size(nearest.job.accelerator.array)}: {reason}"
    )
