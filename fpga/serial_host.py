"""The host's side of :mod:`celosia.fpga.host_link`: words, and whole runs of a program."""

from __future__ import annotations

import struct
import time
from typing import Protocol

import numpy as np

from celosia.fpga.host_link import ACKNOWLEDGE, Operation
from celosia.models.errors import CelosiaError

MOST_WORDS = 0xFFFF


class Port(Protocol):
    """A serial port, such as pyserial's ``Serial`` with a timeout."""

    def write(self, data: bytes, /) -> object:
        """Send ``data``."""
        ...

    def read(self, size: int, /) -> bytes:
        """Return ``size`` bytes, or fewer when the timeout ends."""
        ...


class Host:
    """Reads and writes the registers and the memory of a design with a host link.

    Every method raises :class:`CelosiaError` when the board does not answer.

    Parameters
    ----------
    port : Port
        Where the board is connected.
    """

    def __init__(self, port: Port) -> None:
        self._port = port

    def write_register(self, address: int, value: int) -> None:
        """Write the 32-bit register at byte ``address``."""
        self._write(Operation.WRITE_REGISTER, address, struct.pack("<I", value))

    def read_register(self, address: int) -> int:
        """Return the 32-bit register at byte ``address``."""
        (value,) = struct.unpack("<I", self._read(Operation.READ_REGISTER, address, 1))
        return int(value)

    def write_memory(self, address: int, contents: bytes) -> None:
        """Write ``contents``, whole words, from byte ``address``, a multiple of 4."""
        _check(address, len(contents))
        for start in range(0, len(contents), 4 * MOST_WORDS):
            part = contents[start : start + 4 * MOST_WORDS]
            self._write(Operation.WRITE_MEMORY, address + start, part)

    def read_memory(self, address: int, size: int) -> bytes:
        """Return ``size`` bytes, whole words, from byte ``address``, a multiple of 4."""
        _check(address, size)
        parts = []
        for start in range(0, size, 4 * MOST_WORDS):
            words = min(size - start, 4 * MOST_WORDS) // 4
            parts.append(self._read(Operation.READ_MEMORY, address + start, words))
        return b"".join(parts)

    def start(self, *, program: int, chunks: int, window: tuple[int, int]) -> None:
        """Start the program of ``chunks`` chunks at ``program``, confined to ``window``."""
        base, limit = window
        for register, value in ((0x30, program), (0x40, base), (0x48, limit)):
            self.write_register(register, value & 0xFFFF_FFFF)
            self.write_register(register + 4, value >> 32)
        self.write_register(0x38, chunks)
        self.write_register(0x20, 1)

    def wait(self, seconds: float = 60.0) -> None:
        """Return when the engine is done; raise when it reports an error or time is up."""
        end = time.monotonic() + seconds
        while True:
            status = self.read_register(0x24)
            if status & 4:
                cause, address = self.read_register(0x2C), self.read_register(0x50)
                raise CelosiaError(
                    f"the engine stopped with cause {cause} at address {address:#x}: see the "
                    "register map for what it means; write 2 to register 0x20 to clear it"
                )
            if status & 2:
                return
            if time.monotonic() > end:
                raise CelosiaError(f"the engine is not done after {seconds:g} s")

    def cycles(self) -> int:
        """Return the cycle counter."""
        return self.read_register(0x80) | self.read_register(0x84) << 32

    def _write(self, operation: Operation, address: int, contents: bytes) -> None:
        self._port.write(_header(operation, address, len(contents) // 4) + contents)
        if self._receive(1) != bytes([ACKNOWLEDGE]):
            raise CelosiaError(
                "the board answered a write with something else: check the baud rate"
            )

    def _read(self, operation: Operation, address: int, words: int) -> bytes:
        self._port.write(_header(operation, address, words))
        return self._receive(4 * words)

    def _receive(self, size: int) -> bytes:
        received = self._port.read(size)
        if len(received) != size:
            raise CelosiaError(
                f"the board sent {len(received)} of {size} bytes: check the cable, the name of "
                "the port, and that the bitstream is loaded"
            )
        return received


def image_words(image: np.ndarray) -> bytes:
    """Return a memory image (uint8) padded with zeros to whole words."""
    contents = np.asarray(image, dtype=np.uint8).tobytes()
    return contents + bytes(-len(contents) % 4)


def _header(operation: Operation, address: int, words: int) -> bytes:
    return struct.pack("<BIH", operation.value, address, words)


def _check(address: int, size: int) -> None:
    if address % 4 or size % 4 or address < 0:
        raise ValueError(f"address and size must be multiples of 4, not {address!r} and {size!r}")
