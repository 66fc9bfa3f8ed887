"""The shell: registers, counters, and the start, end and clean stop of a program."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from celosia.dataflow.accelerator import Bus
from celosia.dataflow.program import Counter
from celosia.rtl.axi.bus import Axi4, Axi4Lite, connect_halves
from celosia.rtl.axi.lite import LiteFrontEnd
from celosia.rtl.axi.stripe import Stripe
from celosia.rtl.control import Control, error_ports
from celosia.rtl.counters import COUNTER_BITS, Counters, CounterSteps
from celosia.rtl.ports import ErrorReport, Window
from celosia.rtl.readport import ReadPort
from celosia.rtl.registerfile import RegisterFile
from celosia.rtl.registers import ADDRESS_BITS, CAUSES, Cause, Register
from celosia.rtl.shared import Shared


def engine_ports(bus: Bus) -> dict[str, wiring.Member]:
    """Return the ports of any engine besides clock and reset: registers, memory, interrupt."""
    port = Out(Axi4(address_bits=bus.address_bits, data_bits=bus.port_bits))
    return {
        "s_axi_ctrl": In(Axi4Lite(address_bits=ADDRESS_BITS)),
        **dict.fromkeys(memory_ports(bus), port),
        "interrupt": Out(1),
    }


def memory_ports(bus: Bus) -> tuple[str, ...]:
    """Return the names of an engine's memory ports: ``m_axi_gmem0`` and up."""
    return tuple(f"m_axi_gmem{index}" for index in range(bus.ports))


class Shell(Shared):
    """The control port, the counters and the state of the engine.

    A start command written in cycle w (see :class:`~celosia.rtl.axi.lite.LiteFrontEnd`) resets the
    units in w+2, or in the cycle after nothing is in flight, and raises ``start`` in the cycle s
    after.
    When the end is accepted in cycle e, done is set and ``interrupt`` high in e+1, and the cycle
    counter stays at e - s + 1; in cycle t of the run it shows t - s.

    Parameters
    ----------
    registers : tuple of Register
        The register map, made of the same causes and counters.
    bus : Bus
        Width of addresses, and memory ports.
    causes : tuple of Cause
        Why the engine may stop; each has a port, named like it.
    counters, widths
        As in :class:`~celosia.rtl.counters.CounterSteps`.

    Members
    -------
    control : In(Axi4Lite(address_bits=12))
        The registers.
    interrupt : Out(1)
        Enabled, and done or error. A level.
    start : Out(1)
        The first cycle of a run.
    address : Out(address_bits)
        Address of the program.
    chunks : Out(32)
        Its length.
    window : Out(Window(...))
        Where the engine may read and write. Changes only while no program runs.
    stripes : Out(address_bits).array(ports)
        Where each port's stripe begins, where there are several.
    stop : Out(1)
        Begin nothing new; high whenever no program runs.
    reset_units : Out(1)
        Reset everything but the shell and memories, in the next cycle; nothing is in flight.
    cycle : Out(64)
        The cycle counter.
    steps : In(CounterSteps())
        The other counters' steps.
    finished : In(1)
        The end of the program is accepted.
    quiet : In(1)
        No burst is in flight, in either direction.
    <cause> : In(ErrorReport(...))
        Errors.
    """

    control: Any
    interrupt: Signal
    start: Signal
    address: Signal
    chunks: Signal
    window: Any
    stripes: Any
    stop: Signal
    reset_units: Signal
    cycle: Signal
    steps: Any
    finished: Signal
    quiet: Signal

    def __init__(
        self,
        registers: tuple[Register, ...],
        *,
        bus: Bus,
        causes: tuple[Cause, ...] = CAUSES,
        counters: type[enum.IntEnum] = Counter,
        widths: Mapping[str, int] | None = None,
    ) -> None:
        address_bits = bus.address_bits
        self._address_bits, self._registers, self._causes = address_bits, registers, causes
        self._counters, self._widths, self._stripes = counters, widths, bus.stripes
        super().__init__(
            {
                "control": In(Axi4Lite(address_bits=ADDRESS_BITS)),
                "interrupt": Out(1),
                "start": Out(1),
                "address": Out(self._address_bits),
                "chunks": Out(32),
                "window": Out(Window(address_bits=self._address_bits)),
                "stop": Out(1),
                "reset_units": Out(1),
                "cycle": Out(COUNTER_BITS),
                "steps": In(CounterSteps(counters, widths)),
                "finished": In(1),
                "quiet": In(1),
            }
            | {
                name: In(ErrorReport(address_bits=self._address_bits))
                for name in error_ports(causes)
            }
            | ({"stripes": Out(address_bits).array(bus.stripes)} if bus.stripes else {}),
            name="shell",
            parameters=(registers, bus, causes, counters, tuple((widths or {}).items())),
        )

    @property
    def registers(self) -> tuple[Register, ...]:
        """The register map."""
        return self._registers

    def build(self) -> Module:
        m = Module()
        m.submodules.front = front = LiteFrontEnd(address_bits=ADDRESS_BITS)
        m.submodules.file = file = RegisterFile(self._registers)
        m.submodules.controller = state = Control(
            address_bits=self._address_bits, causes=self._causes
        )
        m.submodules.counters = counters = Counters(self._counters, self._widths)
        counts: Any = counters
        wiring.connect(m, wiring.flipped(self.control), front.axi)
        wiring.connect(m, front.registers, file.bus)
        for name in error_ports(self._causes):
            wiring.connect(m, wiring.flipped(getattr(self, name)), getattr(state, name))

        def whole(pair: str, width: int) -> Value:
            high = getattr(file, f"{pair}_high", Const(0, 0))
            return Cat(getattr(file, f"{pair}_low"), high)[:width]

        status = state.status
        commands: Any = file
        m.d.comb += [
            file.lock.eq(status[3]),
            state.start_command.eq(commands.control[0]),
            state.clear_command.eq(commands.control[1]),
            state.finished.eq(self.finished),
            state.quiet.eq(self.quiet),
            self.start.eq(state.start),
            self.stop.eq(state.stop),
            self.reset_units.eq(state.reset_units),
            self.address.eq(whole("program", self._address_bits)),
            self.chunks.eq(commands.program_chunks),
            self.window.base.eq(whole("window_base", self._address_bits)),
            self.window.limit.eq(whole("window_limit", self._address_bits + 1)),
            self.interrupt.eq(commands.interrupt_enable & (status[1] | status[2])),
            commands.status.eq(status),
            commands.cause.eq(state.cause),
        ]
        for index in range(self._stripes):
            m.d.comb += self.stripes[index].eq(whole(f"stripe{index}_base", self._address_bits))
        self._halves(m, file, "error_address", state.error_address)

        m.d.comb += [
            counters.clear.eq(state.clear_counters),
            self.cycle.eq(counts.cycles),
        ]
        for counter in self._counters:
            name = counter.name.lower()
            if (self._widths or {}).get(name, 1):
                step = getattr(self.steps, name) if counter else state.running
                m.d.comb += getattr(counters, f"{name}_step").eq(step)
            self._halves(m, file, name, getattr(counters, name))
        return m

    @staticmethod
    def _halves(m: Module, file: RegisterFile, name: str, value: Value) -> None:
        m.d.comb += getattr(file, f"{name}_low").eq(value[:32])
        if len(value) > 32:
            m.d.comb += getattr(file, f"{name}_high").eq(value[32:])


def connect_memory(
    m: Module,
    engine: Any,
    *,
    shell: Shell,
    sequencer: Any,
    read_port: ReadPort,
    load: Any,
    store: Any,
) -> None:
    """Connect an engine's ports, and what of it reads and writes memory, to its shell.

    ``engine`` has :func:`engine_ports`; ``sequencer``, ``load`` and ``store`` have the ports of the
    dense engine's components of these names that are connected here.
    """
    wiring.connect(m, wiring.flipped(engine.s_axi_ctrl), shell.control)
    wiring.connect(m, sequencer.o, read_port.program)
    wiring.connect(m, read_port.program_beats, sequencer.beats)
    wiring.connect(m, load.o, read_port.load)
    wiring.connect(m, read_port.load_beats, load.beats)
    _connect_ports(m, engine, shell, read_port, store)
    wiring.connect(m, sequencer.error, shell.illegal_descriptor)
    wiring.connect(m, read_port.response_error, shell.read_response)
    wiring.connect(m, read_port.window_error, shell.read_outside_window)
    wiring.connect(m, store.response_error, shell.write_response)
    wiring.connect(m, store.window_error, shell.write_outside_window)
    for part in (read_port, store):
        m.d.comb += [
            part.window.base.eq(shell.window.base),
            part.window.limit.eq(shell.window.limit),
        ]
    m.d.comb += [
        sequencer.start.eq(shell.start),
        sequencer.address.eq(shell.address),
        sequencer.chunks.eq(shell.chunks),
        *(part.stop.eq(shell.stop) for part in (sequencer, read_port, store)),
        store.cycle.eq(shell.cycle),
        shell.quiet.eq(read_port.idle & store.idle),
        engine.interrupt.eq(shell.interrupt),
    ]


def _connect_ports(m: Module, engine: Any, shell: Shell, read_port: ReadPort, store: Any) -> None:
    """Connect what reads and writes memory to the engine's ports, over stripes if need be."""
    bus = read_port.bus
    if not bus.stripes:
        connect_halves(m, engine.m_axi_gmem0, read_port.axi, store.axi)
        return
    m.submodules.stripe = stripe = Stripe(bus)
    connect_halves(m, stripe.engine, read_port.axi, store.axi)
    for index, name in enumerate(memory_ports(bus)):
        wiring.connect(m, stripe.ports[index], wiring.flipped(getattr(engine, name)))
        m.d.comb += stripe.bases[index].eq(shell.stripes[index])
