"""A class of mappings as arrays: what the compiled search works on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from celosia.dataflow.hierarchy.architecture import Architecture, Factors
from celosia.dataflow.hierarchy.forms import Form, Forms, Limit, Term, forms
from celosia.dataflow.hierarchy.layer import Dim, Layer
from celosia.dataflow.hierarchy.mapping import Loop, Mapping, Step, Store
from celosia.dataflow.hierarchy.options import GroupOptions, group_options
from celosia.dataflow.hierarchy.skeleton import Skeleton

Floats: TypeAlias = np.ndarray[Any, np.dtype[np.float64]]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Problem:
    """The mappings of one skeleton: one split of each group makes one mapping.

    Attributes
    ----------
    layer : Layer
    skeleton : Skeleton
    splits : list of GroupOptions
        Of each group.
    factors : tuple of array
        Of each group, (terms, splits): what each split contributes to each term.
    energy, outside : array
        (terms + 1,): the weights of the terms, and last the constant.
    times : array
        (limits of time, terms + 1).
    limits : array
        (limits, terms + 1): words or places needed less those there are; at most 0.
    bounds_of : tuple of Limit
        What they are limits of.
    """

    layer: Layer
    skeleton: Skeleton
    splits: list[GroupOptions]
    factors: tuple[Floats, ...]
    energy: Floats
    outside: Floats
    times: Floats
    limits: Floats
    bounds_of: tuple[Limit, ...]

    @property
    def counts(self) -> tuple[int, ...]:
        """How many splits each group has."""
        return tuple(factor.shape[1] for factor in self.factors)

    @property
    def mappings(self) -> int:
        """How many mappings there are."""
        return math.prod(self.counts)

    def mapping(self, choice: Sequence[int]) -> Mapping:
        """Return the mapping of one split of each group, without loops of one iteration."""
        tiles: dict[Dim, list[int]] = {}
        for options, index in zip(self.splits, choice, strict=True):
            tiles |= options.split(index)
        left = {dim: iter(found) for dim, found in tiles.items()}
        steps: list[Step] = [
            place
            if isinstance(place, Store)
            else Loop(dim=place.dim, tile=next(left[place.dim]), axis=place.axis)
            for place in self.skeleton.places
        ]
        return Mapping(steps=tuple(steps)).trimmed(self.layer)


def make_problem(
    architecture: Architecture, layer: Layer, skeleton: Skeleton, factors: Factors
) -> Problem:
    """Return the arrays of ``skeleton``."""
    found = forms(architecture, layer, skeleton)
    splits = group_options(architecture, layer, skeleton, factors)
    terms = _terms(found)
    parts = tuple(
        np.array([options.factor(term[number]) for term in terms], dtype=np.float64).reshape(
            len(terms), options.count
        )
        for number, options in enumerate(splits)
    )
    return Problem(
        layer=layer,
        skeleton=skeleton,
        splits=splits,
        factors=parts,
        energy=_weights(found.energy, terms),
        outside=_weights(found.outside, terms),
        times=np.stack([_weights(form, terms) for form in found.times]),
        limits=np.array(
            [_weights(limit.form, terms) - _constant(limit.most, terms) for limit in found.limits]
        ).reshape(len(found.limits), len(terms) + 1),
        bounds_of=found.limits,
    )


def _terms(found: Forms) -> list[Term]:
    every = [found.energy, found.outside, *found.times, *(limit.form for limit in found.limits)]
    return list(dict.fromkeys(term for form in every for term in form.weights))


def _weights(form: Form, terms: list[Term]) -> Floats:
    return np.array(
        [*(form.weights.get(term, 0) for term in terms), form.constant], dtype=np.float64
    )


def _constant(value: int, terms: list[Term]) -> Floats:
    weights = np.zeros(len(terms) + 1)
    weights[-1] = value
    return weights
