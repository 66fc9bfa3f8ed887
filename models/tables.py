"""Functions of one quantised value as tables: what post-processing looks codes up in."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from celosia.models.checks import check_name, read_only

MAX_TABLE_BITS = 12
"""Bits of the widest index into a table."""

MAX_INDEX = 1 << MAX_TABLE_BITS
"""Most entries of a table, and what no index's magnitude exceeds."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Table:
    """The output code of each requantised value, from the least to the greatest.

    A :class:`~celosia.models.network.Requant` with a table clamps to what it has entries for. All
    channels share it. ``function`` says in words what it holds, ``scale`` is the real value of one
    index more. The constructor keeps a read-only copy of ``values`` (int64, (entries,)).
    """

    function: str
    scale: float
    values: np.ndarray

    def __post_init__(self) -> None:
        check_name("table", self.function)
        if not (self.scale > 0 and math.isfinite(self.scale)):
            raise ValueError(
                f"table {self.function!r}: scale must be positive and finite, not {self.scale!r}"
            )
        values = read_only(f"table {self.function!r}: values", self.values, 1)
        if len(values) > MAX_INDEX:
            raise ValueError(
                f"table {self.function!r} must have at most {MAX_INDEX} entries, not {len(values)}"
            )
        object.__setattr__(self, "values", values)
