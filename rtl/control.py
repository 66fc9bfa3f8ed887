"""Start, end and clean stop of a program."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib.wiring import In, Out

from celosia.rtl.ports import ErrorReport
from celosia.rtl.registers import CAUSE_BITS, CAUSES, Cause
from celosia.rtl.shared import Shared


def error_ports(causes: tuple[Cause, ...]) -> tuple[str, ...]:
    """Return the names of the shell's error ports, the one that wins first."""
    return tuple(cause.name.lower() for cause in sorted(causes))


class Control(Shared):
    """Start, end and clean stop.

    ======  ==================================  ====================================================
    state   leaves                              meanwhile
    ======  ==================================  ====================================================
    IDLE    start -> DRAIN                      ``stop``
    DRAIN   a cycle after ``quiet`` -> RUN,     ``stop``; ``reset_units`` in its last cycle but one
            ERROR or IDLE
    RUN     error or clear -> DRAIN             ``start`` in its first cycle
            ``finished`` -> DONE
    DONE    start -> DRAIN; clear -> IDLE       ``stop``
    ERROR   clear -> IDLE                       ``stop``
    ======  ==================================  ====================================================

    DRAIN lasts two cycles when nothing is in flight, and goes on to RUN after a start, to ERROR
    after an error and to IDLE after a clear. A clear wins over a start, an error over both and over
    ``finished``. Errors outside RUN are ignored.

    An error may be reported one cycle late, by a register: what ``finished`` waits for has ended in
    an earlier cycle, so that an error in it comes with ``finished`` at the latest, and wins. What
    goes on for one cycle more is drained.

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
        DRAIN, before RUN unless a clear comes.
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
        # One register for each state and for all that leaves: what enters it or stays in it.
        idle, drain, done, failed = Signal(init=1), Signal(), Signal(), Signal()
        busy, stop = Signal(), Signal(init=1)  # DRAIN or RUN; not RUN
        renewing, failing = self.clear_counters, Signal()  # DRAIN leads to RUN, to ERROR
        # Nothing begins in DRAIN, so what is quiet stays so: units are reset by registers, in the
        # last cycle.
        still = Signal()
        reports = [getattr(self, name) for name in self._errors]
        clear, running = self.clear_command, self.running
        starts, begins, raised, ends, runs = (
            Signal(name=name) for name in ("starts", "begins", "raised", "ends", "runs")
        )
        m.d.comb += [
            starts.eq((idle | done) & self.start_command & ~clear),
            begins.eq(renewing & still & ~clear),
            raised.eq(Cat(report.raised for report in reports).any()),
            ends.eq(running & self.finished & ~clear & ~raised),
            runs.eq(begins | (running & ~(self.finished | clear | raised))),
            self.stop.eq(stop),
            self.reset_units.eq(drain & self.quiet & ~still),
            self.status.eq(Cat(idle, done, failed, busy)),
        ]
        m.d.sync += [
            idle.eq(
                (idle & ~starts)
                | (still & (clear | ~(renewing | failing)))
                | (clear & (done | failed))
            ),
            drain.eq(starts | (running & (clear | raised)) | (drain & ~still)),
            still.eq(self.reset_units),
            running.eq(runs),
            stop.eq(~runs),
            done.eq(ends | (done & ~self.start_command & ~clear)),
            failed.eq(((still & failing) | failed) & ~clear),
            busy.eq(starts | (running & ~ends) | (drain & (~still | (renewing & ~clear)))),
            renewing.eq(starts | (renewing & ~still & ~clear)),
            failing.eq((running & raised) | (failing & ~still & ~clear)),
            self.start.eq(begins),
        ]
        with m.If(renewing):
            m.d.sync += [self.cause.eq(Cause.NONE), self.error_address.eq(0)]
        for name, report in zip(reversed(self._errors), reversed(reports), strict=True):
            with m.If(running & report.raised):
                m.d.sync += [
                    self.cause.eq(Cause[name.upper()]),
                    self.error_address.eq(report.address),
                ]
        return m
