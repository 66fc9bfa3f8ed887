"""A referee: every iteration of a nest is made, every word is a tuple in a set."""

from __future__ import annotations

import itertools
import random
from collections import defaultdict

from celosia.dataflow.hierarchy.architecture import Architecture, InputTile
from celosia.dataflow.hierarchy.layer import Dim, Layer, Tensor
from celosia.dataflow.hierarchy.mapping import Loop, Mapping, Step, Store

MOVES = {
    Tensor.INPUT: (Dim.C, Dim.P, Dim.Q, Dim.R, Dim.S),
    Tensor.WEIGHT: (Dim.K, Dim.C, Dim.R, Dim.S),
    Tensor.OUTPUT: (Dim.K, Dim.P, Dim.Q),
}


class Walk:
    """Counts of one mapping, by (level, tensor); ``steps`` is the number of cycles."""

    def __init__(self, architecture: Architecture, layer: Layer, mapping: Mapping):
        self.architecture, self.layer, self.mapping = architecture, layer, mapping
        self.reads = defaultdict(int)
        self.writes = defaultdict(int)
        self.macs = 0
        self.times = set()
        self.seen_reads = set()  # what was read once for several copies
        self.first = {}  # (level, word of O) -> the visit in which it was first there
        self.axis = {axis.name: architecture.axis_place(axis) for axis in architecture.axes}
        self.go(0, {dim: (0, layer.size(dim)) for dim in Dim}, (), ())

    @property
    def steps(self):
        return len(self.times)

    def go(self, index, ranges, time, copies):
        if index == len(self.mapping.steps):
            return self.product(ranges, time, copies)
        step = self.mapping.steps[index]
        if isinstance(step, Store):
            self.visit(step, ranges, time, copies, arriving=True)
            self.go(index + 1, ranges, time, copies)
            self.visit(step, ranges, time, copies, arriving=False)
            return None
        low, high = ranges[step.dim]
        for number, begin in enumerate(range(low, high, step.tile)):
            inside = {**ranges, step.dim: (begin, min(high, begin + step.tile))}
            if step.axis is None:
                self.go(index + 1, inside, (*time, number), copies)
            else:
                place = (self.axis[step.axis], index, number)
                self.go(index + 1, inside, time, (*copies, place))
        return None

    def words(self, tensor, ranges):
        span = {dim: range(*ranges[dim]) for dim in Dim}
        if tensor is not Tensor.INPUT:
            return set(itertools.product(*(span[dim] for dim in MOVES[tensor])))
        mode = self.architecture.accounting.input_tile
        rows = {p * self.layer.stride + r for p in span[Dim.P] for r in span[Dim.R]}
        columns = {q * self.layer.stride + s for q in span[Dim.Q] for s in span[Dim.S]}
        if mode is InputTile.BOX:
            rows = set(range(min(rows), max(rows) + 1))
        if mode is not InputTile.TOUCHED:
            columns = set(range(min(columns), max(columns) + 1))
        return set(itertools.product(span[Dim.C], rows, columns))

    def visit(self, store, ranges, time, copies, *, arriving):
        tensor = store.tensor
        path = self.architecture.path(tensor)
        place = self.architecture.place(store.level)
        parent = self.architecture.levels[path[path.index(place) - 1]]
        outer = self.architecture.place(parent.name)
        words = self.words(tensor, ranges)
        tile = tuple(ranges[dim] for dim in MOVES[tensor])
        key = (store, arriving, time, tuple(c for c in copies if c[0] <= outer), tile)
        own = (*key, "own", tuple(c for c in copies if c[0] <= place))
        shared, mine_too = key not in self.seen_reads, own not in self.seen_reads
        self.seen_reads |= {key, own}
        mine, above = (store.level, tensor), (parent.name, tensor)
        if tensor is not Tensor.OUTPUT:
            if arriving:
                self.writes[mine] += len(words) * mine_too
                self.reads[above] += len(words) * shared
            return
        if arriving:
            fresh = {w for w in words if self.first.setdefault((store.level, w), key) == key}
            self.reads[above] += (len(words) - len(fresh)) * shared
            self.writes[mine] += (len(words) - len(fresh)) * shared
            return
        self.writes[above] += len(words) * shared
        self.reads[mine] += len(words) * mine_too * self.architecture.accounting.drain_reads

    def product(self, ranges, time, copies):
        assert all(high - low == 1 for low, high in ranges.values())
        self.macs += 1
        self.times.add(time)
        for tensor in Tensor:
            place = self.architecture.path(tensor)[-1]
            level = self.architecture.levels[place].name
            word = tuple(ranges[dim][0] for dim in MOVES[tensor])
            key = (level, tensor, time, tuple(c for c in copies if c[0] <= place), word)
            if key in self.seen_reads:
                continue
            self.seen_reads.add(key)
            self.reads[level, tensor] += 1
            if tensor is Tensor.OUTPUT:
                self.writes[level, tensor] += 1
                started = self.first.setdefault(("products", word), key) == key
                if started and not self.architecture.accounting.first_reads:
                    self.reads[level, tensor] -= 1


def random_layer(rng: random.Random, most: int = 300) -> Layer:
    while True:
        sizes = {key: rng.choice((1, 1, 2, 3, 4, 5)) for key in "ckpq"}
        window = {key: rng.choice((1, 1, 2, 3)) for key in "rs"}
        layer = Layer(**sizes, **window, stride=rng.choice((1, 1, 2, 3)))
        if layer.macs <= most:
            return layer


def random_mapping(rng: random.Random, architecture: Architecture, layer: Layer) -> Mapping:
    """Return stores in a legal order, loops anywhere, axes where they may be."""
    paths = {
        tensor: [architecture.levels[place].name for place in architecture.path(tensor)[1:]]
        for tensor in Tensor
    }
    steps: list[Step] = []
    left = {tensor: list(path) for tensor, path in paths.items()}
    axes = list(architecture.axes)
    tiles = {dim: layer.size(dim) for dim in Dim}
    spread = {axis.name: axis.size for axis in axes}

    def split(dims, axis=None):
        dim = rng.choice(dims)
        low = 1 if axis is None else -(-tiles[dim] // spread[axis])
        tiles[dim] = rng.randint(min(low, tiles[dim]), tiles[dim])
        steps.append(Loop(dim=dim, tile=tiles[dim], axis=axis))

    while any(left.values()) or axes:
        for _ in range(rng.randint(0, 2)):
            split(list(Dim))
        most = architecture.axis_place(axes[0]) if axes else 99
        tensors = [t for t, path in left.items() if path and architecture.place(path[0]) < most]
        if axes and (not tensors or rng.random() < 0.3):
            axis = axes.pop(0)
            split(axis.spreads, axis.name)
            continue
        tensor = rng.choice(tensors)
        steps.append(Store(tensor=tensor, level=left[tensor].pop(0)))
    for dim in rng.sample(list(Dim), len(Dim)):
        if tiles[dim] > 1:
            steps.append(Loop(dim=dim, tile=1))
    return Mapping(steps=tuple(steps))
