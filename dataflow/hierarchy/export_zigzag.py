"""Files for ZigZag 3: accelerator, workload and mapping in YAML.

ZigZag decides itself which part of the temporal order each memory holds; the order and what is
spread over the axes are those of the mapping.
"""

from __future__ import annotations

from typing import Any

from celosia.dataflow.hierarchy.architecture import Architecture, Level
from celosia.dataflow.hierarchy.export_nest import WORD_BITS, Iterations, iterations
from celosia.dataflow.hierarchy.layer import Dim, Layer, Tensor
from celosia.dataflow.hierarchy.mapping import Mapping
from celosia.dataflow.hierarchy.yaml_text import to_yaml

_OPERANDS = {Tensor.INPUT: "I1", Tensor.WEIGHT: "I2", Tensor.OUTPUT: "O"}
_DIMS = {Dim.K: "K", Dim.C: "C", Dim.P: "OY", Dim.Q: "OX", Dim.R: "FY", Dim.S: "FX"}
_UNLIMITED_BITS = 10**12
_WIDE = 1 << 16
"""Words a cycle of a memory whose bandwidth has no limit."""


def zigzag_files(architecture: Architecture, layer: Layer, mapping: Mapping) -> dict[str, str]:
    """Return ZigZag's files."""
    axes = {axis.name: f"D{index + 1}" for index, axis in enumerate(architecture.axes)}
    loops = [s for s in iterations(layer, mapping, "ZigZag") if isinstance(s, Iterations)]
    spatial: dict[str, list[str]] = {name: [] for name in axes.values()}
    for loop in loops:
        if loop.axis is not None:
            spatial[axes[loop.axis]].append(f"{_DIMS[loop.dim]}, {loop.count}")
    mapped = {
        "name": "default",
        "spatial_mapping": {name: used for name, used in spatial.items() if used},
        "temporal_ordering": [
            [_DIMS[loop.dim], loop.count] for loop in reversed(loops) if loop.axis is None
        ],
        "memory_operand_links": {"O": "O", "W": "I2", "I": "I1"},
    }
    accelerator = {
        "name": architecture.name,
        "memories": {
            level.name: _memory(architecture, level) for level in reversed(architecture.levels)
        },
        "operational_array": {
            "unit_energy": float(architecture.mac_energy),
            "unit_area": 1,
            "dimensions": list(axes.values()),
            "sizes": [axis.size for axis in architecture.axes],
        },
    }
    return {
        "accelerator.yaml": to_yaml(accelerator),
        "workload.yaml": to_yaml([_layer(layer)]),
        "mapping.yaml": to_yaml([mapped]),
    }


def _layer(layer: Layer) -> dict[str, Any]:
    return {
        "id": 0,
        "name": "layer",
        "operator_type": "Conv",
        "equation": "O[b][k][oy][ox]+=W[k][c][fy][fx]*I[b][c][iy][ix]",
        "dimension_relations": [
            f"ix={layer.stride}*ox+1*fx",
            f"iy={layer.stride}*oy+1*fy",
        ],
        "loop_dims": ["B", *_DIMS.values()],
        "loop_sizes": [1, *(layer.size(dim) for dim in _DIMS)],
        "operand_precision": dict.fromkeys(("O", "O_final", "W", "I"), WORD_BITS),
        "operand_source": {"I": 0, "W": 0},
    }


def _memory(architecture: Architecture, level: Level) -> dict[str, Any]:
    place = architecture.place(level.name)
    served = [
        f"D{index + 1}"
        for index, axis in enumerate(architecture.axes)
        if architecture.axis_place(axis) > place
    ]
    shared = level.bandwidth
    reads = shared or level.read_bandwidth or _WIDE
    writes = shared or level.write_bandwidth or _WIDE
    # Costs are those of an access of the full width.
    return {
        "size": _UNLIMITED_BITS if level.words is None else level.words * WORD_BITS,
        "r_cost": float(level.read_energy) * reads,
        "w_cost": float(level.write_energy) * writes,
        "area": 0,
        "latency": 1,
        "operands": [_OPERANDS[tensor] for tensor in level.holds],
        "ports": _ports(level, reads, writes),
        "served_dimensions": served,
    }


def _ports(level: Level, reads: int, writes: int) -> list[dict[str, Any]]:
    moves: dict[str, tuple[str, ...]] = {"read": ("tl", "th"), "write": ("fh", "fl")}
    kinds = [("read", reads), ("write", writes)]
    if level.bandwidth is not None:
        moves, kinds = {"read_write": ("fh", "tl", "fl", "th")}, [("read_write", reads)]
    names = {"read": "r_port_1", "write": "w_port_1", "read_write": "rw_port_1"}
    return [
        {
            "name": names[kind],
            "type": kind,
            "bandwidth_min": WORD_BITS,
            "bandwidth_max": rate * WORD_BITS,
            "allocation": [
                f"{_OPERANDS[tensor]}, {move}"
                for tensor in level.holds
                for move in moves[kind]
                if tensor is Tensor.OUTPUT or move in ("fh", "tl")
            ],
        }
        for kind, rate in kinds
    ]
