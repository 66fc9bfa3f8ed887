# amaranth: UnusedElaboratable=no
"""Whole columns, accumulators included: more than 100,000 vectors each, compiled.

Random operands with stalls, every extreme, and the longest reduction that the accumulator was made
for. Beside each column run copies that are broken, which must be wrong.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Cat, Const, Module, Value

from celosia.dataflow.array_shape import Circuit
from celosia.dataflow.dsp import dsp_packing
from celosia.models.bounds import longest_reduction
from celosia.models.formats import (
    E8M0,
    UE4M3,
    BlockScaling,
    Esb,
    Fixed,
    Format,
    IntScale,
    Pot,
    Sp2,
)
from celosia.models.operations import DISTANCE, shift
from celosia.rtl import dot as dots
from celosia.rtl import vector
from celosia.rtl.column import Base
from celosia.rtl.dot import LaneDot
from celosia.rtl.dsp_dot import DspDot, Schedule
from celosia.rtl.pe.base import Term
from celosia.rtl.pe.distance import Pending
from celosia.rtl.pe.scale import Scale

from .column_case import STEPS, Case
from .column_drive import ColumnDrive, Vectors, dot_products, terms_range
from .compiled import Compiled, Mutation, mutants

COUNT = 100_000
"""Random vectors of a column."""

SEED = 31


def dsp(bits: int, activation_bits: int, columns: int, pixels: int, lanes: int = 16) -> Case:
    return Case(
        weights=Fixed(bits=bits), bits=activation_bits, circuit=Circuit.DSP, lanes=lanes,
        columns=columns, pixels=pixels,
    )  # fmt: skip


def scaled(weights: Format, scaling: BlockScaling, bits: int = 4, lanes: int = 16) -> Case:
    return Case(weights=weights, bits=bits, scaling=scaling, lanes=lanes)


CASES = {
    "dsp w8a8 x2": dsp(8, 8, 1, 2),
    "dsp w4a4 x4": dsp(4, 4, 2, 2),
    "dsp w4a4 cascade of 2 pixels": dsp(4, 4, 1, 2),
    "dsp w4a4 cascade of 3 pixels": dsp(4, 4, 1, 3),
    "luts w4a8": Case(weights=Fixed(bits=4), bits=8, circuit=Circuit.LUTS),
    "inferred w8a8": Case(weights=Fixed(bits=8), bits=8),
    "sp2_4 a8 luts": Case(weights=Sp2(bits=4), bits=8, circuit=Circuit.LUTS),
    "pot_4 a8": Case(weights=Pot(bits=4), bits=8),
    "esb4_1 a6": Case(weights=Esb(bits=4, linear=1), bits=6),
    "distance w8a8": Case(weights=Fixed(bits=8), bits=8, operation=DISTANCE),
    "shift pot_5 a8": Case(weights=Pot(bits=5), bits=8, operation=shift(6)),
    "vs-quant w4a4 s4": scaled(
        Fixed(bits=4), BlockScaling(scale=IntScale(bits=4), vector=8, product_bits=6)
    ),
}
MORE = {
    "dsp w8a8 x2 columns": dsp(8, 8, 2, 1),
    "dsp w4a4 cascade of 3 columns": dsp(4, 4, 3, 1),
    "dsp w4a4 cascade of 2 columns": dsp(4, 4, 2, 1),
    "dsp w4a4 x4, 5 pixels": dsp(4, 4, 2, 5, lanes=9),
    "dsp w4a8 x2": dsp(4, 8, 1, 2),
    "dsp w8a4 x2": dsp(8, 4, 1, 2),
    "dsp w2a4 x4": dsp(2, 4, 2, 2, lanes=33),
    "dsp w8a8 x1": dsp(8, 8, 1, 1, lanes=7),
    "luts w8a8": Case(weights=Fixed(bits=8), bits=8, circuit=Circuit.LUTS, pixels=2),
    "luts w9a8": Case(weights=Fixed(bits=9), bits=8, circuit=Circuit.LUTS, lanes=5),
    "luts w12a12": Case(weights=Fixed(bits=12), bits=12, circuit=Circuit.LUTS, lanes=4),
    "luts w4a4": Case(weights=Fixed(bits=4), bits=4, circuit=Circuit.LUTS, pixels=3),
    "inferred w4a4": Case(weights=Fixed(bits=4), bits=4, pixels=2),
    "inferred w12a12": Case(weights=Fixed(bits=12), bits=12, lanes=4),
    "sp2_4 a4": Case(weights=Sp2(bits=4), bits=4, pixels=2),
    "sp2_8 a8": Case(weights=Sp2(bits=8), bits=8),
    "pot_5 a8": Case(weights=Pot(bits=5), bits=8, lanes=5),
    "esb6_2 a8": Case(weights=Esb(bits=6, linear=2), bits=8),
    "esb6_3 a6": Case(weights=Esb(bits=6, linear=3), bits=6, lanes=9),
    "distance w4a4": Case(weights=Fixed(bits=4), bits=4, operation=DISTANCE, pixels=2, lanes=11),
    "shift pot_3 a8": Case(weights=Pot(bits=3), bits=8, operation=shift(1), lanes=6),
    "vs-quant w8a8 s6": scaled(
        Fixed(bits=8), BlockScaling(scale=IntScale(bits=6), vector=16, product_bits=6), bits=8
    ),
    "mxfp4": scaled(Esb(bits=4, linear=1), BlockScaling(scale=E8M0(bits=3), vector=32), lanes=32),
    "nvfp4": scaled(Esb(bits=4, linear=1), BlockScaling(scale=UE4M3(), vector=16)),
}


def code_of(case: Case, value: int) -> int:
    return int(case.weights.encode(np.array(value)))


def corners(case: Case) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return weights, activations and bases: all pairs of extremes, then the longest reductions.

    Extremes in all lanes; in one lane of each place; and in turn with the other one.
    """
    weights, activations, bases = [], [], []
    lowest, *_, highest = case.operation.weights(case.weights).tolist()
    half = 1 << case.bits - 1
    shape = case.shape
    lanes = np.arange(case.lanes)
    masks = [lanes >= 0, lanes % 2 == 0, *(lanes == lane for lane in lanes)]
    ends = list(itertools.product((lowest, 0, highest), (-half, half - 1, 0, 2 * half - 1)))
    for (weight, activation), (other, rest) in itertools.product(ends, ends[:: len(ends) - 1]):
        for mask in masks:
            row = np.where(mask, code_of(case, weight), code_of(case, other))
            weights.append(np.broadcast_to(row, (case.columns, case.lanes)))
            word = np.where(mask, activation, rest)
            activations.append(np.broadcast_to(word, (case.pixels, case.lanes)))
            bases.append(Base.ZERO)
    terms = {(w, a): int(dot_products(shape, *_pair(case, w, a)).min()) for w, a in ends}
    for pick in (min, max):
        weight, activation = pick(terms, key=terms.__getitem__)
        for step in range(STEPS):
            weights.append(np.full((case.columns, case.lanes), code_of(case, weight)))
            activations.append(np.full((case.pixels, case.lanes), activation))
            bases.append(Base.SUM if step else Base.ZERO)
    return np.stack(weights), np.stack(activations), np.array([base.value for base in bases])


def _pair(case: Case, weight: int, activation: int) -> tuple[np.ndarray, np.ndarray]:
    return np.full((1, 1, 1), code_of(case, weight)), np.full((1, 1, 1), activation)


def scales_of(case: Case, rng: np.random.Generator, first: int, count: int) -> Any:
    """Return codes of weights' and activations' scales, the flags, and the factors' products."""
    scaling = case.scaling
    assert scaling is not None
    table = scaling.scale.decode_table()
    vectors = case.lanes // min(case.lanes, scaling.vector)
    highest = int(table.argmax())
    weights = rng.integers(0, len(table), (count, vectors))
    activations = rng.integers(0, len(table), (count, case.pixels, vectors))
    weights[:first], activations[:first] = highest, highest
    rounded = np.ones(count, np.int64)
    plain = rng.random(count) < 0.2
    plain[:first] = False
    if scaling.dropped_bits:  # a layer without scales of activations
        rounded[plain] = 0
        activations[plain] = int(scaling.scale.encode(np.array(1)))
    pair = table[weights][:, None], table[activations]
    factors = np.where(rounded[:, None, None] == 1, scaling.product(*pair), pair[0] * pair[1])
    return (weights, activations, rounded), factors


def make_vectors(case: Case, count: int, seed: int = SEED) -> Vectors:
    """Corners, then ``count`` random vectors: signed and unsigned activations in turn."""
    print("seed", seed)
    rng = np.random.default_rng(seed)
    first = corners(case)
    table = len(case.weights.decode_table())
    half = 1 << case.bits - 1
    weights = rng.integers(0, table, (count, case.columns, case.lanes))
    activations = rng.integers(0, 2 * half, (count, case.pixels, case.lanes))
    activations -= np.where(rng.random((count, 1, 1)) < 0.5, half, 0)
    bases = rng.choice([base.value for base in Base], count, p=[0.1, 0.5, 0.2, 0.2])
    weights = np.concatenate([first[0], weights])
    activations = np.concatenate([first[1], activations])
    gaps = case.pixels + rng.integers(0, 3, len(weights)) * (rng.random(len(weights)) < 0.3)
    scales: tuple[np.ndarray, ...] = ()
    terms = [
        dot_products(case.shape, weights[n : n + 4096], activations[n : n + 4096])
        for n in range(0, len(weights), 4096)
    ]
    if case.scaling is None:
        totals = np.concatenate([part.sum(axis=-1) for part in terms])
    else:
        scales, factors = scales_of(case, rng, len(first[0]), len(weights))
        runs = (len(weights), case.columns, case.pixels, factors.shape[-1], -1)
        totals = (np.concatenate(terms).reshape(runs).sum(axis=-1) * factors[:, None]).sum(axis=-1)
    return Vectors(
        weights=weights, activations=activations, dots=totals,
        bases=np.concatenate([first[2], bases]), gaps=gaps, scales=scales,
    )  # fmt: skip


def wrong_by(weight: int) -> Callable[..., Value]:
    """Return ``LaneDot._lane`` that inverts a bit of lane 0's code."""
    whole = LaneDot._lane

    def lane(self: LaneDot, m: Module, code: Value, name: str) -> Any:
        return whole(self, m, code ^ weight if name == "0" else code, name)

    return lane


def operands(change: Callable[[DspDot, Value, Value, Value], tuple[Value, Value, Value]]) -> Any:
    """Return ``DspDot.operands`` with its factors changed."""
    whole = DspDot.operands
    return lambda self, *given: change(self, *whole(self, *given))


def with_borrow(self: DspDot, plus: Value, minus: Value, narrow: Value) -> tuple[Value, ...]:
    """What the lower weight borrows is not taken from the upper one."""
    borrowed = narrow[self.shape.weight_format.bits - 1] << self.packing.field_bits
    return plus, minus, (narrow + borrowed)[: len(narrow)].as_signed()


def dsp_mutations(case: Case) -> list[Mutation]:
    """A constant, the signs, the borrow, a bit of a field, and a chain too long."""
    whole_field, whole_schedule, whole_offset = DspDot.field, Schedule.of, DspDot.offset.fget
    shape = case.shape
    packing = dsp_packing(
        shape.weight_format, shape.activation_bits,
        columns=case.columns, pixels=case.pixels, lanes=case.lanes,
    )  # fmt: skip
    half = 1 << packing.field_bits - 1

    def field(self: DspDot, m: Module, total: Value, index: int, name: str) -> Value:
        value = whole_field(self, m, total, index, name)
        return (value ^ 1 if index == 0 else value)[: len(value)].as_signed()

    found = [
        Mutation(
            name="unsigned", owner=DspDot, attribute="operands",
            broken=operands(lambda _, plus, minus, narrow: (plus, Const(0, len(minus)), narrow)),
        )
    ]  # fmt: skip
    if packing.products > 1:
        found += [
            Mutation(
                name="offset", owner=DspDot, attribute="offset",
                broken=property(lambda self: whole_offset(self) ^ half),
            ),
            Mutation(name="field", owner=DspDot, attribute="field", broken=field),
        ]  # fmt: skip
    if packing.columns > 1 and packing.pixels > 1:
        found.append(
            Mutation(
                name="borrow", owner=DspDot, attribute="operands", broken=operands(with_borrow)
            )
        )
    if whole_schedule(case.lanes, 2 * packing.chain) != whole_schedule(case.lanes, packing.chain):
        longer = classmethod(lambda _, lanes, chain: whole_schedule(lanes, 2 * chain))
        found.append(Mutation(name="chain", owner=Schedule, attribute="of", broken=longer))
    return found


def lane_mutations(case: Case) -> list[Mutation]:
    """A bit of a code, a register too narrow, and the carries that lanes owe."""
    register = dots.register

    def narrow(m: Module, term: Value, width: int, name: str) -> Value:
        return register(m, term, width - 3, name)

    if case.operation == DISTANCE:
        return distance_mutations()
    found = [Mutation(name="narrow", owner=dots, attribute="register", broken=narrow)]
    found.append(Mutation(name="code", owner=LaneDot, attribute="_lane", broken=wrong_by(1)))
    if owes(case):
        none = staticmethod(lambda *_: None)
        found.append(Mutation(name="carry", owner=LaneDot, attribute="_owed", broken=none))
    if case.scaling is not None:
        decode = vector.decode_scale

        def other(kind: Any, code: Value) -> Scale:
            return decode(kind, code ^ 1)

        found.append(Mutation(name="scale", owner=vector, attribute="decode_scale", broken=other))
    return found


def distance_mutations() -> list[Mutation]:
    """The carry out of a sum of distances, and the one that the whole sum owes."""
    add, settle = dots.added, dots.settled

    def narrow(one: Pending, other: Pending) -> Pending:
        total = add(one, other)
        return Pending(Cat(total.value[:-1], Const(0, 1)), total.negative)

    def without_carry(total: Pending) -> Term:
        return Term(value=settle(total).value)

    return [
        Mutation(name="narrow", owner=dots, attribute="added", broken=narrow),
        Mutation(name="carry", owner=dots, attribute="settled", broken=without_carry),
    ]


def owes(case: Case) -> bool:
    """Whether lanes of the column owe carries."""
    m, made = Module(), dots.LaneDot(case.shape)
    lane = made._lane(m, Const(0, case.weights.bits), "0")
    return lane.owed is not None and case.circuit is Circuit.LANES


def check(case: Case, count: int) -> None:
    """Play corners and ``count`` vectors; the good column is right and no other is."""
    mutations = dsp_mutations(case) if case.circuit is Circuit.DSP else lane_mutations(case)
    vectors = make_vectors(case, count)
    drive = ColumnDrive(case.column(), case.shape, case.scaling)
    compiled = Compiled(mutants(case.column, mutations))
    outputs = compiled.play(drive.inputs(vectors, np.random.default_rng(SEED + 1)))
    expected = drive.totals(vectors)
    for name in ("good", *(mutation.name for mutation in mutations)):
        mine = [outputs[f"{name}_drained_{column}"] for column in range(case.columns)]
        same = np.array_equal(drive.drained(vectors, mine), expected)
        assert same == (name == "good"), name


@pytest.mark.parametrize("name", CASES)
def test_columns(name: str) -> None:
    """Of every kind of product, and of what packings of DSPs there are."""
    check(CASES[name], COUNT)


@pytest.mark.campaign
@pytest.mark.parametrize("name", MORE)
def test_more_columns(name: str) -> None:
    check(MORE[name], COUNT)


@pytest.mark.parametrize("name", [*CASES, *MORE])
def test_derived_accumulators_hold_the_longest_reduction(name: str) -> None:
    """The corners reach the ends of the range without wrapping; one bit less would wrap."""
    case = {**CASES, **MORE}[name]
    vectors = make_vectors(case, 1)
    exact = np.zeros_like(vectors.dots[0])
    reached = []
    for dot, base in zip(vectors.dots[:-1], vectors.bases[:-1], strict=True):
        exact = dot + (0 if base == Base.ZERO.value else exact)
        reached.append(exact)
    low, high = terms_range(case.shape, case.scaling)
    terms = STEPS * case.lanes
    assert np.min(reached) == terms * low
    assert np.max(reached) == terms * high
    half = 1 << case.accumulator_bits - 1
    assert -half <= terms * low
    assert terms * high < half
    assert terms * low < -half // 2 or terms * high >= half // 2
    assert longest_reduction((low, high), case.accumulator_bits) >= terms
