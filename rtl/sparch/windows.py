"""What chooses among the elements of a queue: components that only wire.

Yosys's mapping shortens only what is longest in a module; of what is known late, or comes behind a
memory, each is one of its own.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux
from amaranth.lib.wiring import In, Out

from celosia.rtl.shared import Shared
from celosia.rtl.sparch.words import check_ways, of_count, rotated


class Thermometer(Shared):
    """Shows a number as so many ones, each found from the number alone. No latency.

    Parameters
    ----------
    bits : int
        Of the number.
    places : int

    Members
    -------
    i : In(bits)
    o : Out(places)
        The first ``i`` are 1.
    """

    def __init__(self, *, bits: int, places: int) -> None:
        self._places = places
        super().__init__(
            {"i": In(bits), "o": Out(places)},
            name=f"thermometer_b{bits}_p{places}",
            parameters=(bits, places),
        )

    def build(self) -> Module:
        m = Module()
        m.d.comb += self.o.eq(Cat(self.i > place for place in range(self._places)))
        return m


class Turner(Shared):
    """Puts windows in order that come as banks hold them. No latency.

    Parameters
    ----------
    ways : int
        Elements of a window.
    size : int
        Bits of an element.
    windows : int

    Members
    -------
    i, o : In, Out(windows * ways * size)
    first : In
        Of each window the place of its first element.
    """

    def __init__(self, *, ways: int, size: int, windows: int) -> None:
        self._ways, self._size, self._windows = ways, size, windows
        bits = windows * ways * size
        super().__init__(
            {"i": In(bits), "first": In(ways.bit_length() - 1), "o": Out(bits)},
            name=f"turner_n{ways}_w{size}_r{windows}",
            parameters=(ways, size, windows),
        )

    def build(self) -> Module:
        m = Module()
        for n in range(self._windows):
            window = self.i.word_select(n, self._ways * self._size)
            m.d.comb += self.o.word_select(n, self._ways * self._size).eq(
                rotated(window, self.first, self._ways)
            )
        return m


class NextNumber(Shared):
    """The number of the first element that is left of a queue, once what is taken is known.

    What goes with the number, such as the rows after its own, is part of it. No latency.

    Parameters
    ----------
    ways : int
        Most elements that are taken.
    bits : int
        Of a number.

    Members
    -------
    after : In((ways + 1) * bits)
        The number if none is taken, one, and so on.
    take : In(ways)
        Which are: the first ones.
    again : In(1)
        The queue that is looked up is that one.
    other : In(bits)
        Its number if it is not.
    onward : Out(bits)
        Of the one of which is taken.
    o : Out(bits)
        Of the one that is looked up.
    """

    def __init__(self, *, ways: int, bits: int) -> None:
        self._ways, self._bits = ways, bits
        super().__init__(
            {
                "after": In((ways + 1) * bits),
                "take": In(ways),
                "again": In(1),
                "other": In(bits),
                "onward": Out(bits),
                "o": Out(bits),
            },
            name=f"next_number_n{ways}_b{bits}",
            parameters=(ways, bits),
        )

    def build(self) -> Module:
        m = Module()
        after = [self.after.word_select(taken, self._bits) for taken in range(self._ways + 1)]
        m.d.comb += [
            self.onward.eq(of_count(self.take, after)),
            self.o.eq(Mux(self.again, self.onward, self.other)),
        ]
        return m


class NextWindow(Shared):
    """The first elements behind those that are taken of a queue, which is known last. No latency.

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
