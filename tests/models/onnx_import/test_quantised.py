"""Quantised ONNX models: codes of the imported network against onnxruntime's and qonnx's."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from celosia.models.errors import CelosiaError
from celosia.models.golden import evaluate
from celosia.models.inputs import dequantise, quantise_inputs
from celosia.models.integer.grids import Imported
from celosia.models.onnx_import.importer import import_onnx, import_quantised_onnx

from .builders import MICROSOFT, QONNX, Made, run


def images(made: Made, samples: int = 4, seed: int = 3) -> np.ndarray:
    shape = [size.dim_value for size in made.inputs[0].type.tensor_type.shape.dim]
    return np.random.default_rng(seed).normal(0.2, 1, (samples, *shape[1:])).astype(np.float32)


def codes(low: int, high: int, *shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(low, high, shape)


def imported(made: Made, path: Path, *outputs: str, **more: Any) -> Imported:
    return import_quantised_onnx(made.save(path / "m.onnx", *outputs, **more))


def differing(made: Made, found: Imported, *, opset: int = 13, optimised: bool = False) -> dict:
    """Return for each quantised tensor how many values differ from onnxruntime's, and by what."""
    network, x = found.network, images(made)
    got = evaluate(network, quantise_inputs(network, x))
    makers = {name: node for node in made.nodes for name in node.output}
    names = [name for name, node in makers.items() if name in got and node.op_type.startswith("Q")]
    if optimised:
        names = [name for name in names if name in network.outputs]
    model = made.model(*names, opset=opset)
    for info in model.graph.output:
        signed = network.tensor(info.name).format.signed
        info.type.tensor_type.elem_type = TensorProto.INT8 if signed else TensorProto.UINT8
    result = {}
    for name, wanted in zip(names, run(model, {"x": x}, optimised=optimised), strict=True):
        error = np.abs(got[name].reshape(wanted.shape) - wanted.astype(np.int64))
        result[name] = int((error > 0).sum()), int(error.max()), error.size
    return result


def residual_net(scales: dict[str, float], zero: int, kind: type, seed: int = 0) -> Made:
    """Return a convolution, a depthwise one, their sum, pooling and a linear layer, in codes."""
    made = Made((1, 3, 8, 8))
    rows = 2.0 ** np.random.default_rng(seed).integers(-9, -6, 8)
    rows = rows * scales["weights"]
    x = made.coded("x", scales["x"], zero, kind)
    bias = made.weights(codes(-900, 900, 8), scales["x"] * rows, np.int32)
    weight = made.weights(codes(-127, 128, 8, 3, 3, 3, seed=seed), rows)
    value = made.node("Conv", x, weight, bias, pads=[1, 1, 1, 1], strides=[1, 1])
    low = 128 if kind is np.int8 else 0
    a = made.coded(made.node("Relu", value), scales["a"], -low, kind)
    weight = made.weights(codes(-127, 128, 8, 1, 3, 3, seed=seed + 1), scales["weights"] / 64)
    value = made.node("Conv", a, weight, group=8, pads=[1, 1, 1, 1])
    b = made.coded(value, scales["b"], zero, kind)
    c = made.coded(made.node("Add", a, b), scales["c"], zero, kind)
    pooled = made.node("MaxPool", c, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    d = made.coded(made.node("GlobalAveragePool", pooled), scales["d"], zero, kind)
    weight = made.weights(codes(-127, 128, 10, 8, seed=seed + 2), scales["weights"] / 64)
    flat = made.node("Flatten", d)
    made.node("QuantizeLinear", made.node("Gemm", flat, weight, transB=1), *made.scalar(
        scales["y"], zero, kind))  # fmt: skip
    return made


POWERS = {
    "x": 1 / 32,
    "weights": 1.0,
    "a": 1 / 64,
    "b": 1 / 32,
    "c": 1 / 16,
    "d": 1 / 32,
    "y": 0.125,
}
REAL = {"x": 0.031, "weights": 0.93, "a": 0.0147, "b": 0.033, "c": 0.047, "d": 0.021, "y": 0.117}


@pytest.mark.parametrize("kind", [np.uint8, np.int8])
@pytest.mark.parametrize("zero", [0, 36])
def test_scales_of_powers_of_two_are_exact(tmp_path: Path, kind: type, zero: int) -> None:
    made = residual_net(POWERS, zero, kind)
    found = imported(made, tmp_path, made.nodes[-1].output[0])
    assert all(item.exact for item in found.agreements), [str(i) for i in found.agreements]
    wrong = differing(made, found)
    assert len(wrong) == 5
    assert not any(count for count, _, _ in wrong.values()), wrong


def test_halves_round_an_odd_zero_point_otherwise_and_that_is_counted(tmp_path: Path) -> None:
    """ONNX rounds halves to even before it adds the zero point, hardware after it."""
    made = residual_net(POWERS, 37, np.uint8)
    found = imported(made, tmp_path, made.nodes[-1].output[0])
    inexact = [item for item in found.agreements if not item.exact]
    assert inexact
    assert all((item.differ or 0) < 2e-3 * item.count for item in inexact)
    wrong = differing(made, found)
    assert any(count for count, _, _ in wrong.values()), wrong
    assert max(most for _, most, _ in wrong.values()) <= 1, wrong


@pytest.mark.parametrize("kind", [np.uint8, np.int8])
@pytest.mark.parametrize("optimised", [False, True])
def test_other_scales_differ_as_seldom_as_is_said(
    tmp_path: Path, kind: type, optimised: bool
) -> None:
    made = residual_net(REAL, 41, kind)
    found = imported(made, tmp_path, made.nodes[-1].output[0])
    for item in found.agreements:
        assert item.margin < 0.005, str(item)
        if item.differ is not None:
            assert item.differ < 1e-3 * item.count
    wrong = differing(made, found, optimised=optimised)
    count = sum(number for number, _, _ in wrong.values())
    size = sum(number for _, _, number in wrong.values())
    # An error of one code goes on to what reads it.
    assert count <= max(0.02 * size, 2), wrong
    assert max(most for _, most, _ in wrong.values()) <= 2, wrong


def test_a_wrong_constant_would_be_seen(tmp_path: Path) -> None:
    made = residual_net(REAL, 41, np.uint8)
    found = imported(made, tmp_path, made.nodes[-1].output[0])
    bias = next(item for item in made.constants if item.data_type == TensorProto.INT32)
    bias.raw_data = (np.frombuffer(bias.raw_data, np.int32) + 200).tobytes()
    wrong = differing(made, found)
    assert sum(count for count, _, _ in wrong.values()) > 200


@pytest.mark.parametrize("zero", [0, 100])
def test_integer_convolutions_and_qlinear(tmp_path: Path, zero: int) -> None:
    made = Made((1, 3, 6, 6))
    grid = made.scalar(2.0**-5, zero, np.uint8)
    x = made.node("QuantizeLinear", "x", *grid)
    weight = made.const(codes(-100, 100, 4, 3, 3, 3), np.int8)
    rows = made.const([2.0**-7, 2.0**-8, 2.0**-7, 2.0**-6])
    middle = made.scalar(2.0**-3, 6, np.uint8)
    bias = made.const(codes(-50, 50, 4), np.int32)
    y = made.node(
        "QLinearConv", x, *grid, weight, rows, made.const([0] * 4, np.int8), *middle, bias,
        pads=[1, 1, 1, 1],
    )  # fmt: skip
    y = made.node("MaxPool", y, kernel_shape=[2, 2], strides=[2, 2])
    y = made.node("Reshape", y, made.const([1, -1], np.int64))
    matrix = made.const(codes(-128, 128, 36, 5), np.int8)
    out = made.scalar(2.0**-1, 128, np.uint8)
    y = made.node(
        "QLinearMatMul", y, *middle, matrix, made.const(2.0**-6), made.const(0, np.int8), *out
    )
    found = imported(made, tmp_path, y, kind=TensorProto.UINT8)
    assert all(item.exact for item in found.agreements), [str(i) for i in found.agreements]
    wrong = differing(made, found)
    assert wrong
    assert not any(count for count, _, _ in wrong.values()), wrong


def test_convinteger_with_a_scale_behind_it(tmp_path: Path) -> None:
    made = Made((1, 3, 6, 6))
    x = made.node("QuantizeLinear", "x", *made.scalar(2.0**-4, 11, np.uint8))
    weight = made.const(codes(0, 256, 4, 3, 3, 3), np.uint8)
    zeros = made.const(11, np.uint8), made.const(128, np.uint8)
    y = made.node("ConvInteger", x, weight, *zeros, pads=[1, 1, 1, 1])
    y = made.node("Mul", made.node("Cast", y, to=1), made.const(2.0**-10))
    y = made.node("QuantizeLinear", y, *made.scalar(1.0, 0, np.int8))
    found = imported(made, tmp_path, y, kind=TensorProto.INT8)
    assert found.agreements[0].exact
    assert not any(count for count, _, _ in differing(made, found).values())


def test_concatenations_get_the_codes_of_what_reads_them(tmp_path: Path) -> None:
    made = Made((1, 3, 6, 6))
    x = made.coded("x", 2.0**-5, 0, np.int8)
    parts = [
        made.coded(
            made.node("Conv", x, made.weights(codes(-9, 9, 4, 3, 1, 1, seed=seed), 0.125)),
            2.0**-seed, 0, np.int8,
        )
        for seed in (4, 3)
    ]  # fmt: skip
    y = made.node("Concat", *parts, axis=1)
    y = made.node("QuantizeLinear", y, *made.scalar(2.0**-3, 0, np.int8))
    found = imported(made, tmp_path, y, kind=TensorProto.INT8)
    assert not any(count for count, _, _ in differing(made, found).values())
    assert found.network.tensor(found.network.outputs[0]).shape == (8, 6, 6)


def test_weights_of_four_bits_stay_so(tmp_path: Path) -> None:
    made = Made((1, 3, 5, 5))
    x = made.coded("x", 2.0**-5, 0, np.uint8)
    stored = helper.make_tensor("w4", TensorProto.INT4, (6, 3, 3, 3), codes(-8, 8, 162).tolist())
    made.constants.append(stored)
    weight = made.node("DequantizeLinear", "w4", made.const(0.25))
    y = made.node("QuantizeLinear", made.node("Conv", x, weight), *made.scalar(0.5, 0, np.int8))
    found = imported(made, tmp_path, y, kind=TensorProto.INT8, opset=21)
    assert {fmt.name for op in found.network.ops for fmt in op.formats} == {"fixed4"}
    assert not any(count for count, _, _ in differing(made, found, opset=21).values())


def test_codes_that_are_limited(tmp_path: Path) -> None:
    """Fewer bits than the type has, as Brevitas writes them for ONNX's own operators."""
    made = Made((1, 3, 5, 5))
    grid = made.scalar(2.0**-3, 0, np.uint8)
    limits = made.const(2, np.uint8), made.const(15, np.uint8)
    x = made.node("Clip", made.node("QuantizeLinear", "x", *grid), *limits)
    stored = made.node("QuantizeLinear", made.const(codes(-99, 99, 6, 3, 3, 3) / 64), *made.scalar(
        0.125, 0, np.int8))  # fmt: skip
    stored = made.node("Clip", stored, made.const(-7, np.int8), made.const(7, np.int8))
    weight = made.node("DequantizeLinear", stored, *made.scalar(0.125, 0, np.int8))
    y = made.node("Conv", made.node("DequantizeLinear", x, *grid), weight)
    out = made.scalar(0.25, 0, np.int8)
    y = made.node("QuantizeLinear", y, *out)
    y = made.node("Clip", y, made.const(-8, np.int8), made.const(7, np.int8))
    found = imported(made, tmp_path, y, kind=TensorProto.INT8)
    (conv,) = [op for op in found.network.ops if op.useful]
    assert np.abs(conv.weights).max() == 7
    got = evaluate(found.network, quantise_inputs(found.network, images(made)))
    expected = run(made.model(y, kind=TensorProto.INT8), {"x": images(made)})[0]
    assert expected.min() == -8
    assert (got[found.network.outputs[0]] == expected).all()


def test_operators_of_onnxruntime(tmp_path: Path) -> None:
    made = Made((1, 4, 4, 4))
    grids = [made.scalar(2.0**-at, 8 * at, np.uint8) for at in range(6)]
    left = made.node("QuantizeLinear", "x", *grids[5])
    right = made.node("MaxPool", left, kernel_shape=[1, 1])
    total = made.node("QLinearAdd", left, *grids[5], right, *grids[5], *grids[4], domain=MICROSOFT)
    joined = made.node(
        "QLinearConcat", *grids[3], total, *grids[4], left, *grids[5], axis=1, domain=MICROSOFT
    )
    means = made.node("QLinearGlobalAveragePool", joined, *grids[3], *grids[4], domain=MICROSOFT)
    flat = made.node("Flatten", means)
    matrix = made.const(codes(-99, 99, 5, 8), np.int8), *made.scalar(2.0**-6, 0, np.int8)
    bias = made.const(codes(-99, 99, 5), np.int32)
    made.node("QGemm", flat, *grids[4], *matrix, bias, *grids[2], transB=1, domain=MICROSOFT)
    found = imported(made, tmp_path, made.nodes[-1].output[0], kind=TensorProto.UINT8)
    wrong = differing(made, found)
    assert sorted(wrong) == ["t2", "t4", "t6"]
    assert not any(count for count, _, _ in wrong.values()), wrong


def test_more_operators_of_onnxruntime(tmp_path: Path) -> None:
    made = Made((1, 4, 4, 4))
    grids = [made.scalar(2.0**-at, 0, np.int8) for at in (5, 4, 3)]
    value = made.node("QuantizeLinear", "x", *grids[0])
    wide = made.node(
        "Resize", value, "", made.const([1, 1, 2, 2]), mode="nearest",
        coordinate_transformation_mode="asymmetric", nearest_mode="floor",
    )  # fmt: skip
    bent = made.node("QLinearLeakyRelu", wide, *grids[0], *grids[1], alpha=0.25, domain=MICROSOFT)
    made.node(
        "QLinearAveragePool", bent, *grids[1], *grids[2], kernel_shape=[2, 4], domain=MICROSOFT
    )
    found = imported(made, tmp_path, made.nodes[-1].output[0], kind=TensorProto.INT8)
    wrong = differing(made, found)
    assert sorted(wrong) == ["t2", "t3"]
    assert not any(count for count, _, _ in wrong.values()), wrong


def test_an_output_left_real_gets_sixteen_bits(tmp_path: Path) -> None:
    made = Made((1, 6))
    x = made.coded("x", 2.0**-5, 0, np.int8)
    y = made.node("Gemm", x, made.weights(codes(-127, 128, 4, 6), 2.0**-7), transB=1)
    found = imported(made, tmp_path, y)
    assert "left real by the model" in found.notes[0]
    network, x = found.network, images(made)
    got = evaluate(network, quantise_inputs(network, x.reshape(4, 6, 1, 1)))
    real = dequantise(network, y, got[y])[:, :, 0, 0]
    scale = network.tensor(y).scale
    assert np.abs(real - run(made.model(y), {"x": x})[0]).max() <= scale / 2


def qonnx_context(made: Made, x: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """Return all values that qonnx's executor computes, by sample."""
    executor = pytest.importorskip("qonnx.core.onnx_exec", reason="an independent reference")
    from qonnx.core.modelwrapper import ModelWrapper
    from qonnx.transformation.infer_shapes import InferShapes

    plain = executor.qonnx_make_model
    # onnx makes models of a version that onnxruntime does not know yet.
    monkeypatch.setattr(executor, "qonnx_make_model", lambda graph: plain(graph, ir_version=10))
    model = made.model(made.nodes[-1].output[0])
    shape = [1, *x.shape[1:]]
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("x", TensorProto.FLOAT, shape))
    wrapped = ModelWrapper(model).transform(InferShapes())
    return [
        executor.execute_onnx(wrapped, {"x": x[i : i + 1]}, return_full_exec_context=True)
        for i in range(len(x))
    ]


MODES = ("ROUND", "FLOOR", "CEIL", "HALF_UP", "HALF_DOWN", "UP", "DOWN")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.filterwarnings("ignore")
def test_qonnx_is_exact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    """Quantisers of all roundings, signs, Trunc: every tensor as qonnx computes it."""
    seed = MODES.index(mode)
    random = np.random.default_rng(seed)
    made = Made((1, 3, 8, 8))
    x = made.quant("x", 0.0625, 8)
    rows = 2.0 ** random.integers(-5, -2, (8, 1, 1, 1))
    weight = made.quant(made.const(random.normal(0, 0.3, (8, 3, 3, 3))), rows, 4, narrow=1)
    value = made.node("Conv", x, weight, made.const(random.normal(0, 0.3, 8)), pads=[1] * 4)
    value = made.quant(made.node("Relu", value), 0.125, 5, signed=0, rounding_mode=mode)
    value = made.node("MaxPool", value, kernel_shape=[2, 2], strides=[2, 2])
    signs = made.node(
        "BipolarQuant", made.const(random.normal(0, 1, (8, 8, 3, 3))), made.const(0.25),
        domain=QONNX,
    )  # fmt: skip
    left = made.quant(made.node("Conv", value, signs, pads=[1] * 4), 0.5, 6, narrow=1)
    weight = made.quant(made.const(random.normal(0, 1, (8, 8, 1, 1))), 0.25, 3, rounding_mode=mode)
    bias = made.quant(made.const(random.normal(0, 1, 8)), 1 / 64, 32)
    right = made.node("Conv", value, weight, bias)
    right = made.node("BipolarQuant", right, made.const(0.5), domain=QONNX)
    value = made.quant(made.node("Add", left, right), 1.0, 6, zero=2)
    value = made.node("AveragePool", value, kernel_shape=[2, 2], strides=[2, 2])
    value = made.node("Mul", value, made.const(4.0))
    operands = [made.const(number) for number in (1.0, 0.0, 8.0, 6.0)]
    value = made.node("Trunc", value, *operands, domain=QONNX, rounding_mode="FLOOR")
    weight = made.quant(made.const(random.normal(0, 1, (10, 32))), 1 / 16, 8, narrow=1)
    made.quant(made.node("Gemm", made.node("Flatten", value), weight, transB=1), 1.0, 8)
    found = imported(made, tmp_path, made.nodes[-1].output[0])
    assert all(item.exact for item in found.agreements), [str(i) for i in found.agreements]
    x = images(made) * 2
    network = found.network
    got = evaluate(network, quantise_inputs(network, x))
    context = qonnx_context(made, x, monkeypatch)
    names = [tensor.name for tensor in network.tensors if tensor.name in context[0]]
    assert len(names) == len(network.tensors)
    for name in set(names) - {"x"}:
        wanted = np.concatenate([sample[name] for sample in context])
        real = dequantise(network, name, got[name]).reshape(wanted.shape)
        assert np.array_equal(real, wanted), f"{name} differs by {np.abs(real - wanted).max()}"


@pytest.mark.parametrize("between", ["MaxPool", "ConvTranspose", "Concat"])
def test_signs_behind_what_fusion_moves_over(tmp_path: Path, between: str) -> None:
    made = Made((1, 4, 6, 6))
    x = made.coded("x", 0.125, 0, np.int8)
    kernel = made.weights(codes(-9, 10, 4, 4, 3, 3), 0.25)
    if between == "ConvTranspose":
        value = made.node(between, x, kernel, strides=[2, 2])
    elif between == "MaxPool":
        value = made.node(between, made.node("Conv", x, kernel), kernel_shape=[2, 2])
    else:
        value = made.coded(made.node("Conv", x, kernel), 0.125, 0, np.int8)
        value = made.node(between, value, value, axis=1)
    data = images(made)
    wanted = run(made.model(value), {"x": data})[0]
    signs = made.node("BipolarQuant", value, made.const(1.0), domain=QONNX)
    network = imported(made, tmp_path, signs).network
    got = evaluate(network, quantise_inputs(network, data))[network.outputs[0]]
    assert (got == np.where(wanted >= 0, 1, -1)).all()


def test_codes_as_inputs(tmp_path: Path) -> None:
    made = Made((1, 3, 4, 4), TensorProto.UINT8)
    x = made.node("DequantizeLinear", "x", *made.scalar(0.25, 128, np.uint8))
    y = made.node("Conv", x, made.weights(codes(-9, 9, 4, 3, 1, 1), 0.5))
    y = made.node("QuantizeLinear", y, *made.scalar(1.0, 0, np.int8))
    found = imported(made, tmp_path, y, kind=TensorProto.INT8)
    data = codes(0, 256, 3, 3, 4, 4)
    got = evaluate(found.network, {"x": data})[y]
    expected = run(made.model(y, kind=TensorProto.INT8), {"x": data.astype(np.uint8)})[0]
    assert (got == expected).all()


def unquantised_between(made: Made) -> str:
    x = made.coded("x", 0.25, 0)
    y = made.node("Conv", x, made.weights(codes(-9, 9, 4, 3, 1, 1), 0.5))
    y = made.node("Conv", y, made.weights(codes(-9, 9, 4, 4, 1, 1), 0.5))
    return made.node("QuantizeLinear", y, *made.scalar(1.0, 0, np.int8))


def interpolated_codes(made: Made) -> str:
    x = made.node("QuantizeLinear", "x", *made.scalar(0.25, 0, np.uint8))
    return made.node("Resize", x, "", made.const([1, 1, 2, 2]), mode="linear")


def real_weights(made: Made) -> str:
    x = made.coded("x", 0.25, 0)
    y = made.node("Conv", x, made.const(np.random.default_rng(0).normal(size=(4, 3, 1, 1))))
    return made.node("QuantizeLinear", y, *made.scalar(1.0, 0, np.int8))


def many_scales(made: Made) -> str:
    return made.node(
        "QuantizeLinear", "x", made.const([0.1, 0.2, 0.3]), made.const([0] * 3, np.uint8)
    )


def other_scale(made: Made) -> str:
    x = made.node("QuantizeLinear", "x", *made.scalar(0.25, 0, np.uint8))
    return made.node("Relu", made.node("DequantizeLinear", x, *made.scalar(0.5, 0, np.uint8)))


def scale_of_zero(made: Made) -> str:
    return made.coded("x", 0.0, 0)


def real_input(made: Made) -> str:
    y = made.node("Conv", "x", made.weights(codes(-9, 9, 4, 3, 1, 1), 0.5))
    return made.node("QuantizeLinear", y, *made.scalar(1.0, 0, np.int8))


def several_in_a_row(made: Made) -> str:
    weight = made.node(
        "DequantizeLinear", made.const(codes(-9, 9, 4, 3, 1, 1), np.int8),
        made.const([0.5, 0.25, 0.125]), axis=1,
    )  # fmt: skip
    return made.coded(made.node("Conv", made.coded("x", 0.25, 0), weight), 0.5, 0)


def dynamic(made: Made) -> str:
    return made.node("DynamicQuantizeLinear", "x")


def odd_bits(made: Made) -> str:
    return made.quant("x", 0.5, 2.5)  # type: ignore[arg-type]


def bent_with_zero(made: Made) -> str:
    y = made.node("Conv", made.coded("x", 0.25, 0), made.weights(codes(-9, 9, 4, 3, 1, 1), 0.5))
    return made.coded(made.node("LeakyRelu", y), 0.5, 3)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (unquantised_between, r"tensor '.*' of operation 'n\d+' is not quantised in the model"),
        (interpolated_codes, r"Resize at n1: it interpolates codes"),
        (real_weights, r"layer 'n2': its weights are not quantised"),
        (many_scales, r"QuantizeLinear at n0: its scale has 3 values; quantise .* by tensor"),
        (other_scale, r"DequantizeLinear at n1: it takes codes of ufixed8 x 0.25 from 0 for"),
        (scale_of_zero, r"QuantizeLinear at n0: its scale is 0"),
        (real_input, r"input 'x' is not quantised in the model"),
        (several_in_a_row, r"Conv at n3: its weights have several scales in one row"),
        (dynamic, r"DynamicQuantizeLinear at n0: .*; quantise statically"),
        (odd_bits, r"qonnx.Quant at n0: its bit width is 2.5"),
        (bent_with_zero, r"layer 'n3': a slope .* needs zero points of 0 behind it, not 3"),
    ],
)
def test_refusals_name_node_and_reason(tmp_path: Path, build: Any, message: str) -> None:
    made = Made((1, 3, 4, 4))
    output = build(made)
    with pytest.raises(CelosiaError, match=message):
        imported(made, tmp_path, output, kind=TensorProto.UINT8)


def test_each_importer_refuses_the_other_kind(tmp_path: Path) -> None:
    made = Made((1, 3, 4, 4))
    path = made.save(tmp_path / "q.onnx", made.coded("x", 0.5, 0))
    with pytest.raises(CelosiaError, match=r"quantised already: `celosia import`"):
        import_onnx(path)
    made = Made((1, 3, 4, 4))
    with pytest.raises(CelosiaError, match=r"not quantised: `celosia quantize`"):
        imported(made, tmp_path, made.node("Relu", "x"))
