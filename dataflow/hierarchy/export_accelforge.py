"""Files for AccelForge 1: architecture, workload and mapping in YAML."""

from __future__ import annotations

from typing import Any

from celosia.dataflow.hierarchy.architecture import Architecture, Level
from celosia.dataflow.hierarchy.export_nest import WORD_BITS, iterations
from celosia.dataflow.hierarchy.layer import Dim, Layer, Relevance, Tensor, relevance
from celosia.dataflow.hierarchy.mapping import Mapping, Store
from celosia.dataflow.hierarchy.yaml_text import Tagged, to_yaml

_NAMES = {Tensor.INPUT: "I", Tensor.WEIGHT: "W", Tensor.OUTPUT: "O"}
_PICOJOULE = 1e-12
_HERTZ = 1e9
"""A clock, so that a cycle is a nanosecond."""


def accelforge_files(architecture: Architecture, layer: Layer, mapping: Mapping) -> dict[str, str]:
    """Return AccelForge's files. Energies are in joules, a cycle is a nanosecond."""
    return {
        "arch.yaml": to_yaml({"arch": {"nodes": _architecture(architecture)}}),
        "workload.yaml": to_yaml({"workload": _workload(layer)}),
        "mapping.yaml": to_yaml({"mapping": {"nodes": _mapping(architecture, layer, mapping)}}),
    }


def _architecture(architecture: Architecture) -> list[Tagged]:
    nodes = []
    for place in range(len(architecture.levels) + 1):
        for axis in architecture.axes:
            if architecture.axis_place(axis) == place:
                still = [
                    _NAMES[tensor]
                    for tensor in Tensor
                    if all(relevance(tensor, dim) is Relevance.NONE for dim in axis.spreads)
                ]
                others = [dim.value.lower() for dim in Dim if dim not in axis.spreads]
                spatial: dict[str, Any] = {
                    "name": axis.name,
                    "fanout": axis.size,
                    "may_reuse": "|".join(still) or "Nothing",
                    "loop_bounds": [{"expression": "|".join(others), "operator": "==", "value": 1}],
                }
                nodes.append(
                    Tagged("Container", {"name": f"{axis.name}_array", "spatial": [spatial]})
                )
        if place < len(architecture.levels):
            nodes.append(_memory(architecture.levels[place]))
    compute = {
        "name": "compute",
        "energy": float(architecture.mac_energy) * _PICOJOULE,
        "throughput": _HERTZ,
        "latency": 0,
    }
    made = {"name": "MAC", "leak_power": 0, "area": 0, "actions": [compute]}
    return [*nodes, Tagged("Compute", made)]


def _memory(level: Level) -> Tagged:
    actions = []
    for name, energy, rate in (
        ("read", level.read_energy, level.bandwidth or level.read_bandwidth),
        ("write", level.write_energy, level.bandwidth or level.write_bandwidth),
    ):
        throughput = "inf" if rate is None else rate * WORD_BITS * _HERTZ
        actions.append(
            {
                "name": name,
                "energy": float(energy) * _PICOJOULE,
                "bits_per_action": WORD_BITS,
                "throughput": throughput if rate is None else rate * _HERTZ,
                "latency": 0,
            }
        )
    busy = "sum(a.n_calls / a.throughput for a in actions)"
    if level.bandwidth is None:
        busy = "max(a.n_calls / a.throughput for a in actions)"
    return Tagged(
        "Memory",
        {
            "name": level.name,
            "size": "inf" if level.words is None else level.words * WORD_BITS,
            "leak_power": 0,
            "area": 0,
            "total_latency": busy,
            "tensors": {"keep": "|".join(_NAMES[tensor] for tensor in level.holds)},
            "actions": actions,
        },
    )


def _workload(layer: Layer) -> dict[str, Any]:
    stride = "" if layer.stride == 1 else f"{layer.stride}*"
    return {
        "bits_per_value": {"All": WORD_BITS},
        "einsums": [
            {
                "name": "layer",
                "tensor_accesses": [
                    {
                        "name": "I",
                        "projection": {"C": "c", "H": f"{stride}p + r", "X": f"{stride}q + s"},
                    },
                    {"name": "W", "projection": {"K": "k", "C": "c", "R": "r", "S": "s"}},
                    {"name": "O", "projection": {"K": "k", "P": "p", "Q": "q"}, "output": True},
                ],
                "iteration_space_shape": [
                    f"0 <= {dim.value.lower()} < {layer.size(dim)}" for dim in Dim
                ],
            }
        ],
    }


def _mapping(architecture: Architecture, layer: Layer, mapping: Mapping) -> list[Tagged]:
    outer = architecture.levels[0].name
    nodes = [
        Tagged("Storage", {"tensors": [_NAMES[tensor]], "component": outer}) for tensor in Tensor
    ]
    for step in iterations(layer, mapping, "AccelForge"):
        if isinstance(step, Store):
            table: dict[str, Any] = {"tensors": [_NAMES[step.tensor]], "component": step.level}
            nodes.append(Tagged("Storage", table))
            continue
        table = {"rank_variable": step.dim.value.lower(), "tile_shape": step.tile}
        if step.axis is None:
            nodes.append(Tagged("Temporal", table))
        else:
            table |= {"name": step.axis, "component": f"{step.axis}_array"}
            nodes.append(Tagged("Spatial", table))
    return [*nodes, Tagged("Compute", {"einsum": "layer", "component": "MAC"})]
