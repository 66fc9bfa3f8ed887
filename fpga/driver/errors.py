"""What can go wrong between a driver and its engine; each leaves an engine that runs again."""

from __future__ import annotations

from celosia.models.errors import CelosiaError
from celosia.rtl.registers import Cause


class EngineError(CelosiaError):
    """The engine stopped a program.

    Attributes
    ----------
    cause : Cause
        Its cause register.
    address : int
        Address of the burst or descriptor that the cause concerns.
    """

    def __init__(self, message: str, cause: Cause, address: int) -> None:
        super().__init__(message)
        self.cause = cause
        self.address = address


class EngineTimeoutError(CelosiaError, TimeoutError):
    """The engine, or the way to it, did not answer in time."""


class ResetError(CelosiaError):
    """The engine was reset, or cleared by others, in the middle of a program."""


class BusyError(CelosiaError):
    """A program runs already."""


class LinkError(CelosiaError):
    """The way to the engine does not carry what is sent: a cable, a wrong port or speed."""


class RefusedError(CelosiaError):
    """A board does not do what it is asked for: it has no such memory, register or request."""


class WrongAcceleratorError(CelosiaError):
    """The program is for another accelerator than the one that answers, or none answers."""
