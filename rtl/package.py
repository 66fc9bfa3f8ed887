"""The generated folder: Verilog, register map, descriptions for tools, and the accelerator."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from celosia.dataflow.engines import Description, dump_engine
from celosia.models.files import atomic_directory
from celosia.rtl.core import core_name, core_parts, core_registers
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
{blocks}\
  lint:
    files:
      - {name}.vlt
    file_type: vlt

targets:
  default:
    filesets: [rtl{primitives}]
    toplevel: {name}
{simulation}\
  lint:
    default_tool: verilator
    filesets: [lint, rtl{models}]
    toplevel: {name}
    tools:
      verilator:
        mode: lint-only
        verilator_options: ["-Wall"]
"""

BLOCKS = """\
  primitives:
    files:
      - {name}_dsp48e2.v
    file_type: verilogSource
  models:
    files:
      - {name}_model.v
    file_type: verilogSource
"""

SIMULATION = """\
  sim:
    filesets: [rtl, models]
    toplevel: {name}
"""


def render_core(name: str, release: str, accelerator: str, *, blocks: bool) -> str:
    """Return the FuseSoC description; with ``blocks`` there are primitives and their models."""
    return CORE.format(
        name=name,
        version=release,
        accelerator=accelerator,
        blocks=BLOCKS.format(name=name) if blocks else "",
        primitives=", primitives" if blocks else "",
        models=", models" if blocks else "",
        simulation=SIMULATION.format(name=name) if blocks else "",
    )


def render_waivers() -> str:
    """Return the Verilator configuration that waives :data:`WAIVERS`, each with its reason."""
    lines = ["`verilator_config"]
    for rule, reason in WAIVERS.items():
        lines += [f"// {reason[0].upper()}{reason[1:]}.", f"lint_off -rule {rule}"]
    return "\n".join([*lines, ""])


def package_files(accelerator: Description) -> dict[str, str]:
    """Return the text of each file of the generated folder, by name.

    An accelerator with DSP columns has their blocks in files of their own: ``*_dsp48e2.v`` for
    devices that have them, ``*_model.v`` for simulators and other devices.
    """
    name = core_name(accelerator)
    registers = core_registers(accelerator)
    release = version("celosia")
    parts = core_parts(accelerator)
    verilog = {f"{name}.v": parts.logic}
    if parts.primitives:
        verilog |= {f"{name}_dsp48e2.v": parts.primitives, f"{name}_model.v": parts.models}
    sources = tuple(file for file in verilog if not file.endswith("_model.v"))
    return {
        **verilog,
        f"{name}.vlt": render_waivers(),
        f"{name}.core": render_core(name, release, accelerator.name, blocks=len(verilog) > 1),
        "component.xml": render_component(accelerator, version=release, sources=sources),
        "registers.md": f"# Registers of {name}\n\n" + render_markdown(registers),
        "registers.json": render_json(registers),
        "celosia_registers.h": render_c_header(registers),
        "accelerator.toml": dump_engine(accelerator),
    }


def generate(accelerator: Description, directory: str | Path) -> tuple[Path, ...]:
    """Write the IP core of ``accelerator`` into ``directory``, whole or not at all.

    The same accelerator gives the same bytes.

    Parameters
    ----------
    accelerator : Description
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
