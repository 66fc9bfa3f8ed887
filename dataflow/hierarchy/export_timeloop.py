"""Files for Timeloop 3 (``timeloop-model``): architecture, problem and mapping in YAML.

Timeloop holds all tensors of a level at one place of the nest: mappings are written in that form
(:mod:`celosia.dataflow.hierarchy.together`), and those that have none are refused.
"""

from __future__ import annotations

from typing import Any

from celosia.dataflow.hierarchy.architecture import Architecture, Level
from celosia.dataflow.hierarchy.export_nest import WORD_BITS, Iterations, iterations
from celosia.dataflow.hierarchy.layer import Dim, Layer, Tensor
from celosia.dataflow.hierarchy.mapping import Mapping
from celosia.dataflow.hierarchy.together import together
from celosia.dataflow.hierarchy.yaml_text import to_yaml

_SPACES = {Tensor.INPUT: "Inputs", Tensor.WEIGHT: "Weights", Tensor.OUTPUT: "Outputs"}


def timeloop_files(architecture: Architecture, layer: Layer, mapping: Mapping) -> dict[str, str]:
    """Return Timeloop's files.

    Raises :class:`CelosiaError` where tiles do not divide, where the tiles of a level cannot lie at
    one place, and where they are too large to be kept whole.
    """
    return {
        "arch.yaml": to_yaml({"architecture": _architecture(architecture)}),
        "problem.yaml": to_yaml({"problem": _problem(layer)}),
        "map.yaml": to_yaml({"mapping": _directives(architecture, layer, mapping)}),
    }


def _architecture(architecture: Architecture) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    instances = 1
    for place, level in enumerate(architecture.levels):
        instances *= _copies(architecture, place)
        tree[level.name] = _buffer(level, instances)
    instances *= _copies(architecture, len(architecture.levels))
    energy = {"compute": float(architecture.mac_energy)}
    return {
        "version": 0.2,
        "subtree": [
            {
                "name": "system",
                "local": [
                    *({"name": name, **entry} for name, entry in tree.items()),
                    {
                        "name": f"mac[0..{instances - 1}]",
                        "class": "intmac",
                        "attributes": {"datawidth": WORD_BITS, "meshX": instances, **energy},
                    },
                ],
            }
        ],
    }


def _copies(architecture: Architecture, place: int) -> int:
    copies = 1
    for axis in architecture.axes:
        copies *= axis.size if architecture.axis_place(axis) == place else 1
    return copies


def _buffer(level: Level, instances: int) -> dict[str, Any]:
    attributes: dict[str, Any] = {
        "word-bits": WORD_BITS,
        "block-size": 1,
        "instances": instances,
        "meshX": instances,
        "vector-access-energy": float(max(level.read_energy, level.write_energy)),
    }
    if level.words is not None:
        attributes["sizeKB" if level.words % 1024 == 0 else "depth"] = (
            level.words // 1024 if level.words % 1024 == 0 else level.words
        )
    for key, rate in (
        ("shared_bandwidth", level.bandwidth),
        ("read_bandwidth", level.read_bandwidth),
        ("write_bandwidth", level.write_bandwidth),
    ):
        if rate is not None:
            attributes[key] = rate
    return {"class": "DRAM" if level.words is None else "SRAM", "attributes": attributes}


def _problem(layer: Layer) -> dict[str, Any]:
    rows = [["P", "stride"], ["R"]]
    columns = [["Q", "stride"], ["S"]]
    return {
        "shape": {
            "name": "convolution",
            "dimensions": [dim.value for dim in Dim],
            "coefficients": [{"name": "stride", "default": 1}],
            "data-spaces": [
                {"name": "Weights", "projection": [[["K"]], [["C"]], [["R"]], [["S"]]]},
                {"name": "Inputs", "projection": [[["C"]], rows, columns]},
                {
                    "name": "Outputs",
                    "projection": [[["K"]], [["P"]], [["Q"]]],
                    "read-write": True,
                },
            ],
        },
        "instance": {**{dim.value: layer.size(dim) for dim in Dim}, "stride": layer.stride},
    }


def _directives(architecture: Architecture, layer: Layer, mapping: Mapping) -> list[dict[str, Any]]:
    iterations(layer, mapping, "Timeloop")  # refuses tiles that do not divide
    blocks: dict[str, list[Iterations]] = {level.name: [] for level in architecture.levels}
    target = architecture.levels[0].name
    for step in iterations(layer, together(architecture, layer, mapping, "Timeloop"), "Timeloop"):
        if isinstance(step, Iterations):
            blocks[target].append(step)
        else:
            target = step.level
    directives: list[dict[str, Any]] = []
    for name, loops in blocks.items():
        directives.append(_directive(name, "temporal", [s for s in loops if s.axis is None]))
        spread = [loop for loop in loops if loop.axis is not None]
        directives += [_directive(name, "spatial", spread)] if spread else []
        held = architecture.level(name).holds
        directives.append(
            {
                "target": name,
                "type": "bypass",
                "keep": [_SPACES[tensor] for tensor in held],
                "bypass": [_SPACES[tensor] for tensor in Tensor if tensor not in held],
            }
        )
    return directives


def _directive(target: str, kind: str, loops: list[Iterations]) -> dict[str, Any]:
    counts = {dim.value: 1 for dim in Dim}
    for loop in loops:
        counts[loop.dim.value] *= loop.count
    inner = [loop.dim.value for loop in reversed(loops)]
    order = [*dict.fromkeys(inner), *(dim.value for dim in Dim if dim.value not in inner)]
    return {
        "target": target,
        "type": kind,
        "factors": " ".join(f"{dim}={count}" for dim, count in counts.items()),
        "permutation": "".join(order),
    }
