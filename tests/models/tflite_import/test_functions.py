"""Functions of codes in TFLite files: every code against TensorFlow Lite's own runtime."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from celosia.models.errors import CelosiaError
from celosia.models.golden import evaluate
from celosia.models.network import Conv
from celosia.models.tflite_import.importer import import_tflite

schema: Any = pytest.importorskip("ai_edge_litert.schema_py_generated")
flatbuffers: Any = pytest.importorskip("flatbuffers")
runtime: Any = pytest.importorskip("ai_edge_litert.interpreter")

CODES = {"LOGISTIC": 14, "MAX_POOL_2D": 17, "MUL": 18, "TANH": 28, "ELU": 111, "HARD_SWISH": 117}
GRIDS = [(0.05, 3, 1 / 256, -128), (0.031, -20, 0.0123, 7), (0.1, 0, 0.02, -100)]


def made(path: Path, operators: list[tuple[str, tuple[int, ...]]], grids: list[Any]) -> Path:
    """Write a model of int8 tensors 1 x 16 x 16 x 1; operator n writes tensor n + 1."""
    graph, model = schema.SubGraphT(), schema.ModelT()
    graph.tensors = []
    for number, (scale, zero) in enumerate(grids):
        tensor = schema.TensorT()
        tensor.shape, tensor.type, tensor.buffer = [1, 16, 16, 1], schema.TensorType.INT8, 0
        tensor.name = f"t{number}"
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = [scale], [zero]
        graph.tensors.append(tensor)
    graph.operators, model.operatorCodes = [], []
    for number, (name, inputs) in enumerate(operators):
        code, op = schema.OperatorCodeT(), schema.OperatorT()
        code.builtinCode = code.deprecatedBuiltinCode = CODES[name]
        code.version = 2 if name in ("LOGISTIC", "TANH", "MUL", "MAX_POOL_2D") else 1
        model.operatorCodes.append(code)
        op.opcodeIndex, op.inputs, op.outputs = number, list(inputs), [number + 1]
        if name == "MAX_POOL_2D":
            op.builtinOptionsType, op.builtinOptions = 5, schema.Pool2DOptionsT()
            options = op.builtinOptions
            options.filterHeight = options.filterWidth = options.strideH = options.strideW = 1
        if name == "MUL":
            op.builtinOptionsType, op.builtinOptions = 21, schema.MulOptionsT()
        graph.operators.append(op)
    graph.inputs, graph.outputs = [0], [len(grids) - 1]
    model.version, model.subgraphs, model.buffers = 3, [graph], [schema.BufferT()]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


def differing(path: Path) -> tuple[int, int]:
    """Return how many of the 256 codes become another one than the runtime's, and by how much."""
    interpreter = runtime.Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    codes = np.arange(-128, 128).astype(np.int8).reshape(1, 16, 16, 1)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], codes)
    interpreter.invoke()
    wanted = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    network = import_tflite(path).network
    tables = [op.requant.table for op in network.ops if isinstance(op, Conv)]
    assert any(table is not None for table in tables)
    given = {network.inputs[0]: codes.reshape(1, 1, 16, 16).astype(np.int64)}
    got = evaluate(network, given)[network.outputs[0]].reshape(wanted.shape)
    error = np.abs(got - wanted.astype(np.int64))
    return int((error > 0).sum()), int(error.max())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("name", ["LOGISTIC", "TANH", "ELU", "HARD_SWISH"])
def test_functions_are_the_runtimes(name: str, grid: tuple[float, ...], tmp_path: Path) -> None:
    scale, zero, to, offset = grid
    ends = {"LOGISTIC": (1 / 256, -128), "TANH": (1 / 128, 0)}.get(name, (to, offset))
    grids = [(scale, zero), ends, ends]
    path = made(tmp_path / "m.tflite", [(name, (0,)), ("MAX_POOL_2D", (1,))], grids)
    wrong, most = differing(path)
    # The runtime's hard swish is of 16-bit integers that it rounds several times.
    assert wrong <= (4 if name == "HARD_SWISH" else 0)
    assert most <= (name == "HARD_SWISH")
    notes = import_tflite(path).notes
    assert any("rounded once here" in note for note in notes) == (name == "HARD_SWISH")


@pytest.mark.filterwarnings("ignore")
def test_products_of_functions_of_the_same_codes(tmp_path: Path) -> None:
    grids = [(0.05, 3), (1 / 256, -128), (0.05, -100)]
    path = made(tmp_path / "m.tflite", [("LOGISTIC", (0,)), ("MUL", (0, 1))], grids)
    assert differing(path) == (0, 0)
    # A product of other tensors is refused.
    grids = [(0.05, 3), (0.05, 3), (1 / 256, -128), (0.05, -100)]
    operators = [("MAX_POOL_2D", (0,)), ("LOGISTIC", (1,)), ("MUL", (0, 2))]
    with pytest.raises(CelosiaError, match="multiplies or divides two activations"):
        import_tflite(made(tmp_path / "n.tflite", operators, grids))
