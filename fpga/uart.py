"""A serial port: bytes to and from one wire each, eight data bits, no parity, one stop bit."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import stream
from amaranth.lib.wiring import In, Out

from celosia.rtl.shared import Shared


def _check(divisor: int) -> None:
    if divisor < 4:
        raise ValueError(f"divisor must be at least 4 cycles a bit, not {divisor!r}")


class UartReceiver(Shared):
    """Bytes from a wire. A byte that nobody has taken when the next is complete is lost.

    Parameters
    ----------
    divisor : int
        Cycles for each bit, at least 4.

    Members
    -------
    wire : In(1)
        Idle high; asynchronous.
    o : Out(stream.Signature(8))
        A byte is offered half a bit before its stop bit ends. One whose stop bit is low is
        dropped.

    Raises
    ------
    ValueError
        ``divisor`` is too small.
    """

    wire: Signal
    o: stream.Interface

    def __init__(self, *, divisor: int) -> None:
        _check(divisor)
        self._divisor = divisor
        super().__init__(
            {"wire": In(1), "o": Out(stream.Signature(8))},
            name=f"uart_receiver_d{divisor}",
            parameters=(divisor,),
        )

    def build(self) -> Module:
        m = Module()
        arriving = Signal(init=1)
        wire = Signal(init=1)
        m.d.sync += [arriving.eq(self.wire), wire.eq(arriving)]
        timer = Signal(range(self._divisor))
        left = Signal(range(10))  # bits to come, the stop bit included
        begun = Signal()
        bits = Signal(8)
        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(timer != 0):
            m.d.sync += timer.eq(timer - 1)
        with m.Elif(~begun & (left == 0)):
            with m.If(~wire):
                # The middle of the start bit: the two registers above took two cycles.
                m.d.sync += [begun.eq(1), timer.eq(max(self._divisor // 2 - 2, 0))]
        with m.Elif(begun):
            m.d.sync += begun.eq(0)
            with m.If(~wire):
                m.d.sync += [left.eq(9), timer.eq(self._divisor - 1)]
        with m.Elif(left == 1):
            m.d.sync += left.eq(0)
            with m.If(wire):
                m.d.sync += [self.o.valid.eq(1), self.o.payload.eq(bits)]
        with m.Else():
            m.d.sync += [
                bits.eq(Cat(bits[1:], wire)),
                left.eq(left - 1),
                timer.eq(self._divisor - 1),
            ]
        return m


class UartTransmitter(Shared):
    """Bytes to a wire. A byte taken in cycle t starts in t+1 and takes ten bits.

    Parameters
    ----------
    divisor : int
        Cycles for each bit, at least 4.

    Members
    -------
    i : In(stream.Signature(8))
        Bytes.
    wire : Out(1)
        Idle high.

    Raises
    ------
    ValueError
        ``divisor`` is too small.
    """

    i: stream.Interface
    wire: Signal

    def __init__(self, *, divisor: int) -> None:
        _check(divisor)
        self._divisor = divisor
        super().__init__(
            {"i": In(stream.Signature(8)), "wire": Out(1)},
            name=f"uart_transmitter_d{divisor}",
            parameters=(divisor,),
        )

    def build(self) -> Module:
        m = Module()
        timer = Signal(range(self._divisor))
        left = Signal(range(11))
        bits = Signal(10, init=0x3FF)
        m.d.comb += [self.i.ready.eq(left == 0), self.wire.eq(bits[0])]
        with m.If(self.i.ready & self.i.valid):
            m.d.sync += [bits.eq(Cat(0, self.i.payload, 1)), left.eq(10)]
            m.d.sync += timer.eq(self._divisor - 1)
        with m.Elif(left != 0):
            m.d.sync += timer.eq(Mux(timer == 0, self._divisor - 1, timer - 1))
            with m.If(timer == 0):
                m.d.sync += [bits.eq(Cat(bits[1:], 1)), left.eq(left - 1)]
        return m
