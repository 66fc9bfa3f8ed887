"""The compiled inner loops of the search. They allocate nothing once they run.

A mapping is one split of each of four groups, ``first`` to ``fourth``; its value follows from sums
of products of what each split contributes (:mod:`celosia.dataflow.hierarchy.forms`). The kernels
multiply what groups have in common once, and price all splits of the fourth group side by side.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from celosia.dataflow.jit import compiled

Array: TypeAlias = np.ndarray[Any, Any]
Forms: TypeAlias = tuple[Array, Array, Array]
Splits: TypeAlias = tuple[Array, Array, Array, Array]
Tables: TypeAlias = tuple[Array, Array, Array, Forms, Splits, Splits]
Room: TypeAlias = tuple[Array, Array, Array, Array, Array, Array]

BLOCK = 128
"""Splits of a group that are bounded and priced together."""

RIVALS = 256
"""Columns that may dominate others, at most."""

PRICED, CUT, DONE = range(3)
"""Places in ``counters``: mappings priced, mappings cut off by a bound, subtrees that are done."""

PRIMARY, SECONDARY, RANK, FOUND = range(4)
"""Places in ``best``: its value, what breaks ties, its subtree; its splits from ``FOUND`` on."""


@compiled
def undominated(factors: Array, order: Array, kept: Array) -> int:
    """Write into ``kept`` the columns than which no rival is as small everywhere.

    ``factors`` is (columns, terms); ``order`` lists columns so that none comes before one that
    could dominate it; of equal ones the first stays. Each is compared with the first ``RIVALS``
    of those kept, so that many columns do not take time that grows with their square.
    """
    count = 0
    terms = factors.shape[1]
    for index in order:
        dominated = False
        for place in range(min(count, RIVALS)):
            other = kept[place]
            dominated = True
            for term in range(terms):
                if factors[other, term] > factors[index, term]:
                    dominated = False
                    break
            if dominated:
                break
        if not dominated:
            kept[count] = index
            count += 1
    return count


@compiled
def _value(linear: float, time: float, product: bool, weight: float) -> float:
    """Return the objective: energy times delay, or a weighted sum."""
    if product:
        return linear * time
    return linear + weight * time


@compiled
def _worse(value: float, tie: float, best: Array, shared: Array, later: bool) -> bool:
    """Whether nothing of these bounds can replace the best, whoever found it."""
    if value > shared[0] or value > best[PRIMARY]:
        return True
    if value < best[PRIMARY]:
        return False
    return tie > best[SECONDARY] or (tie == best[SECONDARY] and later)


@compiled
def _bound(row: Array, least: Array, columns: int) -> float:
    """Return a form's value where each column has its least."""
    total: float = row[columns]
    for column in range(columns):
        total += row[column] * least[column]
    return total


@compiled
def _sum(row: Array, fourth: Array, low: int, high: int, out: Array) -> None:
    """Write a form's values for splits ``low`` to ``high`` of the fourth group."""
    columns = fourth.shape[0]
    constant = row[columns]
    for place in range(high - low):
        out[place] = constant
    for column in range(columns):
        weight = row[column]
        if weight != 0.0:
            values = fourth[column, low:high]
            for place in range(high - low):
                out[place] += weight * values[place]


@compiled
def _outlook(
    inner: Array, least: Array, times: int, product: bool, weight: float, tie_time: bool
) -> tuple[float, float]:
    """Return lower bounds of objective and tie breaker; infinite where a limit is violated."""
    columns = least.shape[0]
    for row in range(2 + times, inner.shape[0]):
        if _bound(inner[row], least, columns) > 0.0:
            return np.inf, np.inf
    longest = 0.0
    for row in range(2, 2 + times):
        longest = max(longest, _bound(inner[row], least, columns))
    value = _value(_bound(inner[1], least, columns), longest, product, weight)
    return value, longest if tie_time else _bound(inner[0], least, columns)


@compiled
def _price(
    inner: Array,
    fourth: Array,
    low: int,
    high: int,
    most: Array,
    times: int,
    product: bool,
    weight: float,
    scratch: Array,
) -> None:
    """Write objectives into the first row of ``scratch``; infinite where a limit is violated."""
    value, time, part = scratch
    columns = most.shape[0]
    _sum(inner[1], fourth, low, high, value)
    if product or weight != 0.0:
        time[:] = 0.0
        for row in range(2, 2 + times):
            _sum(inner[row], fourth, low, high, part)
            for place in range(high - low):
                time[place] = max(time[place], part[place])
        for place in range(high - low):
            value[place] = _value(value[place], time[place], product, weight)
    for row in range(2 + times, inner.shape[0]):
        if _bound(inner[row], most, columns) > 0.0:
            _sum(inner[row], fourth, low, high, part)
            for place in range(high - low):
                value[place] = np.inf if part[place] > 0.0 else value[place]


@compiled
def _fix(product: Array, forms: Forms, columns: Array, fixed: Array) -> None:
    """Write each form's weights of the next group's columns; ``product`` is what is chosen."""
    entries, weights, _ = forms
    for form in range(fixed.shape[0]):
        for column in range(fixed.shape[1] - 1):
            fixed[form, column] = 0.0
    for entry in range(weights.shape[0]):
        form, term = entries[entry]
        fixed[form, columns[term]] += weights[entry] * product[term]


@compiled
def extremes(values: Array, least: Array, most: Array) -> None:
    """Write the least of each column, of every block of splits and last of all; and the most."""
    columns, splits = values.shape
    least[:] = np.inf
    most[:] = 0.0
    for column in range(columns):
        for split in range(splits):
            block = split // BLOCK
            least[block, column] = min(least[block, column], values[column, split])
            most[column] = max(most[column], values[column, split])
        least[-1, column] = least[:, column].min()


@compiled
def _keep(
    inner: Array,
    fourth: Array,
    low: int,
    high: int,
    times: int,
    goal: tuple[bool, float, bool],
    rank: float,
    splits: tuple[int, int, int],
    best: Array,
    shared: Array,
    scratch: Array,
) -> None:
    """Replace the best by what :func:`_price` found, where that is better."""
    product, weight, tie_time = goal
    for place in range(high - low):
        value = scratch[0, place]
        if value > best[PRIMARY] or value == np.inf:
            continue
        _, tie = _outlook(inner, fourth[:, low + place], times, product, weight, tie_time)
        if value < best[PRIMARY] or (tie, rank) < (best[SECONDARY], best[RANK]):
            best[PRIMARY], best[SECONDARY], best[RANK] = value, tie, rank
            best[FOUND], best[FOUND + 1], best[FOUND + 2] = splits
            best[FOUND + 3] = low + place
            shared[0] = min(shared[0], value)


@compiled
def _triple(
    tables: Tables,
    times: int,
    goal: tuple[bool, float, bool],
    rank: float,
    splits: tuple[int, int, int],
    best: Array,
    shared: Array,
    counters: Array,
    bounded: bool,
    room: Room,
) -> None:
    """Look through all mappings with a split of each of the first three groups."""
    _, _, three, forms, _, (fourth, columns, least, most) = tables
    pair, triple, _, inner, _, scratch = room
    product, weight, tie_time = goal
    whole = least.shape[0] - 1
    for term in range(pair.shape[0]):
        triple[term] = pair[term] * three[term, splits[2]]
    _fix(triple, forms, columns, inner)
    if bounded:
        value, tie = _outlook(inner, least[whole], times, product, weight, tie_time)
        if _worse(value, tie, best, shared, rank >= best[RANK]):
            counters[CUT] += fourth.shape[1]
            return
    for block in range(whole):
        low, high = block * BLOCK, min(fourth.shape[1], (block + 1) * BLOCK)
        if bounded:
            value, tie = _outlook(inner, least[block], times, product, weight, tie_time)
            if _worse(value, tie, best, shared, rank >= best[RANK]):
                counters[CUT] += high - low
                continue
        counters[PRICED] += high - low
        _price(inner, fourth, low, high, most, times, product, weight, scratch)
        _keep(inner, fourth, low, high, times, goal, rank, splits, best, shared, scratch)


@compiled
def _subtree(
    tables: Tables,
    times: int,
    goal: tuple[bool, float, bool],
    rank: float,
    splits: tuple[int, int],
    best: Array,
    shared: Array,
    counters: Array,
    bounded: bool,
    room: Room,
) -> None:
    """Look through all mappings with a split of the first and one of the second group.

    The bounds of all splits of the third group are worked out side by side first.
    """
    one, two, three, forms, (rest, columns, _, most), fourth = tables
    pair, _, outer, inner, outlook, _ = room
    product, weight, _ = goal
    first, second = splits
    for term in range(pair.shape[0]):
        pair[term] = one[term, first] * two[term, second]
    outer[:, -1] = forms[2]
    inner[:, -1] = forms[2]
    if bounded:
        _fix(pair, forms, columns, outer)
    for low in range(0, three.shape[1], BLOCK):
        high = min(three.shape[1], low + BLOCK)
        if bounded:
            _price(outer, rest, low, high, most, times, product, weight, outlook)
        for third in range(low, high):
            if bounded and outlook[0, third - low] > min(shared[0], best[PRIMARY]):
                counters[CUT] += fourth[0].shape[1]
                continue
            found = (first, second, third)
            _triple(tables, times, goal, rank, found, best, shared, counters, bounded, room)


@compiled
def search(
    tables: Tables,
    times: int,
    goal: tuple[bool, float, bool],
    order: Array,
    ranks: Array,
    best: Array,
    shared: Array,
    counters: Array,
    budget: int,
    bounded: bool,
    room: Room,
) -> None:
    """Look through subtrees for a mapping better than ``best``.

    Parameters
    ----------
    tables : arrays
        What the splits of the first three groups contribute, each (terms, splits). The forms, which
        are energy, the linear part of the objective, the times, and the limits (at most 0): form
        and term of each weight, the weights, and the constant of each form. Of the third group,
        times the least of the fourth, and of the fourth: the different rows, (columns, splits), the
        column of each term, and what :func:`extremes` makes of them.
    times : int
        How many times there are.
    goal : (bool, float, bool)
        Whether the objective is a product with the time, or else the weight of the time; whether
        ties are broken by time and not by energy.
    order, ranks : arrays
        Subtrees (a split of the first times one of the second group), and the place of each in the
        fixed order that decides between equals.
    best : array
        What was found; see ``PRIMARY`` to ``FOUND``.
    shared : array
        The least value that anyone has found.
    counters : array
        See ``PRICED`` to ``DONE``.
    budget : int
        No further subtree is begun after so many mappings.
    bounded : bool
        Whether bounds are used; otherwise every mapping is priced.
    room : arrays (terms,) twice, (forms, columns + 1) twice, and (3, ``BLOCK``) twice
        To work in.
    """
    width = tables[1].shape[1]
    while counters[DONE] < order.shape[0] and counters[PRICED] < budget:
        subtree, rank = order[counters[DONE]], float(ranks[counters[DONE]])
        counters[DONE] += 1
        splits = (subtree // width, subtree % width)
        _subtree(tables, times, goal, rank, splits, best, shared, counters, bounded, room)
