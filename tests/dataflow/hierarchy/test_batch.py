"""Mappings side by side: numpy, torch and the compiled pass agree with the exact price."""

import random

import numpy as np
import torch

from celosia.dataflow.hierarchy.architecture_file import read_architecture
from celosia.dataflow.hierarchy.batch import make_batch, price_batch, price_flat, random_bounds
from celosia.dataflow.hierarchy.layer import Layer
from celosia.dataflow.hierarchy.mapping import Loop, Mapping, Store
from celosia.dataflow.hierarchy.price import price
from celosia.dataflow.hierarchy.skeleton import skeletons

from .architectures import deep, flat, small

SEED = 20261124
COUNT = 300


def cases():
    for architecture, sizes in (
        (read_architecture("a"), "16,32,8,8,3,3,1"),
        (small(60, 8, '[accounting]\ninput_tile = "touched"'), "4,6,4,4,3,2,2"),
        (deep(), "4,4,6,2,3,1,1"),
        (flat(), "4,4,6,2,1,1,3"),
    ):
        layer = Layer.parse(sizes)
        classes = skeletons(architecture, layer)
        for skeleton in random.Random(SEED).sample(classes, min(6, len(classes))):
            bounds = random_bounds(architecture, layer, skeleton, COUNT, SEED)
            yield architecture, layer, skeleton, bounds


def mapping_of(layer, skeleton, batch, bounds):
    """Return the mapping with these iterations."""
    tiles = {}
    left = {dim: layer.size(dim) for dim, _ in batch.slots}
    for (dim, slot), count in zip(batch.slots, bounds.tolist(), strict=True):
        left[dim] //= count
        tiles[dim, slot] = left[dim]
    seen = dict.fromkeys(left, 0)
    steps = []
    for place in skeleton.places:
        if isinstance(place, Store):
            steps.append(place)
            continue
        tile = tiles[place.dim, seen[place.dim]]
        steps.append(Loop(dim=place.dim, tile=tile, axis=place.axis))
        seen[place.dim] += 1
    return Mapping(steps=tuple(steps)).trimmed(layer)


def test_all_ways_agree_and_are_the_price():
    fitting = 0
    for architecture, layer, skeleton, bounds in cases():
        batch = make_batch(architecture, layer, skeleton)
        reals = bounds.astype(np.float64)
        energy, time, outside, fits = price_batch(np, batch, reals)
        for got, want in zip(
            price_batch(torch, batch, torch.from_numpy(reals)),
            (energy, time, outside, fits),
            strict=True,
        ):
            assert np.array_equal(got.numpy(), want)
        compiled = price_flat(batch, reals)
        assert np.array_equal(compiled[0], energy)
        assert np.array_equal(compiled[1], time)
        assert np.array_equal(compiled[2] <= 0, fits)
        for index in np.flatnonzero(fits)[:8]:
            cost = price(architecture, layer, mapping_of(layer, skeleton, batch, bounds[:, index]))
            what = f"seed {SEED}: {architecture.name}, {layer}, {skeleton}"
            assert energy[index] == cost.energy * architecture.energy_unit, what
            assert time[index] == cost.cycles * architecture.time_unit, what
            assert outside[index] == cost.words("dram"), what
            fitting += 1
    assert fitting > 50


def test_bounds_are_whole_layers():
    for _, layer, _, bounds in cases():
        assert bounds.min() >= 1
        assert np.prod(bounds.astype(object), axis=0).tolist() == [layer.macs] * COUNT
