"""ResNet-18's distinct layers on architecture A, and the best that other tools find there.

The mappings are those of AccelForge 1.0.467, which counts in single precision; of ``l2d`` and
``l3d`` when asked for EDP. Asked for energy it finds 35.61 and 22.36 uJ there.
"""

from __future__ import annotations

from dataclasses import dataclass

from celosia.dataflow.hierarchy.layer import Layer


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A layer and the least energy (pJ) known for it, with the cycles of that mapping."""

    layer: Layer
    count: int
    energy: float
    cycles: float


def _known(sizes: str, count: int, energy: float, cycles: float) -> Known:
    return Known(layer=Layer.parse(sizes), count=count, energy=energy, cycles=cycles)


RESNET18 = {
    "conv1": _known("3,64,112,112,7,7,2", 1, 240379973.4, 2458624),
    "l1": _known("64,64,56,56,3,3,1", 4, 123431471.9, 451584),
    "l2a": _known("64,128,28,28,3,3,2", 1, 78255142.9, 225792),
    "l2": _known("128,128,28,28,3,3,1", 3, 127371466.0, 451584),
    "l2d": _known("64,128,28,28,1,1,2", 1, 25996647.3, 25088),
    "l3a": _known("128,256,14,14,3,3,2", 1, 85689828.8, 225792),
    "l3": _known("256,256,14,14,3,3,1", 3, 150936780.0, 451584),
    "l3d": _known("128,256,14,14,1,1,2", 1, 19053311.8, 26880),
    "l4a": _known("256,512,7,7,3,3,2", 1, 171896575.1, 225792),
    "l4": _known("512,512,7,7,3,3,1", 3, 333690364.2, 451584),
    "l4d": _known("256,512,7,7,1,1,2", 1, 25126656.2, 25088),
    "fc": _known("512,1000,1,1,1,1,1", 1, 54872736.0, 32094.5),
}
"""By name; ``count`` is how often the layer comes in the network."""
