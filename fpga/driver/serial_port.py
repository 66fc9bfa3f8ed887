"""A serial port, by the standard library alone."""

from __future__ import annotations

import os
import select
import termios
import time
import tty
from pathlib import Path
from typing import Final

from celosia.fpga.driver.errors import LinkError

_ROOM: Final = 1 << 16


class SerialPort:
    """A serial port with eight data bits, no parity, one stop bit.

    Parameters
    ----------
    path : str or Path
        The device, such as ``/dev/ttyUSB0``.
    baud : int
        Bits a second.

    Raises
    ------
    LinkError
        When the port cannot be opened, or has no such speed.
    """

    def __init__(self, path: str | Path, baud: int) -> None:
        self._path = path
        speed = getattr(termios, f"B{baud}", None)
        if speed is None:
            raise LinkError(f"{path}: no serial port here has {baud} bits a second")
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        except OSError as error:
            raise LinkError(
                f"cannot open the serial port {path} ({error.strerror}): check the name, the "
                "cable, and that you may use it (group dialout)"
            ) from error
        try:
            tty.setraw(self._descriptor)
            settings = termios.tcgetattr(self._descriptor)
            settings[2] |= termios.CLOCAL | termios.CREAD
            settings[4] = settings[5] = speed
            termios.tcsetattr(self._descriptor, termios.TCSANOW, settings)
        except termios.error as error:
            os.close(self._descriptor)
            raise LinkError(f"{path} is no serial port: {error.args[-1]}") from error

    def write(self, data: bytes, seconds: float) -> None:
        """Send ``data``; :class:`LinkError` if the port takes it not, or is gone."""
        end = time.monotonic() + seconds
        while data:
            left = end - time.monotonic()
            _, ready, _ = select.select([], [self._descriptor], [], max(0.0, left))
            if not ready:
                raise LinkError(f"the serial port {self._path} takes no bytes: check the cable")
            try:
                data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:
                continue
            except OSError as error:
                raise self._gone(error) from error

    def read(self, size: int, seconds: float) -> bytes:
        """Return ``size`` bytes, or fewer when ``seconds`` are over."""
        end, data = time.monotonic() + seconds, b""
        while len(data) < size:
            left = end - time.monotonic()
            ready, _, _ = select.select([self._descriptor], [], [], max(0.0, left))
            if not ready:
                break
            try:
                part = os.read(self._descriptor, size - len(data))
            except BlockingIOError:
                continue
            except OSError as error:
                raise self._gone(error) from error
            if not part:
                raise self._gone(None)
            data += part
        return data

    def discard(self) -> None:
        """Forget what was received."""
        while self.read(_ROOM, 0.0):
            pass

    def close(self) -> None:
        """Close the port."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _gone(self, error: OSError | None) -> LinkError:
        why = "it hung up" if error is None else error.strerror
        return LinkError(f"the serial port {self._path} is gone ({why}): plug the cable in again")
