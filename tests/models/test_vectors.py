"""Vectors of wide values to elements and scales, and sums of scaled vectors."""

from dataclasses import dataclass, replace
from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest

from celosia.models.formats import (
    UE4M3,
    BlockScaling,
    Element,
    Fixed,
    Format,
    IntScale,
    ScaleFormat,
    parse_format,
    parse_scale,
)
from celosia.models.golden import convolve, evaluate
from celosia.models.network import MaxPool, Network, Tensor, Window
from celosia.models.random_network import random_inputs, random_network
from celosia.models.recipe import parse_elements
from celosia.models.storage import fingerprint, load, save
from celosia.models.vectors import quantise_vectors, scale_codes, spread_scales, vector_limit

from .test_block_scales import scaled_conv

U4 = BlockScaling(scale=IntScale(bits=4), vector=4, product_bits=6)
MX = BlockScaling(scale=parse_scale("e8m0_3"), vector=4)
NV = BlockScaling(scale=UE4M3(), vector=4)
SCALINGS = {"VS-Quant": U4, "MX": MX, "NVFP4": NV}


def nearest(value: Fraction, fmt: Format, levels: list[int]) -> int:
    """The level nearest to ``value``, of two the one with the even code."""
    return min(levels, key=lambda level: (abs(value - level), fmt.encode(np.array(level)) % 2))


def loop_vector(
    values: list[int], element: Element, scaling: BlockScaling
) -> tuple[list[int], int]:
    """One vector, in Python's own fractions."""
    most, kind = max(abs(value) for value in values), scaling.scale
    if isinstance(kind, IntScale):
        code = -(-most // element.high)
    elif isinstance(kind, UE4M3):
        levels = [scale for scale in kind.values.tolist() if 0 < scale <= kind.top]
        code = int(kind.encode(np.array(nearest(Fraction(most, element.high), kind, levels))))
    else:
        top = (1 << kind.bits) - 1
        code = min(max(most.bit_length() - element.high.bit_length(), 0), top)
    scale = max(int(kind.decode(np.array(code))), 1)
    levels = [level for level in element.values.tolist() if 0 <= level <= element.high]
    signs = [1 if value >= 0 else -1 for value in values]
    sizes = [nearest(Fraction(abs(value), scale), element, levels) for value in values]
    return [sign * size for sign, size in zip(signs, sizes, strict=True)], code


@pytest.mark.parametrize("scaling", SCALINGS.values(), ids=SCALINGS)
@pytest.mark.parametrize(
    "name", ["ufixed4", "fixed4", "esb4_1", "uesb4_1", "esb6_3", "esb6_2", "esb4_0"]
)
def test_every_vector(name: str, scaling: BlockScaling) -> None:
    element = parse_elements(name)
    limit = vector_limit(element, scaling)
    random = np.random.default_rng(4)
    values = random.integers(-limit if element.signed else 0, limit + 1, (40, 6, 2, 2))
    values[:30] = values[:30] // np.exp2(random.uniform(0, np.log2(limit), (30, 1, 1, 1)))
    values[0] = 0
    values[1] = limit
    elements, codes = quantise_vectors(values, element, scaling)
    assert elements.shape == values.shape
    assert codes.shape == (40, 2, 2, 2)
    for n, y, x, block in np.ndindex(40, 2, 2, 2):
        part = slice(4 * block, min(6, 4 * block + 4))
        got = elements[n, part, y, x].tolist(), codes[n, block, y, x]
        assert got == loop_vector(values[n, part, y, x].tolist(), element, scaling)
    if isinstance(scaling.scale, IntScale) and isinstance(element, Fixed):
        # The smallest scale that saturates nothing: off by half a scale at most.
        error = elements * spread_scales(codes, scaling, 6) - values
        assert (2 * np.abs(error) <= spread_scales(codes, scaling, 6)).all()


def test_worked_example() -> None:
    """The largest values of 225 and 90 make scales of 15 and 6, as in VS-Quant's example."""
    values = np.array([[75, 30, 0, 225, 45, 90, 15, 60]])[..., None, None]
    elements, codes = quantise_vectors(values, Fixed(bits=4, signed=False), U4)
    assert codes.ravel().tolist() == [15, 6]
    assert elements.ravel().tolist() == [5, 2, 0, 15, 8, 15, 2, 10]


CASTS = {
    "esb4_1": (ml_dtypes.float4_e2m1fn, 2),
    "esb6_3": (ml_dtypes.float6_e2m3fn, 8),
    "esb6_2": (ml_dtypes.float6_e3m2fn, 16),
}
"""The type of ml_dtypes for each element format, and its units in 1."""


def wide_vectors(limit: int, vector: int) -> np.ndarray:
    """Wide values of all sizes, (N, vector): ties, zeros, ends."""
    random = np.random.default_rng(21)
    most = np.exp2(random.uniform(0, np.log2(limit), (4000, 1)))
    values = np.rint(random.uniform(-1, 1, (4000, vector)) * most).astype(np.int64)
    values[::5] &= -(1 << 6)
    values[::7, : vector // 2] = 0
    values[0], values[1, :2] = 0, (limit, -limit)
    return values


@pytest.mark.parametrize("name", CASTS)
def test_elements_are_ocps(name: str) -> None:
    """OCP MX 1.0, section 6.3, with the casts of ml_dtypes; codes too."""
    element, (kind, units) = parse_elements(name), CASTS[name]
    scaling = BlockScaling(scale=parse_scale("e8m0_4"), vector=32)
    values = wide_vectors(vector_limit(element, scaling), 32)
    got, codes = quantise_vectors(values, element, scaling)
    largest = np.abs(values).max(axis=1, keepdims=True) / units
    emax = int(np.floor(np.log2(float(ml_dtypes.finfo(kind).max))))
    shared = np.floor(np.log2(np.maximum(largest, 1e-9))) - emax
    shared = np.clip(shared, 0, 15)
    np.testing.assert_array_equal(codes, shared)
    limit = float(ml_dtypes.finfo(kind).max)
    wanted = np.clip(values / units / np.exp2(shared), -limit, limit).astype(kind)
    np.testing.assert_array_equal(got, wanted.astype(np.float64) * units)
    # The bits that lie in memory, but for OCP's negative zeros.
    bits = wanted.view(np.uint8) * (got != 0)
    np.testing.assert_array_equal(element.encode(got), bits)


def test_elements_are_nvfp4s() -> None:
    """Scales and elements with the casts of ml_dtypes; the smallest scale is the least above 0."""
    values = wide_vectors(vector_limit(parse_elements("esb4_1"), NV), 16)
    got, codes = quantise_vectors(values, parse_elements("esb4_1"), replace(NV, vector=16))
    largest = np.abs(values).max(axis=1, keepdims=True)
    scales = (largest / 12 / 2**9).astype(ml_dtypes.float8_e4m3fn)
    scales = np.maximum(scales.astype(np.float64), 2.0**-9)
    np.testing.assert_array_equal(UE4M3().decode(codes) / 2**9, scales)
    halves = (values / 2**9 / scales / 2).clip(-6, 6).astype(ml_dtypes.float4_e2m1fn)
    np.testing.assert_array_equal(got, halves.astype(np.float64) * 2)


def test_scales_of_another_kind_wrong() -> None:
    with pytest.raises(ValueError, match="no unit makes scales of other4"):
        scale_codes(np.array([3]), 7, BlockScaling(scale=_Other(bits=4), vector=16))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Other(ScaleFormat):
    name = "other4"

    def decode_table(self) -> np.ndarray:
        return np.arange(16)


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


@pytest.mark.parametrize(
    ("scaling", "name"), [(U4, "ufixed4"), (MX, "esb4_1"), (NV, "esb4_1")], ids=SCALINGS
)
def test_networks(scaling: BlockScaling, name: str, tmp_path) -> None:
    formats = (Fixed(bits=4),)
    seen = 0
    for seed in range(6):
        network = random_network(seed, formats, scaling=scaling, elements=parse_elements(name))
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
        ({"format": Fixed(bits=1)}, "elements must have 2 to 8 bits, not fixed1"),
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
    with pytest.raises(TypeError, match="elements must be of a fixed-point or esb format, not sp2"):
        tensor(format=parse_format("sp2_4"))
    with pytest.raises(TypeError, match="format must be Fixed"):
        tensor(format=parse_format("esb4_1"), scaling=None)
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
