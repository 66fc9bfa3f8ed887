"""The board's end of the serial link: the requests of :mod:`celosia.fpga.frames`."""

from __future__ import annotations

from functools import reduce
from operator import xor
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, memory, stream
from amaranth.lib.wiring import In, Out

from celosia.fpga.frames import (
    ANSWER,
    CHECKSUM_BYTES,
    CHECKSUM_POLYNOMIAL,
    CHECKSUM_START,
    HEADER_BYTES,
    MOST_WORDS,
    REQUEST,
    Operation,
    Outcome,
)
from celosia.rtl.registers import ADDRESS_BITS
from celosia.rtl.shared import Shared


def access_layout() -> data.StructLayout:
    """Lay out one access, to the memory or the registers, at a byte ``address``."""
    return data.StructLayout({"memory": 1, "write": 1, "address": 32, "data": 32})


def checksum_step(checksum: Value, byte: Value) -> Value:
    """Return the checksum with one byte more: each bit a sum of bits, as CRCs are linear."""
    masks = [0] * 16
    for position in range(24):
        state = 1 << position if position < 16 else 1 << position - 16 + 8
        for _ in range(8):
            state = state << 1 ^ (CHECKSUM_POLYNOMIAL if state >> 15 & 1 else 0)
        for bit in range(16):
            masks[bit] |= (state >> bit & 1) << position
    inputs = Cat(checksum, byte)
    return Cat(
        reduce(xor, (inputs[position] for position in range(24) if mask >> position & 1))
        for mask in masks
    )


class HostLink(Shared):
    """Carries out a host's requests, one access at a time.

    Parameters
    ----------
    memory_bytes : int
        Size of the memory, from address 0 on.
    silence : int
        Cycles after which a request that stopped is given up, at least 1.

    Members
    -------
    i, o : In, Out(stream.Signature(8))
        Bytes from and to the host.
    access : Out(stream.Signature(access_layout()))
        Accesses, each offered until it is answered; taken once.
    answer : In(stream.Signature(32))
        The answer to each access, of a write too (its data is not looked at).

    Raises
    ------
    ValueError
        ``memory_bytes`` is no multiple of 4, or ``silence`` below 1.
    """

    i: stream.Interface
    o: stream.Interface
    access: Any
    answer: stream.Interface

    def __init__(self, *, memory_bytes: int, silence: int) -> None:
        if memory_bytes < 4 or memory_bytes % 4:
            raise ValueError(f"memory_bytes must be a multiple of 4, not {memory_bytes!r}")
        if silence < 1:
            raise ValueError(f"silence must be at least 1, not {silence!r}")
        self._memory_bytes = memory_bytes
        self._silence = silence
        super().__init__(
            {
                "i": In(stream.Signature(8)),
                "o": Out(stream.Signature(8)),
                "access": Out(stream.Signature(access_layout())),
                "answer": In(stream.Signature(32)),
            },
            name="host_link",
            parameters=(memory_bytes, silence),
        )

    def build(self) -> Module:
        m = Module()
        parts = _Parts(m, self._memory_bytes)
        m.d.comb += [
            self.access.p.memory.eq(parts.operation[5]),
            self.access.p.write.eq(~parts.operation[0]),
            self.access.p.address.eq(parts.address),
            self.access.p.data.eq(Mux(parts.operation[0], 0, parts.kept.data)),
        ]
        silent = Signal(range(self._silence + 1))
        m.d.sync += silent.eq(Mux(self.i.valid | (silent == self._silence), 0, silent + 1))
        with m.FSM():
            with m.State("HUNT"):
                m.d.comb += self.i.ready.eq(1)
                m.d.sync += [parts.checksum.eq(CHECKSUM_START), parts.count.eq(0)]
                with m.If(self.i.valid & (self.i.payload == REQUEST)):
                    m.next = "HEADER"
            self._take_request(m, parts, silent == self._silence)
            self._carry_out(m, parts)
            self._give_answer(m, parts)
        return m

    def _take_request(self, m: Module, parts: _Parts, late: Value) -> None:
        """Add the states that take a header, then words, and check them."""
        byte, count = self.i.payload, parts.count
        after = checksum_step(parts.checksum, byte)
        last_header = HEADER_BYTES + CHECKSUM_BYTES - 1
        with m.State("HEADER"):
            m.d.comb += self.i.ready.eq(1)
            with m.If(self.i.valid):
                m.d.sync += [parts.checksum.eq(after), count.eq(count + 1)]
                with m.If(count < HEADER_BYTES):
                    m.d.sync += parts.header.eq(Cat(parts.header[8:], byte))
                with m.If(count == last_header):
                    m.d.sync += count.eq(0)
                    m.next = "CHECK"
            with m.Elif(late):
                m.next = "HUNT"
        with m.State("CHECK"):
            m.d.sync += [parts.checksum.eq(CHECKSUM_START), parts.index.eq(0)]
            with m.If(parts.checksum != 0):
                m.next = "HUNT"
            with m.Elif(~parts.known):
                m.d.sync += parts.outcome.eq(Outcome.UNKNOWN)
                m.next = "ANSWER"
            with m.Elif(parts.operation[0]):
                m.next = "DECIDE"
            with m.Else():
                m.next = "WORDS"
        with m.State("WORDS"):
            m.d.comb += [self.i.ready.eq(1), parts.keep.addr.eq(parts.index)]
            m.d.comb += parts.keep.data.eq(Cat(parts.word[8:], byte))
            with m.If(self.i.valid):
                m.d.sync += [parts.checksum.eq(after), count.eq(count + 1)]
                m.d.sync += parts.word.eq(Cat(parts.word[8:], byte))
                with m.If(parts.index == parts.words):
                    with m.If(count == CHECKSUM_BYTES - 1):
                        m.next = "DECIDE"
                with m.Elif(count == 3):
                    m.d.comb += parts.keep.en.eq(1)
                    m.d.sync += [parts.index.eq(parts.index + 1), count.eq(0)]
            with m.Elif(late):
                m.next = "HUNT"

    def _carry_out(self, m: Module, parts: _Parts) -> None:
        """Add the states that decide about a request and make its accesses."""
        writes, known = ~parts.operation[0], parts.last_known
        again = writes & ~parts.operation[5] & known & (parts.last == parts.number)
        with m.State("DECIDE"):
            m.d.sync += [parts.index.eq(0), parts.count.eq(0), parts.outcome.eq(Outcome.DONE)]
            m.next = "ANSWER"
            with m.If(writes & (parts.checksum != 0)):
                m.d.sync += parts.outcome.eq(Outcome.CORRUPT)
            with m.Elif(~parts.inside):
                m.d.sync += parts.outcome.eq(Outcome.OUTSIDE)
            with m.Elif(~again):
                m.d.sync += [parts.last.eq(parts.number), parts.last_known.eq(1)]
                with m.If(writes):
                    m.next = "FETCH"
        with m.State("FETCH"):
            m.d.comb += parts.kept.addr.eq(parts.index)
            m.next = "ACCESS"
        with m.State("ACCESS"):
            m.d.comb += [self.access.valid.eq(1), parts.kept.addr.eq(parts.index)]
            with m.If(self.access.ready):
                m.next = "ANSWERED"
        with m.State("ANSWERED"):
            m.d.comb += self.answer.ready.eq(1)
            with m.If(self.answer.valid):
                m.d.sync += [
                    parts.word.eq(self.answer.payload),
                    parts.index.eq(parts.index + 1),
                    parts.address.eq(parts.address + Mux(parts.operation[5], 4, 0)),
                ]
                with m.If(parts.operation[0]):
                    m.next = "GIVE"
                with m.Elif(parts.index + 1 == parts.words):
                    m.next = "ANSWER"
                with m.Else():
                    m.next = "FETCH"

    def _give_answer(self, m: Module, parts: _Parts) -> None:
        """Add the states that answer: begin, outcome, number, words, checksum."""
        count, checksum = parts.count, parts.checksum
        sends_words = parts.operation[0] & (parts.outcome == Outcome.DONE)
        after = checksum_step(checksum, self.o.payload)
        with m.State("ANSWER"):
            m.d.comb += self.o.valid.eq(1)
            with m.Switch(count):
                with m.Case(0):
                    m.d.comb += self.o.payload.eq(ANSWER)
                with m.Case(1):
                    m.d.comb += self.o.payload.eq(parts.outcome)
                with m.Default():
                    m.d.comb += self.o.payload.eq(parts.number)
            with m.If(self.o.ready):
                m.d.sync += count.eq(count + 1)
                m.d.sync += checksum.eq(Mux(count == 0, CHECKSUM_START, after))
                with m.If(count == 2):
                    m.d.sync += count.eq(0)
                    m.next = "CHECKSUM"
                    with m.If(sends_words):
                        m.next = "ACCESS"
        with m.State("GIVE"):
            m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(parts.word[:8])]
            with m.If(self.o.ready):
                m.d.sync += [parts.word.eq(parts.word[8:]), checksum.eq(after)]
                m.d.sync += count.eq(count + 1)
                with m.If(count == 3):
                    m.d.sync += count.eq(0)
                    m.next = "ACCESS"
                    with m.If(parts.index == parts.words):
                        m.next = "CHECKSUM"
        with m.State("CHECKSUM"):
            m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(checksum[8:])]
            with m.If(self.o.ready):
                m.d.sync += [checksum.eq(checksum << 8), count.eq(count + 1)]
                with m.If(count == CHECKSUM_BYTES - 1):
                    m.next = "HUNT"


class _Parts:
    """The link's registers and its buffer of words."""

    def __init__(self, m: Module, memory_bytes: int) -> None:
        self.header = Signal(8 * HEADER_BYTES)
        self.operation = self.header[:8]
        self.number = self.header[8:16]
        self.address = self.header[16:48]
        self.words = self.header[48:]
        self.checksum = Signal(16)
        self.count = Signal(range(HEADER_BYTES + CHECKSUM_BYTES + 1))
        self.index = Signal(range(MOST_WORDS + 1))
        self.word = Signal(32)
        self.outcome = Signal(8)
        self.last = Signal(8)
        self.last_known = Signal()
        kept: memory.Memory
        m.submodules.kept = kept = memory.Memory(shape=32, depth=MOST_WORDS, init=[])
        self.keep: Any = kept.write_port()
        self.kept: Any = kept.read_port()
        # Of the header, which is whole two bytes before anyone asks.
        self.known = Signal()
        self.inside = Signal()
        end = Signal(34)
        m.d.comb += end.eq(self.address + (Mux(self.operation[5], self.words, Const(1)) << 2))
        m.d.sync += [
            self.known.eq(
                self.operation.matches(*Operation) & (self.words != 0) & (self.words <= MOST_WORDS)
            ),
            self.inside.eq(
                (self.address[:2] == 0)
                & (end <= Mux(self.operation[5], memory_bytes, 1 << ADDRESS_BITS))
            ),
        ]
