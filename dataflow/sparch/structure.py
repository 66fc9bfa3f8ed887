"""How many elements a product has, by its structure. In machine code."""

from __future__ import annotations

import numpy as np

from celosia.dataflow.jit import compiled
from celosia.dataflow.sparch.schedule import Schedule
from celosia.models.csr import Csr


@compiled
def _distinct(
    starts: np.ndarray, columns: np.ndarray, meant: np.ndarray,
    right_starts: np.ndarray, right_columns: np.ndarray, width: int,
) -> int:  # fmt: skip
    seen = np.full(width, -1, np.int64)
    total = 0
    for row in range(len(starts) - 1):
        for at in range(starts[row], starts[row + 1]):
            if meant[at]:
                inner = columns[at]
                for other in range(right_starts[inner], right_starts[inner + 1]):
                    if seen[right_columns[other]] != row:
                        seen[right_columns[other]] = row
                        total += 1
    return total


def product_size(left: Csr, right: Csr, meant: np.ndarray | None = None) -> int:
    """Return the elements of ``left`` times ``right``, those that cancel to 0 included.

    ``meant``, bool (n,), says which elements of ``left`` count; all by default.
    """
    if meant is None:
        meant = np.ones(left.nonzeros, bool)
    return _distinct(
        left.starts, left.columns, meant, right.starts, right.columns, right.shape[1]
    )  # fmt: skip


def round_members(schedule: Schedule) -> list[np.ndarray]:
    """Return which nonzeros go into each round, by itself or through its sources: bool (n,)."""
    streams = max((max(r.streams, default=-1) for r in schedule.rounds), default=-1) + 1
    members: list[np.ndarray] = []
    inside: list[np.ndarray] = []
    for each in schedule.rounds:
        mask = np.zeros(streams + 1, bool)
        mask[list(each.streams)] = True
        for source in each.sources:
            mask |= inside[source]
        inside.append(mask)
        members.append(mask[schedule.stream])
    return members
