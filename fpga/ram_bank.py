"""A part of a memory: some bits of every row, with registers of its own round the block RAMs."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Module, Signal
from amaranth.lib import memory
from amaranth.lib.wiring import In, Out

from celosia.rtl.shared import Apart

READ_LATENCY = 3
"""Cycles from a row's number to its data."""


class RamBank(Apart):
    """Some bits of every row of a memory, behind registers of its own.

    The block RAMs of a large memory lie all over a device. Those of a bank lie together: its copy
    of the row's number, of what is written and the register behind them are near, and have a cycle
    for the way from and to what the banks share. One read and one write each cycle; what a read
    finds that meets a write of its row in the block RAMs is not said.

    Parameters
    ----------
    width : int
        Bits of a row in this bank.
    depth : int
        Rows, at least 2.

    Members
    -------
    read_row : In(range(depth))
        What is read, always.
    read_data : Out(width)
        What was there, :data:`READ_LATENCY` cycles later.
    write : In(1)
        Whether to write. The block RAMs are written a cycle later.
    write_row : In(range(depth))
        Where.
    write_data : In(width)
        What.
    """

    read_row: Signal
    read_data: Signal
    write: Signal
    write_row: Signal
    write_data: Signal

    def __init__(self, *, width: int, depth: int) -> None:
        self._width, self._depth = width, depth
        super().__init__(
            {
                "read_row": In(range(depth)),
                "read_data": Out(width),
                "write": In(1),
                "write_row": In(range(depth)),
                "write_data": In(width),
            },
            name=f"ram_bank_w{width}_d{depth}",
            parameters=(width, depth),
        )

    def build(self) -> Module:
        m = Module()
        # Without it Yosys adds logic that makes a read find what was there before a write.
        unsaid: Any = {"no_rw_check": 1}
        rows: memory.Memory
        m.submodules.rows = rows = memory.Memory(
            shape=self._width, depth=self._depth, init=[], attrs=unsaid
        )
        read = rows.read_port()
        write = rows.write_port()

        def registered(value: Signal) -> Signal:
            copy = Signal.like(value, name=f"{value.name}_copy", reset_less=True)
            m.d.sync += copy.eq(value)
            return copy

        m.d.comb += [
            read.addr.eq(registered(self.read_row)),
            write.addr.eq(registered(self.write_row)),
            write.data.eq(registered(self.write_data)),
            write.en.eq(registered(self.write)),
            self.read_data.eq(registered(read.data)),
        ]
        return m
