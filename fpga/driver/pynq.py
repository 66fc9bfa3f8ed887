"""An engine on a board that runs PYNQ."""

from __future__ import annotations

import asyncio
import importlib
import time
from pathlib import Path
from typing import Any, Final

import numpy as np

from celosia.fpga.driver.physical import PhysicalMemory
from celosia.models.errors import CelosiaError, MissingToolError

POLL_SECONDS: Final = 50e-6
"""Between two looks at the status where there is no interrupt."""


class PynqTransport:
    """The way to an engine by PYNQ: its overlay, allocated memory, and interrupts.

    Where PYNQ knows no interrupt of the engine's (it needs an AXI interrupt controller in the
    design, or a UIO device for the processor's line), or an event loop runs already, as in a
    notebook, the status is polled.

    Parameters
    ----------
    bitstream : str or Path
        The ``.bit`` file; its ``.hwh`` lies beside it.
    name : str
        The engine in the block design.

    Raises
    ------
    MissingToolError
        When PYNQ is not installed.
    CelosiaError
        When a file is missing, or the design has no such engine.
    """

    def __init__(self, bitstream: str | Path, *, name: str = "engine") -> None:
        path = Path(bitstream)
        for needed in (path, path.with_suffix(".hwh")):
            if not needed.is_file():
                raise CelosiaError(
                    f"there is no {needed}: PYNQ needs the .bit and the .hwh of a design, of one "
                    "name in one folder"
                )
        try:
            self._pynq: Any = importlib.import_module("pynq")
        except ImportError as error:
            raise MissingToolError(
                "the Python package pynq is not installed: it is part of a board's PYNQ image. "
                "Without it, use UioTransport"
            ) from error
        self._loop = _own_loop()  # before the overlay: its interrupts take the current one
        self._overlay: Any = self._pynq.Overlay(str(path))
        if name not in self._overlay.ip_dict:
            self._close_loop()
            known = ", ".join(sorted(self._overlay.ip_dict)) or "none"
            raise CelosiaError(f"{path} has no core called {name!r}; it has {known}")
        self._core: Any = getattr(self._overlay, name)
        self._interrupt: Any = getattr(self._core, "interrupt", None)
        self._buffer: Any = None
        self._memory: PhysicalMemory | None = None

    def read_register(self, offset: int) -> int:
        """Return the 32-bit register at byte ``offset``."""
        return int(self._core.read(offset))

    def write_register(self, offset: int, value: int) -> None:
        """Write the 32-bit register at byte ``offset``."""
        self._core.write(offset, value)

    def place(self, size: int, *, ports: int, beat_bytes: int) -> tuple[int, tuple[int, ...]]:
        """Allocate ``size`` bytes, freeing what was allocated before."""
        self._free()
        try:
            buffer = self._pynq.allocate(shape=(size,), dtype="u1")
        except (MemoryError, RuntimeError) as error:
            raise CelosiaError(
                f"PYNQ cannot allocate {size:,} bytes of contiguous memory ({error}): free "
                "buffers, or raise the kernel's cma="
            ) from error
        self._buffer = buffer
        self._memory = PhysicalMemory(
            np.asarray(buffer).view(np.ndarray),
            int(buffer.device_address),
            flush=lambda first, stop: buffer[first:stop].flush(),
            invalidate=lambda first, stop: buffer[first:stop].invalidate(),
        )
        return self._memory.place(size, ports=ports, beat_bytes=beat_bytes)

    def read_memory(self, address: int, size: int) -> np.ndarray:
        """Return ``size`` bytes from the engine's ``address`` on."""
        return self._placed.read(address, size)

    def write_memory(self, address: int, contents: np.ndarray) -> None:
        """Write ``contents`` from the engine's ``address`` on."""
        self._placed.write(address, contents)

    def wait(self, seconds: float) -> bool:
        """Await the interrupt; without one, wait for a moment."""
        if self._interrupt is None or self._loop is None:
            time.sleep(min(seconds, POLL_SECONDS))
            return True
        waiting = asyncio.wait_for(self._interrupt.wait(), seconds)
        try:
            self._loop.run_until_complete(waiting)
        except TimeoutError:
            return False
        return True

    def close(self) -> None:
        """Free the memory; the bitstream stays loaded."""
        self._free()
        self._close_loop()

    @property
    def _placed(self) -> PhysicalMemory:
        if self._memory is None:
            raise CelosiaError("no memory is placed for the engine: load a program first")
        return self._memory

    def _free(self) -> None:
        self._memory = None
        if self._buffer is not None:
            self._buffer.freebuffer()
            self._buffer = None

    def _close_loop(self) -> None:
        if self._loop is not None and not self._loop.is_closed():
            asyncio.set_event_loop(None)
            self._loop.close()


def _own_loop() -> asyncio.AbstractEventLoop | None:
    """Return a new event loop, made the current one; None where one runs already."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        return loop
    return None
