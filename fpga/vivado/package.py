"""A folder that Vivado turns into a bitstream: sources, settings and scripts.

The scripts (``*.tcl`` beside this file) are the same for every board and engine; what differs is
data, in ``tcl/settings.tcl``, from the tables that the hardware itself is made of. What of it was
tried, and how, is in the folder's ``README.md``.
"""

from __future__ import annotations

import re
from importlib import resources
from importlib.metadata import version
from importlib.resources.abc import Traversable
from pathlib import Path

from celosia.dataflow.engines import Description, fingerprint
from celosia.fpga.boards import HIGHEST_CLOCK_MHZ, LOWEST_CLOCK_MHZ, Board
from celosia.fpga.devices import Family
from celosia.fpga.ultraram import check_ultra
from celosia.models.errors import CelosiaError
from celosia.models.files import atomic_directory
from celosia.rtl.core import core_name, core_parts, core_registers
from celosia.rtl.ipxact import CONTROL, memory_ports
from celosia.rtl.package import package_files
from celosia.rtl.registers import ADDRESS_BITS

STRATEGIES = (
    "Vivado Implementation Defaults",
    "Performance_ExplorePostRoutePhysOpt",
    "Performance_NetDelay_high",
    "Congestion_SpreadLogic_high",
)
"""Implementation strategies in the order in which they are tried (UG904)."""

SCRIPTS = ("versions", "steps", "report", "core", "area", "system")
"""What ``build.tcl`` reads besides the settings."""

Tcl = str | int | float | tuple["Tcl", ...]
"""What a setting may be; tuples are lists."""


def tcl_word(value: Tcl) -> str:
    """Return ``value`` as one word of Tcl, whatever characters it holds."""
    if isinstance(value, tuple):
        return "{" + " ".join(tcl_word(item) for item in value) + "}"
    text = str(value)
    if re.fullmatch(r"[\w.:/+-]+", text):
        return text
    if re.search(r"[{}\\]", text):
        return '"' + re.sub(r'([\\"$\[\]{}])', r"\\\1", text).replace("\n", "\\n") + '"'
    return "{" + text + "}"


def settings(accelerator: Description, board: Board, clock_mhz: float) -> dict[str, Tcl]:
    """Return what the scripts need to know of ``accelerator`` on ``board``.

    Raises
    ------
    CelosiaError
        If the engine has more memory ports than the board, buffers of UltraRAM that its part has
        not, or the clock is out of range.
    """
    check_ultra(accelerator, board.device)
    system, masters = board.system, memory_ports(accelerator)
    if len(masters) > len(system.memory):
        raise CelosiaError(
            f"accelerator {accelerator.name!r} has {len(masters)} memory ports and {board.name} "
            f"has {len(system.memory)}: take fewer ports, or another board"
        )
    if not LOWEST_CLOCK_MHZ <= clock_mhz <= HIGHEST_CLOCK_MHZ:
        raise CelosiaError(
            f"a clock of {clock_mhz:g} MHz is not possible on {board.name}: ask for "
            f"{LOWEST_CLOCK_MHZ:g} to {HIGHEST_CLOCK_MHZ:g} MHz"
        )
    used = range(len(masters))
    memory_settings = tuple(pair for port in used for pair in system.memory_settings[port])
    return {
        "accelerator": accelerator.name,
        "hash": fingerprint(accelerator),
        "top": core_name(accelerator),
        "core_version": ".".join(version("celosia").split(".")[:2]),
        "sources": tuple(sources(accelerator, board)),
        "clock_port": "aclk",
        "reset_port": "aresetn",
        "interrupt_port": "interrupt",
        "control": CONTROL,
        "control_bytes": 1 << ADDRESS_BITS,
        "control_base": f"{system.control_base:#x}",
        "memory": masters,
        "registers": tuple(
            word
            for register in core_registers(accelerator)
            for word in (register.name, f"{register.offset:#x}", register.doc)
        ),
        "board": board.name,
        "part": board.part,
        "family": system.family,
        "board_files": board.files,
        "clock_mhz": clock_mhz,
        "strategies": STRATEGIES,
        "ps_core": system.core,
        "ps_settings": tuple(
            word for pair in (*system.settings, *memory_settings) for word in pair
        ),
        "clock_parameter": system.clock_parameter,
        "actual_clock_parameter": system.actual_clock_parameter,
        "ps_clock": system.clock,
        "ps_reset": system.reset,
        "ps_interrupt": system.interrupt,
        "ps_control": system.control,
        "ps_clocks": (system.control_clock, *system.memory_clock[: len(masters)]),
        "ps_memory": system.memory[: len(masters)],
        "not_memory": system.not_memory,
    }


def sources(accelerator: Description, board: Board) -> list[str]:
    """Return the Verilog files of the core: with DSP48E2 blocks where the board's part has them."""
    name, files = core_name(accelerator), []
    if core_parts(accelerator).primitives:
        has_blocks = board.device.family is Family.ULTRASCALE_PLUS
        files.append(f"{name}_dsp48e2.v" if has_blocks else f"{name}_model.v")
    return [*files, f"{name}.v"]


def render_settings(values: dict[str, Tcl]) -> str:
    """Return ``settings.tcl``: the dictionary ``::celosia::settings``."""
    lines = [f"    {name} {tcl_word(value)}" for name, value in values.items()]
    return "\n".join(
        [
            "# Generated: what the scripts need to know of this accelerator and this board.",
            "namespace eval ::celosia {}",
            "set ::celosia::settings {",
            *lines,
            "}",
            "",
        ]
    )


def folder_files(accelerator: Description, board: Board, clock_mhz: float) -> dict[str, str]:
    """Return the text of every file of the folder, by its path in it."""
    values = settings(accelerator, board, clock_mhz)
    scripts = resources.files("celosia.fpga.vivado")
    core = package_files(accelerator)
    return {
        "build.tcl": (scripts / "build.tcl").read_text(),
        **{f"tcl/{name}.tcl": (scripts / "tcl" / f"{name}.tcl").read_text() for name in SCRIPTS},
        "tcl/settings.tcl": render_settings(values),
        "README.md": _readme(accelerator, board, clock_mhz),
        **{f"rtl/{name}": core.pop(name) for name in sources(accelerator, board)},
        **{
            f"software/{name}": text
            for name, text in core.items()
            if name.startswith(("registers", "celosia_registers", "accelerator"))
        },
        **{f"software/{file.name}": file.read_text() for file in _driver_in_c()},
    }


def _driver_in_c() -> list[Traversable]:
    """Return the sources of the driver in C, which go by the header of registers beside them."""
    files = resources.files("celosia.fpga.c").iterdir()
    return sorted(
        (file for file in files if file.name.endswith((".c", ".h"))), key=lambda file: file.name
    )


def package(
    accelerator: Description, board: Board, directory: str | Path, clock_mhz: float | None = None
) -> tuple[Path, ...]:
    """Write the folder for ``board`` into ``directory``, whole or not at all.

    Parameters
    ----------
    accelerator : Description
        What to build.
    board : Board
        What for.
    directory : str or Path
        Made where it is missing.
    clock_mhz : float, optional
        Clock of the fabric to ask for; the board's own by default.

    Returns
    -------
    tuple[Path, ...]
        The files written.

    Raises
    ------
    CelosiaError
        As :func:`settings`.
    OSError
        If the files cannot be written.
    """
    target = Path(directory)
    files = folder_files(accelerator, board, board.clock_mhz if clock_mhz is None else clock_mhz)
    with atomic_directory(target) as draft:
        for name, text in files.items():
            (draft / name).parent.mkdir(parents=True, exist_ok=True)
            (draft / name).write_text(text)
    return tuple(target / name for name in files)


def _readme(accelerator: Description, board: Board, clock_mhz: float) -> str:
    system, masters = board.system, memory_ports(accelerator)
    pairs = zip(masters, system.memory[: len(masters)], strict=True)
    width = accelerator.bus.data_bits // len(masters)
    template = (resources.files("celosia.fpga.vivado") / "folder.md").read_text()
    return template.format(
        name=accelerator.name,
        board=board.name,
        top=core_name(accelerator),
        clock=clock_mhz,
        part=board.part,
        files=board.files,
        base=system.control_base,
        ports=", ".join(f"`{port}` to {slave}" for port, slave in pairs)
        + f", by a SmartConnect ({width} to {system.memory_bits} bits)",
        clock_pin=system.clock,
        reset_pin=system.reset,
        interrupt_pin=system.interrupt,
    )
