"""One input of all nodes of a layer: its queues, and the window of the node that is served.

These are parts of :class:`~celosia.rtl.sparch.layer.MergeLayer`, no component: Yosys maps a module
by itself, and what is served, read and looked up in a cycle is mapped best together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, memory

from celosia.rtl.sparch.fifos import FifoFile, following_rows, row_bits
from celosia.rtl.sparch.windows import NextNumber, NextWindow, Thermometer, Turner
from celosia.rtl.sparch.words import bit_of, word_layout


@dataclass(frozen=True, slots=True, kw_only=True)
class Steps:
    """Nodes under way: whether there is one, and which.

    One of which the ends of the queues are looked up, one of which windows are read, one that is
    served, which may be the same as those before it.
    """

    looks: Value
    of: Value
    reads: Value
    source: Value
    serves: Value
    node: Value
    looks_again: Value
    reads_again: Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Put:
    """What is put into a file of queues: whether, into which, how many elements, and they."""

    put: Value
    fifo: Value
    count: Value
    word: Any


class Side:
    """One input of all nodes.

    Node v has queue v // F of file v mod F, where F is the number of files. What the node that is
    served takes is left out where it is looked up or read meanwhile.

    Parameters
    ----------
    m : Module
        Of the layer, to which everything is added.
    name : str
        What names of signals end with.
    nodes, ways, capacity : int
        Nodes, elements of a window, and elements of a queue.
    element : data.StructLayout
    start : Value
        Everything is empty from the next cycle on.
    puts : sequence of Put
        Of each file; a power of two of them.
    steps : Steps
    closed : Value
        Whether the input of the node that is looked up is closed.

    Attributes
    ----------
    take : Signal(ways)
        Which elements of the window are taken in this cycle: the first ones. The layer drives it.
    levels : list of Value
        Of each node, as of :class:`~celosia.rtl.sparch.fifos.FifoFile`.
    some : Value
        Which nodes' queues hold any.
    window, there : Value
        Of the node that is served: its first elements, and which of them there are.
    last, known : Value
        The last key that came to it, and whether one did.
    closed : Value
        Its input is closed.
    """

    def __init__(
        self,
        m: Module,
        name: str,
        *,
        nodes: int,
        ways: int,
        capacity: int,
        element: data.StructLayout,
        start: Value,
        puts: Sequence[Put],
        steps: Steps,
        closed: Value,
    ) -> None:
        self._m, self._name, self._steps = m, name, steps
        self._ways, self._capacity, self._element = ways, capacity, element
        self._start, self._number_bits = start, capacity.bit_length()
        self._file_bits = len(puts).bit_length() - 1
        self.take = Signal(ways, name=f"take_{name}")
        self._onward = Signal(self._number_bits, name=f"onward_{name}")
        self._head, self._end = (
            Signal(self._number_bits, name=f"{what}_{name}") for what in ("head", "end")
        )
        self._rows = Signal(2 * row_bits(ways, capacity), name=f"rows_{name}")
        self._files = [self._file(n, put, nodes // len(puts)) for n, put in enumerate(puts)]
        # Of the node that is served.
        self._first = Signal(self._number_bits, name=f"first_{name}")
        self._look(closed)
        self._read()
        order = [(v % len(puts), v // len(puts)) for v in range(nodes)]
        self.levels = [
            self._files[file].levels.word_select(index, self._number_bits) for file, index in order
        ]
        self.some = Cat(self._files[file].some[index] for file, index in order)

    def _file(self, number: int, put: Put, fifos: int) -> FifoFile:
        """Add the queues of every so many nodes."""
        m, steps, several = self._m, self._steps, self._file_bits > 0
        file = FifoFile(
            fifos=fifos, ways=self._ways, capacity=self._capacity, element=self._element
        )
        m.submodules[f"side_{self._name}" + (f"_{number}" if several else "")] = file
        mine = steps.node[: self._file_bits] == number if several else Const(1, 1)
        m.d.comb += [
            file.clear.eq(self._start),
            file.put.eq(put.put),
            file.put_fifo.eq(put.fifo),
            file.put_count.eq(put.count),
            file.put_word.eq(put.word),
            file.show.eq(steps.of >> self._file_bits),
            file.source.eq(steps.source >> self._file_bits),
            file.at.eq(self._head),
            file.rows.eq(self._rows),
            file.takes.eq(steps.serves & mine),
            file.taken.eq(steps.node >> self._file_bits),
            file.onward.eq(self._onward),
        ]
        return file

    def _of_file(self, given: Sequence[Value], node: Value, what: str) -> Value:
        """Return what the file of ``node`` gives."""
        every = Signal(sum(len(each) for each in given), name=f"{what}_{self._name}")
        self._m.d.comb += every.eq(Cat(*given))
        if self._file_bits == 0:
            return every
        return every.word_select(node[: self._file_bits], len(given[0]))

    def _look(self, closed: Value) -> None:
        """Look the ends of a queue up, and what else is known of it."""
        m, name, steps, number_bits = self._m, self._name, self._steps, self._number_bits
        looked = [
            Cat(file.first, file.end, self._last(f"{name}_{number}", file))
            for number, file in enumerate(self._files)
        ]
        found = self._of_file(looked, steps.of, "found")
        key_bits = self._element["key"].width
        read_closed, self.closed = (Signal(name=f"{n}closed_{name}") for n in ("read_", "is_"))
        read_last, last = (Signal(key_bits + 1, name=f"{n}_{name}") for n in ("read_last", "last"))
        self.known, self.last = last[0], last[1:]

        def with_rows(number: Value) -> Value:
            following = following_rows(number, ways=self._ways, capacity=self._capacity, windows=2)
            return Cat(number[:number_bits], *following)

        m.submodules[f"number_{name}"] = following = NextNumber(
            ways=self._ways, bits=number_bits + len(self._rows)
        )
        m.d.comb += [
            following.after.eq(Cat(with_rows(self._first + n) for n in range(self._ways + 1))),
            following.take.eq(self.take),
            following.again.eq(steps.looks_again),
            following.other.eq(with_rows(found[:number_bits])),
            self._onward.eq(following.onward),
        ]
        m.d.sync += [
            Cat(self._head, self._rows).eq(following.o),
            self._end.eq(found[number_bits : 2 * number_bits]),
            read_closed.eq(closed),
            read_last.eq(found[2 * number_bits :]),
            self.closed.eq(read_closed),
            last.eq(read_last),
        ]

    def _read(self) -> None:
        """Read a window of the queue that was looked up."""
        m, name, steps = self._m, self._name, self._steps
        ways, size = self._ways, self._element.size
        raw = self._of_file([file.o for file in self._files], steps.source, "raw")
        m.submodules[f"there_{name}"] = there = Thermometer(bits=self._number_bits, places=2 * ways)
        m.submodules[f"turner_{name}"] = turner = Turner(ways=ways, size=size, windows=2)
        m.submodules[f"next_{name}"] = following = NextWindow(ways=ways, width=size + 1)
        m.d.comb += [
            there.i.eq(self._end - self._head),
            turner.i.eq(raw),
            turner.first.eq(self._head),
            following.elements.eq(
                Cat(Cat(turner.o.word_select(i, size), there.o[i]) for i in range(2 * ways))
            ),
            following.take.eq(self.take),
            following.again.eq(steps.reads_again),
        ]
        self.window: Any = Signal(word_layout(self._element, ways), name=f"window_{name}")
        self.there = Signal(ways, name=f"there_{name}")
        for i in range(ways):
            each = following.o.word_select(i, size + 1)
            m.d.sync += [
                Value.cast(self.window[i]).eq(each[:size]),
                self.there[i].eq(each[size]),
            ]
        with m.If(~steps.reads):
            m.d.sync += self.there.eq(0)
        m.submodules[f"first_{name}"] = first = NextNumber(ways=ways, bits=self._number_bits)
        m.d.comb += [
            first.after.eq(Cat((self._head + n)[: self._number_bits] for n in range(ways + 1))),
            first.take.eq(self.take),
            first.again.eq(steps.reads_again),
            first.other.eq(self._head),
        ]
        m.d.sync += self._first.eq(first.o)

    def _last(self, name: str, file: FifoFile) -> Value:
        """Return the last key that came to the queue looked up, above whether there was one."""
        m, show = self._m, self._steps.of >> self._file_bits
        key, fifos = self._element["key"].width, len(file.some)
        known = Signal(fifos, name=f"known_{name}")
        puts, came = file.put & (file.put_count != 0), Signal(key, name=f"came_{name}")
        m.d.comb += came.eq(file.put_word[0].key)
        for i in range(1, self._ways):
            with m.If(file.put_count > i):
                m.d.comb += came.eq(file.put_word[i].key)
        last = Signal(key, name=f"last_{name}", reset_less=True)
        if fifos == 1:
            with m.If(puts):
                m.d.sync += last.eq(came)
        else:
            store: Any = memory.Memory(shape=key, depth=fifos, init=[])
            m.submodules[f"lasts_{name}"] = store
            write, read = store.write_port(), store.read_port(domain="comb")
            m.d.comb += [
                read.addr.eq(show),
                write.addr.eq(file.put_fifo),
                write.en.eq(puts),
                write.data.eq(came),
                last.eq(read.data),
            ]
        m.d.sync += known.eq(known | Mux(puts, bit_of(file.put_fifo, fifos), 0))
        with m.If(self._start):
            m.d.sync += known.eq(0)
        return Cat(known.bit_select(show, 1), last)
