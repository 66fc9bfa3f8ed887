"""Per-vector weight scales in the network: meaning, bounds, files, refusals."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from celosia.models.bounds import accumulator_range
from celosia.models.formats import BlockScaling, Fixed, parse_scale
from celosia.models.golden import convolve, evaluate
from celosia.models.network import Concat, Conv, Network, Requant, Tensor, WeightScales, Window
from celosia.models.random_network import random_inputs, random_network
from celosia.models.storage import fingerprint, load, save

U4 = BlockScaling(scale=parse_scale("uint4"), vector=4, product_bits=6)
S8 = Fixed(bits=8)


def scaled_conv(channels: int = 6, *, groups: int = 1, **fields: object) -> Conv:
    """Two rows over ``channels`` inputs of a 1x2 kernel, scales 1 to 15 in order."""
    inputs = channels // groups
    rng = np.random.default_rng(5)
    zeros = np.zeros(2, np.int64)
    requant = Requant(
        bias=zeros, positive=zeros + 1, negative=zeros + 1, residual=zeros, shift=zeros + 8,
        low=-128, high=127,
    )  # fmt: skip
    shape = (2, -(-inputs // 4), 1, 2)
    values = {
        "name": "conv", "input": "x", "output": "y", "window": Window(kernel=(1, 2)),
        "groups": groups, "weights": rng.integers(-8, 8, (2, inputs, 1, 2)),
        "formats": (Fixed(bits=4),) * 2, "requant": requant,
        "scales": WeightScales(
            scaling=U4, values=np.arange(np.prod(shape)).reshape(shape).astype(np.int64) % 15 + 1
        ),
    }  # fmt: skip
    return Conv(**{**values, **fields})


def test_sums_are_scaled_vector_by_vector() -> None:
    conv = scaled_conv()
    codes = random = np.random.default_rng(2).integers(-128, 128, (1, 6, 3, 4))
    got = convolve(conv, codes, S8)
    assert conv.scales is not None
    for row, y, x in np.ndindex(2, 3, 3):
        total = 0
        for tap in range(2):
            for vector in range(2):
                part = slice(4 * vector, 4 * vector + 4)
                dot = (conv.weights[row, part, 0, tap] * random[0, part, y, x + tap]).sum()
                total += conv.scales.values[row, vector, 0, tap] * dot
        assert got[0, row, y, x] == total


def test_bounds_are_reached() -> None:
    conv = scaled_conv()
    low, high = accumulator_range(conv, S8)
    worst = np.where(conv.scaled_weights(None) > 0, -128, 127)
    for row in range(2):
        codes = worst[row].reshape(1, 6, 1, 2)
        assert convolve(conv, codes, S8)[0, row, 0, 0] == low[row]
        codes = np.where(codes == 127, -128, 127)
        assert convolve(conv, codes, S8)[0, row, 0, 0] == high[row]


@pytest.mark.parametrize("scale", ["uint4", "e8m0_3", "ue4m3"])
def test_files(scale: str, tmp_path: Path) -> None:
    scaling = BlockScaling(scale=parse_scale(scale), vector=4)
    network = random_network(3, (Fixed(bits=4),), scaling=scaling)
    assert any(isinstance(op, Conv) and op.scales is not None for op in network.ops)
    save(network, tmp_path / "net")
    back = load(tmp_path / "net")
    assert fingerprint(back) == fingerprint(network)
    assert fingerprint(random_network(3, (Fixed(bits=4),))) != fingerprint(network)
    codes = random_inputs(network, 1, 3)
    first, second = evaluate(network, codes), evaluate(back, codes)
    assert all((first[name] == second[name]).all() for name in first)


@pytest.mark.parametrize(
    ("channels", "groups", "shape", "message"),
    [
        (6, 1, (2, 1, 1, 2), r"must have shape \(2, 2, 1, 2\), not \(2, 1, 1, 2\)"),
        (8, 1, (2, 2, 2, 1), r"must have shape \(2, 2, 1, 2\), not \(2, 2, 2, 1\)"),
        (12, 2, (2, 2, 1, 2), "a vector must divide the 6 channels of a group, 4 does not"),
    ],
)
def test_shape_wrong(channels: int, groups: int, shape: tuple[int, ...], message: str) -> None:
    scales = WeightScales(scaling=U4, values=np.ones(shape, np.int64))
    with pytest.raises(ValueError, match=f"conv 'conv': .*{message}"):
        scaled_conv(channels, groups=groups, scales=scales)


def test_scales_wrong() -> None:
    with pytest.raises(ValueError, match="scale 16 is not a value of uint4"):
        WeightScales(scaling=U4, values=np.full((1, 1, 1, 1), 16))
    with pytest.raises(ValueError, match="scale -1 is not a value of uint4"):
        WeightScales(scaling=U4, values=np.full((1, 1, 1, 1), -1))
    zero = np.ones((2, 3, 1, 2), np.int64)
    zero[1, 2, 0, 1] = 0
    with pytest.raises(
        ValueError,
        match=r"scale of row 1, vector 2, kernel position \(0, 1\) is zero, .*: give it another",
    ):
        WeightScales(scaling=U4, values=zero)
    with pytest.raises(TypeError, match="scaling must be a BlockScaling, not 4"):
        WeightScales(scaling=4, values=np.ones((1, 1, 1, 1), np.int64))  # type: ignore[arg-type]


def test_concat_of_broken_vectors_wrong() -> None:
    """Members of 3 and 5 channels: a vector of 4 would lie in two words."""
    plain = replace(scaled_conv(), scales=None)
    ops = [
        replace(
            plain, name=name, output=name, formats=(Fixed(bits=4),) * rows,
            weights=np.ones((rows, 6, 1, 2), np.int64),
            requant=replace(
                plain.requant,
                **{
                    field: np.resize(getattr(plain.requant, field), rows)
                    for field in ("bias", "positive", "negative", "residual", "shift")
                },
            ),
        )
        for name, rows in (("a", 3), ("b", 5))
    ]  # fmt: skip
    shapes = {"x": (6, 1, 4), "a": (3, 1, 3), "b": (5, 1, 3), "c": (8, 1, 3), "y": (2, 1, 2)}
    with pytest.raises(ValueError, match="divide the 3 channels of 'a', a member of 'c'"):
        Network(
            name="net",
            tensors=tuple(
                Tensor(name=name, shape=shape, format=S8, scale=1.0)
                for name, shape in shapes.items()
            ),
            inputs=("x",),
            outputs=("y",),
            ops=(
                *ops,
                Concat(name="join", inputs=("a", "b"), output="c"),
                scaled_conv(8, input="c"),
            ),
        )
