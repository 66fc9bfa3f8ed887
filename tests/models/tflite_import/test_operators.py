"""Each TFLite operator alone: codes against TensorFlow Lite's own reference kernels."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from celosia.models.errors import CelosiaError
from celosia.models.golden import evaluate
from celosia.models.tflite_import.importer import import_tflite

from .builders import Made

SAME, VALID = 0, 1
RELU, RELU6 = 1, 3


def codes(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-127, 128, shape).astype(np.int8)


def convolved(made: Made, value: int, shape: list[int], padding: int = VALID) -> int:
    """Add a 3x3 convolution to 4 channels, by channel, with a bias."""
    inputs = made.tensors[value]["shape"][3]
    weight = made.constant(codes(4, 3, 3, inputs), np.array([3e-3, 1e-3, 4e-3, 2e-3]))
    bias = made.constant(np.array([300, -900, 0, 77], np.int32), np.full(4, 1e-4))
    options = [(0, "Int8", padding), (1, "Int32", 1), (2, "Int32", 1)]
    options += [(4, "Int32", 1), (5, "Int32", 1)]
    return made.op("CONV_2D", [value, weight, bias], shape, 0.21, -5, options)


def add(made: Made) -> None:
    other = convolved(made, made.input, [1, 6, 6, 4], SAME)
    made.op("ADD", [made.input, other], [1, 6, 6, 4], 0.17, 9)


def add_relu(made: Made) -> None:
    other = convolved(made, made.input, [1, 6, 6, 4], SAME)
    made.op("ADD", [other, made.input], [1, 6, 6, 4], 0.06, -128, [(0, "Int8", RELU)])


def pool(name: str, padding: int, size: int) -> Callable[[Made], None]:
    def build(made: Made) -> None:
        options = [(0, "Int8", padding), (1, "Int32", 2), (2, "Int32", 2)]
        options += [(3, "Int32", 3), (4, "Int32", 2)]
        made.op(name, [made.input], [1, 3, size, 4], 0.05, 3, options)

    return build


def padded(made: Made) -> None:
    sides = np.array([[0, 0], [1, 2], [0, 1], [0, 0]], np.int32)
    wide = made.op("PAD", [made.input, made.constant(sides)], [1, 9, 7, 4], 0.05, 3)
    convolved(made, wide, [1, 7, 5, 4])


def mean(keeps: bool) -> Callable[[Made], None]:
    def build(made: Made) -> None:
        axes = made.constant(np.array([1, 2], np.int32))
        shape = [1, 1, 1, 4] if keeps else [1, 4]
        made.op("MEAN", [made.input, axes], shape, 0.013, -4, [(0, "Bool", keeps)])

    return build


def depthwise(made: Made) -> None:
    weight = made.constant(codes(1, 3, 2, 4), np.array([3e-3, 1e-3, 4e-3, 2e-3]), axis=3)
    bias = made.constant(np.array([300, -900, 0, 77], np.int32), np.full(4, 1e-4))
    options = [(0, "Int8", SAME), (1, "Int32", 2), (2, "Int32", 1), (3, "Int32", 1)]
    options += [(4, "Int8", RELU6), (5, "Int32", 1), (6, "Int32", 1)]
    made.op("DEPTHWISE_CONV_2D", [made.input, weight, bias], [1, 6, 3, 4], 0.024, -128, options)


def dense(made: Made) -> None:
    shape = made.constant(np.array([1, 144], np.int32))
    flat = made.op("RESHAPE", [made.input, shape], [1, 144], 0.05, 3)
    matrix = made.constant(codes(5, 144), 7e-4)
    bias = made.constant(np.arange(5, dtype=np.int32) * 99, 3.5e-5)
    made.op("FULLY_CONNECTED", [flat, matrix, bias], [1, 5], 0.3, 11)


def joined(made: Made) -> None:
    other = convolved(made, made.input, [1, 6, 6, 4], SAME)
    other = made.op("QUANTIZE", [other], [1, 6, 6, 4], 0.05, 3)
    made.op("CONCATENATION", [made.input, other], [1, 6, 6, 8], 0.05, 3, [(0, "Int32", 3)])


@pytest.mark.parametrize(
    ("build", "exact"),
    [
        (add, False),
        (add_relu, False),
        (pool("AVERAGE_POOL_2D", VALID, 2), False),
        (pool("MAX_POOL_2D", VALID, 2), True),
        (pool("MAX_POOL_2D", SAME, 3), True),
        (padded, False),
        (mean(keeps=True), False),
        (mean(keeps=False), False),
        (depthwise, False),
        (dense, False),
        (joined, False),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_codes_are_those_of_the_reference_kernels(
    tmp_path: Path, build: Callable[[Made], None], exact: bool
) -> None:
    """At most one code apart, where real scales are rounded otherwise; maxima never."""
    runtime = pytest.importorskip("ai_edge_litert.interpreter", reason="an independent reference")
    made = Made([1, 6, 6, 4])
    build(made)
    path = made.save(tmp_path / "m.tflite")
    network = import_tflite(path).network
    reference = runtime.Interpreter(
        model_path=str(path), experimental_op_resolver_type=runtime.OpResolverType.BUILTIN_REF
    )
    reference.allocate_tensors()
    wanted, data = [], codes(12, 6, 6, 4, seed=7)
    for image in data:
        reference.set_tensor(reference.get_input_details()[0]["index"], image[None])
        reference.invoke()
        wanted.append(reference.get_tensor(reference.get_output_details()[0]["index"])[0])
    given = {network.inputs[0]: data.transpose(0, 3, 1, 2)}
    got = evaluate(network, given)[network.outputs[0]]
    expected = np.stack(wanted).astype(np.int64).reshape(12, *([1, 1] * (wanted[0].ndim == 1)), -1)
    if wanted[0].ndim == 3:
        expected = np.stack(wanted).astype(np.int64)
    error = np.abs(got - expected.transpose(0, 3, 1, 2))
    assert np.ptp(expected) > 8
    assert error.max() <= (0 if exact else 1)
    assert (error > 0).mean() <= (0 if exact else 0.03)


def other_axes(made: Made) -> None:
    axes = made.constant(np.array([3], np.int32))
    made.op("MEAN", [made.input, axes], [1, 6, 6], 0.05, 3)


def padded_channels(made: Made) -> None:
    sides = np.array([[0, 0], [0, 0], [0, 0], [0, 4]], np.int32)
    made.op("PAD", [made.input, made.constant(sides)], [1, 6, 6, 8], 0.05, 3)


def subtracted(made: Made) -> None:
    made.op("SUB", [made.input, made.input], [1, 6, 6, 4], 0.05, 3)


def signed_activation(made: Made) -> None:
    made.op("ADD", [made.input, made.input], [1, 6, 6, 4], 0.05, 3, [(0, "Int8", 5)])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (pool("AVERAGE_POOL_2D", SAME, 3), "AVERAGE_POOL_2D at t1: windows at the border average"),
        (other_axes, "MEAN at t2: it averages over other axes"),
        (padded_channels, "PAD at t2: it pads other axes"),
        (subtracted, "operator 41 at t1: it has no counterpart"),
        (signed_activation, "ADD at t1: it has activation 5"),
    ],
)
def test_refusals_name_operator_and_reason(
    tmp_path: Path, build: Callable[[Made], None], message: str
) -> None:
    made = Made([1, 6, 6, 4])
    build(made)
    with pytest.raises(CelosiaError, match=message):
        import_tflite(made.save(tmp_path / "m.tflite"))
