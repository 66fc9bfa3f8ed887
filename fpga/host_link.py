"""Words read and written by a host over a stream of bytes.

A command is seven bytes: an :class:`Operation`, a byte address (32 bits, little endian, a
multiple of 4) and a number of words (16 bits, at least 1). Words of 32 bits follow, little
endian: from the host for a write, which is acknowledged with one byte, :data:`ACKNOWLEDGE`,
when all are written; to the host for a read. Registers keep their address for all words of a
command; memory addresses go up by 4. A byte that is no operation is skipped, so a host that lost
count sends zeros until it is in step again.
"""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, enum, stream
from amaranth.lib.wiring import In, Out

from celosia.rtl.shared import Shared

ACKNOWLEDGE = 0x06
"""What a finished write is answered with."""

HEADER_BYTES = 7


class Operation(enum.Enum, shape=8):
    """The first byte of a command."""

    WRITE_REGISTER = 0x10
    READ_REGISTER = 0x11
    WRITE_MEMORY = 0x20
    READ_MEMORY = 0x21


def access_layout() -> data.StructLayout:
    """Lay out one access, to the memory or the registers, at a byte ``address``."""
    return data.StructLayout({"memory": 1, "write": 1, "address": 32, "data": 32})


class HostLink(Shared):
    """Runs a host's commands, one access at a time.

    Members
    -------
    i, o : In, Out(stream.Signature(8))
        Bytes from and to the host.
    access : Out(stream.Signature(access_layout()))
        Accesses, each offered until it is answered; taken once.
    answer : In(stream.Signature(32))
        The answer to each access, of a write too (its data is not looked at).
    """

    i: stream.Interface
    o: stream.Interface
    access: Any
    answer: stream.Interface

    def __init__(self) -> None:
        super().__init__(
            {
                "i": In(stream.Signature(8)),
                "o": Out(stream.Signature(8)),
                "access": Out(stream.Signature(access_layout())),
                "answer": In(stream.Signature(32)),
            },
            name="host_link",
            parameters=(),
        )

    def build(self) -> Module:
        m = Module()
        header = Signal(8 * HEADER_BYTES)
        operation = header[:8]
        address = header[8:40]
        words = header[40:]
        count = Signal(3)  # bytes of the header, then of a word, that are through
        word = Signal(32)
        is_operation = Signal()
        m.d.comb += [
            is_operation.eq(self.i.payload.matches(*(o.value for o in Operation))),
            self.access.p.memory.eq(operation[5]),
            self.access.p.write.eq(~operation[0]),
            self.access.p.address.eq(address),
            self.access.p.data.eq(word),
        ]
        with m.FSM():
            with m.State("HEADER"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid & ((count != 0) | is_operation)):
                    m.d.sync += [header.eq(Cat(header[8:], self.i.payload)), count.eq(count + 1)]
                    with m.If(count == HEADER_BYTES - 1):
                        m.d.sync += count.eq(0)
                        m.next = "BEGIN"
            with m.State("BEGIN"):
                with m.If(operation[0]):
                    m.next = "ACCESS"
                with m.Else():
                    m.next = "TAKE"
            with m.State("TAKE"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    m.d.sync += [word.eq(Cat(word[8:], self.i.payload)), count.eq(count + 1)]
                    with m.If(count == 3):
                        m.d.sync += count.eq(0)
                        m.next = "ACCESS"
            with m.State("ACCESS"):
                m.d.comb += self.access.valid.eq(1)
                with m.If(self.access.ready):
                    m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += self.answer.ready.eq(1)
                with m.If(self.answer.valid):
                    m.d.sync += [
                        word.eq(self.answer.payload),
                        words.eq(words - 1),
                        address.eq(address + Mux(operation[5], 4, 0)),
                    ]
                    with m.If(operation[0]):
                        m.next = "GIVE"
                    with m.Elif(words == 1):
                        m.next = "ACKNOWLEDGE"
                    with m.Else():
                        m.next = "TAKE"
            with m.State("GIVE"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(word[:8])]
                with m.If(self.o.ready):
                    m.d.sync += [word.eq(word[8:]), count.eq(count + 1)]
                    with m.If(count == 3):
                        m.d.sync += count.eq(0)
                        m.next = "HEADER"
                        with m.If(words != 0):
                            m.next = "ACCESS"
            with m.State("ACKNOWLEDGE"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(ACKNOWLEDGE)]
                with m.If(self.o.ready):
                    m.next = "HEADER"
        return m
