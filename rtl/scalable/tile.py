"""The spatially tiled bit-serial circuit of the 2-in-1 accelerator (MICRO 2021).

A lane multiplies 4 activation bits by 1 weight bit. Passes are ordered by significance, so what
they give is put together by one adder that all lanes share: what was added up before is shifted
by one place or not at all. Weights of fewer than 4 bits leave gaps between the significances of
two chunks of activations; then all products of a chunk are added in place (``scale``), and what
was added up before is shifted by 4 with each chunk. Either way the shifts are inputs that the
adder's look-up tables have left.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data

from celosia.dataflow.precision import CHUNK_BITS, MAX_PRECISION, tile_weight_bits
from celosia.rtl.scalable.base import COMMON, PassSequencer, ScalableDot, by_width
from celosia.rtl.scalable.bits import gated_sum, worth

TileLayout = data.StructLayout(
    COMMON | {"chunk": 2, "bit": 4, "scale": 2, "chunk_signed": 1, "bit_negative": 1}
)
"""Which chunk of activations, which bit of weights, how far the sum of the products is shifted, and
whether chunk and bit hold signs."""


class TileSequencer(PassSequencer):
    """Chunks of activations by bits of weights, the most significant products first.

    Chunk i times bit k counts ``2**(4 * i + k)``.
    """

    def __init__(self) -> None:
        super().__init__(TileLayout, name="tile_sequencer")

    def _sequence(self, m: Module, held: Any, following: Any, begin: Value) -> None:
        now = self.control
        first_chunk, first_bit = _tops(following)
        top_chunk, top_bit = Signal(2), Signal(4)
        m.d.sync += [top_chunk.eq(first_chunk), top_bit.eq(first_bit)]
        # The next product is of the same significance, or of the next lower one.
        narrow, same, below, highest = Signal(), Signal(), Signal(5), Signal(3)
        chunk, bit, shift = Signal(2), Signal(4), Signal(2)
        m.d.comb += [
            same.eq((now.chunk != 0) & (now.bit + CHUNK_BITS <= top_bit)),
            below.eq((now.chunk << 2) + now.bit - 1),
            highest.eq(below >> 2),
            narrow.eq(top_bit < CHUNK_BITS - 1),
        ]
        with m.If(narrow):
            ended = now.bit == 0
            m.d.comb += [
                chunk.eq(now.chunk - ended),
                bit.eq(Mux(ended, top_bit, now.bit - 1)),
                shift.eq(Mux(ended, 2, 0)),
                now.scale.eq(now.bit),
            ]
        with m.Elif(same):
            m.d.comb += [chunk.eq(now.chunk - 1), bit.eq(now.bit + CHUNK_BITS)]
        with m.Else():
            m.d.comb += [
                chunk.eq(Mux(highest < top_chunk, highest, top_chunk)),
                bit.eq(below - (chunk << 2)),
                shift.eq(1),
            ]
        with m.If(begin):
            m.d.sync += [now.chunk.eq(first_chunk), now.bit.eq(first_bit), now.shift.eq(0)]
        with m.Elif(self.advance):
            m.d.sync += [now.chunk.eq(chunk), now.bit.eq(bit), now.shift.eq(shift)]
        m.d.comb += [
            now.last.eq((now.chunk == 0) & (now.bit == 0)),
            now.chunk_signed.eq(held.activations_signed & (now.chunk == top_chunk)),
            now.bit_negative.eq(held.weights_signed & (now.bit == top_bit)),
        ]


def _tops(precision: Any) -> tuple[Value, Value]:
    """Return the highest chunk of activations and the highest bit of weights."""
    bits = [tile_weight_bits(n + 1) - 1 for n in range(MAX_PRECISION)]
    return (precision.activation_bits - 1)[2:4], by_width(bits, precision.weight_bits, 4)


class TileDot(ScalableDot):
    """4 bits of every activation, gated by a bit of its weight, and their sum."""

    LAYOUT = TileLayout
    SHIFTS = (0, 1, 4)

    @staticmethod
    def sequencer() -> PassSequencer:
        return TileSequencer()

    @property
    def activation_part_bits(self) -> int:
        return CHUNK_BITS * self._lanes

    @property
    def weight_part_bits(self) -> int:
        return self._lanes

    def activation_part(self, m: Module, lanes: Sequence[Value], control: Any) -> Value:
        return Cat(lane.word_select(control.chunk, CHUNK_BITS) for lane in lanes)

    def weight_part(self, m: Module, lanes: Sequence[Value], control: Any) -> Value:
        return Cat(lane.bit_select(control.bit, 1) for lane in lanes)

    def pass_sum(
        self, m: Module, weights: Value, activations: Value, control: Sequence[Any], name: str
    ) -> tuple[Value, Value]:
        chunks = [activations.word_select(n, CHUNK_BITS) for n in range(self._lanes)]
        total = gated_sum(m, chunks, weights, control[1].chunk_signed, name)
        now = control[self.stages]
        return worth(total, CHUNK_BITS, self._lanes, now.chunk_signed, now.bit_negative, now.scale)
