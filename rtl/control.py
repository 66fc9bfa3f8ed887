"""Start, end and clean stop of a program."""

from __future__ import annotations

from typing import Any

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import enum
from amaranth.lib.wiring import In, Out

from celosia.rtl.ports import ErrorReport
from celosia.rtl.registers import CAUSE_BITS, CAUSES, Cause
from celosia.rtl.shared import Shared


def error_ports(causes: tuple[Cause, ...]) -> tuple[str, ...]:
    """Return the names of the shell's error ports, the one that wins first."""
    return tuple(cause.name.lower() for cause in sorted(causes))


class State(enum.Enum, shape=3):
    """What the engine does."""

    IDLE = 0
    DRAIN = 1
    RUN = 2
    DONE = 3
    ERROR = 4


_StateSignal = Any  # a Signal(State): the type checkers disagree over what class that is


class Control(Shared):
    """Start, end and clean stop.

    ======  ==================================  ====================================================
    state   leaves                              meanwhile
    ======  ==================================  ====================================================
    IDLE    start -> DRAIN                      ``stop``
    DRAIN   ``quiet`` -> RUN, ERROR or IDLE     ``stop``; ``reset_units`` in its last cycle
    RUN     error or clear -> DRAIN             ``start`` in its first cycle
            ``finished`` -> DONE
    DONE    start -> DRAIN; clear -> IDLE       ``stop``
    ERROR   clear -> IDLE                       ``stop``
    ======  ==================================  ====================================================

    DRAIN lasts one cycle when nothing is in flight, and goes on to RUN after a start, to ERROR
    after an error and to IDLE after a clear. A clear wins over a start, an error over both and over
    ``finished``. Errors outside RUN are ignored.

    Parameters
    ----------
    address_bits : int
        Width of addresses.
    causes : tuple of Cause
        Of errors.

    Members
    -------
    start_command, clear_command : In(1)
        Software asks, in this cycle.
    <error> : In(ErrorReport(...))
        One for each cause: :func:`error_ports`.
    finished : In(1)
        The program's end is accepted.
    quiet : In(1)
        No burst is in flight.
    start, stop, reset_units : Out(1)
        As in :class:`Shell`.
    running : Out(1)
        The state is RUN.
    clear_counters : Out(1)
        The last cycle of DRAIN before RUN.
    status : Out(4)
        The status register.
    cause : Out(4)
        A :class:`~celosia.rtl.registers.Cause`.
    error_address : Out(address_bits)
        Of the error.
    """

    start_command: Signal
    clear_command: Signal
    finished: Signal
    quiet: Signal
    start: Signal
    stop: Signal
    reset_units: Signal
    running: Signal
    clear_counters: Signal
    status: Signal
    cause: Signal
    error_address: Signal

    def __init__(self, *, address_bits: int, causes: tuple[Cause, ...] = CAUSES) -> None:
        self._errors = error_ports(causes)
        super().__init__(
            {
                "start_command": In(1),
                "clear_command": In(1),
                "finished": In(1),
                "quiet": In(1),
                "start": Out(1),
                "stop": Out(1),
                "reset_units": Out(1),
                "running": Out(1),
                "clear_counters": Out(1),
                "status": Out(4),
                "cause": Out(CAUSE_BITS),
                "error_address": Out(address_bits),
            }
            | {name: In(ErrorReport(address_bits=address_bits)) for name in self._errors},
            name="control",
            parameters=(address_bits, causes),
        )

    def build(self) -> Module:
        m = Module()
        state = Signal(State)
        following = Signal(State)  # where DRAIN leads
        m.d.sync += self.start.eq(0)  # but as DRAIN leads to RUN
        with m.Switch(state):
            with m.Case(State.IDLE):
                with m.If(self.start_command & ~self.clear_command):
                    m.d.sync += self._drain(state, following, State.RUN)
            with m.Case(State.DRAIN):
                leads = Signal(State)
                begins = Signal()
                m.d.comb += [
                    leads.eq(Mux(self.clear_command, State.IDLE, following)),
                    begins.eq(self.quiet & (leads == State.RUN)),
                    self.reset_units.eq(self.quiet),
                    self.clear_counters.eq(begins),
                ]
                m.d.sync += [following.eq(leads), self.start.eq(begins)]
                with m.If(self.quiet):
                    m.d.sync += state.eq(leads)
                with m.If(begins):
                    m.d.sync += [self.cause.eq(Cause.NONE), self.error_address.eq(0)]
            with m.Case(State.RUN):
                self._run(m, state, following)
            with m.Case(State.DONE):
                with m.If(self.clear_command):
                    m.d.sync += state.eq(State.IDLE)
                with m.Elif(self.start_command):
                    m.d.sync += self._drain(state, following, State.RUN)
            with m.Case(State.ERROR):
                with m.If(self.clear_command):
                    m.d.sync += state.eq(State.IDLE)
        m.d.comb += [
            self.running.eq(state == State.RUN),
            self.stop.eq(~self.running),
            self.status.eq(
                Cat(
                    state == State.IDLE,
                    state == State.DONE,
                    state == State.ERROR,
                    (state == State.DRAIN) | self.running,
                )
            ),
        ]
        return m

    @staticmethod
    def _drain(state: _StateSignal, following: _StateSignal, after: State) -> list[Any]:
        return [state.eq(State.DRAIN), following.eq(after)]

    def _run(self, m: Module, state: _StateSignal, following: _StateSignal) -> None:
        with m.If(self.finished):
            m.d.sync += state.eq(State.DONE)
        with m.If(self.clear_command):
            m.d.sync += self._drain(state, following, State.IDLE)
        for name in reversed(self._errors):
            report = getattr(self, name)
            with m.If(report.raised):
                m.d.sync += self._drain(state, following, State.ERROR)
                m.d.sync += [
                    self.cause.eq(Cause[name.upper()]),
                    self.error_address.eq(report.address),
                ]
