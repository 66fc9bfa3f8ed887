"""Reading ONNX files as plain values: nodes, constants, inputs. Nothing in a file is executed.

A file is a table of names, numbers and operators. Everything that it claims (sizes, types, where
further data lies, in which order operators run) is checked before it is used.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, TensorProto, numpy_helper

from celosia.models.errors import CelosiaError

MAX_FILE_BYTES = 1 << 31
"""Protobuf's own limit: a larger file keeps its weights beside it (external data)."""

MAX_ELEMENTS = 1 << 28
"""Elements of the largest constant."""

FIRST_OPSET = 7
"""Oldest operator set that onnxruntime runs."""

STANDARD = ""
QONNX = "qonnx"
MICROSOFT = "com.microsoft"
CODES = "codes"
"""Where operators are that read integers and have another meaning there than for real values."""

DOMAINS = {
    "": STANDARD,
    "ai.onnx": STANDARD,
    "com.microsoft": MICROSOFT,
    "qonnx.custom_op.general": QONNX,
    "onnx.brevitas": QONNX,
}
"""Domains of known operators."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Constant:
    """A constant of a file: its values and the name of its ONNX type (``float``, ``int4``)."""

    values: np.ndarray
    type: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Node:
    """One operator: where it is, what it reads and writes, its attributes as plain values.

    Attributes are numbers, texts, lists of either, or :class:`Constant`.
    """

    operator: str
    domain: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]

    @property
    def where(self) -> str:
        """Its name, or that of what it writes."""
        return self.name or next((name for name in self.outputs if name), "") or self.operator


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Input:
    """An input of the model: ONNX type and shape; a size that is left open is None."""

    type: str
    shape: tuple[int | None, ...] | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Model:
    """A file's main graph. ``nodes`` are in an order in which each reads what is there."""

    name: str
    opset: int
    nodes: tuple[Node, ...]
    constants: dict[str, Constant]
    inputs: dict[str, Input]
    outputs: tuple[str, ...]


def read_model(path: str | Path) -> Model:
    """Read an ONNX file.

    Raises
    ------
    CelosiaError
        If the file is missing, truncated or of another kind; its graph has a cycle, reads what
        nobody writes or has a name twice; a constant is damaged, too large, not finite, or lies
        outside the file's folder. Names the node or the constant.
    """
    where = Path(path)
    try:
        size = where.stat().st_size
        if size > MAX_FILE_BYTES:
            raise _refused(
                where,
                f"it has {size} bytes, protobuf allows {MAX_FILE_BYTES}",
                "save it with external data",
            )
        content = where.read_bytes()
    except OSError as error:
        raise CelosiaError(f"cannot read {where}: {error.strerror or error}") from error
    proto = onnx.ModelProto()
    try:
        proto.ParseFromString(content)
    except Exception as error:  # protobuf has kinds of its own
        raise _refused(where, "it is no ONNX model, or is truncated", "export it again") from error
    if not proto.graph.node or not proto.ir_version:
        raise _refused(where, "it is no ONNX model, or an empty one", "export it again")
    return _Reader(where, proto).model()


def _refused(path: Path, reason: str, remedy: str) -> CelosiaError:
    return CelosiaError(f"{path} is not a usable ONNX file: {reason}; {remedy}")


class _Reader:
    def __init__(self, path: Path, proto: onnx.ModelProto) -> None:
        self.path, self.proto, self.graph = path, proto, proto.graph

    def refused(self, reason: str, remedy: str = "export the model again") -> CelosiaError:
        return _refused(self.path, reason, remedy)

    def model(self) -> Model:
        opset = self._opset()
        if self.proto.functions:
            names = ", ".join(function.name for function in self.proto.functions)
            raise self.refused(f"it defines functions ({names})", "inline them (onnx.inliner)")
        if self.graph.sparse_initializer:
            raise self.refused("it has sparse initializers", "store them dense")
        constants = {}
        for tensor in self.graph.initializer:
            if not tensor.name or tensor.name in constants:
                raise self.refused(f"initializer {tensor.name!r} appears twice or has no name")
            constants[tensor.name] = self.constant(tensor, f"initializer {tensor.name!r}")
        inputs = {}
        for value in self.graph.input:
            if value.name in inputs or not value.name:
                raise self.refused(f"input {value.name!r} appears twice or has no name")
            if value.name not in constants:
                inputs[value.name] = self._input(value)
        outputs = tuple(value.name for value in self.graph.output)
        nodes = [self._node(node) for node in self.graph.node]
        return Model(
            name=self.path.stem,
            opset=opset,
            nodes=self._ordered(nodes, {*inputs, *constants}, outputs),
            constants=constants,
            inputs=inputs,
            outputs=outputs,
        )

    def _opset(self) -> int:
        found = {DOMAINS.get(entry.domain): entry.version for entry in self.proto.opset_import}
        version = found.get(STANDARD)
        if version is None:
            raise self.refused("it names no operator set of ONNX", "export it with opset 13 or so")
        newest = onnx.defs.onnx_opset_version()
        if not FIRST_OPSET <= version <= newest:
            raise self.refused(
                f"it has operator set {version}, known are {FIRST_OPSET} to {newest}",
                "convert it (onnx.version_converter)",
            )
        return int(version)

    def _input(self, value: onnx.ValueInfoProto) -> Input:
        if value.type.WhichOneof("value") != "tensor_type":
            raise self.refused(f"input {value.name!r} is no tensor", "give images as inputs")
        tensor = value.type.tensor_type
        shape = None
        if tensor.HasField("shape"):
            shape = tuple(
                int(size.dim_value) if size.WhichOneof("value") == "dim_value" else None
                for size in tensor.shape.dim
            )
        return Input(type=_type_name(tensor.elem_type), shape=shape)

    def _node(self, node: onnx.NodeProto) -> Node:
        domain = DOMAINS.get(node.domain, node.domain or "unknown")
        where = f"node {node.name or next(iter(node.output), '')!r} ({node.op_type})"
        attributes: dict[str, Any] = {}
        for attribute in node.attribute:
            if attribute.name in attributes:
                raise self.refused(f"{where} has attribute {attribute.name!r} twice")
            attributes[attribute.name] = self._attribute(attribute, where)
        return Node(
            operator=node.op_type,
            domain=domain,
            name=node.name,
            inputs=tuple(node.input),
            outputs=tuple(node.output),
            attributes=attributes,
        )

    def _attribute(self, attribute: onnx.AttributeProto, where: str) -> Any:
        match attribute.type:
            case AttributeProto.FLOAT:
                return float(attribute.f)
            case AttributeProto.INT:
                return int(attribute.i)
            case AttributeProto.STRING:
                return attribute.s.decode("utf-8", "replace")
            case AttributeProto.FLOATS:
                return [float(value) for value in attribute.floats]
            case AttributeProto.INTS:
                return [int(value) for value in attribute.ints]
            case AttributeProto.STRINGS:
                return [value.decode("utf-8", "replace") for value in attribute.strings]
            case AttributeProto.TENSOR:
                return self.constant(attribute.t, f"{where}: attribute {attribute.name!r}")
        return None  # graphs and others: only operators have them that are refused by name

    def constant(self, tensor: onnx.TensorProto, where: str) -> Constant:
        """Return the values of ``tensor``, from a file beside the model where they are there."""
        kind = _type_name(tensor.data_type)
        count = math.prod(tensor.dims)
        if min(tensor.dims, default=0) < 0 or count > MAX_ELEMENTS:
            raise self.refused(
                f"{where} claims shape {list(tensor.dims)}, at most {MAX_ELEMENTS} elements are "
                "read"
            )
        if tensor.data_type == TensorProto.STRING:
            raise self.refused(f"{where} holds texts")
        try:
            if tensor.data_location == TensorProto.EXTERNAL:
                plain = TensorProto()
                plain.dims.extend(tensor.dims)
                plain.data_type = tensor.data_type
                plain.raw_data = self._external(tensor, where)
                tensor = plain
            values = numpy_helper.to_array(tensor)
        except CelosiaError:
            raise
        except Exception as error:  # numpy and onnx raise many kinds for damaged tensors
            raise self.refused(f"{where} is damaged: {error}") from error
        if values.dtype.kind not in "fiub":
            values = values.astype(np.float32 if "float" in kind else np.int64)
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise self.refused(
                f"{where} holds a NaN or an infinity",
                "look for where training diverged, and export an earlier checkpoint",
            )
        return Constant(values=values, type=kind)

    def _external(self, tensor: onnx.TensorProto, where: str) -> bytes:
        """Return external data, which must lie in the model's folder."""
        entries = {entry.key: entry.value for entry in tensor.external_data}
        folder = self.path.absolute().parent.resolve()
        location = entries.get("location", "")
        path = (folder / location).resolve()
        if not location or not path.is_relative_to(folder) or Path(location).is_absolute():
            raise self.refused(
                f"{where} lies in {location!r}, outside the model's folder",
                "keep external data beside the model",
            )
        offset, length = (int(entries.get(key, "0")) for key in ("offset", "length"))
        try:
            size = path.stat().st_size
            length = length or size - offset
            if offset < 0 or length < 0 or offset + length > size or length > 8 * MAX_ELEMENTS:
                raise self.refused(
                    f"{where}: bytes {offset} to {offset + length} are not in {location!r} "
                    f"of {size}"
                )
            with path.open("rb") as file:
                file.seek(offset)
                return bytes(file.read(length))
        except OSError as error:
            raise self.refused(
                f"{where}: its data in {location!r} cannot be read: {error.strerror or error}",
                "keep external data beside the model",
            ) from error

    def _ordered(
        self, nodes: list[Node], known: set[str], outputs: tuple[str, ...]
    ) -> tuple[Node, ...]:
        """Return ``nodes`` in an order in which each reads what is there."""
        writers: dict[str, Node] = {}
        for node in nodes:
            for name in filter(None, node.outputs):
                if name in writers or name in known:
                    raise self.refused(f"node {node.where!r} writes {name!r}, which has a value")
                writers[name] = node
        for node in nodes:
            for name in filter(None, node.inputs):
                if name not in writers and name not in known:
                    raise self.refused(f"node {node.where!r} reads {name!r}, which nothing writes")
        for name in outputs:
            if name not in writers and name not in known:
                raise self.refused(f"nothing writes output {name!r}")
        return self._sorted(nodes, known)

    def _sorted(self, nodes: list[Node], known: set[str]) -> tuple[Node, ...]:
        """Return ``nodes`` in order of what they read, as far as possible in their own."""
        missing = [set(filter(None, node.inputs)) - known for node in nodes]
        readers: dict[str, list[int]] = {}
        for index, names in enumerate(missing):
            for name in names:
                readers.setdefault(name, []).append(index)
        ready = [index for index, names in enumerate(missing) if not names]
        ordered = []
        while ready:
            index = heapq.heappop(ready)
            ordered.append(nodes[index])
            for name in nodes[index].outputs:
                for reader in readers.get(name, ()):
                    missing[reader].discard(name)
                    if not missing[reader]:
                        heapq.heappush(ready, reader)
        if len(ordered) < len(nodes):
            node = next(node for node, names in zip(nodes, missing, strict=True) if names)
            raise self.refused(
                f"its graph has a cycle through node {node.where!r} ({node.operator})"
            )
        return tuple(ordered)


def _type_name(code: int) -> str:
    try:
        return str(TensorProto.DataType.Name(code)).lower()
    except ValueError:
        return f"type {code}"
