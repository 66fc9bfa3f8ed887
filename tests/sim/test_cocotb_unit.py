"""Processing elements under cocotb, with stalls, against the PyTorch golden model."""

import numpy as np
import pytest

from celosia.dataflow.array_shape import Circuit
from celosia.models.formats import Esb, Fixed, Pot, Sp2
from celosia.models.golden import convolve
from celosia.models.network import Conv, Requant, Window
from celosia.models.operations import DISTANCE, shift
from celosia.rtl.pe.unit import LaneShape, SignStyle, Unit
from celosia.sim.cocotb.play import play
from celosia.sim.cocotb.unit import run_unit

LANES, ROWS, SAMPLES = 8, 12, 25
BITS = 28
STALLS = (0.0, 0.3, 0.6, 0.9, 0.3, 0.6, 0.3)


def unsigned(bits: int) -> Fixed:
    return Fixed(bits=bits, signed=False)


FP4 = Esb(bits=4, linear=1)
SHAPES = [
    LaneShape(weights=Fixed(bits=4), activations=unsigned(4), circuit=Circuit.LUTS),
    LaneShape(weights=Fixed(bits=8), activations=unsigned(8)),
    LaneShape(weights=Sp2(bits=4), activations=unsigned(8)),
    LaneShape(weights=Pot(bits=4), activations=unsigned(8)),
    LaneShape(weights=FP4, activations=FP4),
    LaneShape(
        weights=Pot(bits=4), activations=unsigned(8), operation=shift(6), circuit=Circuit.LUTS
    ),
    LaneShape(weights=Fixed(bits=8), activations=Fixed(bits=8), operation=DISTANCE),
]


def golden(shape: LaneShape, weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return the dot product of each row (rows, lanes) with each sample (samples, lanes)."""
    zero, one = np.zeros(len(weights), np.int64), np.ones(len(weights), np.int64)
    conv = Conv(
        name="rows",
        input="x",
        output="y",
        window=Window(kernel=(1, 1)),
        groups=1,
        weights=weights[..., None, None],
        formats=(shape.weights,) * len(weights),
        requant=Requant(
            bias=zero, positive=one, negative=one, residual=zero, shift=zero, low=-128, high=127
        ),
        operation=shape.operation,
    )
    activations = shape.activations if isinstance(shape.activations, Fixed) else Fixed(bits=8)
    return convolve(conv, values[..., None, None], activations)[..., 0, 0]


@pytest.mark.parametrize(("shape", "stall"), [*zip(SHAPES, STALLS, strict=True)])
def test_units_add_up_what_the_golden_model_does(shape: LaneShape, stall: float) -> None:
    rng = np.random.default_rng(23)
    unit = Unit(shape=shape, lanes=LANES, accumulator_bits=BITS, sign_style=SignStyle.CARRY)
    rows = rng.choice(shape.weights.values[1:], (ROWS, LANES))
    samples = rng.choice(shape.activations.values, (SAMPLES, LANES))
    dots = golden(shape, rows, samples)
    sample, row = (grid.ravel() for grid in np.indices(dots.shape))
    clears = rng.random(len(row)) < 0.05
    totals = run_unit(
        unit,
        shape.weights.encode(rows)[row],
        shape.activations.encode(samples)[sample],
        clears,
        stall=stall,
    )
    expected, total = [], 0
    for dot, clear in zip(dots.ravel(), clears, strict=True):
        total = 0 if clear else total + int(dot)
        expected.append(total)
    np.testing.assert_array_equal(totals, expected)


def test_stall_out_of_range() -> None:
    unit = Unit(shape=SHAPES[0], lanes=2, accumulator_bits=24, sign_style=SignStyle.NAIVE)
    nothing = np.zeros((1, 2), np.int64)
    with pytest.raises(ValueError, match=r"stall must be 0 to 0.9, not 1"):
        run_unit(unit, nothing, nothing, np.zeros(1, bool), stall=1)


def test_inputs_of_different_lengths() -> None:
    ports = {"a": np.zeros((2, 1), np.uint8), "b": np.zeros((3, 1), np.uint8)}
    with pytest.raises(ValueError, match=r"the same number of cycles, not \[2, 3\]"):
        play("", "none", ports, {})
