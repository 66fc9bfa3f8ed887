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
from celosia.dataflow.hierarchy.layer import Layer
from celosia.dataflow.hierarchy.mapping import Mapping
from celosia.dataflow.hierarchy.options import Integers
from celosia.dataflow.hierarchy.price import Price, objective_value, price
from celosia.dataflow.hierarchy.problem import Floats, Problem, make_problem
from celosia.dataflow.hierarchy.skeleton import skeletons
from celosia.dataflow.hierarchy.tables import Tables, goal, make_tables
from celosia.dataflow.search.objective import Objective
from celosia.models.errors import CelosiaError

_SCOUTED = 4
"""Subtrees of each class that are looked through first, to have something to compare with."""


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

    Raises
    ------
    CelosiaError
        If no mapping fits: which limit is violated, and by how much.
    """
    if workers < 1 or (budget is not None and budget < 1):
        raise ValueError(f"workers and budget must be 1 or more, not {workers} and {budget}")
    space = architecture.factors if factors is None else factors
    problems = [
        make_problem(architecture, layer, skeleton, space)
        for skeleton in skeletons(architecture, layer)
    ]
    problems = [problem for problem in problems if problem.mappings]
    tables = []
    rank = 0
    for problem in problems:
        tables.append(make_tables(architecture, objective, problem, rank))
        rank += problem.mappings
    if not any(len(table.order) for table in tables):
        raise CelosiaError(_refusal(architecture, layer, problems))
    run = _Run(goal(architecture, objective), tables, budget, workers)
    run.go()
    if run.winner is None:
        raise CelosiaError(
            f"no mapping of layer {layer} onto {architecture.name!r} keeps all limits at once, "
            "though each limit alone can be kept: give its levels more words"
        )
    table, found = run.winner
    mapping = table.problem.mapping(table.choice(found))
    cost = price(architecture, layer, mapping)
    value = objective_value(objective, architecture, cost)
    scale = _scale(architecture, objective)
    left = [Fraction(float(bound)) / scale for bound in run.open_bounds()]
    roots = [Fraction(float(table.bounds[0])) / scale for table in tables if len(table.order)]
    return Solution(
        mapping=mapping,
        price=cost,
        value=value,
        lower_bound=min([value, *left]),
        relaxed_bound=min([value, *roots]),
        proven=not left,
        mappings=sum(problem.mappings for problem in problems),
        priced=run.priced,
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
        (
            np.empty(len(table.columns_of)),
            np.empty((len(table.forms), len(table.fourth) + 1)),
            np.empty((4, kernels.BLOCK)),
        ),
    )


class _Run:
    """One search: the state of each worker."""

    def __init__(
        self,
        aim: tuple[bool, float, bool],
        tables: Sequence[Tables],
        budget: int | None,
        workers: int,
    ) -> None:
        self.aim = aim
        self.tables = sorted(
            (table for table in tables if len(table.order)), key=lambda t: float(t.bounds[0])
        )
        self.budget = np.iinfo(np.int64).max if budget is None else -(-budget // workers)
        self.workers = workers
        self.shared = np.full(1, np.inf)
        self.results: list[tuple[list[float], Tables | None]] = []
        self.left: list[float] = []
        self.priced = 0

    def go(self) -> None:
        """Search with all workers."""
        if self.workers == 1:
            self._work(0)
        else:
            with ThreadPoolExecutor(self.workers) as pool:
                list(pool.map(self._work, range(self.workers)))

    @property
    def winner(self) -> tuple[Tables, tuple[int, ...]] | None:
        """The best of all workers' mappings."""
        found = [(best, table) for best, table in self.results if table is not None]
        if not found:
            return None
        best, table = min(found, key=lambda entry: entry[0])
        assert table is not None
        splits = best[kernels.FOUND :]
        return table, (int(splits[0]), int(splits[1]), int(splits[2]), int(splits[3]))

    def open_bounds(self) -> list[float]:
        """Return the bounds of subtrees that were not begun and might hold something better."""
        return [bound for bound in self.left if bound < self.shared[0]]

    def _work(self, worker: int) -> None:
        best = np.full(kernels.FOUND + 4, np.inf)
        holder: Tables | None = None
        counters = np.zeros(3, dtype=np.int64)
        for scouting in (True, False):
            for table in self.tables:
                mine = np.arange(worker, len(table.order), self.workers)
                mine = mine[:_SCOUTED] if scouting else mine[_SCOUTED:]
                before = best.copy()
                counters[kernels.DONE] = 0
                run_kernel(table, self.aim, mine, best, self.shared, counters, self.budget)
                if (best != before).any():
                    holder = table
                self.left += table.bounds[mine[counters[kernels.DONE] :]][:1].tolist()
        self.results.append((best.tolist(), holder))
        self.priced += int(counters[kernels.PRICED])


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
        f"{name} has {most}, every mapping needs {need} or more: {need - most} too few"
        for name, (need, most) in least.items()
        if need > most
    ]
    what = "; ".join(said) or "no mapping keeps all limits at once"
    return f"layer {layer} does not fit {architecture.name!r}: {what}"


def _least(problem: Problem) -> Floats:
    """Return the least excess over each limit."""
    low = np.prod([factors.min(axis=1) for factors in problem.factors], axis=0)
    least: Floats = problem.limits[:, :-1] @ low + problem.limits[:, -1]
    return least
