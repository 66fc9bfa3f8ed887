"""Memory that an engine reaches by physical addresses, and the processor as an array."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from celosia.dataflow.microarchitecture import PAGE_BYTES
from celosia.models.errors import CelosiaError

Range = Callable[[int, int], None]
"""Called with the first byte of a range, and the first after it."""


def _nothing(_first: int, _stop: int) -> None:
    """Do nothing: the processor does not cache this memory."""


class PhysicalMemory:
    """An array of bytes that an engine sees from a physical address on.

    Behind several ports it holds their stripes one after the other
    (:mod:`celosia.dataflow.stripes`), and the engine's addresses begin at 0.

    Parameters
    ----------
    array : numpy.ndarray
        uint8, contiguous: the processor's view.
    physical : int
        The engine's address of its first byte, a multiple of 4096.
    flush, invalidate : Callable, optional
        Make what the processor wrote to a range of it visible to the engine, and the other way
        round, where the processor caches it.

    Raises
    ------
    CelosiaError
        ``physical`` is no multiple of 4096.
    """

    def __init__(
        self,
        array: np.ndarray,
        physical: int,
        *,
        flush: Range = _nothing,
        invalidate: Range = _nothing,
    ) -> None:
        if physical % PAGE_BYTES:
            raise CelosiaError(
                f"memory for an engine must begin at a multiple of {PAGE_BYTES}, not at "
                f"{physical:#x}: reserve it so"
            )
        self._array = array
        self._physical = physical
        self._flush = flush
        self._invalidate = invalidate
        self._base = physical
        self._beats = array.reshape(1, -1, 1)

    def place(self, size: int, *, ports: int, beat_bytes: int) -> tuple[int, tuple[int, ...]]:
        """Do what :meth:`celosia.fpga.driver.transport.Transport.place` says."""
        if size > self._array.size:
            raise CelosiaError(
                f"the program takes {size:,} bytes of memory and {self._array.size:,} are "
                "reserved: reserve more, or load with one buffer"
            )
        share = size // ports
        used = self._array[:size]
        self._beats = used.reshape(ports, -1, beat_bytes // ports)
        if ports == 1:
            self._base = self._physical
            return self._base, ()
        self._base = 0
        return 0, tuple(self._physical + port * share for port in range(ports))

    def read(self, address: int, size: int) -> np.ndarray:
        """Return ``size`` bytes from the engine's ``address`` on."""
        first, stop, offset = self._range(address, size)
        self._each_stripe(self._invalidate, first, stop)
        beats = self._beats[:, first:stop].transpose(1, 0, 2).reshape(-1)
        return np.array(beats[offset : offset + size])

    def write(self, address: int, contents: np.ndarray) -> None:
        """Write ``contents`` (uint8) from the engine's ``address`` on."""
        first, stop, offset = self._range(address, contents.size)
        view = self._beats[:, first:stop].transpose(1, 0, 2)
        beats = np.array(view).reshape(-1)
        beats[offset : offset + contents.size] = contents
        view[...] = beats.reshape(view.shape)
        self._each_stripe(self._flush, first, stop)

    def _range(self, address: int, size: int) -> tuple[int, int, int]:
        """Return first beat, the first after the last, and where in them the bytes begin."""
        ports, beats, part = self._beats.shape
        beat, offset = ports * part, address - self._base
        if offset < 0 or offset + size > beats * beat:
            raise CelosiaError(
                f"{size} bytes at {address:#x} are outside of the memory that was placed for the "
                f"engine, {beats * beat} bytes at {self._base:#x}"
            )
        return offset // beat, -(-(offset + size) // beat), offset % beat

    def _each_stripe(self, act: Range, first: int, stop: int) -> None:
        ports, beats, part = self._beats.shape
        for port in range(ports):
            start = port * beats * part
            act(start + first * part, start + stop * part)
