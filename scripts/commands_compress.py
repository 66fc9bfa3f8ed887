"""The command that makes networks of compressed layers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from celosia.models.errors import CelosiaError
from celosia.scripts.console import emit, errors, table
from celosia.scripts.options import Json, Model, Output, path

app = typer.Typer()


@app.command()
def compress(
    model: Model,
    calibration: Annotated[
        Path,
        typer.Option(
            help="Inputs to train on, real values (N, C, H, W): .npy, or .npz by input name.",
            parser=path,
            metavar="PATH",
        ),
    ],
    output: Output,
    labels: Annotated[
        Path | None,
        typer.Option(help="Their classes (N,): .npy.", parser=path, metavar="PATH"),
    ] = None,
    head: Annotated[int, typer.Option(help="Position of the output they are classes of.")] = 0,
    density: Annotated[
        str, typer.Option(help="Share of weights that stay: 0.1, or 0.1,fc3=0.3.")
    ] = "0.1",
    mask: Annotated[
        Path | None,
        typer.Option(
            help="Which weights stay, by layer: .npz, or .pt as PyTorch's pruning names them.",
            parser=path,
            metavar="PATH",
        ),
    ] = None,
    codebook: Annotated[
        int | None, typer.Option(help="Entries of a codebook, 0 included. [default: 16]")
    ] = None,
    weight_bits: Annotated[
        int | None, typer.Option(help="Instead of a codebook: weights of 2 to 16 bits.")
    ] = None,
    start: Annotated[
        str, typer.Option(help="Where k-means begins: linear, density or random.")
    ] = "linear",
    pes: Annotated[int, typer.Option(help="PEs that statistics and balance are for.")] = 64,
    balanced: Annotated[
        bool, typer.Option("--balanced", help="Prune so that each PE has its equal share.")
    ] = False,
    window: Annotated[
        int | None,
        typer.Option(help="With --balanced: of how many columns at a time. [default: 16]"),
    ] = None,
    permute: Annotated[
        bool,
        typer.Option(
            "--permute",
            help="Let rows change places until PEs have equal work; before --balanced.",
        ),
    ] = False,
    epochs: Annotated[
        int, typer.Option(min=0, help="Passes of retraining after each step; 0 for none.")
    ] = 8,
    stages: Annotated[int, typer.Option(min=1, help="Steps of pruning.")] = 4,
    activation_bits: Annotated[int, typer.Option(help="1 to 16.")] = 8,
    accumulator_bits: Annotated[int, typer.Option(help="Of the widest sum, 16 to 44.")] = 32,
    seed: Annotated[int, typer.Option(help="The same seed, the same network.")] = 0,
    as_json: Json = False,
) -> None:
    """Prune, share and retrain a model of fully connected layers for a sparse engine (EIE)."""
    from celosia.models.compression.recipe import Balance, Compression, Retraining, Start
    from celosia.models.compression.statistics import Size
    from celosia.scripts.arguments import read_calibration, read_choice
    from celosia.scripts.compress import compress as compress_file
    from celosia.scripts.compress import read_densities, read_labels, read_masks

    if codebook is not None and weight_bits is not None:
        raise CelosiaError("give either a codebook (--codebook) or --weight-bits, not both")
    if window is not None and not balanced:
        raise CelosiaError("--window is of --balanced: give both, or leave it out")
    whole, layers = read_densities(density)
    try:
        share = (
            Balance(pes=pes, permute=permute)
            if window is None
            else Balance(pes=pes, window=window, permute=permute)
        )
        recipe = Compression(
            density=0.1 if whole is None else whole,
            densities=layers,
            balance=share if balanced else None,
            clusters=None if weight_bits is not None else 16 if codebook is None else codebook,
            start=read_choice("--start", start, Start),
            weight_bits=8 if weight_bits is None else weight_bits,
            activation_bits=activation_bits,
            accumulator_bits=accumulator_bits,
            seed=seed,
        )
        retraining = Retraining(epochs=epochs, stages=stages)
    except ValueError as error:
        raise CelosiaError(str(error)) from error
    data = read_calibration(calibration)
    classes = None if labels is None else read_labels(labels)
    masks = None if mask is None else read_masks(mask)
    with errors.status(f"Compressing {model.name}"):
        result = compress_file(
            model,
            data,
            recipe,
            retraining,
            output,
            labels=classes,
            head=head,
            masks=masks,
            pes=share.pes,
            permuted=permute and not balanced,
        )
    found = result.sizes

    def cells(size: Size) -> tuple[object, ...]:
        return (
            size.name,
            f"{size.weights:,}",
            f"{size.nonzeros:,}",
            f"{100 * size.density:.1f} %",
            f"{100 * size.padding_share:.1f} %",
            f"{size.balance:.3f}",
            f"{size.bits_per_weight:.1f}",
            f"{size.ratio:.1f}",
        )

    def show(console: Console) -> None:
        headers = ("layer", "weights", "kept", "density", "padding", "balance", "bits", "ratio")
        title = f"On {share.pes} PEs; bits of a kept weight; ratio to 32-bit floats, all included"
        console.print(table(headers, [cells(size) for size in found], title=title))
        for note in result.notes:
            console.print(f"note: {note}", markup=False)
        console.print(f"wrote {output}", markup=False)

    value = {
        "network": result.network.name,
        "pes": share.pes,
        "layers": [size.as_dict() for size in found[:-1]],
        "all": found[-1].as_dict(),
        "notes": result.notes,
    }
    emit(value, as_json=as_json, show=show)


@app.command("compress-lstm")
def compress_lstm(
    state: Annotated[
        Path,
        typer.Argument(
            metavar="STATE",
            help="A state dictionary with one LSTM: .pt or .safetensors.",
            parser=path,
        ),
    ],
    calibration: Annotated[
        Path,
        typer.Option(help="Real inputs (steps, values): .npy.", parser=path, metavar="PATH"),
    ],
    output: Output,
    steps: Annotated[
        int | None, typer.Option(min=1, help="Of a start. [default: as calibration has]")
    ] = None,
    density: Annotated[
        str, typer.Option(help="Share of weights that stay: 0.3, or 0.3,l1=0.5 for layer 1.")
    ] = "1.0",
    codebook: Annotated[
        int | None, typer.Option(help="Entries of a codebook, 0 included. [default: 16]")
    ] = None,
    weight_bits: Annotated[
        int | None, typer.Option(help="Instead of a codebook: weights of 2 to 16 bits.")
    ] = None,
    activation_bits: Annotated[int, typer.Option(help="8 to 16.", min=8, max=16)] = 16,
    segments: Annotated[int, typer.Option(help="Of sigmoid and tanh, as the engine has.")] = 256,
    as_json: Json = False,
) -> None:
    """Prune and share an LSTM's weights for the EIE engine, without retraining."""
    from celosia.models.compression.lstm import compress_lstm as compress_layers
    from celosia.models.compression.lstm import lstm_weights
    from celosia.models.compression.recipe import Compression, Start
    from celosia.models.files import check_writable
    from celosia.models.storage import save
    from celosia.scripts.arguments import read_arrays
    from celosia.scripts.compress import read_densities, read_state

    if codebook is not None and weight_bits is not None:
        raise CelosiaError("give either a codebook (--codebook) or --weight-bits, not both")
    whole, layers = read_densities(density)
    check_writable(output)
    sequence = read_arrays(calibration)
    if isinstance(sequence, dict):
        raise CelosiaError(f"{calibration}: the sequence is one array, in a .npy file")
    try:
        recipe = Compression(
            density=1.0 if whole is None else whole,
            densities=layers,
            clusters=None if weight_bits is not None else 16 if codebook is None else codebook,
            start=Start.DENSITY,
            weight_bits=8 if weight_bits is None else weight_bits,
            activation_bits=activation_bits,
            accumulator_bits=40,
        )
        network = compress_layers(
            lstm_weights(read_state(state)),
            sequence,
            recipe,
            steps=steps,
            segments=segments,
            name=output.stem,
        )
    except ValueError as error:
        raise CelosiaError(str(error)) from error
    save(network, output)
    inputs = [network.tensor(name) for name in network.inputs]
    value = {
        "network": str(output),
        "inputs": {tensor.name: list(tensor.shape) for tensor in inputs},
        "products": network.macs,
    }

    def show(console: Console) -> None:
        rows = [(tensor.name, str(tensor.shape), tensor.scale) for tensor in inputs]
        console.print(table(("input", "shape", "scale"), rows))
        console.print(f"wrote {output}", markup=False)

    emit(value, as_json=as_json, show=show)


@app.command()
def lower(
    network: Annotated[
        Path, typer.Argument(metavar="NETWORK", help="A quantised network.", parser=path)
    ],
    output: Output,
    shortened: Annotated[
        Path | None,
        typer.Option(
            help="Where to write the network that it equals: with shorter multipliers.",
            parser=path,
            metavar="PATH",
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Turn convolutions into large sparse matrices, exactly, for the EIE engine."""
    from celosia.models.files import check_writable
    from celosia.models.lower_convolutions import (
        lower_convolutions,
        short_multipliers,
        stored_weights,
    )
    from celosia.models.storage import load, save

    if shortened is not None and shortened.absolute() == output.absolute():
        raise CelosiaError("--output and --shortened name the same file: they are two networks")
    for target in (output, shortened):
        if target is not None:
            check_writable(target)
    short = short_multipliers(load(network))
    with errors.status(f"Lowering {network.name}"):
        lowered = lower_convolutions(short)
    save(lowered, output)
    if shortened is not None:
        save(short, shortened)
    weights = stored_weights(short)
    value = {
        "network": str(output),
        "layers": len(lowered.ops),
        "products": lowered.macs,
        "convolutions": {
            name: {"weights": own, "stored": stored} for name, (own, stored) in weights.items()
        },
    }

    def show(console: Console) -> None:
        rows = [(name, *counts) for name, counts in weights.items()]
        console.print(table(("convolution", "weights", "stored"), rows))
        console.print(f"wrote {output}: {len(lowered.ops)} layers", markup=False)

    emit(value, as_json=as_json, show=show)
