"""The spatial circuit of Bit Fusion (ISCA 2018): bricks of 2 x 2 bits put together.

A fusion unit has 16 bricks for 16 lanes. Narrow operands give each lane a brick; wider ones let 2
to 16 bricks work on one product, and the lanes take turns. Bit i of a brick's number is bit i of
its lane's number, or, where the operands are wide enough to use it, chooses between the halves
of a weight (bits 0 and 2) or of an activation (bits 1 and 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data

from celosia.dataflow.microarchitecture import tree_levels
from celosia.rtl.scalable.base import COMMON, PassSequencer, ScalableDot, register
from celosia.rtl.tree import paired

BRICKS = 16
"""Bricks of a unit, and its lanes."""

BRICK_BITS = 2
"""Bits of a brick's operands."""

_WIDTHS = (7, 9, 13, 17)
"""Bits of the sums of 2, 4, 8 and 16 bricks, signed: of lanes or of parts of one product."""

FusionLayout = data.StructLayout(
    COMMON
    | {
        "lane": 4,
        "split": 4,
        "weights_high": 1,
        "activations_high": 1,
        "weight_signs": 4,
        "activation_signs": 4,
    }
)
"""``split``: which bits of a brick's number choose between halves; the same bits of ``lane`` choose
the lane. ``weights_high`` and ``activations_high`` choose bytes. ``weight_signs`` says for bits 2
and 0 of a brick's number, ``activation_signs`` for bits 3 and 1, whether its operand has a sign."""


class FusionSequencer(PassSequencer):
    """Bytes of weights and activations, the high ones first; within, the lanes in turn."""

    def __init__(self) -> None:
        super().__init__(FusionLayout, name="fusion_sequencer")

    def _sequence(self, m: Module, held: Any, following: Any, begin: Value) -> None:
        now = self.control
        sizes, first = _sizes(held), _sizes(following)
        wide, high, lower, lane = Signal(2), Signal(2), Signal(2), Signal(4)
        bytes_high = Cat(now.weights_high, now.activations_high)
        m.d.comb += [
            now.split.eq(Cat(sizes[0][0], sizes[1][0], sizes[0][1], sizes[1][1])),
            wide.eq(Cat(sizes[0][2], sizes[1][2])),
            high.eq(bytes_high),
            lower.eq((high - 1) & wide),
            lane.eq(((now.lane | ~now.split) + 1) & now.split),
            now.last.eq((now.lane == now.split) & (high == 0)),
        ]
        with m.If(begin):
            m.d.sync += [
                now.lane.eq(0), now.shift.eq(0), bytes_high.eq(Cat(first[0][2], first[1][2]))
            ]  # fmt: skip
        with m.Elif(self.advance):
            m.d.sync += [now.lane.eq(lane), now.shift.eq(0)]
            with m.If(now.lane == now.split):
                # Low times high, after high times low, is of the same significance.
                m.d.sync += [bytes_high.eq(lower), now.shift.eq(lower != 1)]
        flags = (held.weights_signed, held.activations_signed)
        signs = (now.weight_signs, now.activation_signs)
        for side in range(2):
            self._signs(m, signs[side], flags[side] & (high[side] | ~wide[side]), sizes[side])

    @staticmethod
    def _signs(m: Module, signs: Value, signed_top: Value, sizes: Sequence[Value]) -> None:
        """Say which bricks hold the top of an operand that has a sign in this byte."""
        for index in range(4):
            lower_half = (sizes[0] & (not index & 1)) | (sizes[1] & (not index & 2))
            m.d.comb += signs[index].eq(signed_top & ~lower_half)


def _sizes(precision: Any) -> list[list[Value]]:
    """Return whether weights and activations are wider than 2, 4 and 8 bits."""
    widths = precision.weight_bits, precision.activation_bits
    return [[bits > limit for limit in (2, 4, 8)] for bits in widths]


class FusionDot(ScalableDot):
    """Bricks, the adders that shift and join them, and the sum over units."""

    LAYOUT = FusionLayout
    SHIFTS = (0, 8)

    @staticmethod
    def sequencer() -> PassSequencer:
        return FusionSequencer()

    @property
    def activation_part_bits(self) -> int:
        return BRICK_BITS * self._lanes

    @property
    def weight_part_bits(self) -> int:
        return BRICK_BITS * self._lanes

    def activation_part(self, m: Module, lanes: Sequence[Value], control: Any) -> Value:
        return self._part(lanes, control, control.activations_high, 1)

    def weight_part(self, m: Module, lanes: Sequence[Value], control: Any) -> Value:
        return self._part(lanes, control, control.weights_high, 0)

    def _part(self, lanes: Sequence[Value], control: Any, high: Value, side: int) -> Value:
        """Return the 2 bits of each brick; ``side`` is the lowest bit that splits operands."""
        bricks = []
        for start in range(0, self._lanes, BRICKS):
            parts = [Mux(high, lane[8:], lane[:8]) for lane in lanes[start : start + BRICKS]]
            for index in (2 + side, side, 3 - side, 1 - side):
                parts = _spread(parts, control, index, halve=index % 2 == side)
            bricks += parts
        return Cat(bricks)

    def pass_sum(
        self, m: Module, weights: Value, activations: Value, control: Sequence[Any], name: str
    ) -> tuple[Value, Value]:
        now = control[1]
        terms: list[Value] = []
        for index in range(self._lanes):
            signs = (
                now.weight_signs.bit_select((index & 1) | (index >> 1 & 2), 1),
                now.activation_signs.bit_select((index >> 1 & 1) | (index >> 2 & 2), 1),
            )
            operands = [word.word_select(index, BRICK_BITS) for word in (weights, activations)]
            terms.append(brick(operands[0], operands[1], *signs))
        level = 0
        for stage, levels in enumerate(tree_levels(self._lanes)):
            for _ in range(levels):
                terms = _level(terms, control[1 + stage].split, level)
                level += 1
            terms = [register(m, term, f"sum_{stage}_{name}_{i}") for i, term in enumerate(terms)]
        return terms[0], Const(0, 1)


def _spread(parts: Sequence[Value], control: Any, index: int, *, halve: bool) -> list[Value]:
    """Let brick numbers replace lane numbers in bit ``index``; operands split there are halved."""
    result: list[Value] = []
    split, lane = control.split[index], control.lane[index]
    for number, own in enumerate(parts):
        zero, one = parts[number & ~(1 << index)], parts[number | 1 << index]
        shared = Mux(lane, one, zero)
        if halve:
            half = len(own) // 2
            part = shared[half:] if number >> index & 1 else shared[:half]
            result.append(Mux(split, part, own[:half]))
        else:
            result.append(Mux(split, shared, own))
    return result


def brick(weight: Value, activation: Value, weight_sign: Value, activation_sign: Value) -> Value:
    """Return the product of two operands of 2 bits, two's complement where its sign says so.

    5 bits, signed. Each is a table of 6 inputs, one look-up table of the fabric: written as a
    product, synthesis would make a chain of adders of it.
    """
    inputs = Cat(weight, activation, weight_sign, activation_sign)
    bits = []
    for bit in range(5):
        table = sum((_product(index) >> bit & 1) << index for index in range(1 << len(inputs)))
        bits.append(Const(table, 1 << len(inputs)).bit_select(inputs, 1))
    return Cat(bits).as_signed()


def _product(index: int) -> int:
    """Return the product for the inputs of :func:`brick` as they are numbered."""
    weight, activation = index & 3, index >> 2 & 3
    weight -= (weight >> 1 & index >> 4 & 1) << 2
    activation -= (activation >> 1 & index >> 5 & 1) << 2
    return weight * activation


def _level(terms: Sequence[Value], split: Value, level: int) -> list[Value]:
    """Return the sums of pairs: of bricks in the first four levels, of whole units above."""
    if level < len(_WIDTHS):
        pairs = zip(terms[::2], terms[1::2], strict=True)
        return [_join(low, high, split[level], level) for low, high in pairs]
    return paired(terms)


def _join(low: Value, high: Value, split: Value, level: int) -> Value:
    """Return the sum of two terms, the second shifted if it is the upper part of a product."""
    shift = BRICK_BITS << level // 2
    total = low + Mux(split, high << shift, high)
    return total[: _WIDTHS[level]].as_signed()
