"""Zynq boards as data: the processing system round an engine, and how Vivado calls its parts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from celosia.fpga.devices import KV260, PYNQ_Z2, ULTRA96, ZCU102, ZCU104, Device
from celosia.models.errors import CelosiaError

LOWEST_CLOCK_MHZ, HIGHEST_CLOCK_MHZ = 1.0, 800.0
"""What a processing system's clock generators can be asked for, for the fabric."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessingSystem:
    """Vivado's core of a processing system, seen from the fabric.

    Attributes
    ----------
    core : str
        Its name in Vivado's catalogue, without version.
    family : str
        The device family, as packaged cores name it.
    settings : tuple of (str, str)
        Parameters that this project sets, besides the board's preset.
    clock_parameter, actual_clock_parameter : str
        Parameters with the frequency, in MHz, asked for and had.
    clock, reset, interrupt : str
        Pins of the fabric's clock and reset (active low), and of interrupts.
    control, control_clock : str
        The master interface by which software reaches registers, and its clock pin.
    control_base : int
        First address of that interface.
    memory : tuple of str
        Slave interfaces that lead to memory, in the order in which they are used.
    memory_clock : tuple of str
        Their clock pins.
    memory_settings : tuple of tuple of (str, str)
        Parameters that make each of them appear.
    memory_bits : int
        Data bits of each.
    memory_takes_axi4 : bool
        Whether bursts may be longer than AXI3's 16 beats.
    not_memory : tuple of str
        Patterns of address segments behind them that are no memory of an engine's.
    """

    core: str
    family: str
    settings: tuple[tuple[str, str], ...]
    clock_parameter: str
    actual_clock_parameter: str
    clock: str
    reset: str
    interrupt: str
    control: str
    control_clock: str
    control_base: int
    memory: tuple[str, ...]
    memory_clock: tuple[str, ...]
    memory_settings: tuple[tuple[tuple[str, str], ...], ...]
    memory_bits: int
    memory_takes_axi4: bool
    not_memory: tuple[str, ...]

    def __post_init__(self) -> None:
        if not len(self.memory) == len(self.memory_clock) == len(self.memory_settings):
            raise ValueError(
                f"memory, memory_clock and memory_settings of {self.core} must have one entry for "
                "each interface"
            )


def _high_performance_ports() -> tuple[tuple[tuple[str, str], ...], ...]:
    """Return the parameters of HP0 to HP3, which are the general ports 2 to 5 (PG201)."""
    return tuple(
        (
            (f"CONFIG.PSU__USE__S_AXI_GP{port}", "1"),
            (f"CONFIG.PSU__SAXIGP{port}__DATA_WIDTH", "128"),
        )
        for port in range(2, 6)
    )


ZYNQ_ULTRASCALE_PLUS = ProcessingSystem(
    core="zynq_ultra_ps_e",
    family="zynquplus",
    settings=(
        ("CONFIG.PSU__USE__M_AXI_GP0", "1"),
        ("CONFIG.PSU__USE__M_AXI_GP1", "0"),
        ("CONFIG.PSU__USE__M_AXI_GP2", "0"),
        ("CONFIG.PSU__USE__IRQ0", "1"),
        ("CONFIG.PSU__FPGA_PL0_ENABLE", "1"),
        ("CONFIG.PSU__USE__FABRIC__RST", "1"),
        ("CONFIG.PSU__NUM_FABRIC_RESETS", "1"),
    ),
    clock_parameter="CONFIG.PSU__CRL_APB__PL0_REF_CTRL__FREQMHZ",
    actual_clock_parameter="CONFIG.PSU__CRL_APB__PL0_REF_CTRL__ACT_FREQMHZ",
    clock="pl_clk0",
    reset="pl_resetn0",
    interrupt="pl_ps_irq0",
    control="M_AXI_HPM0_FPD",
    control_clock="maxihpm0_fpd_aclk",
    control_base=0xA000_0000,
    memory=tuple(f"S_AXI_HP{port}_FPD" for port in range(4)),
    memory_clock=tuple(f"saxihp{port}_fpd_aclk" for port in range(4)),
    memory_settings=_high_performance_ports(),
    memory_bits=128,
    memory_takes_axi4=True,
    not_memory=("*_LPS_OCM", "*_QSPI", "*_PCIE_LOW", "*_PCIE_HIGH*"),
)
"""The processing system of Zynq UltraScale+ (PG201, UG1085)."""

ZYNQ_7000 = ProcessingSystem(
    core="processing_system7",
    family="zynq",
    settings=(
        ("CONFIG.PCW_USE_M_AXI_GP0", "1"),
        ("CONFIG.PCW_USE_FABRIC_INTERRUPT", "1"),
        ("CONFIG.PCW_IRQ_F2P_INTR", "1"),
        ("CONFIG.PCW_EN_CLK0_PORT", "1"),
        ("CONFIG.PCW_EN_RST0_PORT", "1"),
    ),
    clock_parameter="CONFIG.PCW_FPGA0_PERIPHERAL_FREQMHZ",
    actual_clock_parameter="CONFIG.PCW_ACT_FPGA0_PERIPHERAL_FREQMHZ",
    clock="FCLK_CLK0",
    reset="FCLK_RESET0_N",
    interrupt="IRQ_F2P",
    control="M_AXI_GP0",
    control_clock="M_AXI_GP0_ACLK",
    control_base=0x43C0_0000,
    memory=tuple(f"S_AXI_HP{port}" for port in range(4)),
    memory_clock=tuple(f"S_AXI_HP{port}_ACLK" for port in range(4)),
    memory_settings=tuple(
        (
            (f"CONFIG.PCW_USE_S_AXI_HP{port}", "1"),
            (f"CONFIG.PCW_S_AXI_HP{port}_DATA_WIDTH", "64"),
        )
        for port in range(4)
    ),
    memory_bits=64,
    memory_takes_axi4=False,
    not_memory=(),
)
"""The processing system of Zynq-7000 (PG082, UG585)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """A board that Vivado builds for.

    Attributes
    ----------
    device : Device
        Its FPGA; the board is called after it.
    part : str
        The part as Vivado names it.
    files : str
        Vivado's board files without version, whose preset sets up memory, clocks and pins.
    system : ProcessingSystem
        Its processing system.
    clock_mhz : float
        Frequency of the fabric that is asked for where nobody says otherwise.
    """

    device: Device
    part: str
    files: str
    system: ProcessingSystem
    clock_mhz: float

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w.]+:[\w-]+:\w+", self.files):
            raise ValueError(f"files must be vendor:name:part, not {self.files!r}")
        if not LOWEST_CLOCK_MHZ <= self.clock_mhz <= HIGHEST_CLOCK_MHZ:
            raise ValueError(
                f"clock_mhz must be {LOWEST_CLOCK_MHZ:g}..{HIGHEST_CLOCK_MHZ:g}, "
                f"not {self.clock_mhz!r}"
            )

    @property
    def name(self) -> str:
        return self.device.name


BOARDS: Mapping[str, Board] = MappingProxyType(
    {
        board.name: board
        for board in (
            Board(
                device=ZCU102,
                part="xczu9eg-ffvb1156-2-e",
                files="xilinx.com:zcu102:part0",
                system=ZYNQ_ULTRASCALE_PLUS,
                clock_mhz=200.0,
            ),
            Board(
                device=ZCU104,
                part="xczu7ev-ffvc1156-2-e",
                files="xilinx.com:zcu104:part0",
                system=ZYNQ_ULTRASCALE_PLUS,
                clock_mhz=200.0,
            ),
            Board(
                device=KV260,
                part="xck26-sfvc784-2LV-c",
                files="xilinx.com:kv260_som:part0",
                system=ZYNQ_ULTRASCALE_PLUS,
                clock_mhz=200.0,
            ),
            Board(
                device=ULTRA96,
                part="xczu3eg-sbva484-1-e",
                files="em.avnet.com:ultra96:part0",
                system=ZYNQ_ULTRASCALE_PLUS,
                clock_mhz=150.0,
            ),
            Board(
                device=PYNQ_Z2,
                part="xc7z020clg400-1",
                files="tul.com.tw:pynq-z2:part0",
                system=ZYNQ_7000,
                clock_mhz=100.0,
            ),
        )
    }
)
"""Every Zynq board that is known, by name."""


def find_board(name: str) -> Board:
    """Return the board called ``name``; :class:`CelosiaError` lists the known names."""
    if name not in BOARDS:
        raise CelosiaError(
            f"unknown board {name!r}: known are {', '.join(sorted(BOARDS))}; for ECP5 boards there "
            "is 'celosia bitstream'"
        )
    return BOARDS[name]
