"""Accelerators at random, to hold the model of area against what synthesis says."""

from __future__ import annotations

from typing import Final

import numpy as np

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.array_shape import Circuit
from celosia.dataflow.explore.demand import Demand
from celosia.dataflow.explore.space import AcceleratorSpace
from celosia.models.formats import parse_format
from celosia.models.operations import MULTIPLY

_DEMANDS: Final = (
    (("sp2_4", "fixed4"), 8, 22),
    (("fixed8",), 8, 26),
    (("fixed4",), 4, 18),
    (("sp2_4", "fixed8"), 8, 28),
)
"""Formats of weights, bits of activations and of accumulators."""

_SMALL: Final = {
    "columns": (2, 4, 8, 16),
    "lanes": (4, 8, 16),
    "pixels": (1, 2, 3, 4),
    "scalable": ("none",),
    "data_bits": (64, 128),
    "post_lanes": (1, 2, 4, 8),
    "activations": (256, 512, 1024, 2048),
    "weights": (64, 256, 512, 1024),
    "accumulators": (64, 256, 512),
    "residuals": (64, 256, 1024),
    "outputs": (64, 512, 1024),
}
"""Sizes that synthesis takes about a minute for."""


def checks(hard: Circuit, count: int) -> list[Accelerator]:
    """Return ``count`` accelerators at random, the same each time; ``hard`` as for a space."""
    rng = np.random.default_rng(20)
    found = []
    for number in range(count):
        names, bits, sums = _DEMANDS[number % len(_DEMANDS)]
        need = Demand(
            abilities=tuple((parse_format(name), MULTIPLY) for name in names),
            activation_bits=bits,
            accumulator_bits=sums,
        )
        space = AcceleratorSpace([need], hard, f"check_{number}", _SMALL)
        found.append(space.accelerator(space.sample(rng)))
    return found
