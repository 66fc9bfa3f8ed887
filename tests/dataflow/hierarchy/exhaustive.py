"""Every mapping of a tiny layer, priced one by one: no loop is assumed to be of no use."""

from __future__ import annotations

import itertools

from celosia.dataflow.hierarchy.architecture import Factors
from celosia.dataflow.hierarchy.layer import Dim, Tensor
from celosia.dataflow.hierarchy.mapping import Loop, Mapping, Store
from celosia.dataflow.hierarchy.price import price


def divisors(tile, factors):
    if factors is Factors.PERFECT:
        return [t for t in range(1, tile + 1) if tile % t == 0]
    return list(range(1, tile + 1))


def chains(size, places, factors):
    """Yield all lists of tiles, one for each place, the last 1."""
    if places == 1:
        yield (1,)
        return
    for tile in divisors(size, factors):
        for rest in chains(tile, places - 1, factors):
            yield (tile, *rest)


def store_orders(architecture):
    """Return the orders of all stores in which each tensor's follow its levels."""
    stores = [
        Store(tensor=tensor, level=architecture.levels[place].name)
        for tensor in Tensor
        for place in architecture.path(tensor)[1:]
    ]
    return [
        order
        for order in itertools.permutations(stores)
        if all(
            [architecture.place(s.level) for s in order if s.tensor is tensor]
            == list(architecture.path(tensor)[1:])
            for tensor in Tensor
        )
    ]


def gap_orders(loops):
    """Yield the orders of the loops of all gaps; loops of one iteration are left out."""
    return itertools.product(*(itertools.permutations(gap) for gap in loops))


def every_mapping(architecture, layer, factors):
    """Yield all nests: any loop anywhere, in any order; tiles as ``factors`` says."""
    dims = [dim for dim in Dim if layer.size(dim) > 1]
    for stores in store_orders(architecture):
        gaps = len(stores) + 1
        places = [("gap", gap) for gap in range(gaps)]
        for axis in reversed(architecture.axes):
            outer = architecture.axis_place(axis)
            first = next(
                (i for i, s in enumerate(stores) if architecture.place(s.level) >= outer),
                len(stores),
            )
            places.insert(places.index(("gap", first)) + 1, (axis, first))
        mine = {dim: [p for p in places if p[0] == "gap" or dim in p[0].spreads] for dim in dims}
        for choice in itertools.product(
            *(chains(layer.size(dim), len(mine[dim]), factors) for dim in dims)
        ):
            loops = [[] for _ in range(gaps)]
            spread = [[] for _ in range(gaps)]
            for dim, tiles in zip(dims, choice, strict=True):
                before = layer.size(dim)
                for (kind, gap), tile in zip(mine[dim], tiles, strict=True):
                    if tile == before:
                        continue
                    before = tile
                    if kind == "gap":
                        loops[gap].append(Loop(dim=dim, tile=tile))
                    else:
                        spread[gap].append(Loop(dim=dim, tile=tile, axis=kind.name))
            for order in gap_orders(loops):
                steps = []
                for gap, block in enumerate(order):
                    steps += [*block, *spread[gap], *stores[gap : gap + 1]]
                yield Mapping(steps=tuple(steps))


def every_price(architecture, layer, factors):
    for mapping in every_mapping(architecture, layer, factors):
        try:
            yield price(architecture, layer, mapping.lifted())
        except ValueError:
            continue
