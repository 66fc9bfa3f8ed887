"""Random legal mappings: what the search space holds, for tests and for searches that sample it."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.arrange import arrange
from celosia.dataflow.mapper import map_step
from celosia.dataflow.mapping import (
    ARRAY_DIMENSIONS,
    MOST_SLOTS,
    Buffering,
    Dimension,
    LayerMapping,
    Mapping,
    TileLoop,
)
from celosia.dataflow.plan import StepPlan
from celosia.dataflow.residency import residency
from celosia.models.errors import CelosiaError
from celosia.models.network import Network

_TRIES = 60
_BUFFERS = ("activations", "weights", "accumulators", "residuals", "outputs")


def random_network_mapping(
    network: Network, accelerator: Accelerator, random: np.random.Generator, samples: int = 1
) -> Mapping:
    """Return a random legal mapping of every step of ``network``, for so many samples a start.

    Where the accelerator can keep outputs, the inputs of about half of the steps that can stay on
    chip. Raises as :func:`celosia.dataflow.mapper.default_mapping` does.
    """
    arrangement = arrange(network, accelerator)
    lowered = arrangement.lowered
    plans = [StepPlan(step, arrangement, accelerator, samples) for step in lowered.steps]
    layers = [random_mapping(plan, random) for plan in plans]
    for number in range(len(layers)):
        if not accelerator.buffers.keeps or random.random() < 0.3:
            continue
        more = layers.copy()
        more[number] = replace(more[number], resident=True)
        try:
            residency(plans, more, lowered)
        except CelosiaError:
            continue
        layers = more
    names = [plan.step.name for plan in plans]
    return Mapping(layers=tuple(zip(names, layers, strict=True)), samples=samples)


def random_mapping(plan: StepPlan, random: np.random.Generator) -> LayerMapping:
    """Return a random legal mapping of ``plan``.

    Loops over memory in any order, dimensions cut up to twice, any order on the array, and
    sometimes a limit to the tiles of a buffer. The default mapping where nothing legal was found
    in some tries; raises as :func:`celosia.dataflow.mapper.map_step` does.
    """
    for attempt in range(_TRIES):
        mapping = _draw(plan, random, attempt / _TRIES)
        if plan.is_legal(mapping):
            return mapping
    return map_step(plan)


def _draw(plan: StepPlan, random: np.random.Generator, shrink: float) -> LayerMapping:
    """Return a random mapping, perhaps not legal; ``shrink`` 0..1 makes tiles smaller."""
    pieces: list[tuple[float, Dimension, int]] = []
    for dimension, whole in plan.whole.items():
        step = 1 if dimension in (Dimension.N, Dimension.K) else _size(whole, random, shrink)
        if dimension is Dimension.K and random.random() < 0.3:
            step = _size(whole, random, shrink)
        if step == whole:
            continue
        steps = [step]
        if random.random() < 0.3 and step + 1 < whole:
            steps.insert(0, int(random.integers(step + 1, whole)))
        places = sorted(random.random(len(steps)))
        if dimension in (Dimension.C, Dimension.FY, Dimension.FX):
            # Sums of many tiles rarely fit: mostly inside.
            places = [max(place, shrink) for place in places]
        pieces += [(place, dimension, n) for place, n in zip(places, steps, strict=True)]
    pieces.sort(key=lambda piece: piece[0])
    limits: dict[str, int | None] = {
        name: int(random.integers(1, MOST_SLOTS + 1)) if random.random() < 0.1 else None
        for name in _BUFFERS
    }
    limits |= {name: int(random.integers(1, 4)) for name in _BUFFERS if random.random() < 0.2}
    return LayerMapping(
        loops=tuple(TileLoop(dimension=dimension, step=step) for _, dimension, step in pieces),
        array=tuple(ARRAY_DIMENSIONS[i] for i in random.permutation(len(ARRAY_DIMENSIONS))),
        buffering=Buffering(**limits),
    )


def _size(whole: int, random: np.random.Generator, shrink: float) -> int:
    """Return a size from 1 to ``whole``, all magnitudes alike."""
    exponent = math.pow(random.random(), 0.5 + 2 * shrink)
    return max(1, round(math.pow(whole, exponent)))
