"""Vectors of wide values to elements and scales, and sums of scaled vectors."""

from dataclasses import replace

import numpy as np
import pytest

from celosia.models.formats import UE4M3, BlockScaling, Fixed, IntScale, parse_scale
from celosia.models.golden import convolve, evaluate
from celosia.models.network import MaxPool, Network, Tensor, Window
from celosia.models.random_network import random_inputs, random_network
from celosia.models.storage import fingerprint, load, save
from celosia.models.vectors import quantise_vectors, scale_codes, spread_scales, vector_limit

from .test_block_scales import scaled_conv

U4 = BlockScaling(scale=IntScale(bits=4), vector=4, product_bits=6)
MX = BlockScaling(scale=parse_scale("e8m0_3"), vector=4)


def loop_vector(values: list[int], high: int, scaling: BlockScaling) -> tuple[list[int], int]:
    """One vector, in Python's own integers."""
    most = max(abs(value) for value in values)
    if isinstance(scaling.scale, IntScale):
        scale = code = -(-most // high)
    else:
        top = (1 << scaling.scale.bits) - 1
        code = min(max(most.bit_length() - high.bit_length(), 0), top)
        scale = 1 << code
    elements = []
    for value in values:
        rounded = (2 * abs(value) + scale) // (2 * scale) if scale else 0
        elements.append(min(rounded, high) * (1 if value >= 0 else -1))
    return elements, code


@pytest.mark.parametrize("scaling", [U4, MX], ids=["VS-Quant", "MX"])
@pytest.mark.parametrize("signed", [False, True])
def test_every_vector(scaling: BlockScaling, signed: bool) -> None:
    element = Fixed(bits=4, signed=signed)
    limit = vector_limit(element, scaling)
    random = np.random.default_rng(4)
    values = random.integers(-limit if signed else 0, limit + 1, (50, 6, 2, 2))
    values[:10] //= 20
    values[0] = 0
    values[1] = limit
    elements, codes = quantise_vectors(values, element, scaling)
    assert elements.shape == values.shape
    assert codes.shape == (50, 2, 2, 2)
    for n, y, x, block in np.ndindex(50, 2, 2, 2):
        part = slice(4 * block, min(6, 4 * block + 4))
        got = elements[n, part, y, x].tolist(), codes[n, block, y, x]
        assert got == loop_vector(values[n, part, y, x].tolist(), element.high, scaling)
    if isinstance(scaling.scale, IntScale):
        # The smallest scale that saturates nothing: off by half a scale at most.
        error = elements * spread_scales(codes, scaling, 6) - values
        assert (2 * np.abs(error) <= spread_scales(codes, scaling, 6)).all()


def test_worked_example() -> None:
    """The largest values of 225 and 90 make scales of 15 and 6, as in VS-Quant's example."""
    values = np.array([[75, 30, 0, 225, 45, 90, 15, 60]])[..., None, None]
    elements, codes = quantise_vectors(values, Fixed(bits=4, signed=False), U4)
    assert codes.ravel().tolist() == [15, 6]
    assert elements.ravel().tolist() == [5, 2, 0, 15, 8, 15, 3, 10]


def test_scales_of_another_kind_wrong() -> None:
    floats = BlockScaling(scale=UE4M3(), vector=16)
    with pytest.raises(ValueError, match="integer or power-of-two scales, not ue4m3"):
        scale_codes(np.array([3]), 7, floats)


@pytest.mark.parametrize("product_bits", [None, 6, 3])
def test_products_of_scales_are_rounded_vector_by_vector(product_bits: int | None) -> None:
    conv = scaled_conv()
    assert conv.scales is not None
    scaling = replace(U4, product_bits=product_bits)
    conv = replace(conv, scales=replace(conv.scales, scaling=scaling))
    assert conv.scales is not None
    random = np.random.default_rng(2)
    codes, scales = random.integers(-8, 8, (1, 6, 3, 4)), random.integers(0, 16, (1, 2, 3, 4))
    got = convolve(conv, codes, Fixed(bits=4), scaling, scales)
    drop = scaling.dropped_bits
    for row, y, x in np.ndindex(2, 3, 3):
        total = 0
        for tap, vector in np.ndindex(2, 2):
            part = slice(4 * vector, 4 * vector + 4)
            dot = int((conv.weights[row, part, 0, tap] * codes[0, part, y, x + tap]).sum())
            product = int(conv.scales.values[row, vector, 0, tap]) * int(
                scales[0, vector, y, x + tap]
            )
            total += ((product + (1 << drop >> 1)) >> drop) * dot
        assert got[0, row, y, x] == total


@pytest.mark.parametrize("scaling", [U4, MX], ids=["VS-Quant", "MX"])
def test_networks(scaling: BlockScaling, tmp_path) -> None:
    formats = (Fixed(bits=4),)
    seen = 0
    for seed in range(6):
        network = random_network(seed, formats, scaling=scaling, element_bits=4)
        save(network, tmp_path / "net")
        assert fingerprint(load(tmp_path / "net")) == fingerprint(network)
        values = evaluate(network, random_inputs(network, 2, seed))
        for tensor in network.tensors:
            if tensor.scaling is None:
                continue
            seen += 1
            assert values[tensor.scales_name].shape == (2, *tensor.scales_shape)
            wide = values[tensor.name] * spread_scales(
                values[tensor.scales_name], scaling, tensor.shape[0]
            )
            assert np.abs(wide).max() <= tensor.limit
    assert seen > 8


def tensor(**fields: object) -> Tensor:
    values = {"name": "x", "shape": (6, 1, 4), "format": Fixed(bits=4), "scale": 1.0, "scaling": U4}
    return Tensor(**{**values, **fields})


def network(*tensors: Tensor, **fields: object) -> Network:
    values = {
        "name": "net", "tensors": tensors, "inputs": ("x",), "outputs": ("y",),
        "ops": (scaled_conv(scales=None),),
    }  # fmt: skip
    return Network(**{**values, **fields})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"scaling": BlockScaling(scale=UE4M3(), vector=16)}, "power-of-two scales, not ue4m3"),
        ({"format": Fixed(bits=1)}, r"must be in 1..2\*\*24, fixed1 with uint4"),
        (
            {"scaling": BlockScaling(scale=parse_scale("e8m0_5"), vector=4)},
            r"must be in 1..2\*\*24, fixed4 with e8m0_5",
        ),
    ],
)
def test_tensor_wrong(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=f"tensor 'x': .*{message}"):
        tensor(**fields)


def test_tensor_wrong_kind() -> None:
    with pytest.raises(TypeError, match="scaling must be a BlockScaling: 4"):
        tensor(scaling=4)


def test_network_wrong() -> None:
    plain = tensor(scaling=None)
    wide = tensor(name="y", shape=(2, 1, 3))
    with pytest.raises(ValueError, match="input 'x' must not have scales"):
        network(tensor(), tensor(name="y", shape=(2, 1, 3), scaling=None, format=Fixed(bits=8)))
    with pytest.raises(ValueError, match=r"clamp must be 0..105 or -105..105 for .* not -128..127"):
        network(plain, wide)
    fitting = scaled_conv(scales=None)
    fitting = replace(fitting, requant=replace(fitting.requant, low=-105, high=105))
    assert network(plain, wide, ops=(fitting,)).tensor("y").limit == 105
    with pytest.raises(ValueError, match=r"clamp must be 0..225 for the vectors of 'y'"):
        network(plain, replace(wide, format=Fixed(bits=4, signed=False)), ops=(fitting,))
    with pytest.raises(ValueError, match="tensor 'y/scales' is that of the scales already"):
        network(
            plain, wide, tensor(name="y/scales", shape=(2, 1, 3)),
            ops=(fitting, replace(fitting, name="again", output="y/scales")),
        )  # fmt: skip
    pool = MaxPool(name="pool", input="y", output="z", window=Window(kernel=(1, 1)))
    with pytest.raises(ValueError, match="'y' and 'z' must have the same scaling"):
        network(
            plain, wide, replace(wide, name="z", scaling=None), ops=(fitting, pool), outputs=("z",)
        )


def test_other_scales_than_the_inputs_wrong() -> None:
    plain, wide = tensor(scaling=None), tensor(name="y", shape=(6, 1, 3))
    first = scaled_conv(scales=None)
    rows = {
        name: np.zeros(6, np.int64)
        for name in ("bias", "positive", "negative", "residual", "shift")
    }
    first = replace(
        first, weights=np.ones((6, 6, 1, 2), np.int64), formats=(Fixed(bits=4),) * 6,
        requant=replace(first.requant, low=-105, high=105, **rows),
    )  # fmt: skip
    second = scaled_conv(name="second", input="y", output="z")
    assert second.scales is not None
    other = replace(second.scales, scaling=replace(U4, product_bits=None))
    last = tensor(name="z", shape=(2, 1, 2), scaling=None, format=Fixed(bits=8))
    assert network(plain, wide, last, ops=(first, second), outputs=("z",))
    with pytest.raises(ValueError, match="'second': weights and input 'y' must have the same sc"):
        network(plain, wide, last, ops=(first, replace(second, scales=other)), outputs=("z",))
