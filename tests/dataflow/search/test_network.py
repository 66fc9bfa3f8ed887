from __future__ import annotations

from celosia.dataflow.compile import compile_network
from celosia.dataflow.memory import DDR4
from celosia.dataflow.presets import preset
from celosia.dataflow.program import Counter
from celosia.dataflow.search import map_network
from celosia.dataflow.timing import timing
from celosia.models.formats import parse_format
from celosia.models.random_network import random_network


def test_costs_are_those_of_the_compiled_program() -> None:
    network, target = random_network(3, (parse_format("fixed8"),)), preset("small")
    mapped = map_network(network, target, DDR4)
    exact = timing(compile_network(network, target, mapped.mapping), DDR4)
    assert mapped.timing == exact
    assert mapped.costs.cycles == exact.cycles
    beats = exact.counters[Counter.READ_BEATS] + exact.counters[Counter.WRITE_BEATS]
    assert mapped.costs.dram == 8 * beats
    assert mapped.costs.energy == mapped.energy.total > 0
