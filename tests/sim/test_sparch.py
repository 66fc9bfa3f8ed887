"""The SpArch engine, simulated, against the interpreter and scipy."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import scipy.sparse

from celosia.dataflow.accelerator import Bus
from celosia.dataflow.memory import DDR4, IDEAL, SLOW, MemoryModel
from celosia.dataflow.sparch.accelerator import (
    Elements,
    Merger,
    MergeTree,
    Partials,
    RightBuffer,
    SparchAccelerator,
)
from celosia.dataflow.sparch.compile import compile_product
from celosia.dataflow.sparch.counters import SparchCounter
from celosia.dataflow.sparch.descriptors import Round, Source
from celosia.dataflow.sparch.interpret import interpret, read_output
from celosia.dataflow.sparch.plan import Strategy
from celosia.dataflow.sparch.presets import TINY
from celosia.dataflow.sparch.work import FIELDS, pack_work, unpack_work
from celosia.models.csr import from_scipy
from celosia.models.errors import CelosiaError
from celosia.rtl.image import program_image
from celosia.rtl.registers import Cause
from celosia.rtl.sparch.descriptors import encode
from celosia.sim.driver import EngineError
from celosia.sim.product import run_product
from celosia.sim.run import Simulator

from .sparch_engines import FLOATS

SEED = 10

TIGHT = SparchAccelerator(
    name="sparch_tight",
    elements=Elements(bits=8, accumulator=24, index_bits=8),
    merger=Merger(width=2, chunk=1),
    tree=MergeTree(ways=8, leaf_fifo=32, node_fifo=4),
    right=RightBuffer(lines=4, line_beats=4, look_ahead=1, multipliers=1),
    partials=Partials(alive=64, writer_beats=1),
    bus=Bus(data_bits=128, burst_beats=2, outstanding=1),
)
"""Everything as small as may be: a queue holds a line, a burst two beats, one is in flight."""


def random_matrix(rng, shape, density, *, low=-9, high=10) -> Any:
    nonzeros = int(density * shape[0] * shape[1])
    places = rng.choice(shape[0] * shape[1], nonzeros, replace=False)
    values = rng.integers(low, high, nonzeros)
    return scipy.sparse.csr_matrix((values, np.divmod(places, shape[1])), shape)


def patterns(rng) -> Iterator[tuple[Any, Any]]:
    """Pairs of matrices of all shapes and patterns."""
    for size, density in ((1, 1.0), (7, 0.5), (30, 0.1), (60, 0.04)):
        one = random_matrix(rng, (size, size), density)
        yield one, one
    yield random_matrix(rng, (1, 40), 0.5), random_matrix(rng, (40, 30), 0.2)
    yield random_matrix(rng, (40, 1), 0.5), random_matrix(rng, (1, 30), 0.7)
    yield random_matrix(rng, (30, 1), 0.9), random_matrix(rng, (1, 1), 1.0)
    empty: Any = scipy.sparse.csr_matrix((20, 20), dtype=np.int64)
    yield empty, empty
    band: Any = scipy.sparse.diags(
        [rng.integers(1, 9, 50)] * 5, [-2, -1, 0, 1, 2], (50, 50), "csr", int
    )
    yield band, band
    dense_row = random_matrix(rng, (40, 40), 0.03).tolil()
    dense_row[17] = 1
    yield dense_row.tocsr(), dense_row.tocsr()
    yield random_matrix(rng, (3, 50), 0.2), random_matrix(rng, (50, 60), 0.9)
    ones: Any = scipy.sparse.csr_matrix(np.ones((2, 40), int))
    signs: Any = scipy.sparse.csr_matrix(np.repeat(rng.choice([-1, 1], (1, 40)), 8, axis=0).T)
    yield ones, signs  # sums that often cancel
    blocks: Any = scipy.sparse.block_diag([np.full((6, 6), 3)] * 6, "csr", int)
    yield blocks, blocks
    zeros = random_matrix(rng, (30, 30), 0.2, low=-1, high=2)  # explicit zeros
    yield zeros, zeros


def same(one, other):
    """Whether two matrices hold the same elements and values, bit for bit."""
    values = [np.asarray(matrix.values) for matrix in (one, other)]
    bits = [
        each.astype(np.float32).view(np.uint32) if each.dtype.kind == "f" else each
        for each in values
    ]
    return (
        one.shape == other.shape
        and np.array_equal(one.starts, other.starts)
        and np.array_equal(one.columns, other.columns)
        and np.array_equal(*bits)
    )


@pytest.fixture(scope="module")
def simulator():
    return Simulator(TINY)


@pytest.mark.parametrize("rowwise", [False, True])
def test_products_are_those_of_scipy(simulator, rowwise):
    rng = np.random.default_rng(SEED)
    memories = itertools.cycle((IDEAL, DDR4, SLOW))
    rounds = set()
    for (left, right), memory in zip(patterns(rng), memories, strict=False):
        program = compile_product(
            from_scipy(left), from_scipy(right), TINY, Strategy(rowwise=rowwise)
        )
        run = run_product(simulator, program, memory)
        expected = (left @ right).tocsr()
        expected.eliminate_zeros()
        expected.sort_indices()
        assert same(run.output, from_scipy(expected)), (left.shape, right.shape)
        counters = run.counters
        assert counters[SparchCounter.ROUNDS] == len(program.layers) == len(run.round_cycles)
        assert sum(run.round_cycles) < run.cycles == counters[SparchCounter.CYCLES]
        of_rounds = [each for each in program.descriptors if isinstance(each, Round)]
        assert counters[SparchCounter.RECORDS] == sum(each.records for each in of_rounds)
        rounds.add(len(program.layers))
    assert max(rounds) > 3


def patterned(rng, kind, shape) -> Any:
    """A random matrix of pattern ``kind``, signs and zeros included."""
    rows, columns = shape
    if kind == 0:  # anywhere
        found = random_matrix(rng, shape, rng.choice([0.02, 0.1, 0.4]))
    elif kind == 1:  # banded
        row = np.repeat(np.arange(rows), 5)
        column = row + rng.integers(-3, 4, len(row))
        keep = (column >= 0) & (column < columns)
        values = rng.integers(-9, 10, keep.sum())
        found = scipy.sparse.csr_matrix((values, (row[keep], column[keep])), shape)
    elif kind == 2:  # power law
        count = 4 * rows
        places = [(rng.pareto(1.0, count) * size / 8).astype(int) % size for size in shape]
        found = scipy.sparse.csr_matrix((rng.integers(-9, 10, count), tuple(places)), shape)
    elif kind == 3:  # one dense row among few elements
        found = random_matrix(rng, shape, 0.03).tolil()
        found[rng.integers(rows)] = rng.integers(1, 9)
    else:  # ones and their opposites: sums cancel
        found = random_matrix(rng, shape, 0.5, low=-1, high=2)
    found = found.tocsr()
    found.sum_duplicates()
    return found


@pytest.mark.parametrize("group", range(6))
def test_three_hundred_products(simulator, group):
    """Six times fifty, of all shapes and patterns, in both orders: integers bit for bit."""
    rng, cancelled = np.random.default_rng(SEED + group), 0
    memories = itertools.cycle((IDEAL, DDR4, SLOW))
    for trial, memory in zip(range(50), memories, strict=False):
        shape = [int(rng.choice([1, rng.integers(2, 12), rng.integers(12, 50)])) for _ in range(3)]
        left, right = (patterned(rng, trial % 5, part) for part in (shape[:2], shape[1:]))
        program = compile_product(
            from_scipy(left), from_scipy(right), TINY, Strategy(rowwise=bool(trial // 5 % 2))
        )
        run = run_product(simulator, program, memory)
        expected: Any = (left @ right).tocsr()
        met = (left != 0).astype(int) @ (right != 0).astype(int)
        expected.eliminate_zeros()
        cancelled += met.nnz - expected.nnz
        expected.sort_indices()
        assert same(run.output, from_scipy(expected)), (group, trial, shape)
    assert cancelled > 10


def test_the_smallest_queues_are_large_enough():
    """No order of work blocks an engine in which nothing has room to spare."""
    rng, engine = np.random.default_rng(SEED), Simulator(TIGHT)
    memories = itertools.cycle((IDEAL, DDR4, SLOW))
    for trial, memory in zip(range(40), memories, strict=False):
        shape = [int(rng.choice([1, rng.integers(2, 12), rng.integers(12, 50)])) for _ in range(3)]
        left, right = (patterned(rng, trial % 5, part) for part in (shape[:2], shape[1:]))
        program = compile_product(
            from_scipy(left), from_scipy(right), TIGHT, Strategy(rowwise=bool(trial // 5 % 2))
        )
        run = run_product(engine, program, memory)
        assert same(run.output, interpret(program).output), (trial, shape)


def test_floats_are_bit_for_bit_those_of_the_interpreter():
    rng, engine = np.random.default_rng(SEED), Simulator(FLOATS)
    for size, density, rowwise in ((12, 0.4, False), (40, 0.15, False), (40, 0.2, True)):
        matrix = random_matrix(rng, (size, size), density).astype(np.float32)
        matrix.data = rng.normal(0, 1, matrix.nnz).astype(np.float32)
        matrix.data[::7] = np.float32(1e-39)
        left = from_scipy(matrix)
        program = compile_product(left, left, FLOATS, Strategy(rowwise=rowwise))
        run = run_product(engine, program, DDR4)
        assert same(run.output, interpret(program).output)
        exact = (matrix.astype(np.float64) @ matrix.astype(np.float64)).toarray()
        np.testing.assert_allclose(run.output.to_scipy().toarray(), exact, rtol=1e-4, atol=1e-5)


def small_case(size=30):
    """A product of several rounds, with partial matrices."""
    rng = np.random.default_rng(SEED)
    left = random_matrix(rng, (size, size), 0.3)
    program = compile_product(from_scipy(left), from_scipy(left), TINY)
    assert any(isinstance(descriptor, Source) for descriptor in program.descriptors)
    return program


def place(program, index):
    """Return where descriptor ``index`` lies in the image."""
    return program.program_address - program.base_address + 64 * index


def first(program, kind):
    return next(i for i, each in enumerate(program.descriptors) if isinstance(each, kind))


def stops(simulator, program, image, *, fault=None, limit=400_000):
    """Run with a broken image; then, cleared, with the sound one. Return the error."""
    driver = simulator.driver()
    with driver.model as model:
        model.attach(image, program.base_address)
        driver.configure(program)
        model.start_memory(DDR4)
        if fault is not None:
            model.inject(fault)
        driver.start()
        with pytest.raises(EngineError) as caught:
            driver.wait(limit)
        model.clear_faults()
        image[:] = program_image(program)
        driver.clear()
        driver.start()
        driver.wait(limit)
        output = read_output(TINY, program.output, image)
    assert same(output, interpret(program).output)
    return caught.value


def with_round(**changes):
    """Change fields of the last round."""

    def change(program, image):
        index = max(i for i, d in enumerate(program.descriptors) if isinstance(d, Round))
        code = encode(replace(program.descriptors[index], **changes))
        start = place(program, index)
        image[start : start + 64] = np.frombuffer(code.to_bytes(64, "little"), np.uint8)

    return change


def with_bits(kind, make):
    """Change the bits of the first descriptor of a kind."""

    def change(program, image):
        start = place(program, first(program, kind))
        code = int.from_bytes(image[start : start + 64].tobytes(), "little")
        image[start : start + 64] = np.frombuffer(make(code).to_bytes(64, "little"), np.uint8)

    return change


def twice_a_source(program, image):
    """A source has the leaf of the one before it in the same round."""
    index = next(
        i
        for i, (one, other) in enumerate(itertools.pairwise(program.descriptors))
        if isinstance(one, Source) and isinstance(other, Source)
    )
    one, other = program.descriptors[index : index + 2]
    code = encode(replace(other, leaf=one.leaf))
    start = place(program, index + 1)
    image[start : start + 64] = np.frombuffer(code.to_bytes(64, "little"), np.uint8)


def records_of(program, number=0):
    """Return the round and where its work records lie."""
    found = [d for d in program.descriptors if isinstance(d, Round)][number]
    start = found.left - program.base_address
    return slice(start, start + found.beats * TINY.bus.data_bytes)


def with_records(change):
    """The first round's records, fields by name, as ``change`` returns them."""

    def apply(program, image):
        where = records_of(program)
        count = next(d for d in program.descriptors if isinstance(d, Round)).records
        fields = dict(zip(FIELDS, unpack_work(image[where], count, TINY), strict=True))
        packed = pack_work(list(change(fields).values()), TINY)
        image[where] = 0
        image[where][: len(packed)] = packed

    return apply


def fallen_row(fields):
    """The last record of the first leaf has row 0 once more: keys fall."""
    last = np.flatnonzero(fields["leaf"] == fields["leaf"][0])[-1]
    row = fields["row"].copy()
    row[last] = 0
    return fields | {"row": row}


def leaf_by_leaf(fields):
    """A leaf's records first, all others behind: its queue fills and nothing is safe."""
    order = np.argsort(fields["leaf"], kind="stable")
    return {name: field[order] for name, field in fields.items()}


def equal_columns(program, image):
    """The columns of the right matrix are all the same."""
    found = next(d for d in program.descriptors if isinstance(d, Round))
    start = found.right - program.base_address
    image[start : start + 256] = 0xFF


@pytest.mark.parametrize(
    ("change", "cause"),
    [
        (with_bits(Source, lambda code: code | 1 << 500), Cause.ILLEGAL_DESCRIPTOR),
        (with_bits(Round, lambda code: code | 15), Cause.ILLEGAL_DESCRIPTOR),
        (with_bits(Source, lambda code: code | 4 << 4), Cause.ILLEGAL_DESCRIPTOR),
        (with_bits(Source, lambda code: code | 60 << 10), Cause.ILLEGAL_DESCRIPTOR),
        (twice_a_source, Cause.ILLEGAL_DESCRIPTOR),
        (with_round(leaves=15), Cause.ILLEGAL_DESCRIPTOR),
        (with_round(left=8), Cause.ILLEGAL_DESCRIPTOR),
        (with_round(target=1 << 39), Cause.WRITE_OUTSIDE_WINDOW),
        (with_round(pointers=1 << 39), Cause.WRITE_OUTSIDE_WINDOW),
        (with_round(left=1 << 39), Cause.READ_OUTSIDE_WINDOW),
        (with_round(right=1 << 39), Cause.READ_OUTSIDE_WINDOW),
        (with_round(rows=29), Cause.BEYOND_ROUND),
        (with_round(columns=7), Cause.BEYOND_ROUND),
        (with_round(capacity=11), Cause.BEYOND_CAPACITY),
        (with_round(beats=0), Cause.ILLEGAL_DESCRIPTOR),
        (with_round(records=9), Cause.BEYOND_ROUND),
        (with_round(beats=1), Cause.BEYOND_ROUND),
        (with_records(fallen_row), Cause.UNSORTED_KEYS),
        (equal_columns, Cause.UNSORTED_KEYS),
    ],
)
def test_what_is_corrupt_stops_the_engine(simulator, change, cause):
    program = small_case()
    image = program_image(program)
    change(program, image)
    error = stops(simulator, program, image)
    assert error.cause is cause


def test_errors_of_the_bus_stop_it(simulator):
    program = small_case()
    found = next(d for d in program.descriptors if isinstance(d, Round))
    assert stops(simulator, program, program_image(program), fault=found.right).cause is (
        Cause.READ_RESPONSE
    )
    assert stops(simulator, program, program_image(program), fault=found.target).cause is (
        Cause.WRITE_RESPONSE
    )


def test_leaves_that_starve_stall_the_engine(simulator):
    """A leaf is closed by a record that never comes: the order of records is broken."""
    program = small_case(60)  # its leaves get more than they hold
    image = program_image(program)
    with_records(leaf_by_leaf)(program, image)
    error = stops(simulator, program, image)
    assert error.cause is Cause.STALLED
    index = first(program, Round)
    assert error.address == program.program_address + 64 * index


def test_the_slowest_memory_is_no_stall(simulator):
    one = from_scipy(scipy.sparse.eye(3, dtype=int, format="csr"))
    memory = MemoryModel(latency=65535, bytes_per_cycle=1, outstanding=1)
    run = run_product(simulator, compile_product(one, one, TINY), memory)
    assert run.cycles > 5 * memory.latency
    assert same(run.output, one)


def test_random_rubbish_ends_one_way_or_another(simulator):
    """Random bytes anywhere: a result or a cause, no hang, and what is only read stays."""
    rng, program, causes = np.random.default_rng(SEED), small_case(), set()
    found = [each for each in program.descriptors if isinstance(each, Round)]
    kept = [slice(place(program, 0), place(program, len(program.descriptors)))]
    kept += [records_of(program, number) for number in range(len(found))]
    for trial in range(40):
        image = program_image(program)
        each = found[trial % 2]
        region = (each.left, each.right)[trial % 3 == 0] - program.base_address
        hits = region + rng.integers(0, 400, rng.integers(1, 30))
        image[hits] = rng.integers(0, 256, len(hits))
        before = image.copy()
        driver = simulator.driver()
        with driver.model as model:
            model.attach(image, program.base_address)
            driver.configure(program)
            model.start_memory(IDEAL)
            driver.start()
            try:
                driver.wait(400_000)
            except EngineError as error:
                causes.add(error.cause)
        for where in kept:
            assert np.array_equal(image[where], before[where])
    assert {Cause.BEYOND_ROUND, Cause.UNSORTED_KEYS} <= causes


def test_a_program_for_another_engine_is_refused(simulator):
    one = from_scipy(scipy.sparse.eye(3, dtype=int, format="csr"))
    other = compile_product(one, one, replace(TINY, name="other"))
    with pytest.raises(CelosiaError, match="for accelerator 'other', the simulator is of"):
        run_product(simulator, other)
