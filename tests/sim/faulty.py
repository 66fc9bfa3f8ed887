"""A tiny engine with two banks, and faults that can be switched on: one build for all."""

from __future__ import annotations

import enum
import re
from dataclasses import replace

from celosia.dataflow.presets import preset
from celosia.rtl.core import core_name, core_verilog
from celosia.sim.driver import Driver
from celosia.sim.run import Simulator

_TINY = preset("tiny")
ACCELERATOR = replace(_TINY, name="keeping", buffers=replace(_TINY.buffers, activation_banks=2))
_SWITCH = 0xFFC  # a register that the engine has not
_TOP = core_name(ACCELERATOR)


class Fault(enum.IntEnum):
    """What is broken."""

    NONE = 0
    ROUNDING = 1
    """Post rounds halves up."""
    LOAD_ADDRESS = 2
    """Loads write each activation word one place too far."""
    WEIGHT_ADDRESS = 3
    """The array reads each weight word from the place after."""
    STORE_ADDRESS = 4
    """The store unit reads each word from the place after."""
    CONSTANT_ADDRESS = 5
    """Post reads its constants from the place after."""
    DEAD_ARRAY = 6
    """Every product is 0."""
    KEEP_ADDRESS = 7
    """Words that stay on chip are kept one place too far."""


_CHANGES = {
    Fault.ROUNDING: ("requant", r"(assign up = shifted_fine\[0\] & )(\w+)(;)", "|"),
    Fault.LOAD_ADDRESS: ("activations_buffer", r"(\.write_address\()([^)]*)(\))", "+"),
    Fault.WEIGHT_ADDRESS: ("weights_buffer", r"(\.read_address\()([^)]*)(\))", "+"),
    Fault.STORE_ADDRESS: ("outputs_buffer", r"(\.read_address\()([^)]*)(\))", "+"),
    Fault.CONSTANT_ADDRESS: ("constants_buffer", r"(\.read_address\()([^)]*)(\))", "+"),
    Fault.DEAD_ARRAY: ("array", r"(\.activations_0\()(\w+)(\))", "* !"),
    Fault.KEEP_ADDRESS: ("store", r"(keep_address <= )(\w+)(;)", "+"),
}
"""Of each fault: the module, what is changed in it, and how the switch comes in."""


def faulty_verilog() -> str:
    """Return the Verilog of the tiny engine with its faults, all switched off."""
    modules = re.split(r"(?=^module )", core_verilog(ACCELERATOR), flags=re.M)
    for fault, (module, pattern, operator) in _CHANGES.items():
        on, done = f"({_TOP}.broken == 4'd{fault.value})", 0
        for number, text in enumerate(modules):
            if text.startswith(f"module {module}"):
                change = rf"\1(\2 {operator} {on})\3"
                modules[number], count = re.subn(pattern, change, text)
                done += count
        assert done, f"{fault.name}: there is nothing to change"
    switch = (
        "  reg [3:0] broken = 4'd0;\n"
        "  always @(posedge aclk)\n"
        f"    if (s_axi_ctrl_wvalid && s_axi_ctrl_awaddr == 12'd{_SWITCH})\n"
        "      broken <= s_axi_ctrl_wdata[3:0];\n"
    )
    head = re.compile(rf"(^module {_TOP}\(.*?\);\n)", re.S | re.M)
    return head.sub(lambda match: match[1] + switch, "".join(modules))


class FaultySimulator(Simulator):
    """A simulator of the tiny engine, traced, with ``fault`` switched on."""

    def __init__(self, fault: Fault = Fault.NONE) -> None:
        super().__init__(ACCELERATOR, traced=True, verilog=faulty_verilog())
        self._fault = fault

    def driver(self) -> Driver:
        made = super().driver()
        made.model.write(_SWITCH, self._fault)
        return made
