"""The grids of tensors from calibration data."""

import numpy as np
import pytest
import torch

from celosia.models.calibrate import SAMPLES, calibrate, even_step
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


def test_inputs_that_were_integers_lose_nothing() -> None:
    """Bytes of photos, normalised: their step is found, though no image reaches both ends."""
    random = np.random.default_rng(20261121)
    data = ((random.integers(3, 256, 9000) - 127) / 128).astype(np.float32).astype(np.float64)
    assert even_step(data, Fixed(bits=8)) == pytest.approx(1 / 128, rel=1e-6)
    assert even_step(data * 0.3, Fixed(bits=8)) == pytest.approx(0.3 / 128, rel=1e-6)
    assert even_step(data + 0.3 / 128, Fixed(bits=8)) is None  # 0 is not on that grid
    assert even_step(data, Fixed(bits=7)) is None  # too many levels
    assert even_step(random.normal(size=500), Fixed(bits=8)) is None
    assert even_step(np.zeros(5), Fixed(bits=8)) is None
    assert even_step(np.array([0.0, 0.25, 1.0]), Fixed(bits=4, signed=False)) == 0.25
