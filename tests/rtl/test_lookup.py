"""A post lane's tables: what is written is looked up two cycles later, by the lowest bits."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from amaranth.sim import Simulator

from celosia.dataflow.accelerator import Tables
from celosia.dataflow.descriptors import Buffer, Load, Post, Transfer
from celosia.dataflow.microarchitecture import TABLE_LATENCY
from celosia.dataflow.presets import preset
from celosia.models.network import Rounding
from celosia.rtl.descriptors import encode
from celosia.rtl.legality import LegalityCheck, Rules
from celosia.rtl.lookup import Lookup

TARGET = replace(preset("tiny"), tables=Tables(index_bits=5, count=3))


def test_codes_become_entries() -> None:
    random = np.random.default_rng(7)
    entries = random.integers(0, 256, (3, 32))
    codes = random.integers(-32, 32, 60).tolist()
    which, kinds = random.integers(0, 3, 60).tolist(), random.integers(0, 4, 60).tolist()
    dut = Lookup(TARGET)
    got: list[int] = []

    async def bench(context: Any) -> None:
        context.set(dut.write_enable, 1)
        for row, values in enumerate(entries.reshape(-1, 4).tolist()):
            context.set(dut.write_address, row)
            context.set(dut.write_data, sum(v << 8 * n for n, v in enumerate(values)))
            await context.tick()
        context.set(dut.write_enable, 0)
        for code, number, kind in zip(codes, which, kinds, strict=True):
            context.set(dut.code, code)
            context.set(dut.number, number)
            context.set(dut.enable, kind & 1)
            context.set(dut.is_signed, kind >> 1)
            await context.tick()
            got.append(context.get(dut.value))
        for _ in range(TABLE_LATENCY):
            await context.tick()
            got.append(context.get(dut.value))

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    expected = []
    for code, number, kind in zip(codes, which, kinds, strict=True):
        entry = int(entries[number, code % 32])
        signed = entry - 256 * (entry >> 7) if kind >> 1 else entry
        expected.append(signed if kind & 1 else code)
    assert got[TABLE_LATENCY - 1 :][: len(expected)] == expected


def post(table: int | None) -> Post:
    ones = dict.fromkeys(("window_x", "window_y", "out_x", "out_y", "pixels", "groups"), 1)
    zeros = dict.fromkeys(
        ("acc_window_x", "acc_window_y", "acc_out_x", "acc_out_y", "out_out_x", "out_out_y",
         "out_pixel", "out_word", "accumulators", "constants", "outputs", "residuals",
         "lane_group"), 0,
    )  # fmt: skip
    return Post(
        **ones, **zeros, low=-16, high=15, rounding=Rounding.HALF_EVEN, residual=False,
        residual_signed=False, table=table,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("tables", "descriptor", "legal"),
    [
        (3, post(2), True), (3, post(None), True), (3, post(3), False), (0, post(0), False),
        (0, post(None), True),
        (3, Load(target=Buffer.TABLES, transfer=Transfer(address=0, buffer_address=0, words=8)),
         True),
        (0, Load(target=Buffer.TABLES, transfer=Transfer(address=0, buffer_address=0, words=8)),
         False),
    ],
)  # fmt: skip
def test_only_tables_that_are_there_are_legal(
    tables: int, descriptor: Post | Load, *, legal: bool
) -> None:
    dut = LegalityCheck(replace(Rules.of(TARGET), tables=tables))

    async def bench(context: Any) -> None:
        context.set(dut.descriptor, encode(descriptor))
        await context.delay(1e-9)
        assert context.get(dut.legal) == legal

    simulator = Simulator(dut)
    simulator.add_testbench(bench)
    simulator.run()
