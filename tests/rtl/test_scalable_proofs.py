# amaranth: UnusedElaboratable=no
"""One pass of the bit-serial circuits, and the parts of a fusion unit, for all inputs.

What a sequencer makes of passes is run with vectors in ``test_scalable_unit.py``.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from amaranth.hdl import Assert, Assume, Cat, Const, Module, Mux, Signal, Value, signed

from celosia.dataflow.array_shape import Circuit
from celosia.rtl.scalable import SCALABLE, fusion
from celosia.rtl.scalable.base import ScalableDot, delayed

from .prover import prove

LANES = {Circuit.TILE: 4, Circuit.SERIAL: 3, Circuit.FUSION: 4}
WEIGHT_BITS = 16


def two(code: Value, is_signed: Value) -> Value:
    """A code as two's complement where it has a sign."""
    return Cat(code, code[-1] & is_signed).as_signed()


def serial_pass(lanes: int, weights: Value, activations: Value, control: Any) -> Value:
    """Weights whose activation bit is 1; the bit may stand for -1."""
    products = [
        Mux(activations[n], two(weights.word_select(n, WEIGHT_BITS), control.weights_signed), 0)
        for n in range(lanes)
    ]
    total = sum(products, Const(0))
    return Mux(control.bit_negative, -total, total)


def tile_pass(lanes: int, weights: Value, activations: Value, control: Any) -> Value:
    """Chunks whose weight bit is 1, in place; the bit may stand for -1."""
    chunks = [two(activations.word_select(n, 4), control.chunk_signed) for n in range(lanes)]
    total = sum((Mux(weights[n], chunk, 0) for n, chunk in enumerate(chunks)), Const(0))
    return Mux(control.bit_negative, -total, total) << control.scale


def fusion_pass(lanes: int, weights: Value, activations: Value, control: Any) -> Value:
    """Products of bricks, shifted by what of their number chooses between halves."""
    total: Value = Const(0)
    for n in range(lanes):
        signs = (
            control.weight_signs.bit_select((n & 1) | (n >> 1 & 2), 1),
            control.activation_signs.bit_select((n >> 1 & 1) | (n >> 2 & 2), 1),
        )
        words = weights.word_select(n, 2), activations.word_select(n, 2)
        product: Value = two(words[0], signs[0]) * two(words[1], signs[1])
        for bit, shift in enumerate((2, 2, 4, 4)):
            if n >> bit & 1:
                product = Mux(control.split[bit], product << shift, product)
        total = total + product
    return total


PASSES = {Circuit.SERIAL: serial_pass, Circuit.TILE: tile_pass, Circuit.FUSION: fusion_pass}


def claim(circuit: Circuit, folder: Path) -> None:
    """Prove that a pass's sum is what its words say, in every cycle from reset on."""
    m = Module()
    lanes = LANES[circuit]
    dot: ScalableDot = SCALABLE[circuit](lanes=lanes, weight_bits=WEIGHT_BITS)
    control: Any = Signal(dot.LAYOUT)
    weights, activations = Signal(dot.weight_part_bits), Signal(dot.activation_part_bits)
    # At index 1 in the cycle of the parts; index 0 is of no use to a sum.
    stages = [control, control, *delayed(m, control, dot.delays - 2, "pass")]
    value, carry = dot.pass_sum(m, weights, activations, stages, "word")
    expected = Signal(signed(32))
    m.d.comb += expected.eq(PASSES[circuit](lanes, weights, activations, control))
    if circuit is Circuit.TILE:
        m.d.comb += Assume(control.scale != 3)  # which its sequencer never says
    shown, got, seen = expected, Signal(signed(32)), Const(1, 1)
    for n in range(len(dot.tree)):
        held, valid = Signal(signed(32), name=f"held_{n}"), Signal(name=f"valid_{n}")
        m.d.sync += [held.eq(shown), valid.eq(seen)]
        shown, seen = held, valid
    m.d.comb += [got.eq(value + carry), Assert(~seen | (got == shown))]
    inputs = [weights, activations, Value.cast(control)]
    prove(m, inputs, folder, steps=len(dot.tree) + 2)


@pytest.mark.parametrize("circuit", PASSES, ids=lambda circuit: circuit.value)
def test_pass_sum(circuit: Circuit, tmp_path: Path) -> None:
    claim(circuit, tmp_path)


def claim_brick(folder: Path) -> None:
    """Prove that a brick is a product."""
    m = Module()
    weight, activation, signs = Signal(2), Signal(2), Signal(2)
    product = fusion.brick(weight, activation, signs[0], signs[1])
    m.d.comb += Assert(product == two(weight, signs[0]) * two(activation, signs[1]))
    prove(m, [weight, activation, signs], folder)


def test_brick(tmp_path: Path) -> None:
    claim_brick(tmp_path)


@pytest.mark.parametrize("level", range(4))
def test_join(level: int, tmp_path: Path) -> None:
    """Two terms as wide as the level below gives them: parts of one product, or two products.

    The greatest product of the parts is that of all their bits, so it bounds both.
    """
    m = Module()
    below = (5, *fusion._WIDTHS)[level]
    low, high = (Signal(signed(below), name=name) for name in ("low", "high"))
    split, plain = Signal(), Signal(signed(32))
    shift = (2, 2, 4, 4)[level]
    width = fusion._WIDTHS[level]
    m.d.comb += [
        plain.eq(low + Mux(split, high << shift, high)),
        Assume((plain >= -(1 << width - 1)) & (plain < 1 << width - 1)),
        Assert(fusion._join(low, high, split, level) == plain),
    ]
    prove(m, [low, high, split], tmp_path)


def no_carry(value: tuple[Value, Value]) -> tuple[Value, Value]:
    return value[0], Const(0, 1)


Broken = Callable[..., Any]
BROKEN: list[tuple[str, str, Callable[[Broken], Broken]]] = [
    *(
        (circuit, name, broken)
        for circuit in ("tile", "serial")
        for name, broken in (
            # The sign borrows from the wrong place; is not looked at; loses its carry.
            ("worth", lambda worth: lambda total, width, *others: worth(total, width - 1, *others)),
            ("worth", lambda worth: lambda *o: worth(*o[:3], Const(0, 1), *o[4:])),
            ("worth", lambda worth: lambda *o: worth(*o[:4], Const(0, 1), *o[5:])),
            ("worth", lambda worth: lambda *o: no_carry(worth(*o))),
            # The top bits stay as they are; lanes change places; bits mean the opposite.
            ("gated_sum", lambda add: lambda m, o, b, _, n: add(m, o, b, Const(0, 1), n)),
            ("gated_sum", lambda add: lambda m, o, b, i, n: add(m, o[::-1], b, i, n)),
            ("gated_sum", lambda add: lambda m, o, b, i, n: add(m, o, ~b, i, n)),
        )
    ),
    ("tile", "worth", lambda worth: lambda *o: worth(*o[:5], Const(0, 2))),
    # Bricks: signs change places, or are not looked at. Joins: one bit too few, one place too
    # far, the wrong term is shifted, none is.
    ("fusion", "brick", lambda brick: lambda w, a, x, y: brick(w, a, y, x)),
    ("fusion", "brick", lambda brick: lambda w, a, x, _: brick(w, a, x, Const(0, 1))),
    ("fusion", "_join", lambda join: lambda *o: join(*o)[:-1].as_signed()),
    ("fusion", "_join", lambda join: lambda a, b, s, n: join(a, b << s, s, n)),
    ("fusion", "_join", lambda join: lambda a, b, s, n: join(b, a, s, n)),
    ("fusion", "_join", lambda join: lambda a, b, _, n: join(a, b, Const(0, 1), n)),
    ("fusion", "_product", lambda product: lambda n: product(n) ^ (n == 0b110111)),
]


@pytest.mark.parametrize(("circuit", "name", "broken"), BROKEN)
def test_broken_copies_are_caught(
    circuit: str,
    name: str,
    broken: Callable[[Broken], Broken],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    where = f"celosia.rtl.scalable.{circuit}"
    monkeypatch.setattr(f"{where}.{name}", broken(getattr(importlib.import_module(where), name)))
    with pytest.raises(AssertionError, match="proof did fail"):
        claim(Circuit(circuit), tmp_path)
