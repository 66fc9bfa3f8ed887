"""Real ONNX models: the float graph computes what onnxruntime computes."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from celosia.models.errors import CelosiaError
from celosia.models.graph import FloatConv, evaluate_float
from celosia.models.import_values import Finding
from celosia.models.importer import export_model, import_program
from celosia.models.onnx_import.importer import check_onnx, import_onnx

from .builders import Made, run

NEAR = 2e-5
"""Sums in float32 in another order, of values of about 1."""


def agree(made: Made, tmp_path: Path, *outputs: str, opset: int = 13) -> list[str]:
    """Compare the imported graph with onnxruntime; return the kinds of its operations."""
    path = made.save(tmp_path / "m.onnx", *outputs, opset=opset)
    graph = import_onnx(path)
    shape = [size.dim_value for size in made.inputs[0].type.tensor_type.shape.dim]
    x = np.random.default_rng(5).normal(0, 1, (2, *shape[1:])).astype(np.float32)
    expected = run(made.model(*outputs, opset=opset), {"x": x})
    full = x.reshape(2, *graph.inputs["x"])
    found = evaluate_float(graph, {"x": torch.from_numpy(full)})
    for name, wanted in zip(graph.outputs, expected, strict=True):
        np.testing.assert_allclose(found[name].numpy().reshape(wanted.shape), wanted, atol=NEAR)
    return [type(op).__name__ for op in graph.ops]


def weights(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.3, shape)


@pytest.mark.parametrize(
    "attributes",
    [
        {"pads": [1, 0, 2, 3], "strides": [2, 1]},
        {"dilations": [2, 1], "pads": [2, 1, 2, 1]},
        {"auto_pad": "SAME_UPPER", "strides": [2, 2]},
        {"auto_pad": "SAME_LOWER", "strides": [3, 2]},
        {"auto_pad": "VALID", "kernel_shape": [3, 3]},
    ],
)
def test_convolutions(tmp_path: Path, attributes: dict) -> None:
    made = Made()
    out = made.node(
        "Conv", "x", made.const(weights(6, 3, 3, 3)), made.const(weights(6)), **attributes
    )
    assert agree(made, tmp_path, made.node("Relu", out)) == ["FloatConv"]


def test_groups_normalisation_and_sums_are_fused(tmp_path: Path) -> None:
    made = Made((1, 4, 6, 5))
    first = made.node("Conv", "x", made.const(weights(8, 2, 3, 3)), group=2, pads=[1, 1, 1, 1])
    parts = [made.const(np.abs(weights(8, seed=seed)) + 0.1) for seed in range(4)]
    norm = made.node("BatchNormalization", first, *parts, epsilon=1e-3)
    second = made.node("Conv", norm, made.const(weights(8, 8, 1, 1, seed=3)))
    total = made.node("Relu", made.node("Sum", second, norm))
    assert agree(made, tmp_path, total) == ["FloatConv", "FloatConv"]


@pytest.mark.parametrize("opset", [7, 9, 11, 13, 18, 21])
def test_clips_pads_and_axes_in_all_operator_sets(tmp_path: Path, opset: int) -> None:
    made = Made((1, 2, 6, 6))
    if opset < 11:
        value = made.node("Clip", "x", min=-0.5, max=0.75)
        value = made.node("Pad", value, pads=[0, 0, 1, 2, 0, 0, 0, 1], mode="constant")
    else:
        value = made.node("Clip", "x", made.const(-0.5), made.const(0.75))
        value = made.node("Pad", value, made.const([0, 0, 1, 2, 0, 0, 0, 1], np.int64))
    value = made.node("Conv", value, made.const(weights(4, 2, 3, 3)))
    value = made.node("Dropout", value)
    if opset < 18:
        value = made.node("ReduceMean", value, axes=[2, 3], keepdims=1)
    else:
        value = made.node("ReduceMean", value, made.const([2, 3], np.int64), keepdims=1)
    if opset < 13:
        value = made.node("Squeeze", value, axes=[2, 3])
    else:
        value = made.node("Squeeze", value, made.const([2, 3], np.int64))
    agree(made, tmp_path, value, opset=opset)


@pytest.mark.parametrize(
    ("operator", "attributes"),
    [
        ("MaxPool", {"kernel_shape": [3, 2], "strides": [2, 2], "pads": [1, 0, 1, 1]}),
        ("MaxPool", {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1}),
        ("MaxPool", {"kernel_shape": [2, 2], "dilations": [2, 3]}),
        ("AveragePool", {"kernel_shape": [2, 3], "strides": [2, 2]}),
        ("AveragePool", {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "count_include_pad": 1}),
        ("GlobalAveragePool", {}),
        ("GlobalMaxPool", {}),
    ],
)
def test_pools(tmp_path: Path, operator: str, attributes: dict) -> None:
    made = Made((1, 3, 9, 8))
    agree(made, tmp_path, made.node(operator, "x", **attributes), opset=12)


@pytest.mark.parametrize(
    "attributes",
    [
        {"strides": [2, 2], "pads": [1, 0, 0, 1], "output_padding": [1, 0]},
        {"strides": [1, 3], "dilations": [2, 1], "group": 2},
    ],
)
def test_transposed_convolutions(tmp_path: Path, attributes: dict) -> None:
    made = Made((1, 4, 5, 4))
    kernel = made.const(weights(4, 3, 3, 3)), made.const(weights(3 * attributes.get("group", 1)))
    agree(made, tmp_path, made.node("ConvTranspose", "x", *kernel, **attributes))


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_resizes(tmp_path: Path, mode: str) -> None:
    made = Made((1, 2, 3, 4))
    agree(made, tmp_path, made.node("Resize", "x", "", made.const([1, 1, 2, 3]), mode=mode))
    made.nodes.clear()
    made.node("Resize", "x", "", made.const([1, 1, 2, 2]), mode="cubic")
    path = made.save(tmp_path / "m.onnx", "t0")
    with pytest.raises(CelosiaError, match="Resize at n0: it resizes by cubic"):
        import_onnx(path)


def test_slopes_and_constants(tmp_path: Path) -> None:
    made = Made((1, 3, 4, 4))
    value = made.node("PRelu", "x", made.const(weights(3, 1, 1)))
    value = made.node("Mul", value, made.const(weights(1, 3, 1, 1)))
    value = made.node("Sub", made.const(0.5), made.node("LeakyRelu", value, alpha=0.2))
    value = made.node("Div", made.node("Neg", value), made.const(3.0))
    value = made.node("Sub", value, made.node("Relu", "x"))
    agree(made, tmp_path, made.node("Concat", value, "x", axis=1))


def test_linear_layers_after_any_order(tmp_path: Path) -> None:
    made = Made((1, 3, 4, 2))
    turned = made.node("Transpose", "x", perm=[0, 2, 3, 1])
    flat = made.node("Reshape", turned, made.const([0, -1], np.int64))
    hidden = made.node(
        "Gemm", flat, made.const(weights(24, 7)), made.const(weights(7)), alpha=0.5, beta=2.0
    )
    out = made.node("Add", made.node("MatMul", hidden, made.const(weights(7, 5))), made.const(1.0))
    assert agree(made, tmp_path, out) == ["FloatConv", "FloatConv"]


def test_vectors_as_inputs(tmp_path: Path) -> None:
    made = Made((1, 12))
    agree(made, tmp_path, made.node("Gemm", "x", made.const(weights(5, 12)), transB=1))


def test_shapes_computed_from_the_batch(tmp_path: Path) -> None:
    """What torch's older exporter writes for ``x.view(x.size(0), -1)``."""
    made = Made(("N", 3, 2, 2))
    batch = made.node("Gather", made.node("Shape", "x"), made.const(0, np.int64), axis=0)
    batch = made.node("Unsqueeze", batch, made.const([0], np.int64))
    shape = made.node("Concat", batch, made.const([-1], np.int64), axis=0)
    flat = made.node("Reshape", "x", shape)
    out = made.node("MatMul", flat, made.const(weights(12, 4)))
    path = made.save(tmp_path / "m.onnx", out)
    graph = import_onnx(path)
    x = np.random.default_rng(0).normal(size=(3, 3, 2, 2)).astype(np.float32)
    expected = run(made.model(out), {"x": x})[0]
    found = evaluate_float(graph, {"x": torch.from_numpy(x)})[graph.outputs[0]]
    np.testing.assert_allclose(found.numpy().reshape(3, 4), expected, atol=NEAR)


def test_softmax_at_the_end_is_left_out(tmp_path: Path) -> None:
    made = Made((1, 4))
    made.node("Softmax", made.node("Gemm", "x", made.const(weights(4, 3))), axis=1)
    graph = import_onnx(made.save(tmp_path / "m.onnx", "t1"))
    assert "Softmax n1 left out" in graph.notes[0]
    assert [op.output for op in graph.ops] == list(graph.outputs) == ["t0"]


@pytest.mark.parametrize("dynamo", [False, True])
def test_what_torch_exports_is_the_graph_of_its_own_export(tmp_path: Path, dynamo: bool) -> None:
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU6(),
        nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, groups=8), nn.PReLU(8), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(8, 4),
    ).eval()  # fmt: skip
    example = (torch.randn(1, 3, 12, 12),)
    path = tmp_path / "m.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, example, str(path), dynamo=dynamo, verbose=False)
    found, wanted = import_onnx(path), import_program(export_model(module, example))
    assert [type(op) for op in found.ops] == [type(op) for op in wanted.ops]
    for mine, theirs in zip(found.ops, wanted.ops, strict=True):
        assert mine.window == theirs.window
        if isinstance(mine, FloatConv) and isinstance(theirs, FloatConv):
            np.testing.assert_allclose(mine.weight, theirs.weight, atol=1e-6)
            np.testing.assert_allclose(mine.bias, theirs.bias, atol=1e-6)
            assert (mine.low, mine.high) == (theirs.low, theirs.high)


def test_everything_wrong_is_listed(tmp_path: Path) -> None:
    made = Made()
    made.node("Sin", "x")
    made.node("Relu", made.node("Foo", "x", domain="my.domain"))
    path = made.save(tmp_path / "m.onnx", "t0", "t2")
    findings, _ = check_onnx(path)
    assert [(item.operator, item.where) for item in findings] == [
        ("Sin", "n0"),
        ("my.domain.Foo", "n1"),
    ]
    assert all(isinstance(item, Finding) and item.remedy for item in findings)
    with pytest.raises(CelosiaError, match=r"- Sin at n0: .*\n- my\.domain\.Foo at n1: it has no"):
        import_onnx(path)
