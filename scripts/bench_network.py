"""ResNet-18 whole on the dense engine: one accelerator searched, and a thousand judged."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.arrange import SumRanges
from celosia.dataflow.array_shape import Circuit
from celosia.dataflow.energy import load_energy_table
from celosia.dataflow.explore.demand import demand
from celosia.dataflow.explore.knobs import Point
from celosia.dataflow.explore.space import AcceleratorSpace
from celosia.dataflow.mapper import map_steps
from celosia.dataflow.memory import DDR4
from celosia.dataflow.presets import preset
from celosia.dataflow.search import Pricer, judge, map_network
from celosia.models.errors import CelosiaError
from celosia.models.network import Network
from celosia.models.networks.catalogue import build
from celosia.scripts.console import Report

_PRESET = "zcu102"
_SEED = 20261121
_SECONDS = 0.5


@cache
def _network() -> Network:
    return build("resnet18")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """What a sweep took, in CPU seconds, and found.

    ``refused`` of the ``accelerators`` cannot run the network: one tile of a layer does not fit a
    buffer. ``cycles`` and ``lower_bound`` are sums over all others.
    """

    seconds: float
    accelerators: int
    refused: int
    cycles: int
    lower_bound: int


def draw(network: Network, count: int) -> list[Accelerator]:
    """Return ``count`` different accelerators of the space that explore searches for a ZCU102."""
    space = AcceleratorSpace([demand(network)], Circuit.DSP, "drawn")
    random = np.random.default_rng(_SEED)
    found: dict[Accelerator, None] = {}
    while len(found) < count:
        point: Point = ()
        while len(point) < len(space.knobs):
            point = (*point, int(random.choice(space.allowed(point))))
        found[space.accelerator(point)] = None
    return list(found)


def sweep(network: Network, count: int, report: Report) -> Sweep:
    """Judge ``count`` accelerators: the mapper's choice for every layer, timed to the cycle."""
    table = load_energy_table("cmos45")
    accelerators = draw(network, count)
    judge(network, preset("tiny"), DDR4, table)  # loads the kernels
    ranges = SumRanges(network)
    refused = cycles = least = 0
    began = time.process_time()
    for done, accelerator in enumerate(accelerators):
        report("accelerators", done, count)
        try:
            judged = judge(network, accelerator, DDR4, table, ranges)
        except CelosiaError:
            refused += 1
            continue
        cycles += judged.costs.cycles
        least += judged.bound.cycles
    return Sweep(
        seconds=time.process_time() - began, accelerators=count, refused=refused, cycles=cycles,
        lower_bound=least,
    )  # fmt: skip


def one_accelerator(report: Report) -> dict[str, Any]:
    """Return the CPU seconds of the whole search of ResNet-18's mapping, and its certificate."""
    report("resnet18", 0, 1)
    network = _network()
    judge(network, preset(_PRESET), DDR4, load_energy_table("cmos45"))  # loads the kernels
    began = time.process_time()
    mapped = map_network(network, preset(_PRESET), DDR4)
    return {
        "resnet18_seconds": time.process_time() - began,
        "resnet18_cycles": mapped.costs.cycles,
        "resnet18_lower_bound": int(mapped.lower_bound),
    }


def layer_pricing(report: Report) -> dict[str, Any]:
    """Return the CPU microseconds of one exact price of one layer, of a mean layer of ResNet-18.

    Each is emitted, walked and counted anew, in the mapper's own choice; nothing is looked up.
    """
    report("layer pricing", 0, 1)
    pricer = Pricer(_network(), preset(_PRESET), DDR4, load_energy_table("cmos45"))
    layers = [layer for _, layer in map_steps(list(pricer.plans)).layers]
    rows = sum(len(pricer.alone(number, layer).table) for number, layer in enumerate(layers))
    priced, began = 0, time.process_time()
    while time.process_time() - began < _SECONDS:
        for number, layer in enumerate(layers):
            pricer.alone(number, layer)
        priced += len(layers)
    return {
        "layer_pricing_us": 1e6 * (time.process_time() - began) / priced,
        "layer_pricing_descriptors": rows / len(layers),
    }


def many_accelerators(report: Report, count: int) -> dict[str, Any]:
    """Return the CPU seconds of judging ``count`` accelerators for ResNet-18, and what was found.

    Each that can run it is priced exactly: none is left out because of a bound.
    """
    found = sweep(_network(), count, report)
    return {
        "sweep_seconds": found.seconds,
        "sweep_accelerators": found.accelerators,
        "sweep_refused": found.refused,
        "sweep_cycles": found.cycles,
        "sweep_lower_bound": found.lower_bound,
    }
