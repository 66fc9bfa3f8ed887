"""Bit operations: the published ratios, and a network's sum by hand."""

import numpy as np
import pytest

from celosia.models.bitops import bit_operations, bit_ratio
from celosia.models.formats import Fixed, Sp2
from celosia.models.network import Conv, Network, Requant, Tensor, Window


def test_published_ratios() -> None:
    """Double-Win Quant, table 1: 63.5 of 569.9 G for 4..16, 21.2 of 569.9 G for 4..8."""
    assert bit_ratio(range(4, 17)) == pytest.approx(0.1113, abs=5e-5)
    assert bit_ratio(range(4, 9)) == pytest.approx(0.0372, abs=1e-4)
    assert bit_ratio([32]) == 1.0


def test_wrong_widths() -> None:
    for widths in ((), (4, 0)):
        with pytest.raises(ValueError, match="widths must be one or more positive integers"):
            bit_ratio(widths)


def test_network() -> None:
    constant = np.ones(2, dtype=np.int64)
    requant = Requant(
        bias=0 * constant, positive=constant, negative=constant, residual=0 * constant,
        shift=0 * constant, low=0, high=15,
    )  # fmt: skip
    network = Network(
        name="two",
        tensors=(
            Tensor(name="x", shape=(3, 4, 4), format=Fixed(bits=4, signed=False), scale=1.0),
            Tensor(name="y", shape=(2, 4, 4), format=Fixed(bits=4, signed=False), scale=1.0),
        ),
        inputs=("x",),
        outputs=("y",),
        ops=(
            Conv(
                name="y/conv", input="x", output="y", window=Window(kernel=(1, 1)), groups=1,
                weights=np.ones((2, 3, 1, 1), dtype=np.int64),
                formats=(Fixed(bits=8), Sp2(bits=4)), requant=requant,
            ),
        ),
    )  # fmt: skip
    assert bit_operations(network) == 4 * 4 * 3 * (8 * 4 + 4 * 4)
