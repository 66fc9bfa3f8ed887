from __future__ import annotations

import pytest

from celosia.dataflow.compile import compile_network
from celosia.dataflow.energy import load_energy_table
from celosia.dataflow.mapper import default_mapping
from celosia.dataflow.mapping import Dimension
from celosia.dataflow.memory import DDR4
from celosia.dataflow.presets import preset
from celosia.dataflow.program import Counter
from celosia.dataflow.search import CYCLES, DRAM, EDP, ENERGY, Pricer, Reason, layer, map_network
from celosia.dataflow.timing import timing
from celosia.models.errors import CelosiaError
from celosia.models.network import Network

from .builders import Build, k, same


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Searches of tens of mappings a step."""
    monkeypatch.setitem(map_network.__kwdefaults__, "effort", 800)
    monkeypatch.setattr(layer, "_REACHED", 300)


def network() -> Network:
    build = Build()
    first = build.conv(build.input((8, 12, 12)), 16, same(3))
    middle = build.conv(first, 16, same(3))
    last = build.conv(middle, 16, same(3), residual=first)
    build.conv(build.pool(last, k(2, stride=(2, 2))), 40, k(1))
    return build.network()


@pytest.mark.parametrize("objective", [CYCLES, ENERGY, EDP, DRAM], ids=lambda o: o.name)
def test_never_worse_than_the_default_and_exact(objective) -> None:
    target = preset("small")
    mapped = map_network(network(), target, DDR4, objective=objective)
    exact = timing(compile_network(network(), target, mapped.mapping), DDR4)
    assert mapped.costs.cycles == exact.cycles
    assert all(exact.counters[counter] == count for counter, count in mapped.counters.items())
    assert mapped.costs.energy == mapped.energy.total
    beats = exact.counters[Counter.READ_BEATS] + exact.counters[Counter.WRITE_BEATS]
    assert mapped.costs.dram == beats * target.bus.data_bytes
    pricer = Pricer(network(), target, DDR4, load_energy_table("cmos45"))
    plain = default_mapping(network(), target)
    before = pricer.price(
        range(len(pricer.plans)), [plain.layer(plan.step.name) for plan in pricer.plans]
    )
    assert mapped.lower_bound < mapped.score <= objective.score(before.costs)
    assert mapped.score == objective.score(mapped.costs)


def test_the_search_finds_what_the_default_misses() -> None:
    target = preset("small")
    plain = timing(compile_network(network(), target), DDR4).cycles
    assert map_network(network(), target, DDR4).costs.cycles < plain


def test_the_same_mapping_each_time() -> None:
    one, other = (map_network(network(), preset("tiny"), DDR4).mapping for _ in range(2))
    assert one == other


def test_steps_say_what_bounds_them() -> None:
    mapped = map_network(network(), preset("small"), DDR4)
    assert [step.name for step in mapped.steps] == [name for name, _ in mapped.mapping.layers]
    assert mapped.steps[1].reason is Reason.COMPUTE
    assert all(step.costs.cycles > step.bound.costs.cycles for step in mapped.steps)


def test_only_what_is_admitted_is_taken() -> None:
    def narrow(plan, mapping) -> bool:
        return plan.tile(mapping)[Dimension.OX] <= 4

    mapped = map_network(network(), preset("small"), DDR4, admits=narrow)
    free = map_network(network(), preset("small"), DDR4)
    pricer = Pricer(network(), preset("small"), DDR4, load_energy_table("cmos45"))
    for plan in pricer.plans:
        assert narrow(plan, mapped.mapping.layer(plan.step.name))
    assert mapped.costs.cycles > free.costs.cycles
    with pytest.raises(CelosiaError, match=r"layer 'op0': none of the mappings that were tried"):
        map_network(network(), preset("small"), DDR4, admits=lambda _plan, _mapping: False)


def test_time_is_kept_and_the_default_is_what_is_left() -> None:
    target = preset("small")
    mapped = map_network(network(), target, DDR4, seconds=0)
    plain = timing(compile_network(network(), target), DDR4).cycles
    assert mapped.costs.cycles == plain
