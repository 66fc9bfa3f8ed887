"""The sequencer: reads the program from memory and hands each descriptor to its unit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from celosia.dataflow.accelerator import Bus
from celosia.dataflow.descriptors import CHUNK_DESCRIPTORS, DESCRIPTOR_BYTES, Unit
from celosia.dataflow.microarchitecture import PROGRAM_QUEUE_DEPTH
from celosia.rtl.axi.burst import BurstSplitter
from celosia.rtl.descriptors import DESCRIPTOR_BITS, Opcode
from celosia.rtl.legality import UNIT_OF, LegalityCheck, Rules, layout_of
from celosia.rtl.ports import ErrorReport, Flow, burst_layout
from celosia.rtl.queue import Queue
from celosia.rtl.shared import Shared

CHUNK_BYTES = CHUNK_DESCRIPTORS * DESCRIPTOR_BYTES

UNIT_KINDS = {
    unit.name.lower(): tuple(opcode.value for opcode, owner in UNIT_OF.items() if owner is unit)
    for unit in Unit
}
KINDS = {**UNIT_KINDS, "end": (Opcode.END.value,)}
"""What the sequencer tells apart: who runs a descriptor, and the end; each with its opcodes."""


def checked_layout(kinds: Iterable[str]) -> data.StructLayout:
    """Return the layout of a descriptor, whether it is legal, and a bit for each of ``kinds``."""
    return data.StructLayout({"descriptor": DESCRIPTOR_BITS, "legal": 1, **dict.fromkeys(kinds, 1)})


class ProgramFetch(Shared):
    """Asks for the chunks of a program, each when 4 places of the queue are free for it.

    Started in cycle t, it offers the first burst in t+2. A chunk is asked for in the first cycle
    in which chunks are left, 4 places are free and the last burst of the chunk before has been
    taken in an earlier cycle; its first burst is offered in the next cycle. A place is taken when
    its chunk is asked for and free in the cycle after ``freed``.

    Parameters
    ----------
    bus : Bus
        Widths and the longest burst.

    Members
    -------
    start : In(1)
        Begin with ``address`` and ``chunks``.
    address : In(address_bits)
        Of the program, a multiple of 256.
    chunks : In(32)
        Of the program.
    arrived : In(1)
        A descriptor is complete.
    freed : In(1)
        A descriptor leaves the queue.
    o : Out(stream.Signature(burst_layout(address_bits)))
        Bursts.
    missing : Out(1)
        Some descriptor that was asked for is not complete.
    exhausted : Out(1)
        No chunk is left to ask for.
    """

    start: Signal
    address: Signal
    chunks: Signal
    arrived: Signal
    freed: Signal
    o: stream.Interface
    missing: Signal
    exhausted: Signal

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        super().__init__(
            {
                "start": In(1),
                "address": In(bus.address_bits),
                "chunks": In(32),
                "arrived": In(1),
                "freed": In(1),
                "o": Out(stream.Signature(burst_layout(bus.address_bits))),
                "missing": Out(1),
                "exhausted": Out(1),
            },
            name="program_fetch",
            parameters=(bus,),
        )

    def build(self) -> Module:
        m = Module()
        bus = self._bus
        beats = CHUNK_BYTES // bus.data_bytes
        m.submodules.splitter = splitter = BurstSplitter(
            address_bits=bus.address_bits,
            data_bits=bus.data_bits,
            burst_beats=bus.burst_beats,
            run_bits=beats.bit_length(),
        )
        address = Signal(bus.address_bits, reset_less=True)
        left = Signal(32, reset_less=True)
        exhausted = Signal(init=1)  # it is 0
        # So many bits are 1, the lowest: a count is compared by one of its bits.
        free = Signal(PROGRAM_QUEUE_DEPTH, init=-1)
        awaited = Signal(PROGRAM_QUEUE_DEPTH)
        later_free, still_awaited = Signal.like(free), Signal.like(awaited)
        ask = Signal()
        m.d.comb += [
            splitter.i.valid.eq(~exhausted & free[CHUNK_DESCRIPTORS - 1]),
            splitter.i.p.address.eq(address),
            splitter.i.p.beats.eq(beats),
            ask.eq(splitter.i.valid & splitter.i.ready),
            self.o.valid.eq(splitter.o.valid),
            self.o.p.address.eq(splitter.o.p.address),
            self.o.p.beats.eq(splitter.o.p.beats),
            splitter.o.ready.eq(self.o.ready),
            self.missing.eq(awaited[0]),
            self.exhausted.eq(exhausted),
            later_free.eq(Mux(self.freed, Cat(Const(1), free), free)),
            still_awaited.eq(awaited >> self.arrived),
        ]
        asked = Const(-1, CHUNK_DESCRIPTORS)
        m.d.sync += [
            free.eq(later_free >> Mux(ask, CHUNK_DESCRIPTORS, 0)),
            awaited.eq(Mux(ask, Cat(asked, still_awaited), still_awaited)),
        ]
        with m.If(ask):
            m.d.sync += [
                address.eq(address + CHUNK_BYTES),
                left.eq(left - 1),
                exhausted.eq(left == 1),
            ]
        with m.If(self.start):
            m.d.sync += [
                address.eq(self.address),
                left.eq(self.chunks),
                exhausted.eq(self.chunks == 0),
            ]
        return m


class DescriptorAssembly(Shared):
    """Puts beats together to descriptors and checks them. A descriptor comes with its last beat.

    Parameters
    ----------
    bus : Bus
        Widths.
    check : Shared
        Says on ``legal`` whether its ``descriptor`` is.
    kinds : Mapping of str to tuple of int
        Of descriptors: their opcodes.

    Members
    -------
    i : In(Flow(data_bits))
        Beats.
    o : Out(Flow(checked_layout(kinds)))
        Descriptors, in the cycle of their last beats.
    """

    i: Any
    o: Any

    def __init__(self, bus: Bus, check: Shared, kinds: Mapping[str, tuple[int, ...]]) -> None:
        self._bus, self._check, self._kinds = bus, check, kinds
        super().__init__(
            {
                "i": In(Flow(bus.data_bits)),
                "o": Out(Flow(checked_layout(kinds))),
            },
            name="descriptor_assembly",
            parameters=(bus, check.parameters, tuple(kinds.items())),
        )

    def build(self) -> Module:
        m = Module()
        width = self._bus.data_bits
        beats = DESCRIPTOR_BITS // width
        m.submodules.check = check = self._check
        m.d.comb += [
            check.descriptor.eq(self.o.payload.descriptor),
            self.o.payload.legal.eq(check.legal),
            *(
                self.o.payload[kind].eq(
                    Cat(self.o.payload.descriptor[:4] == opcode for opcode in opcodes).any()
                )
                for kind, opcodes in self._kinds.items()
            ),
        ]
        if beats == 1:
            m.d.comb += [
                self.o.payload.descriptor.eq(self.i.payload),
                self.o.valid.eq(self.i.valid),
            ]
            return m
        held = Signal(DESCRIPTOR_BITS - width, reset_less=True)
        index = Signal(range(beats))
        m.d.comb += [
            self.o.payload.descriptor.eq(Cat(held, self.i.payload)),
            self.o.valid.eq(self.i.valid & (index == beats - 1)),
        ]
        with m.If(self.i.valid):
            m.d.sync += [index.eq(index + 1), held.eq(Cat(held, self.i.payload)[width:])]
        return m


class Dispatch(Shared):
    """Hands descriptors to the queues of their units, one a cycle, in order. No latency.

    It stops at an end, an illegal descriptor, and where the program is exhausted before its end.
    The end itself is handed over only when no descriptor that was asked for is missing, so that
    a program that is done has nothing of it in flight.

    Parameters
    ----------
    bus : Bus
        Widths.
    sliding : bool
        Whether columns may have windows that slide.

    Members
    -------
    start : In(1)
        Begin in the next cycle.
    address : In(address_bits)
        Of the program, at ``start``.
    stop : In(1)
        Hand over nothing in this cycle.
    i : In(stream.Signature(checked_layout(KINDS)))
        Descriptors.
    missing, exhausted : In(1)
        From :class:`ProgramFetch`.
    load, compute, post, store : Out(stream.Signature(...))
        To the queues, each with its unit's layout.
    error : Out(ErrorReport(...))
        In the cycle before, an illegal descriptor was next, or none was and the program had not
        ended.
    """

    start: Signal
    address: Signal
    stop: Signal
    i: stream.Interface
    missing: Signal
    exhausted: Signal
    error: Any

    def __init__(self, bus: Bus, *, sliding: bool = False, tables: bool = False) -> None:
        self._bus, self._sliding, self._tables = bus, sliding, tables
        super().__init__(
            {
                "start": In(1),
                "address": In(bus.address_bits),
                "stop": In(1),
                "i": In(stream.Signature(checked_layout(KINDS))),
                "missing": In(1),
                "exhausted": In(1),
                "error": Out(ErrorReport(address_bits=bus.address_bits)),
            }
            | unit_streams(sliding=sliding, tables=tables),
            name="dispatch",
            parameters=(bus.address_bits, sliding, tables),
        )

    def build(self) -> Module:
        m = Module()
        running = Signal()
        address = Signal(self._bus.address_bits, reset_less=True)
        go = Signal()
        p = self.i.p
        m.d.comb += [
            go.eq(running & ~self.stop & p.legal & ~(p.end & self.missing)),
            self.error.address.eq(address),
        ]
        m.d.sync += self.error.raised.eq(
            running & ~self.stop & Mux(self.i.valid, ~p.legal, self.exhausted & ~self.missing)
        )
        takers = []
        for unit in Unit:
            target = getattr(self, unit.name.lower())
            layout = layout_of(unit, sliding=self._sliding, tables=self._tables)
            mine = p[unit.name.lower()]
            takers.append(mine & target.ready)
            m.d.comb += [
                target.payload.eq(p.descriptor[: layout.size]),
                target.valid.eq(self.i.valid & go & mine),
            ]
        m.d.comb += self.i.ready.eq(go & Cat(takers).any())
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += [address.eq(address + DESCRIPTOR_BYTES), running.eq(~p.end)]
        with m.If(self.start):
            m.d.sync += [address.eq(self.address), running.eq(1)]
        return m


def sequencer_ports(bus: Bus) -> dict[str, wiring.Member]:
    """Return the ports of any engine's sequencer, but for those to its units.

    ``start``, ``address``, ``chunks`` and ``stop`` are the shell's; ``o`` and ``beats`` go to the
    read port; ``error`` reports an illegal descriptor, or a program without an end.
    """
    return {
        "start": In(1),
        "address": In(bus.address_bits),
        "chunks": In(32),
        "stop": In(1),
        "o": Out(stream.Signature(burst_layout(bus.address_bits))),
        "beats": In(Flow(bus.data_bits)),
        "error": Out(ErrorReport(address_bits=bus.address_bits)),
    }


def read_program(
    m: Module, sequencer: Any, bus: Bus, check: Shared, kinds: Mapping[str, tuple[int, ...]]
) -> tuple[ProgramFetch, stream.Interface]:
    """Add what fetches a program and puts its descriptors together.

    Returns the fetch and the stream of descriptors, of ``checked_layout(kinds)``. ``sequencer`` has
    :func:`sequencer_ports`, ``check`` and ``kinds`` are what :class:`DescriptorAssembly` takes.
    """
    m.submodules.fetch = fetch = ProgramFetch(bus)
    m.submodules.assembly = assembly = DescriptorAssembly(bus, check, kinds)
    m.submodules.queue = queue = Queue(checked_layout(kinds), depth=PROGRAM_QUEUE_DEPTH)
    wiring.connect(m, fetch.o, wiring.flipped(sequencer.o))
    wiring.connect(m, wiring.flipped(sequencer.beats), assembly.i)
    m.d.comb += [
        # The fetch promised the queue's places, so it never refuses.
        queue.i.payload.eq(assembly.o.payload),
        queue.i.valid.eq(assembly.o.valid),
        fetch.start.eq(sequencer.start),
        fetch.address.eq(sequencer.address),
        fetch.chunks.eq(sequencer.chunks),
        fetch.arrived.eq(assembly.o.valid),
        fetch.freed.eq(queue.o.valid & queue.o.ready),
    ]
    return fetch, queue.o


def unit_streams(*, sliding: bool = False, tables: bool = False) -> dict[str, wiring.Member]:
    """Return the ports to the queues of the four units.

    Columns may have windows (``sliding``) or not, post lanes ``tables`` or not.
    """
    return {
        unit.name.lower(): Out(stream.Signature(layout_of(unit, sliding=sliding, tables=tables)))
        for unit in Unit
    }


class Sequencer(Shared):
    """Reads a program of 4-descriptor chunks and hands its descriptors to the units' queues.

    Started in cycle t, it offers the first burst in t+2. A descriptor whose last beat comes
    in cycle c is handed over in c+1 at the earliest. See :class:`ProgramFetch` for the bursts and
    :class:`Dispatch` for the order.

    Parameters
    ----------
    rules : Rules
        What the engine can do; its bus has the widths and the longest burst.

    Members
    -------
    start : In(1)
        Run the program; only after a reset or an end.
    address : In(address_bits)
        Of the program, a multiple of 256.
    chunks : In(32)
        Of the program.
    stop : In(1)
        Hand over nothing in this cycle.
    o : Out(stream.Signature(burst_layout(address_bits)))
        Bursts, to the read port.
    beats : In(Flow(data_bits))
        Their beats.
    load, compute, post, store : Out(stream.Signature(...))
        To the units' queues.
    error : Out(ErrorReport(...))
        An illegal descriptor, or a program without an end (the address is then the first after).
    """

    start: Signal
    address: Signal
    chunks: Signal
    stop: Signal
    o: stream.Interface
    beats: Any
    load: stream.Interface
    compute: stream.Interface
    post: stream.Interface
    store: stream.Interface
    error: Any

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        super().__init__(
            sequencer_ports(rules.bus)
            | unit_streams(sliding=rules.windows is not None, tables=rules.tables > 0),
            name="sequencer",
            parameters=(rules,),
        )

    @property
    def bus(self) -> Bus:
        return self._rules.bus

    def build(self) -> Module:
        m = Module()
        rules = self._rules
        check = LegalityCheck(rules)
        fetch, descriptors = read_program(m, self, rules.bus, check, KINDS)
        m.submodules.dispatch = dispatch = Dispatch(
            rules.bus, sliding=rules.windows is not None, tables=rules.tables > 0
        )
        wiring.connect(m, descriptors, dispatch.i)
        wiring.connect(m, dispatch.error, wiring.flipped(self.error))
        for unit in Unit:
            name = unit.name.lower()
            wiring.connect(m, getattr(dispatch, name), wiring.flipped(getattr(self, name)))
        m.d.comb += [
            dispatch.start.eq(self.start),
            dispatch.address.eq(self.address),
            dispatch.stop.eq(self.stop),
            dispatch.missing.eq(fetch.missing),
            dispatch.exhausted.eq(fetch.exhausted),
        ]
        return m
