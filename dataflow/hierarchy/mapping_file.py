"""The file form of mappings: JSON, a list of steps from the outermost to the innermost.

.. code-block:: json

    {"steps": [{"store": "W", "level": "glb"}, {"loop": "P", "tile": 8},
               {"loop": "K", "tile": 1, "axis": "columns"}]}
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from celosia.dataflow.hierarchy.layer import Dim, Layer, Tensor
from celosia.dataflow.hierarchy.mapping import Loop, Mapping, Step, Store
from celosia.dataflow.toml_tables import as_table, as_tables, build, check_keys, read_text
from celosia.models.errors import CelosiaError


def mapping_data(mapping: Mapping) -> dict[str, Any]:
    """Return what stands for ``mapping`` in JSON."""
    steps: list[dict[str, Any]] = []
    for step in mapping.steps:
        if isinstance(step, Store):
            steps.append({"store": step.tensor.value, "level": step.level})
        else:
            steps.append({"loop": step.dim.value, "tile": step.tile})
            if step.axis is not None:
                steps[-1]["axis"] = step.axis
    return {"steps": steps}


def read_mapping(path: str | Path) -> Mapping:
    """Return the mapping of a JSON file, or of what ``celosia map --json`` wrote.

    Raises :class:`CelosiaError` when the file holds none; it names the file and the step.
    """
    where = str(path)
    try:
        data = json.loads(read_text(path, "mapping file"))
    except (ValueError, RecursionError) as error:
        raise CelosiaError(f"{where}: not a JSON file: {error}") from error
    root = as_table(where, "the file", data)
    root = as_table(where, "mapping", root.get("mapping", root))
    check_keys(where, "", root, ("steps",), ())
    steps = [_step(where, *entry) for entry in as_tables(where, "steps", root["steps"])]
    return Mapping(steps=tuple(steps))


def _step(where: str, key: str, table: dict[str, Any]) -> Step:
    if "store" in table:
        check_keys(where, f"{key}.", table, ("store", "level"), ())
        return build(
            where, key, lambda: Store(tensor=Tensor(table["store"]), level=str(table["level"]))
        )
    check_keys(where, f"{key}.", table, ("loop", "tile", "axis"), ("axis",))
    return build(
        where,
        key,
        lambda: Loop(dim=Dim(table["loop"]), tile=table["tile"], axis=table.get("axis")),
    )


def mapping_text(layer: Layer, mapping: Mapping) -> str:
    """Return the mapping as people write loop nests."""
    tiles = {dim: layer.size(dim) for dim in Dim}
    lines = []
    for depth, step in enumerate(mapping.steps):
        if isinstance(step, Store):
            said = f"[{step.tensor.value} in {step.level}]"
        else:
            before, tiles[step.dim] = tiles[step.dim], step.tile
            count = -(-before // step.tile)
            rest = "" if before % step.tile == 0 else f", the last {before % step.tile}"
            how = "for" if step.axis is None else f"on {step.axis}"
            tile = "" if step.tile == 1 else f"  (tiles of {step.tile}{rest})"
            said = f"{how} {step.dim.value} in {count}{tile}"
        lines.append("  " * depth + said)
    return "\n".join(lines)
