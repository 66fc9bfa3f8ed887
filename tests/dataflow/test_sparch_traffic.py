"""What SpArch and other dataflows read and write."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse

from celosia.dataflow.sparch.choose import fewest_bytes, strategies
from celosia.dataflow.sparch.compile import compile_product
from celosia.dataflow.sparch.descriptors import Round
from celosia.dataflow.sparch.interpret import interpret
from celosia.dataflow.sparch.plan import Strategy, plan_product
from celosia.dataflow.sparch.presets import PAPER, TINY
from celosia.dataflow.sparch.records import Cut
from celosia.dataflow.sparch.traffic import (
    OuterspaceFormat,
    Packing,
    gustavson_traffic,
    measured_traffic,
    outerspace_bytes,
    outerspace_traffic,
    plan_traffic,
)
from celosia.models.csr import from_scipy
from celosia.models.random_sparse import Pattern, random_matrix

SEED = 19
ABLATION = (
    Strategy(condense=False, huffman=False, reuse=False),
    Strategy(huffman=False, reuse=False),
    Strategy(reuse=False),
    Strategy(),
)


def rmat(size, edges, rng):
    """A recursive matrix with quadrants of 57, 19, 19 and 5 %, of ones; double edges fall out."""
    row, column = np.zeros((2, edges), np.int64)
    for _ in range(size.bit_length() - 1):
        quadrant = rng.choice(4, edges, p=[0.57, 0.19, 0.19, 0.05])
        row, column = 2 * row + quadrant // 2, 2 * column + quadrant % 2
    matrix = scipy.sparse.coo_array((np.ones(edges, np.int64), (row, column)), (size, size))
    matrix.sum_duplicates()
    matrix.data[:] = 1
    return from_scipy(matrix)


def plain_megabytes(plan):
    """Megabytes where every element has 12 bytes, on chip lines hold 48 of one row."""
    fetched = sum(int(placed.records.count[placed.misses].sum()) for placed in plan.records)
    elements = plan.left.nonzeros + fetched + 2 * sum(plan.sizes[:-1]) + plan.sizes[-1]
    return 12e-6 * elements


@pytest.mark.parametrize(
    ("make", "outerspace", "expected", "tolerance"),
    [
        (lambda rng: random_matrix((2048, 2048), 16384, rng), 5.08, (52.4, 3.31, 3.31, 2.13), 0.05),
        (lambda rng: rmat(2048, 16384, rng), 24.8, (188.9, 62.3, 15.2, 5.65), 0.2),
    ],
    ids=["uniform", "rmat"],
)
def test_the_ablation_is_that_of_an_independent_model(make, outerspace, expected, tolerance):
    """Figures of a model that was written for the paper alone, on matrices of the same kind."""
    matrix = make(np.random.default_rng(SEED))
    plans = [plan_product(matrix, matrix, PAPER, strategy) for strategy in ABLATION]
    found = [plain_megabytes(plan) for plan in plans]
    assert found == pytest.approx(expected, rel=tolerance)
    plain = 12e-6 * (2 * matrix.nonzeros + 2 * plans[0].products + plans[0].sizes[-1])
    assert plain == pytest.approx(outerspace, rel=tolerance)
    totals = [plan_traffic(plan).total for plan in plans]
    assert totals == sorted(totals, reverse=True)
    assert totals[0] > outerspace_traffic(plans[0]).total > 1.8 * totals[3]


def test_rowwise_spills_no_more():
    matrix = rmat(2048, 16384, np.random.default_rng(SEED))
    plans = [
        plan_product(matrix, matrix, PAPER, Strategy(rowwise=rowwise)) for rowwise in (False, True)
    ]
    spilled = [plan_traffic(plan).partial_write for plan in plans]
    assert 0 < spilled[1] < spilled[0]


@pytest.mark.parametrize("pattern", Pattern)
def test_what_a_program_moves_is_counted(pattern):
    """Beats of a plan are those of the program's descriptors and of what it makes."""
    matrix = random_matrix((60, 60), 700, np.random.default_rng(SEED), pattern=pattern)
    positive = matrix.with_values(np.abs(matrix.values))
    program = compile_product(positive, positive, TINY)
    plan, made = program.plan, interpret(program)
    assert made.elements == plan.sizes  # nothing cancels
    traffic = plan_traffic(plan)
    assert traffic == measured_traffic(plan, made.elements)
    rounds = [each for each in program.descriptors if isinstance(each, Round)]
    assert traffic.left == 16 * sum(each.beats for each in rounds)
    assert traffic.total == traffic.read + traffic.written
    # two elements of a partial matrix or of the output fill a beat, four row pointers
    assert traffic.output == 16 * (-(-plan.sizes[-1] // 2) + 16)
    assert traffic.partial_write == traffic.partial_read
    assert traffic.partial_write == 16 * sum(-(-size // 2) for size in plan.sizes[:-1])


def test_other_dataflows():
    """Every product is written and read, or every row read through a buffer: written plainly."""
    matrix = random_matrix((40, 40), 400, np.random.default_rng(SEED), pattern=Pattern.NETWORK)
    engine = replace(TINY, right=replace(TINY.right, lines=12, look_ahead=6))
    plan = plan_product(matrix, matrix, engine, Strategy())
    outer = outerspace_traffic(plan)
    assert outer.left == outer.right == 16 * (400 // 4 + 11)
    assert outer.partial_read == outer.partial_write
    assert outer.partial_read == 16 * (-(-plan.products // 2) + 400 // 4)
    held: OrderedDict[tuple[int, int], None] = OrderedDict()
    beats = 0
    for inner in matrix.columns.tolist():
        begin, end = matrix.starts[inner : inner + 2].tolist()
        for first in range(begin, end, 8):
            if (inner, first) in held:
                held.move_to_end((inner, first))
                continue
            if len(held) == 12:
                held.popitem(last=False)
            held[inner, first] = None
            beats += (min(end, first + 8) - 1) // 4 - first // 4 + 1
    assert gustavson_traffic(plan).right == 16 * (beats + 11)
    assert gustavson_traffic(plan).output == outer.output == plan_traffic(plan).output


def test_outerspace_reads_no_row_that_is_not_met():
    matrix = random_matrix((40, 40), 60, np.random.default_rng(SEED))
    half = from_scipy(scipy.sparse.csr_array(np.diag([1] * 20 + [0] * 20)))
    assert set(matrix.columns.tolist()) != set(range(40))
    plan = plan_product(matrix, matrix, TINY, Strategy())
    met = sorted(set(matrix.columns.tolist()))
    assert outerspace_traffic(plan).right == 16 * (-(-int(matrix.counts[met].sum()) // 4) + 11)
    plan = plan_product(matrix, half, TINY, Strategy())
    chunks = int((matrix.columns < 20).sum())
    pointers = -(-chunks // 4)
    assert outerspace_traffic(plan).partial_read == 16 * (-(-plan.products // 2) + pointers)


TEAAL = OuterspaceFormat(
    factor=Packing(lanes=1, size=12), product=Packing(lanes=1, size=12),
    output=Packing(lanes=1, size=12), pointer=Packing(lanes=1, size=4),
)  # fmt: skip
"""Doubles with coordinates of 32 bits, as the artefact of "TeAAL" (MICRO 2023) counts."""


@pytest.mark.parametrize(
    ("rows", "nonzeros", "products", "megabytes"),
    [
        (23133, 186936, 4_127_524, (2.38, 2.38, 100.9, 28.4)),  # ca-CondMat
        (13514, 352762, 11_768_678, (4.33, 4.33, 285.5, 35.6)),  # poisson3Da
        (36692, 367662, 51_501_448, (4.65, 4.98, 1239.6, 366.1)),  # email-Enron
    ],
)
def test_outerspace_is_what_an_independent_model_counts(rows, nonzeros, products, megabytes):
    """In all within 1 %; a factor, of which it stores more pointers than we, within 9 %."""
    *factors, partial, output = megabytes
    traffic = outerspace_bytes(
        TEAAL, shape=(rows, rows), left=nonzeros, right=nonzeros, chunks=nonzeros,
        products=products, output=round(1e6 * output / 12),
    )  # fmt: skip
    found = [traffic.left / 1e6, traffic.right / 1e6]
    assert found == pytest.approx(factors, rel=0.09)
    assert (traffic.partial_read + traffic.partial_write) / 1e6 == pytest.approx(partial, rel=0.005)
    assert traffic.total / 1e6 == pytest.approx(sum(megabytes), rel=0.01)


def test_gaps_save_cycles_of_the_multipliers():
    """With gaps a row takes as few groups as its length allows."""
    matrix = random_matrix((80, 80), 500, np.random.default_rng(SEED))
    engine = replace(TINY, right=replace(TINY.right, multipliers=2))
    groups = []
    for padded in (False, True):
        plan = plan_product(matrix, matrix, engine, Strategy(cut=Cut(padded=padded)))
        starts, counts = plan.positions[:-1], matrix.counts
        assert (np.diff(plan.positions) >= counts).all()
        groups.append(((starts % 2 + counts - 1) // 2 + 1)[counts > 0])
    assert (groups[1] == (counts[counts > 0] + 1) // 2).all()
    assert groups[0].sum() > groups[1].sum()


def test_rows_that_are_met_are_gathered():
    """Every second row is met, in an order of its own: gathered, short rows share beats."""
    rng = np.random.default_rng(SEED)
    rows = rng.permutation(np.arange(0, 400, 2))
    left = from_scipy(scipy.sparse.csr_array((np.ones(200), (np.arange(200), rows)), (200, 400)))
    right = random_matrix((400, 50), 800, rng)
    bare = Cut(packed=True, padded=True)
    gathered = replace(bare, gathered=True)
    plans = [plan_product(left, right, PAPER, Strategy(cut=cut)) for cut in (bare, gathered)]
    begins = plans[1].positions[rows]
    assert (np.diff(begins) >= right.counts[rows[:-1]]).all()
    assert plan_traffic(plans[0]).right > 1.5 * plan_traffic(plans[1]).right
    best = fewest_bytes(left, right, PAPER)
    assert best.strategy.cut == gathered
    moved = [
        plan_traffic(plan_product(left, right, PAPER, each)).total for each in strategies(PAPER)
    ]
    assert plan_traffic(best).total == min(moved)
