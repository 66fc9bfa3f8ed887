"""Interleaves: what they are made of, their file form, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest

from celosia.models.formats import Fixed
from celosia.models.golden import evaluate
from celosia.models.network import Conv, Interleave, Network, Part, Requant, Tensor, Window
from celosia.models.storage import load, save

SHAPES = {"x": (2, 2, 3), "a": (2, 2, 3), "b": (2, 2, 3), "y": (2, 2, 6)}
PARTS = (Part(input="a", stride=(1, 2)), Part(input="b", origin=(0, 1), stride=(1, 2)))


def network(parts: tuple[Part, ...] = PARTS, **shapes: tuple[int, int, int]) -> Network:
    """Return a network that puts x and its double between one another, column by column."""
    tensors = tuple(
        Tensor(name=name, shape=shape, format=Fixed(bits=8), scale=1.0)
        for name, shape in {**SHAPES, **shapes}.items()
    )
    one, zero = np.ones(2, np.int64), np.zeros(2, np.int64)
    ops = tuple(
        Conv(
            name=f"{name}_op", input="x", output=name, window=Window(kernel=(1, 1)), groups=2,
            weights=np.full((2, 1, 1, 1), weight, np.int64), formats=(Fixed(bits=4),) * 2,
            requant=Requant(
                bias=zero, positive=one, negative=one, residual=zero, shift=zero, low=-128, high=127
            ),
        )
        for name, weight in (("a", 1), ("b", 2))
    )  # fmt: skip
    joined = Interleave(name="join", parts=parts, output="y")
    return Network(name="n", tensors=tensors, inputs=("x",), outputs=("y",), ops=(*ops, joined))


def test_pixels_lie_between_one_another(tmp_path) -> None:
    x = np.arange(12).reshape(1, 2, 2, 3)
    save(network(), tmp_path / "n.celosia")
    for net in (network(), load(tmp_path / "n.celosia")):
        y = evaluate(net, {"x": x})["y"]
        assert (y[..., ::2] == x).all()
        assert (y[..., 1::2] == 2 * x).all()


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (PARTS[:1], "'join': pixel \\(0, 1\\) of its output is in 0 parts"),
        ((PARTS[0], replace(PARTS[1], origin=(0, 0))), "pixel \\(0, 0\\) of its output is in 2"),
        ((PARTS[0], replace(PARTS[1], origin=(0, 2))), "part 'b' reaches beyond the output"),
        ((PARTS[0], replace(PARTS[1], input="a")), "parts must be one or more different tensors"),
        ((PARTS[0], replace(PARTS[1], input="x")), "'x' must be written by a convolution"),
    ],
)
def test_parts_wrong(parts: tuple[Part, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        network(parts)


def test_readers_of_parts_and_other_channels_wrong() -> None:
    net = network()
    with pytest.raises(ValueError, match="something else reads its part 'a' too"):
        replace(net, outputs=("y", "a"))
    with pytest.raises(ValueError, match="must have the output's 3 channels, not 2"):
        network(y=(3, 2, 6))
    with pytest.raises(ValueError, match="part stride must be at least 1"):
        Part(input="a", stride=(0, 1))
    with pytest.raises(TypeError, match="part origin must be 2 integers"):
        Part(input="a", origin=(0,))  # type: ignore[arg-type]
