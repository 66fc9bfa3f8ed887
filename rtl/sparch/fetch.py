"""Rows of the right matrix: fetched into the lines of a buffer, ahead of their use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, memory, stream
from amaranth.lib.wiring import In, Out

from celosia.dataflow.sparch.accelerator import SparchAccelerator
from celosia.rtl.ports import Flow, burst_layout
from celosia.rtl.queue import Queue
from celosia.rtl.shared import Shared
from celosia.rtl.sparch.descriptors import told_layout
from celosia.rtl.sparch.fifos import FifoFile
from celosia.rtl.sparch.merge import one_of, total
from celosia.rtl.sparch.reduce import compacted
from celosia.rtl.sparch.runs import RunBursts
from celosia.rtl.sparch.words import index_bits, word_layout


@dataclass(frozen=True, slots=True, kw_only=True)
class _Offer:
    """A record that may be taken: whether it ``goes``, ``fetches``, is ``wrong``; its beats."""

    record: Any
    goes: Signal
    fetches: Value
    wrong: Value
    beats: Value


class LineFetch(Shared):
    """Asks for the beats of work records, fills lines with them, and holds records meanwhile.

    In each cycle it takes the first of the records shown, up to as many as there are groups of
    multipliers; none from the second on that fetches, or from the first where two runs wait
    already; and none where ``look_ahead`` have been taken from the oldest on that is not used up.
    Each waits in the queue of its leaf's group (leaf mod groups). Taken in cycle t it is offered
    there from t+1 on, but not before the cycle after that in which the last beat of its fetch, and
    of all fetches before it, transfers.

    Parameters
    ----------
    accelerator : SparchAccelerator

    Members
    -------
    right : In(address_bits)
        Where the right matrix begins.
    i : In(word_layout(told_layout(accelerator), groups))
        Records, of which the first ``shown`` are meant. One that is corrupt is not taken.
    shown, take : In, Out(range(groups + 1))
    o_0.. : Out(stream.Signature(told_layout(accelerator)))
        For each group, records of which the line is there. The transfer says that it is used no
        more.
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
        # Counters of what is at most `look_ahead` apart, compared by their difference's sign.
        self._count_bits = accelerator.right.look_ahead.bit_length() + 1
        super().__init__(
            {
                "right": In(bus.address_bits),
                "i": In(word_layout(layout, groups)),
                "shown": In(range(groups + 1)),
                "take": Out(range(groups + 1)),
                "bursts": Out(stream.Signature(burst_layout(bus.address_bits))),
                "beats": In(Flow(bus.data_bits)),
                "write": Out(1),
                "write_row": Out(index_bits(accelerator.buffer_beats)),
                "write_data": Out(bus.data_bits),
                "corrupt": Out(1),
                "empty": Out(1),
            }
            | {f"o_{group}": Out(stream.Signature(layout)) for group in range(groups)},
            name="line_fetch",
            parameters=(accelerator,),
        )

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
        taken, asked, filled = Signal(bits), Signal(bits), Signal(bits)
        in_flight = Signal(bits)
        offers = self._offers(m, in_flight, runs.i.ready)
        asks = [offer.goes & offer.fetches for offer in offers]
        records: list[Any] = [offer.record for offer in offers]
        m.d.comb += [
            self.take.eq(total([offer.goes for offer in offers])),
            self.corrupt.eq((self.shown != 0) & offers[0].wrong),
            runs.i.valid.eq(Cat(asks).any()),
            runs.i.p.address.eq(
                self.right + one_of(asks, [r.address for r in records]) * bus.data_bytes
            ),
            runs.i.p.beats.eq(one_of(asks, [offer.beats for offer in offers])),
            fills.i.valid.eq(runs.i.valid),
            fills.i.p.slot.eq(one_of(asks, [r.slot for r in records])),
            fills.i.p.beats.eq(runs.i.p.beats),
            self.bursts.valid.eq(runs.o.valid),
            self.bursts.payload.eq(runs.o.payload),
            runs.o.ready.eq(self.bursts.ready),
        ]
        m.d.sync += [taken.eq(taken + self.take), asked.eq(asked + runs.i.valid)]
        self._fill(m, fills, filled)
        self._queue(m, offers, taken, asked, filled, in_flight)
        return m

    def _offers(self, m: Module, in_flight: Value, able: Value) -> list[_Offer]:
        """Return the records shown, and which of them are taken; ``able``: one may fetch."""
        accelerator = self._accelerator
        offers: list[_Offer] = []
        goes_on: Value = Const(1, 1)  # all before it are taken
        for number in range(accelerator.right.groups):
            record = self.i[number]
            goes, wrong = Signal(name=f"goes_{number}"), Signal(name=f"wrong_{number}")
            end = record.first + record.count  # the last element
            after = end // accelerator.right_lanes  # beats after the first
            beats = Signal(accelerator.right.line_beats.bit_length(), name=f"beats_{number}")
            m.d.comb += [
                beats.eq(after + 1),
                wrong.eq(
                    (end >= accelerator.line_elements)
                    | (record.slot + after >= accelerator.buffer_beats)
                ),
                goes.eq(
                    goes_on
                    & (self.shown > number)
                    & (in_flight + number < accelerator.right.look_ahead)
                    & (~record.fetches | able)
                    & ~wrong
                ),
            ]
            offer = _Offer(
                record=record, goes=goes, fetches=record.fetches, wrong=wrong, beats=beats
            )
            offers.append(offer)
            goes_on, able = goes, able & ~record.fetches
        return offers

    def _queue(
        self, m: Module, offers: list[_Offer], taken: Signal, asked: Signal, filled: Signal,
        in_flight: Signal,
    ) -> None:  # fmt: skip
        """Add the queue of each group, and count what was taken since the oldest that waits."""
        groups, bits = self._accelerator.right.groups, self._count_bits
        layout = told_layout(self._accelerator)
        entry = data.StructLayout({"record": layout, "number": bits, "needs": bits})
        ways = max(2, groups)
        capacity = 1 << (max(ways, self._accelerator.right.look_ahead) - 1).bit_length()
        word: Any = Signal(word_layout(entry, ways))
        before: Value = asked
        for place, offer in enumerate(offers):
            needs = Signal(bits, name=f"needs_{place}")
            m.d.comb += [
                needs.eq(before + offer.fetches),
                word[place].record.eq(offer.record),
                word[place].number.eq(taken + place),
                word[place].needs.eq(needs),
            ]
            before = needs
        ages, some = [], []
        for group in range(groups):
            m.submodules[f"ahead_{group}"] = queue = FifoFile(
                fifos=1, ways=ways, capacity=capacity, element=entry
            )
            keep = Signal(ways, name=f"keep_{group}")
            mine = [offer.goes & (offer.record.leaf % groups == group) for offer in offers]
            m.d.comb += keep.eq(Cat(mine))
            front, count = compacted(m, word.as_value(), keep, ways, f"to_{group}")
            head: Any = queue.window[0].record
            there, age = Signal(name=f"there_{group}"), Signal(bits, name=f"age_{group}")
            ahead = Signal(bits, name=f"ahead_of_{group}")
            o = getattr(self, f"o_{group}")
            m.d.comb += [
                queue.put.eq(keep.any()),
                queue.put_count.eq(count),
                Value.cast(queue.put_word).eq(front),
                ahead.eq(filled - queue.window[0].needs),
                there.eq((queue.shown != 0) & ~ahead[-1]),
                o.payload.eq(head),
                o.valid.eq(there),
                queue.take.eq(there & o.ready),
                age.eq(Mux(queue.shown != 0, taken - queue.window[0].number, 0)),
            ]
            ages.append(age)
            some.append(queue.shown != 0)
        most: Value = ages[0]
        for age in ages[1:]:
            most = Mux(age > most, age, most)
        m.d.comb += [in_flight.eq(most), self.empty.eq(~Cat(some).any())]

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
