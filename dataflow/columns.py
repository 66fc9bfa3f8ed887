"""Which output channel is computed by which column.

Channel positions count columns: position ``tile * K + column``. A channel fits a
column that does every operation asked of it and whose format covers every format. Positions
are filled from the lowest, so that the channels lie in few words.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from celosia.dataflow.array_shape import ArrayShape
from celosia.models.formats import Format
from celosia.models.operations import MULTIPLY, Operation


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What a channel asks of its column: an operation with weights of ``format``.

    Without a format, weights are those that all columns of the operation hold.
    """

    operation: Operation = MULTIPLY
    format: Format | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ability:
    """What a column can do: an operation with weights of ``format``."""

    operation: Operation
    format: Format

    def serves(self, need: Need) -> bool:
        """Whether a channel with ``need`` may lie in such a column."""
        return self.operation == need.operation and (
            need.format is None or self.format.covers(need.format)
        )

    @property
    def name(self) -> str:
        """The format's name, and the operation's where it is not multiplication."""
        other = "" if self.operation == MULTIPLY else f" ({self.operation.name})"
        return f"{self.format.name}{other}"


Needs = frozenset[Need]
"""All that a channel asks of its column; nothing: any column."""


def suitable(needs: Needs, column: Ability) -> bool:
    """Whether a channel with ``needs`` may lie in a column of ability ``column``."""
    return all(column.serves(need) for need in needs)


class ColumnPool:
    """The columns of an array as classes of equal ability, for placing channels in them."""

    def __init__(self, array: ArrayShape) -> None:
        columns = [
            Ability(operation=group.operation, format=group.format) for group in array.column_groups
        ]
        self.abilities = tuple(dict.fromkeys(columns))
        self.classes = [self.abilities.index(column) for column in columns]
        self.supply = [self.classes.count(i) for i in range(len(self.abilities))]
        self._subsets = range(1, 1 << len(self.abilities))
        self._masks: dict[Needs, int] = {}

    def mask(self, needs: Needs) -> int:
        """Return the set of classes, as a bit mask, that channels with ``needs`` may use."""
        if needs not in self._masks:
            self._masks[needs] = sum(
                1 << i for i, column in enumerate(self.abilities) if suitable(needs, column)
            )
        return self._masks[needs]

    def _of(self, subset: int) -> int:
        """Return how many columns are of the classes in ``subset``."""
        return sum(count for i, count in enumerate(self.supply) if subset >> i & 1)

    def tiles(self, channels: Sequence[Needs]) -> int | None:
        """Return how many tiles of K columns hold ``channels``; ``None`` if one fits no column."""
        demand = self._demand(channels)
        if 0 in demand:
            return None
        need = 1
        for subset in self._subsets:
            inside = sum(count for mask, count in demand.items() if mask & ~subset == 0)
            room = self._of(subset)
            need = max(need, -(-inside // room) if inside else 0)
        return need

    def _demand(self, channels: Sequence[Needs]) -> dict[int, int]:
        demand: dict[int, int] = {}
        for needs, count in Counter(channels).items():
            mask = self.mask(needs)
            demand[mask] = demand.get(mask, 0) + count
        return demand

    def fits(self, channels: Sequence[Needs], positions: np.ndarray) -> bool:
        """Whether every channel may lie at its position."""
        count = len(self.classes)
        return all(
            self.mask(needs) >> self.classes[int(position) % count] & 1
            for needs, position in zip(channels, positions, strict=True)
        )

    def assign(self, channels: Sequence[Needs], order: np.ndarray) -> np.ndarray:
        """Return a position for each channel, lowest first; channels are taken in ``order``.

        Raises ``ValueError`` if a channel fits no column (see :meth:`tiles`).
        """
        tiles = self.tiles(channels)
        if tiles is None:
            raise ValueError("a channel fits no column")
        demand = self._demand(channels)
        waiting: dict[int, list[int]] = {mask: [] for mask in demand}
        masks_of = {needs: self.mask(needs) for needs in set(channels)}
        for channel in reversed(order.tolist()):
            waiting[masks_of[channels[channel]]].append(channel)
        # The most demanding channels first.
        masks = sorted(demand, key=lambda mask: (mask.bit_count(), mask))
        # Hall's condition: any set of classes has room for the channels that need it. What is
        # left of that room grows with a channel that is placed and shrinks with a position.
        left = {
            subset: self._of(subset) * tiles
            - sum(count for mask, count in demand.items() if mask & ~subset == 0)
            for subset in self._subsets
        }
        within = [[s for s in self._subsets if s >> c & 1] for c in range(len(self.abilities))]
        around = {mask: [s for s in self._subsets if mask & ~s == 0] for mask in masks}
        positions = np.zeros(len(channels), np.int64)
        placed = 0
        for position in range(tiles * len(self.classes)):
            if placed == len(channels):
                break
            column = self.classes[position % len(self.classes)]
            for subset in within[column]:
                left[subset] -= 1
            for mask in masks:
                if not waiting[mask] or not mask >> column & 1:
                    continue
                for subset in around[mask]:
                    left[subset] += 1
                if min(left.values()) >= 0:
                    positions[waiting[mask].pop()] = position
                    placed += 1
                    break
                for subset in around[mask]:
                    left[subset] -= 1
        return positions
