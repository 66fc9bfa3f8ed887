"""Block quantisers: against the papers' numbers, and against casts and packages of others."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest
import torch

from celosia.models.blocks import Blocks, quantise_blocks
from celosia.models.errors import CelosiaError
from celosia.models.formats import (
    E8M0,
    UE4M3,
    BlockScaling,
    Esb,
    Fixed,
    Format,
    IntScale,
    parse_format,
)

WIDE = BlockScaling(scale=E8M0(bits=5), vector=32)
NVFP4 = BlockScaling(scale=UE4M3(), vector=16)
FP4 = Esb(bits=4, linear=1)
FIXED4 = Fixed(bits=4)

# Element, its type in ml_dtypes, units in 1, and the exponent of its largest value (OCP MX 1.0,
# table 1; emax in section 6.3).
MX_ELEMENTS = [
    ("esb4_1", ml_dtypes.float4_e2m1fn, 2, 2),
    ("esb6_3", ml_dtypes.float6_e2m3fn, 8, 2),
    ("esb6_2", ml_dtypes.float6_e3m2fn, 16, 4),
]


def vs(bits: int, vector: int) -> BlockScaling:
    return BlockScaling(scale=IntScale(bits=bits), vector=vector)


def awkward(count: int, seed: int) -> np.ndarray:
    """Return (rows, 64) values that fit a float32: ties, powers of two, zeros, subnormals."""
    random = np.random.default_rng(seed)
    plain = random.normal(size=(count // 64, 64)) * np.exp2(random.integers(-9, 10, (1, 64)))
    parts = [
        plain,
        random.integers(-64, 65, plain.shape) / 16,  # ties of every element format
        random.integers(-12, 13, plain.shape) * 2.0 ** random.integers(-6, 6, plain.shape),
        plain * 2.0**-130,  # subnormal in float32
        plain * 2.0**100,
        np.where(random.random(plain.shape) < 0.9, 0.0, plain),
    ]
    rows = np.concatenate(parts)
    rows[::7, :32] = 0.0
    rows[3] = 0.0
    return rows.astype(np.float32).astype(np.float64)


def one_block_a_row(rows: np.ndarray, vector: int) -> np.ndarray:
    """Return ``rows`` cut into vectors, so that no row's other vectors limit an exponent."""
    return rows.reshape(-1, vector)


def test_worked_example_of_vs_quant() -> None:
    weights = np.array([[0.9, -0.45, 0.3, 0.1, 0.2, -0.1, 0.05, 0.15]])
    found = quantise_blocks(weights, FIXED4, vs(4, 4))
    assert found.unit == pytest.approx(0.00857143, abs=5e-9)
    assert found.scales.tolist() == [[15, 3]]
    assert found.values.tolist() == [[7, -3, 2, 1, 7, -4, 2, 6]]
    inputs = np.array([[0.5, 0.2, 0.0, 1.5, 0.3, 0.6, 0.1, 0.4]])
    given = quantise_blocks(inputs, Fixed(bits=4, signed=False), vs(4, 4))
    assert given.unit == pytest.approx(0.00666667, abs=5e-9)
    assert given.scales.tolist() == [[15, 6]]
    assert given.values.tolist() == [[5, 2, 0, 15, 8, 15, 2, 10]]
    dots = (found.values * given.values).reshape(2, 4).sum(axis=1)
    products = found.scaling.product(found.scales, given.scales)
    assert dots.tolist() == [44, 60]
    assert products.tolist() == [[225, 18]]
    total = int((dots * products).sum())
    assert total == int((found.integers * given.integers).sum()) == 10980
    assert total * found.unit * given.unit == pytest.approx(0.62743, abs=5e-6)


@pytest.mark.parametrize(
    ("bits", "nearest4", "up4", "nearest6"),
    [(4, 20.3, 19.7, 20.5), (6, 31.4, 32.7, 33.2), (8, 35.3, 44.9, 43.8)],
)
def test_noise_of_vs_quant(bits: int, nearest4: float, up4: float, nearest6: float) -> None:
    """Gaussian weights whose spread varies log-normally, vectors of 16: within 0.3 dB."""
    random = np.random.default_rng(0)
    rows = random.normal(size=(64, 1024)) * np.exp(0.3 * random.normal(size=(64, 1024)))

    def noise(scale_bits: int, round_up: bool) -> float:
        found = quantise_blocks(rows, Fixed(bits=bits), vs(scale_bits, 16), round_up=round_up)
        return 10 * math.log10((rows**2).mean() / ((found.real - rows) ** 2).mean())

    assert noise(4, False) == pytest.approx(nearest4, abs=0.3)
    assert noise(4, True) == pytest.approx(up4, abs=0.3)
    assert noise(6, False) == pytest.approx(nearest6, abs=0.3)


def by_cast(rows: np.ndarray, kind: type, emax: int, vector: int) -> np.ndarray:
    """Return what OCP's section 6.3 makes of ``rows``, with the cast of ml_dtypes."""
    blocks = rows.reshape(-1, vector)
    largest = np.abs(blocks).max(axis=1, keepdims=True)
    filled = np.where(largest > 0, largest, 1.0)
    shared = np.clip(np.floor(np.log2(filled)) - emax, -127, 127)
    limit = float(ml_dtypes.finfo(kind).max)
    elements = np.clip(blocks / np.exp2(shared), -limit, limit).astype(kind).astype(np.float64)
    return (elements * np.exp2(shared)).reshape(rows.shape)


def check_mx(rows: np.ndarray, element: str, kind: type, emax: int) -> None:
    blocks = one_block_a_row(rows, 32)
    found = quantise_blocks(blocks, parse_format(element), WIDE)
    np.testing.assert_array_equal(found.real, by_cast(blocks, kind, emax, 32))


@pytest.mark.parametrize(("element", "kind", "units", "emax"), MX_ELEMENTS)
def test_mx_is_ocps(element: str, kind: type, units: int, emax: int) -> None:
    fmt = parse_format(element)
    assert fmt.high == float(ml_dtypes.finfo(kind).max) * units
    check_mx(awkward(2_000, 11), element, kind, emax)


def test_mxint8_is_ocps() -> None:
    rows = one_block_a_row(awkward(2_000, 12), 32)
    found = quantise_blocks(rows, Fixed(bits=8), WIDE)
    largest = np.abs(rows).max(axis=1)
    shared = np.where(largest > 0, np.floor(np.log2(np.maximum(largest, 1e-300))), 0)
    step = np.exp2(np.maximum(shared, -127))[:, None] / 64
    np.testing.assert_array_equal(found.real, np.clip(np.rint(rows / step), -127, 127) * step)


def test_windows_of_exponents() -> None:
    """Vectors of one row share a base; what lies below the window is rounded coarser."""
    random = np.random.default_rng(13)
    rows = random.normal(size=(8, 64)) * np.repeat(np.exp2([[0, -20]]), 32, axis=1)
    wide = quantise_blocks(rows, FP4, WIDE)
    np.testing.assert_array_equal(wide.real, by_cast(rows, ml_dtypes.float4_e2m1fn, 2, 32))
    narrow = quantise_blocks(rows, FP4, BlockScaling(scale=E8M0(bits=3), vector=32))
    np.testing.assert_array_equal(narrow.real[:, :32], wide.real[:, :32])
    assert set(np.unique(narrow.scales[:, 0])) == {128}
    assert not narrow.values[:, 32:].any()
    common = quantise_blocks(rows, FP4, WIDE, common=True)
    assert len(np.unique(common.unit)) == 1
    np.testing.assert_array_equal(common.real, wide.real)


def test_powers_rounded_up_clip_nothing() -> None:
    rows = one_block_a_row(awkward(2_000, 14), 32)
    rows = rows[np.abs(rows).max(axis=1) > 2.0**-100]
    found = quantise_blocks(rows, FP4, WIDE, round_up=True)
    unit = found.unit * found.scales[:, 0]
    largest = np.abs(rows).max(axis=1)
    np.testing.assert_array_equal(unit, np.exp2(np.ceil(np.log2(largest / 12))))


def nvfp4(rows: np.ndarray) -> np.ndarray:
    """Return NVFP4's values of ``rows`` (one tensor), with the casts of ml_dtypes."""
    blocks = rows.reshape(-1, 16)
    whole = np.abs(rows).max() / (6 * 448)
    scale = np.abs(blocks).max(axis=1, keepdims=True) / (6 * whole)
    scale = np.clip(scale, 2.0**-9, 448).astype(ml_dtypes.float8_e4m3fn).astype(np.float64)
    elements = np.clip(blocks / (scale * whole), -6, 6)
    return (elements.astype(ml_dtypes.float4_e2m1fn).astype(np.float64) * scale).reshape(rows.shape)


def check_nvfp4(rows: np.ndarray) -> None:
    whole = np.abs(rows).max() / (6 * 448)
    found = quantise_blocks(rows, FP4, NVFP4, common=True)
    assert found.unit == pytest.approx(np.full(len(rows), whole / 2**10), rel=1e-15)
    np.testing.assert_array_equal(found.integers / 2**10, nvfp4(rows))


def test_nvfp4_is_what_the_casts_give() -> None:
    random = np.random.default_rng(15)
    rows = random.normal(size=(96, 64)) * np.exp2(random.integers(-12, 3, (96, 1)))
    rows[5] = 0.0
    rows[6, :16] = rows[6, 16:32] * 2.0**-30
    check_nvfp4(rows)
    # A largest value of 6 * 448 makes the tensor's scale 1: ties are exact.
    ties = random.integers(-24, 25, (96, 64)) / 4 * np.exp2(random.integers(0, 6, (96, 1)))
    ties[0, 0] = 6 * 448
    check_nvfp4(ties)


@pytest.mark.campaign
@pytest.mark.parametrize(("element", "kind", "units", "emax"), MX_ELEMENTS)
def test_mx_on_a_million_values(element: str, kind: type, units: int, emax: int) -> None:
    """Against the casts of ml_dtypes, and against the quantiser of torchao."""
    from torchao.prototype.mx_formats.mx_tensor import to_mx

    rows = awkward(200_000, 16)
    assert rows.size >= 1_000_000
    check_mx(rows, element, kind, emax)
    blocks = one_block_a_row(rows, 32)
    # torchao does not divide by 2**-127, which float32 holds as a subnormal number only.
    blocks = blocks[np.abs(blocks).max(axis=1) >= 2.0 ** (emax - 126)]
    names = {"esb4_1": torch.float4_e2m1fn_x2, "esb6_3": "fp6_e2m3", "esb6_2": "fp6_e3m2"}
    scale, packed = to_mx(torch.from_numpy(blocks.astype(np.float32)), names[element], 32)
    codes = packed.numpy()
    if element == "esb4_1":
        codes = np.stack([codes & 15, codes >> 4], axis=2).reshape(blocks.shape)
    found = quantise_blocks(blocks, parse_format(element), WIDE)
    exponent = scale.view(torch.uint8).numpy().astype(np.int64) - 127
    np.testing.assert_array_equal(found.unit * found.scales[:, 0] * units, 2.0 ** exponent[:, 0])
    np.testing.assert_array_equal(parse_format(element).decode(codes), found.values)


@pytest.mark.campaign
def test_nvfp4_on_a_million_values() -> None:
    """Against the casts of ml_dtypes, and against the quantiser of torchao.

    torchao multiplies by float32 reciprocals, so what lies next to a tie may go the other way,
    and takes no scale below E4M3's smallest normal number, which others (ModelOpt) do.
    """
    from torchao.prototype.mx_formats.nvfp4_tensor import nvfp4_quantize

    random = np.random.default_rng(17)
    rows = random.normal(size=(16_384, 64)) * np.exp2(random.integers(-12, 3, (16_384, 1)))
    rows[0, 0] = 6 * 448 * 2.0**-6  # the tensor's scale is a power of two
    rows = rows.astype(np.float32).astype(np.float64)
    assert rows.size >= 1_000_000
    check_nvfp4(rows)
    whole = torch.tensor(2.0**-6)
    scales, packed = nvfp4_quantize(torch.from_numpy(rows.astype(np.float32)), 16, whole)
    theirs = np.stack([packed.numpy() & 15, packed.numpy() >> 4], axis=2).reshape(rows.shape)
    found = quantise_blocks(rows, FP4, NVFP4, common=True)
    given = scales.reshape(found.scales.shape).to(torch.float64).numpy() * 2**9
    np.testing.assert_array_equal(np.maximum(found.scales, 8), given)
    normal = np.repeat(found.scales >= 8, 16, axis=1)
    assert normal.sum() >= 900_000
    differs = normal & (FP4.decode(theirs) != found.values)
    exact = np.abs(rows / (np.repeat(found.scales, 16, axis=1) * found.unit[:, None]))
    ties = np.array([0.5, 1.5, 2.5, 3.5, 5, 7, 10])
    near = np.abs(exact[..., None] / ties - 1).min(axis=2) < 2.0**-22
    assert not (differs & ~near).any()
    assert differs.sum() <= 10


def test_zeros() -> None:
    rows = np.zeros((2, 40))
    rows[1, 20] = -3.0
    for element, scaling in (
        (FIXED4, vs(4, 16)),
        (FP4, NVFP4),
        (FP4, BlockScaling(scale=E8M0(bits=4), vector=16)),
    ):
        found = quantise_blocks(rows, element, scaling)
        assert not found.values[0].any()
        assert (found.scales > 0).all()
        tiny = quantise_blocks(rows + 1e-30 * (rows == 0), element, scaling)
        assert (tiny.scales > 0).all()
        assert found.real[1, 20] == pytest.approx(-3.0, rel=0.05)
        assert np.count_nonzero(found.values) == 1
        assert found.unit[0] == 1.0
        assert (found.scales > 0).all()


def test_a_vector_too_small_for_a_scale_keeps_the_smallest() -> None:
    rows = np.concatenate([np.full((1, 16), 1.0), np.full((1, 16), 0.03)], axis=1)
    found = quantise_blocks(rows, FIXED4, vs(4, 16))
    assert found.scales.tolist() == [[15, 1]]
    assert found.values[0, 16:].tolist() == [3] * 16  # 0.03 * 105 = 3.15


@pytest.mark.parametrize("scaling", [vs(4, 16), NVFP4, WIDE], ids=lambda s: s.scale.name)
def test_a_unit_that_is_given(scaling: BlockScaling) -> None:
    random = np.random.default_rng(18)
    rows = random.normal(size=(6, 64))
    free = quantise_blocks(rows, FP4, scaling)
    same = quantise_blocks(rows, FP4, scaling, unit=free.unit)
    np.testing.assert_array_equal(same.integers, free.integers)
    loud = quantise_blocks(rows * 1e30, FP4, scaling, unit=free.unit)
    assert loud.scales.max() <= scaling.scale.high
    assert set(np.unique(np.abs(loud.values[np.abs(rows) > 0.1]))) <= {12}


def test_bits_and_signs() -> None:
    found = quantise_blocks(np.ones((1, 32)), FIXED4, vs(4, 16))
    assert found.bits == 4.25
    assert quantise_blocks(np.ones((1, 32)), FP4, NVFP4).bits == 4 + 7 / 16
    spiky = quantise_blocks(np.array([[-8.0, 7.0] * 8]), FIXED4, vs(4, 16))
    assert spiky.values.min() == -7


@pytest.mark.parametrize(
    ("value", "element", "message"),
    [
        (math.nan, FIXED4, "must be finite"),
        (math.inf, FP4, "must be finite"),
        (-1.0, Fixed(bits=4, signed=False), "there are negative values, and ufixed4 has none"),
    ],
)
def test_rows_refused(value: float, element: Format, message: str) -> None:
    with pytest.raises(CelosiaError, match=message):
        quantise_blocks(np.array([[1.0, value]]), element, vs(4, 16))


@pytest.mark.parametrize("unit", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("scaling", [vs(4, 16), WIDE], ids=lambda s: s.scale.name)
def test_unit_refused(unit: float, scaling: BlockScaling) -> None:
    with pytest.raises(ValueError, match="unit of row 1 must be a positive number, not"):
        quantise_blocks(np.ones((2, 16)), FIXED4, scaling, unit=np.array([1.0, unit]))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("scales", np.ones((1, 2), np.int64), r"scales must have the shape \(1, 1\)"),
        ("scales", np.full((1, 1), 16), "scales must be in uint4, which 16 is not"),
        ("values", np.full((1, 16), 8), "values must be in fixed4, which 8 is not"),
        ("unit", np.ones(2), r"unit must have the shape \(1,\), not \(2,\)"),
    ],
)
def test_blocks_refused(field: str, value: np.ndarray, message: str) -> None:
    fields = {
        "values": np.ones((1, 16), np.int64),
        "scales": np.ones((1, 1), np.int64),
        "unit": np.ones(1),
    }
    with pytest.raises(ValueError, match=message):
        Blocks(element=FIXED4, scaling=vs(4, 16), **{**fields, field: value})
