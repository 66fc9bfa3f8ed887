"""Scale formats: against the papers and ml_dtypes; the product of two; refusals."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from celosia.models.formats import (
    E8M0,
    UE4M3,
    BlockScaling,
    Fixed,
    IntScale,
    ScaleFormat,
    parse_scale,
)

ALL = (
    *(IntScale(bits=bits) for bits in range(1, 9)),
    *(E8M0(bits=bits) for bits in range(1, 6)),
    UE4M3(),
)


@pytest.mark.parametrize("scale", ALL, ids=lambda scale: scale.name)
def test_codes_and_names(scale: ScaleFormat) -> None:
    assert parse_scale(scale.name) == scale
    codes = np.arange(1 << scale.bits)
    np.testing.assert_array_equal(scale.encode(scale.decode(codes)), codes)
    assert scale.low >= 0


def test_values() -> None:
    assert IntScale(bits=4).values.tolist() == list(range(16))
    assert E8M0(bits=3).values.tolist() == [1, 2, 4, 8, 16, 32, 64, 128]
    assert UE4M3().values[:12].tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]


def test_ue4m3_is_e4m3_in_its_smallest_steps() -> None:
    codes = np.arange(127, dtype=np.uint8)
    theirs = codes.view(ml_dtypes.float8_e4m3fn).astype(np.float64)
    np.testing.assert_array_equal(UE4M3().decode(codes) / 2**9, theirs)


def test_e8m0_is_a_window_of_ocp() -> None:
    codes = np.arange(32, dtype=np.uint8)
    theirs = (codes + 100).astype(np.uint8).view(ml_dtypes.float8_e8m0fnu).astype(np.float64)
    np.testing.assert_array_equal(E8M0(bits=5).decode(codes) * 2.0 ** (100 - 127), theirs)


def test_products_of_scales() -> None:
    weights, activations = np.array([15, 3, 15, 0]), np.array([15, 6, 7, 9])
    whole = BlockScaling(scale=IntScale(bits=4), vector=16)
    assert whole.product(weights, activations).tolist() == [225, 18, 105, 0]
    rounded = BlockScaling(scale=IntScale(bits=4), vector=16, product_bits=4)
    assert rounded.dropped_bits == 4
    assert rounded.product(weights, activations).tolist() == [14, 1, 7, 0]
    assert rounded.product(np.array([8]), np.array([1])).tolist() == [1]  # a half goes up


@pytest.mark.parametrize(
    ("fields", "kind", "message"),
    [
        ({"scale": Fixed(bits=4)}, TypeError, "scale must be a ScaleFormat, not Fixed"),
        ({"vector": 3}, ValueError, r"vector must be in 4\.\.64, not 3"),
        ({"vector": 16.0}, TypeError, r"vector must be an integer, not 16\.0"),
        ({"product_bits": 9}, ValueError, r"product_bits must be in 1\.\.8, not 9"),
        ({"scale": UE4M3(), "product_bits": 4}, ValueError, "product_bits must be None for ue4m3"),
    ],
)
def test_block_scaling_wrong(
    fields: dict[str, object], kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message):
        BlockScaling(**{"scale": IntScale(bits=4), "vector": 16, **fields})


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("uint9", "1 to 8 bits, not 9"),
        ("e8m0_6", "keeps 1 to 5 bits, not 6"),
        ("e8m0", r"unknown scale format 'e8m0': known are uintN \(N = 1\.\.8\), e8m0_N"),
    ],
)
def test_unknown_scale(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_scale(name)


def test_ue4m3_has_seven_bits() -> None:
    with pytest.raises(ValueError, match="7 bits, not 8"):
        UE4M3(bits=8)
