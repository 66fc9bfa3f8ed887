"""The timeline: complete, in order, and its sums are the counters."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from celosia.dataflow.compile import compile_network
from celosia.dataflow.descriptors import Compute, Token, Unit
from celosia.dataflow.memory import DDR4, IDEAL, MemoryModel
from celosia.dataflow.program import Counter
from celosia.dataflow.random_mapping import random_network_mapping
from celosia.dataflow.stalls import Stall
from celosia.dataflow.timeline import timeline
from celosia.dataflow.timing import timing
from celosia.models.random_network import random_network

from .builders import ACCELERATORS, FORMATS

BUSY = {
    Unit.LOAD: Counter.LOAD_BUSY,
    Unit.COMPUTE: Counter.COMPUTE_STEPS,
    Unit.POST: Counter.POST_STEPS,
    Unit.STORE: Counter.STORE_BUSY,
}


@pytest.mark.parametrize("seed", range(4))
def test_sums_are_the_counters(seed: int) -> None:
    target = ACCELERATORS["2x4x1"]
    target = replace(target, buffers=replace(target.buffers, activations=512, activation_banks=2))
    network = random_network(seed, FORMATS)
    mapping = random_network_mapping(network, target, np.random.default_rng(seed))
    program = compile_network(network, target, mapping)
    for memory in (IDEAL, DDR4, MemoryModel(latency=120, bytes_per_cycle=3, outstanding=2)):
        found, expected = timeline(program, memory), timing(program, memory)
        assert found.cycles == expected.cycles
        assert [layer.cycles for layer in found.layers] == [n.cycles for n in expected.layers]
        for unit, counter in BUSY.items():
            spans = found.of(unit)
            assert sum(span.end - span.begin for span in spans) == expected.counters[counter]
            ends = [n for span in spans for n in (span.begin, span.end)]
            assert ends == sorted(ends), unit
            shares = found.busy(unit, 7)
            assert shares.min() >= 0
            assert shares.max() <= 1 + 1e-9
            assert shares.mean() * found.cycles == pytest.approx(expected.counters[counter])
        for stall in Stall:
            waited = sum(w.end - w.begin for w in found.waits if w.stall is stall)
            assert waited == (0 if stall is Stall.NONE else expected.stalls[stall])
        # Of array time nothing is left out and nothing is there twice.
        pieces = [(span.begin - 1, span.end - 1) for span in found.of(Unit.COMPUTE)]
        pieces += [(wait.begin, wait.end) for wait in found.waits]
        pieces.sort()
        assert pieces[0][0] == 0
        assert pieces[-1][1] == found.cycles
        assert all(first[1] == then[0] for first, then in itertools.pairwise(pieces))


def test_every_descriptor_has_its_layer_and_tile() -> None:
    program = compile_network(random_network(1, FORMATS), ACCELERATORS["2x4x1"])
    found = timeline(program, DDR4)
    assert [span.descriptor for span in found.spans] == list(range(len(program.descriptors) - 1))
    for number, layer in enumerate(program.layers):
        mine = [span for span in found.spans if span.layer == number]
        assert [span.descriptor for span in mine] == list(range(layer.first, layer.stop))
        computes = sum(
            isinstance(descriptor, Compute)
            for descriptor in program.descriptors[layer.first : layer.stop]
        )
        assert {span.tile for span in mine if span.unit is Unit.COMPUTE} == set(range(computes))
        assert {span.what for span in mine} >= {"load weights", "compute", "post", "store", "stamp"}


def test_tokens_rise_and_fall() -> None:
    program = compile_network(random_network(1, FORMATS), ACCELERATORS["2x4x1"])
    found = timeline(program, DDR4)
    assert Token.STORE_COMPUTE not in found.levels
    for token, levels in found.levels.items():
        cycles = [cycle for cycle, _ in levels]
        assert cycles == sorted(set(cycles)), token
        assert all(0 <= level <= 255 for _, level in levels), token
    assert max(level for _, level in found.levels[Token.LOAD_COMPUTE]) >= 1


def test_no_bins_are_refused() -> None:
    program = compile_network(random_network(1, FORMATS), ACCELERATORS["2x4x1"])
    with pytest.raises(ValueError, match="bins must be at least 1, not 0"):
        timeline(program, DDR4).busy(Unit.LOAD, 0)
