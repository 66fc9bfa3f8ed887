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
from celosia.models.network import MAX_ACTIVATION_BITS
from celosia.rtl.eie.descriptors import ROW_BITS, CellLayout
from celosia.rtl.eie.memories import PackedRam, address_bits
from celosia.rtl.eie.rounding import FloorAndCarry, clamped, mask_below
from celosia.rtl.shared import Shared
from celosia.rtl.tree import carried

PHASES = 5
"""Cycles from one row of elements to the next."""

_SIGMOID, _TANH, _CELL_TANH = range(FUNCTIONS)

# What phase has which look-up begun: of what was read in the phase before, or of the new cell where
# that was the last cell.
_LOOK_UPS = {0: _SIGMOID, 1: _CELL_TANH, 2: _SIGMOID, 3: _SIGMOID, 4: _TANH}

TOTAL_BITS = 2 * CELL_BITS + CELL_SHIFTS
"""Bits of the sum of two products, of which one is shifted."""

ScaleLayout = data.StructLayout(
    {
        "cell_shift": range(CELL_SHIFTS),
        "shift": 5,
        "below": TOTAL_BITS,
        "low": signed(MAX_ACTIVATION_BITS + 1),
        "high": signed(MAX_ACTIVATION_BITS + 1),
    }
)
"""How far cells are shifted; of what is shifted in this cycle how far, and its mask as
:func:`~celosia.rtl.eie.rounding.mask_below` has it; of what is clamped in this cycle the range."""

CellTold = data.StructLayout(
    {
        "phase": range(PHASES),
        "scale": ScaleLayout,
        "last_pes": 9,
        "put": 1,
        "plain": 1,
        "last": 1,
    }
)
"""What all PEs are told while elements are at work.

``put``: the unit's result is put, that of a cell (``plain``) without its flag. Where what is put in
the next cycle is of the ``last`` row, PEs from ``last_pes`` on, which have no element, put 0."""


class CellUnit(Shared):
    """One PE's elements, one after the other, five cycles apart.

    Phases go round from 0 to 4. Of an element that begins in cycle t, a phase 0, its cell and the
    sums of its input, forget and cell gate are read in t to t+3, that of its output gate in t+9. A
    look-up takes three cycles from a value to its result, a sum of products two to be rounded and
    clamped. The new cell is ``result`` in t+11, where it is looked up itself, and the output in
    t+18: a phase 1, and a phase 3.

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
    scale : In(ScaleLayout)
        New cells are shifted in phase 4 and clamped in phase 0, outputs in 1 and 2.
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
                "scale": In(ScaleLayout),
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
        total = Signal(signed(TOTAL_BITS))
        with m.Switch(self.phase):
            with m.Case(0):
                m.d.sync += [take.eq(found), total.eq(product)]
            with m.Case(1):
                m.d.comb += factor.eq(keep)
                m.d.sync += keep.eq(self.value)
            with m.Case(2):
                m.d.comb += factor.eq(take)
                m.d.sync += total.eq(product << self.scale.cell_shift)
            with m.Case(3):
                m.d.sync += [total.eq(total + product), give.eq(found)]
            with m.Case(4):
                m.d.comb += factor.eq(give)
        m.d.sync += product.eq(factor * found)

        floor, up = Signal(signed(TOTAL_BITS)), Signal()
        m.submodules.shifter = shifter = FloorAndCarry(TOTAL_BITS)
        m.d.comb += [
            shifter.total.eq(total),
            shifter.shift.eq(self.scale.shift),
            shifter.mask.eq(self.scale.below),
        ]
        m.d.sync += [
            floor.eq(shifter.floor),
            up.eq(shifter.up),
            self.result.eq(clamped(m, floor, up, low=self.scale.low, high=self.scale.high)),
        ]
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
        given = Mux(self.phase == 1, self.result, self.value)
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
            # What is shifted out is rounded half up: its highest bit is added.
            found.eq(carried(before, rise[bits:], rise[bits - 1])),
        ]
        return found


class CellControl(Shared):
    """The order of work of all PEs' elements.

    ``busy`` from cycle t+1 on, rows of elements begin in t+1, t+6 ...; ``done`` is 1 in the cycle
    of the last result, 5 ``rows`` + 13 cycles after the first.

    Parameters
    ----------
    accelerator : EieAccelerator

    Members
    -------
    busy : In(1)
    i : In(CellLayout)
        What is to be done; taken while not ``busy``.
    read : Out(1)
        ``row`` is read.
    row : Out
    o : Out(CellTold)
    puts : Out(1)
    put_row : Out
        Whether ``o`` has something put in the next cycle, and where.
    begins, done : Out(1)
        A row begins; all is done.
    """

    def __init__(self, accelerator: EieAccelerator) -> None:
        self._depth = accelerator.memories.activations
        row = Out(address_bits(2 * self._depth))
        super().__init__(
            {
                "busy": In(1),
                "i": In(CellLayout),
                "read": Out(1),
                "row": row,
                "o": Out(CellTold),
                "puts": Out(1),
                "put_row": row,
                "begins": Out(1),
                "done": Out(1),
            },
            name="cell_control",
            parameters=(self._depth,),
        )

    def build(self) -> Module:
        m = Module()
        step: Any = Signal(CellLayout)
        phase = self.o.phase
        left, last = Signal(ROW_BITS), Signal()  # rows with the one that is read; it is the last
        # Whether what is read is a row, and what was before it; whether those before were the last.
        real, final = Signal(4), Signal(3)
        m.d.sync += last.eq(left == 1)
        with m.If(~self.busy):
            m.d.sync += [
                step.eq(self.i),
                phase.eq(0),
                left.eq(self.i.rows),
                real.eq(1),
                final.eq(0),
            ]
        with m.Elif(phase == PHASES - 1):
            m.d.sync += [
                phase.eq(0),
                left.eq(left - 1),
                real.eq(Cat(real[0] & ~last, real)),
                final.eq(Cat(last, final)),
            ]
        with m.Else():
            m.d.sync += phase.eq(phase + 1)
        self._reads(m, step, real, last)
        self._puts(m, step, real, final)
        self._scales(m, step)
        return m

    def _reads(self, m: Module, step: Any, real: Value, last: Value) -> None:
        """Add what is read: a cell, three gates' sums, and that of the output gate a row before."""
        phase, row = self.o.phase, self.row
        cells, gates = Signal.like(row), Signal.like(row)  # the next row's
        fewer, further = Signal.like(row), Signal.like(row)
        is_row = Signal()  # ``row`` is one of a row of elements
        m.d.sync += fewer.eq(step.rows - 1)
        with m.If(~self.busy):
            m.d.sync += is_row.eq(1)
        with m.Elif(phase == PHASES - 1):
            m.d.sync += is_row.eq(real[0] & ~last)
        with m.Elif(phase == PHASES - 2):
            m.d.sync += is_row.eq(real[1])
        m.d.comb += [
            self.read.eq(self.busy & is_row),
            self.begins.eq(self.busy & (phase == 0) & real[0]),
            # A gate's sums are ``rows`` behind those of the gate before.
            further.eq(Mux(phase == 3, fewer, step.rows)),
        ]
        with m.If(~self.busy):
            first = Mux(self.i.source, self._depth, 0)
            cell = first + self.i.cell
            m.d.sync += [row.eq(cell), cells.eq(cell), gates.eq(first + self.i.gates)]
        with m.Elif(phase == 0):
            m.d.sync += [row.eq(gates), cells.eq(cells + 1), gates.eq(gates + 1)]
        with m.Elif(phase == 4):
            m.d.sync += row.eq(cells)
        with m.Else():
            m.d.sync += row.eq(row + further)

    def _puts(self, m: Module, step: Any, real: Value, final: Value) -> None:
        """Add what is put: the cell of the row but one before, the output of that before."""
        phase, o = self.o.phase, self.o
        cells, outputs = Signal.like(self.row), Signal.like(self.row)
        puts_cell, puts_output = Signal(), Signal()
        m.d.comb += [
            puts_cell.eq((phase == 0) & real[2]),
            puts_output.eq((phase == 2) & real[3]),
            self.puts.eq(self.busy & (puts_cell | puts_output)),
            self.put_row.eq(Mux(puts_output, outputs, cells)),
            o.last.eq(Mux(puts_output, final[2], final[1])),
        ]
        m.d.sync += [
            o.put.eq(self.puts),
            o.plain.eq(puts_cell),
            o.last_pes.eq(step.last_pes),
            self.done.eq(self.busy & puts_output & final[2]),
        ]
        with m.If(~self.busy):
            m.d.sync += [
                cells.eq(self.i.cell + Mux(self.i.source, self._depth, 0)),
                outputs.eq(self.i.target + Mux(self.i.source, 0, self._depth)),
            ]
        with m.Else():
            m.d.sync += [cells.eq(cells + puts_cell), outputs.eq(outputs + puts_output)]

    def _scales(self, m: Module, step: Any) -> None:
        """Add how far is shifted, and what the range is, in the next cycle."""
        phase, scale, limit = self.o.phase, self.o.scale, 1 << CELL_BITS - 1
        shift = Signal.like(scale.shift)
        is_cell, was_cell = phase == 3, phase == 4
        m.d.comb += shift.eq(Mux(is_cell, step.cell_shift + CELL_FRACTION, step.shift))
        m.d.sync += [
            scale.cell_shift.eq(step.cell_shift),
            scale.shift.eq(shift),
            scale.below.eq(mask_below(shift)),
            scale.low.eq(Mux(was_cell, -limit, step.low)),
            scale.high.eq(Mux(was_cell, limit - 1, step.high)),
        ]
