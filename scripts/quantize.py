"""From a model file and calibration data to a network file."""

from __future__ import annotations

from pathlib import Path

from celosia.models.archive import load_model
from celosia.models.files import check_writable
from celosia.models.importer import import_program
from celosia.models.network import Conv, Network
from celosia.models.qat import Schedule, finetune
from celosia.models.quantize import quantize as quantise_graph
from celosia.models.recipe import Recipe
from celosia.models.storage import save
from celosia.scripts.arguments import Arrays, by_name


def quantize(
    model: str | Path,
    calibration: Arrays,
    recipe: Recipe,
    output: str | Path,
    *,
    epochs: int = 0,
) -> tuple[Network, tuple[str, ...]]:
    """Quantise the exported model in the file ``model`` and write the network to ``output``.

    Parameters
    ----------
    model
        A ``.pt2`` file.
    calibration
        Typical inputs, real values (N, C, H, W); by name where there are several.
    recipe
        Formats and methods.
    output
        The network file to write.
    epochs
        Passes of fine-tuning over the calibration data; 0 for none.

    Returns
    -------
    The network, and what the import left out or changed, in words.

    Raises
    ------
    CelosiaError
        When the model cannot be imported, or the data does not fit it.
    OSError
        When the file cannot be written; found out before anything is computed.
    """
    check_writable(output)
    graph = import_program(load_model(model), Path(model).stem)
    calibration = by_name(calibration, graph.inputs, f"model {model}")
    if epochs:
        network = finetune(graph, calibration, recipe, Schedule(epochs=epochs))
    else:
        network = quantise_graph(graph, calibration, recipe)
    save(network, output)
    return network, graph.notes


def summary(network: Network) -> dict[str, object]:
    """Return what ``network`` is, as JSON values: layers with their weights by format."""
    layers = []
    for op in network.ops:
        formats = [fmt.name for fmt in op.formats] if isinstance(op, Conv) else []
        scaling = op.scales.scaling if isinstance(op, Conv) and op.scales else None
        target = network.tensor(op.output)
        layers.append(
            {
                "name": op.name,
                "kind": type(op).__name__.lower(),
                "output": list(target.shape),
                "output_format": target.format.name,
                "rows": {name: formats.count(name) for name in dict.fromkeys(formats)},
                "scales": f"{scaling.scale.name}:{scaling.vector}" if scaling else None,
                "weights": int(op.weights.size) if isinstance(op, Conv) else 0,
            }
        )
    return {
        "network": network.name,
        "inputs": {name: list(network.tensor(name).shape) for name in network.inputs},
        "outputs": {name: list(network.tensor(name).shape) for name in network.outputs},
        "layers": layers,
    }
