"""Commands on models and networks: check, quantize, simulate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from celosia.models.errors import CelosiaError
from celosia.scripts.console import emit, errors, progress, table
from celosia.scripts.options import Json, Model, NetlistOption, Output, hold, path

if TYPE_CHECKING:
    from celosia.scripts.predict import Prediction
    from celosia.scripts.simulate import Simulation

app = typer.Typer()

NetworkFile = Annotated[
    Path, typer.Argument(metavar="NETWORK", help="What quantize wrote.", parser=path)
]
EngineOption = Annotated[
    str, typer.Option("--accelerator", help="Accelerator file, or a preset's name.")
]
MemoryOption = Annotated[
    str, typer.Option("--memory", help="latency,bytes-per-cycle,outstanding, or ideal, ddr4, slow.")
]
MappingOption = Annotated[
    Path | None,
    typer.Option(
        "--mapping",
        help="Mapping of each layer, as explore writes it; else the default one.",
        parser=path,
        metavar="PATH",
    ),
]


@app.command()
def check(
    model: Model,
    accelerator: Annotated[
        str | None, typer.Option(help="Also whether this one, a file or a preset, fits --device.")
    ] = None,
    device: Annotated[str, typer.Option(help="Name of a known FPGA part.")] = "zcu102",
    as_json: Json = False,
) -> None:
    """List every operator of a model that is not supported, where, and what to do."""
    from celosia.fpga.devices import excess, find_device
    from celosia.models.model_files import check_file
    from celosia.scripts.arguments import read_accelerator
    from celosia.scripts.explore.targets import guesswork, modelled

    part = find_device(device)
    engine = None if accelerator is None else read_accelerator(accelerator)
    area = None if engine is None else modelled(engine, part)
    unsure = "" if engine is None else guesswork(engine, part)
    over = "" if area is None else excess(area, part.budget)
    findings, notes = check_file(model)
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
        if area is not None:
            used = ", ".join(f"{n:,} {name}" for name, n in area.as_dict().items() if n)
            fits = f"does not fit: {over}" if over else "fits"
            console.print(f"{accelerator} on {part.name}: {fits} (by model {used})", markup=False)
        if unsure:
            console.print(unsure, markup=False)

    result = {"supported": not findings, "findings": value, "notes": notes}
    if area is not None:
        result["area"] = {
            "device": part.name,
            "fits": not over,
            "note": unsure or None,
            "model": area.as_dict(),
        }
    emit(result, as_json=as_json, show=show)
    hold(not findings and not over)


@app.command("import")
def import_network(
    model: Annotated[
        Path,
        typer.Argument(
            metavar="MODEL", help="A quantised model: .onnx (QDQ, QONNX) or .tflite.", parser=path
        ),
    ],
    output: Output,
    as_json: Json = False,
) -> None:
    """Turn a model that is quantised already into an integer-exact network file, as it is."""
    from celosia.models.files import check_writable
    from celosia.models.model_files import quantised_network
    from celosia.models.storage import save
    from celosia.scripts.quantize import summary

    check_writable(output)
    with errors.status(f"Importing {model.name}"):
        found = quantised_network(model)
    save(found.network, output)
    layers = {
        item.layer: {
            "exact": item.exact,
            "differing_sums": item.differ,
            "sums": item.count,
            "margin": item.margin,
        }
        for item in found.agreements
    }
    value = summary(found.network) | {"agreement": layers, "notes": found.notes}

    def show(console: Console) -> None:
        exact = sum(item.exact for item in found.agreements)
        for item in found.agreements:
            if not item.exact:
                console.print(f"- {item}", markup=False)
        for note in found.notes:
            console.print(f"note: {note}", markup=False)
        console.print(
            f"{exact} of {len(found.agreements)} layers give the model's codes for all sums",
            markup=False,
        )
        console.print(f"wrote {output}", markup=False)

    emit(value, as_json=as_json, show=show)


@app.command()
def quantize(
    model: Model,
    calibration: Annotated[
        Path,
        typer.Option(
            help="Typical inputs, real values (N, C, H, W): .npy, or .npz by input name.",
            parser=path,
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
        typer.Option(help="Scales of weight vectors: uint4:16, uint4:16/6, e8m0_4:32, ue4m3:16."),
    ] = None,
    uneven_vectors: Annotated[
        bool,
        typer.Option(
            "--uneven-vectors",
            help="Take --blocks where they do not divide a layer's channels: the last is short.",
        ),
    ] = False,
    elements: Annotated[
        str | None,
        typer.Option(
            help="Format of activations with scales like --blocks: esb4_1 (FP4), esb6_3, fixed8, "
            "or ufixed4, signed only where it must be; left out: no scales."
        ),
    ] = None,
    activation_bits: Annotated[int, typer.Option(help="1 to 16.")] = 8,
    table_bits: Annotated[
        int, typer.Option(help="Of the index into a table, where layers end in a sigmoid: 4 to 12.")
    ] = 10,
    activation_scale: Annotated[
        str, typer.Option(help="Activation scales, by the methods of --scale.")
    ] = "mse",
    percentile: Annotated[
        float, typer.Option(help="Per cent of values not clipped by the percentile method.")
    ] = 99.9,
    first_last_8bit: Annotated[bool, typer.Option(help="8 bits in the first and last.")] = False,
    narrow: Annotated[
        str | None,
        typer.Option(
            help="Layers of fewer bits, as many as change the outputs by a squared error (in their "
            "variance) of so much at most: fixed4:0.002."
        ),
    ] = None,
    epochs: Annotated[int, typer.Option(min=0, help="Passes of fine-tuning.")] = 0,
    as_json: Json = False,
) -> None:
    """Quantise a model to an integer-exact network file."""
    from celosia.models.find_scales import ScaleMethod
    from celosia.models.recipe import Assignment, Recipe, parse_blocks, parse_elements
    from celosia.scripts.arguments import read_calibration, read_choice, read_weights
    from celosia.scripts.quantize import Narrow, summary
    from celosia.scripts.quantize import quantize as quantise_file

    try:
        layers = None if narrow is None else Narrow.parse(narrow)
        recipe = Recipe(
            weights=read_weights(weights, weight_bits, sp2_ratio),
            assignment=read_choice("--assignment", assignment, Assignment),
            scale=read_choice("--scale", scale, ScaleMethod),
            blocks=None if blocks is None else parse_blocks(blocks),
            uneven_vectors=uneven_vectors,
            elements=None if elements is None else parse_elements(elements),
            activation_bits=activation_bits,
            table_bits=table_bits,
            activation_scale=read_choice("--activation-scale", activation_scale, ScaleMethod),
            percentile=percentile,
            first_last_8bit=first_last_8bit,
        )
    except ValueError as error:
        raise CelosiaError(str(error)) from error
    data = read_calibration(calibration)
    with errors.status(f"Quantising {model.name}"):
        network, notes = quantise_file(model, data, recipe, output, epochs=epochs, narrow=layers)
    value = summary(network) | {"notes": notes}

    def show(console: Console) -> None:
        layers: list[dict[str, object]] = value["layers"]  # type: ignore[assignment]
        looks_up = ("function",) if any(layer["function"] for layer in layers) else ()
        keys = ("name", "kind", "rows", "scales", *looks_up)
        keys += ("output", "output_format", "output_scales")
        rows = [[layer[key] or "" for key in keys] for layer in layers]
        headers = ("layer", "kind", "rows", "scales", *looks_up)
        headers += ("output", "format", "its scales")
        console.print(table(headers, rows))
        for note in notes:
            console.print(f"note: {note}", markup=False)
        console.print(f"wrote {output}", markup=False)

    emit(value, as_json=as_json, show=show)


@app.command()
def simulate(
    network: NetworkFile,
    accelerator: EngineOption,
    inputs: Annotated[
        Path,
        typer.Option(
            help="Inputs (N, C, H, W): .npy, or .npz by input name; real values, integers too.",
            parser=path,
            metavar="PATH",
        ),
    ],
    codes: Annotated[
        bool, typer.Option("--codes", help="The inputs are codes, as the hardware takes them.")
    ] = False,
    memory: MemoryOption = "ddr4",
    mapping: MappingOption = None,
    trace: Annotated[
        Path,
        typer.Option(
            help="Where to write signals (FST) should there be a difference, or cycles be chosen.",
            parser=path,
            metavar="PATH",
        ),
    ] = Path("divergence.fst"),
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Of the first difference: what fed it, which unit is to blame, signals.",
        ),
    ] = False,
    trace_layer: Annotated[
        str | None, typer.Option(help="Write the signals of this layer, whatever is found.")
    ] = None,
    trace_window: Annotated[
        str | None,
        typer.Option(metavar="BEGIN:END", help="Write the signals of these cycles."),
    ] = None,
    netlist: NetlistOption = None,
    timeline: Annotated[
        Path | None,
        typer.Option(
            help="Write what each unit does when, for ui.perfetto.dev (.json or .json.gz).",
            parser=path,
            metavar="PATH",
        ),
    ] = None,
    tier: Annotated[
        str,
        typer.Option(
            help="rtl, or model: outputs, cycles and counters that the models expect, in seconds."
        ),
    ] = "rtl",
    outputs: Annotated[
        Path | None,
        typer.Option(
            help="Write the codes of the network's outputs (.npz by name).",
            parser=path,
            metavar="PATH",
        ),
    ] = None,
    results: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--results",
            help="Folder for summary.json, report.html and a timeline.",
            parser=path,
            metavar="PATH",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Run a network on the RTL and compare every bit, cycle and access with what is expected."""
    from celosia.dataflow.mapping import load_mapping
    from celosia.fpga.devices import find_device
    from celosia.models.storage import load
    from celosia.scripts.arguments import (
        input_codes,
        read_arrays,
        read_choice,
        read_engine,
        read_memory,
        read_window,
        write_arrays,
    )
    from celosia.scripts.tiers import Tier

    window = None if trace_window is None else read_window(trace_window)
    by_model = read_choice("--tier", tier, Tier) is Tier.MODEL
    hardware = explain, trace_layer is not None, window is not None, netlist is not None
    if by_model and any(hardware):
        raise CelosiaError(
            "--tier model runs no hardware: there is nothing to explain, to trace or to synthesise"
        )
    device = None if netlist is None else find_device(netlist)
    loaded = load(network)
    data = input_codes(loaded, read_arrays(inputs), codes=codes)
    chosen, model = read_engine(accelerator), read_memory(memory)
    tiles = None if mapping is None else load_mapping(mapping)
    result: Prediction | Simulation
    with progress("Simulating") as report:
        if by_model:
            from celosia.scripts.predict import predict_run

            whole = timeline is not None or results is not None
            result = predict_run(loaded, chosen, data, model, report, tiles, program=whole)
        else:
            from celosia.scripts.simulate import Look
            from celosia.scripts.simulate import simulate as run

            look = Look(trace=trace, explain=explain, layer=trace_layer, window=window)
            result = run(loaded, chosen, data, model, report, look, tiles, device)
    if outputs is not None:
        write_arrays(outputs, {name: result.tensors[name] for name in loaded.outputs})
    if timeline is not None:
        from celosia.scripts.trace_events import write_timeline

        write_timeline(result.compiled, model, timeline)

    if results is None:
        value = result.as_dict()
    else:
        from celosia.scripts.simulation_results import write_results

        value = write_results(result, results)

    def show(console: Console) -> None:
        for part in result.tables():
            console.print(part)
        console.print(result.verdict_line(), markup=False)
        if results is not None:
            console.print(f"report: {results / 'report.html'}", markup=False)

    emit(value, as_json=as_json, show=show)
    hold(result.holds)


@app.command("timeline")
def timeline_command(
    network: NetworkFile,
    accelerator: EngineOption,
    output: Output,
    memory: MemoryOption = "ddr4",
    mapping: MappingOption = None,
    as_json: Json = False,
) -> None:
    """Write what each unit does when, from the timing model alone, for ui.perfetto.dev."""
    from celosia.dataflow.mapping import load_mapping
    from celosia.models.storage import load
    from celosia.scripts.arguments import read_engine, read_memory
    from celosia.scripts.tiers import compile_for
    from celosia.scripts.trace_events import write_timeline

    tiles = None if mapping is None else load_mapping(mapping)
    program = compile_for(load(network), read_engine(accelerator), tiles)
    write_timeline(program, read_memory(memory), output)
    emit(
        {"timeline": str(output)},
        as_json=as_json,
        show=lambda console: console.print(f"wrote {output}", markup=False),
    )
