"""Files that are damaged, hostile or beyond limits: refused in words, with the node, at once."""

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from celosia.models.errors import CelosiaError
from celosia.models.onnx_import import reader
from celosia.models.onnx_import.importer import import_onnx, import_quantised_onnx
from celosia.models.onnx_import.reader import read_model

from .builders import Made


def small() -> Made:
    made = Made((1, 2, 4, 4))
    made.node("Conv", "x", made.const(np.ones((3, 2, 1, 1)), name="w"))
    made.node("Relu", "t0")
    return made


def refused(path: Path, message: str) -> None:
    with pytest.raises(CelosiaError, match=message):
        import_onnx(path)
    with pytest.raises(CelosiaError, match=message):
        import_quantised_onnx(path)


def test_missing_and_other_files(tmp_path: Path) -> None:
    refused(tmp_path / "none.onnx", "cannot read .*No such file")
    refused(tmp_path, "cannot read .*directory")
    for content in (
        b"",
        b"hello",
        np.random.default_rng(20261121).bytes(500),
        b"PK\x03\x04" + bytes(100),
    ):
        path = tmp_path / "m.onnx"
        path.write_bytes(content)
        refused(path, "is not a usable ONNX file")


def test_truncated_anywhere(tmp_path: Path) -> None:
    data = small().model("t1").SerializeToString()
    path = tmp_path / "m.onnx"
    for size in range(0, len(data), 7):
        path.write_bytes(data[:size])
        with pytest.raises(CelosiaError):
            import_onnx(path)


def test_damaged_anywhere_is_refused_or_a_graph(tmp_path: Path) -> None:
    """No other exception, whatever byte is another."""
    data = bytearray(small().model("t1").SerializeToString())
    path = tmp_path / "m.onnx"
    random = np.random.default_rng(11)
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= int(random.integers(1, 256))
        path.write_bytes(changed)
        with contextlib.suppress(CelosiaError):
            import_onnx(path)


def test_cycle(tmp_path: Path) -> None:
    made = Made()
    made.nodes += [
        helper.make_node("Add", ["x", "b"], ["a"], name="first"),
        helper.make_node("Relu", ["a"], ["b"], name="second"),
    ]
    refused(made.save(tmp_path / "m.onnx", "b"), r"a cycle through node 'first' \(Add\)")


def test_nodes_in_any_order_are_sorted(tmp_path: Path) -> None:
    made = small()
    made.nodes.reverse()
    assert len(import_onnx(made.save(tmp_path / "m.onnx", "t1")).ops) == 1


def test_names(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    made = small()
    made.nodes.append(helper.make_node("Relu", ["x"], ["t0"], name="again"))
    refused(made.save(path, "t1"), "node 'again' writes 't0', which has a value")
    made = small()
    made.const(1.0, name="w")
    refused(made.save(path, "t1"), "initializer 'w' appears twice")
    made = small()
    made.nodes.append(helper.make_node("Relu", ["ghost"], ["t9"], name="lost"))
    refused(made.save(path, "t9"), "node 'lost' reads 'ghost', which nothing writes")
    refused(small().save(path, "t7"), "nothing writes output 't7'")


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 3, "H", 8), r"input at x: the input has shape \(1, 3, '\?', 8\)"),
        (("N", "C", 8, 8), "the input has shape"),
        ((1, 3, 8), "the input has shape"),
        ((1, 3, 1 << 20, 1 << 20), "give at most 33554432 values"),
    ],
)
def test_shapes(tmp_path: Path, shape: tuple, message: str) -> None:
    made = Made(shape)
    refused(made.save(tmp_path / "m.onnx", made.node("Relu", "x")), message)


def test_input_without_a_shape(tmp_path: Path) -> None:
    made = Made()
    made.inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, None)]
    refused(made.save(tmp_path / "m.onnx", made.node("Relu", "x")), "has no fixed shape")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_none(tmp_path: Path, value: float) -> None:
    made = small()
    made.constants[0] = numpy_helper.from_array(np.full((3, 2, 1, 1), value, np.float32), "w")
    refused(made.save(tmp_path / "m.onnx", "t1"), "initializer 'w' holds a NaN or an infinity")


def test_numbers_that_become_none(tmp_path: Path) -> None:
    made = small()
    zero = made.const(0.0)
    made.node("Mul", "t1", made.node("Div", made.const(1.0), zero))
    refused(made.save(tmp_path / "m.onnx", "t3"), r"Div at n2: it makes a constant .*no number")


def claimed(dims: list[int], data: bytes = bytes(24)) -> onnx.TensorProto:
    return TensorProto(name="w", data_type=TensorProto.FLOAT, dims=dims, raw_data=data)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (claimed([1 << 20, 1 << 20]), "claims shape .1048576, 1048576., at most"),
        (claimed([3, -2]), "claims shape"),
        (claimed([3, 2, 1, 5]), "initializer 'w' is damaged"),
        (TensorProto(name="w", data_type=99, dims=[1], raw_data=b"1234"), "'w' is damaged"),
        (TensorProto(name="w", data_type=8, dims=[1], string_data=[b"text"]), "'w' holds texts"),
    ],
)
def test_constants_that_are_not_what_they_claim(
    tmp_path: Path, tensor: onnx.TensorProto, message: str
) -> None:
    made = small()
    made.constants[0] = tensor
    refused(made.save(tmp_path / "m.onnx", "t1"), message)


def test_constants_that_grow(tmp_path: Path) -> None:
    made = Made()
    huge = made.node("ConstantOfShape", made.const([1 << 16, 1 << 16], np.int64))
    refused(made.save(tmp_path / "m.onnx", made.node("Add", "x", huge)), "ConstantOfShape at n0")
    made = Made()
    huge = made.node("Expand", made.const(1.0), made.const([1 << 16, 1 << 16], np.int64))
    refused(made.save(tmp_path / "m.onnx", made.node("Add", "x", huge)), "Expand at n0")


def test_a_file_beyond_protobufs_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = small().save(tmp_path / "m.onnx", "t1")
    monkeypatch.setattr(reader, "MAX_FILE_BYTES", 100)
    refused(path, r"it has \d+ bytes, protobuf allows 100; save it with external data")


def outside(made: Made, **entries: str) -> None:
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[3, 2, 1, 1])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    made.constants[0] = tensor


def test_external_data_in_the_folder(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    values = np.arange(6, dtype=np.float32)
    (tmp_path / "sub" / "w.bin").write_bytes(bytes(8) + values.tobytes())
    made = small()
    outside(made, location="sub/w.bin", offset="8", length="24")
    model = read_model(made.save(tmp_path / "m.onnx", "t1"))
    assert model.constants["w"].values.ravel().tolist() == values.tolist()


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ({"location": "../secret.bin"}, "outside the model's folder"),
        ({"location": "/etc/passwd"}, "outside the model's folder"),
        ({"location": "link.bin"}, "outside the model's folder"),
        ({}, "outside the model's folder"),
        ({"location": "missing.bin"}, "cannot be read: No such file"),
        ({"location": "."}, "cannot be read|not in"),
        ({"location": "w.bin", "offset": "20"}, "is damaged|are not in"),
        ({"location": "w.bin", "length": "9999"}, "are not in 'w.bin' of 24"),
        ({"location": "w.bin", "offset": "-4"}, "are not in 'w.bin' of 24"),
        ({"location": "w.bin", "offset": "many"}, "is damaged: invalid literal"),
    ],
)
def test_external_data_elsewhere(tmp_path: Path, entries: dict, message: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(24))
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    (folder / "w.bin").write_bytes(bytes(24))
    made = small()
    outside(made, **entries)
    refused(made.save(folder / "m.onnx", "t1"), message)


def test_operator_sets(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    refused(small().save(path, "t1", opset=6), "operator set 6, known are 7 to")
    refused(small().save(path, "t1", opset=999), "operator set 999")
    model = small().model("t1")
    del model.opset_import[:]
    path.write_bytes(model.SerializeToString())
    refused(path, "names no operator set")


def test_functions_and_control_flow(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    model = small().model("t1")
    body = [helper.make_node("Relu", ["a"], ["b"])]
    opsets = [helper.make_opsetid("", 13)]
    model.functions.append(helper.make_function("my", "Twice", ["a"], ["b"], body, opsets))
    path.write_bytes(model.SerializeToString())
    refused(path, r"defines functions \(Twice\)")
    made = small()
    branch = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])], "branch", [],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )  # fmt: skip
    made.node("If", made.const(True, np.bool_), then_branch=branch, else_branch=branch)
    refused(made.save(path, "t2"), "If at n2: ")


CASES: list[tuple[str, list[Any], dict[str, Any], str]] = [
    ("Conv", ["x", np.ones((4, 3, 3, 3))], {"strides": [0, 1]}, "Conv at n0: .*not positive"),
    ("Conv", ["x", np.ones((4, 3, 3, 3))], {"pads": [-1, 0, 0, 0]}, "Conv at n0: its pads"),
    ("Conv", ["x", np.ones((4, 3, 3, 3))], {"pads": [1 << 30] * 4}, "Conv at n0: its pads"),
    ("Conv", ["x", np.ones((4, 3, 3, 3))], {"group": 3}, "Conv at n0: .*in 3 groups"),
    (
        "Conv",
        ["x", np.ones((4, 3, 3, 3))],
        {"kernel_shape": [5, 5]},
        "Conv at n0: its kernel_shape",
    ),
    ("Conv", ["x", np.ones((4, 3, 9, 9))], {}, "Conv at n0: its output would be"),
    ("Conv", ["x", np.ones((4, 3, 3))], {}, "Conv at n0: its weights have shape"),
    ("Conv", ["x", "x"], {}, "Conv at n0: its weight is computed"),
    ("Conv", ["x"], {}, "Conv at n0: .*wrong"),
    ("Conv", ["x", np.ones((4, 3, 1, 1))], {"auto_pad": "ODD"}, "its auto_pad is 'ODD'"),
    ("MatMul", ["x", "x"], {}, "MatMul at n0: it multiplies two activations"),
    ("Gemm", ["x", np.ones((192, 4))], {"transA": 1}, "Gemm at n0: it transposes"),
    ("Div", ["x", "x"], {}, "Div at n0: it multiplies or divides two activations"),
    ("Div", ["x", np.zeros(1)], {}, "Div at n0: it divides by zero"),
    ("Add", ["x", np.arange(64.0).reshape(8, 8)], {}, "Add at n0: its values differ inside"),
    ("Add", ["x", np.ones((5, 1, 1))], {}, "Add at n0: its constant of shape"),
    ("MaxPool", ["x"], {}, "MaxPool at n0: its kernel_shape"),
    ("MaxPool", ["x"], {"kernel_shape": [2, 2], "pads": [4, 4, 4, 4]}, "nothing but padding"),
    ("AveragePool", ["x"], {"kernel_shape": [3, 3], "pads": [1] * 4}, "windows at the border"),
    ("BatchNormalization", ["x", *[np.ones(3)] * 4], {"training_mode": 1}, "in training mode"),
    ("Reshape", ["x", np.array([5, -1])], {}, "Reshape at n0: it reshapes"),
    ("Transpose", ["x"], {"perm": [1, 0, 2, 3]}, "keep the batch axis first"),
    ("Transpose", ["x"], {"perm": [0, 9, 2, 3]}, "Transpose at n0: it orders axes"),
    ("Concat", ["x", "x"], {"axis": 2}, "Concat at n0: it joins along axis 2"),
    ("Softmax", ["x"], {"axis": 3}, "Softmax at n0: it does not run over the channels"),
    ("Cast", ["x"], {"to": 7}, "Cast at n0: it makes integers"),
    ("Clip", ["x", np.ones(1), np.zeros(1)], {}, "Clip at n0: its limits 1.0 and 0.0 cross"),
    ("ReduceMean", ["x"], {"axes": [1]}, "ReduceMean at n0: it averages over axes"),
]


@pytest.mark.parametrize(("operator", "operands", "attributes", "message"), CASES)
def test_attributes_name_the_node(
    tmp_path: Path, operator: str, operands: list, attributes: dict, message: str
) -> None:
    made = Made()
    names = [
        item if isinstance(item, str)
        else made.const(item, np.int64 if item.dtype.kind == "i" else np.float32)
        for item in operands
    ]  # fmt: skip
    path = made.save(tmp_path / "m.onnx", made.node(operator, *names, **attributes))
    refused(path, message)


def test_what_follows_a_softmax(tmp_path: Path) -> None:
    made = Made((1, 4))
    made.node("Relu", made.node("Softmax", "x", axis=1))
    refused(made.save(tmp_path / "m.onnx", "t1"), "Relu at n1: it follows a softmax")


def test_a_long_chain_is_no_recursion(tmp_path: Path) -> None:
    made = Made((1, 1, 1, 1))
    value = "x"
    for _ in range(3000):
        value = made.node("Identity", value)
    made.nodes.reverse()
    assert len(import_onnx(made.save(tmp_path / "m.onnx", made.nodes[0].output[0])).ops) == 1
