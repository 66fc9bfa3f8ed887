"""The grids of tensors from calibration data."""

import numpy as np
import pytest
import torch

from celosia.models.calibrate import SAMPLES, calibrate
from celosia.models.find_scales import ScaleMethod, find_scales
from celosia.models.formats import Fixed
from celosia.models.graph import FloatConv, FloatGraph
from celosia.models.network import Window
from celosia.models.recipe import Recipe


def test_scales_do_not_depend_on_how_wide_maps_are() -> None:
    """Some of many values are looked at, of all columns: those on the left are next to 0 here."""
    shape, count = (1, 50, 2), SAMPLES // 50 - 1  # every second value would be as many as allowed
    conv = FloatConv(
        name="conv", input="x", output="y", window=Window(kernel=(1, 1)), groups=1,
        weight=np.ones((1, 1, 1, 1)), bias=np.zeros(1),
    )  # fmt: skip
    graph = FloatGraph(name="graph", inputs={"x": shape}, outputs=("y",), ops=(conv,))
    data = np.random.default_rng(5).normal(size=(count, *shape)).clip(-4, 4)
    data[..., 0] *= 0.1
    values = dict.fromkeys("xy", torch.from_numpy(data))
    recipe = Recipe(activation_bits=4, activation_scale=ScaleMethod.OCTAV)
    found = calibrate(graph, values, recipe)["x"].scale
    (wanted,) = find_scales(data.reshape(1, -1), Fixed(bits=4), ScaleMethod.OCTAV)
    assert found == pytest.approx(wanted, rel=0.03)
