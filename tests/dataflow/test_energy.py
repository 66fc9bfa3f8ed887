"""Energy tables and sums; that counters are the hardware's is shown elsewhere."""

from __future__ import annotations

import dataclasses

import pytest

from celosia.dataflow.energy import (
    EnergyTable,
    energy,
    event_energies,
    load_energy_table,
    parse_energy_table,
)
from celosia.dataflow.presets import preset
from celosia.dataflow.program import Counter
from celosia.models.errors import CelosiaError

from .builders import accelerator

TABLE = EnergyTable(
    name="round", technology="none", source="this test", multiply_8x8=1.0, add_bit=0.5,
    sram_bit=((1024, 1.0), (4096, 2.0)), dram_bit=100.0,
)  # fmt: skip

TEXT = """
name = "mine"
technology = "t"
source = "s"
multiply_8x8 = 0.2
add_bit = 0.003
sram_bit = [[1024, 0.1], [4096, 0.2]]
dram_bit = 20.0
"""


def test_memory_costs_grow_along_a_line_in_logarithms() -> None:
    assert [TABLE.memory_bit(size) for size in (256, 1024, 2048, 4096, 16384)] == pytest.approx(
        [0.5, 1, 2**0.5, 2, 4]
    )


def test_horowitz_numbers_are_found_again() -> None:
    table = load_energy_table("cmos45")
    assert 64 * table.memory_bit(8192) == pytest.approx(10)
    assert 64 * table.memory_bit(32768) == pytest.approx(20)
    assert 64 * table.memory_bit(1 << 20) == pytest.approx(100)
    assert 32 * table.add_bit == pytest.approx(0.1)
    assert table.multiply_8x8 == 0.2
    assert 1300 <= 64 * table.dram_bit <= 2600


def test_a_step_costs_its_products_and_additions() -> None:
    # 2 columns of fixed8 and 1 of sp2_4, 4 lanes, 2 pixels, 8-bit activations.
    target = accelerator({"fixed8": 2, "sp2_4": 1}, 4, 2)
    step = event_energies(target, TABLE)[Counter.COMPUTE_STEPS]
    fixed, sp2 = 2 * 4 * 2, 1 * 4 * 2
    assert step.products == pytest.approx(fixed * 1.0 + sp2 * 2 * 12 * 0.5)
    assert step.sums == pytest.approx((fixed * 16 + sp2 * 12 + 3 * 2 * 32) * 0.5)
    assert step.dram == step.activations == 0


def test_the_total_is_the_sum_of_its_parts_and_linear_in_the_counts() -> None:
    target = preset("small")
    counters = {counter: index + 1 for index, counter in enumerate(Counter)}
    once = energy(counters, target, TABLE)
    twice = energy({counter: 2 * count for counter, count in counters.items()}, target, TABLE)
    parts = [getattr(once, field.name) for field in dataclasses.fields(once)]
    assert all(part > 0 for part in parts)
    assert once.total == pytest.approx(sum(parts))
    assert twice.total == pytest.approx(2 * once.total)
    # Time alone costs nothing.
    assert energy(counters | {Counter.CYCLES: 10**9}, target, TABLE) == once


def test_memory_is_charged_by_the_beat() -> None:
    target = preset("small")
    zero = dict.fromkeys(Counter, 0)
    written = energy(zero | {Counter.WRITE_BEATS: 3}, target, TABLE)
    assert written.total == written.dram == pytest.approx(3 * target.bus.data_bits * 100)


@pytest.mark.parametrize("name", ["cmos45", "fpga"])
def test_the_tables_of_the_package_name_their_source(name: str) -> None:
    assert len(load_energy_table(name).source) > 40


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dram_bit": 0}, "dram_bit must be above 0, not 0"),
        ({"add_bit": "1"}, "add_bit must be a number, not '1'"),
        ({"source": ""}, "source must be a text"),
        ({"sram_bit": ((1024, 1.0),)}, "two sizes at least"),
        ({"sram_bit": ((1024, 1.0), (512, 2.0))}, "rising capacities"),
        ({"sram_bit": ((1024, 1.0), (2048, -2.0))}, "sram_bit must be above 0"),
    ],
)
def test_wrong_numbers_are_refused(change: dict, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        dataclasses.replace(TABLE, **change)


def test_files_are_read_and_refused() -> None:
    assert parse_energy_table(TEXT, "x").memory_bit(4096) == pytest.approx(0.2)
    with pytest.raises(CelosiaError, match=r"x: must have the keys name, .*dram_bit"):
        parse_energy_table(TEXT.replace("dram_bit", "dram"), "x")
    with pytest.raises(CelosiaError, match=r"x: dram_bit must be above 0, not -1"):
        parse_energy_table(TEXT.replace("20.0", "-1"), "x")
    with pytest.raises(CelosiaError, match="x: not a TOML file"):
        parse_energy_table("=", "x")
    with pytest.raises(CelosiaError, match=r"cannot read energy table none: .*cmos45, fpga"):
        load_energy_table("none")
