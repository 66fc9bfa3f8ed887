"""Factors of areas, fitted to samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from scipy.optimize import nnls

from celosia.dataflow.area import FITTED, AreaTable
from celosia.dataflow.area_blocks import Terms
from celosia.scripts.area_samples import Sample

_PRIOR = 0.03
"""What a factor weighs that another family's table knows, next to a sample."""

_LEAST = 8.0
"""Amounts below weigh as much as this: a table more or less of a few says nothing."""


def fit(samples: Iterable[Sample], source: str, prior: AreaTable | None = None) -> AreaTable:
    """Return the table whose relative errors of ``samples`` have the least squares.

    No factor is negative: nothing that is added makes a part smaller. ``prior`` is the table of
    another family. What samples do not tell is as there, in the proportion of the families.
    """
    by_kind: dict[str, list[Sample]] = {}
    for sample in samples:
        by_kind.setdefault(sample.part.kind, []).append(sample)
    ratios = {} if prior is None else _ratios(by_kind, prior)
    factors: dict[str, dict[str, Terms]] = {}
    for kind, mine in by_kind.items():
        like = {} if prior is None else prior.factors.get(kind, {})
        factors[kind] = {
            name: found
            for name in FITTED
            if (found := _factors(mine, name, _scaled(like.get(name, {}), ratios.get(name, 1.0))))
        }
    for kind, amounts in {} if prior is None else prior.factors.items():
        factors.setdefault(kind, {n: _scaled(t, ratios.get(n, 1.0)) for n, t in amounts.items()})
    return AreaTable(source=source, factors=dict(sorted(factors.items())))


def _ratios(by_kind: Mapping[str, list[Sample]], prior: AreaTable) -> dict[str, float]:
    """Return how much larger the samples' family is: the median over kinds of look-up tables."""
    ratios = []
    for kind, mine in by_kind.items():
        if kind in prior.factors:
            theirs = [prior.amount(each.part).lut - each.part.known.lut for each in mine]
            ratios += [_left(each, "lut") / n for each, n in zip(mine, theirs, strict=True) if n]
    return {"lut": float(np.median(ratios))} if ratios else {}


def _scaled(terms: Terms, ratio: float) -> dict[str, float]:
    return {term: round(factor * ratio, 4) for term, factor in terms.items()}


def _factors(samples: list[Sample], name: str, like: Terms) -> dict[str, float]:
    """Return the factor of each term for the amounts called ``name``; ``like``: where untold."""
    terms = list(dict.fromkeys(term for each in samples for term in each.part.terms))
    rows = np.array([[each.part.terms.get(t, 0) for t in terms] for each in samples], dtype=float)
    left = np.array([_left(each, name) for each in samples])
    weights = 1 / np.maximum(np.array([getattr(each.amount, name) for each in samples]), _LEAST)
    rows, left = rows * weights[:, None], left * weights
    sizes = np.abs(rows).max(axis=0)
    sizes[sizes == 0] = 1.0
    if like:
        wanted = np.array([like.get(term, 0.0) for term in terms])
        rows = np.vstack([rows, _PRIOR * np.diag(sizes)])
        left = np.concatenate([left, _PRIOR * sizes * wanted])
    found, _ = nnls(rows / sizes, left)
    return {
        term: round(float(factor), 4)
        for term, factor in zip(terms, found / sizes, strict=True)
        if round(float(factor), 4)
    }


def _left(sample: Sample, name: str) -> float:
    return float(getattr(sample.amount, name) - getattr(sample.part.known, name))


def dump_area_table(table: AreaTable) -> str:
    """Return the TOML text of ``table``, which :func:`load_area_table` reads."""
    lines = [f'source = "{table.source}"']
    for kind, amounts in table.factors.items():
        lines += ["", f'["{kind}"]']
        lines += [f"{name} = {_inline(terms)}" for name, terms in amounts.items()]
    return "\n".join(lines) + "\n"


def _inline(terms: Mapping[str, float] | Terms) -> str:
    return "{ " + ", ".join(f"{term} = {factor:g}" for term, factor in terms.items()) + " }"
