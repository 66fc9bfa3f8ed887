# amaranth: UnusedElaboratable=no
"""Vector MACs: every format of elements and scales against the integers they stand for."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
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
    Fixed,
    Format,
    IntScale,
    ScaleFormat,
    parse_format,
)
from celosia.rtl import vector
from celosia.rtl.pe import LANE_BITS, scale
from celosia.rtl.pe.scale import Scale, decode_scale
from celosia.rtl.vector import VectorMac

from .compiled import Compiled, Mutation, Part, mutants, numbers, packed
from .prover import prove

KEPT = (None, 6, 4)
"""Bits that are kept of a product of scales."""

SEED = 71
COUNT = 100_000
"""Random vectors of a case."""

CORNERS = 16
"""Vectors of ends alone, before them."""


def scalings(bits: int, vector: int) -> list[BlockScaling]:
    return [
        BlockScaling(scale=IntScale(bits=bits), vector=vector, product_bits=kept) for kept in KEPT
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A vector MAC; ``bits`` of an activation, signed or not."""

    weights: Format
    scaling: BlockScaling
    bits: int

    def unit(self) -> VectorMac:
        return VectorMac(
            weight_format=self.weights, scaling=self.scaling, activation_scales=True,
            lanes=self.scaling.vector, pixels=1, activation_bits=self.bits + 1,
        )  # fmt: skip


def operands(case: Case, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return weights' codes, activations and pairs of scales: corners, then random ones."""
    rng = np.random.default_rng(SEED)
    lanes, kind, table = case.scaling.vector, case.scaling.scale, case.weights.decode_table()
    count += CORNERS
    codes = rng.integers(0, len(table), (count, lanes))
    values = rng.integers(-(1 << case.bits - 1), 1 << case.bits, (count, lanes))
    scales = rng.integers(0, 1 << kind.bits, (count, 2))
    # All extremes: the longest sums, and the least scale on either side.
    ends = itertools.product(
        (table.argmin(), table.argmax()), (-(1 << case.bits - 1), (1 << case.bits) - 1)
    )
    top = (1 << kind.bits) - 1
    for row, ((code, value), pair) in enumerate(
        itertools.product(ends, ((top, top), (0, top), (top, 0), (0, 0)))
    ):
        codes[row], values[row], scales[row] = code, value, pair
    return codes, values, scales


def check(cases: list[Case], mutations: list[Mutation], count: int = COUNT) -> None:
    """Play the same operands into the MACs of ``cases``: their sums are those of integers.

    All cases have the same weights, activations and kind of scales. ``mutations`` break copies of
    the last one, which are then wrong.
    """
    print("seed", SEED)
    case, stages = cases[-1], len(tree_levels(cases[0].scaling.vector)) + 1
    codes, values, scales = (np.pad(data, ((0, stages), (0, 0))) for data in operands(case, count))
    # A layer without scales of activations has 1 there, and no rounding.
    rounded = np.random.default_rng(SEED).integers(0, 4, len(codes)).clip(0, 1)
    rounded[:CORNERS] = 1
    scales[rounded == 0, 1] = case.scaling.scale.encode(np.array(1))
    parts = [Part.of(each.unit(), outputs=f"case_{n}_") for n, each in enumerate(cases)]
    parts += mutants(case.unit, mutations)
    inputs = {
        "weights": packed(codes, case.weights.bits),
        "scale": packed(scales[:, :1], case.scaling.scale.bits),
        "activations_0": np.ascontiguousarray(values.astype("<i4")).view(np.uint8),
        "activation_scales_0": packed(scales[:, 1:], case.scaling.scale.bits),
        "rounded": packed(rounded[:, None], 1),
    }
    outputs = Compiled(parts).play(inputs)
    dots = (case.weights.decode(codes) * values).sum(axis=1)
    weight, activation = case.scaling.scale.decode(scales).T
    names = [f"case_{n}" for n in range(len(cases))] + ["good"] + [m.name for m in mutations]
    known = dict(zip(names, [*cases, *[case] * (1 + len(mutations))], strict=True))
    for name, each in known.items():
        both = each.scaling.product(weight, activation)
        wanted = dots * np.where(rounded == 1, both, weight * activation)
        got = numbers(outputs[f"{name}_sums_0"], len(each.unit().sums[0]))
        right = np.array_equal(got[stages:], wanted[:-stages])
        assert right == (name not in [m.name for m in mutations]), name


def cut(scaling: BlockScaling, one: Scale, other: Scale) -> Scale:
    """A product of scales that is cut and not rounded."""
    product = (one.significand * other.significand) >> scaling.dropped_bits
    return Scale(significand=product, shift=None)


def other_scale(kind: ScaleFormat, code: Value) -> Scale:
    """The scale of a code with a bit inverted."""
    return decode_scale(kind, code ^ 1)


DECODED = Mutation(name="code", owner=vector, attribute="decode_scale", broken=other_scale)
HALF = Mutation(name="half", owner=vector, attribute="scale_product", broken=cut)


VS_QUANT = [
    pytest.param(
        bits, scales, lanes, marks=[] if bits == scales and lanes == 16 else [pytest.mark.campaign]
    )
    for bits, scales, lanes in itertools.product((4, 6, 8), (4, 6, 8), (16, 32, 64))
]


@pytest.mark.parametrize(("bits", "scale_bits", "lanes"), VS_QUANT)
def test_vs_quant(bits: int, scale_bits: int, lanes: int) -> None:
    """Elements of ``bits`` bits with scales of ``scale_bits``, rounded to 2M, 6 and 4."""
    cases = [
        Case(weights=Fixed(bits=bits), scaling=form, bits=bits)
        for form in scalings(scale_bits, lanes)
    ]
    check(cases, [DECODED, HALF] if lanes == 16 else [])


@pytest.mark.parametrize(
    ("weights", "kind", "lanes", "bits"),
    [
        ("esb4_1", E8M0(bits=4), 32, 4),
        ("esb6_3", E8M0(bits=4), 32, 6),
        ("esb6_2", E8M0(bits=4), 32, 9),
        ("fixed8", E8M0(bits=4), 32, 8),
        ("esb4_1", UE4M3(), 16, 4),
    ],
    ids=["MXFP4", "MXFP6 E2M3", "MXFP6 E3M2", "MXINT8", "NVFP4"],
)
def test_powers_and_floats(weights: str, kind: ScaleFormat, lanes: int, bits: int) -> None:
    """With activations as wide as the elements' values."""
    scaling = BlockScaling(scale=kind, vector=lanes)
    check([Case(weights=parse_format(weights), scaling=scaling, bits=bits)], [DECODED])


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
