"""The memories of a processing element that beats of the bus fill."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import memory
from amaranth.lib.wiring import In, Out

from celosia.rtl.shared import Shared

TABLE_ROWS = 64
"""Most rows of a memory that one level of look-up tables holds."""

WORD_BITS = 64
"""Widest memory into which lanes are put together: a machine word of a simulator."""


def address_bits(depth: int) -> int:
    """Return the bits of an address below ``depth``, at least 1."""
    return max(1, (depth - 1).bit_length())


class OneOfFour(Shared):
    """One of four words: a look-up table for each bit. No latency.

    A module of its own, so that a tree of these has no more levels than it needs.

    Parameters
    ----------
    width : int
        Bits of a word.

    Members
    -------
    i : In(4 * width)
        The words, the first lowest.
    number : In(2)
    o : Out(width)
    """

    i: Signal
    number: Signal
    o: Signal

    def __init__(self, width: int) -> None:
        self._width = width
        super().__init__(
            {"i": In(4 * width), "number": In(2), "o": Out(width)},
            name=f"one_of_four_{width}",
            parameters=(width,),
        )

    def build(self) -> Module:
        m = Module()
        m.d.comb += self.o.eq(self.i.word_select(self.number, self._width))
        return m


def chosen(m: Module, words: list[Value], number: Value) -> Value:
    """Return ``words[number]``, by a tree of modules; a power of two of words.

    ``number`` has as many bits as that takes.
    """
    width, level = len(words[0]), 0
    while len(words) >= 4:
        above: list[Value] = []
        for start in range(0, len(words), 4):
            m.submodules[f"choice_{level}_{start // 4}"] = choice = OneOfFour(width)
            m.d.comb += [choice.i.eq(Cat(words[start : start + 4])), choice.number.eq(number[:2])]
            above.append(choice.o)
        words, number, level = above, number[2:], level + 1
    return Mux(number[0], words[1], words[0]) if len(words) == 2 else words[0]


class PackedRam(Shared):
    """A memory written ``lanes`` words at a time and read word by word.

    Parameters
    ----------
    depth : int
        Words, a multiple of ``lanes``.
    width : int
        Bits of a word.
    lanes : int
        Words of a write, a power of two.
    pieces : int
        Parts of a word, a power of two, of which one is shown at a time.
    block : bool
        Its rows lie in block memory, however few they are.

    Members
    -------
    write_enable : In(1)
    write_address : In(range(depth / lanes))
        Where the words go: that times ``lanes``, and those after it.
    write_data : In(lanes * width)
        The words, the first lowest.
    read_enable : In(1)
    read_address : In(range(depth))
    piece : In(range(pieces))
        Only where there are several.
    read_data : Out(width / pieces)
        That piece of the word read last, from the cycle after ``read_enable``.

    Raises
    ------
    ValueError
        ``lanes`` is no power of two, or ``depth`` no multiple of it.
    """

    write_enable: Signal
    write_address: Signal
    write_data: Signal
    read_enable: Signal
    read_address: Signal
    piece: Signal
    read_data: Signal

    def __init__(
        self, *, depth: int, width: int, lanes: int, pieces: int = 1, block: bool = False
    ) -> None:
        if lanes < 1 or lanes & (lanes - 1):
            raise ValueError(f"lanes must be a power of two, not {lanes!r}")
        if depth < 1 or depth % lanes:
            raise ValueError(f"depth must be a multiple of the {lanes} lanes, not {depth!r}")
        self._depth, self._width, self._lanes, self._pieces = depth, width, lanes, pieces
        self._block = block
        super().__init__(
            ({"piece": In(range(pieces))} if pieces > 1 else {})
            | {
                "write_enable": In(1),
                "write_address": In(address_bits(depth // lanes)),
                "write_data": In(lanes * width),
                "read_enable": In(1),
                "read_address": In(address_bits(depth)),
                "read_data": Out(width // pieces),
            },
            name=f"packed_ram_{depth}x{width}_l{lanes}"
            + (f"_p{pieces}" if pieces > 1 else "")
            + ("_block" if block else ""),
            parameters=(depth, width, lanes, pieces, block),
        )

    def build(self) -> Module:
        m = Module()
        width, together = self._width, 1
        while 2 * together <= self._lanes and 2 * together * width <= WORD_BITS:
            together *= 2
        parts = self._lanes // together
        low = (self._lanes - 1).bit_length()  # address bits that choose a lane
        row = self.read_address[low:] if low else self.read_address
        place = Signal(max(1, low))
        with m.If(self.read_enable):
            m.d.sync += place.eq(self.read_address[:low] if low else 0)
        inner = (together - 1).bit_length()
        each = width // self._pieces
        words: list[Value] = []
        for part in range(parts):
            rows: Any = memory.Memory(
                shape=together * width,
                depth=self._depth // self._lanes,
                init=[],
                attrs={"ram_style": "block"} if self._block else None,
            )
            m.submodules[f"rows_{part}"] = rows
            write, read = rows.write_port(), rows.read_port()
            mine = self.read_address[inner:low] == part if parts > 1 else Const(1, 1)
            first = part * together * width
            m.d.comb += [
                write.en.eq(self.write_enable),
                write.addr.eq(self.write_address),
                write.data.eq(self.write_data[first : first + together * width]),
                read.en.eq(self.read_enable & mine),
                read.addr.eq(row),
            ]
            words += [read.data[at : at + each] for at in range(0, together * width, each)]
        number = Cat(self.piece if self._pieces > 1 else (), place[:low])
        m.d.comb += self.read_data.eq(chosen(m, words, number))
        return m


class PointerMemory(Shared):
    """Two banks of pointers, even and odd: a column's pointer and the next in one cycle.

    Of more than 64 rows they lie in block memory: where a row lies is known late in a cycle, so
    that more than one level of look-up tables would be too much.

    Parameters
    ----------
    depth : int
        Pointers, a multiple of ``lanes``.
    width : int
        Bits of a pointer.
    lanes : int
        Pointers in a beat, a power of two and at least 2.
    slot : int
        Bits that a pointer has in a beat.

    Members
    -------
    write_enable : In(1)
    write_address : In(range(depth / lanes))
        In beats.
    write_data : In(lanes * slot)
    read_enable : In(1)
    place : In(range(depth))
        Of the first of the two pointers; the second is the next.
    first, second : Out(width)
        The pointers read last, from the cycle after ``read_enable``.
    """

    write_enable: Signal
    write_address: Signal
    write_data: Signal
    read_enable: Signal
    place: Signal
    first: Signal
    second: Signal

    def __init__(self, *, depth: int, width: int, lanes: int, slot: int) -> None:
        if lanes < 2:
            raise ValueError(f"lanes must be at least 2, one for each bank, not {lanes!r}")
        self._depth, self._width, self._lanes, self._slot = depth, width, lanes, slot
        super().__init__(
            {
                "write_enable": In(1),
                "write_address": In(address_bits(depth // lanes)),
                "write_data": In(lanes * slot),
                "read_enable": In(1),
                "place": In(address_bits(depth)),
                "first": Out(width),
                "second": Out(width),
            },
            name=f"pointer_memory_{depth}x{width}",
            parameters=(depth, width, lanes, slot),
        )

    def build(self) -> Module:
        m = Module()
        banks = [
            PackedRam(
                depth=self._depth // 2,
                width=self._width,
                lanes=self._lanes // 2,
                block=self._depth // self._lanes > TABLE_ROWS,
            )
            for _ in range(2)
        ]
        m.submodules.even, m.submodules.odd = banks
        odd_first = Signal()
        # The next place: all ones are taken away, so that the one is what the carries begin with.
        following = Signal.like(self.place)
        m.d.comb += following.eq(self.place - Const(-1, len(following)))
        with m.If(self.read_enable):
            m.d.sync += odd_first.eq(self.place[0])
        for index, bank in enumerate(banks):
            pointers = [
                self.write_data[at : at + self._width]
                for at in range(index * self._slot, self._lanes * self._slot, 2 * self._slot)
            ]
            # Of an odd column the second pointer lies a row further in the even bank.
            row = following if index == 0 else self.place
            m.d.comb += [
                bank.write_enable.eq(self.write_enable),
                bank.write_address.eq(self.write_address),
                bank.write_data.eq(Cat(pointers)),
                bank.read_enable.eq(self.read_enable),
                bank.read_address.eq(row >> 1),
            ]
        even, odd = (bank.read_data for bank in banks)
        m.d.comb += [
            self.first.eq(Mux(odd_first, odd, even)),
            self.second.eq(Mux(odd_first, even, odd)),
        ]
        return m
