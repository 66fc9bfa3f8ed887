"""The IP core round an engine of any kind, and the table of kinds in hardware."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from amaranth.hdl import ClockDomain, ClockSignal, Module, ResetSignal
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.eie.accelerator import EieAccelerator
from celosia.dataflow.engines import Description, fingerprint
from celosia.dataflow.sparch.accelerator import SparchAccelerator
from celosia.rtl import descriptors
from celosia.rtl.eie import descriptors as eie_descriptors
from celosia.rtl.eie.engine import EieEngine, eie_registers
from celosia.rtl.engine import Engine, engine_registers
from celosia.rtl.registers import FINGERPRINT_BITS, Register
from celosia.rtl.shared import Shared, flat_ports
from celosia.rtl.shell import engine_ports, memory_ports
from celosia.rtl.sparch import descriptors as sparch_descriptors
from celosia.rtl.sparch.engine import SparchEngine, sparch_registers
from celosia.rtl.verilog import VerilogParts, write_parts


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """A kind of engine in hardware.

    ``engine`` makes the component of a description and its ``fingerprint``, ``registers`` its
    register map; ``encode`` returns the bits of a descriptor of its programs.
    """

    engine: Callable[..., Shared]
    registers: Callable[[Any, int], tuple[Register, ...]]
    encode: Callable[[Any], int]


HARDWARE: dict[type, Hardware] = {
    Accelerator: Hardware(engine=Engine, registers=engine_registers, encode=descriptors.encode),
    EieAccelerator: Hardware(
        engine=EieEngine, registers=eie_registers, encode=eie_descriptors.encode
    ),
    SparchAccelerator: Hardware(
        engine=SparchEngine, registers=sparch_registers, encode=sparch_descriptors.encode
    ),
}
"""Each kind of engine by the type of its description."""


def hardware_of(accelerator: object) -> Hardware:
    """Return the kind of engine that ``accelerator`` describes."""
    return HARDWARE[type(accelerator)]


def core_fingerprint(accelerator: Description) -> int:
    """Return the hash of ``accelerator`` that its registers hold: its fingerprint's upper half."""
    return int(fingerprint(accelerator)[: FINGERPRINT_BITS // 4], 16)


def core_registers(accelerator: Description) -> tuple[Register, ...]:
    """Return the register map of ``accelerator``."""
    return hardware_of(accelerator).registers(accelerator, core_fingerprint(accelerator))


def core_members(accelerator: Description) -> dict[str, wiring.Member]:
    """Return the core's ports."""
    return {"aclk": In(1), "aresetn": In(1)} | engine_ports(accelerator.bus)


def core_ports(accelerator: Description) -> list[tuple[str, int, bool]]:
    """Return name, width and whether it is an input of each port of the core's module."""
    signature = wiring.Signature(core_members(accelerator))
    ports = flat_ports(signature.create())
    return [(name, len(value), is_input) for name, value, is_input in ports]


class Core(Shared):
    """The engine as an IP core: clock ``aclk``, reset ``aresetn`` (active low), AXI ports.

    Parameters
    ----------
    accelerator : Description
        Of any kind of engine.

    Members
    -------
    aclk, aresetn : In(1)
        Clock, and reset synchronous to it, of at least two cycles: units are reset a cycle later.
    s_axi_ctrl, m_axi_gmem0 and up, interrupt
        As in :func:`~celosia.rtl.shell.engine_ports`.
    """

    def __init__(self, accelerator: Description) -> None:
        self._accelerator = accelerator
        super().__init__(
            core_members(accelerator),
            name=core_name(accelerator),
            parameters=(accelerator,),
        )

    @property
    def accelerator(self) -> Description:
        return self._accelerator

    def build(self) -> Module:
        m = Module()
        m.domains.sync = ClockDomain(local=True)
        m.submodules.engine = engine = build(self._accelerator)
        wiring.connect(m, wiring.flipped(self.s_axi_ctrl), engine.s_axi_ctrl)
        for port in memory_ports(self._accelerator.bus):
            wiring.connect(m, getattr(engine, port), wiring.flipped(getattr(self, port)))
        m.d.comb += [
            ClockSignal().eq(self.aclk),
            ResetSignal().eq(~self.aresetn),
            self.interrupt.eq(engine.interrupt),
        ]
        return m


def core_name(accelerator: Description) -> str:
    """Return the name of the core's module: ``celosia_`` and the accelerator's name."""
    return "celosia_" + re.sub(r"\W+", "_", accelerator.name.lower(), flags=re.ASCII).strip("_")


def build(accelerator: Description) -> Shared:
    """Return the engine of ``accelerator``, in clock domain ``sync``."""
    make = hardware_of(accelerator).engine
    return make(accelerator, fingerprint=core_fingerprint(accelerator))


@functools.lru_cache(maxsize=8)
def core_parts(accelerator: Description) -> VerilogParts:
    """Return the Verilog of the IP core in parts; its top module is ``core_name(accelerator)``.

    Elaborating a large engine takes seconds and its text is the same each time, so the last few
    are kept.
    """
    return write_parts(Core(accelerator))


def core_verilog(accelerator: Description, *, primitives: bool = False) -> str:
    """Return the Verilog of the IP core, whole; its top module is ``core_name(accelerator)``.

    With ``primitives``, DSP columns hold the device's blocks, otherwise their models.
    """
    parts = core_parts(accelerator)
    blocks = parts.primitives if primitives else parts.models
    return f"{blocks}\n{parts.logic}" if blocks else parts.logic
