"""Commands on boards: deploy, run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from celosia.scripts.commands_network import EngineOption, MappingOption, NetworkFile
from celosia.scripts.console import emit, errors
from celosia.scripts.options import Json, MemoryOption, Output, hold, path

app = typer.Typer()


@app.command()
def deploy(
    network: NetworkFile,
    accelerator: EngineOption,
    output: Output,
    mapping: MappingOption = None,
    as_json: Json = False,
) -> None:
    """Write a network for an engine as the driver on a board loads it, with numpy alone."""
    from celosia.dataflow.mapping import load_mapping
    from celosia.fpga.deploy import deploy as make
    from celosia.models.storage import load
    from celosia.scripts.arguments import read_engine
    from celosia.scripts.tiers import compile_for

    tiles = None if mapping is None else load_mapping(mapping)
    made = make(compile_for(load(network), read_engine(accelerator), tiles))
    made.save(output)
    value = {
        "deployment": str(output),
        "network": made.network,
        "accelerator": made.accelerator,
        "fingerprint": f"{made.fingerprint:032x}",
        "memory_bytes": made.image.size,
        "samples_per_start": made.samples,
        "tensors": [
            {
                "name": tensor.name,
                "is_input": tensor.name in made.inputs,
                "shape": list(tensor.shape),
                "low": tensor.format.low,
                "high": tensor.format.high,
            }
            for tensor in made.placements
        ],
    }

    def show(console: Console) -> None:
        console.print(
            f"wrote {output}: {made.network} for {made.accelerator}, {made.image.size:,} bytes of "
            "its memory",
            markup=False,
        )
        for tensor in made.placements:
            kind = "input" if tensor.name in made.inputs else "output"
            shape = ", ".join(map(str, tensor.shape))
            low, high = tensor.format.low, tensor.format.high
            console.print(f"{kind} {tensor.name}: ({shape}), codes {low} to {high}", markup=False)

    emit(value, as_json=as_json, show=show)


@app.command()
def run(
    network: NetworkFile,
    inputs: Annotated[
        Path,
        typer.Option(
            help="Inputs (N, C, H, W): .npy, or .npz by input name; real values, integers too.",
            parser=path,
            metavar="PATH",
        ),
    ],
    board: Annotated[str, typer.Option(help="ulx3s or ecpix5.")] = "ulx3s",
    port: Annotated[
        str, typer.Option(help="The board's serial port; rtl simulates the board.")
    ] = "/dev/ttyUSB0",
    accelerator: EngineOption = "ecp5",
    memory: MemoryOption = 128,
    codes: Annotated[
        bool, typer.Option("--codes", help="The inputs are codes, as the hardware takes them.")
    ] = False,
    outputs: Annotated[
        Path | None,
        typer.Option(
            help="Write the codes of the network's outputs (.npz by name).",
            parser=path,
            metavar="PATH",
        ),
    ] = None,
    metrics: Annotated[
        Path | None,
        typer.Option(help="Write what was measured (.json).", parser=path, metavar="PATH"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Run a network on a board, over its serial port, and compare every bit with what is expected.

    The board's bitstream is the one that `celosia bitstream` made of the accelerator; how much
    memory it has is asked of it, and matters here where it is simulated.
    """
    from celosia.fpga.serial_boards import find_serial_board
    from celosia.models.files import check_writable
    from celosia.models.storage import load
    from celosia.scripts.arguments import input_codes, read_accelerator, read_arrays, write_arrays
    from celosia.scripts.board_run import SIMULATED, run_on_board

    for written in (outputs, metrics):
        if written is not None:
            check_writable(written)
    loaded, target = load(network), find_serial_board(board)
    speed = "frames a second" + (" of the simulator" if port == SIMULATED else "")
    data = input_codes(loaded, read_arrays(inputs), codes=codes)
    with errors.status(f"Running {loaded.name} on {target.name} at {port}"):
        engine, size = read_accelerator(accelerator), memory << 10
        done = run_on_board(loaded, engine, target, port, data, memory_bytes=size)
    if outputs is not None:
        write_arrays(outputs, done.outputs)
    if metrics is not None:
        done.throughput.save(metrics)

    def show(console: Console) -> None:
        console.print(
            f"{done.equal} of {done.samples} samples are the golden model's bit for bit; "
            f"{done.throughput.cycles_most:,} cycles, "
            f"{done.throughput.frames_per_second:,.1f} {speed}",
            markup=False,
        )

    emit(done.as_dict(), as_json=as_json, show=show)
    hold(done.holds)
