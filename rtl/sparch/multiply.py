"""The multipliers: an element of the left matrix by a piece of a row of the right one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out

from celosia.dataflow.sparch.accelerator import SparchAccelerator
from celosia.rtl.queue import RegisterQueue
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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Group:
    """The group that is read next.

    Its ``record``, which ``part`` of the buffer's row it is, its first ``lane`` that counts, how
    many do (``count``), and whether it is the record's ``final`` one.
    """

    record: Any
    part: Value
    lane: Value
    count: Value
    final: Value


class Multipliers(Shared):
    """Multiplies pieces, an aligned group of up to M elements a cycle.

    A record taken in cycle t is at work from t+1 on. A group of it is read in any cycle in which
    the one read before moves on; with the last of them the next record is taken. What is read in t
    is put in order in t+1, multiplied in t+2 and offered from t+3 on, until it is taken: two such
    words wait, and while they do nothing is multiplied.

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
    rests : Out(1)
        Nothing that was read is under way, and nothing offered.
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
                "rests": Out(1),
            },
            name="multipliers",
            parameters=(accelerator,),
        )

    def build(self) -> Module:
        m = Module()
        layout = products_layout(self._accelerator)
        m.submodules.made = made = RegisterQueue(layout.size, depth=2)
        moves = Signal()
        group = self._walk(m, moves)
        is_read, is_turned = Signal(), Signal()  # in the cycle before, or since
        turns, multiplies = Signal(), Signal()  # the place behind is free
        m.d.comb += [
            multiplies.eq(~is_turned | made.i.ready),
            turns.eq(~is_read | multiplies),
            moves.eq(self.works & turns),
            made.i.valid.eq(is_turned),
            self.o.valid.eq(made.o.valid),
            Value.cast(self.o.payload).eq(made.o.payload),
            made.o.ready.eq(self.o.ready),
            self.rests.eq(~is_read & ~is_turned & ~made.o.valid),
            self.read.eq(moves),
        ]
        with m.If(turns):
            m.d.sync += is_read.eq(moves)
        with m.If(multiplies):
            m.d.sync += is_turned.eq(is_read)
        piece, factors = self._turned(m, group, moves, multiplies)
        products: Any = Signal(layout)
        m.d.comb += [
            products.word.eq(self._multiplied(m, piece, factors)),
            products.leaf.eq(piece.leaf),
            products.closes.eq(piece.closes),
            products.count.eq(piece.count),
            made.i.payload.eq(products.as_value()),
        ]
        return m

    def _walk(self, m: Module, moves: Value) -> _Group:
        """Take records and go through their groups; return the group that is read next."""
        accelerator, given = self._accelerator, self.i.p
        multipliers = accelerator.right.multipliers
        group_bits = multipliers.bit_length() - 1
        part_bits = accelerator.right_lanes.bit_length() - 1 - group_bits
        line_groups = accelerator.line_elements // multipliers
        record: Any = Signal(given.shape(), reset_less=True)  # the one at work
        # Its group that is read next, its last, elements of both, whether they are the same.
        group, end = Signal(range(line_groups)), Signal(range(line_groups))
        count, rest = Signal(range(multipliers + 1)), Signal(range(1, multipliers + 1))
        lane, final = Signal(index_bits(multipliers)), Signal()
        last = Signal(range(2 * accelerator.line_elements))  # the last element of the given one
        begin, only, tail = Signal.like(group), Signal(), Signal.like(rest)
        m.d.comb += [
            self.i.ready.eq(~self.works | (moves & final)),
            self.number.eq(record.number),
            self.read_row.eq(record.slot + (group >> part_bits)),
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
        return _Group(record=record, part=group[:part_bits], lane=lane, count=count, final=final)

    def _turned(
        self, m: Module, group: _Group, moves: Value, multiplies: Value
    ) -> tuple[Any, Value]:
        """Return a piece that was read and is multiplied now, and its factors, in order."""
        accelerator, record = self._accelerator, group.record
        multipliers, layout = accelerator.right.multipliers, products_layout(accelerator)
        piece = data.StructLayout(
            {
                "value": record.value.shape(),
                "row": record.row.shape(),
                "leaf": layout["leaf"].shape,
                "closes": 1,
                "count": layout["count"].shape,
            }
        )
        read: Any = Signal(piece, reset_less=True)
        turned: Any = Signal(piece, reset_less=True)
        first = Signal(index_bits(multipliers))
        part = Signal(index_bits(accelerator.right_lanes // multipliers))
        factors = Signal(multipliers * accelerator.right_bits, reset_less=True)
        with m.If(moves):
            m.d.sync += [
                read.value.eq(record.value),
                read.row.eq(record.row),
                read.leaf.eq(record.leaf),
                read.closes.eq(record.last & group.final),
                read.count.eq(group.count),
                first.eq(group.lane),
                part.eq(group.part),
            ]
        of_part: Value = self.data.word_select(part, len(factors))
        with m.If(multiplies):
            m.d.sync += [
                turned.eq(read),
                factors.eq(rotated(of_part, first, multipliers) if multipliers > 1 else of_part),
            ]
        return turned, factors

    def _multiplied(self, m: Module, piece: Any, factors: Value) -> Value:
        """Return the products of ``piece``, in order as ``factors`` are."""
        accelerator, elements = self._accelerator, self._accelerator.elements
        multipliers, stride = accelerator.right.multipliers, accelerator.right_bits
        element = element_layout(elements.key_bits, elements.accumulator)
        products: Any = Signal(word_layout(element, multipliers))
        for number in range(multipliers):
            m.submodules[f"multiplier_{number}"] = unit = Multiplier(elements)
            bits = factors.word_select(number, stride)
            m.d.comb += [
                unit.a.eq(piece.value),
                unit.b.eq(bits[elements.index_bits :][: elements.bits]),
                products[number].value.eq(unit.o),
                products[number].key.eq(Cat(bits[: elements.index_bits], piece.row)),
            ]
        return Value.cast(products)
