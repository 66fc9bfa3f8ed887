"""Many mappings of one class priced side by side, each from its own loop bounds.

Factors are perfect here: a mapping is the number of iterations of each slot of a skeleton, and no
work is shared between mappings. :func:`price_batch` is written against an array namespace: numpy,
or torch where a GPU is there; nothing here imports the latter. :func:`price_flat` is the same in
one compiled pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

from celosia.dataflow.hierarchy.architecture import Architecture, Factors, InputTile
from celosia.dataflow.hierarchy.flat_kernel import FlatTables, price_bounds
from celosia.dataflow.hierarchy.forms import Column, Copies, Extent, Form, Swept, Tile, forms
from celosia.dataflow.hierarchy.layer import Dim, Layer
from celosia.dataflow.hierarchy.options import Integers, dim_options
from celosia.dataflow.hierarchy.problem import Floats
from celosia.dataflow.hierarchy.skeleton import Skeleton

Reach: TypeAlias = tuple[int, int, float]
"""Input rows of a tile: the products that are its outputs and its window, and the stride.

A negative stride stands for the smaller of its amount and the window.
"""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """The price of a class as a straight program over the bounds of its loops.

    Attributes
    ----------
    slots : tuple of (Dim, int)
        The loops, and which slot over its dimension each is; the columns of the bounds.
    products : tuple of tuple of int
        Sets of loops: their iterations multiplied.
    reaches : tuple of Reach
        Input rows and columns of tiles.
    terms : tuple of (tuple of int, tuple of int)
        The products and reaches that each term multiplies.
    energy, outside : array
        (terms + 1,): weights, and a constant last.
    times, limits : array
        (times, terms + 1) and (limits, terms + 1).
    """

    slots: tuple[tuple[Dim, int], ...]
    products: tuple[tuple[int, ...], ...]
    reaches: tuple[Reach, ...]
    terms: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...]
    energy: Floats
    outside: Floats
    times: Floats
    limits: Floats


class _Builder:
    def __init__(self, architecture: Architecture, layer: Layer, skeleton: Skeleton) -> None:
        self.architecture = architecture
        self.layer = layer
        self.slots = [(dim, i) for dim in Dim for i in range(len(skeleton.slots(dim)))]
        self.products: dict[tuple[int, ...], int] = {}
        self.reaches: dict[Reach, int] = {}

    def term(self, columns: list[Column]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the products and reaches whose product ``columns`` is."""
        counted: list[tuple[Dim, int]] = []
        reaches = []
        for column in columns:
            if isinstance(column, Swept | Extent):
                window = Dim.R if column.outputs is Dim.P else Dim.S
                dims = (column.outputs, window)
                inside = [
                    self._product([s for s in self.slots if s[0] is dim and s[1] >= cut])
                    for dim, cut in zip(dims, column.cuts, strict=True)
                ]
                stride = float(self.layer.stride)
                whole = (InputTile.BOX,) if window is Dim.R else (InputTile.BOX, InputTile.ROWS)
                if self.architecture.accounting.input_tile not in whole:
                    stride = -stride
                reach = (inside[0], inside[1], stride)
                reaches.append(self.reaches.setdefault(reach, len(self.reaches)))
                if isinstance(column, Swept):
                    for dim, cut in zip(dims, column.cuts, strict=True):
                        counted += [s for s in self.slots if s[0] is dim and s[1] < cut]
            elif isinstance(column, Copies):
                counted += [(column.dim, slot) for slot in column.slots]
            else:
                low, high = (column.cut, 99) if isinstance(column, Tile) else (0, column.cut)
                once = () if isinstance(column, Tile) else column.once
                counted += [
                    s
                    for s in self.slots
                    if s[0] is column.dim and low <= s[1] < high and s[1] not in once
                ]
        return (self._product(counted),), tuple(reaches)

    def _product(self, slots: list[tuple[Dim, int]]) -> int:
        key = tuple(sorted(self.slots.index(slot) for slot in slots))
        return self.products.setdefault(key, len(self.products))


def make_batch(architecture: Architecture, layer: Layer, skeleton: Skeleton) -> Batch:
    """Return the program that prices mappings of ``skeleton``."""
    found = forms(architecture, layer, skeleton)
    builder = _Builder(architecture, layer, skeleton)
    limits = [limit.form for limit in found.limits]
    every = [found.energy, found.outside, *found.times, *limits]
    terms = list(dict.fromkeys(term for form in every for term in form.weights))
    made = tuple(builder.term([column for group in term for column in group]) for term in terms)

    def weights(form: Form, less: int = 0) -> list[float]:
        return [*(float(form.weights.get(term, 0)) for term in terms), float(form.constant - less)]

    return Batch(
        slots=tuple(builder.slots),
        products=tuple(builder.products),
        reaches=tuple(builder.reaches),
        terms=made,
        energy=np.array(weights(found.energy)),
        outside=np.array(weights(found.outside)),
        times=np.array([weights(form) for form in found.times]),
        limits=np.array([weights(limit.form, limit.most) for limit in found.limits]),
    )


def random_bounds(
    architecture: Architecture, layer: Layer, skeleton: Skeleton, count: int, seed: int
) -> Integers:
    """Return the bounds of ``count`` mappings drawn with equal chances, (loops, mappings)."""
    rng = np.random.default_rng(seed)
    rows = []
    for dim in Dim:
        slots = skeleton.slots(dim)
        if slots:
            options = dim_options(layer.size(dim), slots, architecture, Factors.PERFECT)
            tiles = options.tiles[rng.integers(len(options.tiles), size=count)]
            around = np.column_stack([np.full(count, layer.size(dim)), tiles[:, :-1]])
            rows.append((around // tiles).T)
    return np.ascontiguousarray(np.vstack(rows))


def price_batch(xp: ModuleType, batch: Batch, bounds: Any) -> tuple[Any, Any, Any, Any]:
    """Return energy, time, words from outside, and whether each mapping fits.

    Parameters
    ----------
    xp
        ``numpy`` or ``torch``.
    batch
        The class of the mappings.
    bounds
        Iterations of each loop, (loops, mappings), double precision; on any device.

    Returns
    -------
    four arrays (mappings,)
        In the units of the architecture; exact.
    """
    one = xp.ones_like(bounds[0])
    products = []
    for slots in batch.products:
        product = one
        for slot in slots:
            product = product * bounds[slot]
        products.append(product)
    reaches = []
    for outputs, window, stride in batch.reaches:
        step = one * abs(stride)
        if stride < 0:
            step = xp.minimum(step, products[window])
        reaches.append((products[outputs] - 1) * step + products[window])
    terms = []
    for counted, reached in batch.terms:
        term = one
        for index in counted:
            term = term * products[index]
        for index in reached:
            term = term * reaches[index]
        terms.append(term)

    def total(form: Floats) -> Any:
        value = one * float(form[-1])
        for weight, term in zip(form[:-1].tolist(), terms, strict=True):
            if weight:
                value = value + term * weight
        return value

    time = one * 0
    for form in batch.times:
        time = xp.maximum(time, total(form))
    over = one * 0
    for form in batch.limits:
        over = xp.maximum(over, total(form))
    return total(batch.energy), time, total(batch.outside), over <= 0


def price_flat(batch: Batch, bounds: Floats) -> tuple[Floats, Floats, Floats]:
    """Return energy, time, and what is too much (0 where a mapping fits), by the compiled pass."""
    width = bounds.shape[1]
    results = (np.empty(width), np.empty(width), np.empty(width))
    price_bounds(flat_tables(batch), len(batch.times), bounds, results)
    return results


def flat_tables(batch: Batch) -> FlatTables:
    """Return a batch as the arrays that the compiled pass reads."""
    forms = np.vstack([batch.energy, batch.times, batch.limits])
    rows, terms = np.nonzero(forms[:, :-1])
    return (
        _ragged(batch.products),
        np.array(batch.reaches, dtype=np.float64).reshape(-1, 3),
        _ragged([counted for counted, _ in batch.terms]),
        _ragged([reached for _, reached in batch.terms]),
        np.stack([rows, terms], axis=1),
        forms[rows, terms],
        forms[:, -1].copy(),
    )


def _ragged(lists: Any) -> tuple[Integers, Integers]:
    """Return where each list begins in one array of all members, and that array."""
    starts = np.cumsum([0, *map(len, lists)]).astype(np.int64)
    return starts, np.array([member for part in lists for member in part], dtype=np.int64)
