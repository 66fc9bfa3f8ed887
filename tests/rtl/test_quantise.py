# amaranth: UnusedElaboratable=no
"""Vectors of wide values to elements and scales, in hardware, against the model.

Compiled: all pairs of values and largest values of small formats, and of the others every value at
which something changes, and 100,000 random vectors. Broken copies run beside each unit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from amaranth.hdl import Const, Module, Value

from celosia.dataflow.microarchitecture import QuantiserStages
from celosia.models.formats import (
    BlockScaling,
    Element,
    Fixed,
    ScaleFormat,
    element_formats,
    parse_scale,
)
from celosia.models.recipe import parse_elements
from celosia.models.vectors import quantise_vectors, vector_limit
from celosia.rtl import quantise
from celosia.rtl.quantise import Quotient, VectorQuantiser, reciprocal

from .compiled import Compiled, Mutation, mutants, numbers, packed

SEED = 61
COUNT = 100_000
"""Random vectors of a case."""


@pytest.mark.parametrize("divisor", [*range(1, 40), 127, 255])
def test_reciprocals_are_exact(divisor: int) -> None:
    """Quotients, and what tells that nothing was lost."""
    most = 70_000
    factor, shift = reciprocal(divisor, most)
    n = np.arange(most + 1)
    np.testing.assert_array_equal(n * factor >> shift, n // divisor)
    rest = (n * factor & (1 << shift) - 1) >> most.bit_length()
    np.testing.assert_array_equal(rest != 0, n % divisor != 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What a quantiser is made for."""

    scaling: BlockScaling
    elements: Element

    @property
    def formats(self) -> tuple[Element, ...]:
        return element_formats(self.elements)

    @property
    def wide_bits(self) -> int:
        return vector_limit(self.formats[0], self.scaling).bit_length() + 1

    def unit(self) -> VectorQuantiser:
        return VectorQuantiser(
            scaling=self.scaling, elements=self.elements, wide_bits=self.wide_bits
        )


def case(scale: str, elements: str, vector: int = 4) -> Case:
    return Case(
        scaling=BlockScaling(scale=parse_scale(scale), vector=vector),
        elements=parse_elements(elements),
    )


def edges(of: Case, element: Element) -> np.ndarray:
    """Values next to where a scale of some vector ends, or an element of any scale, ascending."""
    scales = of.scaling.scale.values
    scales = scales[(scales > 0) & (scales <= of.scaling.scale.top)]
    levels = element.values[(element.values >= 0) & (element.values <= element.high)]
    halves = np.concatenate([levels[1:] + levels[:-1], 2 * levels])
    ends = [(scales[:, None] * halves // 2).ravel()]
    ends += [scales * element.high, (scales[1:] + scales[:-1]) * element.high // 2]
    near = np.concatenate(ends)[:, None] + np.arange(-1, 3)
    limit = vector_limit(element, of.scaling)
    return np.unique(np.clip(near, 0, limit))


def vectors(of: Case, element: Element, count: int) -> np.ndarray:
    """Wide values (N, vector): all edges beside larger values, then ``count`` random vectors."""
    limit = vector_limit(element, of.scaling)
    random = np.random.default_rng(SEED)
    shape = (count, of.scaling.vector)
    most = np.exp2(random.uniform(0, np.log2(limit + 0.9), (count, 1)))
    values = np.rint(random.uniform(-1, 1, shape) * most).astype(np.int64)
    few = edges(of, element)
    rows = np.zeros((3 * len(few), of.scaling.vector), np.int64)
    rows[:, 0] = np.tile(few, 3)
    # Alone; as the smaller ones; below the next larger edges.
    rows[len(few) :, 1] = np.concatenate([few[-1:].repeat(len(few)), np.roll(few, -1)])
    rows[2 * len(few) :, 2] = -np.roll(few, 1)
    both = np.concatenate([rows, np.clip(values, -limit, limit)])
    return both if element.signed else np.abs(both)


def pairs(of: Case, element: Element) -> np.ndarray:
    """Every largest value with every value up to it, of both signs where there are two."""
    limit = vector_limit(element, of.scaling)
    lanes = of.scaling.vector - 1
    rows = []
    for most in range(limit + 1):
        others = np.arange(-most if element.signed else 0, most + 1)
        padded = np.zeros((-(-len(others) // lanes), lanes), np.int64)
        padded.ravel()[: len(others)] = others
        rows.append(np.insert(padded, 0, most, axis=1))
    return np.concatenate(rows)


def check(
    of: Case,
    make: Callable[[Case, Element], np.ndarray],
    mutations: list[Mutation],
) -> int:
    """Play vectors of all kinds in turn; the good unit is right, no other is. Return how many."""
    print("seed", SEED)
    given = [make(of, element) for element in of.formats]
    steps = max(len(values) for values in given)
    values = np.stack([np.resize(rows, (steps, rows.shape[1])) for rows in given], axis=1)
    kinds = np.tile(np.arange(len(of.formats)), steps)
    expected = np.zeros((steps, len(of.formats), of.scaling.vector + 1), np.int64)
    for kind, element in enumerate(of.formats):
        found, scales = quantise_vectors(values[:, kind], element, of.scaling)
        codes = found if isinstance(element, Fixed) else element.encode(found)
        expected[:, kind] = np.concatenate([codes, scales], axis=1)
    latency = QuantiserStages.of(of.scaling, of.elements).latency
    flat = np.pad(values.reshape(-1, of.scaling.vector), ((0, latency), (0, 0)))
    inputs = {
        f"values_{lane}": packed(flat[:, lane, None], of.wide_bits)
        for lane in range(of.scaling.vector)
    }
    inputs["is_signed"] = packed(np.pad(kinds, (0, latency))[:, None], 1)
    outputs = Compiled(mutants(of.unit, mutations)).play(inputs)
    wanted = expected.reshape(-1, of.scaling.vector + 1)
    for name in ("good", *(mutation.name for mutation in mutations)):
        lanes = [
            numbers(outputs[f"{name}_elements_{lane}"], of.elements.bits + 1)
            for lane in range(of.scaling.vector)
        ]
        scale = outputs[f"{name}_scale"][:, 0].astype(np.int64)
        got = np.stack([*lanes, scale], axis=1)[latency:]
        assert np.array_equal(got, wanted) == (name == "good"), name
    return len(wanted)


def broken(of: Case) -> list[Mutation]:
    """A scale one too large, a lost remainder that does not count, a constant of a reciprocal."""
    whole, factor = VectorQuantiser._element, VectorQuantiser._factor
    nearest, divided = quantise._float_code, quantise.reciprocal

    def exact(m: Module, fmt: Element, found: Quotient, sign: Value, name: str) -> Value:
        return whole(m, fmt, replace(found, inexact=Const(0, 1)), sign, name)

    def code(m: Module, most: Value, high: int, name: str) -> Value:
        return nearest(m, most, high + 1, name)

    def down(divisor: int, most: int) -> tuple[int, int]:
        found, shift = divided(divisor, most)
        return found - 1, shift

    found = [
        Mutation(
            name="inexact", owner=VectorQuantiser, attribute="_element", broken=staticmethod(exact)
        )
    ]
    match of.scaling.scale.name:
        case "ue4m3":
            found.append(
                Mutation(name="code", owner=quantise, attribute="_float_code", broken=code)
            )
        case "e8m0_3" | "e8m0_4":
            counted = quantise._counted

            def fewer(m: Module, flags: list[Value], name: str) -> Value:
                return counted(m, flags[:-1], name)

            found.append(
                Mutation(name="binade", owner=quantise, attribute="_counted", broken=fewer)
            )
        case _:
            found.append(
                Mutation(name="scale", owner=quantise, attribute="reciprocal", broken=down)
            )
    if not of.scaling.scale.name.startswith("e8m0"):

        def less(self: Any, index: Value) -> Value:
            return (factor(self, index) - 1)[: len(factor(self, index))]

        found.append(
            Mutation(name="factor", owner=VectorQuantiser, attribute="_factor", broken=less)
        )
    return found


CASES = [
    case("uint4", "ufixed4"), case("uint6", "fixed6", 16), case("e8m0_4", "fixed8", 5),
    case("e8m0_4", "esb4_1", 16), case("e8m0_4", "esb6_2"), case("ue4m3", "esb4_1", 16),
]  # fmt: skip
MORE = [
    case("uint8", "ufixed8"), case("uint4", "uesb4_1"), case("e8m0_3", "ufixed4"),
    case("e8m0_4", "esb6_3"), case("ue4m3", "ufixed4"), case("ue4m3", "uesb4_0"),
]  # fmt: skip


def name_of(of: Case) -> str:
    return f"{of.elements.name} {of.scaling.scale.name}"


@pytest.mark.parametrize("of", CASES, ids=name_of)
def test_vectors(of: Case) -> None:
    """Vectors follow each other in every cycle, and kinds of elements with them."""
    steps = check(of, lambda of, element: vectors(of, element, COUNT), broken(of))
    assert steps > COUNT


@pytest.mark.campaign
@pytest.mark.parametrize("of", MORE, ids=name_of)
def test_more_vectors(of: Case) -> None:
    steps = check(of, lambda of, element: vectors(of, element, COUNT), broken(of))
    assert steps > COUNT


@pytest.mark.parametrize(
    "of",
    [case("uint4", "ufixed4", 16), case("e8m0_2", "esb4_1", 16), case("e8m0_2", "ufixed4", 16)],
    ids=name_of,
)
def test_every_value_beside_every_larger_one(of: Case) -> None:
    check(of, pairs, [])


@pytest.mark.campaign
def test_every_largest_value_of_nvfp4() -> None:
    """All 2.75 million: each makes its scale, and is an element of it."""
    of = case("ue4m3", "esb4_1")

    def all_of(of: Case, element: Element) -> np.ndarray:
        values = np.zeros((vector_limit(element, of.scaling) + 1, 4), np.int64)
        values[:, 1] = np.arange(len(values))
        values[:, 2] = -values[:, 1] // 3
        return values

    assert check(of, all_of, []) == 12 * (14 << 14) + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class _Other(ScaleFormat):
    name = "other4"

    def decode_table(self) -> np.ndarray:
        return np.arange(16)


def test_scales_wrong() -> None:
    with pytest.raises(ValueError, match="no unit makes scales of other4 for activations"):
        VectorQuantiser(
            scaling=BlockScaling(scale=_Other(bits=4), vector=4),
            elements=Fixed(bits=4),
            wide_bits=9,
        )
