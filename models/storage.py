"""The file form of a :class:`Network`: a zip of one JSON document and ``.npy`` arrays.

Nothing in a file is ever executed: arrays are read without pickle, and everything read goes
through the constructors of the values. A SHA-256 over the whole content refuses files
that were damaged. The same network gives the same bytes.
"""

from __future__ import annotations

import hashlib
import io
import json
import struct
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from celosia.models.errors import CelosiaError
from celosia.models.files import advice, atomic_file
from celosia.models.formats import (
    BlockScaling,
    Esb,
    Fixed,
    decode_rows,
    encode_rows,
    parse_format,
    parse_scale,
)
from celosia.models.lstm import Lstm
from celosia.models.lstm import Table as LstmTable
from celosia.models.network import (
    Concat,
    Conv,
    Interleave,
    MaxPool,
    Network,
    Op,
    Part,
    Requant,
    Rounding,
    Tensor,
    WeightScales,
    Window,
)
from celosia.models.operations import parse_operation
from celosia.models.sparse import SparseLinear, SparseMatrix
from celosia.models.tables import Table

FORMAT = "celosia-network"
VERSION = 4
MAX_MEMBER_BYTES = 1 << 31
"""Largest array or document that is read: a damaged size does not fill the memory."""

_DOCUMENT = "network.json"
_MODELS = {
    "models/model.json": "a model that torch.export wrote",
    "serialized_exported_program.json": "a model that an old torch.export wrote",
    "data.pkl": "what torch.save wrote, and no exported model (torch.export.save)",
}
"""Members of the archives that people take for networks, and what those are."""

_CONSTANTS = ("bias", "positive", "negative", "residual", "shift")
_TABLES = ("sigmoid", "tanh", "cell_tanh")
_LSTM_FIELDS = ("hidden", "cell", "cells", "cell_shift", "output_shift")
_DATE = (1980, 1, 1, 0, 0, 0)


def fingerprint(network: Network) -> str:
    """Return the SHA-256 (hex) of everything that ``network`` holds.

    Equal networks have equal fingerprints, on every machine.
    """
    return _digest(*_encode(network))


def save(network: Network, path: str | Path) -> None:
    """Write ``network`` to ``path``, replacing what is there in one step.

    Nothing is left behind when writing fails or is interrupted.

    Raises
    ------
    CelosiaError
        If the file cannot be written.
    """
    document, arrays = _encode(network)
    text = json.dumps({**document, "sha256": _digest(document, arrays)}, indent=1, sort_keys=True)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        _add(archive, _DOCUMENT, text.encode())
        for name, array in arrays.items():
            data = io.BytesIO()
            np.lib.format.write_array(data, array, version=(1, 0), allow_pickle=False)
            _add(archive, f"{name}.npy", data.getvalue())
    try:
        with atomic_file(path) as draft:
            draft.write_bytes(buffer.getvalue())
    except OSError as error:
        raise CelosiaError(
            f"cannot write {path}: {error.strerror or error}{advice(error)}"
        ) from error


def load(path: str | Path) -> Network:
    """Read a network that :func:`save` wrote.

    Raises
    ------
    CelosiaError
        If the file is missing, is no network file, is of a newer version, or is
        truncated or damaged anywhere.
    """
    where = Path(path)
    try:
        with zipfile.ZipFile(where) as archive:
            document = _read_document(archive, where)
            arrays = {
                info.filename.removesuffix(".npy"): _read_array(archive, info)
                for info in archive.infolist()
                if info.filename != _DOCUMENT
            }
    except CelosiaError:
        raise
    except OSError as error:
        raise CelosiaError(f"cannot read {where}: {error.strerror or error}") from error
    except (zipfile.BadZipFile, zlib.error, struct.error, EOFError, RuntimeError) as error:
        raise _damaged(where, str(error)) from error
    except (ValueError, KeyError, TypeError, tokenize.TokenError) as error:
        raise _damaged(where, str(error)) from error
    expected = document.pop("sha256", None)
    if _digest(document, arrays) != expected:
        raise _damaged(where, "its checksum does not match its content")
    try:
        return _decode(document, arrays)
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        raise _damaged(where, f"its content is no network: {error}") from error


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    info = zipfile.ZipInfo(name, _DATE)
    info.compress_type = zipfile.ZIP_DEFLATED
    info.external_attr = 0o644 << 16
    archive.writestr(info, data, compresslevel=6)


def _damaged(path: Path, reason: str) -> CelosiaError:
    return CelosiaError(
        f"{path} is not a usable network file: {reason or 'it is truncated'}; "
        "write it again with `celosia quantize`"
    )


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    if info.file_size > MAX_MEMBER_BYTES:
        raise ValueError(f"member {info.filename} claims {info.file_size} bytes")
    return archive.read(info)


def _read_document(archive: zipfile.ZipFile, path: Path) -> dict[str, Any]:
    if _DOCUMENT not in archive.namelist():
        for member, kind in _MODELS.items():
            if any(f"/{name}".endswith(f"/{member}") for name in archive.namelist()):
                raise CelosiaError(
                    f"{path} is {kind}, not yet an integer-exact network: "
                    f"`celosia quantize MODEL.pt2 --calibration INPUTS.npy -o network.celosia` "
                    "makes one of a .pt2 file"
                )
        raise _damaged(path, f"it has no {_DOCUMENT}")
    document = json.loads(_read_member(archive, archive.getinfo(_DOCUMENT)))
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise _damaged(path, "it is no celosia network")
    if document.get("version") != VERSION:
        raise CelosiaError(
            f"{path} has version {document.get('version')!r}, this program reads {VERSION}; "
            "use the program that wrote it, or quantise again"
        )
    return document


def _read_array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    data = io.BytesIO(_read_member(archive, info))
    array: np.ndarray = np.lib.format.read_array(data, allow_pickle=False)
    return array


def _digest(document: dict[str, Any], arrays: dict[str, np.ndarray]) -> str:
    digest = hashlib.sha256(json.dumps(document, sort_keys=True, separators=(",", ":")).encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name}|{array.dtype.str}|{array.shape}|".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _encode(network: Network) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    arrays: dict[str, np.ndarray] = {}
    document = {
        "format": FORMAT,
        "version": VERSION,
        "name": network.name,
        "inputs": list(network.inputs),
        "outputs": list(network.outputs),
        "trained": network.trained,
        "tensors": [
            {
                "name": tensor.name,
                "shape": list(tensor.shape),
                "format": tensor.format.name,
                "scale": float(tensor.scale).hex(),
                "scaling": None if tensor.scaling is None else _encode_scaling(tensor.scaling),
                "zero": tensor.zero,
            }
            for tensor in network.tensors
        ],
        "ops": [_encode_op(index, op, arrays) for index, op in enumerate(network.ops)],
    }
    return document, arrays


def _encode_op(index: int, op: Op, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "kind": type(op).__name__.lower(),
        "name": op.name,
        "output": op.output,
    }
    if isinstance(op, Concat):
        return {**entry, "inputs": list(op.inputs)}
    if isinstance(op, Interleave):
        parts = [
            {"input": part.input, "origin": list(part.origin), "stride": list(part.stride)}
            for part in op.parts
        ]
        return {**entry, "parts": parts}
    if isinstance(op, SparseLinear):
        return entry | _encode_sparse(index, op, arrays)
    if isinstance(op, Lstm):
        return entry | _encode_lstm(index, op, arrays)
    window = {
        field: list(getattr(op.window, field))
        for field in ("kernel", "stride", "dilation", "padding")
    }
    entry |= {"input": op.input, "window": window}
    if isinstance(op, MaxPool):
        return entry
    wide = max(fmt.bits for fmt in op.formats) > 8
    codes = encode_rows(op.formats, op.weights)
    arrays[f"{index}.weights"] = codes.astype("<u2" if wide else "u1")
    for field in _CONSTANTS:
        arrays[f"{index}.{field}"] = getattr(op.requant, field).astype("<i8")
    scaling = None
    if op.scales is not None:
        scaling = _encode_scaling(op.scales.scaling)
        arrays[f"{index}.scales"] = op.scales.scaling.scale.encode(op.scales.values).astype("u1")
    return entry | {
        "table": _encode_table(index, op.requant.table, arrays),
        "groups": op.groups,
        "scaling": scaling,
        "formats": [fmt.name for fmt in op.formats],
        "residual": op.residual,
        "useful": op.useful,
        "operation": op.operation.name,
        "low": op.requant.low,
        "high": op.requant.high,
        "rounding": op.requant.rounding.name,
    }


def _encode_table(
    index: int, table: Table | None, arrays: dict[str, np.ndarray]
) -> dict[str, Any] | None:
    if table is None:
        return None
    arrays[f"{index}.table"] = table.values.astype("<i4")
    return {"function": table.function, "scale": float(table.scale).hex()}


def _decode_table(
    index: int, entry: dict[str, Any] | None, arrays: dict[str, np.ndarray]
) -> Table | None:
    if entry is None:
        return None
    return Table(
        function=entry["function"],
        scale=float.fromhex(entry["scale"]),
        values=arrays[f"{index}.table"].astype(np.int64),
    )


def _encode_sparse(index: int, op: SparseLinear, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    matrix = op.matrix
    arrays[f"{index}.counts"] = np.diff(matrix.starts).astype("<u4")
    arrays[f"{index}.rows"] = matrix.rows.astype("<u4")
    arrays[f"{index}.weights"] = op.format.encode(matrix.values).astype("<u2")
    arrays[f"{index}.bias"] = op.bias.astype("<i8")
    return {
        "input": op.input,
        "rows": matrix.shape[0],
        "format": op.format.name,
        "shift": op.shift,
        "low": op.low,
        "high": op.high,
    }


def _decode_sparse(
    index: int, entry: dict[str, Any], arrays: dict[str, np.ndarray]
) -> SparseLinear:
    counts = arrays[f"{index}.counts"].astype(np.int64)
    fmt = parse_format(entry["format"])
    return SparseLinear(
        name=entry["name"],
        input=entry["input"],
        output=entry["output"],
        matrix=SparseMatrix(
            shape=(entry["rows"], len(counts)),
            starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
            rows=arrays[f"{index}.rows"].astype(np.int64),
            values=fmt.decode(arrays[f"{index}.weights"].astype(np.int64)),
        ),
        format=fmt,
        bias=arrays[f"{index}.bias"].astype(np.int64),
        shift=entry["shift"],
        low=entry["low"],
        high=entry["high"],
    )


def _encode_lstm(index: int, op: Lstm, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    for table in _TABLES:
        arrays[f"{index}.{table}"] = getattr(op, table).knots.astype("<i2")
    fields = {field: getattr(op, field) for field in _LSTM_FIELDS}
    return _encode_sparse(index, op.linear, arrays) | fields


def _decode_lstm(index: int, entry: dict[str, Any], arrays: dict[str, np.ndarray]) -> Lstm:
    linear = _decode_sparse(index, entry, arrays)

    def table(name: str) -> LstmTable:
        return LstmTable(knots=arrays[f"{index}.{name}"].astype(np.int64))

    return Lstm(
        name=linear.name,
        input=linear.input,
        output=linear.output,
        matrix=linear.matrix,
        format=linear.format,
        bias=linear.bias,
        shift=linear.shift,
        sigmoid=table("sigmoid"),
        tanh=table("tanh"),
        cell_tanh=table("cell_tanh"),
        **{field: entry[field] for field in _LSTM_FIELDS},
    )


def _encode_scaling(scaling: BlockScaling) -> dict[str, Any]:
    return {
        "scale": scaling.scale.name,
        "vector": scaling.vector,
        "product_bits": scaling.product_bits,
    }


def _decode_scaling(entry: dict[str, Any]) -> BlockScaling:
    return BlockScaling(**{**entry, "scale": parse_scale(entry["scale"])})


def _decode(document: dict[str, Any], arrays: dict[str, np.ndarray]) -> Network:
    tensors = []
    for entry in document["tensors"]:
        fmt = parse_format(entry["format"])
        if not isinstance(fmt, Fixed | Esb):
            raise ValueError(f"tensor {entry['name']!r} has format {fmt.name}")
        channels, height, width = entry["shape"]
        tensors.append(
            Tensor(
                name=entry["name"],
                shape=(channels, height, width),
                format=fmt,
                scale=float.fromhex(entry["scale"]),
                scaling=None if entry["scaling"] is None else _decode_scaling(entry["scaling"]),
                zero=entry["zero"],
            )
        )
    return Network(
        name=document["name"],
        tensors=tuple(tensors),
        inputs=tuple(document["inputs"]),
        outputs=tuple(document["outputs"]),
        ops=tuple(_decode_op(index, entry, arrays) for index, entry in enumerate(document["ops"])),
        trained=document["trained"],
    )


def _decode_op(index: int, entry: dict[str, Any], arrays: dict[str, np.ndarray]) -> Op:
    name, output = entry["name"], entry["output"]
    if entry["kind"] == "concat":
        return Concat(name=name, inputs=tuple(entry["inputs"]), output=output)
    if entry["kind"] == "interleave":
        parts = tuple(
            Part(input=part["input"], origin=tuple(part["origin"]), stride=tuple(part["stride"]))
            for part in entry["parts"]
        )
        return Interleave(name=name, parts=parts, output=output)
    if entry["kind"] == "sparselinear":
        return _decode_sparse(index, entry, arrays)
    if entry["kind"] == "lstm":
        return _decode_lstm(index, entry, arrays)
    window = Window(**{field: tuple(value) for field, value in entry["window"].items()})
    if entry["kind"] == "maxpool":
        return MaxPool(name=name, input=entry["input"], output=output, window=window)
    if entry["kind"] != "conv":
        raise ValueError(f"operation {name!r} is of the unknown kind {entry['kind']!r}")
    known = {text: parse_format(text) for text in set(entry["formats"])}
    formats = tuple(known[text] for text in entry["formats"])
    weights = decode_rows(formats, arrays[f"{index}.weights"])
    weights.setflags(write=False)
    constants = {field: arrays[f"{index}.{field}"].astype(np.int64) for field in _CONSTANTS}
    scales = None
    if entry["scaling"] is not None:
        scaling = _decode_scaling(entry["scaling"])
        values = scaling.scale.decode(arrays[f"{index}.scales"])
        scales = WeightScales(scaling=scaling, values=values)
    return Conv(
        name=name,
        input=entry["input"],
        output=output,
        window=window,
        groups=entry["groups"],
        weights=weights,
        formats=formats,
        requant=Requant(
            **constants,
            low=entry["low"],
            high=entry["high"],
            rounding=Rounding[entry["rounding"]],
            table=_decode_table(index, entry["table"], arrays),
        ),
        residual=entry["residual"],
        useful=entry["useful"],
        scales=scales,
        operation=parse_operation(entry["operation"]),
    )
