"""Commands on hardware: generate, synth, package, bitstream, mix."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from celosia.scripts.console import emit, errors, table
from celosia.scripts.options import AcceleratorArgument, Json, MemoryOption, Output, hold

app = typer.Typer()


@app.command()
def generate(accelerator: AcceleratorArgument, output: Output, as_json: Json = False) -> None:
    """Write an accelerator's Verilog, register map and core files into a directory."""
    from celosia.rtl.package import generate as write
    from celosia.scripts.arguments import read_engine

    chosen = read_engine(accelerator)
    with errors.status(f"Generating {chosen.name}"):
        files = sorted(write(chosen, output))
    sizes = {str(path.relative_to(output)): path.stat().st_size for path in files}

    def show(console: Console) -> None:
        console.print(table(("file", "bytes"), sizes.items(), title=str(output)))

    emit({"directory": str(output), "files": sizes}, as_json=as_json, show=show)


@app.command()
def synth(
    accelerator: AcceleratorArgument,
    device: Annotated[str, typer.Option(help="Name of a known FPGA part.")] = "zcu102",
    levels: Annotated[
        bool, typer.Option("--levels", help="Count the levels of logic between registers too.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Synthesise an accelerator with Yosys: what each block takes of a device."""
    from celosia.fpga.devices import Family, find_device
    from celosia.fpga.yosys import synth as run
    from celosia.models.errors import CelosiaError
    from celosia.scripts.arguments import read_engine

    chosen, part = read_engine(accelerator), find_device(device)
    if levels and part.family is not Family.ULTRASCALE_PLUS:
        raise CelosiaError(
            f"levels of logic are counted in UltraScale+ cells, which {part.name} has not: leave "
            "--levels out, or choose zcu102, say"
        )
    with errors.status(f"Synthesising {chosen.name} for {part.name} (minutes for large ones)"):
        report = run(chosen, part, levels=levels)

    def show(console: Console) -> None:
        names = ("lut", "ff", "carry", "dsp", "bram", "uram")
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
        if report.logic_levels is not None:
            console.print(f"{report.logic_levels} levels of logic between registers at most")

    emit(report.as_dict(), as_json=as_json, show=show)
    hold(report.fits)


@app.command()
def package(
    accelerator: AcceleratorArgument,
    output: Output,
    board: Annotated[
        str, typer.Option(help="zcu102, zcu104, kv260, ultra96 or pynq-z2.")
    ] = "zcu102",
    clock: Annotated[
        float | None, typer.Option(help="MHz to ask of Vivado; the board's own by default.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write a folder that Vivado turns into a bitstream for a Zynq board.

    The folder of a dense engine that does not fit, by the model of area, is written, and the exit
    status is 1. Of other engines only 'celosia synth' says whether they fit.
    """
    from celosia.dataflow.accelerator import Accelerator
    from celosia.fpga.boards import find_board
    from celosia.fpga.devices import excess
    from celosia.fpga.vivado.package import package as write
    from celosia.scripts.arguments import read_engine
    from celosia.scripts.explore.targets import guesswork, modelled

    chosen, target = read_engine(accelerator), find_board(board)
    with errors.status(f"Generating {chosen.name} for {target.name}"):
        files = write(chosen, target, output, clock)
    fits, note = None, None
    if isinstance(chosen, Accelerator):
        over = excess(modelled(chosen, target.device), target.device.budget)
        fits = not over
        if over:
            note = (
                f"It will stop: by the model of area {chosen.name} does not fit {target.name}: it "
                f"takes {over}"
            )
        unsure = guesswork(chosen, target.device)
        if unsure:
            note = unsure if note is None else f"{note}. {unsure}"
    else:
        note = (
            f"Whether {chosen.name} fits {target.name} was not looked at: only dense engines have "
            f"a model of area; 'celosia synth --device {target.device.name}' counts"
        )
    value = {
        "directory": str(output),
        "files": [str(path.relative_to(output)) for path in files],
        "fits": fits,
        "note": note,
    }

    def show(console: Console) -> None:
        console.print(f"{len(files)} files in {output}; there, run:")
        console.print("    vivado -mode batch -source build.tcl", highlight=False)
        if note is not None:
            console.print(note, markup=False)

    emit(value, as_json=as_json, show=show)
    hold(fits is not False)


@app.command()
def bitstream(
    accelerator: AcceleratorArgument,
    output: Output,
    board: Annotated[str, typer.Option(help="ulx3s or ecpix5.")] = "ulx3s",
    memory: MemoryOption = 128,
    as_json: Json = False,
) -> None:
    """Make a bitstream of a system with the engine, memory and a serial host link."""
    from celosia.fpga.ecp5 import bitstream as run
    from celosia.fpga.serial_boards import find_serial_board
    from celosia.scripts.arguments import read_accelerator

    chosen, target = read_accelerator(accelerator), find_serial_board(board)
    with errors.status(f"Placing and routing {chosen.name} for {target.name} (minutes)"):
        made = run(chosen, target, output, memory_bytes=memory << 10)

    def show(console: Console) -> None:
        used, there = made.used.as_dict(), made.device.budget.as_dict()
        rows = [
            (name, used[name], limit, f"{100 * used[name] / limit:.1f} %")
            for name, limit in there.items()
            if limit
        ]
        title = f"{made.path}, with {memory} KiB of memory"
        console.print(table(("resource", "used", made.device.name, "share"), rows, title=title))
        console.print(
            f"{'closes' if made.meets_clock else 'DOES NOT CLOSE'} at the board's "
            f"{made.clock_mhz:g} MHz: up to {made.fmax_mhz:.2f} MHz by nextpnr's estimate, nothing "
            "was loaded into a board",
            markup=False,
        )
        console.print(f"made with {', '.join(made.tools)}", markup=False)

    emit(made.as_dict(), as_json=as_json, show=show)
    hold(made.meets_clock)


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
    from celosia.dataflow.array_shape import Circuit
    from celosia.dataflow.mix import Budget, choose_mix, known_costs
    from celosia.fpga.devices import Family, find_device
    from celosia.models.errors import CelosiaError

    part = find_device(device)
    if part.family is Family.ECP5:
        raise CelosiaError(
            f"columns were measured in look-up tables of 6 inputs, which {device} has not: choose "
            "an UltraScale+ or 7 series part"
        )
    budget = part.budget
    costs = known_costs(weights or ("fixed4", "sp2_4"), activation_bits)
    if part.family is not Family.ULTRASCALE_PLUS:  # products are packed into DSP48E2 blocks only
        costs = tuple(cost for cost in costs if cost.circuit is not Circuit.DSP)
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
