"""Commands that measure: time, area, accuracy, and cycles of networks and matrices."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from celosia.models.errors import CelosiaError
from celosia.scripts.console import emit, progress, table
from celosia.scripts.options import Json, hold, path

if TYPE_CHECKING:
    from celosia.scripts.bench_pe import PeRow

app = typer.Typer(help="Measure what things take: time, area, accuracy.", no_args_is_help=True)


@app.command("sim")
def bench_sim(
    accelerator: Annotated[str, typer.Option(help="Accelerator file, or a preset.")] = "large",
    memory: Annotated[
        str, typer.Option(help="latency,bytes-per-cycle,outstanding, or ideal, ddr4, slow.")
    ] = "ideal",
    as_json: Json = False,
) -> None:
    """Measure the native simulator: cycles and products a second, build time."""
    from celosia.scripts.arguments import read_accelerator, read_memory
    from celosia.sim.bench import bench_sim as run

    chosen, model = read_accelerator(accelerator), read_memory(memory)
    with progress(f"Simulator of {chosen.name}") as report:
        value = {"memory": memory} | asdict(run(chosen, memory=model, progress=report))

    def show(console: Console) -> None:
        console.print(table(("", chosen.name), value.items()))

    emit(value, as_json=as_json, show=show)


@app.command("networks")
def bench_networks(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[WORD]...", help="Only rows whose name holds one, as resnet18."),
    ] = None,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the tables of docs/benchmarks.md.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run whole networks on the dense engine in RTL: cycles, use of the array, what bounds it."""
    from celosia.scripts.bench_networks import bench_networks as run
    from celosia.scripts.bench_networks import markdown as document
    from celosia.scripts.bench_networks import tables

    with progress("Networks") as report:
        rows = run(words or (), report)

    def show(console: Console) -> None:
        if markdown:
            sys.stdout.write(document(rows))
            return
        for part in tables(rows):
            console.print(part)

    emit([row.as_dict() for row in rows], as_json=as_json, show=show)
    hold(all(row.holds for row in rows))


@app.command("zcu102")
def bench_zcu102(
    area: Annotated[
        bool, typer.Option("--area", help="Only area and levels of logic: no network is run.")
    ] = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the tables of docs/benchmarks.md.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Synthesise the W4A4 engine of the ZCU102; frames a second of networks beside published."""
    from celosia.scripts.bench_zcu102 import bench_zcu102 as run
    from celosia.scripts.bench_zcu102 import markdown as document
    from celosia.scripts.bench_zcu102 import tables

    with progress("ZCU102") as report:
        found = run(report, networks=not area)

    def show(console: Console) -> None:
        if markdown:
            sys.stdout.write(document(found))
            return
        for part in tables(found):
            console.print(part)

    emit(found.as_dict(), as_json=as_json, show=show)
    hold(found.holds)


@app.command("pe")
def bench_pe(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="WORD", help="Only those whose title holds all of these."),
    ] = None,
    gates: Annotated[
        bool, typer.Option("--gates", help="Only what published shares and amounts bound.")
    ] = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the table of docs/benchmarks.md.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Synthesise every processing element in one setting: what a product takes of a part."""
    from celosia.scripts.bench_pe import bench_pe as run
    from celosia.scripts.bench_pe import select
    from celosia.scripts.pe_gates import gate_cases
    from celosia.scripts.pe_table import markdown as document

    if gates and words:
        raise CelosiaError("--gates chooses the elements itself: leave out the words, or --gates")
    cases = gate_cases() if gates else select(words or ())
    with progress("Processing elements") as report:
        rows = run(cases, report)
    if gates:
        _show_gates(rows, as_json=as_json)
        return

    def show(console: Console) -> None:
        if markdown:
            sys.stdout.write(document(rows))
            return
        headers = ("each lane of", "LUT", "LC", "FF", "DSP", "levels", "per LUT", "per DSP", "")
        cells = [
            (
                row.title,
                *(row.lut_raw_per_lane, row.lc_per_lane, row.ff_per_lane, row.dsp_per_lane),
                row.logic_levels,
                *("-" if share is None else round(share, 4) for share in row.products),
                "proved" if row.proved else "",
            )
            for row in rows
        ]
        console.print(table(headers, cells, title="Products a cycle"))

    emit([row.as_dict() for row in rows], as_json=as_json, show=show)


def _show_gates(rows: Sequence[PeRow], *, as_json: bool) -> None:
    """Print every gate and what was measured; exits with 1 where one does not hold."""
    from celosia.scripts.pe_gates import judge

    verdicts = judge(rows)

    def show(console: Console) -> None:
        headers = ("gate", "measured", "at most", "of our own fixed point", "")
        cells = [
            (
                verdict.gate.name,
                round(verdict.measured, 3),
                verdict.gate.limit,
                "-" if verdict.of_ours is None else round(verdict.of_ours, 3),
                "holds" if verdict.holds else "FAILS",
            )
            for verdict in verdicts
        ]
        title = "Shares of look-up tables of published baselines; LC: logic cells a lane"
        console.print(table(headers, cells, title=title))

    emit([verdict.as_dict() for verdict in verdicts], as_json=as_json, show=show)
    if not all(verdict.holds for verdict in verdicts):
        raise typer.Exit(1)


@app.command("formats")
def bench_formats(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="WORD", help="Only those whose name holds all of these."),
    ] = None,
    networks: Annotated[
        str, typer.Option(help="Which networks, separated by commas.")
    ] = "rnet,digits,mnist",
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the table of docs/benchmarks.md.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Compare number formats: accuracy, bits, area and cycles, on the same networks."""
    from celosia.scripts.bench_formats import bench_formats as run
    from celosia.scripts.format_table import HEADERS, table_cells, workloads
    from celosia.scripts.format_table import markdown as document

    with progress("Formats") as report:
        rows = [row.as_dict() for row in run(networks.split(","), words or (), report)]

    def show(console: Console) -> None:
        if markdown:
            sys.stdout.write(document(rows))
            return
        for name in workloads(rows):
            cells = [table_cells(row) for row in rows if row["workload"] == name]
            title = f"{name}: mean (largest minus smallest) of seeds; LUT and DSP a product"
            console.print(table(HEADERS, cells, title=title))

    emit(rows, as_json=as_json, show=show)


@app.command("area")
def bench_area(
    device: Annotated[str, typer.Option(help="Name of a known FPGA part.")] = "zcu102",
    count: Annotated[int, typer.Option(min=1, help="Engines that tables never saw.")] = 8,
    write: Annotated[
        Path | None, typer.Option("--table", help="Measure the blocks anew into this TOML file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Hold the model of area against what synthesis makes of engines, block by block."""
    from celosia.fpga.devices import find_device
    from celosia.models.files import atomic_file
    from celosia.scripts.area_fit import dump_area_table
    from celosia.scripts.bench_area import compare, error, measure

    part = find_device(device)
    with progress(f"Area on {part.name}") as report:
        if write is not None:
            text = dump_area_table(measure(part, report))
            with atomic_file(write) as draft:
                draft.write_text(text, encoding="utf-8")
        rows = compare(part, count, report)

    def show(console: Console) -> None:
        amounts = ("lut", "ff", "dsp", "bram36")
        cells = [
            (
                row["accelerator"] + ("" if row["held_out"] else " (fitted)"),
                row["block"],
                *(
                    f"{row[f'{a}_model']:,.0f} / {row[f'{a}_yosys']:,.0f} ({error(row, a):+.1%})"
                    for a in amounts
                ),
            )
            for row in rows
        ]
        headers = ("model / synthesis", "block", "LUT", "FF", "DSP", "BRAM36")
        console.print(table(headers, cells))

    emit(rows, as_json=as_json, show=show)


@app.command("search")
def bench_search(
    peers: Annotated[
        bool,
        typer.Option("--peers", help="Run other mappers too, in environments of their own."),
    ] = False,
    accelerators: Annotated[
        int, typer.Option(min=1, help="Accelerators of the sweep, each judged for ResNet-18.")
    ] = 1000,
    as_json: Json = False,
) -> None:
    """Measure the mapper: mappings priced a second, ResNet-18 layer by layer, whole, and swept."""
    from celosia.scripts.bench_peers import bench_peers
    from celosia.scripts.bench_search import bench_search as run

    with progress("Search") as report:
        value = run(report, accelerators) | (bench_peers(report) if peers else {})

    def show(console: Console) -> None:
        plain = {key: entry for key, entry in value.items() if isinstance(entry, int | float)}
        console.print(table(("one core", ""), plain.items()))
        headers = ("layer", "for", "uJ", "cycles", "to best known", "gap %", "root gap %", "CPU s")
        cells = [
            (
                row["layer"],
                row["objective"],
                f"{row['energy_pj'] / 1e6:.3f}",
                row["cycles"],
                f"{row['value'] / row['best_known']:.6f}",
                f"{100 * row['gap']:.2f}" if not row["proven"] else "proven",
                f"{100 * (1 - row['relaxed_bound'] / row['value']):.2f}",
                f"{row['cpu_seconds']:.2f}",
            )
            for row in value["layers"]
        ]
        console.print(table(headers, cells, title="ResNet-18 on architecture A"))
        if peers:
            others = [
                (
                    f"{row['layer']}: {row['tool']} {row['way']}",
                    *(
                        "-" if row[key] is None else f"{row[key] / 1e6:.4f}"
                        for key in ("energy_pj", "our_energy_pj")
                    ),
                    *(row[key] for key in ("cycles", "our_cycles")),
                    *(f"{row[key]:.2f}" for key in ("cpu_seconds", "our_cpu_seconds")),
                )
                for row in value["peers"]
            ]
            columns = ("", "uJ", "ours", "cycles", "ours", "CPU s", "ours")
            console.print(table(columns, others, title="Peers on architecture A"))
            for tool, reason in value["peers_skipped"].items():
                console.print(f"{tool} left out: {reason}", markup=False)

    emit(value, as_json=as_json, show=show)


@app.command("eie")
def bench_eie(
    layers: Annotated[
        list[str] | None,
        typer.Argument(metavar="[LAYER]...", help="Only these of the nine, such as Alex-7."),
    ] = None,
    curves: Annotated[
        bool, typer.Option("--curves", help="Predict cycles over queue depth and PEs instead.")
    ] = False,
    alone: Annotated[bool, typer.Option("--alone", help="Each improvement alone too.")] = False,
    networks: Annotated[
        bool,
        typer.Option("--networks", help="Trained networks, compressed, instead of layers."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Run EIE's nine layers on the paper's engine in RTL, and on the better one."""
    from celosia.scripts.bench_eie import ALONE, OFF, ON, summary
    from celosia.scripts.bench_eie import bench_eie as run
    from celosia.scripts.bench_eie import curves as predict

    if curves + alone + networks > 1:
        raise CelosiaError("give one of --curves, --alone and --networks")
    if networks:
        _bench_networks(layers or (), as_json=as_json)
        return
    with progress("EIE") as report:
        points = predict(layers or (), report) if curves else ()
        found = () if curves else run(layers or (), report, ALONE if alone else (OFF, ON))
    rows = [asdict(point) for point in points] + [row.as_dict() for row in found]

    def show(console: Console) -> None:
        console.print(table(tuple(rows[0]), [tuple(row.values()) for row in rows]))
        if found:
            console.print(table(("", "layers"), summary(found).items()))

    emit(rows, as_json=as_json, show=show)
    hold(all(row.holds for row in found))


def _bench_networks(words: Sequence[str], *, as_json: bool) -> None:
    """Compress and run trained networks; exits with 1 where one does not hold."""
    from celosia.scripts.bench_eie_networks import bench_networks, tables

    with progress("EIE") as report:
        rows = bench_networks(words, report)

    def show(console: Console) -> None:
        for part in tables(rows):
            console.print(part)

    emit([row.as_dict() for row in rows], as_json=as_json, show=show)
    hold(all(row.holds for row in rows))


@app.command("sparch")
def bench_sparch(
    matrices: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MATRIX]...", help="Only those whose name holds one of these."),
    ] = None,
    accelerator: Annotated[
        str, typer.Option(help="File of a SpArch engine, or a preset's name.")
    ] = "sparch_paper",
    folder: Annotated[
        Path | None,
        typer.Option(help="Matrix Market files to run whole.", parser=path, metavar="PATH"),
    ] = None,
    products: Annotated[
        int,
        typer.Option(min=1, help="Most products of a generated matrix, about; rows stay as long."),
    ] = 2_000_000,
    cycles: Annotated[
        int, typer.Option(min=0, help="Most predicted cycles of a product to run in RTL.")
    ] = 3_000_000,
    predict: Annotated[
        bool, typer.Option("--predict", help="Run nothing: only what the exact models say.")
    ] = False,
    elements: Annotated[
        int,
        typer.Option(
            min=0, help="Most elements to merge in a product whose cycles are told; 0: bytes."
        ),
    ] = 400_000_000,
    mode: Annotated[
        list[str] | None,
        typer.Option(help="Only this, such as sparch, row-wise or adaptive; may be repeated."),
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that share the work.")] = 2,
    results: Annotated[
        Path | None,
        typer.Option(
            help="File of rows so far: what it has is not done again.", parser=path, metavar="PATH"
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Square matrices of the paper's kinds on SpArch, in RTL: cycles, and bytes by mode."""
    from celosia.scripts.arguments import read_sparch
    from celosia.scripts.bench_sparch import Limits, tables
    from celosia.scripts.bench_sparch import bench_sparch as run

    engine = read_sparch(accelerator)
    with progress("SpArch") as report:
        rows = run(
            engine, folder=folder, names=matrices or (), modes=mode or (), predict=predict,
            limits=Limits(products=products, cycles=cycles, elements=elements), workers=workers,
            results=results, progress=report,
        )  # fmt: skip

    def show(console: Console) -> None:
        for part in tables(rows):
            console.print(part)

    emit([row.as_dict() for row in rows], as_json=as_json, show=show)
    hold(all(row.holds for row in rows))


@app.command("lstm")
def bench_lstm(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[WORD]...", help="Only rows whose name holds all, such as 30."),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Of the sequence, 32 ms each.")] = 50,
    as_json: Json = False,
) -> None:
    """Run Silero's LSTM, with its real weights, on the EIE engine in RTL."""
    from celosia.scripts.bench_lstm import bench_lstm as run

    with progress("LSTM") as report:
        found = run(steps, report, words or ())
    rows = [row.as_dict() for row in found]

    def show(console: Console) -> None:
        console.print(table(tuple(rows[0]), [tuple(row.values()) for row in rows]))

    emit(rows, as_json=as_json, show=show)
    hold(all(row.exact for row in found))


@app.command("photos")
def bench_photos(
    budget: Annotated[
        list[float] | None,
        typer.Option(
            min=0.0,
            help="A 4/8-bit mix too: most error of all scores, in their variance, such as 0.002.",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare integer EfficientNet-Lite0 with the float network on real photos."""
    from celosia.scripts.bench_photos import bench_photos as run

    with progress("Photos") as report:
        found = run(report, budget or ())
    rows = [row.as_dict() for row in found.rows]

    def show(console: Console) -> None:
        for scheme in found.schemes:
            mine = [row for row in found.rows if row.weights == scheme.weights]
            cells = [
                (row.photo, row.top, f"{row.probability:.3f}", f"{row.second:.3f}", row.got)
                for row in mine
            ]
            title = (
                f"{scheme.weights}: {sum(row.agrees for row in mine)} of {len(mine)} agree, "
                f"{scheme.narrow:.0%} of weights of 4 bits in {scheme.layers} layers, "
                f"error {scheme.error:.4f}"
            )
            console.print(table(("photo", "float", "of", "second", "got"), cells, title=title))

    schemes = [asdict(scheme) for scheme in found.schemes]
    emit({"schemes": schemes, "rows": rows}, as_json=as_json, show=show)
    hold(all(row.agrees for row in found.rows))
