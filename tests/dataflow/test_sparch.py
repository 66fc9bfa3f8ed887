"""Programs of SpArch engines: what they compute, against scipy, and what they refuse."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse

from celosia.dataflow.sparch.accelerator import Elements, MergeTree, RightBuffer, ValueKind
from celosia.dataflow.sparch.bits import pack_records, unpack_records
from celosia.dataflow.sparch.compile import compile_product
from celosia.dataflow.sparch.descriptors import Round, Source
from celosia.dataflow.sparch.golden import evaluate, to_csr
from celosia.dataflow.sparch.interpret import IllegalProgramError, interpret
from celosia.dataflow.sparch.plan import Strategy
from celosia.dataflow.sparch.presets import PAPER, TINY, ZCU102
from celosia.dataflow.sparch.records import Cut
from celosia.dataflow.sparch.replacement import place_lines, place_runs
from celosia.dataflow.sparch.schedule import arrival_rounds, huffman_rounds, schedule
from celosia.dataflow.sparch.structure import round_sizes
from celosia.dataflow.sparch.values import to_values
from celosia.models.csr import Csr, from_scipy
from celosia.models.errors import CelosiaError
from celosia.models.random_sparse import Pattern, random_matrix

SEED = 2002
STRATEGIES = (
    Strategy(),
    Strategy(rowwise=True),
    Strategy(cut=Cut(packed=True)),
    Strategy(rowwise=True, cut=Cut(packed=True, padded=True)),
    Strategy(cut=Cut(padded=True)),
    Strategy(cut=Cut(packed=True, padded=True, gathered=True)),
    Strategy(condense=False),
    Strategy(huffman=False),
    Strategy(condense=False, huffman=False, reuse=False),
)
# What a program shows most easily: two ways, so many rounds, and a buffer that is always full.
NARROW = replace(
    TINY, name="narrow", tree=MergeTree(ways=2, leaf_fifo=16, node_fifo=8),
    right=RightBuffer(lines=8, line_beats=2, look_ahead=2, multipliers=2),
)  # fmt: skip


def product(left, right):
    """The product by scipy, of int64, in order and without zeros."""
    result = left.to_scipy() @ right.to_scipy()
    result.eliminate_zeros()
    result.sort_indices()
    return from_scipy(result)


def same(one, other):
    return (
        one.shape == other.shape
        and np.array_equal(one.starts, other.starts)
        and np.array_equal(one.columns, other.columns)
        and np.array_equal(one.values, other.values, equal_nan=one.values.dtype.kind == "f")
    )


def ordered(matrix):
    """A matrix of scipy, in canonical order."""
    matrix = matrix.tocsr()
    matrix.sort_indices()
    return from_scipy(matrix)


def with_ones(matrix, row):
    """``matrix`` with a row of ones."""
    dense = matrix.to_scipy().toarray()
    dense[row] = 1
    return from_scipy(scipy.sparse.csr_array(dense))


def random_pair(number):
    """Factors number ``number`` of a campaign over all shapes and patterns."""
    rng = np.random.default_rng([SEED, number])
    rows, inner, columns = (int(n) for n in rng.integers(1, 40, 3))
    kind = number % 10
    rows, inner, columns = {
        0: (1, inner, columns), 1: (rows, inner, 1), 2: (rows, 1, columns)
    }.get(kind, (rows, inner, columns))  # fmt: skip
    pattern = list(Pattern)[number // 10 % 4]
    sizes = [int(rng.integers(0, 1 + m * n // rng.integers(1, 12))) for m, n in
             ((rows, inner), (inner, columns))]  # fmt: skip
    left = random_matrix((rows, inner), sizes[0], rng, pattern=pattern)
    right = random_matrix((inner, columns), sizes[1], rng, pattern=pattern)
    if kind == 3:  # a dense row
        left = with_ones(left, int(rng.integers(rows)))
    elif kind == 4:  # cancellation: rows of B are there twice, with both signs
        right = ordered(scipy.sparse.vstack([right.to_scipy(), -right.to_scipy()]))
        left = ordered(scipy.sparse.hstack([left.to_scipy(), left.to_scipy()]))
    elif kind == 5:  # explicit zeros
        left = left.with_values(left.values * (rng.random(left.nonzeros) < 0.7))
        right = right.with_values(right.values * (rng.random(right.nonzeros) < 0.7))
    elif kind == 6:  # empty rows and columns
        keep = scipy.sparse.diags_array((rng.random(inner) < 0.4).astype(np.int64), dtype=np.int64)
        left = ordered(left.to_scipy() @ keep.tocsr())
        right = ordered(keep.tocsr() @ right.to_scipy())
    return left, right


@pytest.mark.parametrize("first", range(0, 300, 25))
def test_programs_equal_scipy(first):
    """300 pairs of all shapes and patterns, bit for bit."""
    for number in range(first, first + 25):
        left, right = random_pair(number)
        accelerator = (TINY, NARROW)[number % 2]
        program = compile_product(left, right, accelerator, STRATEGIES[number % len(STRATEGIES)])
        expected = product(left, right)
        made = interpret(program)
        assert same(made.output, expected), f"seed {SEED}, pair {number}"
        golden = evaluate(program.plan)
        assert same(to_csr(golden[-1].stream, made.output.shape), expected), number
        assert [len(result.stream.keys) for result in golden] == list(made.elements)


@pytest.mark.parametrize("accelerator", [PAPER, ZCU102], ids=lambda a: a.name)
def test_wide_engines_equal_scipy(accelerator):
    rng = np.random.default_rng(SEED)
    for pattern in Pattern:
        matrix = random_matrix((200, 200), 3000, rng, pattern=pattern, longest=150)
        program = compile_product(matrix, matrix, accelerator)
        made = interpret(program).output
        expected = product(matrix, matrix)
        assert same(made, expected.with_values(expected.values.astype(made.values.dtype)))


def floating(kind):
    bits = 16 if kind is ValueKind.BFLOAT16 else 32
    elements = Elements(kind=kind, bits=bits, accumulator=32, index_bits=12)
    return replace(TINY, elements=elements)


@pytest.mark.parametrize("kind", [ValueKind.BFLOAT16, ValueKind.FLOAT32])
@pytest.mark.parametrize("range_", [2, 30])
def test_floats_are_added_as_the_tree_does(kind, range_):
    """The same as the golden's with any exponents, and close to scipy's with moderate ones."""
    rng = np.random.default_rng(SEED)
    matrix = random_matrix((30, 30), 300, rng)
    exponents = rng.integers(-range_, range_, 300)
    matrix = matrix.with_values(rng.normal(size=300) * 10.0**exponents)
    for strategy in STRATEGIES[:2]:
        program = compile_product(matrix, matrix, floating(kind), strategy)
        made = interpret(program).output
        golden = evaluate(program.plan)[-1].stream
        assert same(made, to_csr(golden, made.shape))
        assert made.values.dtype == np.float32
        if range_ == 2:
            rounded = program.plan.left.with_values(program.plan.left.values.astype(np.float64))
            exact = product(rounded, rounded).to_scipy().toarray()
            assert np.allclose(made.to_scipy().toarray(), exact, rtol=1e-4, atol=1e-2)


def test_one_sum_by_hand():
    """Four leaves: (a + b) + (c + d), each rounded; one after another would give 1."""
    big, one = np.float32(2**25), np.float32(1)
    left = from_scipy(scipy.sparse.csr_array(np.array([[big, one, -big, one]])))
    right = from_scipy(scipy.sparse.csr_array(np.ones((4, 1), np.float32)))
    engine = floating(ValueKind.FLOAT32)
    assert (big + one) + (-big + one) == 0
    assert ((big + one) + -big) + one == 1
    assert interpret(compile_product(left, right, engine)).output.nonzeros == 0


def test_floats_have_infinities_and_one_nan():
    values = np.array([np.inf, -np.inf, 3.4e38, np.nan])
    left = Csr(
        shape=(3, 3), starts=np.array([0, 2, 3, 4]), columns=np.array([0, 1, 2, 2]), values=values
    )
    right = from_scipy(scipy.sparse.csr_array(np.array([[1.0], [1.0], [1e3]])))
    engine = floating(ValueKind.FLOAT32)
    made = interpret(compile_product(left, right, engine)).output.values
    assert made.view(np.uint32).tolist() == [0x7FC00000, 0x7F800000, 0x7FC00000]


def test_fixed_point_rounds_factors_only():
    engine = replace(
        TINY, elements=Elements(kind=ValueKind.FIXED, bits=16, fraction=8, accumulator=40)
    )  # fmt: skip
    left = from_scipy(scipy.sparse.csr_array(np.array([[1.5, 0.001], [-2.25, 0.502]])))
    program = compile_product(left, left, engine)
    assert program.plan.left.values.tolist() == [384, -576, 129]  # 0.001 is 0 in units of 1/256
    made = interpret(program).output
    dense = np.array([[1.5, 0], [-2.25, 129 / 256]])
    assert (
        to_values(made.values, engine.elements) == (dense @ dense)[made.rows, made.columns]
    ).all()


def test_empty_factors():
    empty = from_scipy(scipy.sparse.csr_array((3, 5), dtype=np.int64))
    program = compile_product(empty, empty.transposed(), TINY)
    assert interpret(program).output.nonzeros == 0
    round_ = next(d for d in program.descriptors if isinstance(d, Round))
    assert (round_.records, round_.leaves, round_.capacity) == (0, 0, 0)


def one(value, shape=(1, 1)):
    return Csr(
        shape=shape, starts=np.array([0, *[1] * shape[0]]), columns=np.array([0]),
        values=np.array([value]),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("left", "right", "message"),
    [
        (one(1, (1, 2)), one(1, (3, 1)), "has 2 columns and the right one 3 rows"),
        (one(1, (5000, 1)), one(1), "5000 rows and 1 columns.* numbers 4096 of each with 12 bits"),
        (one(np.nan), one(1), "left matrix holds nan in row 0, column 0, which integer values"),
        (one(1), one(np.inf), "right matrix holds inf"),
        (one(1.5), one(1), "which is no integer"),
        (one(32768), one(1), r"does not fit 16 bits \(-32768\.\.32767\)"),
    ],
)
def test_wrong_factors_are_refused(left, right, message):
    with pytest.raises(CelosiaError, match=message):
        compile_product(left, right, TINY)


def test_what_an_engine_cannot_hold_is_refused():
    narrow = replace(TINY, elements=Elements(bits=16, accumulator=32, index_bits=12))
    row = from_scipy(scipy.sparse.csr_array(np.full((1, 4), 30000)))
    column = row.transposed()
    assert interpret(compile_product(row, column, TINY)).output.values[0] == 4 * 30000**2
    with pytest.raises(CelosiaError, match="row 0 may need 33 bits and the accumulator has 32"):
        compile_product(row, column, narrow)
    short = replace(TINY, right=replace(TINY.right, look_ahead=15))
    with pytest.raises(CelosiaError, match="a packed buffer needs at least 34 lines"):
        compile_product(row, column, short, Strategy(cut=Cut(packed=True)))
    few = replace(NARROW, partials=replace(TINY.partials, alive=2))
    dense = from_scipy(scipy.sparse.csr_array(np.ones((40, 40), np.int64)))
    with pytest.raises(CelosiaError, match="counts 2 partial matrices"):
        compile_product(dense, dense, few)
    small = replace(TINY.bus, address_bits=32)
    assert compile_product(row, column, replace(TINY, bus=small)).memory_size < 1 << 32


def test_a_memory_beyond_the_addresses_is_refused(monkeypatch):
    monkeypatch.setattr("celosia.dataflow.sparch.compile.REGION_BYTES", 1 << 39)
    with pytest.raises(CelosiaError, match=r"takes \d+ bytes of memory.* addresses 1099511627776"):
        compile_product(one(1), one(1), TINY)
    monkeypatch.setattr("celosia.dataflow.sparch.compile.REGION_BYTES", 1 << 36)
    with pytest.raises(CelosiaError, match=r"takes \d+ bytes of memory, which this machine"):
        compile_product(one(1), one(1), TINY)


def test_strategies_are_checked():
    with pytest.raises(ValueError, match="condense must be true"):
        Strategy(rowwise=True, condense=False)


def rounds_of(program):
    return [d for d in program.descriptors if isinstance(d, Round)]


def test_records_lie_as_the_contract_says():
    """Leaves that run empty first are fed first, and no line is replaced while it may be used."""
    rng = np.random.default_rng(SEED)
    for strategy in STRATEGIES:
        matrix = random_matrix((60, 60), 900, rng, pattern=Pattern.POWER_LAW, longest=40)
        program = compile_product(matrix, matrix, TINY, strategy)
        used: dict[int, int] = {}
        number = 0
        for placed in program.plan.records:
            records = placed.records
            ends = np.full(TINY.tree.ways, -1, np.int64)
            last = (matrix.rows[records.nonzero] << 32) + matrix.columns[
                records.element + records.count - 1
            ]
            for at, leaf in enumerate(records.leaf):
                open_leaves = np.unique(records.leaf[at:])
                assert ends[leaf] == ends[open_leaves].min()
                assert leaf == open_leaves[ends[open_leaves] == ends[leaf]][0]
                ends[leaf] = last[at]
            for slot, missed, beats in zip(
                placed.slots.tolist(), placed.misses, records.beats.tolist(), strict=True
            ):
                for beat in range(slot, slot + beats):
                    if missed and beat in used:
                        assert number - used[beat] > TINY.pinned
                    used[beat] = number
                number += 1


def test_a_long_row_is_dealt_to_several_leaves():
    """Pieces of eight elements: one to a leaf, or two together where there are more than leaves."""
    rowwise = Strategy(rowwise=True)
    for length, leaves in (
        (30, [0, 1, 2, 3]),
        (40, [0, 0, 1, 1, 2]),
        (60, [0, 0, 1, 1, 2, 2, 3, 3]),
    ):
        row = from_scipy(scipy.sparse.csr_array(np.ones((1, length), np.int64)))
        program = compile_product(one(3), row, TINY, rowwise)
        records = program.plan.records[0].records
        order = np.argsort(records.element)
        assert records.leaf[order].tolist() == leaves
        assert interpret(program).output.values.tolist() == [3] * length


def test_rounds_of_a_long_row():
    rng = np.random.default_rng(SEED)
    matrix = random_matrix((100, 100), 2500, rng, pattern=Pattern.POWER_LAW, longest=90)
    program = compile_product(matrix, matrix, TINY)
    rounds = rounds_of(program)
    assert len(rounds) == 30  # 90 condensed columns, four at a time
    assert sum(isinstance(d, Source) for d in program.descriptors) == 29
    assert len({r.target for r in rounds}) == 30
    assert max(r.partial for r in rounds) < 28  # numbers are used again
    assert all(stamp % 16 == 0 for stamp in (layer.stamp for layer in program.layers))
    assert program.products == int(matrix.counts[matrix.columns].sum())


def wrong_program(**change):
    """A program of two rounds, of which the second is changed."""
    dense = from_scipy(scipy.sparse.csr_array(np.ones((6, 6), np.int64)))
    program = compile_product(dense, dense, TINY)
    first, second = rounds_of(program)
    changed = tuple(replace(second, **change) if d is second else d for d in program.descriptors)
    return replace(program, descriptors=changed), first, second


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"leaves": 15}, "leaf 0 is both fed and a source"),
        ({"leaves": 6}, "not those that are open"),
        ({"rows": 5}, "leads beyond the product"),
        ({"columns": 5}, "leads beyond the product"),
        ({"capacity": 35}, "36 elements, 35 have room"),
        ({"final": False}, "partial matrix 0 cannot be read"),
    ],
)
def test_wrong_programs_are_refused(change, message):
    program, _, _ = wrong_program(**change)
    with pytest.raises(IllegalProgramError, match=message):
        interpret(program)


def test_damaged_memory_is_refused():
    program, _, second = wrong_program()
    image = program.image.copy()
    image[second.left : second.left + 16] = 0xFF
    with pytest.raises(IllegalProgramError, match="record 0 leads beyond its line"):
        interpret(replace(program, image=image))
    image = program.image.copy()
    image[second.left : second.left + 16] = image[second.left + 16 : second.left + 32]
    with pytest.raises(IllegalProgramError):
        interpret(replace(program, image=image))


def test_trees_of_merges():
    """The example of the paper's twelve leaves: what is written on the way."""
    weights = np.array([15, 15, 13, 12, 9, 7, 6, 3, 3, 2, 2, 2])

    def spilled(rounds):
        made = []
        for each in rounds:
            made.append(sum(weights[n] for n in each.streams) + sum(made[n] for n in each.sources))
        assert made[-1] == 89
        return sum(made[:-1])

    assert spilled(huffman_rounds(weights, 2)) == 204
    assert spilled(huffman_rounds(weights, 4)) == 65
    assert spilled(arrival_rounds(12, 2)) == 675
    assert spilled(arrival_rounds(12, 4)) == 217
    assert spilled(huffman_rounds(weights, 16)) == spilled(arrival_rounds(12, 16)) == 0


def plain_misses(tags, lines, pinned):
    """Furthest next use, written down plainly."""
    held: dict[int, int] = {}
    misses = 0
    for at, tag in enumerate(tags):
        if tag not in held:
            misses += 1
            if len(held) == lines:
                later = tags[at:]
                victims = [t for t, used in held.items() if at - used > pinned]
                del held[max(victims, key=lambda t: later.index(t) if t in later else 1 << 30)]
        held[tag] = at
    return misses


def test_replacement_by_furthest_next_use():
    rng = np.random.default_rng(SEED)
    for lines, pinned in ((4, 1), (8, 5), (12, 3), (40, 9)):
        tags = (rng.zipf(1.4, 400) % 40).tolist()
        slots, misses = place_lines(np.array(tags), lines, pinned)
        assert slots.max() < lines
        assert misses.sum() == plain_misses(tags, lines, pinned)
        held = dict.fromkeys(range(lines), -1)
        for slot, miss, tag in zip(slots.tolist(), misses, tags, strict=True):
            assert miss or held[slot] == tag
            held[slot] = tag
    with pytest.raises(ValueError, match="lines must be more than 5"):
        place_lines(np.array([1]), 5, 5)


def test_packed_replacement():
    """Nothing is used where it does not lie, and nothing replaced that must stay."""
    rng = np.random.default_rng(SEED)
    for pinned in (0, 3, 9):
        beats = 2 * (pinned + 1) * 5 + 20
        sizes = rng.integers(1, 6, 60)
        tags = rng.zipf(1.2, 600) % 60
        slots, misses = place_runs(tags, sizes[tags], beats, pinned)
        held, used = np.full(beats, -1), np.full(beats, -1000)
        for at, (slot, miss, tag) in enumerate(zip(slots, misses, tags, strict=True)):
            place = slice(slot, slot + sizes[tag])
            assert slot + sizes[tag] <= beats
            assert (held[place] == tag).all() or miss
            assert not miss or (at - used[place] > pinned).all()
            held[place], used[place] = tag, at
        by_lines = place_lines(tags, beats // 5, pinned)[1].sum()
        assert misses.sum() < by_lines
    with pytest.raises(ValueError, match="beats must be at least 40, not 39"):
        place_runs(np.array([0]), np.array([5]), 39, 3)
    assert place_runs(np.arange(2), np.ones(2, np.int64), 40, 3)[0].tolist() == [0, 1]


def test_records_in_beats():
    rng = np.random.default_rng(SEED)
    widths = [5, 64, 17, 1]
    fields = [rng.integers(0, 1 << min(w, 63), 11).astype(np.uint64) for w in widths]
    memory = pack_records(fields, widths, 2, 32)
    assert len(memory) == 6 * 32
    assert (unpack_records(memory, 11, widths, 2, 32) == np.array(fields)).all()
    bits = "".join(
        f"{int(f[3]):0{w}b}" for f, w in reversed(list(zip(fields, widths, strict=True)))
    )
    assert int.from_bytes(memory[32:64].tobytes(), "little") >> 87 == int(bits, 2)
    with pytest.raises(ValueError, match="a field of 3 bits holds 9"):
        pack_records([np.array([9])], [3], 1, 16)


@pytest.mark.parametrize("condense", [False, True])
@pytest.mark.parametrize("huffman", [False, True])
def test_sizes_of_rounds_by_structure(condense, huffman):
    """Each round makes the products of its nonzeros and of its sources, counted as sets."""
    for number in range(20):
        left, right = random_pair(number)
        made = schedule(left, right, 3, rowwise=False, condense=condense, huffman=huffman)
        rows = [set(right.columns[s:e].tolist()) for s, e in itertools.pairwise(right.starts)]
        keys: list[set[tuple[int, int]]] = []
        for each in made.rounds:
            taken = np.flatnonzero(np.isin(made.stream, each.streams))
            places = zip(left.rows[taken], left.columns[taken], strict=True)
            own = {(row, column) for row, inner in places for column in rows[inner]}
            keys.append(own.union(*(keys[source] for source in each.sources)))
        assert round_sizes(left, right, made) == tuple(map(len, keys)), number
