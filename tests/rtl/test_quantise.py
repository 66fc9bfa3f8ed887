# amaranth: UnusedElaboratable=no
"""Vectors of wide values to elements and scales, in hardware, against the model."""

from __future__ import annotations

import numpy as np
import pytest

from celosia.dataflow.microarchitecture import VECTOR_LATENCY
from celosia.models.formats import BlockScaling, Fixed, parse_scale
from celosia.models.vectors import quantise_vectors, vector_limit
from celosia.rtl import quantise
from celosia.rtl.quantise import VectorQuantiser, reciprocal

from .bench_array import simulate


@pytest.mark.parametrize("divisor", [*range(1, 40), 127, 255])
def test_reciprocals_are_exact(divisor: int) -> None:
    most = 70_000
    factor, shift = reciprocal(divisor, most)
    n = np.arange(most + 1)
    np.testing.assert_array_equal(n * factor >> shift, n // divisor)


def vectors(scaling: BlockScaling, element: Fixed, count: int) -> np.ndarray:
    """Wide values of all magnitudes, (count, vector): ends, zeros, and each value of some lane."""
    limit = vector_limit(element, scaling)
    random = np.random.default_rng(element.bits)
    low = -limit if element.signed else 0
    most = np.maximum(1, (limit * random.random(count) ** 3).astype(np.int64))[:, None]
    values = np.clip(random.integers(-limit, limit + 1, (count, scaling.vector)), -most, most)
    values[0], values[1] = 0, limit
    return np.maximum(values, low)


def outputs(scaling: BlockScaling, bits: int, count: int) -> tuple[list[np.ndarray], ...]:
    """Return what the hardware makes of vectors, unsigned and signed ones in turn, and expected."""
    wide = vector_limit(Fixed(bits=bits, signed=False), scaling).bit_length() + 1
    dut = VectorQuantiser(scaling=scaling, element_bits=bits, wide_bits=wide)
    formats = [Fixed(bits=bits, signed=signed) for signed in (False, True)]
    given = [vectors(scaling, element, count) for element in formats]
    got: list[np.ndarray] = []

    async def bench(ctx):
        for cycle in range(2 * count + VECTOR_LATENCY):
            if cycle >= VECTOR_LATENCY:
                elements = [ctx.get(element) for element in dut.elements]
                got.append(np.array([*elements, ctx.get(dut.scale)]))
            index, signed = divmod(cycle, 2)
            if index < count:
                ctx.set(dut.is_signed, signed)
                for port, value in zip(dut.values, given[signed][index], strict=True):
                    ctx.set(port, int(value))
            await ctx.tick()

    simulate(dut, bench)
    expected = []
    for index in range(2 * count):
        values, element = given[index % 2][index // 2], formats[index % 2]
        elements, scales = quantise_vectors(values[None], element, scaling)
        expected.append(np.concatenate([elements[0], scales[0]]))
    return got, expected


CASES = [("uint4", 4, 4), ("uint8", 8, 4), ("uint6", 6, 16), ("e8m0_3", 4, 4), ("e8m0_4", 8, 5)]


@pytest.mark.parametrize(("scale", "bits", "vector"), CASES)
def test_vectors(scale: str, bits: int, vector: int) -> None:
    """Vectors follow each other in every cycle, and kinds of elements with them."""
    scaling = BlockScaling(scale=parse_scale(scale), vector=vector)
    got, expected = outputs(scaling, bits, 150)
    np.testing.assert_array_equal(got, expected)


def test_a_wrong_reciprocal_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def rounded_down(divisor: int, most: int) -> tuple[int, int]:
        factor, shift = reciprocal(divisor, most)
        return factor - 1, shift

    monkeypatch.setattr(quantise, "reciprocal", rounded_down)
    got, expected = outputs(BlockScaling(scale=parse_scale("uint4"), vector=4), 4, 150)
    assert not np.array_equal(got, expected)


def test_scales_wrong() -> None:
    with pytest.raises(ValueError, match="integer or power-of-two scales, not ue4m3"):
        VectorQuantiser(
            scaling=BlockScaling(scale=parse_scale("ue4m3"), vector=4), element_bits=4, wide_bits=9
        )
