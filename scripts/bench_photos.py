"""EfficientNet-Lite0 with its ImageNet weights: what integers make of photos, beside floats."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch

from celosia.models.find_scales import ScaleMethod
from celosia.models.formats import Fixed, Format
from celosia.models.golden import evaluate
from celosia.models.graph import FloatGraph, evaluate_float
from celosia.models.networks.catalogue import read
from celosia.models.networks.photos import calibration, photo_inputs
from celosia.models.quantize import quantise_inputs, quantize
from celosia.models.recipe import Recipe, parse_mix
from celosia.models.sensitivity import Sensitivity
from celosia.models.threads import single_thread

Report = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""

NAME: Final = "efficientnet_lite0"

RECIPE: Final = Recipe(
    weights=parse_mix("fixed8"),
    scale=ScaleMethod.MAX,
    activation_scale=ScaleMethod.MSE,
    error_feedback=False,
    output_bits=16,
)
"""W8A8: no weight is clipped; scores have 16 bits, so that they tie no sooner than floats."""

_NARROW: Final = Fixed(bits=4)


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
class Photos:
    """The rows of every network, and for each the share of its weights that has 4 bits."""

    rows: tuple[PhotoRow, ...]
    narrow: dict[str, float]


def bench_photos(report: Report, budget: float | None = None) -> Photos:
    """Return what W8A8 makes of the photos, and where there is a ``budget`` a 4/8-bit mix too.

    Parameters
    ----------
    report
        Called as work goes on.
    budget
        The mix has as many 4-bit weights as found whose rounding changes the scores on crops of
        photos by at most this squared error, in their variance.

    Raises
    ------
    CelosiaError
        If the weights or the photos are not installed.
    """
    steps = 3 if budget is None else 5
    report("reading", 0, steps)
    graph, _ = read(NAME)
    crops, photos = calibration(1), photo_inputs()
    report("float", 1, steps)
    scores = _float_scores(graph, np.stack(list(photos.values())))
    schemes: dict[str, Mapping[str, Format]] = {"W8A8": {}}
    narrow = {"W8A8": 0.0}
    if budget is not None:
        report("sensitivity", 2, steps)
        found = Sensitivity(graph, {next(iter(graph.inputs)): crops[::4]}, _NARROW, RECIPE)
        layers = found.choose(budget)
        share = sum(found.sizes[name] for name in layers) / sum(found.sizes.values())
        schemes["W4/8A8"], narrow["W4/8A8"] = dict.fromkeys(layers, _NARROW), share
    rows: list[PhotoRow] = []
    for number, (scheme, formats) in enumerate(schemes.items()):
        report(scheme, steps - len(schemes) + number, steps)
        rows += _rows(scheme, graph, crops, formats, photos, scores)
    report("done", steps, steps)
    return Photos(rows=tuple(rows), narrow=narrow)


def _float_scores(graph: FloatGraph, data: np.ndarray) -> np.ndarray:
    with torch.no_grad(), single_thread():
        values = evaluate_float(graph, {next(iter(graph.inputs)): torch.from_numpy(data)})
        probabilities = torch.softmax(values[graph.outputs[0]].flatten(1), dim=1)
    scores: np.ndarray = probabilities.numpy()
    return scores


def _rows(
    scheme: str,
    graph: FloatGraph,
    crops: np.ndarray,
    formats: Mapping[str, Format],
    photos: Mapping[str, np.ndarray],
    scores: np.ndarray,
) -> list[PhotoRow]:
    """Return the rows of the integer network whose layers have ``formats``, others 8 bits."""
    network = quantize(graph, crops, RECIPE, layers=formats)
    rows = []
    for (photo, data), float_scores in zip(photos.items(), scores, strict=True):
        codes = evaluate(network, quantise_inputs(network, data[None]))[network.outputs[0]]
        best, second = np.sort(float_scores)[:-3:-1]
        rows.append(
            PhotoRow(
                weights=scheme,
                photo=photo,
                top=int(float_scores.argmax()),
                probability=float(best),
                second=float(second),
                got=int(codes.argmax()),
            )
        )
    return rows
