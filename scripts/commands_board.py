"""Commands on boards: deploy."""

from __future__ import annotations

import typer
from rich.console import Console

from celosia.scripts.commands_network import EngineOption, MappingOption, NetworkFile
from celosia.scripts.console import emit
from celosia.scripts.options import Json, Output

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
    from celosia.scripts.simulate import compile_for

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
    }

    def show(console: Console) -> None:
        console.print(
            f"wrote {output}: {made.network} for {made.accelerator}, {made.image.size:,} bytes of "
            "its memory",
            markup=False,
        )

    emit(value, as_json=as_json, show=show)
