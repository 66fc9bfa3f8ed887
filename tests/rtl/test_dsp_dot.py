# amaranth: UnusedElaboratable=no
"""Products that share DSPs: proved for all operands, and broken copies refuted."""

from __future__ import annotations

from pathlib import Path

import pytest
from amaranth.hdl import Assert, Assume, Cat, Const, Module, Signal, Value, signed

from celosia.dataflow.dsp import HOPS, NARROW_BITS, SUM_BITS, WIDE_BITS, Schedule
from celosia.dataflow.microarchitecture import tree_levels
from celosia.models.formats import Fixed
from celosia.rtl.dot import DotShape, LaneDot
from celosia.rtl.dsp48e2 import Dsp48e2
from celosia.rtl.dsp_dot import DspDot
from celosia.rtl.pe import LANE_BITS

from .prover import prove

# Weight bits, activation bits without the sign, columns, pixels.
QUICK = [(4, 4, 1, 3), (4, 4, 3, 1), (4, 4, 1, 2), (4, 4, 2, 1), (2, 4, 2, 2)]
SLOW = [
    (4, 4, 2, 2), (8, 8, 1, 2), (8, 8, 2, 1), (8, 8, 1, 1), (5, 4, 2, 2), (4, 8, 1, 2),
    (8, 4, 1, 2),
]  # fmt: skip
EVERY = [*QUICK, *SLOW, (6, 5, 2, 1), (3, 5, 3, 1), (8, 1, 3, 1), (7, 8, 1, 2), (6, 3, 2, 2)]


def make_dot(bits: int, activation_bits: int, columns: int, pixels: int, lanes: int = 1) -> DspDot:
    shape = DotShape(
        weight_format=Fixed(bits=bits), lanes=lanes, pixels=pixels,
        activation_bits=activation_bits + 1, columns=columns,
    )  # fmt: skip
    return DspDot(shape)


def operands(m: Module, count: int, bits: int) -> tuple[list[Signal], list[Value]]:
    """Return codes and signs to be chosen, and the activations they stand for, in 32 bits."""
    signs = [Signal(name=f"signed_{n}") for n in range(count)]
    codes = [Signal(bits, name=f"code_{n}") for n in range(count)]
    words: list[Value] = []
    for n in range(count):
        value = Signal(signed(bits + 1), name=f"value_{n}")
        word = Signal(signed(LANE_BITS), name=f"word_{n}")
        m.d.comb += [value.eq(Cat(codes[n], codes[n][-1] & signs[n])), word.eq(value)]
        words.append(word)
    return [*codes, *signs], words


def product_proof(
    dot: DspDot, weights: list[Value], *, flip: int = 0
) -> tuple[Module, list[Signal]]:
    """Claim that the fields of one lane's DSP are the products of ``weights``."""
    shape, m = dot.shape, Module()
    inputs, words = operands(m, shape.pixels, shape.activation_bits - 1)
    plus, minus, narrow = dot.operands(Cat(*weights), words, 0)
    dsp = Dsp48e2(delay=0, product_register=False, sum_register=False, first=True, last=True)
    m.submodules.dsp = dsp
    m.d.comb += [dsp.d.eq(plus), dsp.a.eq(minus), dsp.b.eq(narrow), dsp.c.eq(dot.offset ^ flip)]
    for n in range(shape.pixels * shape.columns):
        pixel, column = divmod(n, shape.columns)
        weight = weights[column].as_signed()
        product = Signal(signed(LANE_BITS), name=f"product_{n}")
        m.d.comb += [
            product.eq(words[pixel].as_signed() * weight),
            Assert(dot.field(m, dsp.p, n, "0") == product),
        ]
    return m, inputs


@pytest.mark.parametrize(
    ("bits", "activation_bits", "columns", "pixels"),
    [*QUICK, *(pytest.param(*case, marks=pytest.mark.campaign) for case in SLOW)],
)
def test_products(
    bits: int, activation_bits: int, columns: int, pixels: int, tmp_path: Path
) -> None:
    """All activations, signed or not, times all weights, multiplied out by the solver."""
    dot = make_dot(bits, activation_bits, columns, pixels)
    assert (dot.packing.columns, dot.packing.pixels) == (columns, pixels)
    weights = [Signal(bits, name=f"weight_{n}") for n in range(columns)]
    m, inputs = product_proof(dot, list(weights))
    prove(m, [*inputs, *weights], tmp_path)


def test_a_wrong_offset_is_refuted(tmp_path: Path) -> None:
    dot = make_dot(4, 4, 1, 3)
    weight = Signal(4)
    m, inputs = product_proof(dot, [weight], flip=1 << dot.packing.field_bits - 1)
    with pytest.raises(AssertionError, match="Assert failed in proof"):
        prove(m, [*inputs, weight], tmp_path)


def factor_proof(dot: DspDot, *, shift: int = 0) -> tuple[Module, list[Signal]]:
    """Claim that the factors are sums of shifted operands; ``shift`` claims another spacing."""
    shape, packing, m = dot.shape, dot.packing, Module()
    weights = [Signal(shape.weight_format.bits, name=f"weight_{n}") for n in range(shape.columns)]
    inputs, words = operands(m, shape.pixels, shape.activation_bits - 1)
    plus, minus, narrow = dot.operands(Cat(*weights), words, 0)
    wide = Signal(signed(WIDE_BITS))
    signed_words = [word.as_signed() for word in words]
    signed_weights = [weight.as_signed() for weight in weights]
    both = (signed_words, signed_weights)
    in_wide, in_narrow = both if packing.wide_activations else both[::-1]
    m.d.comb += [
        wide.eq(plus - minus),
        Assert(
            wide == sum(v << n * packing.wide_spacing - n * shift for n, v in enumerate(in_wide))
        ),
        Assert(
            narrow.as_signed() == sum(v << n * packing.field_bits for n, v in enumerate(in_narrow))
        ),
        Assert(len(narrow) <= NARROW_BITS),
    ]
    return m, [*inputs, *weights]


@pytest.mark.parametrize(("bits", "activation_bits", "columns", "pixels"), EVERY)
def test_factors(
    bits: int, activation_bits: int, columns: int, pixels: int, tmp_path: Path
) -> None:
    """The factors are the operands side by side, so their product is that of all pairs."""
    m, inputs = factor_proof(make_dot(bits, activation_bits, columns, pixels))
    prove(m, inputs, tmp_path)


def test_a_wrong_spacing_is_refuted(tmp_path: Path) -> None:
    m, inputs = factor_proof(make_dot(4, 4, 2, 2), shift=1)
    with pytest.raises(AssertionError, match="Assert failed in proof"):
        prove(m, inputs, tmp_path)


def field_proof(dot: DspDot, *, more: int = 0) -> tuple[Module, list[Signal]]:
    """Claim that the sums of the longest chain, and of ``more`` lanes, come out as they went in."""
    shape, packing, m = dot.shape, dot.packing, Module()
    lanes = packing.chain + more
    activations = (-(1 << shape.activation_bits - 2), (1 << shape.activation_bits - 1) - 1)
    fmt = shape.weight_format
    products = [a * w for a in activations for w in (fmt.low, fmt.high)]
    total = Signal(SUM_BITS)
    sums = [Signal(signed(SUM_BITS), name=f"sum_{n}") for n in range(packing.products)]
    m.d.comb += total.eq(
        sum((value << n * packing.field_bits for n, value in enumerate(sums)), Const(dot.offset))
    )
    for n, value in enumerate(sums):
        m.d.comb += [
            Assume((value >= lanes * min(products)) & (value <= lanes * max(products))),
            Assert(dot.field(m, total, n, "0") == value),
        ]
    return m, sums


@pytest.mark.parametrize(("bits", "activation_bits", "columns", "pixels"), EVERY)
def test_fields(bits: int, activation_bits: int, columns: int, pixels: int, tmp_path: Path) -> None:
    """Any sums of as many products as a chain may add are taken apart again."""
    dot = make_dot(bits, activation_bits, columns, pixels)
    if dot.packing.products > 1:
        m, inputs = field_proof(dot)
        prove(m, inputs, tmp_path)


def test_a_chain_too_long_is_refuted(tmp_path: Path) -> None:
    m, inputs = field_proof(make_dot(8, 8, 1, 2), more=1)
    with pytest.raises(AssertionError, match="Assert failed in proof"):
        prove(m, inputs, tmp_path)


@pytest.mark.parametrize("lanes", [1, 2, 3, 4, 5, 8, 9, 16, 17, 32, 33, 64, 256])
@pytest.mark.parametrize("chain", [1, 2, 4, 8, 257])
def test_schedule(lanes: int, chain: int) -> None:
    """Each lane is in one chain, and every chain takes as long as the column may."""
    schedule = Schedule.of(lanes, chain)
    assert [lane for part in schedule.chains for lane in part] == list(range(lanes))
    assert max(map(len, schedule.chains)) <= chain
    assert schedule.segment <= HOPS
    assert schedule.segments * schedule.segment >= len(schedule.chains[0])
    spent = schedule.product_register + schedule.segments + schedule.tree
    assert spent == len(tree_levels(lanes))
    assert schedule.tree >= 0


def test_wrong_columns() -> None:
    with pytest.raises(ValueError, match="as many as share a DSP, 1, not 2"):
        make_dot(8, 8, 2, 2)
    shape = DotShape(weight_format=Fixed(bits=4), lanes=1, pixels=1, activation_bits=5, columns=2)
    with pytest.raises(ValueError, match="columns must be 1: lanes are not shared, not 2"):
        LaneDot(shape)
