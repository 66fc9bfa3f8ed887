"""EfficientNet-Lite0 with its ImageNet weights: what integers make of photos, beside floats."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch

from celosia.models.find_scales import ScaleMethod
from celosia.models.formats import Fixed
from celosia.models.golden import evaluate
from celosia.models.graph import FloatGraph, evaluate_float
from celosia.models.inputs import dequantise, quantise_inputs
from celosia.models.network import Network
from celosia.models.networks.catalogue import read
from celosia.models.networks.photos import calibration, photo_inputs
from celosia.models.quantize import quantize
from celosia.models.recipe import Recipe, parse_mix
from celosia.models.sensitivity import Sensitivity
from celosia.models.threads import single_thread

Report = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""

NAME: Final = "efficientnet_lite0"

RECIPE: Final = Recipe(
    weights=parse_mix("fixed8"),
    scale=ScaleMethod.MAX,
    output_bits=16,
)
"""W8A8: no weight is clipped; scores have 16 bits, so that they tie no sooner than floats."""

_NARROW: Final = Fixed(bits=4)
_LOOKED_AT: Final = 4
"""Of so many crops one is looked at to see what a layer can do with."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhotoRow:
    """What the float network and an integer one make of a photo.

    ``top`` and ``got`` are their best classes (numbers of ILSVRC 2012), ``probability`` and
    ``second`` the float network's for its best and second: near ties say little.
    """

    weights: str
    photo: str
    top: int
    probability: float
    second: float
    got: int

    @property
    def agrees(self) -> bool:
        """Whether both find the same class."""
        return self.top == self.got

    def as_dict(self) -> dict[str, Any]:
        """Return all fields, and whether both agree."""
        names = ("weights", "photo", "top", "probability", "second", "got", "agrees")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """An integer network: ``narrow`` is the share of its weights that has 4 bits.

    ``layers`` says in how many of its layers, and ``error`` is the squared error of the photos'
    scores, in the variance of the float network's.
    """

    weights: str
    layers: int
    narrow: float
    error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Photos:
    """The networks, and for each its rows."""

    schemes: tuple[Scheme, ...]
    rows: tuple[PhotoRow, ...]


def bench_photos(report: Report, budgets: Sequence[float] = ()) -> Photos:
    """Return what W8A8 makes of the photos, and a 4/8-bit mix of layers for each of ``budgets``.

    Parameters
    ----------
    report
        Called as work goes on.
    budgets
        A mix has as many 4-bit weights as found whose rounding changes the float network's scores
        on crops of photos by at most this squared error, in their variance.

    Raises
    ------
    CelosiaError
        If the weights or the photos are not installed.
    """
    steps = 3 + len(budgets) + bool(budgets)
    report("reading", 0, steps)
    graph, _ = read(NAME)
    crops, photos = calibration(), photo_inputs()
    report("float", 1, steps)
    scores = _float_scores(graph, np.stack(list(photos.values())))
    mixes: dict[str, tuple[str, ...]] = {"W8A8": ()}
    sizes: dict[str, int] = {}
    if budgets:
        report("sensitivity", 2, steps)
        few = {next(iter(graph.inputs)): crops[::_LOOKED_AT]}
        found = Sensitivity(graph, few, _NARROW, RECIPE)
        alone, sizes = found.alone(), found.sizes
        mixes |= {f"W4/8A8, {most:g}": found.choose(most, alone) for most in budgets}
    rows: list[PhotoRow] = []
    schemes: list[Scheme] = []
    for number, (name, layers) in enumerate(mixes.items()):
        report(name, steps - len(mixes) + number, steps)
        network = quantize(graph, crops, RECIPE, layers=dict.fromkeys(layers, _NARROW))
        mine, error = _rows(name, network, photos, scores)
        rows += mine
        narrow = sum(sizes[layer] for layer in layers) / max(sum(sizes.values()), 1)
        schemes.append(Scheme(weights=name, layers=len(layers), narrow=narrow, error=error))
    report("done", steps, steps)
    return Photos(schemes=tuple(schemes), rows=tuple(rows))


def _float_scores(graph: FloatGraph, data: np.ndarray) -> np.ndarray:
    with torch.no_grad(), single_thread():
        values = evaluate_float(graph, {next(iter(graph.inputs)): torch.from_numpy(data)})
    scores: np.ndarray = values[graph.outputs[0]].flatten(1).to(torch.float64).numpy()
    return scores


def _rows(
    name: str, network: Network, photos: Mapping[str, np.ndarray], scores: np.ndarray
) -> tuple[list[PhotoRow], float]:
    """Return what ``network`` makes of each photo, and the error of its scores."""
    rows, error = [], 0.0
    (output,) = network.outputs
    for (photo, data), wanted in zip(photos.items(), scores, strict=True):
        codes = evaluate(network, quantise_inputs(network, data[None]))[output]
        got = dequantise(network, output, codes).ravel()
        error += float(((got - wanted) ** 2).mean()) / len(photos)
        probabilities = np.exp(wanted - wanted.max())
        best, second = np.sort(probabilities / probabilities.sum())[:-3:-1]
        rows.append(
            PhotoRow(
                weights=name,
                photo=photo,
                top=int(wanted.argmax()),
                probability=float(best),
                second=float(second),
                got=int(got.argmax()),
            )
        )
    return rows, error / float(scores.var())
