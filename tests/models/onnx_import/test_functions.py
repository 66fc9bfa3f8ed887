"""Functions of one value in ONNX files: every code, and real ones, against onnxruntime."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from onnx import TensorProto

from celosia.models.errors import CelosiaError
from celosia.models.golden import evaluate
from celosia.models.graph import evaluate_float
from celosia.models.integer.grids import Imported
from celosia.models.network import Conv
from celosia.models.onnx_import.importer import import_onnx, import_quantised_onnx

from .builders import MICROSOFT, Made, run

OPERATORS = ("Sigmoid", "Tanh", "HardSwish", "HardSigmoid", "Gelu", "Erf", "Softplus", "Mish",
             "Elu", "Selu", "Exp")  # fmt: skip
GRIDS = ((0.05, 128, 1 / 256, 0), (0.0317, 101, 0.0213, 77))
OPSET = 20


def both(made: Made, output: str, path: Path, shape: Any, zero: int, scale: float) -> Any:
    """Return the import, its codes for all 256 of the input, and onnxruntime's."""
    model = made.model(output, opset=OPSET)
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.UINT8
    codes = np.arange(256).reshape(shape)
    x = ((codes - zero) * np.float32(scale)).astype(np.float32)
    wanted = run(model, {"x": x})[0].astype(np.int64)
    (path / "m.onnx").write_bytes(model.SerializeToString())
    found = import_quantised_onnx(path / "m.onnx")
    got = evaluate(found.network, {found.network.inputs[0]: codes})[found.network.outputs[0]]
    return found, got, wanted


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("operator", OPERATORS)
def test_every_code_is_onnxruntimes(operator: str, grid: tuple[float, ...], tmp_path: Path) -> None:
    scale, zero, to, offset = grid
    made = Made((1, 1, 16, 16))
    value = made.node(operator, made.coded("x", scale, int(zero)))
    output = made.node("QuantizeLinear", value, *made.scalar(to, int(offset), np.uint8))
    found, got, wanted = both(made, output, tmp_path, (1, 1, 16, 16), int(zero), scale)
    np.testing.assert_array_equal(got, wanted)
    assert all(item.exact for item in found.agreements)


def swish(made: Made, x: str) -> str:
    gate = made.coded(made.node("Sigmoid", x), 1 / 256, 0)
    return made.coded(made.node("Mul", x, gate), 0.03, 9)


def test_swish_of_codes_goes_into_the_convolution_before_it(tmp_path: Path) -> None:
    made = Made((1, 3, 4, 64))
    random = np.random.default_rng(4)
    weight = made.weights(random.integers(-127, 128, (4, 3, 1, 1)), 1 / 128)
    x = made.coded("x", 1 / 16, 128)
    hidden = made.coded(made.node("Conv", x, weight), 1 / 16, 110)
    swish(made, hidden)
    found, got, wanted = _convolved(made, made.nodes[-1].input[0], tmp_path)
    network = found.network
    assert len(network.ops) == 1
    op = network.ops[0]
    assert isinstance(op, Conv)
    assert op.requant.table is not None
    assert op.requant.table.function == "(x * sigmoid codes)"
    np.testing.assert_array_equal(got, wanted)


def _convolved(made: Made, output: str, path: Path) -> tuple[Imported, np.ndarray, np.ndarray]:
    model = made.model(output, opset=OPSET)
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.UINT8
    codes = np.random.default_rng(5).integers(0, 256, (2, 3, 4, 64))
    x = ((codes - 128) / np.float32(16)).astype(np.float32)
    wanted = run(model, {"x": x})[0].astype(np.int64)
    (path / "m.onnx").write_bytes(model.SerializeToString())
    found = import_quantised_onnx(path / "m.onnx")
    got = evaluate(found.network, {found.network.inputs[0]: codes})[found.network.outputs[0]]
    return found, got, wanted


def test_sigmoids_of_codes_of_onnxruntimes_own(tmp_path: Path) -> None:
    made = Made((1, 1, 16, 16))
    grid = made.scalar(0.05, 120, np.uint8)
    codes = made.node("QuantizeLinear", "x", *grid)
    to = made.scalar(1 / 256, 0, np.uint8)
    output = made.node("QLinearSigmoid", codes, *grid, *to, domain=MICROSOFT)
    _, got, wanted = both(made, output, tmp_path, (1, 1, 16, 16), 120, 0.05)
    np.testing.assert_array_equal(got, wanted)


def test_real_models(tmp_path: Path) -> None:
    made = Made((1, 3, 6, 6))
    random = np.random.default_rng(1)
    value = made.node("Conv", "x", made.const(random.normal(0, 0.5, (4, 3, 3, 3))))
    value = made.node("Mul", value, made.node("Sigmoid", value))
    value = made.node("Conv", value, made.const(random.normal(0, 0.5, (4, 4, 1, 1))))
    half = made.node("Div", value, made.const(np.sqrt(2.0)))
    erf = made.node("Add", made.node("Erf", half), made.const(1.0))
    value = made.node("Mul", made.node("Mul", value, erf), made.const(0.5))
    made.node("Softplus", value)
    last = made.nodes[-1].output[0]
    x = random.normal(0, 1, (2, 3, 6, 6)).astype(np.float32)
    wanted = run(made.model(last, opset=OPSET), {"x": x})[0]
    graph = import_onnx(made.save(tmp_path / "m.onnx", last, opset=OPSET))
    got = evaluate_float(graph, {"x": torch.from_numpy(x)})[graph.outputs[0]].numpy()
    np.testing.assert_allclose(got, wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("operator", "attributes", "message"),
    [("Elu", {"alpha": 0.5}, "its alpha is 0.5"), ("Selu", {"gamma": 2.0}, "its gamma is 2")],
)
def test_parameters_other_than_the_default_are_refused(
    operator: str, attributes: dict[str, float], message: str, tmp_path: Path
) -> None:
    made = Made((1, 1, 16, 16))
    made.node("Relu", made.node(operator, made.coded("x", 0.05, 3), **attributes))
    with pytest.raises(CelosiaError, match=message):
        import_quantised_onnx(made.save(tmp_path / "m.onnx", made.nodes[-1].output[0]))


def test_functions_of_sums_without_codes_are_refused(tmp_path: Path) -> None:
    made = Made((1, 3, 4, 64))
    weight = made.weights(np.ones((4, 3, 1, 1), np.int64), 1 / 128)
    value = made.node("Tanh", made.node("Conv", made.coded("x", 1 / 16, 128), weight))
    output = made.node("QuantizeLinear", value, *made.scalar(1 / 128, 128, np.uint8))
    with pytest.raises(CelosiaError, match=r"ends in tanh.*put a quantiser"):
        import_quantised_onnx(made.save(tmp_path / "m.onnx", output, opset=OPSET))
