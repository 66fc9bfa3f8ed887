"""Commands on whole runs: doctor, quickstart, report, export-demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from celosia.scripts.console import emit, errors, table
from celosia.scripts.options import Json, Output, hold, path

app = typer.Typer()


@app.command()
def doctor(as_json: Json = False) -> None:
    """Say what is installed and what each missing tool costs."""
    from celosia.scripts.doctor import doctor as examine

    tools = examine()
    healthy = all(tool.present for tool in tools if tool.required)
    value = [
        {
            "name": tool.name,
            "version": tool.version or None,
            "needed_for": tool.needed_for,
            "remedy": None if tool.present else tool.remedy,
            "required": tool.required,
        }
        for tool in tools
    ]

    def show(console: Console) -> None:
        rows = [
            (tool.name, tool.version or f"MISSING: {tool.remedy}", tool.needed_for)
            for tool in tools
        ]
        console.print(table(("tool", "found", "needed for"), rows))

    emit({"healthy": healthy, "tools": value}, as_json=as_json, show=show)
    hold(healthy)


@app.command()
def quickstart(
    output: Output = Path("build/quickstart"),
    networks: Annotated[
        str, typer.Option(help="Which networks, separated by commas.")
    ] = "rnet,digits",
    samples: Annotated[int, typer.Option(min=0, help="Samples of each; 0 for all.")] = 0,
    as_json: Json = False,
) -> None:
    """Run the main job: quantise, generate, co-simulate, synthesise, report."""
    from celosia.scripts.quickstart import quickstart as run

    result = run(output, tuple(networks.split(",")), samples or None)

    def show(console: Console) -> None:
        for part in result.tables():
            console.print(part)
        console.print(f"report: {output / 'report.html'}", markup=False)

    emit(result.summary, as_json=as_json, show=show)
    hold(result.holds)


@app.command()
def report(
    summary: Annotated[
        Path,
        typer.Argument(
            help="A folder of results, or what is in it: summary.json of quickstart or simulate, "
            "explore.json, report.json of bitstream or of Vivado, or what 'bench networks --json' "
            "wrote.",
            parser=path,
        ),
    ] = Path("build/quickstart/summary.json"),
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="HTML file.", parser=path, metavar="PATH"),
    ] = None,
    formats: Annotated[
        Path | None,
        typer.Option(
            help="What 'bench formats --json' wrote; else what comes along.",
            parser=path,
            metavar="PATH",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the HTML report of a run, of several, of a search or of a build, from its summary."""
    from celosia.scripts.explore.page import is_exploration, write_page
    from celosia.scripts.report import read_formats, read_summary, write_report
    from celosia.scripts.report_build import is_build, write_build

    value = read_summary(summary)
    target = output or (summary if summary.is_dir() else summary.parent) / "report.html"
    if is_exploration(value):
        write_page(value, target)
    elif is_build(value):
        write_build(value, target)
    else:
        write_report(value, target, read_formats(formats))
    emit(
        {"report": str(target)},
        as_json=as_json,
        show=lambda console: console.print(f"wrote {target}", markup=False),
    )


@app.command("export-demo")
def export_demo(output: Output, as_json: Json = False) -> None:
    """Write the two demonstration networks with data, and the preset accelerators, as files."""
    from celosia.scripts.demo import export_demo as write

    with errors.status("Training and exporting the demonstration networks"):
        names = write(output)
    emit(
        {"directory": str(output), "files": names},
        as_json=as_json,
        show=lambda console: console.print("\n".join(str(output / name) for name in names)),
    )
