"""A processing element: queue, pointers, entries, arithmetic, activations."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out

from celosia.dataflow.eie.accelerator import OCCUPANCY_BITS, EieAccelerator
from celosia.dataflow.eie.descriptors import Target
from celosia.rtl.eie.activations import ActivationFiles
from celosia.rtl.eie.arithmetic import Arithmetic, Codebook
from celosia.rtl.eie.cell import CellTold, CellUnit
from celosia.rtl.eie.descriptors import PLACE_BITS, RunLayout
from celosia.rtl.eie.issue import Issue, column_bits
from celosia.rtl.eie.memories import PackedRam, PointerMemory, address_bits
from celosia.rtl.eie.queue import item_layout
from celosia.rtl.eie.rounding import FloorAndCarry, clamped
from celosia.rtl.shared import Shared

GROUP_BITS = 8
TABLE_SHIFT = 8
"""Of a load's place: a table of a codebook has room for 256 values."""


def beat_layout() -> data.StructLayout:
    """Return the layout of whose a beat is that is written in the next cycle.

    ``group`` is its number in a word of activations.
    """
    return data.StructLayout({"enable": 1, "pe": 9, "group": GROUP_BITS})


def write_layout(data_bits: int) -> data.StructLayout:
    """Return the layout of a beat that is written.

    ``place`` is in beats; of activations in words, and those of file 1 lie behind those of file 0.
    """
    return data.StructLayout({"target": 3, "place": PLACE_BITS, "data": data_bits})


def bitmap_bits(accelerator: EieAccelerator) -> int:
    """Return the bits of a column's place in the bitmap of those that have entries."""
    return address_bits(accelerator.occupancy_columns)


def scan_layout(accelerator: EieAccelerator) -> data.StructLayout:
    """Return the layout of what all PEs are told about their activations and accumulators.

    Windows and rows of activations are those of both files, one behind the other.
    """
    memories = accelerator.memories
    rows = address_bits(2 * memories.activations)
    return data.StructLayout(
        {
            "fresh": 1,
            "load": 1,
            "window": address_bits(2 * memories.activations // memories.window),
            "read": 1,
            "row": rows,
            "drain": 1,
            "drain_row": address_bits(memories.accumulators),
            "below": accelerator.widths.accumulator,
            "put": 1,
            "put_row": rows,
        }
    )


class Pe(Shared):
    """One processing element; :class:`Issue` and :class:`Arithmetic` have its cycles.

    An activation on a broadcast in cycle t is queued in t, with ``skip_empty`` in t+2 and only
    where its column has entries here. A row drained in cycle t is read in t, meets its bias in t+1,
    is shifted in t+2, rounded and clamped in t+3 and written in t+4. :class:`CellUnit` has the
    elements of recurrent layers, where the engine has such units.

    Parameters
    ----------
    accelerator : EieAccelerator

    Members
    -------
    index : In(8)
        Which one it is.
    tile : In(RunLayout)
        What it works on.
    mine, own : In(1)
        The next beat is of this PE, if not of activations; it has this PE's, if it is of those.
    write : In(write_layout(data_bits))
        A beat for one of the memories.
    word : In(activation lane bits)
        Its activation of this PE.
    scan : In(scan_layout(accelerator))
        No tile is at work; load flags of a window; read a row of activations; drain an accumulator;
        which bits of a sum are ``below`` half a result's lowest; put a result, or an element.
    cell : In(CellTold)
        Only with a cell unit: what the elements do.
    bitmap : In(bitmap_bits(accelerator))
        Only with ``skip_empty``: by how much a column's bit lies behind its pointers.
    take : In(1)
        Its candidate is taken.
    found, candidate, activation : Out
        As in :class:`ActivationFiles`.
    broadcast : In(channels)
        An activation comes on a channel; all PEs have a place for it.
    item_<c> : In(item_layout(...))
    full : Out(channels)
        Nothing may be broadcast on that channel in the next cycle.
    idle : Out(1)
        No activation is queued, at work or looked at by a filter, but entries may be in the
        arithmetic unit.
    corrupt_pointer : Out(1)
    corrupt_index : Out(1)
        Of the cycle before.
    pointer_reads, row_reads, entries : Out(1)
        What the counters count, of the cycle before.
    """

    def __init__(self, accelerator: EieAccelerator) -> None:
        self._accelerator = accelerator
        array, memories = accelerator.array, accelerator.memories
        item = item_layout(column_bits(accelerator), accelerator.widths.activation)
        items: Any = {f"item_{c}": In(item) for c in range(array.channels)}
        cell: Any = {"cell": In(CellTold)}
        super().__init__(
            items
            | (cell if accelerator.cell is not None else {})
            | ({"bitmap": In(bitmap_bits(accelerator))} if array.skip_empty else {})
            | {
                "index": In(8),
                "tile": In(RunLayout),
                "mine": In(1),
                "own": In(1),
                "write": In(write_layout(accelerator.bus.data_bits)),
                "word": In(accelerator.activation_lane_bits),
                "scan": In(scan_layout(accelerator)),
                "take": In(1),
                "found": Out(1),
                "candidate": Out(address_bits(memories.window)),
                "activation": Out(signed(accelerator.widths.activation)),
                "broadcast": In(array.channels),
                "full": Out(array.channels),
                "idle": Out(1),
                "corrupt_pointer": Out(1),
                "corrupt_index": Out(1),
                "pointer_reads": Out(1),
                "row_reads": Out(1),
                "entries": Out(1),
            },
            name="pe",
            parameters=(accelerator,),
        )

    def build(self) -> Module:
        m = Module()
        written = {target: Signal(name=f"writes_{target.name.lower()}") for target in Target}
        mine, own = Signal(), Signal()
        m.d.sync += [mine.eq(self.mine), own.eq(self.own)]
        for target, enable in written.items():
            here = own if target is Target.ACTIVATIONS else mine
            m.d.comb += enable.eq(here & (self.write.target == target))
        self._queues(m, written)
        self._entries(m, written)
        self._activations(m, written)
        return m

    def _queues(self, m: Module, written: dict[Target, Signal]) -> None:
        """Connect broadcasts, queues and pointers."""
        accelerator, memories = self._accelerator, self._accelerator.memories
        m.submodules.issue = self._issue = issue = Issue(accelerator)
        m.submodules.pointers = pointers = PointerMemory(
            depth=memories.pointers,
            width=memories.pointer_bits,
            lanes=accelerator.pointer_lanes,
            slot=accelerator.pointer_slot,
        )
        pending: Value = Const(0, 1)
        for channel in range(accelerator.array.channels):
            item = getattr(self, f"item_{channel}")
            pushed = getattr(issue, f"pushed_{channel}")
            if accelerator.array.skip_empty:
                pending |= self._filter(m, channel, written)
            else:
                m.d.comb += [issue.push[channel].eq(self.broadcast[channel]), pushed.eq(item)]
        m.d.sync += [
            self.pointer_reads.eq(issue.look_up),
            self.entries.eq(issue.issue),
        ]
        m.d.comb += [
            self.full.eq(issue.full),
            self.idle.eq(issue.idle & ~pending),
            pointers.write_enable.eq(written[Target.POINTERS]),
            pointers.write_address.eq(self.write.place),
            pointers.write_data.eq(self.write.data),
            pointers.read_enable.eq(issue.look_up),
            pointers.place.eq(issue.place),
            issue.start.eq(pointers.first),
            issue.stop.eq(pointers.second),
            issue.size.eq(self.tile.size),
            issue.fresh.eq(self.scan.fresh),
            self.corrupt_pointer.eq(issue.corrupt),
        ]

    def _filter(
        self,
        m: Module,
        channel: int,
        written: dict[Target, Signal],
    ) -> Value:
        """Add the bitmap that says whether a broadcast is queued; return whether one waits for it.

        What was broadcast two cycles before is queued, or not.
        """
        accelerator = self._accelerator
        lanes = accelerator.bus.data_bits // OCCUPANCY_BITS
        bitmap = PackedRam(
            depth=accelerator.occupancy_columns // OCCUPANCY_BITS,
            width=OCCUPANCY_BITS,
            lanes=lanes,
            pieces=OCCUPANCY_BITS,
        )
        m.submodules[f"occupancy_{channel}"] = bitmap
        item, pushed = getattr(self, f"item_{channel}"), getattr(self._issue, f"pushed_{channel}")
        column = Signal.like(self.bitmap, name=f"column_{channel}")
        bit = Signal(range(OCCUPANCY_BITS), name=f"bit_{channel}")
        pending, kept = Signal(name=f"pending_{channel}"), Signal(name=f"kept_{channel}")
        held: Any = Signal.like(item, name=f"held_{channel}")
        low = len(bit)
        m.d.comb += [
            column.eq(self.bitmap + item.place),
            bitmap.write_enable.eq(written[Target.OCCUPANCY]),
            bitmap.write_address.eq(self.write.place),
            bitmap.write_data.eq(self.write.data),
            bitmap.read_enable.eq(self.broadcast[channel]),
            bitmap.read_address.eq(column[low:]),
            bitmap.piece.eq(bit),
            self._issue.push[channel].eq(kept),
        ]
        m.d.sync += [
            pending.eq(self.broadcast[channel]),
            held.eq(item),
            bit.eq(column[:low]),
            kept.eq(pending & bitmap.read_data),
            pushed.eq(held),
        ]
        return pending | kept

    def _entries(self, m: Module, written: dict[Target, Signal]) -> None:
        """Connect the sparse matrix, the codebook and the arithmetic unit."""
        accelerator, memories = self._accelerator, self._accelerator.memories
        widths, issue = accelerator.widths, self._issue
        row_bits = memories.row_entries * widths.entry
        m.submodules.matrix = matrix = PackedRam(
            depth=memories.entries // memories.row_entries,
            width=row_bits,
            lanes=accelerator.row_lanes,
            pieces=memories.row_entries,
        )
        slot, inner = accelerator.row_slot, (memories.row_entries - 1).bit_length()
        rows = [self.write.data[at : at + row_bits] for at in range(0, len(self.write.data), slot)]
        place = Signal(PLACE_BITS)
        m.d.comb += [
            matrix.write_enable.eq(written[Target.ENTRIES]),
            matrix.write_address.eq(self.write.place),
            matrix.write_data.eq(Cat(rows)),
            place.eq(self.tile.entries + issue.entry),
            matrix.read_enable.eq(issue.issue & (issue.first | (place[:inner] == 0))),
            matrix.read_address.eq(place[inner:]),
        ]
        m.submodules.arithmetic = arithmetic = Arithmetic(accelerator)
        which, lacks = Signal(max(1, inner)), Signal()
        value = Signal(signed(widths.activation))
        entry = Signal(widths.entry)
        m.d.sync += [
            arithmetic.valid.eq(issue.issue),
            arithmetic.first.eq(issue.first),
            # PEs from ``last_pes`` on lack the last row.
            lacks.eq(self.index >= self.tile.last_pes),
            arithmetic.rows.eq(self.tile.rows - lacks),
            self.corrupt_index.eq(arithmetic.beyond),
            self.row_reads.eq(matrix.read_enable),
        ]
        with m.If(issue.issue):
            m.d.sync += [which.eq(place[:inner] if inner else 0), value.eq(issue.value)]
        if inner:
            m.d.comb += matrix.piece.eq(which)
        m.d.comb += [
            entry.eq(matrix.read_data),
            arithmetic.gap.eq(entry[widths.weight :]),
            arithmetic.activation.eq(value),
            arithmetic.drain.eq(self.scan.drain),
            arithmetic.drain_row.eq(self.scan.drain_row),
        ]
        weight = entry[: widths.weight]
        if widths.codebook:
            m.submodules.codebook = codebook = Codebook(
                tables=memories.codebooks, code_bits=widths.weight, value_bits=widths.value
            )
            m.d.comb += [
                codebook.write_enable.eq(written[Target.CODEBOOK]),
                codebook.write_table.eq(self.write.place >> TABLE_SHIFT),
                codebook.write_code.eq(self.write.place),
                codebook.write_value.eq(self.write.data),
                codebook.table.eq(self.tile.codebook),
                codebook.code.eq(weight),
                arithmetic.factor.eq(codebook.value),
            ]
        else:
            factor = Signal(signed(widths.factor))
            m.d.sync += factor.eq(weight.as_signed())
            m.d.comb += arithmetic.factor.eq(factor)
        self._arithmetic = arithmetic

    def _activations(self, m: Module, written: dict[Target, Signal]) -> None:
        """Connect the activation files, and what writes results into them."""
        accelerator, scan = self._accelerator, self.scan
        m.submodules.files = self._files = files = ActivationFiles(accelerator)
        result = self._results(m, written)
        if accelerator.cell is not None:
            element = self._cell(m, written, accelerator.cell.segments)
            result = Mux(self.cell.put, element, result)
            m.d.comb += files.write_plain.eq(self.cell.plain)
        m.d.comb += [
            files.write.eq(written[Target.ACTIVATIONS] | scan.put),
            files.write_row.eq(Mux(scan.put, scan.put_row, self.write.place)),
            files.write_value.eq(Mux(scan.put, result, self.word)),
            files.load.eq(scan.load),
            files.window.eq(scan.window),
            files.read.eq(scan.read),
            files.row.eq(scan.row),
            files.take.eq(self.take),
            self.found.eq(files.found),
            self.candidate.eq(files.index),
            self.activation.eq(files.value),
        ]

    def _cell(self, m: Module, written: dict[Target, Signal], segments: int) -> Value:
        """Add what computes the elements of recurrent layers; return one."""
        told, lacks = self.cell, Signal()  # an element in what is put
        unit = CellUnit(segments=segments, lanes=self._accelerator.function_lanes)
        m.submodules.cell_unit = unit
        m.d.comb += [
            unit.write_enable.eq(written[Target.TABLES]),
            unit.write_address.eq(self.write.place),
            unit.write_data.eq(self.write.data),
            unit.phase.eq(told.phase),
            unit.scale.eq(told.scale),
            unit.value.eq(self._files.value),
        ]
        m.d.sync += lacks.eq(told.last & (self.index >= told.last_pes))
        return Mux(lacks, 0, unit.result)

    def _results(self, m: Module, written: dict[Target, Signal]) -> Value:
        """Add what makes results of accumulators; return one."""
        accelerator, tile, scan = self._accelerator, self.tile, self.scan
        memories, widths = accelerator.memories, accelerator.widths
        m.submodules.biases = biases = PackedRam(
            depth=memories.biases, width=widths.accumulator, lanes=accelerator.bias_lanes
        )
        slot = accelerator.bias_slot
        parts = range(0, len(self.write.data), slot)
        drained, total, floor = (
            Signal(signed(widths.accumulator), name=name) for name in ("drained", "total", "floor")
        )
        up, result = Signal(), Signal(signed(widths.activation))
        m.submodules.shifter = shifter = FloorAndCarry(widths.accumulator)
        m.d.comb += [
            shifter.total.eq(total),
            shifter.shift.eq(tile.shift),
            shifter.mask.eq(scan.below),
            biases.write_enable.eq(written[Target.BIASES]),
            biases.write_address.eq(self.write.place),
            biases.write_data.eq(
                Cat(self.write.data[at : at + widths.accumulator] for at in parts)
            ),
            biases.read_enable.eq(scan.drain),
            biases.read_address.eq(tile.biases + scan.drain_row),
        ]
        m.d.sync += [
            drained.eq(self._arithmetic.drained),
            total.eq(drained + biases.read_data.as_signed()),
            floor.eq(shifter.floor),
            up.eq(shifter.up),
            result.eq(clamped(m, floor, up, low=tile.low, high=tile.high)),
        ]
        return result
