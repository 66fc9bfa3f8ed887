"""A simulated engine in the place of a board: for :class:`celosia.fpga.driver.Accelerator`."""

from __future__ import annotations

import time
from typing import Final

import numpy as np

from celosia.dataflow.memory import DDR4, MemoryModel
from celosia.dataflow.stripes import stripe_bases
from celosia.models.errors import CelosiaError
from celosia.sim.library import Model, Outcome
from celosia.sim.run import Simulator

BASE: Final = 0x1000_0000
"""Where the engine's memory begins."""

_SLICE: Final = 8192
"""Cycles between two looks at the clock."""


class NativeTransport:
    """The way to an engine that the native simulator runs.

    Cycles pass while a register is read or written and while its interrupt is waited for.

    Parameters
    ----------
    simulator : Simulator
        The engine.
    memory : MemoryModel
        The memory that it sees.

    Attributes
    ----------
    model : Model
        The engine, to do to it what happens to boards.
    """

    def __init__(self, simulator: Simulator, memory: MemoryModel = DDR4) -> None:
        self.model: Model = simulator.driver().model
        self._bus = simulator.accelerator.bus
        self._memory = memory
        self._image = np.zeros(0, np.uint8)

    def read_register(self, offset: int) -> int:
        """Return the 32-bit register at byte ``offset``."""
        return self.model.read(offset)

    def write_register(self, offset: int, value: int) -> None:
        """Write the 32-bit register at byte ``offset``."""
        self.model.write(offset, value)

    def place(self, size: int, *, ports: int, beat_bytes: int) -> tuple[int, tuple[int, ...]]:
        """Give the engine a memory of ``size`` bytes."""
        there = (self._bus.ports, self._bus.data_bytes)
        if (ports, beat_bytes) != there:
            raise CelosiaError(
                f"memory for {ports} ports of {beat_bytes} bytes was asked for, the engine has "
                f"{there[0]} of {there[1]}: load a program of this engine"
            )
        self._image = np.zeros(size, np.uint8)
        self.model.attach(self._image, BASE)
        self.model.start_memory(self._memory)
        return BASE, stripe_bases(self._bus) if ports > 1 else ()

    def read_memory(self, address: int, size: int) -> np.ndarray:
        """Return ``size`` bytes from ``address`` on."""
        return self._image[address - BASE : address - BASE + size].copy()

    def write_memory(self, address: int, contents: np.ndarray) -> None:
        """Write ``contents`` from ``address`` on."""
        self._image[address - BASE : address - BASE + contents.size] = contents

    def wait(self, seconds: float) -> bool:
        """Run until the interrupt is high, for at most ``seconds`` of wall clock."""
        end = time.monotonic() + seconds
        while self.model.run(_SLICE) is Outcome.CYCLES:
            if time.monotonic() >= end:
                return False
        return True

    def close(self) -> None:
        """Free the engine."""
        self.model.close()
