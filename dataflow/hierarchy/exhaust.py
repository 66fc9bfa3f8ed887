"""Looking at every mapping: the referee of the bounded search, and how fast the kernels price."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from celosia.dataflow.hierarchy import kernels
from celosia.dataflow.hierarchy.architecture import Architecture, Factors
from celosia.dataflow.hierarchy.layer import Layer
from celosia.dataflow.hierarchy.price import objective_value, price
from celosia.dataflow.hierarchy.problem import make_problem
from celosia.dataflow.hierarchy.search import run_kernel
from celosia.dataflow.hierarchy.skeleton import skeletons
from celosia.dataflow.hierarchy.tables import Tables, goal, make_tables
from celosia.dataflow.search.objective import Objective


@dataclass(frozen=True, slots=True, kw_only=True)
class Exhausted:
    """The least value of all mappings, and how many were priced."""

    value: Fraction
    priced: int


def every_table(
    architecture: Architecture, layer: Layer, objective: Objective, factors: Factors
) -> list[Tables]:
    """Return the tables of every class of mappings, with every split and every subtree."""
    problems = [
        make_problem(architecture, layer, skeleton, factors)
        for skeleton in skeletons(architecture, layer)
    ]
    return [
        make_tables(architecture, objective, problem, 0, everything=True)
        for problem in problems
        if problem.mappings
    ]


def price_all(tables: Tables, aim: tuple[bool, float, bool], best: np.ndarray) -> int:
    """Price every mapping of ``tables``; update ``best`` and return how many were priced."""
    counters = np.zeros(3, dtype=np.int64)
    every = np.arange(len(tables.order))
    most = np.iinfo(np.int64).max
    run_kernel(tables, aim, every, best, np.full(1, np.inf), counters, most, bounded=False)
    return int(counters[kernels.PRICED])


def exhaust(
    architecture: Architecture,
    layer: Layer,
    objective: Objective,
    factors: Factors = Factors.PERFECT,
) -> Exhausted:
    """Price every mapping of the space that :func:`solve` searches.

    Raises :class:`ValueError` when no mapping fits.
    """
    aim = goal(architecture, objective)
    values = []
    priced = 0
    for tables in every_table(architecture, layer, objective, factors):
        best = np.full(kernels.FOUND + 4, np.inf)
        priced += price_all(tables, aim, best)
        if math.isfinite(best[0]):
            found = [int(split) for split in best[kernels.FOUND :]]
            mapping = tables.problem.mapping(tables.choice(tuple(found)))
            values.append(
                objective_value(objective, architecture, price(architecture, layer, mapping))
            )
    return Exhausted(value=min(values), priced=priced)
