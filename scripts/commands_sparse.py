"""Commands on sparse matrices: spgemm."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from celosia.models.errors import CelosiaError
from celosia.scripts.console import emit, progress
from celosia.scripts.options import Json, NetlistOption, hold, path

app = typer.Typer()


@app.command()
def spgemm(
    left: Annotated[
        Path, typer.Argument(metavar="A.mtx", help="A Matrix Market file.", parser=path)
    ],
    accelerator: Annotated[str, typer.Option(help="File of a SpArch engine, or a preset's name.")],
    right: Annotated[
        Path | None,
        typer.Argument(metavar="[B.mtx]", help="Another; else A itself.", parser=path),
    ] = None,
    memory: Annotated[
        str, typer.Option(help="latency,bytes-per-cycle,outstanding, or ideal, ddr4, slow.")
    ] = "ddr4",
    mode: Annotated[
        str, typer.Option(help="adaptive (the fastest), sparch (as published) or rowwise.")
    ] = "adaptive",
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", help="Where to write the product.", parser=path, metavar="PATH"
        ),
    ] = None,
    netlist: NetlistOption = None,
    as_json: Json = False,
) -> None:
    """Multiply sparse matrices on the RTL and compare every bit, cycle and byte."""
    from celosia.fpga.devices import find_device
    from celosia.models.files import check_writable
    from celosia.models.matrix_market import read_matrix_market, write_matrix_market
    from celosia.scripts.arguments import read_memory, read_sparch
    from celosia.scripts.spgemm import Mode
    from celosia.scripts.spgemm import spgemm as run

    known = {each.value: each for each in Mode}
    if mode not in known:
        raise CelosiaError(f"there is no mode {mode!r}: known are {', '.join(known)}")
    device = None if netlist is None else find_device(netlist)
    chosen, model = read_sparch(accelerator), read_memory(memory)
    if output is not None:  # before a product that may take minutes
        check_writable(output)
    one = read_matrix_market(left)
    other = None if right is None else read_matrix_market(right)
    with progress("Multiplying") as report:
        done = run(
            one, other, accelerator=chosen, memory=model, mode=known[mode], device=device,
            report=report,
        )  # fmt: skip
    if output is not None:
        write_matrix_market(done.result, output)

    def show(console: Console) -> None:
        for part in done.tables():
            console.print(part)
        console.print(done.verdict_line(), markup=False)

    emit(done.as_dict(), as_json=as_json, show=show)
    hold(done.holds)
