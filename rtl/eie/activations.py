"""The activations of a processing element: two files that swap roles, and where nonzeros are."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import memory
from amaranth.lib.wiring import In, Out

from celosia.dataflow.eie.accelerator import EieAccelerator
from celosia.rtl.eie.lnzd import lowest_bit
from celosia.rtl.eie.memories import address_bits
from celosia.rtl.shared import Shared


class ActivationFiles(Shared):
    """Two files of activations of one PE, and the flags of a window of them.

    Beside each window of activations lies a word of flags that says which of them are not 0. The
    words of a window are written in order, from its first on; those not written count as 0. A
    window loaded in cycle t is searched from t+1 on; ``take`` moves on to its next nonzero.

    Parameters
    ----------
    accelerator : EieAccelerator
        Sizes.

    Members
    -------
    write : In(1)
    write_plain : In(1)
        Without its flag: the flags stay as they are. Only with a cell unit.
    write_file, write_row : In
    write_value : In(activation bits)
    load : In(1)
        Search window ``window`` of file ``file`` from the next cycle on.
    file, window : In
    found : Out(1)
        There is a nonzero that was not taken.
    index : Out
        Its number in the window.
    take : In(1)
        It is read, and taken.
    read : In(1)
        Row ``row`` of file ``file`` is read.
    row : In
    value : Out(activation bits)
        What was read or taken last, from the cycle after.
    """

    def __init__(self, accelerator: EieAccelerator) -> None:
        self._depth = accelerator.memories.activations
        self._window = accelerator.memories.window
        self._bits = accelerator.widths.activation
        self._plain = accelerator.cell is not None
        windows = self._depth // self._window
        super().__init__(
            ({"write_plain": In(1)} if self._plain else {})
            | {
                "write": In(1),
                "write_file": In(1),
                "write_row": In(address_bits(self._depth)),
                "write_value": In(self._bits),
                "load": In(1),
                "file": In(1),
                "window": In(address_bits(windows)),
                "found": Out(1),
                "index": Out(address_bits(self._window)),
                "take": In(1),
                "read": In(1),
                "row": In(address_bits(self._depth)),
                "value": Out(self._bits),
            },
            name="activation_files",
            parameters=(self._depth, self._window, self._bits, self._plain),
        )

    def build(self) -> Module:
        m = Module()
        depth, window = self._depth, self._window
        windows, inner = depth // window, (window - 1).bit_length()
        values: Any = memory.Memory(shape=self._bits, depth=2 * depth, init=[])
        words: Any = memory.Memory(shape=window, depth=2 * windows, init=[])
        m.submodules.values, m.submodules.words = values, words
        write, read = values.write_port(), values.read_port()
        put, get = words.write_port(), words.read_port(domain="comb")

        flags, word = Signal(window), Signal(window)  # searched, and written last
        written = Signal(window)
        bit = self.write_row[:inner]
        flagged = self.write & ~self.write_plain if self._plain else self.write
        found, index = lowest_bit(flags)
        m.d.comb += [
            write.en.eq(self.write),
            write.addr.eq(self.write_row + Mux(self.write_file, depth, 0)),
            write.data.eq(self.write_value),
            written.eq(Mux(bit == 0, 0, word) | (self.write_value.any() << bit)),
            put.en.eq(flagged),
            put.addr.eq((self.write_row >> inner) + Mux(self.write_file, windows, 0)),
            put.data.eq(written),
            get.addr.eq(self.window + Mux(self.file, windows, 0)),
            self.found.eq(found),
            self.index.eq(index),
            read.en.eq(self.take | self.read),
            read.addr.eq(
                Mux(self.take, Cat(self.index, self.window), self.row) + Mux(self.file, depth, 0)
            ),
            self.value.eq(read.data),
        ]
        with m.If(flagged):
            m.d.sync += word.eq(written)
        with m.If(self.load):
            m.d.sync += flags.eq(get.data)
        with m.Elif(self.take):
            m.d.sync += flags.eq(flags & (flags - 1))
        return m
