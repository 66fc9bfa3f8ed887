"""How many elements a product has, by its structure. In machine code."""

from __future__ import annotations

import numpy as np

from celosia.dataflow.jit import compiled
from celosia.dataflow.sparch.schedule import Round, Schedule
from celosia.models.csr import Csr


@compiled
def _common(one: int, other: int, parents: np.ndarray, heads: np.ndarray) -> int:
    """Return the first round that takes what both rounds make; parents have higher numbers."""
    while heads[one] != heads[other]:
        if heads[one] < heads[other]:
            one = int(parents[heads[one]])
        else:
            other = int(parents[heads[other]])
    return max(one, other)


@compiled
def _new_elements(
    starts: np.ndarray, columns: np.ndarray, rounds: np.ndarray,
    right_starts: np.ndarray, right_columns: np.ndarray, width: int,
    parents: np.ndarray, heads: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Return the elements that are first made in each round, less those met there again.

    Summed up from the leaves of the tree of rounds these are the sizes. Nonzeros of a row lie in
    the order in which the tree is walked, so that of all rounds of an element only neighbours need
    be compared: what the two have in common is counted once.
    """
    made = np.zeros(len(parents), np.int64)
    seen = np.full(width, -1, np.int64)
    last = np.zeros(width, np.int64)
    for row in range(len(starts) - 1):
        for at in range(starts[row], starts[row + 1]):
            inner, number = columns[at], rounds[at]
            for other in range(right_starts[inner], right_starts[inner + 1]):
                column = right_columns[other]
                if seen[column] != row:
                    seen[column] = row
                    made[number] += 1
                elif last[column] != number:
                    made[number] += 1
                    made[_common(int(last[column]), int(number), parents, heads)] -= 1
                last[column] = number
    return made


def round_sizes(left: Csr, right: Csr, schedule: Schedule) -> tuple[int, ...]:
    """Return the elements that each round makes of what it and its sources take.

    Those that cancel to 0 are included; the last is the size of the product.
    """
    rounds = schedule.rounds
    count = len(rounds)
    parents = np.full(count, -1, np.int64)
    streams = np.zeros(int(schedule.stream.max(initial=-1)) + 2, np.int64)
    for number, each in enumerate(rounds):
        parents[list(each.sources)] = number
        streams[list(each.streams)] = number
    heads, places = _walk(rounds)
    order = np.lexsort((places[streams[schedule.stream]], left.rows))
    made = _new_elements(
        left.starts, left.columns[order], streams[schedule.stream[order]],
        right.starts, right.columns, right.shape[1], parents, heads,
    )  # fmt: skip
    for number in range(count - 1):
        made[parents[number]] += made[number]
    return tuple(made.tolist())


def _walk(rounds: tuple[Round, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return for each round the last of the line of rounds that it is in, and when it is visited.

    A line goes from a round to its heaviest source, and on; what lies under a round is visited
    without a gap.
    """
    weight = np.ones(len(rounds), np.int64)
    for number, each in enumerate(rounds):
        weight[number] += weight[list(each.sources)].sum()
    heads = np.arange(len(rounds))
    places = np.zeros(len(rounds), np.int64)
    for number in range(len(rounds) - 1, -1, -1):
        place = places[number] + 1
        sources = sorted(rounds[number].sources, key=lambda source: -weight[source])
        for index, source in enumerate(sources):
            if index == 0:
                heads[source] = heads[number]
            places[source] = place
            place += weight[source]
    return heads, places
