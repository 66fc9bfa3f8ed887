"""Boards without boards: an engine behind registers and memory that only look like one.

``Engine`` does what the hardware does at its registers, with the native simulator inside; around
it are stand-ins for PYNQ and for Linux's devices.
"""

from __future__ import annotations

import asyncio
import threading
from types import SimpleNamespace

import numpy as np

from celosia.dataflow.memory import DDR4
from celosia.sim.library import Model
from celosia.sim.run import Simulator

from .engines import simulator


class Engine:
    """An engine with its registers, over a memory at ``physical``; steps when it is looked at."""

    def __init__(self, over: Simulator | None = None) -> None:
        self.model: Model = (over or simulator()).driver().model

    def attach(self, memory: np.ndarray, physical: int) -> None:
        self.model.attach(memory, physical)
        self.model.start_memory(DDR4)

    def read(self, offset: int) -> int:
        self.model.run(2000)
        return self.model.read(offset)

    def write(self, offset: int, value: int) -> None:
        self.model.write(offset, value)

    @property
    def interrupt(self) -> bool:
        return self.model.run(1000).name == "INTERRUPT"


PHYSICAL = 0x6_1000_0000


class Buffer(np.ndarray):
    """A PynqBuffer of memory that the processor caches: two arrays, kept equal by the user.

    As in pynq/buffer.py: slices are buffers whose addresses lie further on.
    """

    device_address: int
    behind: np.ndarray  # as the engine sees it
    freed: list[int]

    def __array_finalize__(self, whole):
        if isinstance(whole, Buffer):
            own, other = (a.__array_interface__["data"][0] for a in (self, whole))
            self.device_address = whole.device_address + own - other
            self.behind, self.freed = whole.behind, whole.freed

    @property
    def _range(self) -> slice:
        first = self.device_address - PHYSICAL
        return slice(first, first + self.nbytes)

    def flush(self) -> None:
        self.behind[self._range] = self

    def invalidate(self) -> None:
        self[...] = self.behind[self._range]

    def freebuffer(self) -> None:
        self.freed.append(self.nbytes)


class Interrupt:
    """As pynq/interrupt.py has it: a level, waited for by an event that stays when cancelled."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._event = asyncio.Event()
        self._waiting = False
        self.awaited = 0

    async def wait(self) -> None:
        self.awaited += 1
        if not self._waiting:
            self._event.clear()
            self._waiting = True
        while not self._event.is_set():
            await asyncio.sleep(0)
            if self._engine.interrupt:
                self._event.set()
        self._waiting = False


class Core:
    """pynq's DefaultIP: ``write`` refuses what MMIO refuses."""

    def __init__(self, engine: Engine, interrupt: Interrupt | None) -> None:
        self._engine = engine
        self.interrupt = interrupt

    def read(self, offset: int = 0) -> int:
        if offset % 4:
            raise MemoryError("Unaligned read: offset must be multiple of 4.")
        return self._engine.read(offset)

    def write(self, offset: int, value: int) -> None:
        if offset % 4:
            raise MemoryError("Unaligned write: offset must be multiple of 4.")
        if type(value) is not int:
            raise ValueError("Data type must be int or bytes.")
        self._engine.write(offset, int(np.uint32(value)))


def pynq(*, interrupts: bool = True, core: str = "engine", room: int = 1 << 30) -> SimpleNamespace:
    """Return a module like ``pynq``, whose overlay holds an engine."""
    module = SimpleNamespace(freed=[], overlays=[])

    def overlay(path: str) -> SimpleNamespace:
        engine = Engine()
        interrupt = Interrupt(engine) if interrupts else None
        made = SimpleNamespace(ip_dict={core: {}}, **{core: Core(engine, interrupt)})
        module.engine = engine
        module.overlays.append(path)
        return made

    def allocate(shape: tuple[int, ...], dtype: str) -> Buffer:
        if shape[0] > room:
            raise RuntimeError("Failed to allocate memory!")
        buffer = np.full(shape, 0xA5, dtype).view(Buffer)
        buffer.device_address, buffer.freed = PHYSICAL, module.freed
        buffer.behind = np.full(shape, 0x5A, dtype)
        module.engine.attach(buffer.behind, PHYSICAL)
        return buffer

    module.Overlay, module.allocate = overlay, allocate
    return module


class Mapped(threading.Thread):
    """An engine whose registers and memory are ranges of a file, and its interrupt a socket.

    Software sees no more of hardware than that: commands are taken when they change.
    """

    CONTROL, STATUS, CAUSE = 0x20, 0x24, 0x2C

    def __init__(self, registers: np.ndarray, memory: np.ndarray, physical: int) -> None:
        super().__init__(daemon=True)
        self._words = registers.view(np.uint32)
        self._engine = Engine()
        self._engine.attach(memory, physical)
        self._constant = (*range(0x00, 0x20, 4),)
        self._watched = (0x28, *range(0x30, 0x50, 4))
        self._live = (self.STATUS, self.CAUSE, 0x50, 0x54, *range(0x80, 0x100, 4))
        for offset in self._constant:
            self._words[offset // 4] = self._engine.read(offset)
        self._show()
        self.over = threading.Event()

    def run(self) -> None:
        while not self.over.wait(0.0005):
            command = int(self._words[self.CONTROL // 4])
            if command:
                for offset in self._watched:
                    self._engine.write(offset, int(self._words[offset // 4]))
                self._engine.write(self.CONTROL, command)
                self._show()
                self._words[self.CONTROL // 4] = 0
            self._show()

    def _show(self) -> None:
        for offset in (*self._live[1:], self.STATUS):
            self._words[offset // 4] = self._engine.read(offset)
