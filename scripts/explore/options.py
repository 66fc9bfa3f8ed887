"""The arguments and options of ``celosia explore``, as a user reads them."""

from __future__ import annotations

from typing import Annotated

import typer

NetworkName = Annotated[
    str,
    typer.Argument(
        metavar="NETWORK",
        help="What quantize wrote, or one that comes with Celosia: rnet, digits, resnet18, ...",
    ),
]
DeviceName = Annotated[str, typer.Option(help="Name of a known FPGA part.")]
ObjectiveName = Annotated[
    str, typer.Option(help="fps, energy, edp, dram, lut, ff, dsp, bram or accuracy.")
]
Limits = Annotated[
    list[str] | None,
    typer.Option(help="Such as 'fps>=100' or 'lut<=50000', once for each.", metavar="LIMIT"),
]
DataflowName = Annotated[
    str | None,
    typer.Option(
        help="weight_stationary, output_stationary, input_stationary or row_wise, for all "
        "layers. [default: any]"
    ),
]
Fixed = Annotated[
    list[str] | None,
    typer.Option(help="Values of a knob, such as lanes=16 or columns=32,64.", metavar="KNOB"),
]
Weights = Annotated[
    list[str] | None,
    typer.Option(
        help="Formats of rows, such as pot_4:60,fixed4:40; once for each variant (built-in "
        "networks)."
    ),
]
Clock = Annotated[
    float | None,
    typer.Option(help="MHz that are assumed. [default: 200, 7 series 100, ECP5 25]"),
]
Memory = Annotated[
    str, typer.Option(help="latency,bytes-per-cycle,outstanding, or ideal, ddr4, slow.")
]
Strategy = Annotated[
    str,
    typer.Option(help="evolution, pareto, exhaustive, tpe, nsga2, cma-es or gumbel."),
]
Seconds = Annotated[
    float | None,
    typer.Option(help="Seconds to search for. [default: 60, without --candidates]"),
]
Candidates = Annotated[int | None, typer.Option(min=1, help="Accelerators to consider at most.")]
Workers = Annotated[
    int | None, typer.Option(min=1, help="Processes, or workers of a cluster. [default: cores]")
]
Cluster = Annotated[
    str | None, typer.Option(help="local, slurm, lsf, or a Dask scheduler's address.")
]
Store = Annotated[
    str | None,
    typer.Option(help="URL of a database of results (SQLAlchemy). [default: SQLite in -o]"),
]
Batch = Annotated[
    int, typer.Option(min=1, max=256, help="Frames that one start runs, layer by layer.")
]
Seed = Annotated[int, typer.Option(min=0, help="Of the strategy.")]
Verify = Annotated[
    bool, typer.Option("--verify", help="Build and simulate what was found; compare cycles.")
]
Explained = Annotated[
    str | None,
    typer.Option(help="A layer: what it would cost in each named dataflow.", metavar="LAYER"),
]
