"""An engine on a board at the other end of a serial cable."""

from __future__ import annotations

import binascii
import struct
import time
from pathlib import Path
from typing import Final

import numpy as np

from celosia.fpga.driver.errors import LinkError, RefusedError
from celosia.fpga.driver.serial_port import SerialPort
from celosia.fpga.frames import (
    ANSWER,
    CHECKSUM_BYTES,
    CHECKSUM_START,
    MOST_WORDS,
    REQUEST,
    Operation,
    Outcome,
)
from celosia.fpga.serial_boards import BAUD, LEAST_MEMORY_BYTES
from celosia.models.errors import CelosiaError

ATTEMPTS: Final = 3
"""How often a request is sent before the link counts as broken."""

_POLL_SECONDS: Final = 0.001
_BITS: Final = 10
"""Of a byte on the wire."""


class UartTransport:
    """The way to an engine over a serial link, by the frames of :mod:`celosia.fpga.frames`.

    A request whose answer does not come, or comes damaged, is sent again; the board carries it out
    once: it knows a write of registers by its number. So that none has by chance the number of the
    request before, which may be another process's, a register is read first wherever it is not
    known which request the board carried out last. When the port is gone (a cable was pulled) it is
    opened again at the next request.

    Parameters
    ----------
    port : str or Path
        The serial port, such as ``/dev/ttyUSB0``.
    baud : int
        Bits a second, those of the board.
    patience : float
        Seconds to wait for an answer beyond what its bytes take; more than the board waits for a
        request that stopped.

    Raises
    ------
    LinkError
        When the port cannot be opened.
    """

    def __init__(
        self,
        port: str | Path,
        *,
        baud: int = BAUD,
        patience: float = 0.5,
    ) -> None:
        self._path = port
        self._baud = baud
        self._patience = patience
        self._number = 0
        self._in_step = False  # the board carried out the request with this number last
        self._port: SerialPort | None = SerialPort(port, baud)

    def read_register(self, offset: int) -> int:
        """Return the 32-bit register at byte ``offset``."""
        return int.from_bytes(self._request(Operation.READ_REGISTER, offset, 1), "little")

    def write_register(self, offset: int, value: int) -> None:
        """Write the 32-bit register at byte ``offset``."""
        if not self._in_step:
            self.read_register(0)  # carried out whatever its number, and the next has another
        self._request(Operation.WRITE_REGISTER, offset, 1, value.to_bytes(4, "little"))

    def place(self, size: int, *, ports: int, beat_bytes: int) -> tuple[int, tuple[int, ...]]:
        """Use the first ``size`` bytes of the board's memory; how much it has is asked of it."""
        if ports != 1:
            raise CelosiaError(
                f"the engine has {ports} memory ports of {beat_bytes} bytes together, the board's "
                "system has one: set ports = 1 in [bus]"
            )
        if not self._has(size):
            there = LEAST_MEMORY_BYTES
            while self._has(2 * there):
                there *= 2
            raise CelosiaError(
                f"the program takes {size:,} bytes of memory, the board has {there:,}: take a "
                "smaller network, narrower formats or one buffer, or make its bitstream with more "
                "(--memory)"
            )
        return 0, ()

    def _has(self, size: int) -> bool:
        """Whether the board's memory has at least ``size`` bytes."""
        try:
            self.read_memory(size - 4, 4)
        except RefusedError:
            return False
        return True

    def read_memory(self, address: int, size: int) -> np.ndarray:
        """Return ``size`` bytes from ``address`` on."""
        first, stop = address // 4 * 4, -(-(address + size) // 4) * 4
        parts = []
        for start in range(first, stop, 4 * MOST_WORDS):
            words = min(stop - start, 4 * MOST_WORDS) // 4
            parts.append(self._request(Operation.READ_MEMORY, start, words))
        contents = np.frombuffer(b"".join(parts), np.uint8)
        return contents[address - first : address - first + size]

    def write_memory(self, address: int, contents: np.ndarray) -> None:
        """Write ``contents`` from ``address`` on; words that it fills in part keep the rest."""
        stop = address + contents.size
        first, last = address // 4 * 4, -(-stop // 4) * 4
        before = self.read_memory(first, address - first) if address > first else b""
        after = self.read_memory(stop, last - stop) if last > stop else b""
        raw = bytes(before) + contents.tobytes() + bytes(after)
        for start in range(0, len(raw), 4 * MOST_WORDS):
            part = raw[start : start + 4 * MOST_WORDS]
            self._request(Operation.WRITE_MEMORY, first + start, len(part) // 4, part)

    def wait(self, seconds: float) -> bool:
        """Wait for a moment: the link carries no interrupt."""
        time.sleep(min(seconds, _POLL_SECONDS))
        return True

    def close(self) -> None:
        """Close the port."""
        self._in_step = False  # until it is opened again, others may use the board
        if self._port is not None:
            self._port.close()
            self._port = None

    def _request(self, operation: Operation, address: int, words: int, raw: bytes = b"") -> bytes:
        """Carry out a request; return the words of a read."""
        self._number, self._in_step = (self._number + 1) & 0xFF, False
        header = struct.pack("<BBIH", operation, self._number, address, words)
        frame = bytes([REQUEST]) + _checked(header) + (_checked(raw) if raw else b"")
        answer_bytes = 4 * words if operation.reads else 0
        seconds = 2 * _BITS * (len(frame) + answer_bytes) / self._baud + self._patience
        why = ""
        for _ in range(ATTEMPTS):
            try:
                port = self._opened()
                port.discard()
                port.write(frame, seconds)
                outcome, found = self._answer(port, answer_bytes, seconds)
            except LinkError:
                self.close()
                raise
            if outcome is Outcome.DONE:
                self._in_step = True
                return found
            if outcome is Outcome.OUTSIDE or outcome is Outcome.UNKNOWN:
                raise RefusedError(
                    f"the board refuses to {operation.name.lower().replace('_', ' ')} {words} "
                    f"words at {address:#x}: {_REFUSALS[outcome]}"
                )
            why = "no answer came" if outcome is None else "the board received damaged bytes"
        raise LinkError(
            f"the board at {self._path} does not answer ({why}, {ATTEMPTS} times): check the "
            "cable, the name of the port, its speed, and that the bitstream is loaded"
        )

    def _opened(self) -> SerialPort:
        if self._port is None:
            self._port = SerialPort(self._path, self._baud)
        return self._port

    def _answer(self, port: SerialPort, size: int, seconds: float) -> tuple[Outcome | None, bytes]:
        """Return what became of the last request, None where no answer of it came whole."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if port.read(1, left) != bytes([ANSWER]):
                continue  # noise, or the rest of an answer that was given up
            head = port.read(2, seconds)
            done = head[:1] == bytes([Outcome.DONE])
            rest = port.read((size if done else 0) + CHECKSUM_BYTES, seconds)
            whole = head + rest
            if len(whole) < 2 + CHECKSUM_BYTES or binascii.crc_hqx(whole, CHECKSUM_START):
                return None, b""
            if head[1] == self._number and head[0] in set(Outcome):
                return Outcome(head[0]), rest[:-CHECKSUM_BYTES]
        return None, b""


_REFUSALS: Final = {
    Outcome.OUTSIDE: "they lie outside of its memory and registers",
    Outcome.UNKNOWN: "it knows no such request: build its bitstream with this release",
}


def _checked(raw: bytes) -> bytes:
    return raw + binascii.crc_hqx(raw, CHECKSUM_START).to_bytes(CHECKSUM_BYTES, "big")
