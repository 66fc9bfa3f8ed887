"""Dot products of a column: from a word of weights and words of activations to sums."""

from __future__ import annotations

import abc
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from amaranth.hdl import Module, Signal, Value, signed

from celosia.dataflow.microarchitecture import tree_levels
from celosia.models.formats import Format
from celosia.models.operations import MULTIPLY, Kind, Operation
from celosia.rtl.pe import (
    LANE_BITS,
    MULTIPLIERS,
    MakeMultiplier,
    Multiplier,
    multiplier,
)
from celosia.rtl.pe.distance import Distance, Pending, added, settled
from celosia.rtl.pe.shift import TruncatingShift
from celosia.rtl.tree import paired

COUNTED = 8
"""Lanes whose carries the first stage of an adder tree counts together."""


def term_bits(weight_format: Format, activation_bits: int, operation: Operation) -> int:
    """Bits of the term of a weight and a signed activation, before or after its carry."""
    weight, activation = max(-weight_format.low, weight_format.high), 1 << activation_bits - 1
    if operation.kind is Kind.DISTANCE:
        return (weight + activation).bit_length() + 1
    return (weight * activation >> operation.dropped).bit_length() + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class DotShape:
    """What a column's dot products are made for.

    ``weight_format`` of the weights, ``lanes`` terms, ``pixels`` sums that share the weights,
    ``activation_bits`` of an activation with its sign bit (it is a code of one bit less, signed or
    not), and what makes a term of both. ``columns`` that share the activations, where a circuit
    puts several together.
    """

    weight_format: Format
    lanes: int
    pixels: int
    activation_bits: int
    operation: Operation = MULTIPLY
    columns: int = 1

    @property
    def product_bits(self) -> int:
        """Bits of a product or other term, signed."""
        return term_bits(self.weight_format, self.activation_bits, self.operation)


class Dot(abc.ABC):
    """The dot products of one column.

    Sums come ``len(tree_levels(lanes))`` cycles after the operands, whatever they are made of.
    """

    def __init__(self, shape: DotShape) -> None:
        self._shape = shape

    @property
    def shape(self) -> DotShape:
        return self._shape

    @abc.abstractmethod
    def sums(self, m: Module, weights: Value, activations: Sequence[Value]) -> list[Value]:
        """Add the logic to ``m``; return a signed sum of ``LANE_BITS`` bits for each pixel.

        Sums of several columns come column by column.

        Parameters
        ----------
        m : Module
            Takes the logic.
        weights : Value
            ``lanes`` codes, lane 0 lowest, from a register; those of column 0 lowest.
        activations : sequence of Value
            For each pixel ``lanes`` activations sign-extended to ``LANE_BITS`` bits.
        """


class LaneDot(Dot):
    """A multiplier for each lane and pixel, and an adder tree for each pixel.

    ``multipliers`` has the multiplier of each kind of format.
    """

    def __init__(
        self,
        shape: DotShape,
        multipliers: Mapping[type[Format], MakeMultiplier] = MULTIPLIERS,
    ) -> None:
        super().__init__(shape)
        if shape.columns != 1:
            raise ValueError(f"columns must be 1: lanes are not shared, not {shape.columns!r}")
        self._multipliers = multipliers

    def sums(self, m: Module, weights: Value, activations: Sequence[Value]) -> list[Value]:
        bits = self._shape.weight_format.bits
        lanes = [
            self._lane(m, weights.word_select(lane, bits), str(lane))
            for lane in range(self._shape.lanes)
        ]
        owed = self._owed(m, lanes)
        return [self._sum(m, lanes, word, owed, n) for n, word in enumerate(activations)]

    def _lane(self, m: Module, code: Value, name: str) -> Multiplier:
        """Return what makes terms of the weight ``code``."""
        fmt, operation = self._shape.weight_format, self._shape.operation
        unit = multiplier(m, fmt, code, name, known=self._multipliers)
        if operation.kind is Kind.SHIFT:
            return TruncatingShift(unit, dropped=operation.dropped)
        return unit

    @staticmethod
    def _joined(lanes: list[Multiplier]) -> int:
        """Return behind which of the adder tree's stages owed carries join the first sum.

        In front of the last stage, but where that is the only one or has three levels itself.
        """
        stages = tree_levels(len(lanes), alone=lanes[0].alone)
        return max(len(stages) - (stages[-1] <= 2), 1)

    @classmethod
    def _owed(cls, m: Module, lanes: list[Multiplier]) -> Value | None:
        """Count the carries that the products lack, in time for the stage in which they join.

        The first stage counts those of ``COUNTED`` lanes each, the others add as the tree does.
        """
        carries: list[Value] = [lane.owed for lane in lanes if lane.owed is not None]
        if not carries:
            return None
        first, *rest = tree_levels(len(lanes))
        stages = [(COUNTED - 1).bit_length(), *rest][: cls._joined(lanes)] if rest else [first]
        counted, reached = len(carries), 0
        for stage, levels in enumerate(stages):
            reached += levels
            shape = range(min(counted, 1 << reached) + 1)
            # Pairs, as a sum of hundreds of lanes would be nested as deeply one after the other.
            for _ in range(levels):
                carries = paired(carries)
            counts = []
            for index, count in enumerate(carries):
                counts.append(Signal(shape, name=f"owed_{stage}_{index}", reset_less=True))
                m.d.sync += counts[-1].eq(count)
            carries = [*counts]
        (owed,) = carries
        return owed

    def _sum(
        self, m: Module, lanes: list[Multiplier], activations: Value, owed: Value | None, pixel: int
    ) -> Value:
        """Products and adder tree of one pixel lane; returns the signed sum."""
        terms = [
            lane.product(activations.word_select(index, LANE_BITS).as_signed())
            for index, lane in enumerate(lanes)
        ]
        width = self._shape.product_bits
        stages = tree_levels(self._shape.lanes, alone=lanes[0].alone)
        joined = self._joined(lanes)
        for stage, levels in enumerate(stages, 1):
            terms = add_pairs(terms, levels)
            width += levels
            terms = [
                register(m, term, width, f"sum_{stage - 1}_{pixel}_{index}")
                for index, term in enumerate(terms)
            ]
            if stage == joined and owed is not None:
                terms[0] = (terms[0] + owed)[:LANE_BITS]
        return terms[0].as_signed()


class DistanceDot(Dot):
    """A distance for each lane and pixel, and a tree of pending signs for each pixel."""

    def sums(self, m: Module, weights: Value, activations: Sequence[Value]) -> list[Value]:
        fmt = self._shape.weight_format
        lanes = [
            Distance(m, fmt, weights.word_select(lane, fmt.bits), str(lane))
            for lane in range(self._shape.lanes)
        ]
        return [self._sum(m, lanes, word, pixel) for pixel, word in enumerate(activations)]

    def _sum(self, m: Module, lanes: list[Distance], activations: Value, pixel: int) -> Value:
        """Distances and adder tree of one pixel lane; returns minus their sum."""
        bits = self._shape.activation_bits
        terms = [
            lane.apart(
                m,
                activations.word_select(index, LANE_BITS)[:bits].as_signed(),
                f"{pixel}_{index}",
            )
            for index, lane in enumerate(lanes)
        ]
        for stage, levels in enumerate(tree_levels(self._shape.lanes)):
            for _ in range(levels):
                terms = paired(terms, added)
            for index, term in enumerate(terms):
                name = f"{stage}_{pixel}_{index}"
                value = Signal(len(term.value), name=f"sum_{name}", reset_less=True)
                negative = Signal(name=f"negative_{name}", reset_less=True)
                m.d.sync += [value.eq(term.value), negative.eq(term.negative)]
                terms[index] = Pending(value, negative)
        lane = Signal(signed(LANE_BITS), name=f"total_{pixel}")
        m.d.comb += lane.eq(settled(terms[0]).total)
        return lane


def add_pairs(terms: list[Value], levels: int) -> list[Value]:
    """Return the sums of ``levels`` levels of an adder tree, modulo ``2**LANE_BITS``."""
    for _ in range(levels):
        terms = paired(terms, lambda one, other: (one + other)[:LANE_BITS])
    return terms


def register(m: Module, term: Value, width: int, name: str) -> Value:
    """Register the ``width`` bits of a sum that it needs; returns it as wide as a lane."""
    kept = Signal(signed(width), name=name, reset_less=True)
    m.d.sync += kept.eq(term)
    lane = Signal(signed(LANE_BITS), name=f"{name}_lane")
    m.d.comb += lane.eq(kept)
    return lane
