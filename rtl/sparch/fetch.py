"""Rows of the right matrix: fetched into the lines of a buffer, ahead of their use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, memory, stream
from amaranth.lib.wiring import In, Out

from celosia.dataflow.sparch.accelerator import SparchAccelerator
from celosia.rtl.ports import Flow, burst_layout
from celosia.rtl.queue import Queue, RegisterQueue
from celosia.rtl.shared import Shared
from celosia.rtl.sparch.descriptors import number_bits, numbered, told_layout
from celosia.rtl.sparch.fifos import WordQueue
from celosia.rtl.sparch.merge import total
from celosia.rtl.sparch.reduce import compacted
from celosia.rtl.sparch.runs import RUNS, RunBursts
from celosia.rtl.sparch.words import index_bits, word_layout
from celosia.rtl.sparch.write import Places
from celosia.rtl.tree import one_of

BATCHES = 4
"""Batches that wait: as many as are read until the place of one is known to be free."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Taken:
    """A record of the batch taken in the cycle before: whether it ``goes``, and ``asks``."""

    record: Any
    goes: Signal
    asks: Value


class LineFetch(Shared):
    """Asks for the beats of work records, fills lines with them, and holds records meanwhile.

    Batches of records wait in a queue. In each cycle it takes the first of the batch in front that
    were not taken, up to all of them; none from the second on that fetches, or from the first where
    ``RUNS`` runs wait or were not known to be gone two cycles before; and none where
    ``look_ahead`` have been taken from the oldest on that was not used up two cycles before. In the
    cycle after each goes into the queue of its leaf's group (leaf mod groups), and in the next from
    there to two more in registers. There it is offered in a cycle, but not before the one after
    that in which the last beat of its fetch, and of all fetches before it, comes.

    Parameters
    ----------
    accelerator : SparchAccelerator

    Members
    -------
    right : In(address_bits)
        Where the right matrix begins.
    i : In(word_layout(told_layout(accelerator), groups))
        Records, of which the first ``shown`` are meant. None comes after one that is corrupt.
    shown : In(range(groups + 1))
    can : Out(1)
        Records may be read in this cycle, to come in the next.
    reads : In(1)
        They are.
    take : Out(range(groups + 1))
        How many were taken in the cycle before.
    o_0.. : Out(stream.Signature(numbered(told_layout(accelerator), accelerator)))
        For each group, records of which the line is there.
    works_0.., number_0.. : In
        Whether a record of the group is at work, and its number: those before are used up.
    rests_0.. : In(1)
        No record of those taken from ``o_0..`` waits or is at work.
    bursts : Out(stream.Signature(burst_layout(address_bits)))
    beats : In(Flow(data_bits))
    write : Out(1)
        ``write_data`` goes into row ``write_row`` of the buffer.
    write_row, write_data : Out
    corrupt : Out(1)
        A record is longer than a line, or leads beyond the buffer.
    empty : Out(1)
        No record waits.
    """

    def __init__(self, accelerator: SparchAccelerator) -> None:
        self._accelerator = accelerator
        bus, layout = accelerator.bus, told_layout(accelerator)
        groups = accelerator.right.groups
        self._count_bits = number_bits(accelerator)
        ports: dict[str, Any] = {
            "right": In(bus.address_bits),
            "i": In(word_layout(layout, groups)),
            "shown": In(range(groups + 1)),
            "can": Out(1),
            "reads": In(1),
            "take": Out(range(groups + 1)),
            "bursts": Out(stream.Signature(burst_layout(bus.address_bits))),
            "beats": In(Flow(bus.data_bits)),
            "write": Out(1),
            "write_row": Out(index_bits(accelerator.buffer_beats)),
            "write_data": Out(bus.data_bits),
            "corrupt": Out(1),
            "empty": Out(1),
        }
        for group in range(groups):
            ports |= {
                f"o_{group}": Out(stream.Signature(numbered(layout, accelerator))),
                f"works_{group}": In(1),
                f"number_{group}": In(self._count_bits),
                f"rests_{group}": In(1),
            }
        super().__init__(ports, name="line_fetch", parameters=(accelerator,))

    def build(self) -> Module:
        m = Module()
        bus, right = self._accelerator.bus, self._accelerator.right
        bits = self._count_bits
        beats_bits = right.line_beats.bit_length()
        filling = data.StructLayout(
            {"slot": told_layout(self._accelerator)["slot"].shape, "beats": beats_bits}
        )
        # Of each run a record waits, so there is always a place.
        m.submodules.fills = fills = Queue(filling, depth=right.look_ahead)
        m.submodules.runs = runs = RunBursts(bus, run_bits=beats_bits)
        numbers, asked, filled = Signal(bits), Signal(bits), Signal(bits)
        oldest, idle = Signal(bits), Signal()
        taken = self._take(m, oldest, runs.freed, idle)
        asks = [each.asks for each in taken]
        records: list[Any] = [each.record for each in taken]
        m.d.comb += [
            runs.i.valid.eq(Cat(asks).any()),
            runs.i.p.address.eq(
                self.right + one_of(asks, [r.address for r in records]) * bus.data_bytes
            ),
            runs.i.p.beats.eq(one_of(asks, [r.beats for r in records])),
            self.take.eq(total([each.goes for each in taken])),
            fills.i.valid.eq(runs.i.valid),
            fills.i.p.slot.eq(one_of(asks, [r.slot for r in records])),
            fills.i.p.beats.eq(runs.i.p.beats),
            self.bursts.valid.eq(runs.o.valid),
            self.bursts.payload.eq(runs.o.payload),
            runs.o.ready.eq(self.bursts.ready),
        ]
        m.d.sync += [numbers.eq(numbers + self.take), asked.eq(asked + fills.i.valid)]
        self._fill(m, fills, filled)
        self._queue(m, taken, numbers, asked, filled, oldest, idle)
        return m

    def _batch(self) -> data.StructLayout:
        """Return the layout of a record in a batch: with the ``beats`` of its piece."""
        fields = {name: field.shape for name, field in told_layout(self._accelerator)}
        beats = self._accelerator.right.line_beats.bit_length()
        return data.StructLayout(fields | {"beats": beats, "wrong": 1})

    def _take(self, m: Module, oldest: Value, freed: Value, idle: Signal) -> list[_Taken]:
        """Add the queue of batches; return which records were taken in the cycle before.

        ``oldest`` is the number of one that is not used up, ``freed``: of a run that waited the
        place is. ``idle`` is set when none waits.
        """
        accelerator, bits = self._accelerator, self._count_bits
        groups, look_ahead = accelerator.right.groups, accelerator.right.look_ahead
        each_layout = self._batch()
        counts = range(groups + 1)
        batch = data.StructLayout({"records": word_layout(each_layout, groups), "count": counts})
        m.submodules.batches = batches = Queue(batch, depth=BATCHES)
        given: Any = batches.i.p
        for number in range(groups):
            self._look(m, given.records[number], self.i[number], number)
        m.d.comb += [
            batches.i.valid.eq(self.shown != 0),
            given.count.eq(self.shown),
        ]
        head: Any = batches.o.p
        m.submodules.places = places = Places(BATCHES)
        # Places for runs; records that may be taken; those of the batch in front that were; all
        # that were.
        slots = Signal(range(RUNS + 1), init=RUNS)
        left, done, taken = Signal(bits), Signal(groups), Signal(bits)
        goes, asks = Signal(groups), Signal(groups)
        leaves = Signal()
        pending = Signal(groups)
        m.d.comb += pending.eq(
            Cat(batches.o.valid & (head.count > number) for number in range(groups)) & ~done
        )
        budget = left + total([*done])
        goes_on: Value = Const(1, 1)  # all before it are taken, or were
        able: Value = slots != 0
        for number in range(groups):
            record = head.records[number]
            m.d.comb += [
                goes[number].eq(
                    goes_on
                    & pending[number]
                    & (budget > number)
                    & (~record.fetches | able)
                    & ~record.wrong
                ),
                asks[number].eq(goes[number] & record.fetches),
            ]
            goes_on = goes[number] | (goes_on & ~pending[number])
            able = able & ~(pending[number] & record.fetches)
        count = Signal(counts)
        m.d.comb += [
            count.eq(total([*goes])),
            leaves.eq(batches.o.valid & ((pending & ~goes) == 0)),
            batches.o.ready.eq(leaves),
            places.promised.eq(self.reads),
            places.freed.eq(leaves),
            self.can.eq(places.some),
            idle.eq(~batches.o.valid & (self.shown == 0)),
        ]
        lefts = [oldest + (look_ahead - more) - taken for more in range(groups + 1)]
        wrong = Cat(head.records[number].wrong for number in range(groups))
        m.d.sync += [
            slots.eq(slots - asks.any() + freed),
            done.eq(Mux(leaves, 0, done | goes)),
            taken.eq(taken + count),
            left.eq(Array(lefts)[count]),
            self.corrupt.eq((pending & wrong).any()),
        ]
        found: list[_Taken] = []
        for number in range(groups):
            taken_record: Any = Signal(each_layout, name=f"taken_{number}", reset_less=True)
            went, fetches = Signal(name=f"went_{number}"), Signal(name=f"asked_{number}")
            m.d.sync += [
                taken_record.eq(head.records[number]),
                went.eq(goes[number]),
                fetches.eq(asks[number]),
            ]
            found.append(_Taken(record=taken_record, goes=went, asks=fetches))
        return found

    def _look(self, m: Module, made: Any, record: Any, number: int) -> None:
        """Say of a ``record`` the beats, and whether it is wrong, in what is ``made`` of it."""
        accelerator = self._accelerator
        end = Signal(range(accelerator.right_lanes + accelerator.line_elements), name=f"e_{number}")
        after = end // accelerator.right_lanes  # beats after the first
        for name in told_layout(accelerator).members:
            m.d.comb += made[name].eq(record[name])
        m.d.comb += [
            end.eq(record.first + record.count),  # the last element
            made.beats.eq(after + 1),
            made.wrong.eq(
                (end >= accelerator.line_elements)
                | (record.slot + after >= accelerator.buffer_beats)
            ),
        ]

    def _queue(
        self, m: Module, taken: list[_Taken], numbers: Value, asked: Value, filled: Signal,
        oldest: Signal, idle: Value,
    ) -> None:  # fmt: skip
        """Add the queue of each group, and find the oldest record that is not used up."""
        groups, bits = self._accelerator.right.groups, self._count_bits
        layout = numbered(told_layout(self._accelerator), self._accelerator)
        entry = data.StructLayout({"record": layout, "needs": bits})
        ways = max(2, groups)
        capacity = 1 << (max(ways, self._accelerator.right.look_ahead) - 1).bit_length()
        word: Any = Signal(word_layout(entry, ways))
        needs, number = asked, numbers
        for place, each in enumerate(taken):
            upto, own = Signal(bits, name=f"needs_{place}"), Signal(bits, name=f"number_of_{place}")
            m.d.comb += [upto.eq(needs + each.asks), own.eq(number)]
            for name in told_layout(self._accelerator).members:
                m.d.comb += word[place].record[name].eq(each.record[name])
            m.d.comb += [word[place].record.number.eq(own), word[place].needs.eq(upto)]
            needs, number = upto, own + each.goes
        marks, rests = [], []
        for group in range(groups):
            m.submodules[f"ahead_{group}"] = queue = WordQueue(
                ways=ways, capacity=capacity, element=entry
            )
            m.submodules[f"next_{group}"] = following = RegisterQueue(entry.size, depth=2)
            keep = Signal(ways, name=f"keep_{group}")
            mine = [each.goes & (each.record.leaf % groups == group) for each in taken]
            m.d.comb += keep.eq(Cat(mine))
            front, count = compacted(m, word.as_value(), keep, ways, f"to_{group}")
            head: Any = data.View(entry, following.o.payload)
            ahead = Signal(bits, name=f"ahead_of_{group}")
            there, rest = Signal(name=f"there_{group}"), Signal(name=f"rest_{group}")
            mark = Signal(bits, name=f"mark_{group}")
            o = getattr(self, f"o_{group}")
            m.d.comb += [
                queue.put.eq(keep.any()),
                queue.put_count.eq(count),
                Value.cast(queue.put_word).eq(front),
                following.i.valid.eq(queue.there[0]),
                following.i.payload.eq(Value.cast(queue.window[0])),
                queue.take.eq(queue.there[0] & following.i.ready),
                ahead.eq(filled - head.needs),
                there.eq(following.o.valid & ~ahead[-1]),
                o.payload.eq(head.record),
                o.valid.eq(there),
                following.o.ready.eq(there & o.ready),
                rest.eq(~queue.there[0] & ~following.o.valid & getattr(self, f"rests_{group}")),
            ]
            with m.If(getattr(self, f"works_{group}")):
                m.d.sync += mark.eq(getattr(self, f"number_{group}"))
            with m.Elif(rest):
                m.d.sync += mark.eq(numbers)
            marks.append(mark)
            rests.append(rest)
        first: Value = marks[0]
        for mark in marks[1:]:
            first = Mux((mark - first)[:bits][-1], mark, first)
        goes = Cat(each.goes for each in taken)
        m.d.sync += oldest.eq(first)
        m.d.comb += self.empty.eq(Cat(rests).all() & idle & ~goes.any())

    def _fill(self, m: Module, fills: Any, filled: Signal) -> None:
        """Write beats into their lines, and count the fetches that are done."""
        index, last = Signal(len(fills.o.p.beats)), Signal()
        m.d.comb += [
            last.eq(self.beats.valid & (index + 1 == fills.o.p.beats)),
            fills.o.ready.eq(last),
            self.write.eq(self.beats.valid),
            self.write_row.eq(fills.o.p.slot + index),
            self.write_data.eq(self.beats.payload),
        ]
        m.d.sync += filled.eq(filled + last)
        with m.If(self.beats.valid):
            m.d.sync += index.eq(Mux(last, 0, index + 1))


class LineBuffer(Shared):
    """The lines of the right matrix, row by row of a beat each, with a read port for each group.

    What is written in cycle t can be read in t+1. What is read in t is shown from t+1 until the
    port's next read.

    Parameters
    ----------
    accelerator : SparchAccelerator

    Members
    -------
    write : In(1)
    write_row, write_data : In
    read_0.. : In(1)
    read_row_0.. : In
    data_0.. : Out(data_bits)
    """

    def __init__(self, accelerator: SparchAccelerator) -> None:
        self._rows, self._bits = accelerator.buffer_beats, accelerator.bus.data_bits
        self._ports = accelerator.right.groups
        row = index_bits(self._rows)
        ports = {"write": In(1), "write_row": In(row), "write_data": In(self._bits)}
        for port in range(self._ports):
            ports |= {
                f"read_{port}": In(1),
                f"read_row_{port}": In(row),
                f"data_{port}": Out(self._bits),
            }
        super().__init__(
            ports, name="line_buffer", parameters=(self._rows, self._bits, self._ports)
        )

    def build(self) -> Module:
        m = Module()
        rows: Any = memory.Memory(shape=self._bits, depth=self._rows, init=[])
        m.submodules.rows = rows
        write = rows.write_port()
        m.d.comb += [
            write.en.eq(self.write),
            write.addr.eq(self.write_row),
            write.data.eq(self.write_data),
        ]
        for number in range(self._ports):
            read = rows.read_port()
            m.d.comb += [
                read.en.eq(getattr(self, f"read_{number}")),
                read.addr.eq(getattr(self, f"read_row_{number}")),
                getattr(self, f"data_{number}").eq(read.data),
            ]
        return m
