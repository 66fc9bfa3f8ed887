"""The networks that a search is for: a file, or one that comes with Celosia, by its name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from celosia.models.archive import export_model
from celosia.models.errors import CelosiaError
from celosia.models.golden import evaluate
from celosia.models.importer import import_program
from celosia.models.inputs import quantise_inputs
from celosia.models.network import Network
from celosia.models.networks.catalogue import NETWORKS, QUICK, build
from celosia.models.quantize import quantize
from celosia.models.random_network import random_inputs
from celosia.models.recipe import Recipe, parse_mix
from celosia.models.storage import load
from celosia.models.zoo import Workload, workload

TRAINED: Final = ("rnet", "digits")
"""Built-in networks with trained weights and data to judge them on."""

_JUDGED: Final = 256
"""Samples on which a variant's accuracy is measured."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Variant:
    """A network in one choice of formats.

    Attributes
    ----------
    name
        The formats of its rows, or the name of its file.
    network
        The integer network.
    accuracy
        Share of samples that it classifies rightly, 0 to 1; None where that is not known.
    """

    name: str
    network: Network
    accuracy: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Subject:
    """What is searched for: variants of one network."""

    name: str
    variants: tuple[Variant, ...]

    @property
    def note(self) -> str:
        """What its figures do not mean; "" for trained networks."""
        if self.variants[0].network.trained:
            return ""
        return "its weights are random: cycles, accesses and area mean something, outputs do not"

    def inputs(self, variant: int, samples: int) -> dict[str, np.ndarray]:
        """Return so many samples of random codes for each input, the same each time."""
        return random_inputs(self.variants[variant].network, samples, seed=0)


def read_subject(name: str, mixes: Sequence[str]) -> Subject:
    """Return the network called ``name``, or that in the file ``name``.

    Parameters
    ----------
    name
        One of :data:`TRAINED`, one of :data:`~celosia.models.networks.catalogue.NETWORKS`, or a
        file that ``celosia quantize`` wrote.
    mixes
        Formats of rows, such as ``sp2_4:60,fixed4:40``, one variant for each; none: as it comes.

    Raises
    ------
    CelosiaError
        When there is no such network, or a mix is not understood or not to be had.
    """
    if name not in (*TRAINED, *NETWORKS) or Path(name).exists():
        return _from_file(name, mixes)
    recipes = _recipes(mixes, QUICK if name in NETWORKS else Recipe())
    if name in NETWORKS:
        variants = tuple(
            Variant(name=recipe.text, network=build(name, recipe=recipe)) for recipe in recipes
        )
        return Subject(name=name, variants=variants)
    work = workload(name)
    return Subject(name=name, variants=tuple(_trained(work, recipe) for recipe in recipes))


def _from_file(name: str, mixes: Sequence[str]) -> Subject:
    if not Path(name).exists():
        raise CelosiaError(
            f"there is no network file {name}, and no built-in network of that name: built in are "
            f"{', '.join((*TRAINED, *NETWORKS))}"
        )
    if mixes:
        raise CelosiaError(
            f"{name} is quantised already, so its formats cannot vary: leave --weights out, or "
            f"name a built-in network ({', '.join((*TRAINED, *NETWORKS))})"
        )
    network = load(name)
    return Subject(name=network.name, variants=(Variant(name=Path(name).name, network=network),))


def _recipes(mixes: Sequence[str], otherwise: Recipe) -> list[Recipe]:
    """Return ``otherwise`` with the formats of each mix; itself where there is none."""
    try:
        return [replace(otherwise, weights=parse_mix(mix)) for mix in mixes] or [otherwise]
    except ValueError as error:
        raise CelosiaError(f"--weights: {error}") from error


def _trained(work: Workload, recipe: Recipe) -> Variant:
    graph = import_program(export_model(work.model, (work.example,)), work.name)
    network = quantize(graph, work.calibration, recipe)
    count = min(_JUDGED, len(work.inputs))
    values = evaluate(network, quantise_inputs(network, work.inputs[:count]))
    predicted = work.predict([np.asarray(values[output]) for output in network.outputs])
    accuracy = float((predicted == work.labels[:count]).mean())
    return Variant(name=recipe.text, network=network, accuracy=accuracy)
