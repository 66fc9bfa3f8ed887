"""The multipliers: an element of the left matrix by a piece of a row of the right one."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from celosia.dataflow.sparch.accelerator import SparchAccelerator
from celosia.rtl.shared import Shared
from celosia.rtl.sparch.descriptors import number_bits, numbered, work_layout
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

    A record taken in cycle t is at work from t+1 on. A group of it is read in any cycle in which no
    products are offered, or those that are are taken; with the last of them the next record is
    taken. What is read in t is offered from t+1 on, until it is taken.

    Parameters
    ----------
    accelerator : SparchAccelerator

    Members
    -------
    i : In(stream.Signature(numbered(work_layout(accelerator), accelerator)))
        Records of which the line is there.
    works, number : Out
        Whether a record is at work, and its number.
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
                "i": In(stream.Signature(numbered(work_layout(accelerator), accelerator))),
                "works": Out(1),
                "number": Out(number_bits(accelerator)),
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
        group_bits, lane_bits = multipliers.bit_length() - 1, lanes.bit_length() - 1
        line_groups = accelerator.line_elements // multipliers
        given = self.i.p
        record: Any = Signal(given.shape(), reset_less=True)  # the one at work
        # Its group that is read next, its last, elements of both, whether they are the same.
        group, end = Signal(range(line_groups)), Signal(range(line_groups))
        count, rest = Signal(range(multipliers + 1)), Signal(range(1, multipliers + 1))
        lane, final, moves = Signal(index_bits(multipliers)), Signal(), Signal()
        last = Signal(range(2 * accelerator.line_elements))  # the last element of the given one
        begin, only, tail = Signal.like(group), Signal(), Signal.like(rest)
        m.d.comb += [
            moves.eq(self.works & (~self.o.valid | self.o.ready)),
            self.i.ready.eq(~self.works | (moves & final)),
            self.number.eq(record.number),
            self.read.eq(moves),
            self.read_row.eq(record.slot + (group >> (lane_bits - group_bits))),
            last.eq(given.first + given.count),
            begin.eq(given.first >> group_bits),
            only.eq(last >> group_bits == begin),
            tail.eq(last[:group_bits] + 1),
        ]
        following = group + 1 == end
        with m.If(self.i.ready):
            m.d.sync += [
                self.works.eq(self.i.valid),
                record.eq(given),
                group.eq(begin),
                end.eq(last >> group_bits),
                rest.eq(tail),
                lane.eq(given.first[:group_bits]),
                final.eq(only),
                count.eq(Mux(only, given.count + 1, multipliers - given.first[:group_bits])),
            ]
        with m.Elif(moves):
            m.d.sync += [
                group.eq(group + 1),
                lane.eq(0),
                final.eq(following),
                count.eq(Mux(following, rest, multipliers)),
            ]
        value, row = Signal(record.value.shape()), Signal(record.row.shape())
        first, part = Signal(index_bits(multipliers)), Signal(index_bits(lanes // multipliers))
        with m.If(moves):
            m.d.sync += [
                value.eq(record.value),
                row.eq(record.row),
                self.o.p.leaf.eq(record.leaf),
                self.o.p.closes.eq(record.last & final),
                self.o.p.count.eq(count),
                first.eq(lane),
                part.eq(group[: lane_bits - group_bits]),
            ]
        with m.If(moves | self.o.ready):
            m.d.sync += self.o.valid.eq(moves)
        self._multiply(m, value, row, first, part)
        return m

    def _multiply(self, m: Module, value: Value, row: Value, first: Value, part: Value) -> None:
        """Make the products of what was read, those of the piece first."""
        accelerator, elements = self._accelerator, self._accelerator.elements
        multipliers, stride = accelerator.right.multipliers, accelerator.right_bits
        factors = Signal(multipliers * stride)
        m.d.comb += factors.eq(self.data.word_select(part, multipliers * stride))
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
