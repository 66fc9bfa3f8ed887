"""How each layer is cut into tiles and in which order they run: a value, with a JSON form.

A layer runs as loops over pixel tiles, output-channel blocks (as many tiles of K
columns as fill whole words) and reduction chunks. What is in a buffer already is not
loaded again; a buffer holds as many tiles as fit, so a tile of at most half its
depth is double-buffered.
"""

from __future__ import annotations

import enum
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from celosia.models.errors import CelosiaError
from celosia.models.files import atomic_file


class MemoryOrder(enum.Enum):
    """Which loop over memory is outer: pixel tiles or output-channel blocks."""

    PIXELS_OUTER = "pixels-outer"
    WEIGHTS_OUTER = "weights-outer"


class Stationary(enum.Enum):
    """What stays in place on the array: the sum (reduction inner) or the weights (pixels inner)."""

    OUTPUT = "output"
    WEIGHT = "weight"


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerMapping:
    """The tiling of one step.

    Parameters
    ----------
    rows : int
        Output rows of a tile for each pixel lane.
    columns : int
        Output columns of a tile.
    words : int
        Most input words of a reduction chunk.
    kernel_rows : int
        Kernel rows of a reduction chunk; fewer than the kernel has only if ``words`` is 1.
    order : MemoryOrder
        Outer loop at the level of memory.
    stationary : Stationary
        Order of the loops on the array.
    """

    rows: int
    columns: int
    words: int
    kernel_rows: int
    order: MemoryOrder = MemoryOrder.PIXELS_OUTER
    stationary: Stationary = Stationary.OUTPUT

    def __post_init__(self) -> None:
        for field in ("rows", "columns", "words", "kernel_rows"):
            value = getattr(self, field)
            if not isinstance(value, int) or isinstance(value, bool):
                raise TypeError(f"{field} must be an integer, not {value!r}")
            if not 1 <= value <= 65535:
                raise ValueError(f"{field} must be in 1..65535, not {value!r}")
        if not isinstance(self.order, MemoryOrder):
            raise TypeError(f"order must be a MemoryOrder, not {self.order!r}")
        if not isinstance(self.stationary, Stationary):
            raise TypeError(f"stationary must be a Stationary, not {self.stationary!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapping:
    """The mapping of every step of a network, by the step's name.

    A step is called like its operation; a copy that the compiler puts before operation
    ``op`` is called ``op/input`` or ``op/residual``.
    """

    layers: tuple[tuple[str, LayerMapping], ...]

    def __post_init__(self) -> None:
        names = [name for name, _ in self.layers]
        if len(set(names)) != len(names):
            raise ValueError(f"layers must name each step once, not {names!r}")

    def layer(self, name: str) -> LayerMapping:
        """Return the mapping of step ``name``; ``KeyError`` if there is none."""
        for known, mapping in self.layers:
            if known == name:
                return mapping
        raise KeyError(name)

    def replaced(self, name: str, layer: LayerMapping) -> Mapping:
        """Return this mapping with another tiling of step ``name``."""
        self.layer(name)
        return Mapping(layers=tuple((n, layer if n == name else m) for n, m in self.layers))


def dump_mapping(mapping: Mapping) -> str:
    """Return the JSON text of ``mapping``: lossless, the same for the same value."""
    layers = {}
    for name, layer in mapping.layers:
        fields = asdict(layer)
        fields |= {"order": layer.order.value, "stationary": layer.stationary.value}
        layers[name] = fields
    return json.dumps({"layers": layers}, indent=2) + "\n"


def parse_mapping(text: str, where: str) -> Mapping:
    """Return the mapping in the JSON ``text``; ``where`` names it in errors.

    Raises :class:`CelosiaError` naming the layer and the key that is wrong.
    """
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise CelosiaError(f"{where}: not a JSON file: {error}") from error
    if not isinstance(document, dict) or set(document) != {"layers"}:
        raise CelosiaError(f"{where}: must be an object with the one key 'layers'")
    layers = document["layers"]
    if not isinstance(layers, dict):
        raise CelosiaError(f"{where}: layers must be an object of layers by name")
    parsed = [(name, _parse_layer(where, name, fields)) for name, fields in layers.items()]
    return Mapping(layers=tuple(parsed))


def _parse_layer(where: str, name: str, fields: Any) -> LayerMapping:
    known = ("rows", "columns", "words", "kernel_rows", "order", "stationary")
    if not isinstance(fields, dict) or set(fields) != set(known):
        raise CelosiaError(f"{where}: layer {name!r} must have the keys {', '.join(known)}")
    try:
        order, stationary = MemoryOrder(fields["order"]), Stationary(fields["stationary"])
        sizes = {key: fields[key] for key in known[:4]}
        return LayerMapping(order=order, stationary=stationary, **sizes)
    except (TypeError, ValueError) as error:
        raise CelosiaError(f"{where}: layer {name!r}: {error}") from error


def load_mapping(path: str | Path) -> Mapping:
    """Read a mapping from a JSON file; raises :class:`CelosiaError` if it is not one."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CelosiaError(f"cannot read mapping file {path}: {error}") from error
    return parse_mapping(text, str(path))


def save_mapping(mapping: Mapping, path: str | Path) -> None:
    """Write ``mapping`` to a JSON file, whole or not at all; raises ``OSError``."""
    with atomic_file(path) as draft:
        draft.write_text(dump_mapping(mapping), encoding="utf-8")
