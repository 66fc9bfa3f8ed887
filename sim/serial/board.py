"""A board with a serial port as a Python object, and behind a pseudo-terminal."""

from __future__ import annotations

import ctypes
import os
import select
import threading
import tty
from pathlib import Path
from types import TracebackType
from typing import Final

from celosia.models.errors import CelosiaError
from celosia.sim.verilate import Progress, verilate

HARNESS: Final = Path(__file__).parent / "board.cpp"

_SLICE: Final = 2048
"""Cycles between two looks at the pseudo-terminal."""

_IDLE_SECONDS: Final = 0.0005
"""Rest between two slices in which no byte went either way."""

_ROOM: Final = 1 << 16


class BoardModel:
    """A verilated board: ports ``clk``, ``button``, ``uart_rx``, ``uart_tx``, ``led``.

    Not for two threads at once.

    Parameters
    ----------
    verilog, top : str
        The design.
    divisor : int
        Cycles of ``clk`` in a bit of its serial port.
    button_low, leds_low : bool
        Whether a pressed button, or a lit LED, is low.
    progress : Callable, optional
        See :data:`celosia.sim.verilate.Progress`.

    Raises
    ------
    CelosiaError
        As :func:`celosia.sim.verilate.verilate` does.
    """

    def __init__(
        self,
        verilog: str,
        top: str,
        divisor: int,
        *,
        button_low: bool = False,
        leds_low: bool = False,
        progress: Progress | None = None,
    ) -> None:
        built = verilate(verilog, top, harness=HARNESS, progress=progress)
        calls = ctypes.CDLL(str(built.library))
        handle, size, data = ctypes.c_void_p, ctypes.c_uint64, ctypes.c_char_p
        for name, result, arguments in (
            ("new", handle, [ctypes.c_uint]),
            ("delete", None, [handle]),
            ("send", None, [handle, data, size]),
            ("receive", size, [handle, data, size]),
            ("drop", None, [handle]),
            ("run", None, [handle, size]),
            ("press", None, [handle, ctypes.c_int]),
            ("leds", ctypes.c_uint, [handle]),
        ):
            call = getattr(calls, f"board_{name}")
            call.restype, call.argtypes = result, arguments
        self._calls = calls
        self._inverts = button_low, leds_low
        self._handle: int | None = calls.board_new(divisor)
        self.press(False)

    def close(self) -> None:
        """Free the model; it cannot be used any more."""
        if self._handle:
            self._calls.board_delete(self._handle)
            self._handle = None

    @property
    def _live(self) -> int:
        """What C knows the model by."""
        if self._handle is None:
            raise CelosiaError("the simulated board is closed: make another")
        return self._handle

    def run(self, cycles: int) -> None:
        """Let ``cycles`` cycles pass."""
        self._calls.board_run(self._live, cycles)

    def send(self, data: bytes) -> None:
        """Queue bytes for the board."""
        self._calls.board_send(self._live, data, len(data))

    def receive(self) -> bytes:
        """Return the bytes that the board has sent."""
        room = ctypes.create_string_buffer(_ROOM)
        size = self._calls.board_receive(self._live, room, _ROOM)
        return room.raw[:size]

    def drop(self) -> None:
        """Lose what is queued for the board, but for the byte on the wire."""
        self._calls.board_drop(self._live)

    def press(self, pressed: bool) -> None:
        """Press or release the button."""
        self._calls.board_press(self._live, int(pressed) ^ self._inverts[0])

    @property
    def leds(self) -> int:
        """The LEDs, LED 0 in bit 0: 1 is lit."""
        levels = int(self._calls.board_leds(self._live))
        return levels ^ 0xF if self._inverts[1] else levels


class PtyBoard:
    """A board behind a pseudo-terminal: it runs in a thread while the context is entered.

    Parameters
    ----------
    model : BoardModel
        The board; closed at the end.

    Attributes
    ----------
    port : str
        The terminal's name, for whoever thinks that it is a cable.
    """

    def __init__(self, model: BoardModel) -> None:
        self._model = model
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._cut: int | None = None
        self._ours, self._theirs = os.openpty()
        tty.setraw(self._theirs)  # kept open, so that a host may close and open its end
        self.port = os.ttyname(self._theirs)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> PtyBoard:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        self._thread.join()
        os.close(self._ours)
        os.close(self._theirs)
        self._model.close()

    def press_button(self, cycles: int = 16) -> None:
        """Press the button for ``cycles`` cycles."""
        with self._lock:
            self._model.press(True)
            self._model.run(cycles)
            self._model.press(False)

    @property
    def leds(self) -> int:
        """The LEDs, LED 0 in bit 0."""
        with self._lock:
            return self._model.leds

    def pull_cable(self, after: int = 0) -> None:
        """Lose all bytes, either way, but for the next ``after`` to the board."""
        with self._lock:
            self._cut = after

    def plug_in(self) -> None:
        """Lose no more bytes."""
        with self._lock:
            self._cut = None

    def disturb(self, data: bytes) -> None:
        """Let the board receive bytes that nobody sent."""
        with self._lock:
            self._model.send(data)

    def _run(self) -> None:
        while not self._over.is_set():
            with self._lock:
                busy = self._step()
            if not busy:
                self._over.wait(_IDLE_SECONDS)

    def _step(self) -> bool:
        """Pass on what came and let some cycles pass; return whether bytes went either way."""
        ready, _, _ = select.select([self._ours], [], [], 0)
        came = os.read(self._ours, 4096) if ready else b""
        if self._cut is not None:
            came, self._cut = came[: self._cut], max(0, self._cut - len(came))
        if came:
            self._model.send(came)
        self._model.run(_SLICE)
        sent = self._model.receive()
        if sent and self._cut is None:
            os.write(self._ours, sent)
        return bool(came or sent)
