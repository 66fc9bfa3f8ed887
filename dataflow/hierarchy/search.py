"""The best mapping of a layer, with a proof that there is none better.

Branch and bound over equivalence classes of mappings: subtrees are begun with the lowest bound
first, and the search ends when no bound is left below the best mapping found. The answer is then
optimal among all mappings of its space (classes of :mod:`celosia.dataflow.hierarchy.skeleton`,
tiles of :mod:`celosia.dataflow.hierarchy.options`), and its certificate is that bound. Equal
mappings are told apart by a fixed order, so the answer depends on neither workers nor luck.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from celosia.dataflow.hierarchy import kernels
from celosia.dataflow.hierarchy.architecture import Architecture, Factors
from celosia.dataflow.hierarchy.bulk import Bulk, search_bulk
from celosia.dataflow.hierarchy.layer import Layer
from celosia.dataflow.hierarchy.mapping import Mapping
from celosia.dataflow.hierarchy.options import Integers
from celosia.dataflow.hierarchy.price import Price, objective_value, price
from celosia.dataflow.hierarchy.problem import Floats, Problem, make_problem
from celosia.dataflow.hierarchy.skeleton import Skeleton, skeletons
from celosia.dataflow.hierarchy.tables import Tables, goal, make_tables, root_bound
from celosia.dataflow.search.objective import Objective
from celosia.models.errors import CelosiaError


@dataclass(frozen=True, slots=True, kw_only=True)
class Solution:
    """The best mapping found.

    Attributes
    ----------
    mapping : Mapping
    price : Price
    value : Fraction
        The objective's: pJ, cycles, pJ x cycles, words, or their weighted sum.
    lower_bound : Fraction
        No mapping of the space has a smaller value. Equal to ``value`` when ``proven``.
    relaxed_bound : Fraction
        The bound that is known before the search: each term at its least.
    proven : bool
        Whether the search ended before its budget did.
    mappings : int
        Mappings of the space, one of each class of equal ones.
    priced : int
        Mappings that were priced; the others were shown to be no better.
    """

    mapping: Mapping
    price: Price
    value: Fraction
    lower_bound: Fraction
    relaxed_bound: Fraction
    proven: bool
    mappings: int
    priced: int


def solve(
    architecture: Architecture,
    layer: Layer,
    objective: Objective,
    *,
    factors: Factors | None = None,
    budget: int | None = None,
    workers: int = 1,
    classes: Sequence[Skeleton] | None = None,
    bulk: Bulk | None = None,
) -> Solution:
    """Return the best mapping of ``layer``.

    Parameters
    ----------
    architecture, layer, objective
        What is mapped onto what, to make what small.
    factors
        Which tiles are tried; None: what the architecture says.
    budget
        Mappings to price at most, about; None: as many as the proof takes. The mapping found
        with a budget is the same for any number of workers only if the proof was finished.
    workers
        Threads.
    classes
        Classes of mappings to search; None: all of the architecture.
    bulk
        Where whole arrays of mappings are priced; None: by compiled kernels, one after the other.
        The answer is the same. Weighted sums, which are not exact in any order, stay with the
        kernels.

    Raises
    ------
    CelosiaError
        If no mapping fits: which limit is violated, and by how much. If energy or cycles of the
        best one pass what double precision holds exactly.
    """
    if workers < 1 or (budget is not None and budget < 1):
        raise ValueError(f"workers and budget must be 1 or more, not {workers} and {budget}")
    space = architecture.factors if factors is None else factors
    problems = [
        make_problem(architecture, layer, skeleton, space)
        for skeleton in (skeletons(architecture, layer) if classes is None else classes)
    ]
    problems = [problem for problem in problems if problem.mappings]
    run = _Run(architecture, objective, problems, budget, workers, bulk)
    run.go()
    if run.winner is None:
        raise CelosiaError(_refusal(architecture, layer, problems))
    table, splits = run.winner
    mapping = table.problem.mapping(table.choice(splits))
    cost = price(architecture, layer, mapping)
    _check_exact(architecture, layer, cost)
    value = objective_value(objective, architecture, cost)
    scale = _scale(architecture, objective)
    left = [Fraction(bound) / scale for bound in run.left if bound < run.shared[0]]
    return Solution(
        mapping=mapping,
        price=cost,
        value=value,
        lower_bound=min([value, *left]),
        relaxed_bound=min(value, Fraction(run.relaxed) / scale),
        proven=not left,
        mappings=sum(problem.mappings for problem in problems),
        priced=int(run.counters[:, kernels.PRICED].sum()),
    )


_EXACT = 1 << 53
"""Whole numbers up to here are exact in double precision."""


def _check_exact(architecture: Architecture, layer: Layer, cost: Price) -> None:
    """Refuse an answer that was compared with others in numbers that are not exact.

    Sums of positive terms are exact where they stay in range, and never come back into it.
    """
    most = max(cost.energy * architecture.energy_unit, cost.cycles * architecture.time_unit)
    if most > _EXACT:
        raise CelosiaError(
            f"layer {layer}: the best mapping costs {float(most):.3g} units of the architecture's "
            f"energies or bandwidths, {float(most / _EXACT):.1f} times what is counted exactly: "
            "take a smaller layer, or energies with fewer digits"
        )


def _scale(architecture: Architecture, objective: Objective) -> int:
    """Return what the kernels' values have to be divided by."""
    if objective.product:
        return architecture.energy_unit * architecture.time_unit
    alone = objective.energy and not objective.cycles and not objective.dram
    return architecture.energy_unit if alone else 1


def run_kernel(
    table: Tables,
    aim: tuple[bool, float, bool],
    subtrees: Integers,
    best: Floats,
    shared: Floats,
    counters: Integers,
    budget: int,
    *,
    bounded: bool = True,
) -> None:
    """Search the places ``subtrees`` of a table's order; see :func:`kernels.search`."""
    kernels.search(
        table.arrays,
        table.times,
        aim,
        table.order[subtrees],
        table.ranks[subtrees],
        best,
        shared,
        counters,
        budget,
        bounded,
        table.room(),
    )


class _Run:
    """One search: classes of mappings one after the other, those with the lowest bound first.

    All workers share the subtrees of a class, so that what is known after each class does not
    depend on their number.
    """

    def __init__(
        self,
        architecture: Architecture,
        objective: Objective,
        problems: Sequence[Problem],
        budget: int | None,
        workers: int,
        bulk: Bulk | None,
    ) -> None:
        weighted = not objective.product and len(objective.parts) > 1
        self.bulk = None if weighted else bulk
        self.architecture = architecture
        self.objective = objective
        self.aim = goal(architecture, objective)
        ranks = np.cumsum([0, *(problem.mappings for problem in problems)]).tolist()
        roots = [root_bound(architecture, objective, problem) for problem in problems]
        self.classes = sorted(
            (
                (bound, tie, rank, problem)
                for (bound, tie), rank, problem in zip(roots, ranks, problems, strict=False)
                if bound < np.inf
            ),
            key=lambda entry: entry[:3],
        )
        self.relaxed = self.classes[0][0] if self.classes else 0.0
        self.budget = np.iinfo(np.int64).max if budget is None else -(-budget // workers)
        self.shared = np.full(1, np.inf)
        self.bests = np.full((workers, kernels.FOUND + 4), np.inf)
        self.counters = np.zeros((workers, 3), dtype=np.int64)
        self.winner: tuple[Tables, tuple[int, ...]] | None = None
        self.left: list[float] = []

    def go(self) -> None:
        """Search with all workers."""
        workers = len(self.bests)
        with ThreadPoolExecutor(workers) as pool:
            for bound, tie, rank, problem in self.classes:
                best = min(self.bests.tolist())
                if (bound, tie, rank) > tuple(best[: kernels.FOUND]):
                    continue
                if (self.counters[:, kernels.PRICED] >= self.budget).all():
                    self.left.append(bound)
                    continue
                table = make_tables(self.architecture, self.objective, problem, rank)
                jobs = [pool.submit(self._work, table, worker) for worker in range(workers)]
                for job in jobs:
                    self.left += job.result()
                found = min(self.bests.tolist())
                if found != best:
                    splits = [int(split) for split in found[kernels.FOUND :]]
                    self.winner = table, tuple(splits)

    def _work(self, table: Tables, worker: int) -> list[float]:
        """Search one worker's subtrees; return the bound of the first that was not begun."""
        mine = np.arange(worker, len(table.order), len(self.bests))
        counters = self.counters[worker]
        counters[kernels.DONE] = 0
        room = (self.bests[worker], self.shared, counters, self.budget)
        if self.bulk is None:
            run_kernel(table, self.aim, mine, *room)
        else:
            search_bulk(self.bulk, table, self.aim, mine, *room)
        left: list[float] = table.bounds[mine[counters[kernels.DONE] :]][:1].tolist()
        return left


def _refusal(architecture: Architecture, layer: Layer, problems: Sequence[Problem]) -> str:
    """Return which limit no mapping keeps, and by how much the nearest one fails."""
    least: dict[str, tuple[int, int]] = {}
    for problem in problems:
        lows = _least(problem)
        for limit, low in zip(problem.bounds_of, lows, strict=True):
            need = int(low) + limit.most
            name = limit.what
            least[name] = min(least.get(name, (need, limit.most)), (need, limit.most))
    said = [
        f"{name} has {most:,} {'words' if name.startswith('level') else 'places'}, every mapping "
        f"needs {need:,} or more: {need - most:,} too few"
        for name, (need, most) in least.items()
        if need > most
    ]
    if not said:
        said = ["each limit can be kept, but no mapping keeps all at once: give levels more words"]
    return f"layer {layer} does not fit {architecture.name!r}: {'; '.join(said)}"


def _least(problem: Problem) -> Floats:
    """Return the least excess over each limit."""
    low = np.prod([factors.min(axis=1) for factors in problem.factors], axis=0)
    least: Floats = problem.limits[:, :-1] @ low + problem.limits[:, -1]
    return least
