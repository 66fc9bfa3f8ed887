"""From a model file and calibration data to a network file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from celosia.models.calibrate import grid_groups
from celosia.models.errors import CelosiaError
from celosia.models.files import check_writable
from celosia.models.formats import Format, parse_format
from celosia.models.graph import FloatConv, FloatGraph
from celosia.models.model_files import real_graph
from celosia.models.network import Conv, Network
from celosia.models.qat import Schedule, finetune
from celosia.models.quantize import quantize as quantise_graph
from celosia.models.recipe import Recipe
from celosia.models.sensitivity import Sensitivity
from celosia.models.storage import save
from celosia.models.vector_choice import activation_obstacle, weight_obstacle
from celosia.scripts.arguments import Arrays, by_name

SAMPLES: Final = 16
"""Most samples on which layers are judged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Narrow:
    """Layers whose rounding to ``format`` changes all outputs by a squared error of ``most``.

    In the outputs' variance; as many weights as found.
    """

    format: Format
    most: float

    def __post_init__(self) -> None:
        if not self.most >= 0:
            raise ValueError(f"the error of narrow layers must not be negative: {self.most!r}")

    @staticmethod
    def parse(text: str) -> Narrow:
        """Return what ``text``, ``format:error``, says; raise ``ValueError`` where it is wrong."""
        name, _, error = text.partition(":")
        try:
            most = float(error)
        except ValueError:
            raise ValueError(
                f"narrow layers {text!r} are not understood: write format:error, such as "
                "fixed4:0.002"
            ) from None
        return Narrow(format=parse_format(name), most=most)


def quantize(
    model: str | Path,
    calibration: Arrays,
    recipe: Recipe,
    output: str | Path,
    *,
    epochs: int = 0,
    narrow: Narrow | None = None,
) -> tuple[Network, tuple[str, ...]]:
    """Quantise the exported model in the file ``model`` and write the network to ``output``.

    Parameters
    ----------
    model
        A ``.pt2`` or ``.onnx`` file.
    calibration
        Typical inputs, real values (N, C, H, W); by name where there are several.
    recipe
        Formats and methods.
    output
        The network file to write.
    epochs
        Passes of fine-tuning over the calibration data; 0 for none.
    narrow
        Which layers get a format of fewer bits than the recipe's; none where it is None.

    Returns
    -------
    The network, and in words what the import left out or changed, which layers are narrow, and
    what has no scales of vectors although the recipe asks for them.

    Raises
    ------
    CelosiaError
        When the model cannot be imported, or the data does not fit it; when narrow layers are
        to be fine-tuned.
    OSError
        When the file cannot be written; found out before anything is computed.
    """
    check_writable(output)
    graph = real_graph(model)
    calibration = by_name(calibration, graph.inputs, f"model {model}")
    notes = graph.notes
    if epochs:
        if narrow is not None:
            raise CelosiaError("narrow layers cannot be fine-tuned: leave out either")
        network = finetune(graph, calibration, recipe, Schedule(epochs=epochs))
    else:
        layers: dict[str, Format] = {}
        if narrow is not None:
            few = {name: data[:: -(-len(data) // SAMPLES)] for name, data in calibration.items()}
            chosen = Sensitivity(graph, few, narrow.format, recipe).choose(narrow.most)
            layers = dict.fromkeys(chosen, narrow.format)
            notes = (*notes, f"{narrow.format.name} in: {', '.join(chosen) or 'no layer'}")
        network = quantise_graph(graph, calibration, recipe, layers=layers)
    save(network, output)
    return network, (*notes, *unscaled(graph, network, recipe))


def unscaled(graph: FloatGraph, network: Network, recipe: Recipe) -> tuple[str, ...]:
    """Say which layers and tensors have no scales of vectors that ``recipe`` asks for, and why."""
    if recipe.blocks is None:
        return ()
    kept: dict[str, list[str]] = {}
    convs = {op.name: op for op in network.ops if isinstance(op, Conv) and op.useful}
    for op in graph.ops:
        if isinstance(op, FloatConv) and op.name in convs and convs[op.name].scales is None:
            why = weight_obstacle(graph, op, recipe.blocks) or "all are of one magnitude"
            kept.setdefault(f"weights with one scale a row ({why}): ", []).append(op.name)
    if recipe.elements is not None:
        for names in grid_groups(graph):
            fmt = network.tensor(names[0]).format
            why = activation_obstacle(graph, names, fmt.signed, recipe.blocks.vector)
            if why:
                text = f"{fmt.name} with one scale for all ({why}): "
                kept.setdefault(text, []).extend(names)
    return tuple(text + ", ".join(names) for text, names in kept.items())


def summary(network: Network) -> dict[str, object]:
    """Return what ``network`` is, as JSON values: layers with their weights by format.

    ``scales`` of weights, and of outputs, are as ``--blocks`` has them (``uint4:16/6``).
    """
    layers = []
    for op in network.ops:
        formats = [fmt.name for fmt in op.formats] if isinstance(op, Conv) else []
        table = op.requant.table if isinstance(op, Conv) else None
        scaling = op.scales.scaling if isinstance(op, Conv) and op.scales else None
        target = network.tensor(op.output)
        layers.append(
            {
                "name": op.name,
                "kind": type(op).__name__.lower(),
                "output": list(target.shape),
                "output_format": target.format.name,
                "output_scales": target.scaling.text if target.scaling else None,
                "rows": {name: formats.count(name) for name in dict.fromkeys(formats)},
                "scales": scaling.text if scaling else None,
                "function": table.function if table else None,
                "weights": int(op.weights.size) if isinstance(op, Conv) else 0,
            }
        )
    return {
        "network": network.name,
        "inputs": {name: list(network.tensor(name).shape) for name in network.inputs},
        "outputs": {name: list(network.tensor(name).shape) for name in network.outputs},
        "layers": layers,
    }
