"""The elements of a recurrent layer: functions from tables, products, and their order of work."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from celosia.dataflow.eie.accelerator import (
    CELL_BITS,
    CELL_FRACTION,
    CELL_SHIFTS,
    FUNCTIONS,
    EieAccelerator,
)
from celosia.rtl.eie.descriptors import FILE_BITS, ROW_BITS, CellLayout
from celosia.rtl.eie.memories import PackedRam, address_bits
from celosia.rtl.eie.rounding import rounded
from celosia.rtl.shared import Shared

PHASES = 5
"""Cycles from one row of elements to the next."""

_SIGMOID, _TANH, _CELL_TANH = range(FUNCTIONS)

# What phase has which look-up begun: a value that was read in the phase before, or the new cell.
_LOOK_UPS = {0: _SIGMOID, 1: _SIGMOID, 2: _TANH, 3: _SIGMOID, 4: _CELL_TANH}


def cell_layout(accelerator: EieAccelerator) -> data.StructLayout:
    """Return the layout of what all PEs are told while elements are at work.

    ``put``: the unit's result goes to ``row`` of ``file``, with its flag (``flagged``) or without;
    in the last row (``last``) PEs without an element put 0.
    """
    return data.StructLayout(
        {
            "phase": range(PHASES),
            "put": 1,
            "file": 1,
            "row": address_bits(accelerator.memories.activations),
            "flagged": 1,
            "last": 1,
        }
    )


class CellUnit(Shared):
    """One PE's elements, one after the other, five cycles apart.

    Phases go round from 0 to 4. Of an element that begins in cycle t, a phase 0, the sums of its
    input gate, cell gate and forget gate, its cell and the sum of its output gate are read in t to
    t+4. A look-up takes three cycles from a value to its result. The new cell is ``result`` in t+9,
    where it is looked up itself, and the output in t+15: a phase 4, and a phase 0.

    Parameters
    ----------
    segments : int
        Of each function's table.
    lanes : int
        Segments in a beat.

    Members
    -------
    write_enable : In(1)
    write_address : In
        In beats.
    write_data : In(lanes * 32)
        Of each segment the first knot, and the step to the next.
    phase : In(range(5))
    step : In(CellLayout)
        What is at work.
    value : In(signed(16))
        What was read in the cycle before.
    result : Out(signed(16))
    """

    def __init__(self, *, segments: int, lanes: int) -> None:
        self._segments, self._lanes = segments, lanes
        self._depth = FUNCTIONS * segments
        super().__init__(
            {
                "write_enable": In(1),
                "write_address": In(address_bits(self._depth // lanes)),
                "write_data": In(lanes * 2 * CELL_BITS),
                "phase": In(range(PHASES)),
                "step": In(CellLayout),
                "value": In(signed(CELL_BITS)),
                "result": Out(signed(CELL_BITS)),
            },
            name=f"cell_unit_s{segments}_l{lanes}",
            parameters=(segments, lanes),
        )

    def build(self) -> Module:
        m = Module()
        found = self._look_up(m)
        take, keep, give = (Signal(signed(CELL_BITS), name=n) for n in ("take", "keep", "give"))
        factor = Signal(signed(CELL_BITS))
        product = Signal(signed(2 * CELL_BITS))
        total = Signal(signed(2 * CELL_BITS + CELL_SHIFTS))
        with m.Switch(self.phase):
            with m.Case(0):
                m.d.comb += factor.eq(take)
            with m.Case(1):
                m.d.comb += factor.eq(keep)
                m.d.sync += total.eq(product)
            with m.Case(2):
                m.d.comb += factor.eq(give)
                m.d.sync += total.eq(total + (product << self.step.cell_shift))
            with m.Case(3):
                m.d.sync += give.eq(found)
            with m.Case(4):
                m.d.sync += [take.eq(found), keep.eq(self.value)]
        with m.If(self.phase < 3):
            m.d.sync += product.eq(factor * found)

        is_cell, limit = self.phase == 3, 1 << CELL_BITS - 1
        chosen = Signal.like(total)
        shift = Signal(5)
        m.d.comb += [
            chosen.eq(Mux(is_cell, total, product)),
            shift.eq(Mux(is_cell, self.step.cell_shift + CELL_FRACTION, self.step.shift)),
        ]
        low = Mux(is_cell, -limit, self.step.low)
        high = Mux(is_cell, limit - 1, self.step.high)
        with m.If((self.phase == 3) | (self.phase == 4)):
            m.d.sync += self.result.eq(rounded(m, chosen, shift=shift, low=low, high=high))
        return m

    def _look_up(self, m: Module) -> Value:
        """Add the tables; return what three cycles make of a value."""
        bits = CELL_BITS - address_bits(self._segments)  # within a segment
        m.submodules.tables = tables = PackedRam(
            depth=self._depth, width=2 * CELL_BITS, lanes=self._lanes
        )
        code = Signal(CELL_BITS)  # from 0 on
        function = Signal(range(FUNCTIONS))
        with m.Switch(self.phase):
            for phase, which in _LOOK_UPS.items():
                with m.Case(phase):
                    m.d.comb += function.eq(which)
        given = Mux(self.phase == PHASES - 1, self.result, self.value)
        rest = Signal(bits)
        knot, before = Signal(signed(CELL_BITS)), Signal(signed(CELL_BITS))
        found = Signal(signed(CELL_BITS))
        rise = Signal(signed(CELL_BITS + bits + 1))
        m.d.comb += [
            code.eq(given ^ (1 << CELL_BITS - 1)),
            tables.write_enable.eq(self.write_enable),
            tables.write_address.eq(self.write_address),
            tables.write_data.eq(self.write_data),
            tables.read_enable.eq(1),
            tables.read_address.eq(Cat(code[bits:], function)),
            knot.eq(tables.read_data[:CELL_BITS]),
        ]
        steps = tables.read_data[CELL_BITS:].as_signed()
        m.d.sync += [
            rest.eq(code[:bits]),
            rise.eq(steps * Cat(rest, Const(0, 1)).as_signed()),
            before.eq(knot),
            found.eq(before + ((rise + (1 << bits - 1)) >> bits)),
        ]
        return found


class CellControl(Shared):
    """The order of work of all PEs' elements.

    ``busy`` from cycle t+1 on, rows of elements begin in t+1, t+6 ...; ``done`` is 1 in the cycle
    of the last result, 5 ``rows`` + 10 cycles after the first.

    Parameters
    ----------
    accelerator : EieAccelerator

    Members
    -------
    busy : In(1)
    step : In(CellLayout)
    read : Out(1)
        ``row`` of file ``step.source`` is read.
    row : Out
    o : Out(cell_layout(accelerator))
    begins, done : Out(1)
        A row begins; all is done.
    """

    def __init__(self, accelerator: EieAccelerator) -> None:
        self._accelerator = accelerator
        super().__init__(
            {
                "busy": In(1),
                "step": In(CellLayout),
                "read": Out(1),
                "row": Out(address_bits(accelerator.memories.activations)),
                "o": Out(cell_layout(accelerator)),
                "begins": Out(1),
                "done": Out(1),
            },
            name="cell_control",
            parameters=(accelerator,),
        )

    def build(self) -> Module:
        m = Module()
        step, o = self.step, self.o
        phase = Signal(range(PHASES))
        number = Signal(ROW_BITS + 1)  # of the row that is read
        third = Signal(ROW_BITS + 1)  # of that whose outputs are put
        # The rows' sums are ``rows`` apart: those of i, g, f, the cell, and those of o.
        offsets = [step.gates, step.gates + (step.rows << 1), step.gates + step.rows, step.cell]
        offsets.append(step.gates + step.rows + (step.rows << 1))
        first = Signal(FILE_BITS + 2)
        with m.Switch(phase):
            for which, offset in enumerate(offsets):
                with m.Case(which):
                    m.d.comb += first.eq(offset)
        puts_cell, puts_output = Signal(), Signal()
        m.d.comb += [
            third.eq(number - 3),
            self.read.eq(self.busy & (number < step.rows)),
            self.row.eq(first + number),
            self.begins.eq(self.read & (phase == 0)),
            puts_cell.eq((phase == PHASES - 1) & (number != 0) & (number <= step.rows)),
            puts_output.eq((phase == 0) & (number >= 3)),
            o.phase.eq(phase),
            o.put.eq(self.busy & (puts_cell | puts_output)),
            o.flagged.eq(puts_output),
            o.file.eq(step.source ^ puts_output),
            o.row.eq(Mux(puts_output, step.target + third, step.cell + number - 1)),
            o.last.eq(Mux(puts_output, third, number - 1) == step.rows - 1),
            self.done.eq(self.busy & puts_output & (third == step.rows - 1)),
        ]
        with m.If(self.busy & ~self.done):
            m.d.sync += phase.eq(Mux(phase == PHASES - 1, 0, phase + 1))
            with m.If(phase == PHASES - 1):
                m.d.sync += number.eq(number + 1)
        with m.Else():
            m.d.sync += [phase.eq(0), number.eq(0)]
        return m


def element(unit: Any, told: Any, index: Value, last_pes: Value) -> Value:
    """Return what a PE puts: its unit's result, or 0 where it has no element."""
    return Mux(told.last & (index >= last_pes), 0, unit.result)
