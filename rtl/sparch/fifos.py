"""Several queues in one memory: a word is written to one, a window of another is read."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, memory
from amaranth.lib.wiring import In, Out

from celosia.rtl.shared import Shared
from celosia.rtl.sparch.words import check_ways, index_bits, of_count, rotated, word_layout


def check_power(name: str, value: int, least: int) -> None:
    """Refuse a ``value`` that is no power of two, or below ``least``."""
    if value < least or value & (value - 1):
        raise ValueError(f"{name} must be a power of two, at least {least}, not {value!r}")


class FifoFile(Shared):
    """Queues of elements, each of ``capacity``, in one memory of ``ways`` banks.

    In a cycle up to ``ways`` elements are put into one queue, and up to as many taken from
    another or the same. Element e of a queue lies in bank e mod ``ways``, so any window of
    ``ways`` elements is read at once, and the next, without latency. What is put in cycle t is
    shown from t+1; the place of what is taken in t is free in t+1.

    Parameters
    ----------
    fifos : int
        Queues, a power of two.
    ways : int
        Elements of a word: 2, 4, 8 or 16.
    capacity : int
        Elements that a queue holds: a power of two, at least ``ways``.
    element : data.StructLayout
        Layout of an element.

    Members
    -------
    clear : In(1)
        All queues are empty from the next cycle on; nothing is put or taken in this one.
    put : In(1)
        ``put_count`` elements of ``put_word`` are put into queue ``put_fifo``, which has room.
    put_fifo, put_count, put_word : In
    show : In
        The queue of which the first elements are shown.
    window, following : Out(word_layout(...))
        Them, and those after them.
    there : Out(2 * ways)
        Which of both are meant: the first ones.
    source : In
        The queue from which elements are taken.
    take : In(ways)
        Which of its first elements are: the first ones.
    levels : Out(fifos * bits)
        Elements in each queue, as many bits as 0 to ``capacity`` need.
    some : Out(fifos)
        Which queues hold any.
    """

    def __init__(self, *, fifos: int, ways: int, capacity: int, element: data.StructLayout) -> None:
        check_ways(ways)
        check_power("fifos", fifos, 1)
        check_power("capacity", capacity, ways)
        self._fifos, self._ways, self._capacity = fifos, ways, capacity
        self._element = element
        word = word_layout(element, ways)
        super().__init__(
            {
                "clear": In(1),
                "put": In(1),
                "put_fifo": In(index_bits(fifos)),
                "put_count": In(range(ways + 1)),
                "put_word": In(word),
                "show": In(index_bits(fifos)),
                "window": Out(word),
                "following": Out(word),
                "there": Out(2 * ways),
                "source": In(index_bits(fifos)),
                "take": In(ways),
                "levels": Out(fifos * capacity.bit_length()),
                "some": Out(fifos),
            },
            name=f"fifo_file_f{fifos}_n{ways}_c{capacity}_w{element.size}",
            parameters=(fifos, ways, capacity, element.size),
        )

    def build(self) -> Module:
        m = Module()
        fifos, ways, capacity = self._fifos, self._ways, self._capacity
        place_bits = (capacity - 1).bit_length()
        bank_bits = ways.bit_length() - 1
        # Of each queue the number of its first element, and of the next that is put; the bit above
        # a place's tells an empty queue from a full one.
        firsts = [Signal(place_bits + 1, name=f"first_{f}") for f in range(fifos)]
        ends = [Signal(place_bits + 1, name=f"end_{f}") for f in range(fifos)]

        def at(numbers: list[Signal], fifo: Value) -> Value:
            return Cat(numbers).word_select(fifo, place_bits + 1)

        level, head, tail = Signal(place_bits + 1), Signal(place_bits), Signal(place_bits)
        m.d.comb += [
            self.levels.eq(
                Cat(
                    (end - first)[: place_bits + 1] for end, first in zip(ends, firsts, strict=True)
                )
            ),
            self.some.eq(Cat(end != first for end, first in zip(ends, firsts, strict=True))),
            level.eq(at(ends, self.show) - at(firsts, self.show)),
            head.eq(at(firsts, self.show)),
            tail.eq(at(ends, self.put_fifo)),
            self.there.eq(Cat(level > i for i in range(2 * ways))),
        ]
        if fifos == 1:  # without a sum
            m.d.comb += self.there[0].eq(self.some[0])
        placed = self._write(m, tail, bank_bits)
        self._read(m, head, bank_bits, placed)
        first, onward = at(firsts, self.source), Signal(place_bits + 1)
        after = [(first + count)[: place_bits + 1] for count in range(ways + 1)]
        m.d.comb += onward.eq(of_count(self.take, after))
        for fifo in range(fifos):
            with m.If(self.source == fifo):
                m.d.sync += firsts[fifo].eq(onward)
            with m.If(self.put & (self.put_fifo == fifo)):
                m.d.sync += ends[fifo].eq(ends[fifo] + self.put_count)
        with m.If(self.clear):
            m.d.sync += [each.eq(0) for each in (*firsts, *ends)]
        return m

    def _write(self, m: Module, tail: Value, bank_bits: int) -> list[Any]:
        """Write the word, its first element at ``tail``; return the banks."""
        ways = self._ways
        offset, row = tail[:bank_bits], tail[bank_bits:]
        # Bank b gets element (b - offset) mod ways.
        turned = Signal(ways * self._element.size)
        m.d.comb += turned.eq(rotated(Value.cast(self.put_word), (-offset)[:bank_bits], ways))
        banks = []
        depth = max(2, self._fifos * self._capacity // ways)
        for bank in range(ways):
            rows: Any = memory.Memory(shape=self._element.size, depth=depth, init=[])
            m.submodules[f"bank_{bank}"] = rows
            port = rows.write_port()
            number = Signal(bank_bits, name=f"number_{bank}")
            m.d.comb += [
                number.eq(bank - offset),
                port.en.eq(self.put & (number < self.put_count)),
                port.addr.eq(self._address(self.put_fifo, row + self._next_row(offset, bank))),
                port.data.eq(turned.word_select(bank, self._element.size)),
            ]
            banks.append(rows)
        return banks

    def _read(self, m: Module, head: Value, bank_bits: int, banks: list[Any]) -> None:
        """Show the window that begins at ``head``, and the one after it."""
        offset, row = head[:bank_bits], head[bank_bits:]
        for further, to in enumerate((self.window, self.following)):
            words = []
            for bank, rows in enumerate(banks):
                port = rows.read_port(domain="comb")
                place = row + further + self._next_row(offset, bank)
                m.d.comb += port.addr.eq(self._address(self.show, place))
                words.append(port.data)
            m.d.comb += Value.cast(to).eq(rotated(Cat(words), offset, self._ways))

    def _next_row(self, offset: Value, bank: int) -> Value:
        """Return whether ``bank`` has its part of a word in the row after its first.

        ``offset`` is the bank in which the word begins.
        """
        return offset > bank if bank < self._ways - 1 else Const(0, 1)

    def _address(self, fifo: Value, row: Value) -> Value:
        """Return where ``row`` of ``fifo`` lies in a bank."""
        row_bits = (self._capacity // self._ways - 1).bit_length()
        fifo_bits = (self._fifos - 1).bit_length()
        return Cat(row[:row_bits], fifo[:fifo_bits])


class NextWindow(Shared):
    """The first elements behind those that are taken of a queue. No latency.

    What is taken is known last: a component of its own, so that little comes behind it.

    Parameters
    ----------
    ways : int
        Elements of a window: 2, 4, 8 or 16.
    width : int
        Bits of an element.

    Members
    -------
    elements : In(2 * ways * width)
        The first of the queue.
    take : In(ways)
        Which of them are taken: the first ones.
    again : In(1)
        They are taken of this queue.
    o : Out(ways * width)
        The first of those that are left.
    """

    def __init__(self, *, ways: int, width: int) -> None:
        check_ways(ways)
        self._ways, self._width = ways, width
        super().__init__(
            {
                "elements": In(2 * ways * width),
                "take": In(ways),
                "again": In(1),
                "o": Out(ways * width),
            },
            name=f"next_window_n{ways}_w{width}",
            parameters=(ways, width),
        )

    def build(self) -> Module:
        m = Module()
        elements = [self.elements.word_select(i, self._width) for i in range(2 * self._ways)]
        gone = Mux(self.again, self.take, 0)
        m.d.comb += self.o.eq(
            Cat(of_count(gone, elements[i:][: self._ways + 1]) for i in range(self._ways))
        )
        return m
