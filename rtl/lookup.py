"""A post lane's tables: any function of a requantised value, entry by entry."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib.wiring import In, Out

from celosia.dataflow.accelerator import ROW_ENTRIES, Accelerator
from celosia.rtl.buffers import Ram
from celosia.rtl.shared import Shared

WITHIN_BITS = (ROW_ENTRIES - 1).bit_length()
"""Bits of an index that choose an entry of a row."""


class Lookup(Shared):
    """The tables of one lane: a code becomes its entry, or stays, 2 cycles later.

    Parameters
    ----------
    accelerator : Accelerator
        One that has tables.

    Members
    -------
    write_enable : In(1)
    write_address : In(...)
        Row: tables lie one after another.
    write_data : In(table_word_bits)
    code : In(signed(requant_bits))
    enable : In(1)
        ``code`` is looked up, by its lowest bits.
    number : In(range(count))
        Of the table.
    is_signed : In(1)
        Entries have a sign.
    value : Out(signed(requant_bits))
        The entry, or the code that was not looked up.
    """

    def __init__(self, accelerator: Accelerator) -> None:
        if accelerator.tables is None:
            raise ValueError(f"accelerator {accelerator.name!r} must have tables")
        self._tables = accelerator.tables
        self._width = accelerator.array.activation_bits
        rows, bits = self._tables.rows * self._tables.count, accelerator.requant_bits
        self._rows = rows
        super().__init__(
            {
                "write_enable": In(1),
                "write_address": In(range(rows)),
                "write_data": In(accelerator.table_word_bits),
                "code": In(signed(bits)),
                "enable": In(1),
                "number": In(range(max(2, self._tables.count))),
                "is_signed": In(1),
                "value": Out(signed(bits)),
            },
            name=f"lookup_{self._tables.count}x{1 << self._tables.index_bits}x{self._width}",
            parameters=(self._tables, self._width, bits),
        )

    def build(self) -> Module:
        m = Module()
        m.submodules.entries = ram = Ram(depth=self._rows, width=len(self.write_data))
        row = self.code[WITHIN_BITS : self._tables.index_bits]
        place = Signal(WITHIN_BITS, name="place_1", reset_less=True)
        code = Signal.like(self.code, name="code_1", reset_less=True)
        enable, is_signed = Signal(name="enable_1"), Signal(name="is_signed_1")
        m.d.comb += [
            ram.write_enable.eq(self.write_enable),
            ram.write_address.eq(self.write_address),
            ram.write_data.eq(self.write_data),
            ram.read_enable.eq(self.enable),
            ram.read_address.eq(Cat(row, self.number)),
        ]
        m.d.sync += [
            place.eq(self.code[:WITHIN_BITS]),
            code.eq(self.code),
            enable.eq(self.enable),
            is_signed.eq(self.is_signed),
        ]
        entry = Signal(self._width)
        m.d.comb += entry.eq(ram.read_data.word_select(place, self._width))
        found = Cat(entry, entry[-1] & is_signed).as_signed()
        m.d.sync += self.value.eq(Mux(enable, found, code))
        return m
