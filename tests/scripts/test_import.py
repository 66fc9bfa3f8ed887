"""``celosia import``, and ONNX files in the other commands; an imported network in RTL."""

import json
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from celosia.models.golden import evaluate
from celosia.models.inputs import quantise_inputs
from celosia.models.storage import load
from celosia.scripts.cli import run_command


def save(path: Path, *, quantised: bool) -> None:
    """Write a convolution and a max pooling, both padded, of images 2 x 6 x 6 about code 100."""
    random = np.random.default_rng(6)
    constants, nodes = [], []

    def const(values: object, kind: type = np.float32) -> str:
        constants.append(numpy_helper.from_array(np.asarray(values, kind), f"k{len(constants)}"))
        return constants[-1].name

    def node(operator: str, *inputs: str, **attributes: object) -> str:
        nodes.append(helper.make_node(operator, inputs, [f"t{len(nodes)}"], **attributes))
        return nodes[-1].output[0]

    def coded(value: str, scale: float, zero: int) -> str:
        if not quantised:
            return value
        grid = const(scale), const(zero, np.uint8)
        return node("DequantizeLinear", node("QuantizeLinear", value, *grid), *grid)

    weight = const(random.normal(0, 0.2, (5, 2, 3, 3)))
    if quantised:
        codes = const(random.integers(-127, 128, (5, 2, 3, 3)), np.int8)
        weight = node("DequantizeLinear", codes, const([0.004, 0.005, 0.003, 0.002, 0.004]), axis=0)
    value = node("Conv", coded("x", 0.021, 100), weight, pads=[1, 1, 1, 1])
    value = node("MaxPool", coded(value, 0.03, 77), kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    if not quantised:
        value = node("Conv", value, const(random.normal(0, 1, (4, 5, 1, 1))))
    shape, target = [1, 2, 6, 6], [helper.make_tensor_value_info(value, TensorProto.FLOAT, None)]
    source = [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)]
    graph = helper.make_graph(nodes, "small", source, target, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(model.SerializeToString())


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save(Path("q.onnx"), quantised=True)
    save(Path("r.onnx"), quantised=False)
    np.save("x.npy", np.random.default_rng(1).normal(0, 1, (3, 2, 6, 6)).astype(np.float32))
    return tmp_path


def test_import_writes_a_network_that_runs_in_rtl(folder: Path, capsys) -> None:
    assert run_command(["import", "q.onnx", "-o", "q.celosia", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert [layer["kind"] for layer in result["layers"]] == ["conv", "maxpool"]
    (agreement,) = result["agreement"].values()
    assert agreement["differing_sums"] < 1e-3 * agreement["sums"]
    network = load("q.celosia")
    assert [tensor.zero for tensor in network.tensors] == [100, 77, 77]
    arguments = ["simulate", "q.celosia", "--accelerator", "tiny", "--inputs", "x.npy", "--json"]
    assert run_command(arguments) == 0, capsys.readouterr().err
    assert evaluate(network, quantise_inputs(network, np.load("x.npy")))


def test_what_it_says(folder: Path, capsys) -> None:
    assert run_command(["import", "q.onnx", "-o", "q.celosia"]) == 0
    said = capsys.readouterr().out
    assert "sums give the code next to it" in said
    assert "0 of 1 layers give the model's codes for all sums" in said
    assert run_command(["import", "r.onnx", "-o", "r.celosia"]) == 1
    assert "`celosia quantize`" in capsys.readouterr().err
    assert run_command(["import", "x.npy", "-o", "r.celosia"]) == 1
    assert "neither an .onnx nor a .tflite file" in capsys.readouterr().err
    assert not Path("r.celosia").exists()


def test_real_files_are_checked_and_quantised(folder: Path, capsys) -> None:
    assert run_command(["check", "r.onnx"]) == 0
    assert "every operator is supported" in capsys.readouterr().out
    arguments = ["quantize", "r.onnx", "--calibration", "x.npy", "-o", "r.celosia"]
    assert run_command(arguments) == 0
    assert load("r.celosia").name == "r"
    capsys.readouterr()
    arguments[1] = "q.onnx"
    assert run_command(arguments) == 1
    assert "`celosia import`" in capsys.readouterr().err
