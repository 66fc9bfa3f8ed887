"""Bitstreams for Lattice ECP5 with open tools: Yosys, nextpnr and ecppack."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from celosia.dataflow.accelerator import Accelerator
from celosia.fpga.devices import ECP5_85K, ECP5_85K_5G, Device, Resources, excess
from celosia.fpga.ecp5_top import Ecp5Top
from celosia.fpga.serial_boards import (
    AIM_MHZ,
    MEMORY_BYTES,
    SerialBoard,
    check_memory,
    constraints,
)
from celosia.fpga.tools import ToolFailedError, kept, run_tool, short_version, tool_version
from celosia.fpga.ultraram import check_ultra
from celosia.fpga.yosys import count_cells
from celosia.models.errors import CelosiaError
from celosia.models.files import atomic_directory
from celosia.models.processes import Processes
from celosia.rtl.verilog import write_verilog

SYNTHESIS = """\
read_verilog ecp5_top.v
setattr -set keep_hierarchy 1 a:apart
synth_ecp5 -top ecp5_top
setattr -unset keep_hierarchy
flatten
opt_clean
write_json netlist.json
tee -q -o stat.json stat -json
"""
"""Yosys's script. What is :class:`~celosia.rtl.shared.Apart` is flattened once nothing merges equal
registers any more."""

SEED = 1
"""Of nextpnr's placement: the same design gives the same bitstream."""

PLACER = "static"
"""The whole bitstream takes three fifths of the time that it takes with heap, on the ecp5 preset's
system, at a clock 7 % lower: wires are a third shorter, so that fewer are routed anew."""

ROUTER = "router2"
"""Took a third of router1's time on the ecp5 preset's system, at an equal clock."""

_PARTS = {ECP5_85K.part: "--85k", ECP5_85K_5G.part: "--um5g-85k"}
"""What nextpnr calls the parts."""

FILES = ("ecp5_top.v", "ecp5_top.lpf", "ecp5_top.bit", "timing.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bitstream:
    """A bitstream and what place and route said about it.

    ``path`` is the ``.bit`` file of the system with the engine ``accelerator``; ``tools`` are those
    that made it, with their versions; ``fmax_mhz`` the fastest clock of the system, ``clock_mhz``
    the one that the board has; ``used`` what all of it (engine, ``memory_bytes`` of memory, link)
    takes of ``device``.
    """

    path: Path
    accelerator: str
    device: Device
    tools: tuple[str, ...]
    fmax_mhz: float
    clock_mhz: float
    memory_bytes: int
    used: Resources

    @property
    def meets_clock(self) -> bool:
        """Whether the design is fast enough for the board's clock."""
        return self.fmax_mhz >= self.clock_mhz

    def as_dict(self) -> dict[str, Any]:
        """Return the values as JSON values; the path by its name alone."""
        return {
            "kind": "bitstream",
            "accelerator": self.accelerator,
            "bitstream": self.path.name,
            "bytes": self.path.stat().st_size,
            "device": self.device.name,
            "part": self.device.part,
            "tools": list(self.tools),
            "fmax_mhz": round(self.fmax_mhz, 2),
            "clock_mhz": self.clock_mhz,
            "meets_clock": self.meets_clock,
            "memory_bytes": self.memory_bytes,
            "used": self.used.as_dict(),
            "budget": {k: v for k, v in self.device.budget.as_dict().items() if v},
        }


def bitstream(
    accelerator: Accelerator,
    board: SerialBoard,
    directory: str | Path,
    processes: Processes | None = None,
    *,
    memory_bytes: int = MEMORY_BYTES,
) -> Bitstream:
    """Write a bitstream of a system with the engine of ``accelerator`` into ``directory``.

    The system is :class:`celosia.fpga.ecp5_top.Ecp5Top`, with so much memory. The directory
    receives the Verilog, the pin constraints, the bitstream, the timing report of nextpnr, and
    ``report.json``, what :meth:`Bitstream.as_dict` returns.
    Results are kept by content: the same accelerator is placed and routed once. Who calls it in a
    thread gives ``processes``, to stop the tools by.

    Raises
    ------
    CelosiaError
        As :func:`check_system`, at once; and when the system does not fit by what Yosys counted,
        before place and route.
    MissingToolError
        When Yosys, nextpnr-ecp5 or ecppack is not installed.
    ToolFailedError
        When one of them fails.
    OSError
        When the files cannot be written, before anything is run.
    """
    device = board.device
    check_system(accelerator, device, memory_bytes)
    with atomic_directory(directory) as draft:
        verilog = write_verilog(Ecp5Top.of(board, accelerator, memory_bytes=memory_bytes))
        tools = tuple(tool_version(name) for name in ("yosys", "nextpnr-ecp5", "ecppack"))
        recipe = [constraints(board), f"{AIM_MHZ:g}", device.part, *tools, SYNTHESIS]
        recipe += [str(SEED), PLACER, ROUTER]
        job = _Job(verilog=verilog, board=board, processes=processes or Processes())
        folder = kept(["bitstream", *recipe, verilog], job.implement)
        for name in FILES:
            shutil.copyfile(folder / name, draft / name)
        fmax, used = _read_report(folder / "timing.json", board)
        made = Bitstream(
            path=draft / "ecp5_top.bit",
            accelerator=accelerator.name,
            device=device,
            tools=tuple(map(short_version, tools)),
            fmax_mhz=fmax,
            clock_mhz=board.clock_mhz,
            memory_bytes=memory_bytes,
            used=used,
        )
        (draft / "report.json").write_text(json.dumps(made.as_dict(), indent=2) + "\n")
    return replace(made, path=Path(directory) / made.path.name)


def check_system(accelerator: Accelerator, device: Device, memory_bytes: int) -> None:
    """Refuse a system that no board has, without a tool: Yosys takes minutes for large engines.

    Raises
    ------
    CelosiaError
        When there are several memory ports or buffers of UltraRAM, the memory has no possible
        size, or the memories do not fit.
    """
    check_memory(memory_bytes)
    if accelerator.bus.stripes:
        raise CelosiaError(
            f"accelerator {accelerator.name!r} has {accelerator.bus.ports} memory ports, the "
            "system on this board one memory: set ports = 1 in [bus]"
        )
    check_ultra(accelerator, device)
    depths = accelerator.buffers
    activations = depths.activations * accelerator.array.pixels
    words = (activations + depths.residuals + depths.outputs) * accelerator.activation_word_bits
    needed = words + depths.weights * accelerator.weight_word_bits + 8 * memory_bytes
    there = device.memory_bits
    if there is not None and needed > there:
        kib = 8 << 10
        raise CelosiaError(
            f"accelerator {accelerator.name!r} does not fit {device.name}: its buffers and the "
            f"system's {memory_bytes >> 10} KiB take {needed / kib:,.0f} KiB of memory, the device "
            f"has {there / kib:,.0f} ({(needed - there) / kib:,.0f} too much): lower the "
            "depths in [buffers], or take fewer columns or lanes"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """The way from ``verilog`` to a bitstream."""

    verilog: str
    board: SerialBoard
    processes: Processes

    def implement(self, folder: Path) -> None:
        """Fill ``folder``; refuse a design that does not fit before place and route."""
        device = self.board.device
        (folder / "ecp5_top.v").write_text(self.verilog)
        (folder / "ecp5_top.lpf").write_text(constraints(self.board))
        run_tool("yosys", ["-Q", "-T", "-q", "-p", SYNTHESIS], folder, self.processes)
        counted = count_cells((folder / "stat.json").read_text(), "ecp5_top", device.family)
        too_much = excess(counted, device.budget)
        if too_much:
            raise CelosiaError(
                f"the system does not fit {device.name}: it takes {too_much}. Take fewer "
                "columns or lanes, or lower the depths in [buffers]"
            )
        run_tool(
            "nextpnr-ecp5",
            [_PARTS[device.part], "--package", str(device.package), "--speed", _speed(device),
             "--seed", str(SEED), "--freq", f"{AIM_MHZ:g}",
             "--json", "netlist.json", "--lpf", "ecp5_top.lpf", "--textcfg", "ecp5_top.config",
             "--placer", PLACER, "--router", ROUTER,
             "--report", "timing.json", "--timing-allow-fail", "--quiet"],
            folder,
            self.processes,
        )  # fmt: skip
        pack = ["--compress", "ecp5_top.config", "ecp5_top.bit"]
        run_tool("ecppack", pack, folder, self.processes)
        for name in ("netlist.json", "stat.json", "ecp5_top.config"):
            (folder / name).unlink()


def _speed(device: Device) -> str:
    """Return the speed grade, the digit before the package in the part's name."""
    return device.part.split("-")[2][0]


def _read_report(path: Path, board: SerialBoard) -> tuple[float, Resources]:
    """Return the fastest system clock in MHz and the cells used, from nextpnr's report.

    Where the oscillator's clock is divided there are two clocks, and both must be met: a fraction
    of what one needs is the same fraction of the system's. The system's is constrained to
    :data:`~celosia.fpga.serial_boards.AIM_MHZ` and needs what the board has.
    """
    report = json.loads(path.read_text())
    needs = {AIM_MHZ: board.clock_mhz}
    fractions = [
        clock["achieved"] / needs.get(clock["constraint"], clock["constraint"])
        for clock in report.get("fmax", {}).values()
    ]
    if not fractions:
        raise ToolFailedError("nextpnr-ecp5 reported no clock: the design was optimised away")
    used = {name: found["used"] for name, found in report["utilization"].items()}
    return min(fractions) * board.clock_mhz, Resources(
        lut=used.get("TRELLIS_COMB", 0),
        ff=used.get("TRELLIS_FF", 0),
        dsp=used.get("MULT18X18D", 0),
        bram=used.get("DP16KD", 0),
    )
