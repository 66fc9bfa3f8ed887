"""Files for SCALE-Sim 3: a configuration, a topology of one layer, and the layout it insists on."""

from __future__ import annotations

from celosia.dataflow.hierarchy.architecture import Architecture, Axis
from celosia.dataflow.hierarchy.layer import Dim, Layer, Tensor
from celosia.dataflow.hierarchy.mapping import Mapping, Store
from celosia.dataflow.hierarchy.systolic import Stationary
from celosia.models.errors import CelosiaError

_STATIONARY = {
    Tensor.INPUT: Stationary.INPUT,
    Tensor.WEIGHT: Stationary.WEIGHT,
    Tensor.OUTPUT: Stationary.OUTPUT,
}
_LAYOUT_FACTORS = 20


def scalesim_files(architecture: Architecture, layer: Layer, mapping: Mapping) -> dict[str, str]:
    """Return SCALE-Sim's files. Of the mapping it knows the operand that stays in the array."""
    stores = [step for step in mapping.steps if isinstance(step, Store)]
    stays = _STATIONARY[stores[-1].tensor] if stores else Stationary.OUTPUT
    rows, columns = _axis(architecture, Dim.C), _axis(architecture, Dim.K)
    sizes = "\n".join(
        f"{name}sramszkB = {_kilobytes(architecture, tensor)}"
        for name, tensor in zip(("ifmap", "filter", "ofmap"), Tensor, strict=True)
    )
    height = layer.input_extent(layer.p, layer.r)
    width = layer.input_extent(layer.q, layer.s)
    shape = (height, width, layer.r, layer.s, layer.c, layer.k, layer.stride)
    return {
        "scale.cfg": _CONFIGURATION.format(
            name=architecture.name,
            rows=rows.size,
            columns=columns.size,
            sizes=sizes,
            dataflow=stays.value,
        ),
        "topology.csv": (
            "Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, "
            f"Num Filter, Strides,\nlayer, {', '.join(map(str, shape))},\n"
        ),
        "layout.csv": f"Layer name, factors,\nlayer, {', '.join(['1'] * _LAYOUT_FACTORS)},\n",
    }


def _axis(architecture: Architecture, dim: Dim) -> Axis:
    for axis in architecture.axes:
        if dim in axis.spreads and len(architecture.axes) == 2:
            return axis
    raise CelosiaError(
        f"SCALE-Sim has an array of two axes, one that spreads C and one that spreads K: "
        f"architecture {architecture.name!r} has {len(architecture.axes)}, and none of them for "
        f"{dim.value}"
    )


def _kilobytes(architecture: Architecture, tensor: Tensor) -> int:
    """Return the capacity of the outermost level of limited size that holds ``tensor``."""
    for place in architecture.path(tensor):
        words = architecture.levels[place].words
        if words is not None:
            return max(1, words // 1024)
    return 1024


_CONFIGURATION = """[general]
run_name = {name}

[architecture_presets]
ArrayHeight = {rows}
ArrayWidth = {columns}
{sizes}
IfmapOffset = 0
FilterOffset = 10000000
OfmapOffset = 20000000
Bandwidth = 10
Dataflow = {dataflow}
ReadRequestBuffer = 32
WriteRequestBuffer = 32

[layout]
IfmapCustomLayout = False
IfmapSRAMBankBandwidth = 10
IfmapSRAMBankNum = 10
IfmapSRAMBankPort = 2
FilterCustomLayout = False
FilterSRAMBankBandwidth = 10
FilterSRAMBankNum = 10
FilterSRAMBankPort = 2

[sparsity]
SparsitySupport = false
SparseRep = ellpack_block
OptimizedMapping = false
BlockSize = 8
RandomNumberGeneratorSeed = 40

[run_presets]
InterfaceBandwidth = CALC
UseRamulatorTrace = False
"""
