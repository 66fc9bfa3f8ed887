"""An engine on a board that runs Linux, without PYNQ: UIO, u-dma-buf, ``/dev/mem``."""

from __future__ import annotations

import mmap
import os
import select
import time
from pathlib import Path
from typing import Final

import numpy as np

from celosia.fpga.driver.physical import PhysicalMemory
from celosia.models.errors import CelosiaError
from celosia.rtl.registers import ADDRESS_BITS

POLL_SECONDS: Final = 50e-6
"""Between two looks at the status where there is no interrupt."""

REGISTER_BYTES: Final = 1 << ADDRESS_BITS


class UioInterrupt:
    """The interrupt of a UIO device: unmasked by a write of 1, counted by reads.

    Parameters
    ----------
    descriptor : int
        The open device; not closed here.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def wait(self, seconds: float) -> bool:
        """Wait for the interrupt; False says that time is up.

        Raises :class:`CelosiaError` when the device has none.
        """
        try:
            os.write(self._descriptor, (1).to_bytes(4, "little"))
            ready, _, _ = select.select([self._descriptor], [], [], seconds)
            if not ready:
                return False
            os.read(self._descriptor, 4)
        except OSError as error:
            raise CelosiaError(
                f"the UIO device gives no interrupt ({error.strerror}): name the engine's in the "
                "device tree, or open the device with interrupt=False"
            ) from error
        return True


class _Mapping:
    """A range of a file or device, mapped shared and uncached."""

    def __init__(self, path: str | Path, offset: int, size: int) -> None:
        try:
            self.descriptor = os.open(path, os.O_RDWR | os.O_SYNC)
        except OSError as error:
            raise CelosiaError(
                f"cannot open {path} ({error.strerror}): check the name, that its driver is "
                "loaded, and that you may use it (root may)"
            ) from error
        try:
            self._map = mmap.mmap(self.descriptor, size, offset=offset)
        except (OSError, ValueError) as error:
            os.close(self.descriptor)
            raise CelosiaError(
                f"cannot map {size:#x} bytes at {offset:#x} of {path}: {error}"
            ) from error
        self.bytes = np.frombuffer(self._map, np.uint8)

    def close(self) -> None:
        """Close the file; what is mapped goes when nothing looks at it any more."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


class UioTransport:
    """The way to an engine by mapped registers and memory.

    Make one with :meth:`open_uio` or :meth:`open_mem`.

    Parameters
    ----------
    registers : numpy.ndarray
        The mapped registers, uint8.
    memory : PhysicalMemory
        Memory for the engine.
    interrupt : UioInterrupt, optional
        Its interrupt; without one the status is polled.
    """

    def __init__(
        self,
        registers: np.ndarray,
        memory: PhysicalMemory,
        interrupt: UioInterrupt | None = None,
    ) -> None:
        # Items of an array of words are read and written by single 32-bit accesses.
        self._registers = registers.view(np.uint32)
        self._memory = memory
        self._interrupt = interrupt
        self._mappings: tuple[_Mapping, ...] = ()

    @classmethod
    def open_uio(
        cls,
        uio: str | Path = "/dev/uio0",
        buffer: str | Path = "/dev/udmabuf0",
        *,
        interrupt: bool = True,
        classes: str | Path = "/sys/class/u-dma-buf",
    ) -> UioTransport:
        """Open an engine behind ``uio``, with the memory of the u-dma-buf device ``buffer``.

        Parameters
        ----------
        uio : str or Path
            UIO device whose map 0 holds the engine's registers.
        buffer : str or Path
            Contiguous memory, of the kernel module u-dma-buf.
        interrupt : bool
            Whether the UIO device has the engine's interrupt.
        classes : str or Path
            Where the kernel tells address and size of buffers.

        Raises
        ------
        CelosiaError
            When a device cannot be opened or mapped.
        """
        facts = Path(classes) / Path(buffer).name
        try:
            physical = int((facts / "phys_addr").read_text(), 16)
            size = int((facts / "size").read_text())
        except (OSError, ValueError) as error:
            raise CelosiaError(
                f"{facts} does not say where {buffer} lies ({error}): load the module u-dma-buf"
            ) from error
        registers = _Mapping(uio, 0, REGISTER_BYTES)
        memory = _mapped_beside(registers, buffer, 0, size)
        made = cls(
            registers.bytes,
            PhysicalMemory(memory.bytes, physical),
            UioInterrupt(registers.descriptor) if interrupt else None,
        )
        made._mappings = (registers, memory)
        return made

    @classmethod
    def open_mem(
        cls, registers: int, memory: int, size: int, *, device: str | Path = "/dev/mem"
    ) -> UioTransport:
        """Open an engine by physical addresses; its status is polled.

        Parameters
        ----------
        registers : int
            Address of the engine's registers.
        memory, size : int
            Memory that the kernel leaves alone (``reserved-memory`` in the device tree, ``mem=``),
            and its bytes.
        device : str or Path
            The device of physical memory.

        Raises
        ------
        CelosiaError
            When the device cannot be opened or mapped.
        """
        window = _Mapping(device, registers, REGISTER_BYTES)
        mapped = _mapped_beside(window, device, memory, size)
        made = cls(window.bytes, PhysicalMemory(mapped.bytes, memory))
        made._mappings = (window, mapped)
        return made

    def read_register(self, offset: int) -> int:
        """Return the 32-bit register at byte ``offset``."""
        return int(self._registers[offset // 4])

    def write_register(self, offset: int, value: int) -> None:
        """Write the 32-bit register at byte ``offset``."""
        self._registers[offset // 4] = value

    def place(self, size: int, *, ports: int, beat_bytes: int) -> tuple[int, tuple[int, ...]]:
        """Use the first ``size`` bytes of the memory."""
        return self._memory.place(size, ports=ports, beat_bytes=beat_bytes)

    def read_memory(self, address: int, size: int) -> np.ndarray:
        """Return ``size`` bytes from the engine's ``address`` on."""
        return self._memory.read(address, size)

    def write_memory(self, address: int, contents: np.ndarray) -> None:
        """Write ``contents`` from the engine's ``address`` on."""
        self._memory.write(address, contents)

    def wait(self, seconds: float) -> bool:
        """Wait for the interrupt; without one, wait for a moment."""
        if self._interrupt is not None:
            return self._interrupt.wait(seconds)
        time.sleep(min(seconds, POLL_SECONDS))
        return True

    def close(self) -> None:
        """Close the devices."""
        self._interrupt = None  # its descriptor may be another file's from now on
        for mapping in self._mappings:
            mapping.close()


def _mapped_beside(other: _Mapping, path: str | Path, offset: int, size: int) -> _Mapping:
    """Map a range; where that fails, close ``other`` too."""
    try:
        return _Mapping(path, offset, size)
    except CelosiaError:
        other.close()
        raise
