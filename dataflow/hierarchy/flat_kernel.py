"""The compiled pass that prices mappings from their loop bounds, with nothing shared."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from celosia.dataflow.jit import compiled

Array: TypeAlias = np.ndarray[Any, Any]
Ragged: TypeAlias = tuple[Array, Array]
FlatTables: TypeAlias = tuple[Ragged, Array, Ragged, Ragged, Array, Array, Array]

_WIDTH = 128
"""Mappings that lie side by side in the room to work in, which stays in the first cache."""


@compiled
def _multiply(lists: Ragged, row: int, factors: Array, low: int, count: int, out: Array) -> None:
    """Multiply ``out`` by the rows of ``factors`` that a list names."""
    starts, members = lists
    for member in range(starts[row], starts[row + 1]):
        values = factors[members[member], low : low + count]
        for place in range(count):
            out[place] *= values[place]


@compiled
def _multiply_all(
    tables: FlatTables,
    bounds: Array,
    low: int,
    count: int,
    product: Array,
    reach: Array,
    term: Array,
) -> None:
    """Work out products, reaches and terms of ``count`` mappings."""
    products, reaches, counted, reached, _, _, _ = tables
    for row in range(product.shape[0]):
        product[row, :] = 1.0
        _multiply(products, row, bounds, low, count, product[row])
    for row in range(reach.shape[0]):
        outputs, window, stride = reaches[row]
        for place in range(count):
            width = product[int(window), place]
            step = stride if stride > 0.0 else min(-stride, width)
            reach[row, place] = (product[int(outputs), place] - 1.0) * step + width
    for row in range(term.shape[0]):
        term[row, :] = 1.0
        _multiply(counted, row, product, 0, count, term[row])
        _multiply(reached, row, reach, 0, count, term[row])


@compiled
def price_bounds(
    tables: FlatTables, times: int, bounds: Array, results: tuple[Array, Array, Array]
) -> None:
    """Write energy, time and what is too much of every mapping.

    Parameters
    ----------
    tables
        Products, reaches, and what of both each term multiplies, as in
        :class:`~celosia.dataflow.hierarchy.batch.Batch`, lists as ragged arrays. The forms, which
        are energy, times and limits: row and term of each weight, the weights, and the constant of
        each row.
    times
        How many times there are.
    bounds
        Iterations of each loop, (loops, mappings).
    results
        Energy, time, excess: (mappings,) each.
    """
    products, reaches, counted, _, entries, weights, constants = tables
    energy, time, over = results
    product = np.empty((products[0].shape[0] - 1, _WIDTH))
    reach = np.empty((reaches.shape[0], _WIDTH))
    term = np.empty((counted[0].shape[0] - 1, _WIDTH))
    form = np.empty((constants.shape[0], _WIDTH))
    for low in range(0, bounds.shape[1], _WIDTH):
        count = min(_WIDTH, bounds.shape[1] - low)
        _multiply_all(tables, bounds, low, count, product, reach, term)
        for row in range(form.shape[0]):
            form[row, :] = constants[row]
        for entry in range(weights.shape[0]):
            row, weight = entries[entry, 0], weights[entry]
            values = term[entries[entry, 1]]
            for place in range(count):
                form[row, place] += weight * values[place]
        for place in range(count):
            energy[low + place] = form[0, place]
            time[low + place] = 0.0
            over[low + place] = 0.0
        for row in range(1, form.shape[0]):
            target = time if row <= times else over
            for place in range(count):
                target[low + place] = max(target[low + place], form[row, place])
