"""Commands about layers on memory hierarchies given as data: map, export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from celosia.scripts.console import emit, table
from celosia.scripts.options import Json, Output, path

app = typer.Typer()

Arch = Annotated[
    str, typer.Option("--arch", metavar="ARCH.toml", help="Architecture file, or a shipped one.")
]
LayerText = Annotated[
    str, typer.Option("--layer", metavar="C,K,P,Q,R,S,stride", help="The layer's sizes.")
]
FactorsText = Annotated[
    str | None,
    typer.Option(
        "--factors", help="Tiles: perfect (divisors) or imperfect; the file says by default."
    ),
]


@app.command("map")
def map_command(
    arch: Arch,
    layer: LayerText,
    objective: Annotated[
        str,
        typer.Option(help="energy, edp, cycles, dram, or weights: energy=1,cycles=20,dram=0.5."),
    ] = "energy",
    factors: FactorsText = None,
    mapping: Annotated[
        Path | None,
        typer.Option(
            parser=path, metavar="MAP.json", help="Price this mapping; nothing is searched."
        ),
    ] = None,
    budget: Annotated[
        int | None, typer.Option(min=1, help="Mappings to price at most, about; none by default.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Threads.")] = 1,
    device: Annotated[
        str | None,
        typer.Option(
            help="Price arrays of mappings by torch: cuda, cpu, or auto for a GPU if there is "
            "one. [default: compiled kernels]"
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Find the best mapping of a layer onto a memory hierarchy, and prove that it is."""
    from celosia.scripts.map_layer import map_layer, price_mapping

    if mapping is not None:
        value = price_mapping(arch, layer, objective, mapping)
    else:
        value = map_layer(
            arch, layer, objective, factors=factors, budget=budget, workers=workers, device=device
        )

    def show(console: Console) -> None:
        rows = [(key.replace("_", " "), entry) for key, entry in value.summary().items()]
        console.print(table((str(value.layer), value.architecture.name), rows))
        cells = [
            (entry.level, entry.tensor.value, entry.reads, entry.writes)
            for entry in value.price.accesses
        ]
        console.print(table(("level", "tensor", "reads", "writes"), cells, title="Words"))
        console.print(value.nest, markup=False)

    emit(value.as_dict(), as_json=as_json, show=show)


@app.command("export")
def export_command(
    arch: Arch,
    layer: LayerText,
    to: Annotated[str, typer.Option(help="timeloop, zigzag, scalesim or accelforge.")],
    output: Output,
    objective: Annotated[str, typer.Option(help="What the mapping is searched for.")] = "energy",
    factors: FactorsText = None,
    mapping: Annotated[
        Path | None,
        typer.Option(parser=path, metavar="MAP.json", help="Write this mapping."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a layer, a hierarchy and a mapping as another tool's input files."""
    from celosia.scripts.map_layer import export_mapping

    names = export_mapping(arch, layer, to, output, objective, factors=factors, mapping=mapping)
    value = {"tool": to, "files": [str(output / name) for name in names]}

    def show(console: Console) -> None:
        for name in value["files"]:
            console.print(name, markup=False)

    emit(value, as_json=as_json, show=show)
