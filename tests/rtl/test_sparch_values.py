# amaranth: UnusedElaboratable=no
"""Adders and multipliers against numpy, on random and special values."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from amaranth.sim import Simulator

from celosia.dataflow.sparch.accelerator import Elements, ValueKind
from celosia.rtl.sparch import values
from celosia.rtl.sparch.values import Adder, Multiplier

from .compiled import Compiled, Mutation, mutants

SEED = 8
COUNT = 120_000
NAN = 0x7FC00000
SPECIAL = np.array(
    [
        0, 1, 2, 3, 0x3FFFFF, 0x400000, 0x7FFFFF, 0x800000, 0x800001, 0xFFFFFF, 0x1000000,
        0x33800000, 0x34000000, 0x3EFFFFFF, 0x3F000000, 0x3F7FFFFF, 0x3F800000, 0x3F800001,
        0x3FFFFFFF, 0x40000000, 0x4B000000, 0x4B800000, 0x7EFFFFFF, 0x7F000000, 0x7F7FFFFF,
        0x7F800000, 0x7F800001, 0x7FC00000, 0x7FFFFFFF,
    ],
    np.uint32,
)  # fmt: skip
SPECIAL = np.concatenate([SPECIAL, SPECIAL | 0x80000000])


def canonical(result):
    """Return the bits of singles, every NaN as the engine writes it."""
    return np.where(np.isnan(result), np.uint32(NAN), result.view(np.uint32))


def float_pairs(step):
    """Bits of pairs: special ones with each other, and random ones near and far apart."""
    rng = np.random.default_rng(SEED)
    special = np.array(list(itertools.product(SPECIAL, SPECIAL)), np.uint32)
    any_bits = rng.integers(0, 2**32, (COUNT // 2, 2), np.uint32)
    one = rng.integers(0, 2**32, COUNT // 2, np.uint32)
    # Exponents that differ by little, and often the same fraction: what cancels and rounds.
    near = one.copy()
    near ^= (rng.integers(0, 32, near.shape) << 23).astype(np.uint32)
    near ^= (rng.integers(0, 2, near.shape) << 31).astype(np.uint32)
    near += rng.integers(0, 4, near.shape).astype(np.uint32) * (
        rng.integers(0, 2, near.shape)
    ).astype(np.uint32)
    # Products near the smallest subnormal, just above halfway between two.
    size = 23 - step
    small = rng.integers(1 << size, 2 << size, COUNT // 8, np.uint64)
    other = -(-(2 << 2 * size) // small.astype(np.int64))
    exponents = rng.integers(1, 102, COUNT // 8)
    sums = rng.integers(95, 131, COUNT // 8)
    sums[::2] = 103
    tiny = [
        ((factor.astype(np.int64) & ((1 << size) - 1)) << step) | (exponent << 23)
        for factor, exponent in ((small, exponents), (other, np.maximum(sums - exponents, 1)))
    ]
    below = np.stack(tiny, axis=1).astype(np.uint32)
    pairs = np.concatenate([special, any_bits, np.stack([one, near], axis=1), below])
    return pairs & np.uint32(0xFFFFFFFF << step & 0xFFFFFFFF)


def play(parts, pairs, size):
    given = {
        name: np.ascontiguousarray(pairs[:, i : i + 1])
        .view(np.uint8)
        .reshape(len(pairs), -1)[:, :size]
        for i, name in enumerate("ab")
    }
    return Compiled(parts).play(given)


FLOATS = {
    "float32": Elements(kind=ValueKind.FLOAT32, bits=32, accumulator=32),
    "bfloat16": Elements(kind=ValueKind.BFLOAT16, bits=16, accumulator=32),
}


def truncated(sign, exponent, significand, rest):
    """Rounds to zero: wrong."""
    return RIGHT(sign, exponent, significand & ~0x7, rest & 0)


RIGHT, DOWN = values.rounded_single, values.shifted_down
BROKEN = [
    Mutation(name="truncates", owner=values, attribute="rounded_single", broken=truncated),
    Mutation(name="forgets", owner=values, attribute="shifted_down",
             broken=lambda value, by: (DOWN(value, by)[0], values.Const(0, 1))),
    Mutation(name="finite", owner=values, attribute="is_nan",
             broken=lambda single: values.Const(0, 1)),
]  # fmt: skip


def check(outputs, expected):
    got = {name: rows.view(np.uint32)[:, 0] for name, rows in outputs.items()}
    np.testing.assert_array_equal(got.pop("good_o"), expected)
    for name, wrong in got.items():
        assert (wrong != expected).any(), name


def test_singles_are_added_as_numpy_adds_them():
    pairs = float_pairs(0)
    with np.errstate(all="ignore"):
        one, other = pairs[:, 0].view(np.float32), pairs[:, 1].view(np.float32)
        expected = canonical(one + other)
    parts = mutants(lambda: Adder(FLOATS["float32"]), BROKEN)
    check(play(parts, pairs, 4), expected)


@pytest.mark.parametrize("kind", FLOATS)
def test_singles_are_multiplied_as_numpy_multiplies_them(kind):
    """A bfloat16 is the upper half of a single."""
    step = 16 if kind == "bfloat16" else 0
    pairs = float_pairs(step)
    with np.errstate(all="ignore"):
        one, other = pairs[:, 0].view(np.float32), pairs[:, 1].view(np.float32)
        expected = canonical(one * other)
    parts = mutants(lambda: Multiplier(FLOATS[kind]), BROKEN)
    check(play(parts, pairs >> step, 4 - step // 8), expected)


@pytest.mark.parametrize(("bits", "accumulator"), [(8, 16), (11, 64), (16, 40), (32, 64)])
def test_integers_are_exact(bits, accumulator):
    rng = np.random.default_rng(SEED)
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1)
    factors = rng.integers(low, high, (2000, 2))
    factors[:4] = [(low, low), (low, high - 1), (high - 1, low), (-1, -1)]
    elements = Elements(bits=bits, accumulator=accumulator)

    async def bench(ctx):
        for one, other in factors.tolist():
            ctx.set(dut.a, one)
            ctx.set(dut.b, other)
            assert ctx.get(dut.o) == one * other % 2**accumulator

    for unit in (Multiplier, Adder):
        dut = unit(elements)
        if unit is Multiplier:
            simulate_comb(dut, bench)
            continue
        sums = rng.integers(-(2**62), 2**62, (500, 2))

        async def add(ctx, dut=dut, sums=sums):
            for one, other in sums.tolist():
                ctx.set(dut.a, one % 2**accumulator)
                ctx.set(dut.b, other % 2**accumulator)
                assert ctx.get(dut.o) == (one + other) % 2**accumulator

        simulate_comb(dut, add)


def simulate_comb(dut, bench):
    """Run a bench of a component without registers."""
    sim = Simulator(dut)
    sim.add_testbench(bench)
    sim.run()
