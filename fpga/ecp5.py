"""Bitstreams for Lattice ECP5 with open tools: Yosys, nextpnr and ecppack."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from celosia.dataflow.accelerator import Accelerator
from celosia.fpga.devices import Device, Family, Resources, excess
from celosia.fpga.ecp5_top import BAUD, Ecp5Top
from celosia.fpga.tools import ToolFailedError, kept, run_tool, tool_version
from celosia.fpga.yosys import count_cells
from celosia.models.errors import CelosiaError
from celosia.models.files import atomic_directory
from celosia.models.processes import Processes
from celosia.rtl.verilog import write_verilog

MEMORY_BYTES = 128 << 10
"""On-chip memory of the system: 64 block RAMs."""

SEED = 1
"""Of nextpnr's placement: the same design gives the same bitstream."""

ROUTER = "router2"
"""Took a third of router1's time on the ecp5 preset's system, at an equal clock."""

FILES = ("ecp5_top.v", "ecp5_top.lpf", "ecp5_top.bit", "timing.json")

# Pins of the ULX3S board with an LFE5U-85F in CABGA381: 25 MHz oscillator, the USB serial
# port (named from the FTDI chip's side on the board), button FIRE1, LEDs 0 to 3.
PINS = {
    "clk_25mhz": ("G2", ""),
    "button": ("R1", " PULLMODE=DOWN"),
    "uart_rx": ("M1", " PULLMODE=UP"),
    "uart_tx": ("L4", ""),
    "led[0]": ("B2", ""),
    "led[1]": ("C2", ""),
    "led[2]": ("C1", ""),
    "led[3]": ("D2", ""),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Bitstream:
    """A bitstream and what place and route said about it.

    ``path`` is the ``.bit`` file; ``fmax_mhz`` the achieved clock, ``clock_mhz`` the one that
    the board has; ``used`` what the whole system (engine, memory, link) takes of ``device``.
    """

    path: Path
    device: Device
    tools: tuple[str, ...]
    fmax_mhz: float
    clock_mhz: float
    used: Resources

    @property
    def meets_clock(self) -> bool:
        """Whether the design is fast enough for the board's clock."""
        return self.fmax_mhz >= self.clock_mhz

    def as_dict(self) -> dict[str, Any]:
        """Return the values as JSON values; the path by its name alone."""
        return {
            "bitstream": self.path.name,
            "bytes": self.path.stat().st_size,
            "device": self.device.name,
            "part": self.device.part,
            "tools": list(self.tools),
            "fmax_mhz": round(self.fmax_mhz, 2),
            "clock_mhz": self.clock_mhz,
            "meets_clock": self.meets_clock,
            "used": self.used.as_dict(),
            "budget": {k: v for k, v in self.device.budget.as_dict().items() if v},
        }


def bitstream(
    accelerator: Accelerator,
    device: Device,
    directory: str | Path,
    processes: Processes | None = None,
) -> Bitstream:
    """Write a bitstream of a system with the engine of ``accelerator`` into ``directory``.

    The system is :class:`celosia.fpga.ecp5_top.Ecp5Top`. The directory receives the Verilog,
    the pin constraints, the bitstream and the timing report of nextpnr. Results are kept by
    content: the same accelerator is placed and routed once. Who calls it in a thread gives
    ``processes``, to stop the tools by.

    Raises
    ------
    CelosiaError
        When ``device`` is no ECP5, there are several memory ports, an address does not reach
        the on-chip memory, or the system does not fit: its memories, at once, or what Yosys
        counted, before place and route.
    MissingToolError
        When Yosys, nextpnr-ecp5 or ecppack is not installed.
    ToolFailedError
        When one of them fails.
    OSError
        When the files cannot be written, before anything is run.
    """
    if device.family is not Family.ECP5 or device.package is None or device.clock_mhz is None:
        raise CelosiaError(
            f"no open tool makes bitstreams for {device.name}: choose --device ecp5-85k, or "
            "bring the Verilog of 'celosia generate' into the vendor's tool"
        )
    if accelerator.bus.stripes:
        raise CelosiaError(
            f"accelerator {accelerator.name!r} has {accelerator.bus.ports} memory ports, the "
            "system on this board one memory: set ports = 1 in [bus]"
        )
    _check_memory(accelerator, device)
    divisor = round(device.clock_mhz * 1e6 / BAUD)
    with atomic_directory(directory) as draft:
        top = Ecp5Top(accelerator, memory_bytes=MEMORY_BYTES, divisor=divisor)
        verilog = write_verilog(top)
        tools = tuple(tool_version(name) for name in ("yosys", "nextpnr-ecp5", "ecppack"))
        recipe = [constraints(device), device.part, device.package, *tools, str(SEED), ROUTER]
        job = _Job(verilog=verilog, device=device, processes=processes or Processes())
        folder = kept(["bitstream", *recipe, verilog], job.implement)
        for name in FILES:
            shutil.copyfile(folder / name, draft / name)
    fmax, used = _read_report(folder / "timing.json")
    return Bitstream(
        path=Path(directory) / "ecp5_top.bit",
        device=device,
        tools=tools,
        fmax_mhz=fmax,
        clock_mhz=device.clock_mhz,
        used=used,
    )


def constraints(device: Device) -> str:
    """Return the pin and clock constraints of the top in Lattice's LPF form."""
    lines = []
    for name, (site, options) in PINS.items():
        lines.append(f'LOCATE COMP "{name}" SITE "{site}";')
        lines.append(f'IOBUF PORT "{name}" IO_TYPE=LVCMOS33{options};')
    lines.append(f'FREQUENCY PORT "clk_25mhz" {device.clock_mhz:g} MHZ;')
    return "\n".join(lines) + "\n"


def _check_memory(accelerator: Accelerator, device: Device) -> None:
    """Refuse what cannot fit, whatever the tools do: Yosys takes minutes for large engines."""
    depths = accelerator.buffers
    activations = depths.activations * accelerator.array.pixels
    words = (activations + depths.residuals + depths.outputs) * accelerator.activation_word_bits
    needed = words + depths.weights * accelerator.weight_word_bits + 8 * MEMORY_BYTES
    there = device.memory_bits
    if there is not None and needed > there:
        kib = 8 << 10
        raise CelosiaError(
            f"accelerator {accelerator.name!r} does not fit {device.name}: its buffers and the "
            f"system's {MEMORY_BYTES >> 10} KiB take {needed / kib:,.0f} KiB of memory, the device "
            f"has {there / kib:,.0f} ({(needed - there) / kib:,.0f} too much): lower the "
            "depths in [buffers], or take fewer columns or lanes"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """The way from ``verilog`` to a bitstream."""

    verilog: str
    device: Device
    processes: Processes

    def implement(self, folder: Path) -> None:
        """Fill ``folder``; refuse a design that does not fit before place and route."""
        (folder / "ecp5_top.v").write_text(self.verilog)
        (folder / "ecp5_top.lpf").write_text(constraints(self.device))
        script = "read_verilog ecp5_top.v; synth_ecp5 -top ecp5_top -json netlist.json; "
        script += "tee -q -o stat.json stat -json"
        run_tool("yosys", ["-Q", "-T", "-q", "-p", script], folder, self.processes)
        counted = count_cells((folder / "stat.json").read_text(), "ecp5_top", self.device.family)
        too_much = excess(counted, self.device.budget)
        if too_much:
            raise CelosiaError(
                f"the system does not fit {self.device.name}: it takes {too_much}. Take fewer "
                "columns or lanes, or lower the depths in [buffers]"
            )
        run_tool(
            "nextpnr-ecp5",
            ["--85k", "--package", str(self.device.package), "--speed", "6", "--seed", str(SEED),
             "--json", "netlist.json", "--lpf", "ecp5_top.lpf", "--textcfg", "ecp5_top.config",
             "--router", ROUTER, "--report", "timing.json", "--timing-allow-fail", "--quiet"],
            folder,
            self.processes,
        )  # fmt: skip
        pack = ["--compress", "ecp5_top.config", "ecp5_top.bit"]
        run_tool("ecppack", pack, folder, self.processes)
        for name in ("netlist.json", "stat.json", "ecp5_top.config"):
            (folder / name).unlink()


def _read_report(path: Path) -> tuple[float, Resources]:
    """Return the achieved clock in MHz and the cells used, from nextpnr's report."""
    report = json.loads(path.read_text())
    clocks = [clock["achieved"] for clock in report.get("fmax", {}).values()]
    if not clocks:
        raise ToolFailedError("nextpnr-ecp5 reported no clock: the design was optimised away")
    used = {name: found["used"] for name, found in report["utilization"].items()}
    return min(clocks), Resources(
        lut=used.get("TRELLIS_COMB", 0),
        ff=used.get("TRELLIS_FF", 0),
        dsp=used.get("MULT18X18D", 0),
        bram=used.get("DP16KD", 0),
    )
