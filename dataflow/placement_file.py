"""The file form of placements: JSON values."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

import numpy as np

from celosia.dataflow.layout import Placement, Unfold
from celosia.models.formats import Esb, Fixed, parse_format


def dump_placement(placement: Placement) -> dict[str, Any]:
    """Return ``placement`` as JSON values."""
    entry = {f.name: getattr(placement, f.name) for f in fields(placement)}
    unfold = None if placement.unfold is None else asdict(placement.unfold)
    entry |= {"format": placement.format.name, "unfold": unfold}
    return entry | {"words": placement.words.tolist(), "lanes": placement.lanes.tolist()}


def parse_placement(entry: dict[str, Any]) -> Placement:
    """Return what :func:`dump_placement` made ``entry`` of.

    Raises ``TypeError``, ``ValueError`` or ``LookupError`` if it made it of nothing.
    """
    fmt = parse_format(entry["format"])
    if not isinstance(fmt, Fixed | Esb):
        raise TypeError(f"tensor {entry['name']!r} has format {fmt.name}")
    unfold = entry["unfold"]
    if unfold is not None:
        unfold = Unfold(**{key: tuple(value) for key, value in unfold.items()})
    changed = {
        "format": fmt,
        "shape": tuple(entry["shape"]),
        "border": tuple(entry["border"]),
        "words": np.array(entry["words"], np.int64),
        "lanes": np.array(entry["lanes"], np.int64),
        "unfold": unfold,
    }
    return Placement(**{**entry, **changed})
