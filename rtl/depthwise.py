"""Windows of a column's own channel, which slide over the words of a plane as they pass by."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from celosia.dataflow.array_shape import ArrayShape, Depthwise
from celosia.rtl.affine import WORD_BITS
from celosia.rtl.buffers import Ram
from celosia.rtl.descriptors import SLIDING
from celosia.rtl.pe import LANE_BITS
from celosia.rtl.shared import Shared

SLIDING_LOOPS = 2
"""Inner loops of a nest that windows slide along: words of a line, lines of a plane."""

SlidingLayout = data.StructLayout(SLIDING)
"""What a compute descriptor says of windows."""


def lines_layout(depthwise: Depthwise) -> data.StructLayout:
    """Return the layout of the control of lines and windows.

    ``read`` and ``column`` come in the cycle of a step's addresses, ``push``, ``first_lane`` and
    ``slides`` (what columns multiply is their own windows) in that of its word.
    """
    return data.StructLayout(
        {
            "read": 1,
            "column": range(depthwise.width),
            "push": 1,
            "slides": 1,
            "first_lane": SLIDING["first_lane"],
        }
    )


class SlidingControl(Shared):
    """Counts words and lines, and says which steps of a nest add to a sum, and to which.

    Parameters
    ----------
    depthwise : Depthwise
        The windows.

    Members
    -------
    load : In(1)
        A nest is accepted, with ``sliding``.
    sliding : In(SlidingLayout)
    step : In(1)
        There is a step in this cycle.
    ended : In(SLIDING_LOOPS)
        Which of the inner loops are in their last iteration.
    adds : Out(1)
        The step adds to a sum: all do where nothing slides.
    slides : Out(1)
        The nest's windows slide.
    offset : Out(16)
        Of the sum's address from that of the turn's first.
    lines : Out(lines_layout(depthwise))
    """

    def __init__(self, depthwise: Depthwise) -> None:
        self._depthwise = depthwise
        super().__init__(
            {
                "load": In(1),
                "sliding": In(SlidingLayout),
                "step": In(1),
                "ended": In(SLIDING_LOOPS),
                "adds": Out(1),
                "slides": Out(1),
                "offset": Out(WORD_BITS),
                "lines": Out(lines_layout(depthwise)),
            },
            name="sliding_control",
            parameters=(depthwise,),
        )

    def build(self) -> Module:
        m = Module()
        sliding: Any = Signal(SlidingLayout)
        # Words and lines to pass before the next that adds.
        words, lines = Signal(4), Signal(4)
        column = Signal(range(self._depthwise.width))
        line_ends, plane_ends = self.ended[0], self.ended.all()
        m.d.comb += [
            self.slides.eq(sliding.sliding),
            self.adds.eq(~self.slides | ((words == 0) & (lines == 0))),
            self.lines.read.eq(self.step & self.slides),
            self.lines.column.eq(column),
        ]
        m.d.sync += [
            self.lines.push.eq(self.lines.read),
            self.lines.slides.eq(self.slides),
            self.lines.first_lane.eq(sliding.first_lane),
        ]
        with m.If(self.lines.read):
            m.d.sync += [
                column.eq(Mux(line_ends, 0, column + 1)),
                words.eq(Mux(words == 0, sliding.column_stride, words - 1)),
                self.offset.eq(self.offset + self.adds),
            ]
            with m.If(line_ends):
                m.d.sync += [
                    words.eq(sliding.skip_columns),
                    lines.eq(Mux(lines == 0, sliding.row_stride, lines - 1)),
                ]
            with m.If(plane_ends):
                m.d.sync += [lines.eq(sliding.skip_rows), self.offset.eq(0)]
        with m.If(self.load):
            m.d.sync += [
                sliding.eq(self.sliding),
                words.eq(self.sliding.skip_columns),
                lines.eq(self.sliding.skip_rows),
                column.eq(0),
                self.offset.eq(0),
            ]
        return m


class Lines(Shared):
    """The lines of words before that of the word just read, for windows of several rows.

    A line is as long as the words of one line of the nest, at most ``width``; none is cleared: a
    nest adds nothing before its own words fill the windows.

    Parameters
    ----------
    array : ArrayShape
        With ``depthwise``.

    Members
    -------
    word : In(lanes * activation_bits)
        The activation word that is there in this cycle.
    control : In(lines_layout(depthwise))
    codes : Out(rows * activation_bits).array(channels)
        Of each column's channel (of the first ones, where there are more columns than lanes) the
        activations of this word and those above it, which are lowest, in the cycle of ``push``.
    """

    def __init__(self, array: ArrayShape) -> None:
        assert array.depthwise is not None
        self._array, self._windows = array, array.depthwise
        self._channels = min(array.column_count, array.lanes)
        super().__init__(
            {
                "word": In(array.lanes * array.activation_bits),
                "control": In(lines_layout(self._windows)),
                "codes": Out(self._windows.rows * array.activation_bits).array(self._channels),
            },
            name="lines",
            parameters=(
                array.lanes,
                array.activation_bits,
                array.first_lanes,
                self._channels,
                self._windows,
            ),
        )

    def build(self) -> Module:
        m = Module()
        bits, channels = self._array.activation_bits, self._channels
        word = self._turned(m)
        line_bits, above = channels * bits, self._windows.rows - 1
        lines: list[Value] = []
        if above:
            m.submodules.ram = ram = Ram(depth=self._windows.width, width=above * line_bits)
            column = Signal(self.control.column.shape())
            m.d.sync += column.eq(self.control.column)
            lines = [ram.read_data[n * line_bits : (n + 1) * line_bits] for n in range(above)]
            m.d.comb += [
                ram.read_enable.eq(self.control.read),
                ram.read_address.eq(self.control.column),
                ram.write_enable.eq(self.control.push),
                ram.write_address.eq(column),
                ram.write_data.eq(Cat(*lines[1:], word)),
            ]
        for channel, codes in enumerate(self.codes):
            m.d.comb += codes.eq(Cat(line.word_select(channel, bits) for line in [*lines, word]))
        return m

    def _turned(self, m: Module) -> Value:
        """Return the word with the first column's lane lowest."""
        array = self._array
        size = self._channels * array.activation_bits
        turned = [
            Cat(self.word, self.word)[first * array.activation_bits :][:size]
            for first in array.first_lanes
        ]
        if len(turned) == 1:
            return turned[0]
        word = Signal(size)
        with m.Switch(self.control.first_lane):
            for first, value in zip(array.first_lanes, turned, strict=True):
                with m.Case(first):
                    m.d.comb += word.eq(value)
        return word


class ColumnWindow(Shared):
    """The register of one column's operands: the window of its channel, or the word that all share.

    What the window held is lost to the word.

    Parameters
    ----------
    rows, columns : int
        Of the window.
    bits : int
        Bits of an activation.

    Members
    -------
    codes : In(rows * bits)
        The next activation of each row, the last row highest.
    is_signed : In(1)
        They are two's complement.
    push : In(1)
        The window moves by one.
    slides : In(1)
        ``activations`` are those of the window in the next cycle.
    shared : In(rows * columns * bits)
        What they are otherwise: the first activations of the word.
    activations : Out(rows * columns * LANE_BITS)
        Integers, sign-extended, one cycle later. Of a window row by row, the latest of each row
        highest.
    """

    def __init__(self, *, rows: int, columns: int, bits: int) -> None:
        self._rows, self._columns, self._bits = rows, columns, bits
        positions = rows * columns
        super().__init__(
            {
                "codes": In(rows * bits),
                "is_signed": In(1),
                "push": In(1),
                "slides": In(1),
                "shared": In(positions * bits),
                "activations": Out(positions * LANE_BITS),
            },
            name=f"column_window_{rows}x{columns}",
            parameters=(rows, columns, bits),
        )

    @classmethod
    def of(cls, array: ArrayShape) -> ColumnWindow:
        """Return the window of a column of ``array``, which has windows."""
        assert array.depthwise is not None
        windows = array.depthwise
        return cls(rows=windows.rows, columns=windows.columns, bits=array.activation_bits)

    def build(self) -> Module:
        m = Module()
        size = self._bits + 1
        shared = [self._signed(self.shared, place) for place in range(self._rows * self._columns)]
        for row in range(self._rows):
            held = Signal(self._columns * size, name=f"row_{row}", reset_less=True)
            first = row * self._columns
            with m.If(~self.slides):
                m.d.sync += held.eq(Cat(shared[first : first + self._columns]))
            with m.Elif(self.push):
                m.d.sync += held.eq(Cat(held[size:], self._signed(self.codes, row)))
            for column in range(self._columns):
                lane = held.word_select(column, size).as_signed()
                m.d.comb += self.activations.word_select(first + column, LANE_BITS).eq(lane)
        return m

    def _signed(self, codes: Value, place: int) -> Value:
        """Return the integer that a code stands for, a bit wider."""
        code = codes.word_select(place, self._bits)
        return Cat(code, code[-1] & self.is_signed)
