"""ResNet-18's distinct layers, and the best energy and cycles known on architecture A.

Found by AccelForge 1.0.467, which counts in single precision; ``l2d`` and ``l3d`` when asked for
EDP (asked for energy it finds 35.61 and 22.36 uJ).
"""

from celosia.dataflow.hierarchy.layer import Layer

LAYERS = {
    "conv1": Layer.parse("3,64,112,112,7,7,2"),
    "l1": Layer.parse("64,64,56,56,3,3,1"),
    "l2a": Layer.parse("64,128,28,28,3,3,2"),
    "l2": Layer.parse("128,128,28,28,3,3,1"),
    "l2d": Layer.parse("64,128,28,28,1,1,2"),
    "l3a": Layer.parse("128,256,14,14,3,3,2"),
    "l3": Layer.parse("256,256,14,14,3,3,1"),
    "l3d": Layer.parse("128,256,14,14,1,1,2"),
    "l4a": Layer.parse("256,512,7,7,3,3,2"),
    "l4": Layer.parse("512,512,7,7,3,3,1"),
    "l4d": Layer.parse("256,512,7,7,1,1,2"),
    "fc": Layer.parse("512,1000,1,1,1,1,1"),
}
BEST = {
    "conv1": (240379973.4, 2458624),
    "l1": (123431471.9, 451584),
    "l2a": (78255142.9, 225792),
    "l2": (127371466.0, 451584),
    "l2d": (25996647.3, 25088),
    "l3a": (85689828.8, 225792),
    "l3": (150936780.0, 451584),
    "l3d": (19053311.8, 26880),
    "l4a": (171896575.1, 225792),
    "l4": (333690364.2, 451584),
    "l4d": (25126656.2, 25088),
    "fc": (54872736.0, 32094.5),
}
