"""Commands that measure: bench sim, bench pe, bench formats."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console

from celosia.scripts.console import emit, progress, table
from celosia.scripts.options import Json

app = typer.Typer(help="Measure how fast things are.", no_args_is_help=True)


@app.command("sim")
def bench_sim(
    accelerator: Annotated[str, typer.Option(help="Accelerator file, or a preset.")] = "large",
    as_json: Json = False,
) -> None:
    """Measure the native simulator: cycles and products a second, build time."""
    from celosia.scripts.arguments import read_accelerator
    from celosia.sim.bench import bench_sim as run

    chosen = read_accelerator(accelerator)
    with progress(f"Simulator of {chosen.name}") as report:
        value = asdict(run(chosen, progress=report))

    def show(console: Console) -> None:
        console.print(table(("", chosen.name), value.items()))

    emit(value, as_json=as_json, show=show)


@app.command("pe")
def bench_pe(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[WORD]...", help="Only those whose title holds all of these."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Synthesise every processing element in one setting: what a product takes of a part."""
    from celosia.scripts.bench_pe import bench_pe as run
    from celosia.scripts.bench_pe import select

    cases = select(words or ())
    with progress("Processing elements") as report:
        rows = run(cases, report)

    def show(console: Console) -> None:
        headers = ("each lane of", "LUT", "LC", "FF", "DSP", "levels", "per LUT", "per DSP", "")
        cells = [
            (
                title,
                *(row.lut_raw_per_lane, row.lc_per_lane, row.ff_per_lane, row.dsp_per_lane),
                row.logic_levels,
                *("-" if share is None else round(share, 4) for share in row.products),
                "proved" if row.proved else "",
            )
            for title, row in zip((case.title for case in cases), rows, strict=True)
        ]
        console.print(table(headers, cells, title="Products a cycle"))

    emit([row.as_dict() for row in rows], as_json=as_json, show=show)


@app.command("formats")
def bench_formats(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[WORD]...", help="Only those whose name holds all of these."),
    ] = None,
    networks: Annotated[
        str, typer.Option(help="Which networks, separated by commas.")
    ] = "rnet,digits,mnist",
    as_json: Json = False,
) -> None:
    """Compare number formats: accuracy, bits, area and cycles, on the same networks."""
    from celosia.scripts.bench_formats import bench_formats as run

    with progress("Formats") as report:
        rows = [row.as_dict() for row in run(networks.split(","), words or (), report)]

    def show(console: Console) -> None:
        headers = ("format", "float %", "PTQ %", "QAT %", "bits", "LUT", "LUT, DSP", "cycles")
        for name in dict.fromkeys(row["workload"] for row in rows):
            cells = [
                (
                    row["format"],
                    *(
                        f"{100 * row[f'{kind}_mean']:.2f} ({100 * row[f'{kind}_spread']:.2f})"
                        for kind in ("float", "ptq", "qat")
                    ),
                    round(row["bits_per_weight"], 3),
                    *_areas(row),
                    row["cycles"],
                )
                for row in rows
                if row["workload"] == name
            ]
            title = f"{name}: mean (largest minus smallest) of seeds; LUT and DSP a product"
            console.print(table(headers, cells, title=title))

    emit(rows, as_json=as_json, show=show)


def _areas(row: dict[str, Any]) -> tuple[str, str]:
    """Return look-up tables a product without DSP blocks, and both with them."""
    only, lut, dsp = (row[f"{kind}_per_product"] for kind in ("lut_only", "lut", "dsp"))
    return "-" if only is None else f"{only:.1f}", "-" if lut is None else f"{lut:.1f}, {dsp:.2g}"
