"""Tables of functions: where entries lie, what is loaded, what is priced, what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from celosia.dataflow.accelerator import Accelerator, Tables
from celosia.dataflow.compile import compile_network
from celosia.dataflow.descriptors import Buffer, Load, Post
from celosia.dataflow.energy import load_energy_table
from celosia.dataflow.lookup import table_rows, table_transfer
from celosia.dataflow.mapper import default_mapping
from celosia.dataflow.memory import SLOW
from celosia.dataflow.random_mapping import random_network_mapping
from celosia.dataflow.search import Pricer
from celosia.dataflow.table import tabulate
from celosia.dataflow.timing import timing
from celosia.models.errors import CelosiaError
from celosia.models.network import Conv, Network, Requant
from celosia.models.random_network import random_network, with_tables
from celosia.models.tables import Table

from .builders import ACCELERATORS, FORMATS, check

BITS = 6


def with_some(target: Accelerator, count: int = 2) -> Accelerator:
    return replace(target, tables=Tables(index_bits=BITS, count=count))


def drawn(seed: int) -> Network:
    return with_tables(random_network(seed, FORMATS), seed, BITS)


def requant(low: int, high: int) -> Requant:
    one = np.ones(1, np.int64)
    table = Table(function="numbers", scale=1.0, values=np.arange(high - low + 1, dtype=np.int64))
    return Requant(
        bias=0 * one, positive=one, negative=one, residual=0 * one, shift=0 * one, low=low,
        high=high, table=table,
    )  # fmt: skip


@pytest.mark.parametrize("name", list(ACCELERATORS))
@pytest.mark.parametrize("seed", range(3))
def test_random_networks_equal_the_golden_model(seed: int, name: str) -> None:
    program = check(drawn(seed), with_some(ACCELERATORS[name], count=1 + seed))
    posts = [post for post in program.descriptors if isinstance(post, Post)]
    assert any(post.table is not None for post in posts)


@pytest.mark.parametrize("seed", range(3))
def test_rows_and_cycles_of_the_search_are_the_compiled_programs(seed: int) -> None:
    network, target = drawn(seed), with_some(ACCELERATORS["8x8x1"])
    pricer = Pricer(network, target, SLOW, load_energy_table("cmos45"))
    for mapping in (
        default_mapping(network, target),
        random_network_mapping(network, target, np.random.default_rng(seed)),
    ):
        program = compile_network(network, target, mapping)
        layers = [mapping.layer(plan.step.name) for plan in pricer.plans]
        priced = pricer.price(range(len(layers)), layers)
        np.testing.assert_array_equal(priced.table, tabulate(program.descriptors, target))
        assert priced.costs.cycles == timing(program, SLOW).cycles


@pytest.mark.parametrize(
    ("low", "high"), [(0, 63), (-32, 31), (-63, 0), (0, 5), (-3, 9), (-1, 1), (7, 20), (-40, -9)]
)
def test_only_rows_that_indices_reach_are_loaded(low: int, high: int) -> None:
    target, given = with_some(ACCELERATORS["8x8x1"]), requant(low, high)
    assert given.table is not None
    assert target.tables is not None
    rows = table_rows(given, given.table, target.tables)
    size = target.word_bytes(target.table_word_bits)
    moved = table_transfer(given, target, 0x1000, 1)
    there = np.zeros(len(rows), bool)
    for run in range(moved.n1):
        first = moved.buffer_address + run * moved.d1 - len(rows)
        assert moved.address + run * moved.s1 == 0x1000 + first * size
        there[first : first + moved.words] = True
    indices = np.arange(low, high + 1) % rows.size
    np.testing.assert_array_equal(rows.ravel()[indices], given.table.values)
    assert there[indices // rows.shape[1]].all()
    if low >= 0 and high < 8:
        assert there.sum() == 2


def test_equal_tables_lie_in_memory_once() -> None:
    network = drawn(1)
    convs = [op for op in network.ops if isinstance(op, Conv) and op.requant.table is not None]
    program = compile_network(network, with_some(ACCELERATORS["8x8x1"]))
    loads = [
        load.transfer.address
        for load in program.descriptors
        if isinstance(load, Load) and load.target is Buffer.TABLES
    ]
    assert len(set(loads)) == len(convs) > 1
    shared = {op.name: replace(op, requant=replace(op.requant, **_ends(convs[0]))) for op in convs}
    formats = {network.tensor(op.output).format for op in convs}
    if len(formats) == 1:
        same = replace(network, ops=tuple(shared.get(op.name, op) for op in network.ops))
        program = compile_network(same, with_some(ACCELERATORS["8x8x1"]))
        loads = [
            load.transfer.address
            for load in program.descriptors
            if isinstance(load, Load) and load.target is Buffer.TABLES
        ]
        assert len(set(loads)) == 1


def _ends(conv: Conv) -> dict[str, object]:
    return {"low": conv.requant.low, "high": conv.requant.high, "table": conv.requant.table}


def test_what_has_no_tables_or_small_ones_refuses() -> None:
    network, target = drawn(1), ACCELERATORS["8x8x1"]
    with pytest.raises(CelosiaError, match=r"ends in random.*has no tables: give it \[post.tables"):
        compile_network(network, target)
    small = replace(target, tables=Tables(index_bits=4, count=1))
    with pytest.raises(CelosiaError, match=r"have 16: raise post.tables.index_bits to 6"):
        compile_network(network, small)
