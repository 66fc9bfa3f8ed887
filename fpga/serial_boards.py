"""Boards with an ECP5 and a serial port as data: clock, pins, and what the tools call the part.

The pins are those of the board files of amaranth-boards (``ulx3s.py``, ``ecpix5.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from celosia.fpga.devices import ECP5_85K, ECP5_85K_5G, Device
from celosia.models.errors import CelosiaError

BAUD = 1_000_000
"""Bits a second of the serial link."""

MEMORY_BYTES = 128 << 10
"""On-chip memory of a board's system: 64 block RAMs."""

LEAST_MEMORY_BYTES, MOST_MEMORY_BYTES = 4 << 10, 256 << 10
"""What a system may have, a power of two between; 128 block RAMs are the most that a part has room
for beside an engine."""

AIM_MHZ = 80.0
"""What place and route are to reach for the system's clock; boards ask for less."""

LEDS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class SerialBoard:
    """A board that takes a system of engine, memory and serial link.

    Attributes
    ----------
    name : str
        What it is called.
    device : Device
        Its FPGA; ``clock_mhz`` of that is the system's clock.
    oscillator_mhz : float
        The clock at its pin; the system's comes of it by halving.
    clock, receive, transmit, button : str
        Sites of its pins: the board receives by the first of the serial pair.
    leds : tuple of str
        Sites of four LEDs.
    button_low, leds_low : bool
        Whether a pressed button, or a lit LED, is low.
    pulls : mapping of str to str
        Pull resistors by port.
    """

    name: str
    device: Device
    oscillator_mhz: float
    clock: str
    receive: str
    transmit: str
    button: str
    leds: tuple[str, ...]
    button_low: bool
    leds_low: bool
    pulls: tuple[tuple[str, str], ...]

    def __post_init__(self) -> None:
        if len(self.leds) != LEDS or len({*self.sites.values()}) != len(self.sites):
            raise ValueError(f"leds must be {LEDS} sites, and no site may serve twice")
        ratio = self.halvings and self.oscillator_mhz / self.clock_mhz == 1 << self.halvings
        if not (ratio or self.oscillator_mhz == self.clock_mhz):
            raise ValueError(
                f"oscillator_mhz must be clock_mhz ({self.clock_mhz:g}) times a power of two, not "
                f"{self.oscillator_mhz!r}"
            )

    @property
    def clock_mhz(self) -> float:
        """The system's clock."""
        return self.device.clock_mhz or self.oscillator_mhz

    @property
    def halvings(self) -> int:
        """How often the oscillator's clock is halved."""
        return int(self.oscillator_mhz / self.clock_mhz).bit_length() - 1

    @property
    def divisor(self) -> int:
        """Cycles of a bit of the serial link."""
        return round(self.clock_mhz * 1e6 / BAUD)

    @property
    def sites(self) -> dict[str, str]:
        """The site of each port's pin."""
        return {
            "clk": self.clock,
            "button": self.button,
            "uart_rx": self.receive,
            "uart_tx": self.transmit,
            **{f"led[{index}]": site for index, site in enumerate(self.leds)},
        }


SERIAL_BOARDS: Mapping[str, SerialBoard] = MappingProxyType(
    {
        board.name: board
        for board in (
            SerialBoard(
                name="ulx3s",
                device=ECP5_85K,
                oscillator_mhz=25.0,
                clock="G2",
                receive="M1",
                transmit="L4",
                button="R1",
                leds=("B2", "C2", "C1", "D2"),
                button_low=False,
                leds_low=False,
                pulls=(("button", "DOWN"), ("uart_rx", "UP")),
            ),
            SerialBoard(
                name="ecpix5",
                device=ECP5_85K_5G,
                oscillator_mhz=100.0,
                clock="K23",
                receive="R26",
                transmit="R24",
                button="AB1",
                leds=("R21", "W21", "K24", "R23"),
                button_low=True,
                leds_low=True,
                pulls=(("button", "UP"), ("uart_rx", "UP")),
            ),
        )
    }
)
"""Every such board that is known, by name; with the largest part that it comes with."""


def find_serial_board(name: str) -> SerialBoard:
    """Return the board called ``name``; :class:`CelosiaError` lists the known names."""
    if name not in SERIAL_BOARDS:
        known = ", ".join(sorted(SERIAL_BOARDS))
        raise CelosiaError(
            f"no open tool makes bitstreams for board {name!r}: known are {known}; for Zynq boards "
            "there is 'celosia package'"
        )
    return SERIAL_BOARDS[name]


def check_memory(size: int) -> int:
    """Return ``size``, bytes of a system's memory, if that is possible.

    Raises :class:`CelosiaError` if it is no power of two from 4 KiB to 256 KiB.
    """
    if not LEAST_MEMORY_BYTES <= size <= MOST_MEMORY_BYTES or size & (size - 1):
        raise CelosiaError(
            f"a board's system cannot have {size / 1024:g} KiB of memory: ask for a power of two "
            f"from {LEAST_MEMORY_BYTES >> 10} to {MOST_MEMORY_BYTES >> 10}"
        )
    return size


def constraints(board: SerialBoard) -> str:
    """Return the pin and clock constraints of a board's top in Lattice's LPF form.

    The system's clock is constrained to :data:`AIM_MHZ`: the one of an oscillator that is halved
    has no name here, and is constrained by what nextpnr is called with.
    """
    pulls = dict(board.pulls)
    lines = []
    for port, site in board.sites.items():
        pull = f" PULLMODE={pulls[port]}" if port in pulls else ""
        lines.append(f'LOCATE COMP "{port}" SITE "{site}";')
        lines.append(f'IOBUF PORT "{port}" IO_TYPE=LVCMOS33{pull};')
    clock = board.oscillator_mhz if board.halvings else AIM_MHZ
    lines.append(f'FREQUENCY PORT "clk" {clock:g} MHZ;')
    return "\n".join(lines) + "\n"
