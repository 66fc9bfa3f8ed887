"""An engine's registers by name."""

from __future__ import annotations

import enum
from collections.abc import Mapping

from celosia.fpga.driver.transport import Transport
from celosia.models.errors import CelosiaError
from celosia.rtl.registers import STATUS_FIELDS


class Status(enum.Enum):
    """What the engine does."""

    IDLE = "idle"
    DONE = "done"
    ERROR = "error"
    BUSY = "busy"


_STATUS = {1 << field.low: Status(field.name) for field in STATUS_FIELDS}


class Registers:
    """Registers by name, over a transport.

    Parameters
    ----------
    transport : Transport
        The way to them.
    offsets : mapping of str to int
        Where each lies.
    """

    def __init__(self, transport: Transport, offsets: Mapping[str, int]) -> None:
        self._transport = transport
        self._offsets = offsets

    def write(self, name: str, value: int) -> None:
        """Write register ``name``."""
        self._transport.write_register(self._offsets[name], value)

    def read(self, name: str) -> int:
        """Return register ``name``."""
        return self._transport.read_register(self._offsets[name])

    def write_pair(self, name: str, value: int) -> None:
        """Write the registers ``name_low`` and ``name_high``."""
        self.write(f"{name}_low", value & 0xFFFF_FFFF)
        self.write(f"{name}_high", value >> 32)

    def read_pair(self, name: str) -> int:
        """Return the registers ``name_low`` and ``name_high``."""
        return self.read(f"{name}_low") | self.read(f"{name}_high") << 32

    def read_status(self) -> Status:
        """Return what the engine does; :class:`CelosiaError` if what is read is no status."""
        value = self.read("status")
        if value not in _STATUS:
            raise CelosiaError(
                f"the engine's status reads {value:#010x}, which it never is: something else "
                "answers at its address, or it has no clock"
            )
        return _STATUS[value]
