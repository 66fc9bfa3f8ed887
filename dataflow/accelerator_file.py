"""The file form of accelerators: TOML that a person writes and reads back losslessly.

.. code-block:: toml

    name = "small"

    [array]
    columns = [
        # circuit = "lanes", "luts" or "dsp"; operation = "multiply"
        { format = "sp2_4", count = 4 },
        { format = "fixed8", count = 4 },
    ]
    lanes = 8
    pixels = 1
    accumulator_bits = 32
    activation_bits = 8

    [array.scaling]  # scales for vectors of weights; left out: none
    scale = "uint4"
    vector = 16
    product_bits = 6  # left out: all of them
    elements = "ufixed4"  # of activations that have scales too; left out: none have

    [array.depthwise]  # windows of each column's own channel; left out: none
    rows = 2
    columns = 3
    width = 256

    [buffers]
    activations = 2048
    weights = 1024
    accumulators = 512
    constants = 128
    residuals = 1024
    outputs = 1024

    [buffers.memory]  # what they are made of: "auto" (left out), "block" or "ultra"
    weights = "ultra"

    [bus]
    data_bits = 128
    address_bits = 40
    burst_beats = 64
    outstanding = 8
    ports = 2  # left out: 1

    [post]
    lanes = 8

    [post.tables]  # functions by table, such as a sigmoid; left out: none
    index_bits = 10
    count = 2

Keys whose field has a default may be left out; no other key is taken.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Any

from celosia.dataflow.accelerator import Accelerator, Buffers, Bus, Tables
from celosia.dataflow.array_shape import ArrayShape, Circuit, ColumnGroup, Depthwise
from celosia.dataflow.memory_kinds import UNNAMED, BufferMemories, MemoryKind
from celosia.dataflow.toml_tables import (
    as_choice,
    as_table,
    build,
    check_keys,
    parse_toml,
    read_text,
)
from celosia.models.errors import CelosiaError
from celosia.models.formats import BlockScaling, Element, check_elements, parse_format, parse_scale
from celosia.models.operations import MULTIPLY, parse_operation

_COLUMN = ("format", "count", "circuit", "operation")
_ARRAY = ("lanes", "pixels", "accumulator_bits", "activation_bits")
_BUFFERS = (
    "activations", "weights", "accumulators", "constants", "residuals", "outputs",
    "activation_banks",
)  # fmt: skip
_BUS = ("data_bits", "address_bits", "burst_beats", "outstanding", "ports")
_SCALING = ("scale", "vector", "product_bits", "elements")
_DEPTHWISE = ("rows", "columns", "width")
_TABLES = ("index_bits", "count")
_ARRAY_DEFAULTS = ("accumulator_bits", "activation_bits")


def dump_accelerator(accelerator: Accelerator) -> str:
    """Return the TOML text of ``accelerator``: every field, always in the same order."""
    array = accelerator.array
    lines = [f'name = "{accelerator.name}"', "", "[array]", "columns = ["]
    lines += [
        f'    {{ format = "{group.format.name}", count = {group.count}, '
        f'circuit = "{group.circuit.value}", operation = "{group.operation.name}" }},'
        for group in array.columns
    ]
    lines += ["]", *(f"{key} = {getattr(array, key)}" for key in _ARRAY)]
    if array.scaling is not None:
        lines += ["", *scaling_lines(array.scaling, array.elements)]
    if array.depthwise is not None:
        lines += ["", "[array.depthwise]"]
        lines += [f"{key} = {getattr(array.depthwise, key)}" for key in _DEPTHWISE]
    lines += ["", "[buffers]", *(f"{k} = {getattr(accelerator.buffers, k)}" for k in _BUFFERS)]
    named = [(k, v) for k, v in accelerator.memories.items() if v is not MemoryKind.AUTO]
    if named:
        lines += ["", "[buffers.memory]", *(f'{name} = "{kind.value}"' for name, kind in named)]
    lines += ["", "[bus]", *(f"{k} = {v}" for k, v in accelerator.bus.settings.items())]
    lines += ["", "[post]", f"lanes = {accelerator.post_lanes}", ""]
    if accelerator.tables is not None:
        lines += ["[post.tables]", *(f"{k} = {getattr(accelerator.tables, k)}" for k in _TABLES)]
        lines.append("")
    return "\n".join(lines)


def scaling_lines(scaling: BlockScaling, elements: Element | None) -> list[str]:
    """Return the lines of the table ``[array.scaling]``, its name first."""
    lines = ["[array.scaling]", f'scale = "{scaling.scale.name}"', f"vector = {scaling.vector}"]
    if scaling.product_bits is not None:
        lines.append(f"product_bits = {scaling.product_bits}")
    if elements is not None:
        lines.append(f'elements = "{elements.name}"')
    return lines


def fingerprint(accelerator: Accelerator) -> str:
    """Return the SHA-256 of the accelerator's file form, 64 hexadecimal digits."""
    return hashlib.sha256(dump_accelerator(accelerator).encode()).hexdigest()


def load_accelerator(path: str | Path) -> Accelerator:
    """Read an accelerator from a TOML file.

    Raises
    ------
    CelosiaError
        If the file cannot be read or a key is unknown, missing, of the wrong type
        or out of range: the message names the file, the key and what is allowed.
    """
    return parse_accelerator(read_text(path, "accelerator file"), str(path))


def parse_accelerator(text: str, where: str) -> Accelerator:
    """Return the accelerator that the TOML ``text`` describes; ``where`` names it in errors.

    Raises :class:`CelosiaError` as :func:`load_accelerator` does.
    """
    table = parse_toml(text, where)
    check_keys(where, "", table, ("name", "array", "buffers", "bus", "post"), ("bus",))
    name = table["name"]
    if not isinstance(name, str):
        raise CelosiaError(f"{where}: name must be a string, not {name!r}")
    parts = {key: as_table(where, key, table.get(key, {})) for key in ("array", "bus", "post")}
    array = parts["array"]
    known = ("columns", *_ARRAY, "scaling", "depthwise")
    check_keys(where, "array.", array, known, (*_ARRAY_DEFAULTS, "scaling", "depthwise"))
    buffers = as_table(where, "buffers", table["buffers"])
    optional = ("activation_banks", "memory")
    check_keys(where, "buffers.", buffers, (*_BUFFERS, "memory"), optional)
    memories = _memories(where, buffers.get("memory", {}))
    buffers = {key: value for key, value in buffers.items() if key != "memory"}
    check_keys(where, "bus.", parts["bus"], _BUS, _BUS)
    check_keys(where, "post.", parts["post"], ("lanes", "tables"), ("tables",))
    sizes = {key: value for key, value in array.items() if key in _ARRAY}
    columns = _columns(where, array["columns"])
    if "scaling" in array:
        sizes |= _scaling(where, array["scaling"])
    if "depthwise" in array:
        window = as_table(where, "array.depthwise", array["depthwise"])
        check_keys(where, "array.depthwise.", window, _DEPTHWISE, ())
        sizes["depthwise"] = build(where, "array.depthwise", lambda: Depthwise(**window))
    shape = build(where, "array", lambda: ArrayShape(columns=columns, **sizes))
    depths = build(where, "buffers", lambda: Buffers(**buffers))
    bus = build(where, "bus", lambda: Bus(**parts["bus"]))
    lanes, tables = parts["post"]["lanes"], None
    if "tables" in parts["post"]:
        given = as_table(where, "post.tables", parts["post"]["tables"])
        check_keys(where, "post.tables.", given, _TABLES, ())
        tables = build(where, "post.tables", lambda: Tables(**given))
    return build(
        where,
        "name or post.lanes",
        lambda: Accelerator(
            name=name,
            array=shape,
            buffers=depths,
            bus=bus,
            post_lanes=lanes,
            tables=tables,
            memories=memories,
        ),
    )


def _memories(where: str, value: object) -> BufferMemories:
    """Return what the table ``buffers.memory`` says."""
    table = as_table(where, "buffers.memory", value)
    buffers = [name for name, _ in UNNAMED.items()]
    check_keys(where, "buffers.memory.", table, buffers, buffers)
    return BufferMemories(
        **{
            name: as_choice(where, f"buffers.memory.{name}", kind, MemoryKind)
            for name, kind in table.items()
        }
    )


def _columns(where: str, value: object) -> tuple[ColumnGroup, ...]:
    if not isinstance(value, list) or not value:
        raise CelosiaError(
            f"{where}: array.columns must be a list of tables such as "
            f'{{ format = "fixed8", count = 8 }}, not {value!r}'
        )
    groups = []
    for index, entry in enumerate(value):
        key = f"array.columns[{index}]"
        group = as_table(where, key, entry)
        check_keys(where, f"{key}.", group, _COLUMN, ("circuit", "operation"))
        name, count = group["format"], group["count"]
        operation = group.get("operation", MULTIPLY.name)
        for field, text in (("format", name), ("operation", operation)):
            if not isinstance(text, str):
                raise CelosiaError(f"{where}: {key}.{field} must be a string, not {text!r}")
        given = group.get("circuit", Circuit.LANES.value)
        circuit = as_choice(where, f"{key}.circuit", given, Circuit)
        make = functools.partial(_group, name, count, circuit, operation)
        groups.append(build(where, key, make))
    return tuple(groups)


def _group(name: str, count: int, circuit: Circuit, operation: str) -> ColumnGroup:
    return ColumnGroup(
        format=parse_format(name),
        count=count,
        circuit=circuit,
        operation=parse_operation(operation),
    )


def _scaling(where: str, value: object) -> dict[str, Any]:
    """Return the fields of the array that its table ``scaling`` gives."""
    table = as_table(where, "array.scaling", value)
    check_keys(where, "array.scaling.", table, _SCALING, ("product_bits", "elements"))
    name, elements = table["scale"], table.get("elements")
    for key, text in (("scale", name), ("elements", elements)):
        if not isinstance(text, str) and (key, text) != ("elements", None):
            raise CelosiaError(f"{where}: array.scaling.{key} must be a string, not {text!r}")
    fields = {key: value for key, value in table.items() if key not in ("scale", "elements")}
    scaling = build(where, "array.scaling", lambda: BlockScaling(scale=parse_scale(name), **fields))
    if elements is None:
        return {"scaling": scaling}
    element = build(where, "array.scaling", lambda: check_elements(parse_format(elements)))
    return {"scaling": scaling, "elements": element}
