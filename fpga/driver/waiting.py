"""Whether the engine is the right one, waiting for it, and what to say when it does not come."""

from __future__ import annotations

import time
from typing import Final

from celosia.fpga.driver.deployment import Deployment
from celosia.fpga.driver.errors import (
    EngineError,
    EngineTimeoutError,
    ResetError,
    WrongAcceleratorError,
)
from celosia.fpga.driver.registers import Registers, Status
from celosia.fpga.driver.transport import Transport
from celosia.rtl.registers import FINGERPRINT_BITS, MAGIC, VERSION, Cause

CLEAR: Final = 2
_LOOK_SECONDS: Final = 0.5
"""Longest wait before the status is looked at: a reset raises no interrupt."""

_STOP_SECONDS: Final = 0.01
"""Between two looks at whether the engine has stopped, which raises none either."""

_WATCH_SECONDS: Final = 0.1
"""How long the memory bus is watched."""

_BEATS: Final = ("read_beats", "write_beats")


def check_fits(registers: Registers, deployment: Deployment) -> None:
    """Refuse an engine that is not the one that ``deployment`` is for."""
    magic = registers.read("magic")
    if magic != MAGIC:
        raise WrongAcceleratorError(
            f"no engine answers: its first register reads {magic:#010x}, not {MAGIC:#010x}. Check "
            "that its bitstream is loaded, and the address"
        )
    version = registers.read("version")
    if version != VERSION:
        raise WrongAcceleratorError(
            f"the engine has version {version} of the registers, this driver knows {VERSION}: "
            "build both with the same release"
        )
    words = FINGERPRINT_BITS // 32
    found = sum(registers.read(f"fingerprint{index}") << 32 * index for index in range(words))
    if found != deployment.fingerprint:
        raise WrongAcceleratorError(
            f"the program of network {deployment.network!r} is for accelerator "
            f"{deployment.accelerator!r} with hash {deployment.fingerprint:032x}, the engine that "
            f"answers has hash {found:032x}: load its bitstream, or compile for that one"
        )


def settle(registers: Registers, transport: Transport, seconds: float) -> None:
    """Bring the engine to rest: stop what runs on it, forget an error.

    Raises :class:`EngineTimeoutError` when it does not come to rest.
    """
    registers.write("interrupt_enable", 0)
    if registers.read_status() in (Status.IDLE, Status.DONE):
        return
    registers.write("control", CLEAR)
    end = time.monotonic() + seconds
    while registers.read_status() is not Status.IDLE:
        if time.monotonic() >= end:
            raise EngineTimeoutError(
                f"the engine did not stop within {seconds:g} s of a clear: a burst that it began "
                "on its memory bus does not end. Free the bus, or reset engine and memory"
            )
        transport.wait(_STOP_SECONDS)


def wait_for_end(registers: Registers, transport: Transport, seconds: float) -> bool:
    """Wait for the end of a program; return False if it has not come after ``seconds``.

    Raises :class:`EngineError` or :class:`ResetError` when the engine stopped it.
    """
    end = time.monotonic() + seconds
    while True:
        left = max(0.0, end - time.monotonic())
        transport.wait(min(left, _LOOK_SECONDS))
        match registers.read_status():
            case Status.DONE:
                return True
            case Status.ERROR:
                raise _stopped(registers)
            case Status.IDLE:
                raise ResetError(
                    "the engine is idle in the middle of a program: it was reset, or cleared by "
                    "another driver; run again"
                )
            case Status.BUSY if not left:
                return False
            case Status.BUSY:
                pass


def explain_silence(
    registers: Registers, transport: Transport, deployment: Deployment, seconds: float
) -> EngineTimeoutError:
    """Return what to say of a program that did not end: what the engine was seen to do."""
    cause = _cause(registers)
    cycles = registers.read_pair(deployment.counters[0])
    beats = [name for name in _BEATS if name in deployment.counters]
    before = [registers.read_pair(name) for name in beats]
    _pass(transport, _WATCH_SECONDS)
    after = [registers.read_pair(name) for name in beats]
    if before == after:
        moved = ", ".join(
            f"{n} beats {'read' if name == 'read_beats' else 'written'}"
            for name, n in zip(beats, after, strict=True)
        )
        doing = f"no data moves on its memory bus ({moved} so far): the bus seems stuck"
    else:
        doing = "data still moves on its memory bus: give it more seconds"
    return EngineTimeoutError(
        f"network {deployment.network!r} did not end within {seconds:g} s: the engine is busy, "
        f"{cycles} cycles after the start, cause {cause.name.lower().replace('_', ' ')} "
        f"({cause.words}); {doing}"
    )


def _pass(transport: Transport, seconds: float) -> None:
    """Let time pass, simulated too."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        transport.wait(left)


def _stopped(registers: Registers) -> EngineError:
    cause, address = _cause(registers), registers.read_pair("error_address")
    return EngineError(
        f"the engine stopped: {cause.name.lower().replace('_', ' ')}, at address {address:#x} "
        f"({cause.words})",
        cause,
        address,
    )


def _cause(registers: Registers) -> Cause:
    return Cause(registers.read("cause"))
