"""The activations of a processing element: two files that swap roles, and where nonzeros are."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import memory
from amaranth.lib.wiring import In, Out

from celosia.dataflow.eie.accelerator import EieAccelerator
from celosia.rtl.eie.lnzd import LowestBit
from celosia.rtl.eie.memories import address_bits
from celosia.rtl.shared import Shared


class ActivationFiles(Shared):
    """Two files of activations of one PE, and the flags of a window of them.

    Rows, and windows, of the second file are numbered on from those of the first. Beside each
    window of activations lies a word of flags that says which of them are not 0. The words of a
    window are written in order, from its first on; those not written count as 0. A window loaded in
    cycle t is searched from t+1 on, with ``late_windows`` from t+2 on; ``take`` moves on to its
    next nonzero. Which that is, is known a cycle before: what it is found by does not wait for
    ``take``.

    Parameters
    ----------
    accelerator : EieAccelerator
        Sizes.

    Members
    -------
    write : In(1)
    write_plain : In(1)
        Without its flag: the flags stay as they are. Only with a cell unit.
    write_row : In
    write_value : In(activation bits)
    load : In(1)
        Search window ``window`` from the next cycle on.
    window : In
    found : Out(1)
        There is a nonzero that was not taken.
    index : Out
        Its number in the window.
    take : In(1)
        It is read, and taken; only without ``read``.
    read : In(1)
        Row ``row`` is read.
    row : In
    value : Out(activation bits)
        What was read or taken last, from the cycle after.
    """

    def __init__(self, accelerator: EieAccelerator) -> None:
        self._depth = accelerator.memories.activations
        self._window = accelerator.memories.window
        self._bits = accelerator.widths.activation
        self._plain = accelerator.cell is not None
        self._late = accelerator.late_windows
        windows = self._depth // self._window
        super().__init__(
            ({"write_plain": In(1)} if self._plain else {})
            | {
                "write": In(1),
                "write_row": In(address_bits(2 * self._depth)),
                "write_value": In(self._bits),
                "load": In(1),
                "window": In(address_bits(2 * windows)),
                "found": Out(1),
                "index": Out(address_bits(self._window)),
                "take": In(1),
                "read": In(1),
                "row": In(address_bits(2 * self._depth)),
                "value": Out(self._bits),
            },
            name="activation_files",
            parameters=(self._depth, self._window, self._bits, self._plain, self._late),
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

        rest, word = Signal(window), Signal(window)  # behind what is offered, and written last
        searched = Signal.like(self.window)
        written = Signal(window)
        bit = self.write_row[:inner]
        flagged = self.write & ~self.write_plain if self._plain else self.write
        m.submodules.follows = follows = LowestBit(window)
        m.d.comb += [
            write.en.eq(self.write),
            write.addr.eq(self.write_row),
            write.data.eq(self.write_value),
            written.eq(Mux(bit == 0, 0, word) | (self.write_value.any() << bit)),
            put.en.eq(flagged),
            put.addr.eq(self.write_row >> inner),
            put.data.eq(written),
            get.addr.eq(self.window),
            follows.i.eq(rest),
            read.en.eq(self.take | self.read),
            read.addr.eq(Mux(self.read, self.row, Cat(self.index, searched))),
            self.value.eq(read.data),
        ]
        with m.If(flagged):
            m.d.sync += word.eq(written)
        moves: Value = self.take
        first: tuple[Value, Value, Value]
        if self._late:
            # Nothing is offered; then the first that is found moves there.
            begins = Signal()
            m.d.sync += begins.eq(self.load)
            moves = self.take | begins
            first = get.data, Const(0, 1), self.index
        else:
            m.submodules.begins = begin = LowestBit(window)
            m.d.comb += begin.i.eq(get.data)
            first = begin.rest, begin.any, begin.index
        offers = Cat(rest, self.found, self.index)
        with m.If(self.load):
            m.d.sync += [offers.eq(Cat(first)), searched.eq(self.window)]
        with m.Elif(moves):
            m.d.sync += offers.eq(Cat(follows.rest, follows.any, follows.index))
        return m
