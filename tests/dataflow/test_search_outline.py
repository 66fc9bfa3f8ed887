"""What is timed without a program against the compiled program's timing, and the same refusals."""

from __future__ import annotations

import numpy as np
import pytest

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.compile import compile_network
from celosia.dataflow.mapping import Mapping
from celosia.dataflow.memory import DDR4, MemoryModel
from celosia.dataflow.presets import preset
from celosia.dataflow.random_mapping import random_network_mapping
from celosia.dataflow.search import pricing
from celosia.dataflow.search.outline import outline
from celosia.dataflow.table import tabulate
from celosia.dataflow.timing import timing
from celosia.dataflow.tokens import check_table
from celosia.models.errors import CelosiaError
from celosia.models.formats import parse_format
from celosia.models.network import Network
from celosia.models.random_network import random_network

from .builders import Build, same

FORMATS = tuple(parse_format(name) for name in ("fixed4", "sp2_4", "fixed8"))


def check(
    network: Network, target: Accelerator, memory: MemoryModel, mapping: Mapping | None = None
) -> None:
    program = compile_network(network, target, mapping)
    found, wanted = outline(network, target, memory, mapping), timing(program, memory)
    assert found.timing == wanted
    assert [layer.stalls for layer in found.timing.layers] == [
        each.stalls for each in wanted.layers
    ]
    layers = [(layer.name, layer.products) for layer in program.layers]
    assert [(layer.name, layer.products) for layer in found.layers] == layers
    assert (found.products, found.samples) == (program.products, program.samples)
    for name in network.inputs:
        assert found.placement(name).address == program.placement(name).address


@pytest.mark.parametrize("name", ["tiny", "small", "zcu102"])
@pytest.mark.parametrize("seed", [11, 12])
def test_timing_is_that_of_the_program(seed: int, name: str) -> None:
    network, target = random_network(seed, FORMATS), preset(name)
    check(network, target, DDR4)
    mapping = random_network_mapping(network, target, np.random.default_rng(seed))
    check(network, target, MemoryModel(latency=7, bytes_per_cycle=3, outstanding=2), mapping)


def test_what_is_stored_between_one_another_is_timed_so() -> None:
    build = Build()
    source = build.input((6, 9, 5))
    parts = [build.conv(source, 12, same(3)) for _ in range(3)]
    build.conv(build.interleave(*parts), 10, same(3))
    check(build.network(), preset("tiny"), DDR4)
    check(build.network(), preset("small"), DDR4)


def test_what_the_compiler_refuses_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    network, target = random_network(11, FORMATS), preset("tiny")
    with pytest.raises(CelosiaError, match=r"mapping: layer '.*' is missing"):
        outline(network, target, DDR4, Mapping(layers=(), samples=1))
    bits = target.bus.address_bits
    monkeypatch.setattr(pricing, "BASE_ADDRESS", (1 << bits) - 4096)
    with pytest.raises(CelosiaError, match=f"has {bits} address bits: choose a lower"):
        outline(network, target, DDR4)


def test_counters_that_could_overflow_are_refused() -> None:
    network, target = random_network(11, FORMATS), preset("tiny")
    table = tabulate(compile_network(network, target).descriptors, target)
    check_table(table)
    loads = np.repeat(table[table[:, 2] == 1][:1], 256, axis=0)
    computes = loads.copy()
    computes[:, 0], computes[:, 1], computes[:, 2] = 1, 1, 0
    with pytest.raises(ValueError, match="token LOAD_COMPUTE could count to 256"):
        check_table(np.concatenate([loads, computes]))
