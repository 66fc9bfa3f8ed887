"""From the arrays of a class of mappings to what the compiled search reads."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from celosia.dataflow.hierarchy import kernels
from celosia.dataflow.hierarchy.architecture import Architecture
from celosia.dataflow.hierarchy.options import Integers
from celosia.dataflow.hierarchy.problem import Floats, Problem
from celosia.dataflow.search.objective import Objective


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tables:
    """A problem as the search reads it: the splits worth trying, the largest group last.

    Attributes
    ----------
    problem : Problem
    groups : tuple of int
        The groups of the problem, in the order of the search.
    splits : tuple of array
        For each of them the splits that are tried.
    factors : tuple of array
        Of the first three, (terms, splits).
    fourth, columns_of : arrays
        The different rows of the fourth, and which one each term has.
    forms : array
        (forms, terms + 1): energy, the linear part of the objective, times, limits.
    least : array
        The least of each row of the fourth group, block by block.
    times : int
        How many times there are.
    order : array
        Subtrees that may hold a mapping, those with the lowest bound first.
    ranks : array
        Their places in a fixed order.
    bounds : array
        Lower bounds of their objective, ascending.
    """

    problem: Problem
    groups: tuple[int, ...]
    splits: tuple[Integers, ...]
    factors: tuple[Floats, Floats, Floats]
    fourth: Floats
    columns_of: Integers
    forms: Floats
    least: Floats
    times: int
    order: Integers
    ranks: Integers
    bounds: Floats

    @property
    def arrays(self) -> kernels.Tables:
        """What the kernels take."""
        return (*self.factors, self.fourth, self.columns_of, self.forms, self.least)

    def choice(self, found: tuple[int, ...]) -> list[int]:
        """Return the split of each of the problem's groups for one of the search's."""
        choice = [0] * len(self.groups)
        for group, splits, index in zip(self.groups, self.splits, found, strict=True):
            choice[group] = int(splits[index])
        return choice


def goal(architecture: Architecture, objective: Objective) -> tuple[bool, float, bool]:
    """Return how the kernels make a value: product or weight of time; ties by time."""
    ties_by_time = objective.energy > 0 and not objective.cycles
    return objective.product, objective.cycles / architecture.time_unit, ties_by_time


def make_tables(
    architecture: Architecture,
    objective: Objective,
    problem: Problem,
    first_rank: int,
    *,
    everything: bool = False,
) -> Tables:
    """Return the tables of ``problem``; its subtrees rank from ``first_rank`` on.

    With ``everything`` no split and no subtree is left out.
    """
    kept = [
        np.arange(factors.shape[1]) if everything else _kept(factors) for factors in problem.factors
    ]
    groups = tuple(sorted(range(len(kept)), key=lambda group: len(kept[group])))
    splits = tuple(kept[group] for group in groups)
    one, two, three, four = (
        np.ascontiguousarray(problem.factors[group][:, kept[group]]) for group in groups
    )
    fourth, columns_of = np.unique(four, axis=0, return_inverse=True)
    linear = _linear(architecture, objective, problem)
    forms = np.vstack([problem.energy, linear, problem.times, problem.limits])
    times = len(problem.times)
    bounds = _bounds(goal(architecture, objective), forms, times, (one, two, three, four))
    fourth = np.ascontiguousarray(fourth)
    least = np.empty((-(-fourth.shape[1] // kernels.BLOCK) + 1, len(fourth)))
    kernels.least_of(fourth, least)
    fitting = np.flatnonzero(np.isfinite(bounds[0]) | everything)
    order = fitting[np.lexsort((fitting, bounds[1][fitting], bounds[0][fitting]))]
    return Tables(
        problem=problem,
        groups=groups,
        splits=splits,
        factors=(one, two, three),
        fourth=fourth,
        columns_of=columns_of.reshape(-1).astype(np.int64),
        forms=np.ascontiguousarray(forms),
        least=least,
        times=times,
        order=order.astype(np.int64),
        ranks=(order + first_rank).astype(np.int64),
        bounds=bounds[0][order],
    )


def _linear(architecture: Architecture, objective: Objective, problem: Problem) -> Floats:
    if objective.product:
        return problem.energy
    # Whole numbers where one thing alone is asked for: sums are then exact.
    scale = architecture.energy_unit if objective.cycles or objective.dram else 1
    return problem.energy * (objective.energy / scale) + problem.outside * objective.dram


def _kept(factors: Floats) -> Integers:
    """Return the splits of a group than which no other contributes as little to every term."""
    rows = np.ascontiguousarray(np.unique(factors, axis=0).T)
    order = np.lexsort(rows.T[::-1]).astype(np.int64)
    kept = np.empty(len(rows), dtype=np.int64)
    count = int(kernels.undominated(rows, order, kept))
    return np.sort(kept[:count])


def _bounds(
    goal: tuple[bool, float, bool],
    forms: Floats,
    times: int,
    factors: tuple[Floats, ...],
) -> Floats:
    """Return lower bounds of objective and tie breaker for each split of the first two groups.

    Infinite where some limit cannot be kept.
    """
    one, two, three, four = factors
    least = three.min(axis=1) * four.min(axis=1)
    values = np.stack(
        [((form[:-1] * least)[:, None] * one).T @ two + form[-1] for form in forms]
    ).reshape(len(forms), -1)
    time = values[2 : 2 + times].max(axis=0)
    product, weight, ties_by_time = goal
    bound = values[1] * time if product else values[1] + weight * time
    fits = (values[2 + times :] <= 0).all(axis=0)
    return np.stack([np.where(fits, bound, np.inf), time if ties_by_time else values[0]])
