"""Central control: finds the next nonzero activations, broadcasts them, and runs the steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, enum, stream
from amaranth.lib.wiring import In, Out

from celosia.dataflow.eie.accelerator import EieAccelerator
from celosia.rtl.axi.burst import sum_of_three
from celosia.rtl.eie.cell import CellControl, CellTold
from celosia.rtl.eie.descriptors import CellLayout, Opcode, RunLayout, StoreLayout
from celosia.rtl.eie.issue import column_bits
from celosia.rtl.eie.lnzd import RADIX, RADIX_BITS, NonzeroBuffer, NonzeroNode
from celosia.rtl.eie.memories import address_bits
from celosia.rtl.eie.multiples import looked_up
from celosia.rtl.eie.pe import bitmap_bits, scan_layout
from celosia.rtl.eie.queue import item_layout
from celosia.rtl.eie.rounding import mask_below
from celosia.rtl.eie.sequencer import COUNT_BITS, step_layout
from celosia.rtl.shared import Shared
from celosia.rtl.tree import one_of

SETTLE_CYCLES = 2
"""From all PEs said to be idle to the last sum in its accumulator."""
FLUSH_CYCLES = 3
"""From the last accumulator drained to the cycle before its result is written."""
RESULT_CYCLES = FLUSH_CYCLES + 1
"""From an accumulator drained to its result written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Source:
    """Where nonzeros come from: a PE, or a buffer of several."""

    found: Value
    index: Value
    owner: Value
    take: Value
    value: Value


class Broadcaster(Shared):
    """One channel: takes the next nonzero activation of its PEs and broadcasts it.

    A nonzero that is found in cycle t is taken in t, read in t+1 and broadcast from t+2 on, until
    no PE's queue is full. One follows another in the next cycle. Of more than four PEs the lowest
    nonzeros wait in a tree of buffers, a cycle in each.

    Parameters
    ----------
    accelerator : EieAccelerator
    channel : int
        Which; its PEs are its share of all, in order.

    Members
    -------
    run : In(1)
        A tile is at work.
    base : In(column_bits(accelerator))
        Place of the pointer with which the window's first column begins.
    found : In(share)
        Which of its PEs have a nonzero.
    candidates : In(share * index bits)
    take : Out(share)
    values : In(share * activation bits)
        What each PE took last.
    held : Out(1)
        A buffer has a nonzero.
    full : In(1)
        A PE cannot take a broadcast.
    valid : Out(1)
        It has something to broadcast.
    fires : Out(1)
        It is broadcast in this cycle.
    item : Out(item_layout(...))
    empty : Out(1)
        Nothing was taken that was not broadcast.
    """

    def __init__(self, accelerator: EieAccelerator, channel: int) -> None:
        self._pes = accelerator.array.pes
        self._share = accelerator.array.pes // accelerator.array.channels
        self._levels = accelerator.array.buffer_levels
        self._mine = channel * self._share
        self._index_bits = address_bits(accelerator.memories.window)
        self._activation_bits = accelerator.widths.activation
        self._column_bits = column_bits(accelerator)
        super().__init__(
            {
                "run": In(1),
                "base": In(self._column_bits),
                "found": In(self._share),
                "candidates": In(self._share * self._index_bits),
                "take": Out(self._share),
                "values": In(self._share * self._activation_bits),
                "held": Out(1),
                "full": In(1),
                "valid": Out(1),
                "fires": Out(1),
                "item": Out(item_layout(self._column_bits, self._activation_bits)),
                "empty": Out(1),
            },
            name=f"broadcaster_{channel}",
            parameters=(accelerator, channel),
        )

    def build(self) -> Module:
        m = Module()
        sources = self._sources(m)
        taken, moves, takes = Signal(), Signal(), Signal()
        found, first, winner = self._first_of(m, sources, takes)
        # Of what was taken.
        base, index = Signal.like(self.base), Signal(self._index_bits)
        chosen, owner = Signal(len(sources)), Signal(range(self._pes))
        # Those that were not taken are masked, so that no wide choice is needed.
        value = one_of(chosen, [source.value for source in sources])
        owners = [Cat(source.owner, Const(n, RADIX_BITS)) for n, source in enumerate(sources)]
        m.d.comb += [
            self.fires.eq(self.valid & ~self.full),
            moves.eq(taken & (~self.valid | self.fires)),
            takes.eq(self.run & found & (~taken | moves)),
            *(source.take.eq(taking) for source, taking in zip(sources, winner, strict=True)),
            self.empty.eq(~taken & ~self.valid),
        ]
        with m.If(takes):
            m.d.sync += [
                chosen.eq(winner),
                base.eq(self.base),
                index.eq(first),
                owner.eq(one_of(winner, owners) + self._mine),
            ]
        with m.If(takes | moves):
            m.d.sync += taken.eq(takes)
        with m.If(moves):
            first = looked_up(index, self._pes, bits=len(base))  # of the index, in the window
            place = sum_of_three(m, "place", (base, first, owner), 1 << len(base))
            m.d.sync += [self.item.place.eq(place), self.item.value.eq(value)]
        with m.If(moves | self.fires):
            m.d.sync += self.valid.eq(moves)
        return m

    def _first_of(
        self, m: Module, sources: list[_Source], takes: Value
    ) -> tuple[Value, Value, Value]:
        """Return whether something is found, and what is taken: its index, from which source."""
        if len(sources) == 1:
            return sources[0].found, sources[0].index, takes
        m.submodules.node = node = NonzeroNode(index_bits=self._index_bits)
        m.d.comb += [
            node.valid.eq(Cat(source.found for source in sources)),
            node.indices.eq(Cat(source.index for source in sources)),
            node.enable.eq(takes),
        ]
        winner = node.winner[: len(sources)]
        return node.any, one_of(winner, [source.index for source in sources]), winner

    def _sources(self, m: Module) -> list[_Source]:
        """Add buffers; return what offers what all PEs have: up to four PEs, or one buffer."""
        bits, width = self._index_bits, self._activation_bits
        sources = [
            _Source(
                found=self.found[pe],
                index=self.candidates.word_select(pe, bits),
                owner=Const(0, 0),
                take=self.take[pe],
                value=self.values.word_select(pe, width),
            )
            for pe in range(self._share)
        ]
        held: list[Value] = []
        for _ in range(self._levels):
            owner_bits, above = len(sources[0].owner), []
            for number, start in enumerate(range(0, len(sources), RADIX)):
                group = sources[start : start + RADIX]
                buffer = NonzeroBuffer(index_bits=bits, owner_bits=owner_bits, value_bits=width)
                m.submodules[f"buffer_{owner_bits}_{number}"] = buffer
                if owner_bits:
                    m.d.comb += buffer.owners.eq(Cat(source.owner for source in group))
                m.d.comb += [
                    buffer.found.eq(Cat(source.found for source in group)),
                    buffer.indices.eq(Cat(source.index for source in group)),
                    buffer.values.eq(Cat(source.value for source in group)),
                    Cat(source.take for source in group).eq(buffer.take),
                ]
                held.append(buffer.o_found)
                above.append(
                    _Source(
                        found=buffer.o_found,
                        index=buffer.o_index,
                        owner=buffer.o_owner,
                        take=buffer.o_take,
                        value=buffer.o_value,
                    )
                )
            sources = above
        m.d.comb += self.held.eq(Cat(held).any())
        return sources


class State(enum.Enum, shape=3):
    """What the compute unit does."""

    IDLE = 0
    SCAN = 1
    SETTLE = 2
    WRITE = 3
    FLUSH = 4
    STORE = 5
    CELL = 6


class EieControl(Shared):
    """The compute unit: runs, stores, stamps and the end, one after the other.

    A run accepted in cycle t loads the flags of its first window in t+1, so the first nonzero is
    taken in t+2. A window of which all nonzeros are taken is followed by the next, which is loaded
    in the cycle after, with ``late_windows`` in the second after. When in cycle q nothing is left
    to take or on its way, and nothing was in a PE in the cycle before, a run that does not write is
    done in q. Another drains its accumulators from q+3 on, one row a cycle, and is done 3 cycles
    after the last, whose result is written in the next. The next step is accepted in that.

    :class:`CellControl` has the cycles of the elements of recurrent layers.

    In the ``accumulators`` cycles after ``start`` it clears them; no step is accepted before.

    Parameters
    ----------
    accelerator : EieAccelerator

    Members
    -------
    start : In(1)
    i : In(stream.Signature(step_layout(address_bits)))
        Steps.
    loads : In(32)
        Loads done.
    steps : Out(32)
        Steps done.
    address : Out(address_bits)
        Of the descriptor at work.
    tile : Out(RunLayout)
        The run at work.
    running : Out(1)
        A run is at work.
    search : Out(1)
        Its nonzeros are being found.
    base : Out(column_bits(accelerator))
        Place of the pointer with which the first column of the window that is searched begins.
    end : Out(column_bits(accelerator))
        Place of the tile's last pointer, with which no column begins.
    bitmap : Out(bitmap_bits(accelerator))
        Only with ``skip_empty``: by how much a column's bit lies behind its pointers.
    scan : Out(scan_layout(accelerator))
        To all PEs.
    found : In(1)
        Some nonzero was not taken; with ``late_windows`` of the cycle before.
    empty : In(1)
        Nothing was taken that was not broadcast.
    idle : In(1)
        No PE had anything in the cycle before.
    store_begin, store_stamp : Out(1)
    store_what : Out(StoreLayout)
    store_read, store_done : In(1)
    store_row : In
    cell : Out(CellTold)
        Only with cell units: to all PEs.
    cell_row : Out(1)
        A row of elements begins.
    finished : Out(1)
        The end is accepted.
    """

    def __init__(self, accelerator: EieAccelerator) -> None:
        self._accelerator = accelerator
        memories, bus = accelerator.memories, accelerator.bus
        cell: Any = {"cell": Out(CellTold)}
        skips = accelerator.array.skip_empty
        super().__init__(
            (cell if accelerator.cell is not None else {})
            | ({"bitmap": Out(bitmap_bits(accelerator))} if skips else {})
            | {
                "start": In(1),
                "i": In(stream.Signature(step_layout(bus.address_bits))),
                "loads": In(COUNT_BITS),
                "steps": Out(COUNT_BITS),
                "address": Out(bus.address_bits),
                "tile": Out(RunLayout),
                "running": Out(1),
                "search": Out(1),
                "base": Out(column_bits(accelerator)),
                "end": Out(column_bits(accelerator)),
                "scan": Out(scan_layout(accelerator)),
                "found": In(1),
                "empty": In(1),
                "idle": In(1),
                "store_begin": Out(1),
                "store_stamp": Out(1),
                "store_what": Out(StoreLayout),
                "store_read": In(1),
                "store_row": In(address_bits(2 * memories.activations)),
                "store_done": In(1),
                "cell_row": Out(1),
                "finished": Out(1),
            },
            name="eie_control",
            parameters=(accelerator,),
        )

    def build(self) -> Module:
        m = Module()
        memories = self._accelerator.memories
        state: Any = Signal(State)
        clearing, done, quiet, ended = Signal(), Signal(), Signal(), Signal()
        row = Signal(range(memories.accumulators + 1))
        final = Signal.like(row)  # the last that is drained
        last = Signal()
        wait = Signal(range(max(SETTLE_CYCLES, FLUSH_CYCLES)))
        m.d.comb += [
            self.scan.fresh.eq(state == State.IDLE),
            self.scan.drain_row.eq(row),
            self.running.eq((state != State.IDLE) & (state != State.STORE) & (state != State.CELL)),
            quiet.eq(self._windows(m, state) & self.empty & self.idle),
            ended.eq(wait == 0),
            last.eq(row == final),
        ]
        m.d.sync += self.scan.below.eq(mask_below(self.tile.shift))
        drain = self.scan.drain  # clearing, or the state is WRITE
        with m.If(self.start):
            m.d.sync += [
                clearing.eq(1),
                drain.eq(1),
                row.eq(0),
                final.eq(memories.accumulators - 1),
            ]
        with m.Elif(~clearing):
            m.d.sync += final.eq(self.tile.rows - 1)
        with m.If(clearing):
            m.d.sync += row.eq(row + 1)
            with m.If(last):
                m.d.sync += [clearing.eq(0), drain.eq(0), row.eq(0)]
        self._accept(m, state, clearing)
        self._puts(m, state, drain & ~clearing)
        if self._accelerator.cell is not None:
            self._elements(m, state, done)
        with m.Switch(state):
            with m.Case(State.SCAN):
                with m.If(quiet):
                    m.d.comb += done.eq(~self.tile.write)
                    m.d.sync += [
                        state.eq(State.SETTLE),
                        self.search.eq(0),
                        wait.eq(SETTLE_CYCLES - 1),
                        row.eq(0),
                    ]
            with m.Case(State.SETTLE):
                m.d.sync += wait.eq(wait - 1)
                with m.If(ended):
                    m.d.sync += [state.eq(State.WRITE), drain.eq(1)]
            with m.Case(State.WRITE):
                m.d.sync += row.eq(row + 1)
                with m.If(last):
                    m.d.sync += [state.eq(State.FLUSH), drain.eq(0), wait.eq(FLUSH_CYCLES - 1)]
            with m.Case(State.FLUSH):
                m.d.sync += wait.eq(wait - 1)
                m.d.comb += done.eq(ended)
            with m.Case(State.STORE):
                m.d.comb += done.eq(self.store_done)
        with m.If(done):
            m.d.sync += [state.eq(State.IDLE), self.steps.eq(self.steps + 1)]
        return m

    def _windows(self, m: Module, state: Any) -> Value:
        """Add the choice of the window that is searched; return whether the last is taken."""
        accelerator = self._accelerator
        number = Signal.like(self.scan.window)  # of the window that is loaded next
        following = Signal.like(self.base)  # its base
        more, over, loaded = Signal(), Signal(), Signal(2)
        if accelerator.late_windows:
            m.d.sync += loaded.eq(Cat(self.scan.load, loaded))
        m.d.comb += [
            more.eq(following < self.end),
            over.eq(self.search & ~self.found & ~loaded.any()),
            self.scan.load.eq(over & more),
            self.scan.window.eq(number),
            self.scan.read.eq(self.store_read),
            self.scan.row.eq(self.store_row),
        ]
        with m.If(self.scan.load):
            m.d.sync += [
                number.eq(number + 1),
                self.base.eq(following),
                following.eq(following + accelerator.window_columns),
            ]
        with m.If(state == State.IDLE):
            run: Any = data.View(RunLayout, self.i.p.descriptor[: RunLayout.size])
            windows = accelerator.memories.activations // accelerator.memories.window
            m.d.sync += [
                number.eq(run.window + Mux(run.source, windows, 0)),
                following.eq(run.pointers),
                self.end.eq(run.pointers + run.columns),
            ]
        if accelerator.array.skip_empty:
            m.d.sync += self.bitmap.eq(self.tile.occupancy - self.tile.pointers)
        return over & ~more

    def _puts(self, m: Module, state: Any, drains: Value) -> None:
        """Add where the results of what is drained are put, ``RESULT_CYCLES`` later."""
        on_its_way, row = Signal(RESULT_CYCLES - 1), Signal.like(self.scan.put_row)
        follows = on_its_way[-1]
        m.d.sync += [
            on_its_way.eq(Cat(drains, on_its_way)),
            self.scan.put.eq(follows),
            self.scan.put_row.eq(row),
        ]
        with m.If(state == State.IDLE):
            run: Any = data.View(RunLayout, self.i.p.descriptor[: RunLayout.size])
            other = Mux(run.source, 0, self._accelerator.memories.activations)
            m.d.sync += row.eq(run.target + other)
        with m.Elif(follows):
            m.d.sync += row.eq(row + 1)

    def _elements(self, m: Module, state: Any, done: Signal) -> None:
        """Add the elements of recurrent layers."""
        m.submodules.cells = cells = CellControl(self._accelerator)
        m.d.comb += [
            cells.busy.eq(state == State.CELL),
            cells.i.eq(self.i.p.descriptor[: CellLayout.size]),
            self.cell.eq(cells.o),
            self.cell_row.eq(cells.begins),
        ]
        with m.If(state == State.CELL):
            m.d.comb += [
                done.eq(cells.done),
                self.scan.read.eq(cells.read),
                self.scan.row.eq(cells.row),
            ]
        with m.If(cells.puts):
            m.d.sync += [self.scan.put.eq(1), self.scan.put_row.eq(cells.put_row)]

    def _accept(self, m: Module, state: Any, clearing: Signal) -> None:
        """Add the acceptance of steps."""
        descriptor = self.i.p.descriptor
        run: Any = data.View(RunLayout, descriptor[: RunLayout.size])
        is_run, is_end, is_stamp, due = (
            Signal(name=name) for name in ("is_run", "is_end", "is_stamp", "due")
        )
        accept, is_cell = Signal(), Signal()
        has_cells = self._accelerator.cell is not None
        opcode = descriptor[:4]
        m.d.comb += [
            is_run.eq(opcode == Opcode.RUN.value),
            is_end.eq(opcode == Opcode.END.value),
            is_stamp.eq(opcode == Opcode.STAMP.value),
            is_cell.eq((opcode == Opcode.CELL.value) & int(has_cells)),
            due.eq(~is_run | (run.after <= self.loads)),
            self.i.ready.eq((state == State.IDLE) & ~clearing & ~self.start & due),
            accept.eq(self.i.valid & self.i.ready),
            self.finished.eq(accept & is_end),
            self.store_begin.eq(accept & ~is_run & ~is_end & ~is_cell),
            self.store_stamp.eq(is_stamp),
            self.store_what.eq(descriptor[: StoreLayout.size]),
        ]
        with m.If(accept):
            m.d.sync += self.address.eq(self.i.p.address)
            with m.If(is_run):
                # ``search`` is told to all, so it has a register beside the state.
                m.d.sync += [self.tile.eq(run), state.eq(State.SCAN), self.search.eq(1)]
            if has_cells:
                with m.Elif(is_cell):
                    m.d.sync += state.eq(State.CELL)
            with m.Elif(~is_end):
                m.d.sync += state.eq(State.STORE)
