"""Dot products in DSP48E2 blocks: packed products, chains that add lanes, and a tree of chains."""

from __future__ import annotations

from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Signal, Value, signed

from celosia.dataflow.dsp import SUM_BITS, WIDE_BITS, DspPacking, Schedule, dsp_packing
from celosia.rtl.dot import Dot, DotShape, add_pairs, register
from celosia.rtl.dsp48e2 import Dsp48e2
from celosia.rtl.pe import LANE_BITS


class DspDot(Dot):
    """Products that share DSPs as :func:`~celosia.dataflow.dsp.dsp_packing` says.

    The packed operands' sign bits lie in the word that the DSP's first adder subtracts. Each field
    but the highest has half its range added, where the chain begins, so no field borrows from the
    next and the sums are taken apart by wires and an inverted bit each.
    """

    def __init__(self, shape: DotShape) -> None:
        super().__init__(shape)
        self._packing = dsp_packing(
            shape.weight_format,
            shape.activation_bits,
            columns=shape.columns,
            pixels=shape.pixels,
            lanes=shape.lanes,
        )
        if self._packing.columns != shape.columns:
            raise ValueError(
                f"columns must be as many as share a DSP, {self._packing.columns}, "
                f"not {shape.columns!r}"
            )
        self._schedule = Schedule.of(shape.lanes, self._packing.chain)

    @property
    def packing(self) -> DspPacking:
        return self._packing

    @property
    def schedule(self) -> Schedule:
        return self._schedule

    @property
    def offset(self) -> int:
        """What a chain begins with: half the range of each field but the highest."""
        bits = self._packing.field_bits
        return sum(1 << (n + 1) * bits - 1 for n in range(self._packing.products - 1))

    def sums(self, m: Module, weights: Value, activations: Sequence[Value]) -> list[Value]:
        packing, shape = self._packing, self._shape
        found: dict[tuple[int, int], Value] = {}
        for start in range(0, shape.pixels, packing.pixels):
            words = activations[start : start + packing.pixels]
            totals = [
                self._chain(m, lanes, weights, words, start) for lanes in self._schedule.chains
            ]
            for column in range(packing.columns):
                for index in range(len(words)):
                    fields = [
                        self.field(m, total, index * packing.columns + column, f"{start}_{n}")
                        for n, total in enumerate(totals)
                    ]
                    name = f"{column}_{start + index}"
                    found[column, start + index] = self._tree(m, fields, name)
        return [
            found[column, pixel] for column in range(shape.columns) for pixel in range(shape.pixels)
        ]

    def _chain(
        self, m: Module, lanes: range, weights: Value, words: Sequence[Value], start: int
    ) -> Value:
        """Return the packed sums of ``lanes`` for the pixels of ``words``."""
        schedule = self._schedule
        total: Value = Const(self.offset, SUM_BITS)
        # A short chain begins in a later segment, and ends with the others.
        skipped = schedule.segments - -(-len(lanes) // schedule.segment)
        for place, lane in enumerate(lanes):
            last = lane == lanes[-1]
            dsp = Dsp48e2(
                delay=skipped + place // schedule.segment,
                product_register=schedule.product_register,
                sum_register=last or place % schedule.segment == schedule.segment - 1,
                first=place == 0,
                last=last,
            )
            m.submodules[f"dsp_{lane}_{start}"] = dsp
            plus, minus, narrow = self.operands(weights, words, lane)
            m.d.comb += [
                dsp.d.eq(plus),
                dsp.a.eq(minus),
                dsp.b.eq(narrow),
                (dsp.c if place == 0 else dsp.sum_in).eq(total),
            ]
            total = Value.cast(dsp.p if last else dsp.sum_out)
        return total

    def operands(
        self, weights: Value, words: Sequence[Value], lane: int
    ) -> tuple[Value, Value, Value]:
        """Return the packed factors of ``lane``: ``plus - minus``, and the narrow one.

        ``weights`` and ``words`` are as for :meth:`sums`, ``words`` of the pixels of one DSP.
        """
        shape, packing = self._shape, self._packing
        bits = shape.weight_format.bits
        codes = [
            weights.word_select(column * shape.lanes + lane, bits)
            for column in range(packing.columns)
        ]
        values = [word.word_select(lane, LANE_BITS)[: shape.activation_bits] for word in words]
        wide, narrow = (values, codes) if packing.wide_activations else (codes, values)
        plus: list[Value] = []
        minus: list[Value] = []
        for value in wide:
            rest = packing.wide_spacing - len(value)
            plus += [value[:-1], Const(0, 1 + rest)]
            minus += [Const(0, len(value) - 1), value[-1], Const(0, rest)]
        factor = narrow[0].as_signed()
        if len(narrow) > 1:
            # What the lower one borrows where it is negative is taken from the upper one.
            upper = (narrow[1].as_signed() - narrow[0][-1])[: len(narrow[1]) + 1].as_signed()
            fill = narrow[0][-1].replicate(packing.field_bits - len(narrow[0]))
            factor = Cat(narrow[0], fill, upper).as_signed()
        return Cat(*plus)[:WIDE_BITS], Cat(*minus)[:WIDE_BITS], factor

    def field(self, m: Module, total: Value, index: int, name: str) -> Value:
        """Return the sum in field ``index`` of a chain, signed and as wide as a lane."""
        packing = self._packing
        low = index * packing.field_bits
        field = Signal(signed(LANE_BITS), name=f"field_{name}_{index}")
        if index == packing.products - 1:
            m.d.comb += field.eq(total[low:].as_signed())
        else:
            top = low + packing.field_bits - 1
            m.d.comb += field.eq(Cat(total[low:top], ~total[top]).as_signed())
        return field

    def _tree(self, m: Module, terms: list[Value], name: str) -> Value:
        """Add up the sums of the chains, with the registers that are left."""
        schedule = self._schedule
        levels = (len(terms) - 1).bit_length()
        width = self._shape.product_bits + (len(schedule.chains[0]) - 1).bit_length()
        for stage in range(schedule.tree):
            here = -(-levels // (schedule.tree - stage))
            terms = add_pairs(terms, here)
            levels, width = levels - here, width + here
            terms = [
                register(m, term, width, f"sum_{stage}_{name}_{n}") for n, term in enumerate(terms)
            ]
        return add_pairs(terms, levels)[0].as_signed()
