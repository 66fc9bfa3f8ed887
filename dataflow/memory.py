"""The memory behind the AXI master, as simulation and timing both see it.

``docs/architecture.md``, section "Memory model", fixes what the parameters mean to the cycle.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from celosia.dataflow.accelerator import Bus

_RANGES: Final = {"latency": (1, 65535), "bytes_per_cycle": (1, 64), "outstanding": (1, 256)}


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryModel:
    """A memory with a fixed latency, a bandwidth limit and a limit on bursts in flight.

    The parameters hold for the read and the write channels alike, which are independent. Behind
    several ports (``Bus.ports``) lies one such memory each.

    Parameters
    ----------
    latency
        Cycles from the acceptance of a read burst to its first beat, and from the last beat of
        a write burst to its response; 1 to 65535.
    bytes_per_cycle
        Most bytes transferred a cycle, on average; 1 to 64. More than the bus carries is the
        same as what the bus carries: see :meth:`on_bus`.
    outstanding
        Most bursts accepted and not finished, 1 to 256, each for reads and for writes.

    Raises
    ------
    TypeError
        If a parameter is not an ``int``.
    ValueError
        If a parameter is out of its range.
    """

    latency: int
    bytes_per_cycle: int
    outstanding: int

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool):
                raise TypeError(f"{name} must be an int, not {value!r}")
            if not low <= value <= high:
                raise ValueError(f"{name} must be {low} to {high}, not {value}")

    def on_bus(self, bus: Bus) -> MemoryModel:
        """Return this memory as seen through ``bus``.

        A beat a cycle is the most that a bus can carry, so ``bytes_per_cycle`` is at most
        its bytes in the result. Simulation and timing both apply it, once. Behind each of several
        ports lies such a memory; equal ones stay in step, so that they are one whose
        ``bytes_per_cycle`` are those of all.
        """
        carried = bus.ports * min(self.bytes_per_cycle, bus.port_bytes)
        return replace(self, bytes_per_cycle=carried)


IDEAL: Final = MemoryModel(latency=1, bytes_per_cycle=64, outstanding=256)
"""Answers in the next cycle and never limits: what is left is the engine's own time."""

DDR4: Final = MemoryModel(latency=40, bytes_per_cycle=16, outstanding=16)
"""About one 128-bit port into the DDR4 of a ZCU102 at 300 MHz: 4.8 GB/s, some 130 ns away."""

SLOW: Final = MemoryModel(latency=120, bytes_per_cycle=3, outstanding=2)
"""A narrow and distant memory. Its bandwidth divides no bus, so it finds rounding errors."""

PRESETS: Final = {"ideal": IDEAL, "ddr4": DDR4, "slow": SLOW}
"""The models that have a name, by name."""
