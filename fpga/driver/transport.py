"""What a driver needs of the way to its engine."""

from __future__ import annotations

from typing import Protocol

import numpy as np


class Transport(Protocol):
    """A way to an engine's registers, memory and interrupt. Not for two threads at once.

    Simulations have it in :mod:`celosia.sim.transport` and :mod:`celosia.sim.cocotb.transport`,
    boards in this package. Each raises :class:`~celosia.models.errors.CelosiaError` in words when
    the engine cannot be reached.
    """

    def read_register(self, offset: int) -> int:
        """Return the 32-bit register at byte ``offset``."""
        ...

    def write_register(self, offset: int, value: int) -> None:
        """Write the 32-bit register at byte ``offset``."""
        ...

    def place(self, size: int, *, ports: int, beat_bytes: int) -> tuple[int, tuple[int, ...]]:
        """Make room for ``size`` bytes in the engine's memory, giving up what was there before.

        Parameters
        ----------
        size : int
            A multiple of 4096 for each port.
        ports, beat_bytes : int
            The engine's memory ports, and bytes of a beat of all of them together.

        Returns
        -------
        int
            The engine's address of the first byte, a multiple of 4096 for each port.
        tuple of int
            Where each port's stripe of the engine's address 0 lies; of a single port nothing.
        """
        ...

    def read_memory(self, address: int, size: int) -> np.ndarray:
        """Return ``size`` bytes (uint8) from the engine's ``address`` on."""
        ...

    def write_memory(self, address: int, contents: np.ndarray) -> None:
        """Write ``contents`` (uint8) from the engine's ``address`` on."""
        ...

    def wait(self, seconds: float) -> bool:
        """Return when the interrupt is high, or may have been; at the latest after ``seconds``.

        False says that time is up. Where there is no interrupt, it may return at any time.
        """
        ...

    def close(self) -> None:
        """Give back what it holds. Called twice it does nothing; nothing else is called then."""
        ...
