# amaranth: UnusedElaboratable=no
"""Vector MACs: every format of elements and scales against the integers they stand for."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import Array, Assert, Cat, Const, Module, Signal, Value, signed
from amaranth.sim import Simulator

from celosia.dataflow.microarchitecture import tree_levels
from celosia.models.formats import (
    E8M0,
    UE4M3,
    BlockScaling,
    Esb,
    Fixed,
    Format,
    IntScale,
    ScaleFormat,
)
from celosia.rtl.pe import LANE_BITS, scale
from celosia.rtl.pe.scale import Scale, decode_scale
from celosia.rtl.vector import VectorMac

from .prover import prove

KEPT = (None, 6, 4)
"""Bits that are kept of a product of scales."""


def scalings(bits: int, vector: int) -> list[BlockScaling]:
    return [
        BlockScaling(scale=IntScale(bits=bits), vector=vector, product_bits=kept) for kept in KEPT
    ]


def outputs(
    weights: Format, forms: list[BlockScaling], bits: int, steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return (step, form) sums of engine's MACs given the same operands, and what they are."""
    lanes, kind = forms[0].vector, forms[0].scale
    rng = np.random.default_rng(bits + lanes)
    codes = rng.integers(0, 1 << weights.bits, (steps, lanes))
    values = rng.integers(-(1 << bits), 1 << bits, (steps, lanes))
    # All extremes: the longest sums, and a scale of 0 on either side.
    codes[0], values[0] = np.argmin(weights.decode_table()), -(1 << bits)
    codes[1], values[1] = np.argmax(weights.decode_table()), (1 << bits) - 1
    scales = rng.integers(0, 1 << kind.bits, (steps, 2))
    scales[:2], scales[2], scales[3] = (1 << kind.bits) - 1, (0, 1), (1, 0)
    m = Module()
    units = [
        VectorMac(
            weight_format=weights, scaling=form, activation_scales=True, lanes=lanes, pixels=1,
            activation_bits=bits + 1,
        )
        for form in forms
    ]  # fmt: skip
    m.submodules += units
    stages = len(tree_levels(lanes)) + 1
    got = np.zeros((steps, len(forms)), object)

    async def bench(ctx):
        for cycle in range(steps + stages):
            if cycle >= stages:
                got[cycle - stages] = [ctx.get(unit.sums[0]) for unit in units]
            if cycle < steps:
                word = pack(codes[cycle], weights.bits)
                operands = pack(values[cycle] & (1 << LANE_BITS) - 1, LANE_BITS)
                for unit, form in zip(units, forms, strict=True):
                    ctx.set(unit.weights, word)
                    ctx.set(unit.activations[0], operands)
                    ctx.set(unit.scale, int(scales[cycle, 0]))
                    ctx.set(unit.activation_scales[0], int(scales[cycle, 1]))
                    if form.dropped_bits:
                        ctx.set(unit.rounded, 1)
            await ctx.tick()

    sim = Simulator(m)
    sim.add_clock(1e-6)
    sim.add_testbench(bench)
    sim.run()
    dots = (weights.decode(codes) * values).sum(axis=1)
    decoded = kind.decode(scales)
    expected = [dots * form.product(decoded[:, 0], decoded[:, 1]) for form in forms]
    return got, np.stack(expected, axis=1)


def pack(codes: np.ndarray, bits: int) -> int:
    return sum(int(code) << bits * index for index, code in enumerate(codes))


@pytest.mark.parametrize("vector", [16, 32, 64])
@pytest.mark.parametrize("bits", [4, 6, 8])
def test_vs_quant(bits: int, vector: int) -> None:
    """Elements of ``bits`` bits with scales of 4, 6 and 8, rounded to 2M, 6 and 4."""
    for scale_bits in (4, 6, 8):
        forms = scalings(scale_bits, vector)
        got, expected = outputs(Fixed(bits=bits), forms, bits, 10)
        assert got.tolist() == expected.tolist(), scale_bits
        assert not got[2:4].any()


@pytest.mark.parametrize("kind", [E8M0(bits=3), UE4M3()], ids=lambda kind: kind.name)
def test_powers_and_floats(kind: ScaleFormat) -> None:
    got, expected = outputs(Esb(bits=4, linear=1), [BlockScaling(scale=kind, vector=16)], 4, 300)
    assert got.tolist() == expected.tolist()


def claim(kind: ScaleFormat, kept: int | None) -> tuple[Module, list[Signal]]:
    """A MAC of three lanes, and the claim that its sum is what the formats say."""
    weights = Fixed(bits=2)
    scaling = BlockScaling(scale=kind, vector=4, product_bits=kept)
    m = Module()
    m.submodules.mac = mac = VectorMac(
        weight_format=weights, scaling=scaling, activation_scales=True, lanes=3, pixels=1,
        activation_bits=3,
    )  # fmt: skip
    codes, operands = Signal(6), Signal(9)
    scales = [Signal(kind.bits, name=f"scale_{n}") for n in range(2)]
    values = kind.decode_table()
    table = Array(
        Array(Const(int(scaling.product(one, other))) for other in values) for one in values
    )
    lanes = [operands.word_select(lane, 3).as_signed() for lane in range(3)]
    dot = sum(
        (codes.word_select(n, 2).as_signed() * lane for n, lane in enumerate(lanes)),
        start=Const(0),
    )
    expected: Value = dot * table[scales[0]][scales[1]]
    for stage in range(len(tree_levels(3)) + 1):
        register = Signal(signed(mac.sum_bits), name=f"expected_{stage}")
        m.d.sync += register.eq(expected)
        expected = register
    for n, lane in enumerate(lanes):
        wide = Signal(signed(LANE_BITS), name=f"wide_{n}")
        m.d.comb += [wide.eq(lane), mac.activations[0].word_select(n, LANE_BITS).eq(wide)]
    m.d.comb += [
        mac.weights.eq(codes),
        mac.scale.eq(scales[0]),
        mac.activation_scales[0].eq(scales[1]),
        Assert(mac.sums[0] == expected),
    ]
    if scaling.dropped_bits:
        m.d.comb += mac.rounded.eq(1)
    return m, [codes, operands, *scales]


@pytest.mark.parametrize(
    ("kind", "kept"),
    [(IntScale(bits=2), None), (IntScale(bits=2), 3), (E8M0(bits=2), None)],
    ids=str,
)
def test_macs_are_proved(kind: ScaleFormat, kept: int | None, tmp_path: Path) -> None:
    m, inputs = claim(kind, kept)
    prove(m, inputs, tmp_path, steps=5)


def test_a_dropped_half_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A product of scales that is cut and not rounded."""

    def cut(scaling: BlockScaling, one: Scale, other: Scale) -> Scale:
        product = (one.significand * other.significand) >> scaling.dropped_bits
        return Scale(significand=product, shift=None)

    monkeypatch.setattr("celosia.rtl.vector.scale_product", cut)
    m, inputs = claim(IntScale(bits=2), 3)
    with pytest.raises(AssertionError, match="proof did fail"):
        prove(m, inputs, tmp_path, steps=5)


def test_every_scale_is_decoded() -> None:
    """All codes, all products of two: what significand and shift make is the format's value."""
    for kind in (IntScale(bits=4), E8M0(bits=4), UE4M3()):
        m, codes = Module(), [Signal(kind.bits, name=f"code_{n}") for n in range(2)]
        scaling = BlockScaling(scale=kind, vector=16)
        both = scale.scale_product(scaling, *(decode_scale(kind, code) for code in codes))
        value = Signal(64)
        shift = Const(0) if both.shift is None else both.shift
        m.d.comb += value.eq(both.significand << shift)
        got = []

        async def bench(ctx, codes=codes, value=value, got=got, kind=kind):
            for pair in itertools.product(range(1 << kind.bits), repeat=2):
                ctx.set(Cat(codes), pair[0] | pair[1] << kind.bits)
                got.append(ctx.get(value))

        sim = Simulator(m)
        sim.add_testbench(bench)
        sim.run()
        table = kind.decode_table()
        np.testing.assert_array_equal(got, (table[:, None] * table).ravel())


class _Other(ScaleFormat):
    name = "other4"

    def decode_table(self) -> np.ndarray:
        return np.arange(16)


def test_parameters_wrong() -> None:
    with pytest.raises(ValueError, match="no decoder for scales of format 'other4'"):
        decode_scale(_Other(bits=4), Signal(4))
