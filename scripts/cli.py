"""The ``celosia`` command: a thin layer over the Python API.

Results go to stdout, as JSON alone with ``--json``; progress and messages to stderr. The exit
status is 0 only when the thing asked for holds.
"""

from __future__ import annotations

import _thread
import sys
import threading
import warnings
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from celosia.models.errors import CelosiaError
from celosia.scripts.console import emit, errors, progress, table
from celosia.scripts.signals import Stop

app = typer.Typer(
    help="From a trained PyTorch network to verified hardware.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
bench_app = typer.Typer(help="Measure how fast things are.", no_args_is_help=True)
app.add_typer(bench_app, name="bench")

Json = Annotated[bool, typer.Option("--json", help="Only JSON on stdout.")]
AcceleratorArgument = Annotated[
    str, typer.Argument(metavar="ACC.toml", help="Accelerator file, or a preset's name.")
]


def _path(text: str | Path) -> Path:
    """Return a path of the command line; an empty one would be the current directory."""
    if text == "":
        raise typer.BadParameter("a path must not be empty; the current directory is .")
    return Path(text)


Output = Annotated[
    Path,
    typer.Option("-o", "--output", help="Where to write.", parser=_path, metavar="PATH"),
]
Model = Annotated[
    Path, typer.Argument(metavar="MODEL", help="A .pt2 file (torch.export).", parser=_path)
]

BROKEN = 1
"""Exit status when what was asked for does not hold."""

INTERRUPTED = 130
"""Exit status after Ctrl-C; 143 after SIGTERM, 129 after SIGHUP."""


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
    _hold(healthy)


@app.command()
def check(
    model: Model,
    as_json: Json = False,
) -> None:
    """List every operator of a model that is not supported, where, and what to do."""
    from celosia.models.archive import load_model
    from celosia.models.importer import check_model, import_program

    exported = load_model(model)
    findings = check_model(exported)
    notes = () if findings else import_program(exported).notes
    value = [
        {"operator": f.operator, "where": f.where, "reason": f.reason, "remedy": f.remedy}
        for f in findings
    ]

    def show(console: Console) -> None:
        for line in (*findings, *notes):
            console.print(f"- {line}", markup=False)
        count = len(findings)
        text = f"{count} unsupported" if findings else "every operator is supported"
        console.print(f"{model}: {text}", markup=False)

    result = {"supported": not findings, "findings": value, "notes": notes}
    emit(result, as_json=as_json, show=show)
    _hold(not findings)


@app.command()
def quantize(
    model: Model,
    calibration: Annotated[
        Path,
        typer.Option(
            help="Typical inputs, real values (N, C, H, W): .npy, or .npz by input name.",
            parser=_path,
            metavar="PATH",
        ),
    ],
    output: Output,
    weights: Annotated[
        str | None,
        typer.Option(help="Formats of rows and their per cent: pot_4:60,fixed4:35,fixed8:5."),
    ] = None,
    weight_bits: Annotated[
        int | None, typer.Option(help="Without --weights: 3 to 8. [default: 4]")
    ] = None,
    sp2_ratio: Annotated[
        float | None,
        typer.Option(help="Without --weights: share of SP2 rows, 0 to 1. [default: 0.6]"),
    ] = None,
    assignment: Annotated[
        str, typer.Option(help="Which rows get which format: variance, mse or hessian.")
    ] = "variance",
    scale: Annotated[
        str, typer.Option(help="Weight scales by max, percentile, mse, octav or dda.")
    ] = "mse",
    blocks: Annotated[
        str | None,
        typer.Option(help="Scales of weight vectors: uint4:16, e8m0_4:32 or ue4m3:16."),
    ] = None,
    element_bits: Annotated[
        int | None,
        typer.Option(help="Bits of activations with scales like --blocks; left out: no scales."),
    ] = None,
    activation_bits: Annotated[int, typer.Option(help="1 to 16.")] = 8,
    activation_scale: Annotated[
        str, typer.Option(help="Activation scales, by the methods of --scale.")
    ] = "mse",
    percentile: Annotated[
        float, typer.Option(help="Per cent of values not clipped by the percentile method.")
    ] = 99.9,
    first_last_8bit: Annotated[bool, typer.Option(help="8 bits in the first and last.")] = False,
    epochs: Annotated[int, typer.Option(min=0, help="Passes of fine-tuning.")] = 0,
    as_json: Json = False,
) -> None:
    """Quantise a model to an integer-exact network file."""
    from celosia.models.find_scales import ScaleMethod
    from celosia.models.recipe import Assignment, Recipe, parse_blocks
    from celosia.scripts.arguments import read_calibration, read_choice, read_weights
    from celosia.scripts.quantize import quantize as quantise_file
    from celosia.scripts.quantize import summary

    try:
        recipe = Recipe(
            weights=read_weights(weights, weight_bits, sp2_ratio),
            assignment=read_choice("--assignment", assignment, Assignment),
            scale=read_choice("--scale", scale, ScaleMethod),
            blocks=None if blocks is None else parse_blocks(blocks),
            element_bits=element_bits,
            activation_bits=activation_bits,
            activation_scale=read_choice("--activation-scale", activation_scale, ScaleMethod),
            percentile=percentile,
            first_last_8bit=first_last_8bit,
        )
    except ValueError as error:
        raise CelosiaError(str(error)) from error
    data = read_calibration(calibration)
    with errors.status(f"Quantising {model.name}"):
        network, notes = quantise_file(model, data, recipe, output, epochs=epochs)
    value = summary(network) | {"notes": notes}

    def show(console: Console) -> None:
        layers: list[dict[str, object]] = value["layers"]  # type: ignore[assignment]
        rows = [
            (layer["name"], layer["kind"], layer["output"], layer["output_format"], layer["rows"])
            for layer in layers
        ]
        console.print(table(("layer", "kind", "output", "format", "rows"), rows))
        for note in notes:
            console.print(f"note: {note}", markup=False)
        console.print(f"wrote {output}", markup=False)

    emit(value, as_json=as_json, show=show)


@app.command()
def generate(accelerator: AcceleratorArgument, output: Output, as_json: Json = False) -> None:
    """Write an accelerator's Verilog, register map and core files into a directory."""
    from celosia.rtl.package import generate as write
    from celosia.scripts.arguments import read_accelerator

    chosen = read_accelerator(accelerator)
    with errors.status(f"Generating {chosen.name}"):
        files = sorted(write(chosen, output))
    sizes = {str(path.relative_to(output)): path.stat().st_size for path in files}

    def show(console: Console) -> None:
        console.print(table(("file", "bytes"), sizes.items(), title=str(output)))

    emit({"directory": str(output), "files": sizes}, as_json=as_json, show=show)


@app.command()
def simulate(
    network: Annotated[
        Path, typer.Argument(metavar="NETWORK", help="What quantize wrote.", parser=_path)
    ],
    accelerator: Annotated[str, typer.Option(help="Accelerator file, or a preset's name.")],
    inputs: Annotated[
        Path,
        typer.Option(
            help="Inputs (N, C, H, W): .npy, or .npz by input name; real values, integers too.",
            parser=_path,
            metavar="PATH",
        ),
    ],
    codes: Annotated[
        bool, typer.Option("--codes", help="The inputs are codes, as the hardware takes them.")
    ] = False,
    memory: Annotated[
        str, typer.Option(help="latency,bytes-per-cycle,outstanding, or ideal, ddr4, slow.")
    ] = "ddr4",
    trace: Annotated[
        Path,
        typer.Option(
            help="Where to write signals (FST) should there be a difference.",
            parser=_path,
            metavar="PATH",
        ),
    ] = Path("divergence.fst"),
    as_json: Json = False,
) -> None:
    """Run a network on the RTL and compare every bit, cycle and access with what is expected."""
    from celosia.models.storage import load
    from celosia.scripts.arguments import input_codes, read_accelerator, read_arrays, read_memory
    from celosia.scripts.simulate import simulate as run

    loaded = load(network)
    data = input_codes(loaded, read_arrays(inputs), codes=codes)
    chosen, model = read_accelerator(accelerator), read_memory(memory)
    with progress("Simulating") as report:
        result = run(loaded, chosen, data, model, report, trace)

    def show(console: Console) -> None:
        for part in result.tables():
            console.print(part)
        console.print(result.verdict_line(), markup=False)

    emit(result.as_dict(), as_json=as_json, show=show)
    _hold(result.holds)


@app.command()
def synth(
    accelerator: AcceleratorArgument,
    device: Annotated[str, typer.Option(help="zcu102 or ecp5-85k.")] = "zcu102",
    as_json: Json = False,
) -> None:
    """Synthesise an accelerator with Yosys: what each block takes of a device."""
    from celosia.fpga.devices import find_device
    from celosia.fpga.yosys import synth as run
    from celosia.scripts.arguments import read_accelerator

    chosen, part = read_accelerator(accelerator), find_device(device)
    with errors.status(f"Synthesising {chosen.name} for {part.name} (minutes for large ones)"):
        report = run(chosen, part)

    def show(console: Console) -> None:
        names = ("lut", "ff", "carry", "dsp", "bram")
        rows = [
            (b.name, b.count, *((b.own * b.count).as_dict()[name] for name in names))
            for b in report.blocks
        ]
        console.print(table(("block", "instances", *names), rows, title="Without what is inside"))
        used, budget = report.total.as_dict(), part.budget.as_dict()
        rows = [
            (name, used[name], budget[name], f"{100 * share:.2f} %")
            for name, share in report.fractions.items()
        ]
        console.print(table(("resource", "used", part.name, "share"), rows))

    emit(report.as_dict(), as_json=as_json, show=show)
    _hold(report.fits)


@app.command()
def bitstream(
    accelerator: AcceleratorArgument,
    output: Output,
    device: Annotated[str, typer.Option(help="ecp5-85k.")] = "ecp5-85k",
    as_json: Json = False,
) -> None:
    """Make a bitstream of a system with the engine, memory and a serial host link."""
    from celosia.fpga.devices import find_device
    from celosia.fpga.ecp5 import bitstream as run
    from celosia.scripts.arguments import read_accelerator

    chosen, part = read_accelerator(accelerator), find_device(device)
    with errors.status(f"Placing and routing {chosen.name} for {part.name} (minutes)"):
        made = run(chosen, part, output)

    def show(console: Console) -> None:
        console.print(table(("", ""), [(k, str(v)) for k, v in made.as_dict().items()]))

    emit(made.as_dict(), as_json=as_json, show=show)
    _hold(made.meets_clock)


@app.command()
def report(
    summary: Annotated[
        Path, typer.Argument(help="summary.json of a quickstart run.", parser=_path)
    ] = Path("build/quickstart/summary.json"),
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="HTML file.", parser=_path, metavar="PATH"),
    ] = None,
    formats: Annotated[
        Path | None,
        typer.Option(
            help="What 'bench formats --json' wrote; else what comes along.",
            parser=_path,
            metavar="PATH",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the HTML report of a run from its summary."""
    from celosia.scripts.report import read_formats, read_summary, write_report

    value = read_summary(summary)
    target = output or summary.with_name("report.html")
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
    _hold(result.holds)


@app.command()
def mix(
    device: Annotated[str, typer.Option(help="Name of a known FPGA part.")] = "zcu102",
    weights: Annotated[
        list[str] | None,
        typer.Option(help="Format of weights, once for each; fixed4 and sp2_4 by default."),
    ] = None,
    activation_bits: Annotated[int, typer.Option(help="Bits of an activation.")] = 4,
    lut_share: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the look-up tables for columns.")
    ] = 0.6,
    granule: Annotated[int, typer.Option(min=1, help="Products that come together.")] = 64,
    as_json: Json = False,
) -> None:
    """Choose the mix of DSP and look-up table columns with the most products a cycle."""
    from celosia.dataflow.mix import Budget, choose_mix, known_costs
    from celosia.fpga.devices import find_device

    budget = find_device(device).budget
    costs = known_costs(weights or ("fixed4", "sp2_4"), activation_bits)
    chosen = choose_mix(costs, Budget(lut=lut_share * budget.lut, dsp=budget.dsp), granule=granule)
    value = {
        "device": device,
        "products": chosen.products,
        "lut": round(chosen.lut),
        "dsp": round(chosen.dsp),
        "columns": [
            {
                "weights": part.cost.weights,
                "activation_bits": part.cost.activation_bits,
                "circuit": part.cost.circuit.value,
                "products": part.products,
                "lut_per_product": part.cost.lut,
                "dsp_per_product": part.cost.dsp,
            }
            for part in chosen.parts
        ],
    }

    def show(console: Console) -> None:
        rows = [
            (
                part.cost.title,
                part.products,
                round(part.products * part.cost.lut),
                round(part.products * part.cost.dsp),
            )
            for part in chosen.parts
        ]
        whole = ("together", chosen.products, round(chosen.lut), round(chosen.dsp))
        headers = ("columns", "products a cycle", "LUT", "DSP")
        console.print(table(headers, [*rows, whole], title=f"Densest mix on {device}"))

    emit(value, as_json=as_json, show=show)


@bench_app.command("sim")
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


@bench_app.command("pe")
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


@bench_app.command("formats")
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


def _hold(holds: bool) -> None:
    """End with status 1 when what was asked for does not hold."""
    if not holds:
        raise typer.Exit(BROKEN)


def main(arguments: list[str] | None = None) -> None:
    """Run the command and exit; errors that a user can mend end in one message."""
    sys.unraisablehook = _pass_on
    stop = Stop()
    stop.install()
    status = run_command(arguments, stop)
    if status:
        # Amaranth complains of every component of a design that was begun and not finished.
        warnings.simplefilter("ignore")
    sys.exit(status)


def _pass_on(unraisable: sys.UnraisableHookArgs) -> None:
    """Interrupt again when a Ctrl-C fell into a ``__del__``, from where nothing is raised."""
    if not issubclass(unraisable.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(unraisable)
        return
    # Later and from elsewhere: an interrupt in here would be lost as well.
    again = threading.Timer(0.02, _thread.interrupt_main)
    again.daemon = True
    again.start()


def run_command(arguments: list[str] | None = None, stop: Stop | None = None) -> int:
    """Run the command; return the exit status. ``stop`` knows of signals that end it."""
    stop = stop or Stop()
    try:
        status, message = _outcome(arguments)
    except KeyboardInterrupt:
        status, message = INTERRUPTED, ""
    if stop.stopped or status == INTERRUPTED:
        # Whatever else was said: a terminal that hangs up fails what writes to it, for one.
        status, message = stop.status, f"{stop.reason}: what was half written is removed"
    if message:
        with suppress(OSError):
            errors.print(message, markup=False, soft_wrap=True)
    return status


def _outcome(arguments: list[str] | None) -> tuple[int, str]:
    """Run the command; return the exit status and the error that remains to be said, if any."""
    try:
        app(args=arguments, prog_name="celosia")
    except SystemExit as leaving:
        # Of typer: it has said what is wrong with arguments, but nothing about Ctrl-C.
        return (leaving.code if isinstance(leaving.code, int) else BROKEN), ""
    except CelosiaError as error:
        message = str(error)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        message = f"{where}{error.strerror or error}"
    except MemoryError:
        message = "this machine has too little memory for that"
    else:
        return 0, ""
    return BROKEN, f"error: {message}"
