# amaranth: UnusedElaboratable=no
"""Lanes of distances and of truncating shifts: exhaustive, proved, and wrong copies caught."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from amaranth.back import rtlil
from amaranth.hdl import Array, Assert, Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.sim import Simulator

from celosia.dataflow.array_shape import Circuit
from celosia.dataflow.microarchitecture import tree_levels
from celosia.models.formats import Fixed, Format, Pot, Sp2
from celosia.models.operations import DISTANCE, Operation, shift
from celosia.rtl.circuits import dot_of
from celosia.rtl.dot import DotShape, LaneDot
from celosia.rtl.pe import (
    LANE_BITS,
    LUT_MULTIPLIERS,
    MULTIPLIERS,
    MakeMultiplier,
    distance,
    multiplier,
)
from celosia.rtl.pe.base import Term
from celosia.rtl.pe.distance import Distance, Pending, added, settled
from celosia.rtl.pe.shift import TruncatingShift

from .prover import prove


def lane(
    m: Module,
    operation: Operation,
    fmt: Format,
    code: Value,
    activation: Value,
    known: Mapping[type[Format], MakeMultiplier] = MULTIPLIERS,
) -> Value:
    """The whole term of one lane."""
    if operation == DISTANCE:
        return settled(Distance(m, fmt, code, "w").apart(m, activation.as_signed(), "a")).total
    exact = multiplier(m, fmt, code, "w", known=known)
    unit = TruncatingShift(exact, dropped=operation.dropped)
    return (unit.product(activation) + unit.owed)[:LANE_BITS].as_signed()


def expected_terms(operation: Operation, fmt: Format, activations: np.ndarray) -> np.ndarray:
    """The term of every code and activation."""
    weights = fmt.decode(np.arange(1 << fmt.bits))[:, None]
    terms = operation.terms(weights, activations)
    return np.where(weights == fmt.low, 0, terms) if operation == DISTANCE else terms


@pytest.mark.parametrize(
    ("operation", "fmt", "bits"),
    [
        (DISTANCE, Fixed(bits=8), 5),
        (DISTANCE, Fixed(bits=2), 9),
        (shift(6), Pot(bits=5), 9),
        (shift(13), Pot(bits=5), 6),
        (shift(1), Pot(bits=3), 9),
    ],
    ids=str,
)
def test_every_term(operation: Operation, fmt: Format, bits: int) -> None:
    m = Module()
    code, activation = Signal(fmt.bits), Signal(signed(LANE_BITS))
    out = Signal(signed(LANE_BITS))
    m.d.comb += out.eq(lane(m, operation, fmt, code, activation))
    values = np.arange(-(1 << bits - 1), 1 << bits - 1)
    got = np.zeros((1 << fmt.bits, len(values)), dtype=np.int64)

    async def bench(ctx):
        for c in range(1 << fmt.bits):
            ctx.set(code, c)
            for j, value in enumerate(values):
                ctx.set(activation, int(value))
                got[c, j] = ctx.get(out)

    sim = Simulator(m)
    sim.add_testbench(bench)
    sim.run()
    np.testing.assert_array_equal(got, expected_terms(operation, fmt, values))


def claim(
    operation: Operation, fmt: Format, known: Mapping[type[Format], MakeMultiplier] = MULTIPLIERS
) -> tuple[Module, list[Signal]]:
    """Every code's term is the definition's, for any activation of 9 bits."""
    m = Module()
    code, activation, word = Signal(fmt.bits), Signal(signed(9)), Signal(signed(LANE_BITS))
    m.d.comb += word.eq(activation)
    if operation == DISTANCE:
        apart = activation - code.as_signed()
        plain = Mux(code == 1 << fmt.bits - 1, 0, Mux(apart < 0, apart, -apart))
    else:
        weight = Array(Const(int(value), signed(18)) for value in fmt.decode_table())[code]
        floor = (activation * Mux(weight < 0, -weight, weight)) >> operation.dropped
        plain = Mux(weight < 0, -floor, floor)
    operand = activation if operation == DISTANCE else word
    m.d.comb += Assert(lane(m, operation, fmt, code, operand, known) == plain)
    return m, [code, activation]


@pytest.mark.parametrize(
    ("operation", "fmt"),
    [
        *((DISTANCE, Fixed(bits=bits)) for bits in range(2, 9)),
        *((shift(dropped), Pot(bits=5)) for dropped in (1, 6, 8, 13)),
        (shift(3), Pot(bits=4)),
        (shift(2), Pot(bits=3)),
    ],
    ids=str,
)
def test_terms(operation: Operation, fmt: Format, tmp_path: Path) -> None:
    prove(*claim(operation, fmt), tmp_path)


@pytest.mark.parametrize("dropped", [1, 6, 13])
def test_terms_of_look_up_tables(dropped: int, tmp_path: Path) -> None:
    prove(*claim(shift(dropped), Pot(bits=5), LUT_MULTIPLIERS), tmp_path)


class _NoMask(Distance):
    """The lowest code is a weight like any other."""

    def __init__(self, m: Module, weight_format: Format, code: Value, name: str) -> None:
        super().__init__(m, weight_format, code, name, idle=False)


class _NoBorrow(Distance):
    """The sign is that of the bits below it."""

    def apart(self, m: Module, activation: Value, name: str) -> Pending:
        value = super().apart(m, activation, name).value
        return Pending(value, value[-1])


def _no_carry(total: Pending) -> Term:
    return Term(value=distance.settled(total).value)


def _swapped_sign(total: Pending) -> Term:
    return distance.settled(Pending(total.value, ~total.negative))


@pytest.mark.parametrize(
    ("name", "broken"),
    [
        ("Distance", _NoMask),
        ("Distance", _NoBorrow),
        ("settled", _no_carry),
        ("settled", _swapped_sign),
    ],
)
def test_broken_distances_are_caught(
    name: str, broken: Callable[..., object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), name, broken)
    with pytest.raises(AssertionError, match="Assert failed in proof"):
        prove(*claim(DISTANCE, Fixed(bits=4)), tmp_path)


class _SignFirst(TruncatingShift):
    """Bits are dropped after the negation: rounds minus a floor up."""

    @property
    def owed(self) -> Value:
        return Const(0, 1)

    def product(self, activation: Value) -> Value:
        exact = self._exact.product(activation) + self._exact.owed
        return (exact[:LANE_BITS].as_signed() >> self._dropped).as_unsigned()


def test_broken_shifts_are_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "TruncatingShift", _SignFirst)
    with pytest.raises(AssertionError, match="Assert failed in proof"):
        prove(*claim(shift(2), Pot(bits=4)), tmp_path)


def sum_claim(add: Callable[[Pending, Pending], Pending]) -> tuple[Module, list[Signal]]:
    """The sum of three sums, of which the last is as wide as a leaf: minus what they add up to."""
    m = Module()
    values = [Signal(signed(5), name=f"value_{n}") for n in range(3)]
    one, other, last = (Pending(value[:-1], value[-1]) for value in values)
    plain = sum((Mux(value < 0, value, -value) for value in values), start=Const(0))
    m.d.comb += Assert(settled(add(add(one, other), last)).total == plain)
    return m, values


def test_sums_of_pending_signs(tmp_path: Path) -> None:
    m, inputs = sum_claim(added)
    prove(m, inputs, tmp_path)


def _sum_without_carry(one: Pending, other: Pending) -> Pending:
    bits = max(len(one.value), len(other.value))
    flipped = other.extended(bits) ^ (one.negative ^ other.negative).replicate(bits)
    return Pending((one.extended(bits) + flipped)[: bits + 1], one.negative)


def _sum_of_the_others_sign(one: Pending, other: Pending) -> Pending:
    return Pending(added(one, other).value, other.negative)


def _sum_of_magnitudes(one: Pending, other: Pending) -> Pending:
    return added(one, Pending(other.value, Const(0, 1)))


def _sum_without_carry_out(one: Pending, other: Pending) -> Pending:
    total = added(one, other)
    return Pending(Cat(total.value[:-1], Const(0, 1)), total.negative)


@pytest.mark.parametrize(
    "broken",
    [_sum_without_carry, _sum_of_the_others_sign, _sum_of_magnitudes, _sum_without_carry_out],
)
def test_broken_sums_are_caught(
    broken: Callable[[Pending, Pending], Pending], tmp_path: Path
) -> None:
    m, inputs = sum_claim(broken)
    with pytest.raises(AssertionError, match="Assert failed in proof"):
        prove(m, inputs, tmp_path)


@pytest.mark.parametrize(
    ("operation", "fmt"), [(DISTANCE, Fixed(bits=8)), (shift(6), Pot(bits=5))], ids=str
)
@pytest.mark.parametrize("lanes", [1, 7, 64])
def test_longest_sums(operation: Operation, fmt: Format, lanes: int) -> None:
    """Random vectors, and all lanes at the extremes: the tree's registers are wide enough."""
    m = Module()
    weights, word = Signal(lanes * fmt.bits), Signal(lanes * LANE_BITS)
    shape = DotShape(
        weight_format=fmt, lanes=lanes, pixels=1, activation_bits=9, operation=operation
    )
    out = Signal(signed(LANE_BITS))
    m.d.comb += out.eq(dot_of(shape, Circuit.LANES).sums(m, weights, [word])[0])
    rng = np.random.default_rng(lanes)
    ends = [(c, a) for c in (1, (1 << fmt.bits - 1) - 1, (1 << fmt.bits) - 1) for a in (-128, 255)]
    codes = rng.integers(0, 1 << fmt.bits, (len(ends) + 20, lanes))
    values = rng.integers(-128, 256, codes.shape)
    for row, (code, value) in enumerate(ends):
        codes[row], values[row] = code, value
    table = expected_terms(operation, fmt, np.arange(-128, 256))
    got = []

    async def bench(ctx):
        for row, activations in zip(codes, values, strict=True):
            ctx.set(weights, sum(int(c) << fmt.bits * i for i, c in enumerate(row)))
            ctx.set(
                word,
                sum((int(a) & 0xFFFF_FFFF) << LANE_BITS * i for i, a in enumerate(activations)),
            )
            await ctx.tick().repeat(len(tree_levels(lanes)))
            got.append(ctx.get(out))

    sim = Simulator(m)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    assert got == table[codes, values + 128].sum(axis=1).tolist()


def test_carries_of_hundreds_of_lanes_are_no_deep_expression() -> None:
    """One sum after the other, of 500 carries, would be nested 500 deep."""
    m = Module()
    lanes = [multiplier(m, Pot(bits=2), Signal(2), str(n)) for n in range(500)]
    owed = LaneDot._owed(m, lanes)
    assert owed is not None
    assert len(owed) == 9
    rtlil.convert(m, name="carries", ports=[owed], emit_src=False)


def test_lanes_wrong() -> None:
    m, code = Module(), Signal(4)
    for fmt in (Sp2(bits=4), Fixed(bits=4, signed=False)):
        with pytest.raises(TypeError, match="weight_format must be a signed Fixed"):
            Distance(m, fmt, code, "w")
