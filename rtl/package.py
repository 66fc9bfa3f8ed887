"""The generated folder: Verilog, register map, descriptions for tools, and the accelerator."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.accelerator_file import dump_accelerator
from celosia.models.files import atomic_directory
from celosia.rtl.engine import core_name, core_registers, core_verilog
from celosia.rtl.ipxact import render_component
from celosia.rtl.registers import render_c_header, render_json, render_markdown

WAIVERS = {
    "DECLFILENAME": "one file holds all modules of the core",
    "WIDTHEXPAND": "operands are as narrow as their values; Verilog extends them, signed as marked",
    "WIDTHTRUNC": "arithmetic modulo 2**width: what is assigned is all that is needed",
    "UNUSEDSIGNAL": "ports carry whole fields, of which a part may need only some bits",
    "PROCASSINIT": "a register has its power-on value and its next value; FPGAs load the former",
    "CASEOVERLAP": "one-hot selections are written as priority cases",
    "SYMRSVDWORD": "the name that IP tools give to the port; C++ does not see it",
}
"""Lint rules of ``verilator -Wall`` that the Verilog breaks on purpose, and why."""

CORE = """\
CAPI=2:
name: "::{name}:{version}"
description: "Celosia accelerator {accelerator}"

filesets:
  rtl:
    files:
      - {name}.v
    file_type: verilogSource
  lint:
    files:
      - {name}.vlt
    file_type: vlt

targets:
  default:
    filesets: [rtl]
    toplevel: {name}
  lint:
    default_tool: verilator
    filesets: [lint, rtl]
    toplevel: {name}
    tools:
      verilator:
        mode: lint-only
        verilator_options: ["-Wall"]
"""


def render_waivers() -> str:
    """Return the Verilator configuration that waives :data:`WAIVERS`, each with its reason."""
    lines = ["`verilator_config"]
    for rule, reason in WAIVERS.items():
        lines += [f"// {reason[0].upper()}{reason[1:]}.", f"lint_off -rule {rule}"]
    return "\n".join([*lines, ""])


def package_files(accelerator: Accelerator) -> dict[str, str]:
    """Return the text of each file of the generated folder, by name."""
    name = core_name(accelerator)
    registers = core_registers(accelerator)
    release = version("celosia")
    return {
        f"{name}.v": core_verilog(accelerator),
        f"{name}.vlt": render_waivers(),
        f"{name}.core": CORE.format(name=name, version=release, accelerator=accelerator.name),
        "component.xml": render_component(accelerator, version=release, sources=(f"{name}.v",)),
        "registers.md": f"# Registers of {name}\n\n" + render_markdown(registers),
        "registers.json": render_json(registers),
        "celosia_registers.h": render_c_header(registers),
        "accelerator.toml": dump_accelerator(accelerator),
    }


def generate(accelerator: Accelerator, directory: str | Path) -> tuple[Path, ...]:
    """Write the IP core of ``accelerator`` into ``directory``, whole or not at all.

    The same accelerator gives the same bytes.

    Parameters
    ----------
    accelerator : Accelerator
        What to build.
    directory : str or Path
        Made where it is missing.

    Returns
    -------
    tuple[Path, ...]
        The files written.

    Raises
    ------
    OSError
        If the files cannot be written.
    """
    target = Path(directory)
    files = package_files(accelerator)
    with atomic_directory(target) as draft:
        for name, text in files.items():
            (draft / name).write_text(text)
    return tuple(target / name for name in files)
