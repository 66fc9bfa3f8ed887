from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from celosia.dataflow.accesses import Traffic
from celosia.dataflow.compile import compile_network
from celosia.dataflow.mapping import Dimension, Mapping, tiled
from celosia.dataflow.memory import DDR4, IDEAL, MemoryModel
from celosia.dataflow.program import Counter
from celosia.dataflow.random_mapping import random_network_mapping
from celosia.dataflow.stalls import Stall
from celosia.dataflow.timing import Timing, timing
from celosia.models.random_network import random_network

from .builders import ACCELERATORS, FORMATS, Build, accelerator, k, same

K, OY, C = Dimension.K, Dimension.OY, Dimension.C
READ = (
    Traffic.ACTIVATIONS, Traffic.WEIGHTS, Traffic.CONSTANTS, Traffic.RESIDUALS, Traffic.PROGRAM,
)  # fmt: skip


@pytest.mark.parametrize("name", ["2x4x1", "24x12x3"])
@pytest.mark.parametrize("seed", range(5))
def test_every_cycle_has_one_cause(seed: int, name: str) -> None:
    target = ACCELERATORS[name]
    target = replace(target, buffers=replace(target.buffers, activations=512, activation_banks=2))
    network = random_network(seed, FORMATS)
    mapping = random_network_mapping(network, target, np.random.default_rng(seed))
    program = compile_network(network, target, mapping)
    for memory in (IDEAL, DDR4, MemoryModel(latency=120, bytes_per_cycle=3, outstanding=2)):
        found = timing(program, memory)
        assert sum(found.stalls.values()) == found.cycles
        assert min(min(layer.stalls.values()) for layer in found.layers) >= 0
        assert found.stalls[Stall.NONE] == found.counters[Counter.COMPUTE_STEPS]
        beats = found.counters[Counter.READ_BEATS], found.counters[Counter.WRITE_BEATS]
        read = sum(found.traffic[kind] for kind in READ)
        written = sum(n for kind, n in found.traffic.items() if kind not in READ)
        assert (read, written) == tuple(n * target.bus.data_bytes for n in beats)


def cost(
    order: tuple[tuple[Dimension, int], ...], memory: MemoryModel, depths: tuple[int, ...]
) -> Timing:
    """Return the timing of one 3x3 layer, or 1x1 if it is not summed in parts."""
    build = Build()
    build.conv(build.input((16, 12, 12)), 32, same(3))
    target = accelerator({"fixed8": 8}, 8, 1, depths=depths, post_lanes=1)  # type: ignore[arg-type]
    mapping = Mapping(layers=(("op0", tiled(order)),))
    return timing(compile_network(build.network(), target, mapping), memory)


WIDE = (2048, 512, 512, 64, 8, 2048)


def most(found: Timing) -> Stall:
    """Return what, other than computing, took most."""
    return max((s for s in Stall if s is not Stall.NONE), key=lambda s: found.stalls[s])


def test_the_cause_is_what_was_made_scarce() -> None:
    quick = MemoryModel(latency=1, bytes_per_cycle=64, outstanding=64)
    order = ((OY, 4), (K, 1))
    slow = MemoryModel(latency=1, bytes_per_cycle=1, outstanding=64)
    assert most(cost(order, slow, WIDE)) is Stall.BANDWIDTH
    # One slot of weights: each tile of weights is asked for when the one before was used.
    far = MemoryModel(latency=400, bytes_per_cycle=64, outstanding=64)
    single = (2048, 9, 512, 64, 8, 2048)
    assert most(cost((*order, (C, 1)), far, single)) is Stall.LATENCY
    # One slot of sums: they must be drained before the next tile begins, one lane a cycle.
    found = cost(order, quick, (2048, 512, 48, 64, 8, 2048))
    assert most(found) is Stall.POST


def test_a_layer_waits_for_the_one_before() -> None:
    build = Build()
    first = build.conv(build.input((8, 8, 8)), 8, k(1))
    build.conv(first, 8, k(1))
    target = accelerator({"fixed8": 8}, 8, 1, post_lanes=8)
    whole = tiled(((K, 1),))
    mapping = Mapping(layers=(("op0", whole), ("op1", whole)))
    found = timing(compile_network(build.network(), target, mapping), DDR4)
    assert found.layers[1].stalls[Stall.OUTPUTS] > found.layers[0].stalls[Stall.OUTPUTS] == 0
    assert found.layers[0].stalls[Stall.TAIL] == 0
    assert found.layers[1].stalls[Stall.TAIL] > 0
