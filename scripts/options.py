"""Arguments and options that commands share, and how a command ends."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

BROKEN = 1
"""Exit status when what was asked for does not hold."""

Json = Annotated[bool, typer.Option("--json", help="Only JSON on stdout.")]
AcceleratorArgument = Annotated[
    str, typer.Argument(metavar="ACC.toml", help="Accelerator file, or a preset's name.")
]


def path(text: str | Path) -> Path:
    """Return a path of the command line; an empty one would be the current directory."""
    if text == "":
        raise typer.BadParameter("a path must not be empty; the current directory is .")
    return Path(text)


Output = Annotated[
    Path,
    typer.Option("-o", "--output", help="Where to write.", parser=path, metavar="PATH"),
]
Model = Annotated[
    Path, typer.Argument(metavar="MODEL", help="A .pt2 file (torch.export) or .onnx.", parser=path)
]
NetlistOption = Annotated[
    str | None,
    typer.Option(
        "--netlist",
        metavar="DEVICE",
        help="Run what Yosys maps the RTL to, cells of this device, in its place.",
    ),
]
MemoryOption = Annotated[
    int, typer.Option(metavar="KIB", help="On-chip memory of the system, a power of two to 256.")
]


def hold(holds: bool) -> None:
    """End with status 1 when what was asked for does not hold."""
    if not holds:
        raise typer.Exit(BROKEN)
