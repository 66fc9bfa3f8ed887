# amaranth: UnusedElaboratable=no
"""Columns of every kind and what follows them, in cocotb, against the PyTorch golden model.

All of them side by side in one module, each with operands and stalls of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from celosia.dataflow.array_shape import Circuit
from celosia.dataflow.microarchitecture import REQUANT_LATENCY, QuantiserStages
from celosia.models.formats import (
    E8M0,
    UE4M3,
    BlockScaling,
    Esb,
    Fixed,
    IntScale,
    Pot,
    Sp2,
    parse_scale,
)
from celosia.models.golden import convolve
from celosia.models.network import Conv, Requant, Rounding, WeightScales, Window
from celosia.models.operations import DISTANCE, shift
from celosia.models.requantise import requantise
from celosia.models.vectors import quantise_vectors, vector_limit
from celosia.rtl import requant as hardware
from celosia.rtl.column import Base
from celosia.rtl.dot import LaneDot
from celosia.rtl.dsp_dot import DspDot
from celosia.rtl.quantise import VectorQuantiser
from celosia.sim.cocotb.play import play

from .column_case import Case
from .column_drive import ColumnDrive, Vectors, struct
from .compiled import TOP, Mutation, Part, mutants, numbers, packed, side_by_side

SEED = 47
STEPS, ROWS, SAMPLES = 120, 6, 9
UFIXED4 = Fixed(bits=4, signed=False)


def dsp(bits: int, activation_bits: int, columns: int, pixels: int) -> Case:
    return Case(
        weights=Fixed(bits=bits), bits=activation_bits, circuit=Circuit.DSP, lanes=5,
        columns=columns, pixels=pixels,
    )  # fmt: skip


def vectors_of(weights: Any, scaling: BlockScaling) -> Case:
    return Case(weights=weights, bits=4, lanes=8, scaling=scaling)


COLUMNS = {
    "inferred": Case(weights=Fixed(bits=8), bits=8, lanes=5),
    "luts": Case(weights=Fixed(bits=4), bits=4, lanes=4, circuit=Circuit.LUTS),
    "dsp_x4": dsp(4, 4, 2, 2),
    "sp2": Case(weights=Sp2(bits=4), bits=8, lanes=4, pixels=2),
    "pot": Case(weights=Pot(bits=4), bits=8, lanes=4),
    "esb": Case(weights=Esb(bits=4, linear=1), bits=6, lanes=4),
    "distance": Case(weights=Fixed(bits=8), bits=8, lanes=4, operation=DISTANCE),
    "shift": Case(weights=Pot(bits=5), bits=8, lanes=4, operation=shift(6)),
    "vs_quant": vectors_of(
        Fixed(bits=4), BlockScaling(scale=IntScale(bits=4), vector=4, product_bits=6)
    ),
}
MORE = {
    "dsp_w8a8": dsp(8, 8, 1, 2),
    "dsp_cascade_3": dsp(4, 4, 1, 3),
    "dsp_cascade_2": dsp(4, 4, 1, 2),
    "sp2_luts": Case(weights=Sp2(bits=6), bits=4, lanes=4, circuit=Circuit.LUTS),
    "esb_wide": Case(weights=Esb(bits=6, linear=2), bits=8, lanes=4),
    "mxfp4": vectors_of(Esb(bits=4, linear=1), BlockScaling(scale=E8M0(bits=3), vector=8)),
    "nvfp4": vectors_of(Esb(bits=4, linear=1), BlockScaling(scale=UE4M3(), vector=8)),
}


def golden(case: Case, rng: np.random.Generator) -> Vectors:
    """Rows and samples as a layer of the golden model has them, paired at random."""
    weights = rng.choice(case.operation.weights(case.weights), (ROWS, case.lanes))
    half = 1 << case.bits - 1
    samples = rng.integers(0, 2 * half, (SAMPLES, case.lanes))
    samples -= np.where(np.arange(SAMPLES) % 2, half, 0)[:, None]
    nothing, one = np.zeros(ROWS, np.int64), np.ones(ROWS, np.int64)
    scales, given, scaling = None, None, case.scaling
    if scaling is not None:
        shape = (ROWS + SAMPLES, case.lanes // scaling.vector)
        codes = rng.integers(0, len(scaling.scale.decode_table()), shape)
        values = np.maximum(scaling.scale.decode(codes[:ROWS]), 1)
        scales = WeightScales(scaling=scaling, values=values[..., None, None])
        given = codes[ROWS:, :, None, None]
    conv = Conv(
        name="rows", input="x", output="y", window=Window(kernel=(1, 1)), groups=1,
        weights=weights[..., None, None], formats=(case.weights,) * ROWS, scales=scales,
        requant=Requant(
            bias=nothing, positive=one, negative=one, residual=nothing, shift=nothing,
            low=-128, high=127,
        ),
        operation=case.operation,
    )  # fmt: skip
    activation = Fixed(bits=case.bits + 1)
    dots = convolve(conv, samples[..., None, None], activation, scaling, given)[..., 0, 0]
    row = rng.integers(0, ROWS, (STEPS, case.columns))
    sample = rng.integers(0, SAMPLES, (STEPS, case.pixels))
    bases = rng.choice([base.value for base in Base], STEPS, p=[0.2, 0.4, 0.2, 0.2])
    bases[:8] = Base.ZERO.value
    return Vectors(
        weights=case.weights.encode(weights)[row],
        activations=samples[sample],
        dots=dots[sample[:, None, :], row[:, :, None]],
        bases=bases,
        gaps=case.pixels + rng.geometric(0.6, STEPS) - 1,
        scales=()
        if scaling is None
        else (codes[:ROWS][row[:, 0]], codes[ROWS:][sample], np.ones(STEPS, np.int64)),
    )  # fmt: skip


def side(parts: list[Part], inputs: list[Mapping[str, np.ndarray]]) -> list[dict[str, np.ndarray]]:
    """Play each part's inputs, all at once; return the outputs of each."""
    verilog, given, got = side_by_side(parts)
    cycles = max(len(words) for ports in inputs for words in ports.values())
    padded = {
        part.outside(port, True): np.pad(words, ((0, cycles - len(words)), (0, 0)))
        for part, ports in zip(parts, inputs, strict=True)
        for port, words in ports.items()
    }
    assert set(padded) == set(given)
    outputs = play(verilog, TOP, padded, got)
    return [
        {port: outputs[part.outside(port, False)] for port, _, is_in in part.ports if not is_in}
        for part in parts
    ]


def check_columns(cases: Mapping[str, Case], broken: str, mutation: Mutation) -> None:
    """Every column is right, and a copy of ``broken`` with ``mutation`` is not."""
    print("seed", SEED)
    rng = np.random.default_rng(SEED)
    parts = [
        Part.of(case.column(), inputs=f"{name}_", outputs=f"{name}_")
        for name, case in cases.items()
    ]
    _, copy = mutants(cases[broken].column, [mutation])
    parts.append(replace(copy, inputs=f"{broken}_"))
    drives = [ColumnDrive(case.column(), case.shape, case.scaling) for case in cases.values()]
    vectors = [golden(case, rng) for case in cases.values()]
    inputs = [drive.inputs(each, rng) for drive, each in zip(drives, vectors, strict=True)]
    inputs.append({})
    for n, (part, outputs) in enumerate(zip(parts, side(parts, inputs), strict=True)):
        which = list(cases).index(broken) if n == len(cases) else n
        drive, each = drives[which], vectors[which]
        read = list(outputs.values())
        same = np.array_equal(drive.drained(each, read), drive.totals(each))
        assert same == (n < len(cases)), part.outputs


def test_columns() -> None:
    """Fixed point in three circuits, every other element, vectors, distances and shifts."""
    nothing = property(lambda _: 0)
    check_columns(
        COLUMNS,
        "dsp_x4",
        Mutation(name="offset", owner=DspDot, attribute="offset", broken=nothing),
    )


@pytest.mark.campaign
def test_more_columns() -> None:
    none = staticmethod(lambda *_: None)
    check_columns(
        MORE,
        "esb_wide",
        Mutation(name="carry", owner=LaneDot, attribute="_owed", broken=none),
    )


def quantiser_inputs(
    part: VectorQuantiser, scaling: BlockScaling, bits: int, rng: np.random.Generator
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Wide values of vectors, signed or not, and their elements and scales."""
    signs = rng.integers(0, 2, STEPS)
    expected, values = [], np.zeros((STEPS, scaling.vector), np.int64)
    for is_signed in (0, 1):
        element = Fixed(bits=bits, signed=bool(is_signed))
        limit = vector_limit(element, scaling)
        most = np.maximum(1, (limit * rng.random((STEPS, 1)) ** 2).astype(np.int64))
        wide = rng.integers(-most if is_signed else 0, most + 1, (STEPS, scaling.vector))
        elements, scales = quantise_vectors(wide, element, scaling)
        expected.append(np.concatenate([elements, scales], axis=1))
        values = np.where(signs[:, None] == is_signed, wide, values)
    ports = {
        f"values_{n}": packed(values[:, n : n + 1], len(part.values[0]))
        for n in range(scaling.vector)
    }
    return ports | {"is_signed": packed(signs[:, None], 1)}, np.where(
        signs[:, None] == 1, expected[1], expected[0]
    )


def requant_inputs(
    part: hardware.Requant, rng: np.random.Generator
) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Accumulators with constants of their own, and their codes."""
    bits, code_bits = part.accumulator_bits, part.code_bits
    layout = hardware.constants_layout(bits)
    widths = [field.width for _, field in iter(layout)]
    accumulators = rng.integers(-(1 << bits - 2), 1 << bits - 2, STEPS)
    low, high = -(1 << code_bits - 1), (1 << code_bits - 1) - 1
    residual = rng.integers(low, high + 1, STEPS)
    constants = [rng.integers(-(1 << w - 1), 1 << w - 1, STEPS) for w in widths[:-1]]
    constants[0] >>= 2
    constants.append(rng.integers(0, 41, STEPS))
    names = [name for name, _ in iter(layout)]
    ends = np.stack([np.array([low, high]), np.array([0, high // 2])])
    which, rounding = rng.integers(0, 2, STEPS), rng.integers(0, 2, STEPS)
    codes = np.zeros(STEPS, np.int64)
    for index, way in np.ndindex(2, 2):
        requant = Requant(
            **dict(zip(names, constants, strict=True)),
            low=int(ends[index, 0]), high=int(ends[index, 1]), rounding=Rounding(way),
        )  # fmt: skip
        made = requantise(accumulators[None], requant, residual[None])[0]
        codes = np.where((which == index) & (rounding == way), made, codes)

    def late(values: np.ndarray, width: int, cycles: int) -> np.ndarray:
        return np.pad(packed(values[:, None], width), ((cycles, 0), (0, 0)))

    return {
        "accumulator": late(accumulators, bits, 0),
        "constants": struct(layout, np.stack(constants, axis=1)),
        "residual": late(residual, code_bits, 0),
        "rounding": late(rounding, 1, 6),
        "low": late(ends[which, 0], code_bits, 7),
        "high": late(ends[which, 1], code_bits, 7),
    }, codes


def test_post_processing() -> None:
    """Requantised accumulators, and vectors of wide values with integer and power-of-two scales."""
    print("seed", SEED)
    rng = np.random.default_rng(SEED)
    lanes = [
        hardware.Requant(accumulator_bits=bits, code_bits=wide)
        for bits, wide in ((20, 9), (32, 13))
    ]
    post = [requant_inputs(lane, rng) for lane in lanes]
    scalings = [BlockScaling(scale=parse_scale(name), vector=4) for name in ("uint4", "e8m0_3")]
    units = []
    for scaling in scalings:
        wide = vector_limit(UFIXED4, scaling).bit_length() + 1
        units.append(VectorQuantiser(scaling=scaling, elements=UFIXED4, wide_bits=wide))
    quantised = [
        quantiser_inputs(unit, scaling, 4, rng)
        for unit, scaling in zip(units, scalings, strict=True)
    ]
    parts = [
        Part.of(component, inputs=f"p{n}_", outputs=f"p{n}_")
        for n, component in enumerate([*lanes, *units])
    ]
    inputs = [ports for ports, _ in (*post, *quantised)]
    idle = [{name: np.pad(w, ((0, 8), (0, 0))) for name, w in ports.items()} for ports in inputs]
    outputs = side(parts, idle)
    for lane, (_, codes), got in zip(lanes, post, outputs[:2], strict=True):
        read = numbers(got["code"], lane.code_bits)[REQUANT_LATENCY:][:STEPS]
        np.testing.assert_array_equal(read, codes)
    for unit, scaling, (_, expected), got in zip(
        units, scalings, quantised, outputs[2:], strict=True
    ):
        names = [f"elements_{n}" for n in range(scaling.vector)]
        read = np.stack([numbers(got[name], len(unit.elements[0])) for name in names], axis=1)
        scales = got["scale"][:, 0].astype(np.int64)[:, None]
        made = np.concatenate([read, scales], axis=1)[
            QuantiserStages.of(scaling, UFIXED4).latency :
        ][:STEPS]
        np.testing.assert_array_equal(made, expected)
