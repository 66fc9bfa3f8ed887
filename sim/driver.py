"""What software does with the engine's registers, on a simulated one."""

from __future__ import annotations

import enum
import threading
from typing import Final

from celosia.dataflow.engines import Description, kind_of
from celosia.dataflow.program import BaseProgram
from celosia.dataflow.stripes import stripe_bases
from celosia.models.errors import CelosiaError
from celosia.rtl.core import core_registers
from celosia.rtl.registers import Cause
from celosia.sim.library import Model, Outcome

START: Final = 1
CLEAR: Final = 2
ERROR: Final = 4

_SLICE: Final = 8192
"""Cycles between two looks at whether to stop: well under a second on the largest engines."""

_MOST: Final = (1 << 63) - 1
"""Most that a counter of 64 bits may hold: runs keep counters as signed numbers."""


class EngineError(CelosiaError):
    """The engine stopped with an error.

    Attributes
    ----------
    cause : Cause
        Its cause register.
    address : int
        Address of the burst or descriptor that the cause concerns.
    """

    def __init__(self, message: str, cause: Cause, address: int) -> None:
        super().__init__(message)
        self.cause = cause
        self.address = address


class HangError(CelosiaError):
    """The engine did not end within the limit of cycles."""


class Interrupted(Exception):
    """Another thread asked for a stop."""


class Driver:
    """The registers of one simulated engine, by name.

    Parameters
    ----------
    model : Model
        The engine, built for ``accelerator``.
    accelerator : Description
        Gives the register map.
    """

    def __init__(self, model: Model, accelerator: Description) -> None:
        self._model = model
        self._stripes = stripe_bases(accelerator.bus) if accelerator.bus.stripes else ()
        model.place_stripes(self._stripes)
        self._offsets = {register.name: register.offset for register in core_registers(accelerator)}
        self._counters = kind_of(accelerator).counters

    @property
    def model(self) -> Model:
        """The engine."""
        return self._model

    def write(self, name: str, value: int) -> None:
        """Write register ``name``."""
        self._model.write(self._offsets[name], value)

    def read(self, name: str) -> int:
        """Return register ``name``."""
        return self._model.read(self._offsets[name])

    def write_pair(self, name: str, value: int) -> None:
        """Write the registers ``name_low`` and ``name_high``."""
        self.write(f"{name}_low", value & 0xFFFF_FFFF)
        self.write(f"{name}_high", value >> 32)

    def read_pair(self, name: str) -> int:
        """Return the registers ``name_low`` and ``name_high``."""
        return self.read(f"{name}_low") | self.read(f"{name}_high") << 32

    def configure(self, program: BaseProgram) -> None:
        """Point the engine at ``program`` and its memory window, with the interrupt enabled."""
        base, limit = program.window
        self.write_pair("program", program.program_address)
        self.write("program_chunks", program.chunks)
        self.write_pair("window_base", base)
        self.write_pair("window_limit", limit)
        for port, start in enumerate(self._stripes):
            self.write_pair(f"stripe{port}_base", start)
        self.write("interrupt_enable", 1)

    def start(self) -> None:
        """Start the program."""
        self.write("control", START)

    def clear(self) -> None:
        """Bring the engine back to idle, after an error or in the middle of a program."""
        self.write("control", CLEAR)

    def wait(self, limit: int, stop: threading.Event | None = None) -> None:
        """Run until the program ends.

        Parameters
        ----------
        limit : int
            Most cycles.
        stop : threading.Event, optional
            Ends the run early when set.

        Raises
        ------
        EngineError
            When the engine reports an error.
        HangError
            When the limit is reached.
        Interrupted
            When ``stop`` was set.
        ProtocolError
            When the engine breaks a rule of its bus.
        """
        end = self._model.cycle + limit
        while self._model.run(min(_SLICE, end - self._model.cycle)) is Outcome.CYCLES:
            if stop is not None and stop.is_set():
                raise Interrupted
            if self._model.cycle >= end:
                raise HangError(
                    f"the program did not end within {limit} cycles: the engine waits for "
                    "something that does not come"
                )
        if self.read("status") & ERROR:
            cause, address = Cause(self.read("cause")), self.read_pair("error_address")
            what = cause.name.lower().replace("_", " ")
            raise EngineError(
                f"the engine stopped: {what}, at address {address:#x}", cause, address
            )

    def counters(self) -> dict[enum.IntEnum, int]:
        """Return all counters.

        Raises :class:`~celosia.models.errors.CelosiaError` when one holds what no run counts up
        to: its reset does not reach it.
        """
        found = {counter: self.read_pair(counter.name.lower()) for counter in self._counters}
        for counter, value in found.items():
            if value > _MOST:
                raise CelosiaError(
                    f"counter {counter.name.lower()} holds {value:#x}, more than any run counts: "
                    "the engine was not reset, or its registers have no reset"
                )
        return found
