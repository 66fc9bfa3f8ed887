"""The multipliers: an element of the left matrix by a piece of a row of the right one."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from celosia.dataflow.sparch.accelerator import SparchAccelerator
from celosia.rtl.shared import Shared
from celosia.rtl.sparch.descriptors import work_layout
from celosia.rtl.sparch.values import Multiplier
from celosia.rtl.sparch.words import element_layout, index_bits, rotated, word_layout


def products_layout(accelerator: SparchAccelerator) -> data.StructLayout:
    """Return the layout of what goes into a leaf in a cycle.

    ``count`` elements of ``word``; ``closes``: they are the leaf's last.
    """
    elements, ways = accelerator.elements, accelerator.merger.width
    element = element_layout(elements.key_bits, elements.accumulator)
    return data.StructLayout(
        {
            "word": word_layout(element, ways),
            "count": ways.bit_length(),
            "leaf": index_bits(accelerator.tree.ways),
            "closes": 1,
        }
    )


class Multipliers(Shared):
    """Multiplies pieces, an aligned group of up to M elements a cycle.

    A group of the record offered in cycle t is read in t, the record taken with its last group. In
    t+1 its products are offered, until they are taken; the next group is read in the cycle in
    which they are, or in any in which none are offered.

    Parameters
    ----------
    accelerator : SparchAccelerator

    Members
    -------
    i : In(stream.Signature(work_layout(accelerator)))
        Records of which the line is there.
    read : Out(1)
    read_row : Out
        To the buffer.
    data : In(data_bits)
        The row that was read last.
    o : Out(stream.Signature(products_layout(accelerator)))
    """

    def __init__(self, accelerator: SparchAccelerator) -> None:
        self._accelerator = accelerator
        super().__init__(
            {
                "i": In(stream.Signature(work_layout(accelerator))),
                "read": Out(1),
                "read_row": Out(index_bits(accelerator.buffer_beats)),
                "data": In(accelerator.bus.data_bits),
                "o": Out(stream.Signature(products_layout(accelerator))),
            },
            name="multipliers",
            parameters=(accelerator,),
        )

    def build(self) -> Module:
        m = Module()
        accelerator = self._accelerator
        multipliers, lanes = accelerator.right.multipliers, accelerator.right_lanes
        line_bits = index_bits(accelerator.line_elements + 1)
        group_bits, lane_bits = multipliers.bit_length() - 1, lanes.bit_length() - 1
        record = self.i.p
        within, begun = Signal(), Signal(line_bits)  # the piece has been begun: at which element
        at, end = Signal(line_bits), Signal(line_bits + 1)
        following, moves, final = Signal(line_bits + 1), Signal(), Signal()
        m.d.comb += [
            at.eq(Mux(within, begun, record.first)),
            end.eq(record.first + record.count + 1),
            following.eq(((at >> group_bits) + 1) << group_bits),
            final.eq(following >= end),
            moves.eq(self.i.valid & (~self.o.valid | self.o.ready)),
            self.i.ready.eq(moves & final),
            self.read.eq(moves),
            self.read_row.eq(record.slot + (at >> lane_bits)),
        ]
        value, row = Signal(record.value.shape()), Signal(record.row.shape())
        first, group = Signal(index_bits(multipliers)), Signal(index_bits(lanes // multipliers))
        with m.If(moves):
            m.d.sync += [
                within.eq(~final),
                begun.eq(following),
                value.eq(record.value),
                row.eq(record.row),
                self.o.p.leaf.eq(record.leaf),
                self.o.p.closes.eq(record.last & final),
                self.o.p.count.eq(Mux(final, end, following) - at),
                first.eq(at[:group_bits]),
                group.eq(at[group_bits:lane_bits]),
            ]
        with m.If(moves | self.o.ready):
            m.d.sync += self.o.valid.eq(moves)
        self._multiply(m, value, row, first, group)
        return m

    def _multiply(self, m: Module, value: Value, row: Value, first: Value, group: Value) -> None:
        """Make the products of what was read, those of the piece first."""
        accelerator, elements = self._accelerator, self._accelerator.elements
        multipliers, stride = accelerator.right.multipliers, accelerator.right_bits
        factors = Signal(multipliers * stride)
        m.d.comb += factors.eq(self.data.word_select(group, multipliers * stride))
        element = element_layout(elements.key_bits, elements.accumulator)
        products: Any = Signal(word_layout(element, multipliers))
        for number in range(multipliers):
            m.submodules[f"multiplier_{number}"] = unit = Multiplier(elements)
            bits = factors.word_select(number, stride)
            column = bits[: elements.index_bits]
            m.d.comb += [
                unit.a.eq(value),
                unit.b.eq(bits[elements.index_bits :][: elements.bits]),
                products[number].value.eq(unit.o),
                products[number].key.eq(Cat(column, row)),
            ]
        turned: Value = products.as_value()
        if multipliers > 1:
            turned = rotated(turned, first, multipliers)
        m.d.comb += Value.cast(self.o.p.word).eq(turned)
