"""Several queues in one memory: a word is written to one, a window of another is read."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, memory
from amaranth.lib.wiring import In, Out

from celosia.rtl.shared import Shared
from celosia.rtl.sparch.windows import Thermometer, Turner
from celosia.rtl.sparch.words import (
    check_ways,
    index_bits,
    of_count,
    rotated,
    word_layout,
)


def check_power(name: str, value: int, least: int) -> None:
    """Refuse a ``value`` that is no power of two, or below ``least``."""
    if value < least or value & (value - 1):
        raise ValueError(f"{name} must be a power of two, at least {least}, not {value!r}")


def row_bits(ways: int, capacity: int) -> int:
    """Return the bits of a row of a queue in its banks."""
    return (capacity // ways - 1).bit_length()


def following_rows(number: Value, *, ways: int, capacity: int, windows: int) -> list[Value]:
    """Return the rows, as many as ``windows``, after that of element ``number``."""
    low, bits = ways.bit_length() - 1, row_bits(ways, capacity)
    row = number[low : low + bits]
    return [(row + n)[:bits] for n in range(1, windows + 1)]


def next_row(offset: Value, bank: int, ways: int) -> Value:
    """Return whether ``bank`` has its part of a word in the row after its first.

    ``offset`` is the bank in which the word begins.
    """
    return offset > bank if bank < ways - 1 else Const(0, 1)


class WordBanks(Shared):
    """The memory of queues: a word is written to one, windows of another are read.

    Element e of a queue lies in bank e mod ``ways``, so any ``ways`` elements are read at once.
    What is written in cycle t is there from t+1. A window comes as the banks hold it: element e of
    it at place (``at`` + e) mod ``ways``, so that one of several memories is chosen before that is
    turned.

    Parameters
    ----------
    fifos : int
        Queues, a power of two.
    ways : int
        Elements of a word: 2, 4, 8 or 16.
    capacity : int
        Elements of a queue: a power of two, at least ``ways``.
    size : int
        Bits of an element.
    windows : int
        How many are read in a cycle, one after another.

    Members
    -------
    put : In(1)
        ``put_count`` elements of ``put_word`` are written, from element ``tail`` of queue
        ``put_fifo`` on.
    put_fifo, put_count, put_word, tail : In
    source, at, rows : In
        The windows read begin at element ``at`` of queue ``source``; ``rows`` are those after its
        own, see :func:`following_rows`.
    o : Out(windows * ways * size)
    """

    def __init__(self, *, fifos: int, ways: int, capacity: int, size: int, windows: int) -> None:
        check_ways(ways)
        check_power("fifos", fifos, 1)
        check_power("capacity", capacity, ways)
        self._fifos, self._ways, self._capacity = fifos, ways, capacity
        self._size, self._windows = size, windows
        place_bits = (capacity - 1).bit_length()
        super().__init__(
            {
                "put": In(1),
                "put_fifo": In(index_bits(fifos)),
                "put_count": In(range(ways + 1)),
                "put_word": In(ways * size),
                "tail": In(place_bits),
                "source": In(index_bits(fifos)),
                "at": In(place_bits),
                "rows": In(windows * row_bits(ways, capacity)),
                "o": Out(windows * ways * size),
            },
            name=f"word_banks_f{fifos}_n{ways}_c{capacity}_w{size}_r{windows}",
            parameters=(fifos, ways, capacity, size, windows),
        )

    def build(self) -> Module:
        m = Module()
        ways, size = self._ways, self._size
        bank_bits = ways.bit_length() - 1
        offset, row = self.tail[:bank_bits], self.tail[bank_bits:]
        # Bank b gets element (b - offset) mod ways.
        turned = Signal(ways * size)
        m.d.comb += turned.eq(rotated(self.put_word, (-offset)[:bank_bits], ways))
        depth = max(2, self._fifos * self._capacity // ways)
        rows = [self.at[bank_bits:]]
        rows += [self.rows.word_select(n, len(row)) for n in range(self._windows)]
        for bank in range(ways):
            store: Any = memory.Memory(shape=size, depth=depth, init=[])
            m.submodules[f"bank_{bank}"] = store
            port, number = store.write_port(), Signal(bank_bits, name=f"number_{bank}")
            m.d.comb += [
                number.eq(bank - offset),
                port.en.eq(self.put & (number < self.put_count)),
                port.addr.eq(self._address(self.put_fifo, row + next_row(offset, bank, ways))),
                port.data.eq(turned.word_select(bank, size)),
            ]
            later = next_row(self.at[:bank_bits], bank, ways)
            for n in range(self._windows):
                read = store.read_port(domain="comb")
                m.d.comb += [
                    read.addr.eq(self._address(self.source, Mux(later, rows[n + 1], rows[n]))),
                    self.o.word_select(n * ways + bank, size).eq(read.data),
                ]
        return m

    def _address(self, fifo: Value, row: Value) -> Value:
        """Return where ``row`` of ``fifo`` lies in a bank."""
        fifo_bits = (self._fifos - 1).bit_length()
        return Cat(row[: row_bits(self._ways, self._capacity)], fifo[:fifo_bits])


class FifoFile(Shared):
    """Queues of elements, each of ``capacity``, in one memory of ``ways`` banks.

    In a cycle up to ``ways`` elements are put into one queue, the ends of another are looked up, a
    window of another is read, and elements are taken from another; all may be the same. What is
    put in cycle t is there from t+1, and what is taken in t gone. Who reads says from where, so
    that steps that take a cycle each may lie between.

    Elements of a queue are numbered as they came, modulo twice its ``capacity``: the bit above
    those of a place tells an empty queue from a full one.

    Parameters
    ----------
    fifos, ways, capacity : int
        As of :class:`WordBanks`.
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
        The queue of which ``first`` and ``end`` are shown: the numbers of its first element and of
        the next that comes.
    first, end : Out
    source, at, rows : In
        From which element of which queue two windows are read, as :class:`WordBanks` has it.
    o : Out
    takes : In(1)
        The first element of queue ``taken`` is ``onward`` from the next cycle on.
    taken, onward : In
    levels : Out(fifos * bits)
        Elements in each queue, where what was taken in the cycle before still counts; as many bits
        as 0 to ``capacity`` need.
    some : Out(fifos)
        Which levels are not 0.
    """

    def __init__(self, *, fifos: int, ways: int, capacity: int, element: data.StructLayout) -> None:
        check_ways(ways)
        check_power("fifos", fifos, 1)
        check_power("capacity", capacity, ways)
        self._fifos, self._ways, self._capacity = fifos, ways, capacity
        self._element = element
        word, number_bits = word_layout(element, ways), capacity.bit_length()
        super().__init__(
            {
                "clear": In(1),
                "put": In(1),
                "put_fifo": In(index_bits(fifos)),
                "put_count": In(range(ways + 1)),
                "put_word": In(word),
                "show": In(index_bits(fifos)),
                "first": Out(number_bits),
                "end": Out(number_bits),
                "source": In(index_bits(fifos)),
                "at": In(number_bits),
                "rows": In(2 * row_bits(ways, capacity)),
                "o": Out(2 * ways * element.size),
                "takes": In(1),
                "taken": In(index_bits(fifos)),
                "onward": In(number_bits),
                "levels": Out(fifos * number_bits),
                "some": Out(fifos),
            },
            name=f"fifo_file_f{fifos}_n{ways}_c{capacity}_w{element.size}",
            parameters=(fifos, ways, capacity, element.size),
        )

    def build(self) -> Module:
        m = Module()
        fifos, number_bits = self._fifos, self._capacity.bit_length()
        m.submodules.banks = banks = WordBanks(
            fifos=fifos, ways=self._ways, capacity=self._capacity, size=self._element.size,
            windows=2,
        )  # fmt: skip
        firsts = [Signal(number_bits, name=f"first_{f}") for f in range(fifos)]
        ends = [Signal(number_bits, name=f"end_{f}") for f in range(fifos)]

        def at(numbers: list[Signal], fifo: Value) -> Value:
            return Cat(numbers).word_select(fifo, number_bits)

        m.d.comb += [
            self.first.eq(at(firsts, self.show)),
            self.end.eq(at(ends, self.show)),
            banks.put.eq(self.put),
            banks.put_fifo.eq(self.put_fifo),
            banks.put_count.eq(self.put_count),
            banks.put_word.eq(Value.cast(self.put_word)),
            banks.tail.eq(at(ends, self.put_fifo)),
            banks.source.eq(self.source),
            banks.at.eq(self.at),
            banks.rows.eq(self.rows),
            self.o.eq(banks.o),
        ]
        for fifo, (first, end) in enumerate(zip(firsts, ends, strict=True)):
            mine, comes = Signal(name=f"mine_{fifo}"), Signal.like(self.put_count)
            m.d.comb += [
                mine.eq(self.put & (self.put_fifo == fifo)),
                comes.eq(Mux(mine, self.put_count, 0)),
            ]
            m.d.sync += [
                end.eq(end + comes),
                self.levels.word_select(fifo, number_bits).eq((end - first) + comes),
                self.some[fifo].eq((mine & (self.put_count != 0)) | (end != first)),
            ]
            with m.If(self.takes & (self.taken == fifo)):
                m.d.sync += first.eq(self.onward)
        with m.If(self.clear):
            m.d.sync += [each.eq(0) for each in (*firsts, *ends, self.levels, self.some)]
        return m


class WordQueue(Shared):
    """One queue of elements of which the first are shown without latency.

    As :class:`FifoFile` is, but of one queue its level is known as it is.

    Parameters
    ----------
    ways : int
        Elements of a word: 2, 4, 8 or 16.
    capacity : int
        Elements that it holds: a power of two, at least ``ways``.
    element : data.StructLayout
        Layout of an element.

    Members
    -------
    clear : In(1)
        It is empty from the next cycle on; nothing is put or taken in this one.
    put : In(1)
        ``put_count`` elements of ``put_word`` are put into it; it has room.
    put_count, put_word : In
    window : Out(word_layout(...))
        Its first elements.
    there : Out(ways)
        Which of them are meant: the first ones.
    take : In(ways)
        Which of those are taken: the first ones.
    level : Out
        Elements in it.
    """

    def __init__(self, *, ways: int, capacity: int, element: data.StructLayout) -> None:
        check_ways(ways)
        check_power("capacity", capacity, ways)
        self._ways, self._capacity, self._element = ways, capacity, element
        word = word_layout(element, ways)
        super().__init__(
            {
                "clear": In(1),
                "put": In(1),
                "put_count": In(range(ways + 1)),
                "put_word": In(word),
                "window": Out(word),
                "there": Out(ways),
                "take": In(ways),
                "level": Out(range(capacity + 1)),
            },
            name=f"word_queue_n{ways}_c{capacity}_w{element.size}",
            parameters=(ways, capacity, element.size),
        )

    def build(self) -> Module:
        m = Module()
        ways, place_bits = self._ways, (self._capacity - 1).bit_length()
        m.submodules.banks = banks = WordBanks(
            fifos=1, ways=ways, capacity=self._capacity, size=self._element.size, windows=1
        )
        m.submodules.turner = turner = Turner(ways=ways, size=self._element.size, windows=1)
        m.submodules.shown = shown = Thermometer(bits=len(self.level), places=ways)
        first, tail, comes = Signal(place_bits), Signal(place_bits), Signal(range(ways + 1))
        onward = [(first + count)[:place_bits] for count in range(ways + 1)]
        left = [(self.level + comes - count)[: len(self.level)] for count in range(ways + 1)]
        m.d.comb += [
            comes.eq(Mux(self.put, self.put_count, 0)),
            banks.put.eq(self.put),
            banks.put_count.eq(self.put_count),
            banks.put_word.eq(Value.cast(self.put_word)),
            banks.tail.eq(tail),
            banks.at.eq(first),
            banks.rows.eq(
                Cat(following_rows(first, ways=ways, capacity=self._capacity, windows=1))
            ),
            turner.i.eq(banks.o),
            turner.first.eq(first),
            Value.cast(self.window).eq(turner.o),
            shown.i.eq(self.level),
            self.there.eq(shown.o),
        ]
        m.d.sync += [
            tail.eq(tail + comes),
            first.eq(of_count(self.take, onward)),
            self.level.eq(of_count(self.take, left)),
        ]
        with m.If(self.clear):
            m.d.sync += [each.eq(0) for each in (first, tail, self.level)]
        return m
