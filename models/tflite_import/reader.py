"""Reading TFLite files as plain values, by the public schema's field numbers.

A file is a flatbuffer: tables with a list of where their fields lie. Each offset is checked before
it is followed, so a damaged file is refused. Nothing in it is executed.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from celosia.models.errors import CelosiaError

MAX_BYTES = 1 << 31
TYPES: dict[int, np.dtype[Any]] = {
    0: np.dtype("<f4"),
    2: np.dtype("<i4"),
    3: np.dtype("u1"),
    4: np.dtype("<i8"),
    7: np.dtype("<i2"),
    9: np.dtype("i1"),
}
"""Types of tensors whose values are read."""

OPERATORS = {
    0: "ADD",
    1: "AVERAGE_POOL_2D",
    2: "CONCATENATION",
    3: "CONV_2D",
    4: "DEPTHWISE_CONV_2D",
    6: "DEQUANTIZE",
    9: "FULLY_CONNECTED",
    14: "LOGISTIC",
    17: "MAX_POOL_2D",
    18: "MUL",
    19: "RELU",
    21: "RELU6",
    22: "RESHAPE",
    25: "SOFTMAX",
    28: "TANH",
    34: "PAD",
    40: "MEAN",
    45: "STRIDED_SLICE",
    102: "SPLIT_V",
    111: "ELU",
    114: "QUANTIZE",
    117: "HARD_SWISH",
    129: "CALL_ONCE",
    142: "VAR_HANDLE",
    143: "READ_VARIABLE",
    144: "ASSIGN_VARIABLE",
    150: "GELU",
}
"""Names of the operators that are imported."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tensor:
    """A tensor: ``values`` where it is constant; scales and zero points where it is quantised."""

    name: str
    shape: tuple[int, ...]
    type: int
    values: np.ndarray | None
    scales: np.ndarray
    zeros: np.ndarray
    axis: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Operator:
    """An operator: numbers of the tensors that it reads (-1: none) and writes, and its options."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Table | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Model:
    """A file's main subgraph."""

    name: str
    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a flatbuffer at ``place``."""

    data: bytes
    place: int

    def number(self, field: int, form: str, default: int = 0) -> int:
        """Return a plain field, of the form that :mod:`struct` has."""
        where = self._field(field)
        return default if where is None else int(struct.unpack_from(form, self.data, where)[0])

    def table(self, field: int) -> Table | None:
        """Return the table that a field refers to."""
        where = self._field(field)
        return None if where is None else Table(self.data, self._follow(where))

    def tables(self, field: int) -> list[Table]:
        """Return the tables of a list."""
        start, count = self._list(field, 4)
        return [Table(self.data, self._follow(start + 4 * index)) for index in range(count)]

    def array(self, field: int, form: str) -> np.ndarray:
        """Return a list of numbers."""
        kind = np.dtype(form)
        start, count = self._list(field, kind.itemsize)
        return np.frombuffer(self.data, kind, count, start)

    def text(self, field: int) -> str:
        """Return a text."""
        return self.array(field, "u1").tobytes().decode("utf-8", "replace")

    def _field(self, field: int) -> int | None:
        (back,) = struct.unpack_from("<i", self.data, self.place)
        table = self.place - back
        if table < 0:
            raise ValueError("a table lies before the file")
        (size,) = struct.unpack_from("<H", self.data, table)
        if 4 + 2 * field + 2 > size:
            return None
        (offset,) = struct.unpack_from("<H", self.data, table + 4 + 2 * field)
        return self.place + offset if offset else None

    def _follow(self, where: int) -> int:
        (offset,) = struct.unpack_from("<I", self.data, where)
        if not offset or where + offset + 4 > len(self.data):
            raise ValueError("an offset leads out of the file")
        return int(where + offset)

    def _list(self, field: int, size: int) -> tuple[int, int]:
        where = self._field(field)
        if where is None:
            return 0, 0
        start = self._follow(where)
        (count,) = struct.unpack_from("<I", self.data, start)
        if start + 4 + count * size > len(self.data):
            raise ValueError("a list leads out of the file")
        return start + 4, int(count)


def read_model(path: str | Path) -> Model:
    """Read a TFLite file.

    Raises :class:`CelosiaError` if it is missing, damaged, or of another kind.
    """
    where = Path(path)
    try:
        if where.stat().st_size > MAX_BYTES:
            raise CelosiaError(f"{where} is no TFLite file: it has more than {MAX_BYTES} bytes")
        data = where.read_bytes()
    except OSError as error:
        raise CelosiaError(f"cannot read {where}: {error.strerror or error}") from error
    if data[4:8] != b"TFL3":
        raise CelosiaError(
            f"{where} is no TFLite file, or one of another version; convert it again"
        )
    try:
        return _model(data, where.stem)
    except (ValueError, IndexError, struct.error, OverflowError) as error:
        raise CelosiaError(f"{where} is damaged: {error}; convert the model again") from error


def _model(data: bytes, name: str) -> Model:
    root = Table(data, int(struct.unpack_from("<I", data, 0)[0]))
    codes = [_operator_name(entry) for entry in root.tables(1)]
    buffers = [entry.array(0, "u1") for entry in root.tables(4)]
    graph = root.tables(2)[0]
    tensors = tuple(_tensor(entry, buffers) for entry in graph.tables(0))
    operators = []
    for entry in graph.tables(3):
        inputs, outputs = (tuple(entry.array(field, "<i4").tolist()) for field in (1, 2))
        if max((*inputs, *outputs), default=0) >= len(tensors) or min((-1, *inputs)) < -1:
            raise ValueError("an operator reads a tensor that is not there")
        operators.append(
            Operator(
                name=codes[entry.number(0, "<I")],
                inputs=inputs,
                outputs=outputs,
                options=entry.table(4),
            )
        )
    ends = [tuple(graph.array(field, "<i4").tolist()) for field in (1, 2)]
    if not all(0 <= number < len(tensors) for end in ends for number in end):
        raise ValueError("an input or output is not there")
    return Model(
        name=name,
        tensors=tensors,
        operators=tuple(operators),
        inputs=ends[0],
        outputs=ends[1],
    )


def _operator_name(entry: Table) -> str:
    code = max(entry.number(0, "<b"), entry.number(3, "<i"))
    return OPERATORS.get(code, f"operator {code} {entry.text(1)}".strip())


def _tensor(entry: Table, buffers: list[np.ndarray]) -> Tensor:
    shape = tuple(int(size) for size in entry.array(0, "<i4"))
    kind, name = entry.number(1, "<b"), entry.text(3)
    stored, values = buffers[entry.number(2, "<I")], None
    if stored.size and kind in TYPES:
        if min(shape, default=1) < 0 or stored.size != math.prod(shape) * TYPES[kind].itemsize:
            raise ValueError(f"tensor {name!r} of shape {shape} has {stored.size} bytes")
        values = stored.view(TYPES[kind]).reshape(shape)
    table = entry.table(4)
    scales = np.zeros(0) if table is None else table.array(2, "<f4").astype(np.float64)
    zeros = np.zeros(0, np.int64) if table is None else table.array(3, "<i8").astype(np.int64)
    if not (np.isfinite(scales).all() and (scales > 0).all()) or zeros.size not in (0, scales.size):
        raise ValueError(f"tensor {name!r} has scales that are no positive numbers")
    return Tensor(
        name=name,
        shape=shape,
        type=kind,
        values=values,
        scales=scales,
        zeros=zeros if zeros.size else np.zeros(scales.size, np.int64),
        axis=0 if table is None else table.number(6, "<i"),
    )
