"""How each layer is cut into tiles and in which order they run: a value, with a JSON form.

A layer is seven loops: samples, tiles of K output channels, words of input channels, output rows
and columns, kernel rows and columns (:class:`Dimension`). They run at two levels.

- *Memory* (``LayerMapping.loops``): loops over tiles, outermost first, in any order. A dimension
  may be cut more than once (``K 8, OY 4, K 1``: eight channel tiles stay while the rows pass); its
  innermost step is the tile, and without a loop the tile is all of it. Steps need not divide
  anything: the last tile is what is left. Each tile of activations and of weights is loaded where
  it is not in its buffer already; a buffer holds the tiles used last (``Buffering``).
- *Array* (``LayerMapping.array``): the loops of one compute descriptor over one tile, outermost
  first, in any order.

In space, always: K columns compute output channels, lanes reduce the channels of a word, and pixel
lanes compute bands of output rows.

*Legal* is a mapping for which all of these hold; :meth:`celosia.dataflow.plan.StepPlan.check` says
which does not, and by how much:

- A tile fits its buffer, and so do all tiles that are alive at once. Of accumulators those are the
  output tiles inside the outermost loop that cuts the reduction (``C``, ``FY``, ``FX``), as partial
  sums never leave the chip. Of outputs and residuals they are the pixel tiles inside a ``K`` loop
  that separates the channel tiles of one word (fewer columns than lanes), and where such tiles
  read different words all output tiles inside a ``C`` loop.
- As many tiles as ``Buffering`` asks for fit. At most 32 tiles of one buffer are kept.
- A tile of activations, weights or sums is of one sample: a loop over ``N`` has step 1. Without one
  samples are the outermost loop.
- Channel tiles that share a compute descriptor (innermost ``K`` step above 1) read the same input
  words, so the layer is not grouped across them.
- A compute descriptor has six loops; precision-scalable columns need one of them for passes.
- All tiles of an input that stays on chip (``resident``) fit the activation buffer, of which the
  accelerator has two banks, from the step that makes it to the one that reads it; steps between
  load their activations into a bank that holds none (:mod:`celosia.dataflow.residency`).
"""

from __future__ import annotations

import enum
import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from celosia.models.errors import CelosiaError
from celosia.models.files import atomic_file


class Dimension(enum.Enum):
    """A loop of a layer; the value is its name in files and drawings."""

    N = "N"
    """Samples."""
    K = "K"
    """Output channels, in tiles of as many as there are columns."""
    C = "C"
    """Input channels, in words of as many as there are lanes."""
    OY = "OY"
    """Output rows of a pixel lane: ``pixels`` lanes have as many, one below the other."""
    OX = "OX"
    """Output columns."""
    FY = "FY"
    """Kernel rows."""
    FX = "FX"
    """Kernel columns."""

    # Members are one of a kind; the hash of their names takes most of the time of small tables.
    __hash__ = object.__hash__


MOST_SAMPLES = 256
"""Most samples that one start of a program runs."""

MOST_SLOTS = 32
"""Most tiles that a buffer is cut into: it bounds how far units run ahead of each other."""

REDUCTION = (Dimension.C, Dimension.FY, Dimension.FX)
"""The dimensions that are summed over."""

PIXELS = (Dimension.N, Dimension.OY, Dimension.OX)
"""The dimensions that share weights."""

ARRAY_DIMENSIONS = tuple(dimension for dimension in Dimension if dimension is not Dimension.N)
"""The loops of a compute descriptor."""

OUTPUT_STATIONARY_ARRAY = (
    Dimension.K, Dimension.OY, Dimension.OX, Dimension.C, Dimension.FY, Dimension.FX,
)  # fmt: skip
"""Array order, outermost first, in which each sum is finished before the next begins."""

WEIGHT_STATIONARY_ARRAY = (
    Dimension.K, Dimension.C, Dimension.FY, Dimension.FX, Dimension.OY, Dimension.OX,
)  # fmt: skip
"""Array order, outermost first, in which each weight word passes over all pixels of the tile."""

INPUT_STATIONARY_ARRAY = (
    Dimension.C, Dimension.OY, Dimension.OX, Dimension.FY, Dimension.FX, Dimension.K,
)  # fmt: skip
"""Array order, outermost first, in which each activation word meets all channel tiles."""

ROW_WISE_ARRAY = (
    Dimension.K, Dimension.C, Dimension.OY, Dimension.FY, Dimension.OX, Dimension.FX,
)  # fmt: skip
"""Array order, outermost first, in which kernel rows slide along rows of activations."""


def _check_count(owner: str, name: str, value: object, high: int = 65535) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{owner}{name} must be an integer, not {value!r}")
    if not 1 <= value <= high:
        raise ValueError(f"{owner}{name} must be in 1..{high}, not {value!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TileLoop:
    """A loop over tiles of ``dimension``, ``step`` of its units apart, 1..65535."""

    dimension: Dimension
    step: int

    def __post_init__(self) -> None:
        if not isinstance(self.dimension, Dimension):
            raise TypeError(f"dimension must be a Dimension, not {self.dimension!r}")
        _check_count("", "step", self.step)


@dataclass(frozen=True, slots=True, kw_only=True)
class Buffering:
    """Tiles that each buffer holds: 1 is a single buffer, 2 a double one, more stay for reuse.

    1..32, or ``None``: as many as fit. The buffer of constants holds those of a whole layer where
    two layers' fit, otherwise those of as many channel tiles as do.
    """

    activations: int | None = None
    weights: int | None = None
    accumulators: int | None = None
    residuals: int | None = None
    outputs: int | None = None

    def __post_init__(self) -> None:
        for part in fields(self):
            value = getattr(self, part.name)
            if value is not None:
                _check_count("buffering.", part.name, value, MOST_SLOTS)

    def tiles(self, buffer: str) -> int | None:
        """Return what is asked of ``buffer``, by its name in ``Buffers``; ``None``: what fits."""
        tiles: int | None = getattr(self, buffer, None)
        return tiles


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerMapping:
    """The mapping of one step; the module says what it means and when it is legal.

    Parameters
    ----------
    loops : tuple of TileLoop
        At the level of memory, outermost first. The steps of one dimension decrease.
    array : tuple of Dimension
        Loops on the array, outermost first: a permutation of all dimensions but ``N``.
    buffering : Buffering
        Tiles that each buffer holds.
    resident : bool
        Whether the input stays on chip: the step that makes it writes it into the activation buffer
        too, or only, if nobody reads it from memory.
    """

    loops: tuple[TileLoop, ...] = ()
    array: tuple[Dimension, ...] = OUTPUT_STATIONARY_ARRAY
    buffering: Buffering = field(default_factory=Buffering)
    resident: bool = False

    def __post_init__(self) -> None:
        steps: dict[Dimension, int] = {}
        for loop in self.loops:
            if not isinstance(loop, TileLoop):
                raise TypeError(f"loops must hold TileLoop values, not {loop!r}")
            outer = steps.get(loop.dimension)
            if outer is not None and loop.step >= outer:
                raise ValueError(
                    f"loops over {loop.dimension.value} must have decreasing steps, not {outer} "
                    f"and then {loop.step}"
                )
            steps[loop.dimension] = loop.step
        if steps.get(Dimension.N, 1) != 1:
            raise ValueError(
                f"loops over N must end with step 1, not {steps[Dimension.N]}: a tile is of one "
                "sample"
            )
        if sorted(d.value for d in self.array) != sorted(d.value for d in ARRAY_DIMENSIONS):
            names = ", ".join(dimension.value for dimension in ARRAY_DIMENSIONS)
            raise ValueError(f"array must name each of {names} once, not {self.array!r}")
        if not isinstance(self.buffering, Buffering):
            raise TypeError(f"buffering must be a Buffering, not {self.buffering!r}")
        if not isinstance(self.resident, bool):
            raise TypeError(f"resident must be a bool, not {self.resident!r}")

    def step(self, dimension: Dimension, whole: int) -> int:
        """Return the size of a tile along ``dimension``, which has ``whole`` units."""
        steps = [loop.step for loop in self.loops if loop.dimension is dimension]
        return min(whole, *steps[-1:]) if steps else whole


def tiled(
    order: tuple[tuple[Dimension, int], ...],
    array: tuple[Dimension, ...] = OUTPUT_STATIONARY_ARRAY,
    buffering: Buffering | None = None,
) -> LayerMapping:
    """Return the mapping whose loops over memory are the (dimension, step) pairs of ``order``."""
    return LayerMapping(
        loops=tuple(TileLoop(dimension=dimension, step=step) for dimension, step in order),
        array=array,
        buffering=buffering or Buffering(),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Mapping:
    """The mapping of every step of a network, by the step's name.

    A step is called like its operation; a copy that the compiler puts before operation
    ``op`` is called ``op/input`` or ``op/residual``. One start of the program runs ``samples``
    samples, 1..256: all of them through one layer, then through the next.
    """

    layers: tuple[tuple[str, LayerMapping], ...]
    samples: int = 1

    def __post_init__(self) -> None:
        names = [name for name, _ in self.layers]
        if len(set(names)) != len(names):
            raise ValueError(f"layers must name each step once, not {names!r}")
        _check_count("", "samples", self.samples, MOST_SAMPLES)

    def layer(self, name: str) -> LayerMapping:
        """Return the mapping of step ``name``; ``KeyError`` if there is none."""
        for known, mapping in self.layers:
            if known == name:
                return mapping
        raise KeyError(name)

    def replaced(self, name: str, layer: LayerMapping) -> Mapping:
        """Return this mapping with another one of step ``name``."""
        self.layer(name)
        layers = tuple((n, layer if n == name else m) for n, m in self.layers)
        return Mapping(layers=layers, samples=self.samples)


def dump_mapping(mapping: Mapping) -> str:
    """Return the JSON text of ``mapping``: lossless, the same for the same value."""
    layers = {}
    for name, layer in mapping.layers:
        buffering = {key: n for key, n in asdict(layer.buffering).items() if n is not None}
        layers[name] = {
            "loops": [[loop.dimension.value, loop.step] for loop in layer.loops],
            "array": [dimension.value for dimension in layer.array],
            "buffering": buffering,
            "resident": layer.resident,
        }
    return json.dumps({"samples": mapping.samples, "layers": layers}, indent=2) + "\n"


def parse_mapping(text: str, where: str) -> Mapping:
    """Return the mapping in the JSON ``text``; ``where`` names it in errors.

    Raises :class:`CelosiaError` naming the layer and the key that is wrong.
    """
    try:
        document = json.loads(text)
    except json.JSONDecodeError as error:
        raise CelosiaError(f"{where}: not a JSON file: {error}") from error
    if not isinstance(document, dict) or set(document) != {"samples", "layers"}:
        raise CelosiaError(f"{where}: must be an object with the keys 'samples' and 'layers'")
    layers = document["layers"]
    if not isinstance(layers, dict):
        raise CelosiaError(f"{where}: layers must be an object of layers by name")
    parsed = [(name, _parse_layer(where, name, entry)) for name, entry in layers.items()]
    try:
        return Mapping(layers=tuple(parsed), samples=document["samples"])
    except (TypeError, ValueError) as error:
        raise CelosiaError(f"{where}: {error}") from error


def _parse_layer(where: str, name: str, entry: Any) -> LayerMapping:
    known = ("loops", "array", "buffering", "resident")
    if not isinstance(entry, dict) or set(entry) != set(known):
        raise CelosiaError(f"{where}: layer {name!r} must have the keys {', '.join(known)}")
    try:
        return LayerMapping(
            loops=tuple(
                TileLoop(dimension=Dimension(key), step=step) for key, step in entry["loops"]
            ),
            array=tuple(Dimension(key) for key in entry["array"]),
            buffering=Buffering(**entry["buffering"]),
            resident=entry["resident"],
        )
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
