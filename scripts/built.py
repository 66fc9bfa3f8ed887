"""What a command runs programs on: a simulator of an engine's RTL, or of the cells it becomes."""

from __future__ import annotations

import time
from dataclasses import dataclass

from celosia.dataflow.engines import Description
from celosia.fpga.devices import Device
from celosia.fpga.netlist import Netlist, netlist
from celosia.scripts.console import Report
from celosia.sim.run import Simulator


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A simulator of an engine.

    ``netlist`` is what it simulates in the place of the RTL, where it does; ``seconds`` is wall
    clock by step.
    """

    simulator: Simulator
    netlist: Netlist | None
    seconds: dict[str, float]


def build(accelerator: Description, device: Device | None, report: Report) -> Built:
    """Build the simulator of the RTL of ``accelerator``, or of its netlist for a ``device``.

    Raises
    ------
    CelosiaError
        As :func:`celosia.fpga.netlist.netlist` and :func:`celosia.sim.verilate.verilate`.
    """
    seconds: dict[str, float] = {}
    begin = time.perf_counter()
    cells = None
    if device is not None:
        report("synthesise", 0, 1)
        cells = netlist(accelerator, device)
        seconds["synthesise"] = time.perf_counter() - begin
        begin = time.perf_counter()
    simulator = Simulator(
        accelerator,
        verilog=None if cells is None else cells.verilog,
        progress=lambda what, done, total: report(f"build: {what}", done, total),
    )
    seconds["build"] = time.perf_counter() - begin
    return Built(simulator=simulator, netlist=cells, seconds=seconds)
