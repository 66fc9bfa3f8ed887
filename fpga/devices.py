"""FPGA parts as data: what they hold, and what each primitive of theirs costs."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType

from celosia.models.errors import CelosiaError


class Family(enum.Enum):
    """A technology that Yosys maps to."""

    ULTRASCALE_PLUS = "xcup"
    SERIES_7 = "xc7"
    ECP5 = "ecp5"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resources:
    """Amounts of each kind of resource.

    ``lut`` counts look-up tables used as logic and as distributed memory (LUT6 on UltraScale+
    and 7 series, LUT4 on ECP5); ``carry`` carry primitives (CARRY4 or CCU2C; on ECP5 their two LUT4
    are in ``lut`` too); ``dsp`` multiplier blocks (DSP48E2, DSP48E1 or MULT18X18D); ``bram`` block
    RAMs, halves possible (BRAM36 of 36 Kbit or EBR of 18 Kbit); ``uram`` UltraRAMs of 288 Kbit.
    """

    lut: float = 0
    ff: float = 0
    carry: float = 0
    dsp: float = 0
    bram: float = 0
    uram: float = 0

    def __add__(self, other: Resources) -> Resources:
        return Resources(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in FIELDS})

    def __mul__(self, count: float) -> Resources:
        return Resources(**{f.name: getattr(self, f.name) * count for f in FIELDS})

    def as_dict(self) -> dict[str, float]:
        """Return the amounts by name, whole numbers as integers."""
        values = {field.name: getattr(self, field.name) for field in FIELDS}
        return {name: int(v) if v == int(v) else v for name, v in values.items()}


FIELDS = fields(Resources)


def excess(used: Resources, budget: Resources) -> str:
    """Return what of ``used`` exceeds ``budget``, and by how much, in words; "" if nothing."""
    wanted, there = used.as_dict(), budget.as_dict()
    return ", ".join(
        f"{wanted[name]:,} {name} of {limit:,} ({wanted[name] - limit:,} too many)"
        for name, limit in there.items()
        if limit and wanted[name] > limit
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One FPGA part.

    ``budget`` is what it holds (``carry`` 0: not a limit of its own). The rest is for place and
    route: ``memory_bits`` what all its block and distributed memory holds, ``package`` the
    package's name in the tool, ``clock_mhz`` the frequency asked for, the board's oscillator.
    """

    name: str
    part: str
    family: Family
    budget: Resources
    memory_bits: int | None = None
    package: str | None = None
    clock_mhz: float | None = None


ZCU102 = Device(
    name="zcu102",
    part="xczu9eg-2-ffvb1156",
    family=Family.ULTRASCALE_PLUS,
    budget=Resources(lut=274_080, ff=548_160, dsp=2_520, bram=912),
)
"""The Zynq UltraScale+ of AMD's ZCU102 board."""

ULTRA96 = Device(
    name="ultra96",
    part="xczu3eg-1-sbva484",
    family=Family.ULTRASCALE_PLUS,
    budget=Resources(lut=70_560, ff=141_120, dsp=360, bram=216),
)
"""The ZU3EG of Avnet's Ultra96 boards (DS891)."""

KV260 = Device(
    name="kv260",
    part="xck26-sfvc784-2lv-c",
    family=Family.ULTRASCALE_PLUS,
    budget=Resources(lut=117_120, ff=234_240, dsp=1_248, bram=144, uram=64),
)
"""The Kria K26 module of the KV260 kit, a ZU5EV (DS891)."""

ZCU104 = Device(
    name="zcu104",
    part="xczu7ev-2-ffvc1156",
    family=Family.ULTRASCALE_PLUS,
    budget=Resources(lut=230_400, ff=460_800, dsp=1_728, bram=312, uram=96),
)
"""The ZU7EV of AMD's ZCU104 board (DS891)."""

PYNQ_Z2 = Device(
    name="pynq-z2",
    part="xc7z020-1-clg400",
    family=Family.SERIES_7,
    budget=Resources(lut=53_200, ff=106_400, dsp=220, bram=140),
)
"""The Zynq-7020 of the PYNQ-Z2 board (DS190)."""

ZC706 = Device(
    name="zc706",
    part="xc7z045-2-ffg900",
    family=Family.SERIES_7,
    budget=Resources(lut=218_600, ff=437_200, dsp=900, bram=545),
)
"""The Zynq-7045 of AMD's ZC706 board (DS190)."""

ECP5_85K = Device(
    name="ecp5-85k",
    part="LFE5U-85F-6BG381C",
    family=Family.ECP5,
    budget=Resources(lut=83_640, ff=83_640, dsp=156, bram=208),
    memory_bits=(3_744 + 669) << 10,  # FPGA-DS-02012
    package="CABGA381",
    clock_mhz=25.0,
)
"""Lattice's largest ECP5, as on the ULX3S board, whose oscillator has 25 MHz."""

ECP5_85K_5G = Device(
    name="ecp5-85k-5g",
    part="LFE5UM5G-85F-8BG554C",
    family=Family.ECP5,
    budget=ECP5_85K.budget,
    memory_bits=ECP5_85K.memory_bits,
    package="CABGA554",
    clock_mhz=25.0,
)
"""The same with transceivers, as on the ECPIX-5 board; its oscillator's 100 MHz are divided."""

DEVICES: Mapping[str, Device] = MappingProxyType(
    {d.name: d for d in (ZCU102, ULTRA96, KV260, ZCU104, PYNQ_Z2, ZC706, ECP5_85K)}
)
"""Every part that commands take, by name; the second ECP5 holds what the first does."""


def find_device(name: str) -> Device:
    """Return the device called ``name``; :class:`CelosiaError` lists the known names."""
    if name not in DEVICES:
        raise CelosiaError(f"unknown device {name!r}: known are {', '.join(sorted(DEVICES))}")
    return DEVICES[name]


def _lut(count: int) -> Resources:
    return Resources(lut=count)


_FREE = Resources()
_FF = Resources(ff=1)

# A LUT6 holds 64 bits of memory with one port; deeper or dual-port ones take several (UG574).
_ULTRASCALE_PLUS: dict[str, Resources] = {
    **{f"LUT{size}": _lut(1) for size in range(1, 7)},
    "INV": _lut(1),
    "LUT6_2": _lut(1),
    **dict.fromkeys(("MUXF7", "MUXF8", "MUXF9", "GND", "VCC", "BUFG"), _FREE),
    **dict.fromkeys(("FDRE", "FDSE", "FDCE", "FDPE"), _FF),
    "CARRY4": Resources(carry=1),
    "CARRY8": Resources(carry=2),
    "DSP48E2": Resources(dsp=1),
    "RAMB18E2": Resources(bram=0.5),
    "RAMB36E2": Resources(bram=1),
    "SRL16E": _lut(1),
    "SRLC32E": _lut(1),
    "RAM32X1S": _lut(1),
    "RAM64X1S": _lut(1),
    "RAM128X1S": _lut(2),
    "RAM256X1S": _lut(4),
    "RAM512X1S": _lut(8),
    "RAM32X1D": _lut(2),
    "RAM64X1D": _lut(2),
    "RAM128X1D": _lut(4),
    "RAM256X1D": _lut(8),
    "RAM32M": _lut(4),
    "RAM64M": _lut(4),
    "RAM32M16": _lut(8),
    "RAM64M8": _lut(8),
    "URAM288": Resources(uram=1),
}

# The same but for its blocks, whose names end otherwise.
_SERIES_7: dict[str, Resources] = {
    **{
        name: cost
        for name, cost in _ULTRASCALE_PLUS.items()
        if name not in ("CARRY8", "MUXF9", "RAM32M16", "RAM64M8", "URAM288")
        and not name.endswith("E2")
    },
    "DSP48E1": Resources(dsp=1),
    "RAMB18E1": Resources(bram=0.5),
    "RAMB36E1": Resources(bram=1),
}

# Distributed memory takes two slices for 16 x 4 bits and half a slice more to write them.
_ECP5: dict[str, Resources] = {
    "LUT4": _lut(1),
    "CCU2C": Resources(lut=2, carry=1),
    "PFUMX": _FREE,
    "L6MUX21": _FREE,
    "TRELLIS_FF": _FF,
    "TRELLIS_DPR16X4": _lut(6),
    "MULT18X18D": Resources(dsp=1),
    "ALU54B": _FREE,
    "DP16KD": Resources(bram=1),
    "PDPW16KD": Resources(bram=1),
}

CELLS: Mapping[Family, Mapping[str, Resources]] = MappingProxyType(
    {
        Family.ULTRASCALE_PLUS: MappingProxyType(_ULTRASCALE_PLUS),
        Family.SERIES_7: MappingProxyType(_SERIES_7),
        Family.ECP5: MappingProxyType(_ECP5),
    }
)
"""What one cell of each primitive that Yosys maps to takes."""
