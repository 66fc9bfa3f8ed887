"""What is written: elements of matrices and row pointers in beats, stamps, and their bursts."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from celosia.dataflow.accelerator import Bus
from celosia.rtl.axi.burst import BurstSplitter, tagged_burst_layout
from celosia.rtl.ports import BEATS_BITS
from celosia.rtl.queue import Queue, RegisterQueue
from celosia.rtl.shared import Shared


class BeatWriter(Shared):
    """Gathers beats of one region, and asks for bursts of what it holds.

    As soon as it holds as many beats as its longest burst (or its queue) has, and they belong to
    no run yet, they are one; when ``flush`` is 1, so is any rest. A run is cut at 4 KiB. A beat
    taken in cycle t can be in a run that is asked for from t+2 on, one at a time, see
    :class:`~celosia.rtl.axi.burst.BurstSplitter` for its bursts.

    Parameters
    ----------
    bus : Bus
    depth : int
        Beats of its queue.

    Members
    -------
    begin : In(1)
        What comes from the next cycle on goes to ``address`` and after; only when idle.
    address : In(address_bits)
        A multiple of a beat.
    i : In(stream.Signature(data_bits))
        Beats.
    flush : In(1)
        Nothing comes any more.
    bursts : Out(stream.Signature(tagged_burst_layout(address_bits)))
    beats : Out(stream.Signature(data_bits))
        Their data.
    idle : Out(1)
        It holds nothing.
    """

    def __init__(self, bus: Bus, *, depth: int) -> None:
        if depth < 1:
            raise ValueError(f"depth must be at least 1, not {depth!r}")
        self._bus, self._depth = bus, depth
        super().__init__(
            {
                "begin": In(1),
                "address": In(bus.address_bits),
                "i": In(stream.Signature(bus.data_bits)),
                "flush": In(1),
                "bursts": Out(stream.Signature(tagged_burst_layout(bus.address_bits))),
                "beats": Out(stream.Signature(bus.data_bits)),
                "idle": Out(1),
            },
            name=f"beat_writer_d{depth}",
            parameters=(bus, depth),
        )

    def build(self) -> Module:
        m = Module()
        bus = self._bus
        longest = min(bus.burst_beats, self._depth)
        m.submodules.queue = queue = Queue(bus.data_bits, depth=self._depth)
        m.submodules.splitter = splitter = BurstSplitter(
            address_bits=bus.address_bits, data_bits=bus.data_bits, burst_beats=bus.burst_beats,
            run_bits=BEATS_BITS,
        )  # fmt: skip
        wiring.connect(m, wiring.flipped(self.i), queue.i)
        wiring.connect(m, queue.o, wiring.flipped(self.beats))
        wiring.connect(m, splitter.o, wiring.flipped(self.bursts))
        address, free = Signal(bus.address_bits), Signal(range(self._depth + 1))  # in no run
        run, wants, asks = Signal(range(longest + 1)), Signal(), Signal()
        m.d.comb += [
            splitter.i.valid.eq(wants),
            splitter.i.p.address.eq(address),
            splitter.i.p.beats.eq(run),
            asks.eq(wants & splitter.i.ready),
            self.idle.eq(~queue.o.valid),
        ]
        m.d.sync += free.eq(free + (self.i.valid & self.i.ready) - Mux(asks, run, 0))
        with m.If(~wants):
            m.d.sync += [
                wants.eq((free >= longest) | (self.flush & (free != 0))),
                run.eq(Mux(free > longest, longest, free)),
            ]
        with m.Elif(asks):
            m.d.sync += [wants.eq(0), address.eq(address + run * bus.data_bytes)]
        with m.If(self.begin):
            m.d.sync += address.eq(self.address)
        return m


class WriteArbiter(Shared):
    """Hands the bursts of two writers to the write port, and their beats after them.

    A burst is taken when none is offered, the first writer's before the second's, and offered from
    the cycle after on. From then on its beats are taken, two of which wait in registers.

    Parameters
    ----------
    bus : Bus

    Members
    -------
    first, second : In(stream.Signature(tagged_burst_layout(address_bits)))
        Bursts, each when its beats are there.
    first_beats, second_beats : In(stream.Signature(data_bits))
    bursts : Out(stream.Signature(tagged_burst_layout(address_bits)))
    beats : Out(stream.Signature(data_bits))
        To the write port.
    beat : Out(2)
        Of which writer a beat is taken in this cycle.
    idle : Out(1)
        It holds no beat.
    """

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        bursts = stream.Signature(tagged_burst_layout(bus.address_bits))
        beats = stream.Signature(bus.data_bits)
        super().__init__(
            {
                "first": In(bursts),
                "second": In(bursts),
                "first_beats": In(beats),
                "second_beats": In(beats),
                "bursts": Out(bursts),
                "beats": Out(beats),
                "beat": Out(2),
                "idle": Out(1),
            },
            name="write_arbiter",
            parameters=(bus,),
        )

    def build(self) -> Module:
        m = Module()
        tag = data.StructLayout({"second": 1, "last": BEATS_BITS})
        # A burst with beats left is offered or unacknowledged, so there is always a place.
        m.submodules.order = order = Queue(tag, depth=self._bus.outstanding + 1)
        m.submodules.waiting = waiting = RegisterQueue(self._bus.data_bits, depth=2)
        takes, index, last, moves = Signal(), Signal(BEATS_BITS), Signal(), Signal()
        head: Any = order.o.p
        chosen: Any = Signal(self.bursts.payload.shape())
        m.d.comb += [
            chosen.eq(Mux(self.first.valid, self.first.payload, self.second.payload)),
            takes.eq(~self.bursts.valid & (self.first.valid | self.second.valid)),
            self.first.ready.eq(~self.bursts.valid),
            self.second.ready.eq(~self.bursts.valid & ~self.first.valid),
            order.i.valid.eq(takes),
            order.i.p.second.eq(~self.first.valid),
            order.i.p.last.eq(chosen.beats - 1),
            waiting.i.payload.eq(
                Mux(head.second, self.second_beats.payload, self.first_beats.payload)
            ),
            waiting.i.valid.eq(moves),
            moves.eq(
                order.o.valid
                & waiting.i.ready
                & Mux(head.second, self.second_beats.valid, self.first_beats.valid)
            ),
            last.eq(index == head.last),
            order.o.ready.eq(moves & last),
            self.first_beats.ready.eq(moves & ~head.second),
            self.second_beats.ready.eq(moves & head.second),
            self.beat.eq(Cat(self.first_beats.ready, self.second_beats.ready)),
            self.beats.valid.eq(waiting.o.valid),
            self.beats.payload.eq(waiting.o.payload),
            waiting.o.ready.eq(self.beats.ready),
            self.idle.eq(~waiting.o.valid),
        ]
        with m.If(~self.bursts.valid):
            m.d.sync += [self.bursts.valid.eq(takes), self.bursts.payload.eq(chosen)]
        with m.Elif(self.bursts.ready):
            m.d.sync += self.bursts.valid.eq(0)
        with m.If(moves):
            m.d.sync += index.eq(Mux(last, 0, index + 1))
        return m


class Places(Shared):
    """Counts the places of a queue that are neither taken nor promised.

    Parameters
    ----------
    depth : int
        Of the queue.

    Members
    -------
    promised, given_back, taken, freed : In(1)
        A place is promised; one that was is not needed; one that was not is taken, after which none
        is promised in the next cycle; one is free again. All but the first are counted a cycle
        later.
    some : Out(1)
        There are any.
    all : Out(1)
        None is taken or promised.
    """

    def __init__(self, depth: int) -> None:
        if depth < 1:
            raise ValueError(f"depth must be at least 1, not {depth!r}")
        self._depth = depth
        names = ("promised", "given_back", "taken", "freed")
        super().__init__(
            {name: In(1) for name in names} | {"some": Out(1), "all": Out(1)},
            name=f"places_d{depth}",
            parameters=(depth,),
        )

    def build(self) -> Module:
        m = Module()
        left = Signal(range(self._depth + 1), init=self._depth)
        late = [Signal(name=f"{name}_late") for name in ("given_back", "freed", "taken")]
        given_back, freed, taken = late
        more = Signal.like(left)
        some, none = Signal(init=1), Signal(init=1)  # any is left; none is taken
        m.d.comb += [
            more.eq(left + (given_back + freed) - taken),
            self.some.eq(some),
            self.all.eq(none),
        ]
        m.d.sync += [
            given_back.eq(self.given_back),
            freed.eq(self.freed),
            taken.eq(self.taken),
            left.eq(Mux(self.promised, more - 1, more)),
            some.eq(Mux(self.promised, more > 1, more != 0)),
            none.eq(~self.promised & (more == self._depth)),
        ]
        return m


class BeatFiller(Shared):
    """Puts records side by side into beats, of which what is too much begins the next.

    No latency: a beat is offered with the last record that it holds.

    Parameters
    ----------
    record_bits : int
    lanes : int
        Records of a beat.
    ways : int
        Most records that come in a cycle.

    Members
    -------
    records : In(ways * record_bits)
    count : In
        How many of them come in this cycle, at most ``lanes``.
    on : In(1)
        0: nothing comes, and nothing is offered.
    flush : In(1)
        A beat that holds any records is offered whether full or not; none come.
    valid : Out(1)
        ``beat`` is full, or flushed; it is taken in this cycle.
    beat : Out(lanes * record_bits)
        Places without a record are 0.
    """

    def __init__(self, *, record_bits: int, lanes: int, ways: int) -> None:
        for name, value in (("record_bits", record_bits), ("lanes", lanes), ("ways", ways)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value!r}")
        self._width, self._lanes, self._ways = record_bits, lanes, ways
        super().__init__(
            {
                "records": In(ways * record_bits),
                "count": In(range(ways + 1)),
                "on": In(1),
                "flush": In(1),
                "valid": Out(1),
                "beat": Out(lanes * record_bits),
            },
            name=f"beat_filler_w{record_bits}_l{lanes}_n{ways}",
            parameters=(record_bits, lanes, ways),
        )

    def build(self) -> Module:
        m = Module()
        width, lanes = self._width, self._lanes
        most = min(lanes, self._ways)
        waiting, held = Signal(range(lanes)), Signal(lanes * width)
        fresh, placed = Signal(most * width), Signal((lanes + most) * width)
        for lane in range(most):
            with m.If(self.count > lane):
                m.d.comb += fresh.word_select(lane, width).eq(self.records.word_select(lane, width))
        with m.Switch(waiting):
            for place in range(lanes):
                with m.Case(place):
                    m.d.comb += placed.eq(held | (fresh << place * width))
        total, full = Signal(range(lanes + most)), Signal()
        m.d.comb += [
            total.eq(waiting + self.count),
            # Without a sum: few bits.
            full.eq(Cat((waiting == w) & (self.count >= lanes - w) for w in range(lanes)).any()),
            self.beat.eq(placed[: lanes * width]),
            self.valid.eq(self.on & (full | (self.flush & (waiting != 0)))),
        ]
        with m.If(self.on):
            m.d.sync += [
                waiting.eq(Mux(full, total - lanes, Mux(self.flush, 0, total))),
                held.eq(Mux(full, placed[lanes * width :], Mux(self.flush, 0, self.beat))),
            ]
        return m
