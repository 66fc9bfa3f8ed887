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
    forms : three arrays
        They are energy, the linear part of the objective, times and limits: form and term of each
        weight that is not 0, the weights, and the constants.
    rest, fourth : four arrays each
        Of the third group, times the least of the fourth, and of the fourth: the different rows,
        which of them each term has, the least of each row, block by block, and the most.
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
    forms: kernels.Forms
    rest: kernels.Splits
    fourth: kernels.Splits
    times: int
    order: Integers
    ranks: Integers
    bounds: Floats

    @property
    def arrays(self) -> kernels.Tables:
        """What the kernels take."""
        return (*self.factors, self.forms, self.rest, self.fourth)

    def room(self) -> kernels.Room:
        """Return arrays for a kernel to work in."""
        terms, forms = len(self.factors[0]), len(self.forms[2])
        return (
            np.empty(terms),
            np.empty(terms),
            np.empty((forms, len(self.rest[0]) + 1)),
            np.empty((forms, len(self.fourth[0]) + 1)),
            np.empty((3, kernels.BLOCK)),
            np.empty((3, kernels.BLOCK)),
        )

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
    forms = _forms(architecture, objective, problem)
    times = len(problem.times)
    rest = three * four.min(axis=1)[:, None]
    values = np.stack(
        [((form[:-1] * rest.min(axis=1))[:, None] * one).T @ two + form[-1] for form in forms]
    ).reshape(len(forms), -1)
    bounds = _bounds(goal(architecture, objective), values, times)
    rows, terms = np.nonzero(forms[:, :-1])
    fitting = np.flatnonzero(np.isfinite(bounds[0]) | everything)
    order = fitting[np.lexsort((fitting, bounds[1][fitting], bounds[0][fitting]))]
    return Tables(
        problem=problem,
        groups=groups,
        splits=splits,
        factors=(one, two, three),
        forms=(np.stack([rows, terms], axis=1), forms[rows, terms], forms[:, -1].copy()),
        rest=_splits(rest),
        fourth=_splits(four),
        times=times,
        order=order.astype(np.int64),
        ranks=(order + first_rank).astype(np.int64),
        bounds=bounds[0][order],
    )


def _splits(factors: Floats) -> kernels.Splits:
    """Return the different rows of ``factors``, which each term has, their least and their most."""
    rows, columns_of = np.unique(factors, axis=0, return_inverse=True)
    rows = np.ascontiguousarray(rows)
    least = np.empty((-(-rows.shape[1] // kernels.BLOCK) + 1, len(rows)))
    most = np.empty(len(rows))
    kernels.extremes(rows, least, most)
    return rows, columns_of.reshape(-1), least, most


def root_bound(
    architecture: Architecture, objective: Objective, problem: Problem
) -> tuple[float, float]:
    """Return lower bounds of objective and tie breaker for all mappings of ``problem``."""
    least = np.prod([factors.min(axis=1) for factors in problem.factors], axis=0)
    forms = _forms(architecture, objective, problem)
    values = (forms[:, :-1] @ least + forms[:, -1])[:, None]
    bound, tie = _bounds(goal(architecture, objective), values, len(problem.times))
    return float(bound[0]), float(tie[0])


def _forms(architecture: Architecture, objective: Objective, problem: Problem) -> Floats:
    """Return the forms that the kernels take."""
    linear = _linear(architecture, objective, problem)
    return np.vstack([problem.energy, linear, problem.times, problem.limits])


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


def _bounds(goal: tuple[bool, float, bool], values: Floats, times: int) -> Floats:
    """Return lower bounds of objective and tie breaker from those of each form.

    Infinite where some limit cannot be kept.
    """
    time = values[2 : 2 + times].max(axis=0)
    product, weight, ties_by_time = goal
    bound = values[1] * time if product else values[1] + weight * time
    fits = (values[2 + times :] <= 0).all(axis=0)
    return np.stack([np.where(fits, bound, np.inf), time if ties_by_time else values[0]])
