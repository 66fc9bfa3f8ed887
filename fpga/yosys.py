"""Synthesis with Yosys: what each block of a design takes of a part.

The design is synthesised by block: each module of the Verilog is mapped once and counted as
often as it is instantiated. Nothing is optimised across module borders, so the amounts are an
upper bound of what a flow that flattens would need, and what a module takes is kept: a design that
shares modules with an earlier one has only its other modules mapped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from celosia.dataflow.engines import Description
from celosia.fpga.devices import CELLS, FIELDS, Device, Family, Resources
from celosia.fpga.levels import Paths, module_paths
from celosia.fpga.tools import (
    ToolFailedError,
    kept,
    recall,
    run_tool,
    short_version,
    tool_version,
)
from celosia.fpga.ultraram import check_ultra
from celosia.models.processes import Processes
from celosia.rtl.core import core_name, core_verilog

FLOWS = {
    Family.ULTRASCALE_PLUS: "synth_xilinx -family xcup -noiopad -noclkbuf",
    Family.SERIES_7: "synth_xilinx -family xc7 -noiopad -noclkbuf",
    Family.ECP5: "synth_ecp5 -noflatten",
}

_MODULE, _PATHS = "module", "paths of all inside"
"""What stands before what a module's cells depend on, and its paths through all that is inside."""

_KEPT = "cells.json"
"""The file that holds either."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One module of the design.

    ``count`` instances in the whole design; ``own`` is what one instance takes without the
    modules inside it, ``inclusive`` with them.
    """

    name: str
    count: int
    own: Resources
    inclusive: Resources


@dataclass(frozen=True, slots=True, kw_only=True)
class SynthReport:
    """What a design takes of a device. ``blocks`` begins with the top, then by total amount.

    ``logic_levels`` are those of the longest path between registers
    (:mod:`celosia.fpga.levels`), where they were asked for.
    """

    design: str
    device: Device
    tool: str
    blocks: tuple[Block, ...]
    logic_levels: int | None = None

    @property
    def total(self) -> Resources:
        """What the whole design takes."""
        return self.blocks[0].inclusive

    @property
    def fractions(self) -> dict[str, float]:
        """Share of the device's budget for each resource that it limits."""
        used, budget = self.total.as_dict(), self.device.budget.as_dict()
        return {name: used[name] / limit for name, limit in budget.items() if limit}

    @property
    def fits(self) -> bool:
        """Whether no resource is used beyond the budget."""
        return max(self.fractions.values()) <= 1

    def as_dict(self) -> dict[str, Any]:
        """Return the report as JSON values."""
        return {
            "design": self.design,
            "device": self.device.name,
            "part": self.device.part,
            "tool": self.tool,
            "total": self.total.as_dict(),
            "budget": {k: v for k, v in self.device.budget.as_dict().items() if v},
            "fractions": {name: round(share, 6) for name, share in self.fractions.items()},
            "fits": self.fits,
            "logic_levels": self.logic_levels,
            "blocks": [
                {
                    "name": block.name,
                    "count": block.count,
                    "own": block.own.as_dict(),
                    "inclusive": block.inclusive.as_dict(),
                }
                for block in self.blocks
            ],
        }


def synth(
    accelerator: Description,
    device: Device,
    processes: Processes | None = None,
    *,
    levels: bool = False,
) -> SynthReport:
    """Synthesise the IP core of ``accelerator`` for ``device``.

    Who calls it in a thread gives ``processes``, to stop it by. With ``levels`` the report has
    the logic levels too, for parts of AMD's.

    Raises
    ------
    CelosiaError
        When its buffers are of UltraRAM and the device has none.
    ValueError
        When there are levels to be counted on a part of another vendor.
    MissingToolError
        When Yosys is not installed.
    ToolFailedError
        When Yosys fails.
    """
    check_ultra(accelerator, device)
    primitives = device.family is Family.ULTRASCALE_PLUS
    verilog = core_verilog(accelerator, primitives=primitives)
    return synth_verilog(verilog, core_name(accelerator), device, processes, levels=levels)


def synth_verilog(
    verilog: str,
    top: str,
    device: Device,
    processes: Processes | None = None,
    *,
    levels: bool = False,
) -> SynthReport:
    """Synthesise the module ``top`` of a Verilog text for ``device``; see :func:`synth`."""
    if levels and device.family is Family.ECP5:
        raise ValueError(f"levels must be False: those of {device.name}'s cells are not known")
    flow = FLOWS[device.family]
    tool = tool_version("yosys")
    written = "; write_json -noscopeinfo netlist.json" if levels else ""

    def make(folder: Path) -> None:
        texts = split_modules(verilog)
        known = _known(texts, [flow, tool], top, levels=levels)
        (folder / "known.v").write_text("\n".join(texts[name] for name in known))
        new = [text for name, text in texts.items() if name not in known]
        (folder / "new.v").write_text("\n".join(new) if known else verilog)
        script = (
            f"read_verilog -lib known.v; read_verilog new.v; {flow} -top {top}; "
            f"tee -q -o stat.json stat -json{written}"
        )
        run_tool("yosys", ["-Q", "-T", "-q", "-p", script], folder, processes)
        mapped = _parse((folder / "stat.json").read_text())
        for name in texts.keys() & mapped.keys():
            _keep([_MODULE, flow, tool, texts[name]], mapped[name])
        whole = {name: {"num_cells_by_type": cells} for name, cells in (known | mapped).items()}
        (folder / "stat.json").write_text(json.dumps({"modules": whole}))
        if levels:
            found = _find_paths(folder / "netlist.json", list(mapped), known, texts, [flow, tool])
            (folder / "levels.json").write_text(json.dumps(found[top].inside))
        for name in ("known.v", "new.v"):
            (folder / name).unlink()

    folder = kept(["synth", flow, top, tool, verilog, *([_PATHS] if levels else [])], make)
    modules = _parse((folder / "stat.json").read_text())
    blocks = _blocks(modules, top, CELLS[device.family])
    longest = json.loads((folder / "levels.json").read_text()) if levels else None
    return SynthReport(
        design=top,
        device=device,
        tool=short_version(tool),
        blocks=blocks,
        logic_levels=longest,
    )


def _find_paths(
    netlist: Path,
    names: list[str],
    known: Mapping[str, object],
    texts: Mapping[str, str],
    flow: Sequence[str],
) -> dict[str, Paths]:
    """Return the paths of the modules ``names``, which are kept; the netlist goes."""
    wholes = _with_held(texts)
    before = {name: _recalled_paths(flow, wholes[name]) for name in known}
    modules = json.loads(netlist.read_text())["modules"]
    found = module_paths(modules, names, {name: p for name, p in before.items() if p is not None})
    for name in texts.keys() & found.keys():
        _keep([_PATHS, *flow, wholes[name]], found[name].as_json())
    netlist.unlink()
    return found


def _recalled_paths(flow: Sequence[str], text: str) -> Paths | None:
    folder = recall([_PATHS, *flow, text])
    return Paths.of_json(json.loads((folder / _KEPT).read_text())) if folder else None


def split_modules(verilog: str) -> dict[str, str]:
    """Return the text of each module by name; none where there is more than modules and comments.

    Compiler directives, say, mean something to what follows them.
    """
    pattern = re.compile(r"^module (\w+)\b.*?^endmodule$", flags=re.M | re.S)
    around = re.sub(r"//.*", "", pattern.sub("", verilog))
    if around.strip():
        return {}
    return {match[1]: match[0] for match in pattern.finditer(verilog)}


def _with_held(texts: Mapping[str, str]) -> dict[str, str]:
    """Return the text of each module with those of all that it may hold: its paths go through them.

    Whatever has a module's name is taken for it: at worst something is mapped again.
    """
    held = {name: set(re.findall(r"\w+", text)) & texts.keys() for name, text in texts.items()}

    def below(name: str) -> set[str]:
        found, waiting = {name}, [name]
        while waiting:
            new = held[waiting.pop()] - found
            found |= new
            waiting += new
        return found

    return {name: "\n".join(texts[each] for each in sorted(below(name))) for name in texts}


def _known(
    texts: Mapping[str, str], flow: Sequence[str], top: str, *, levels: bool
) -> dict[str, dict[str, int]]:
    """Return the cells of each module that was mapped before, but for what holds a new one.

    With ``levels``, of those whose paths are known. Whether a module is mapped again because of
    what it holds changes nothing but that Yosys sees the new one below it; the top is always
    mapped.
    """
    known = {}
    wholes = _with_held(texts) if levels else {}
    for name, text in texts.items():
        folder = recall([_MODULE, *flow, text])
        if levels and recall([_PATHS, *flow, wholes[name]]) is None:
            continue
        if folder is not None and name != top:
            known[name] = {
                cell: int(count) for cell, count in json.loads((folder / _KEPT).read_text()).items()
            }
    while holding := [n for n in known if any(c in texts and c not in known for c in known[n])]:
        for name in holding:
            del known[name]
    return known


def _keep(parts: Sequence[str], value: object) -> None:
    def make(folder: Path) -> None:
        (folder / _KEPT).write_text(json.dumps(value))

    kept(parts, make)


def count_cells(text: str, top: str, family: Family) -> Resources:
    """Return what the module ``top`` takes, from what Yosys's ``stat -json`` wrote."""
    return _blocks(_parse(text), top, CELLS[family])[0].inclusive


def _parse(text: str) -> dict[str, dict[str, int]]:
    """Return the cells of each module by type from what ``stat -json`` wrote."""
    modules = json.loads(text)["modules"]
    return {
        name.removeprefix("\\"): {
            cell.removeprefix("\\"): int(count)
            for cell, count in found.get("num_cells_by_type", {}).items()
        }
        for name, found in modules.items()
    }


def _blocks(
    modules: Mapping[str, Mapping[str, int]], top: str, cells: Mapping[str, Resources]
) -> tuple[Block, ...]:
    """Return the modules below ``top`` with their counts and amounts."""
    own = {name: _own(name, found, modules, cells) for name, found in modules.items()}
    counts = dict.fromkeys(modules, 0)
    inclusive: dict[str, Resources] = {}

    def include(name: str) -> Resources:
        if name not in inclusive:
            total = own[name]
            for cell, count in modules[name].items():
                if cell in modules:
                    total += include(cell) * count
            inclusive[name] = total
        return inclusive[name]

    def count(name: str, times: int) -> None:
        counts[name] += times
        for cell, number in modules[name].items():
            if cell in modules:
                count(cell, times * number)

    include(top)
    count(top, 1)
    blocks = [
        Block(name=name, count=counts[name], own=own[name], inclusive=inclusive[name])
        for name in modules
        if counts[name]
    ]

    def weight(block: Block) -> tuple[bool, float, str]:
        amount = (block.own * block.count).as_dict()
        return (block.name != top, -sum(amount[field.name] for field in FIELDS[:2]), block.name)

    return tuple(sorted(blocks, key=weight))


def _own(
    module: str,
    found: Mapping[str, int],
    modules: Mapping[str, object],
    cells: Mapping[str, Resources],
) -> Resources:
    total = Resources()
    for cell, count in found.items():
        if cell in modules or re.fullmatch(r"\$(scopeinfo|print|check|assert)", cell):
            continue
        if cell not in cells:
            raise ToolFailedError(
                f"yosys left {count} cells of type {cell} in module {module}: their size is not "
                "known (celosia.fpga.devices.CELLS)"
            )
        total += cells[cell] * count
    return total
