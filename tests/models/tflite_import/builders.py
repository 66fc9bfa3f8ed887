"""Small TFLite files, made operator by operator (fields by their numbers in the public schema)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np

CODES = {
    "ADD": 0, "AVERAGE_POOL_2D": 1, "CONCATENATION": 2, "CONV_2D": 3, "DEPTHWISE_CONV_2D": 4,
    "FULLY_CONNECTED": 9, "LOGISTIC": 14, "MAX_POOL_2D": 17, "RELU": 19, "RELU6": 21,
    "RESHAPE": 22, "PAD": 34, "MEAN": 40, "SUB": 41, "QUANTIZE": 114,
}  # fmt: skip
OPTIONS = {
    "ADD": 11, "AVERAGE_POOL_2D": 5, "CONCATENATION": 10, "CONV_2D": 1, "DEPTHWISE_CONV_2D": 2,
    "FULLY_CONNECTED": 8, "MAX_POOL_2D": 5, "RESHAPE": 17, "PAD": 22, "MEAN": 27,
}  # fmt: skip
TYPES = {"float32": 0, "int32": 2, "uint8": 3, "int16": 7, "int8": 9}

Options = Sequence[tuple[int, str, int]]
"""Field, form (``Int8``, ``Int32`` or ``Bool``) and value of an operator's options."""


class Made:
    """Collects tensors and operators of a file; its input is ``x``."""

    def __init__(self, shape: Sequence[int], scale: float = 0.05, zero: int = 3) -> None:
        self.tensors: list[dict[str, Any]] = []
        self.operators: list[tuple[str, list[int], int, Options]] = []
        self.input = self.tensor("x", shape, scale, zero)

    def tensor(
        self,
        name: str,
        shape: Sequence[int],
        scale: Any = (),
        zero: int = 0,
        values: np.ndarray | None = None,
        axis: int = 0,
    ) -> int:
        """Add a tensor, int8 unless it has values; return its number."""
        kind = "int8" if values is None else values.dtype.name
        scales = np.atleast_1d(np.asarray(scale, np.float32))
        self.tensors.append(
            {
                "name": name,
                "shape": list(shape),
                "type": TYPES[kind],
                "values": values,
                "scales": scales,
                "zeros": np.full(scales.shape, zero),
                "axis": axis,
            }
        )
        return len(self.tensors) - 1

    def constant(self, values: np.ndarray, scale: Any = (), axis: int = 0) -> int:
        return self.tensor(f"k{len(self.tensors)}", values.shape, scale, 0, values, axis)

    def op(
        self,
        name: str,
        inputs: Sequence[int],
        shape: Sequence[int],
        scale: float,
        zero: int = 0,
        options: Options = (),
    ) -> int:
        """Add an operator; return the number of what it writes."""
        output = self.tensor(f"t{len(self.tensors)}", shape, scale, zero)
        self.operators.append((name, list(inputs), output, options))
        return output

    def save(self, path: Path) -> Path:
        b = flatbuffers.Builder(4096)
        buffers = [_table(b, [])]
        tensors = []
        for entry in self.tensors:
            number = 0
            if entry["values"] is not None:
                data = b.CreateNumpyVector(np.frombuffer(entry["values"].tobytes(), np.uint8))
                number = len(buffers)
                buffers.append(_table(b, [(0, "UOffsetTRelative", data)]))
            scales = b.CreateNumpyVector(entry["scales"])
            zeros = b.CreateNumpyVector(entry["zeros"].astype(np.int64))
            offsets = [(2, "UOffsetTRelative", scales), (3, "UOffsetTRelative", zeros)]
            quantisation = _table(b, [*offsets, (6, "Int32", entry["axis"])])
            shape, name = _ints(b, entry["shape"]), b.CreateString(entry["name"])
            fields = [(0, shape), (3, name), (4, quantisation)]
            plain = [(1, "Int8", entry["type"]), (2, "Uint32", number)]
            tensors.append(_table(b, [*_offsets(fields), *plain]))
        names = sorted({name for name, _, _, _ in self.operators})
        operators = []
        for name, inputs, output, options in self.operators:
            given = _table(b, options)
            fields = [(1, _ints(b, inputs)), (2, _ints(b, [output])), (4, given)]
            plain = [(0, "Uint32", names.index(name)), (3, "Uint8", OPTIONS.get(name, 0))]
            operators.append(_table(b, [*_offsets(fields), *plain]))
        codes = [
            _table(b, [(0, "Int8", CODES[name]), (2, "Int32", 1), (3, "Int32", CODES[name])])
            for name in names
        ]
        ends = _ints(b, [self.input]), _ints(b, [len(self.tensors) - 1])
        lists = [(0, _tables(b, tensors)), (1, ends[0]), (2, ends[1]), (3, _tables(b, operators))]
        graphs = _tables(b, [_table(b, _offsets(lists))])
        fields = [(1, _tables(b, codes)), (2, graphs), (4, _tables(b, buffers))]
        b.Finish(_table(b, [*_offsets(fields), (0, "Uint32", 3)]), file_identifier=b"TFL3")
        path.write_bytes(bytes(b.Output()))
        return path


def _offsets(fields: list[tuple[int, int]]) -> list[tuple[int, str, int]]:
    return [(slot, "UOffsetTRelative", value) for slot, value in fields]


def _table(b: Any, fields: Sequence[tuple[int, str, int]]) -> int:
    b.StartObject(8)
    for slot, form, value in fields:
        getattr(b, f"Prepend{form}Slot")(slot, value, 0)
    return int(b.EndObject())


def _ints(b: Any, values: Sequence[int]) -> int:
    return int(b.CreateNumpyVector(np.asarray(values, np.int32)))


def _tables(b: Any, offsets: list[int]) -> int:
    b.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        b.PrependUOffsetTRelative(offset)
    return int(b.EndVector())
