"""The arithmetic unit of a processing element: four stages, and the accumulators."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import memory
from amaranth.lib.wiring import In, Out

from celosia.dataflow.eie.accelerator import EieAccelerator
from celosia.rtl.eie.memories import address_bits
from celosia.rtl.shared import Shared


class Codebook(Shared):
    """The tables of shared weights: written value by value, read in a cycle.

    Parameters
    ----------
    tables : int
        How many.
    code_bits, value_bits : int
        Bits of an index, and of a value.

    Members
    -------
    write_enable : In(1)
    write_table, write_code : In
    write_value : In(value_bits)
    table, code : In
        What to read.
    value : Out(signed(value_bits))
        What was read in the cycle before.
    """

    def __init__(self, *, tables: int, code_bits: int, value_bits: int) -> None:
        self._tables, self._code_bits, self._value_bits = tables, code_bits, value_bits
        table_bits = address_bits(tables)
        super().__init__(
            {
                "write_enable": In(1),
                "write_table": In(table_bits),
                "write_code": In(code_bits),
                "write_value": In(value_bits),
                "table": In(table_bits),
                "code": In(code_bits),
                "value": Out(signed(value_bits)),
            },
            name=f"codebook_t{tables}_c{code_bits}_v{value_bits}",
            parameters=(tables, code_bits, value_bits),
        )

    def build(self) -> Module:
        m = Module()
        depth = self._tables << self._code_bits
        rows: Any = memory.Memory(shape=self._value_bits, depth=depth, init=[])
        m.submodules.rows = rows
        write, read = rows.write_port(), rows.read_port()
        m.d.comb += [
            write.en.eq(self.write_enable),
            write.addr.eq((self.write_table << self._code_bits) | self.write_code),
            write.data.eq(self.write_value),
            read.addr.eq((self.table << self._code_bits) | self.code),
            read.en.eq(1),
            self.value.eq(read.data.as_signed()),
        ]
        return m


class Arithmetic(Shared):
    """Multiplies entries by activations and adds them up, one a cycle.

    An entry on ``gap`` in cycle t is in stage 1: its accumulator's number, ``gap`` after that of
    the entry before, is found. In t+1 its ``factor`` is there, its accumulator is read and the
    product made, in t+2 they are added, in t+3 the sum is written; read in t+4. An
    accumulator that is hit again in between takes the sum from where it is (bypass).

    Accumulators are read and cleared through ``drain_row`` while no entry is at work.

    Parameters
    ----------
    accelerator : EieAccelerator
        Widths, and how many accumulators.

    Members
    -------
    valid : In(1)
        There is an entry in stage 1.
    first : In(1)
        It is the first of its column.
    gap : In(index bits)
        Zeros before it.
    factor : In(signed(factor bits))
        The weight of the entry that was in stage 1 in the cycle before.
    activation : In(signed(activation bits))
        What it is multiplied by.
    rows : In
        Accumulators that the tile has.
    beyond : Out(1)
        The entry's number is none of those; it is dropped.
    drain : In(1)
        Show the accumulator of ``drain_row`` on ``drained``, and set it to 0.
    drain_row : In
    drained : Out(signed(accumulator bits))
    """

    def __init__(self, accelerator: EieAccelerator) -> None:
        widths, depth = accelerator.widths, accelerator.memories.accumulators
        self._widths, self._depth = widths, depth
        self._row_bits = address_bits(depth)
        super().__init__(
            {
                "valid": In(1),
                "first": In(1),
                "gap": In(widths.index),
                "factor": In(signed(widths.factor)),
                "activation": In(signed(widths.activation)),
                "rows": In(range(depth + 1)),
                "beyond": Out(1),
                "drain": In(1),
                "drain_row": In(self._row_bits),
                "drained": Out(signed(widths.accumulator)),
            },
            name="arithmetic",
            parameters=(widths, depth),
        )

    def build(self) -> Module:
        m = Module()
        widths, bits = self._widths, self._row_bits
        rows: Any = memory.Memory(shape=widths.accumulator, depth=self._depth, init=[])
        m.submodules.accumulators = rows
        write, read = rows.write_port(), rows.read_port(domain="comb")

        following, number = Signal(bits), Signal(bits)  # the number after the entry before
        # Accumulators behind the entry, below 0 where it is beyond them; ``-gap - 1`` is ``~gap``.
        left = Signal(signed(bits + widths.index + 2))
        behind = Signal.like(left)
        passed = ~Cat(self.gap, Const(0, 1)).as_signed()
        m.d.comb += [
            number.eq(Mux(self.first, 0, following) + self.gap),
            behind.eq(Mux(self.first, self.rows, left) + passed),
            self.beyond.eq(self.valid & behind[-1]),
        ]
        with m.If(self.valid):
            m.d.sync += [following.eq(number + 1), left.eq(behind)]

        valid = [Signal(name=f"valid_{stage}") for stage in (2, 3, 4)]
        row = [Signal(bits, name=f"row_{stage}") for stage in (2, 3, 4)]
        activation = Signal(signed(widths.activation))
        product = Signal(signed(widths.factor + widths.activation))
        before = Signal(signed(widths.accumulator))
        total = Signal(signed(widths.accumulator))
        m.d.sync += [
            valid[0].eq(self.valid & ~self.beyond),
            row[0].eq(number),
            activation.eq(self.activation),
            valid[1].eq(valid[0]),
            row[1].eq(row[0]),
            product.eq(self.factor * activation),
            # What stage 4 writes in this cycle is read in the next only.
            before.eq(Mux(valid[2] & (row[2] == row[0]), total, read.data.as_signed())),
            valid[2].eq(valid[1]),
            row[2].eq(row[1]),
            total.eq(Mux(valid[2] & (row[2] == row[1]), total, before) + product),
        ]
        m.d.comb += [
            read.addr.eq(Mux(self.drain, self.drain_row, row[0])),
            self.drained.eq(read.data.as_signed()),
            write.en.eq(valid[2] | self.drain),
            write.addr.eq(Mux(self.drain, self.drain_row, row[2])),
            write.data.eq(Mux(self.drain, 0, total)),
        ]
        return m
