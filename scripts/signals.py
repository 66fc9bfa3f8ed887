"""Signals that ask the command to end."""

from __future__ import annotations

import signal
from types import FrameType


class Stop:
    """Lets SIGTERM and SIGHUP do what Ctrl-C does: raise ``KeyboardInterrupt`` in the main thread.

    So children are ended and what was half written is removed, however the command is stopped.
    """

    def __init__(self) -> None:
        self._signal: signal.Signals | None = None

    def install(self) -> None:
        """Take over the signals, except those that this process was told to ignore (nohup)."""
        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is signal.SIG_DFL:
                signal.signal(number, self._handle)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        # Only the first counts: a second one must not stop the tidying.
        if self._signal is None:
            self._signal = signal.Signals(number)
            raise KeyboardInterrupt

    @property
    def stopped(self) -> bool:
        """Whether one of the signals came."""
        return self._signal is not None

    @property
    def status(self) -> int:
        """The exit status of an interrupted command: 128 and the signal's number."""
        return 128 + (self._signal or signal.SIGINT)

    @property
    def reason(self) -> str:
        """What ended the command, in words."""
        return f"stopped by {self._signal.name}" if self._signal else "interrupted"
