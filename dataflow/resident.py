"""The input of a step that stays on chip: its tiles, and what fills them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from celosia.dataflow.descriptors import Buffer, Load, Transfer
from celosia.dataflow.layout import Placement
from celosia.dataflow.plan import StepPlan
from celosia.dataflow.tiles import Chunk, InputTile, PixelTile
from celosia.dataflow.transfers import Axis, transfer

TileKey = tuple[PixelTile, Chunk]
"""What a tile of activations is for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A tensor's placement, and its first ``word`` in the memory of ``root``.

    Row y is row ``top + y * down`` there, column x column ``left + x * across``.
    """

    placement: Placement
    root: str
    word: int
    top: int = 0
    down: int = 1
    left: int = 0
    across: int = 1

    def rows(self, first: int, stop: int) -> tuple[int, int]:
        """Return the rows of the root from ``first`` on that hold rows before ``stop``."""
        return self.top + first * self.down, self.top + (stop - 1) * self.down + 1

    def columns(self, first: int, stop: int) -> tuple[int, int]:
        """Return the columns of the root from ``first`` on that hold columns before ``stop``."""
        return self.left + first * self.across, self.left + (stop - 1) * self.across + 1


class Loads(Protocol):
    """What takes loads and keeps: :class:`celosia.dataflow.emit.Emitter`."""

    def load(
        self, load: Load, start: int, words: int, needs: frozenset[int] = frozenset()
    ) -> None: ...

    def keep(
        self, moved: Transfer, lane: int, tile: tuple[int, int], outputs: tuple[int, int]
    ) -> None: ...


def input_transfer(
    source: Placement,
    key: TileKey,
    tile: InputTile,
    lanes: tuple[int, int],
    rows: tuple[int, int],
    start: int,
    columns: tuple[int, int] | None = None,
) -> Transfer:
    """Return the transfer of ``rows`` and ``columns`` (half-open) of a tile of activations.

    For ``lanes`` (first, count) into the tile that begins at word ``start`` of the buffer.
    """
    pixel, chunk = key
    left, right = columns or (0, tile.cols)
    top = tile.top + lanes[0] * tile.apart + rows[0] * tile.step
    address = source.at(pixel.sample) + chunk.word * source.plane + top * source.pitch
    return transfer(
        address + (tile.left + left) * source.word_bytes,
        start + rows[0] * tile.cols + left,
        right - left,
        (
            Axis(count=rows[1] - rows[0], memory=tile.step * source.pitch, buffer=tile.cols),
            Axis(count=chunk.words, memory=source.plane, buffer=tile.rows * tile.cols),
        ),
        source.word_bytes,
        Axis(count=lanes[1], memory=tile.apart * source.pitch, buffer=0),
    )


def _inside(first: int, step: int, count: int, low: int, high: int) -> tuple[int, int]:
    """Return the range of i in 0..count for which ``low <= first + i*step < high``."""
    start = min(count, max(0, -(-(low - first) // step)))
    return start, max(start, min(count, -(-(high - first) // step)))


class ResidentInput:
    """All tiles of activations of ``plan``, side by side from word ``start`` on, ``size`` each.

    The step that makes the input keeps its outputs here as it makes them. The border, which nobody
    makes, is loaded from memory before the first of the same words, that of all their tiles: loads
    and keeps of a bank wait for each other, so each between keeps holds up what is loaded after it.
    """

    def __init__(self, plan: StepPlan, tiles: Sequence[TileKey], start: int, size: int) -> None:
        self._plan = plan
        self._starts = {key: start + number * size for number, key in enumerate(tiles)}
        self._bordered: set[TileKey] = set()

    def find(self, loads: Loads, source: Place, key: TileKey) -> int:
        """Return where the tile of ``key`` lies; of ``source`` some border may be missing."""
        self._border(loads, source, key)
        return self._starts[key]

    def keep(
        self, loads: Loads, source: Place, pixel: PixelTile, words: tuple[int, int], outputs: int
    ) -> None:
        """Keep ``words`` of an output ``pixel`` tile, which lie from word ``outputs`` on."""
        found = []
        for key in self._starts:
            chunk = key[1]
            both = max(words[0], chunk.word), min(words[1], chunk.word + chunk.words)
            if key[0].sample == pixel.sample and both[0] < both[1]:
                found.append((key, both))
                self._border(loads, source, key)
        for key, both in found:
            self._keep(loads, key, pixel, both, outputs - words[0] * pixel.area)

    def _keep(
        self,
        loads: Loads,
        key: TileKey,
        pixel: PixelTile,
        words: tuple[int, int],
        base: int,
    ) -> None:
        """Keep the ``words`` of ``pixel`` in tile ``key``; word w lies at ``base + w*area``."""
        tile, chunk = self._plan.input_tile(*key), key[1]
        left, right = _inside(tile.left, 1, tile.cols, pixel.x, pixel.x + pixel.cols)
        size = chunk.words * tile.rows * tile.cols
        start = self._starts[key]
        for first, lanes, count in tile.parts:
            for lane in range(first, first + lanes):
                origin = tile.top + lane * tile.apart
                top, bottom = _inside(origin, tile.step, count, pixel.y, pixel.y + pixel.valid)
                if top == bottom or left == right:
                    continue
                row = origin + top * tile.step - pixel.y
                to = (words[0] - chunk.word) * tile.rows + top
                moved = transfer(
                    start + to * tile.cols + left,
                    base + words[0] * pixel.area + row * pixel.cols + tile.left + left - pixel.x,
                    right - left,
                    (
                        Axis(count=bottom - top, memory=tile.cols, buffer=tile.step * pixel.cols),
                        Axis(
                            count=words[1] - words[0],
                            memory=tile.rows * tile.cols,
                            buffer=pixel.area,
                        ),
                    ),
                    1,
                )
                outputs = base + words[0] * pixel.area, base + words[1] * pixel.area
                loads.keep(moved, lane, (start, start + size), outputs)

    def _border(self, loads: Loads, source: Place, key: TileKey) -> None:
        """Load what of a tile lies outside the input, once."""
        if key in self._bordered:
            return
        self._bordered.add(key)
        tile, start = self._plan.input_tile(*key), self._starts[key]
        _, height, width = source.placement.shape
        size = key[1].words * tile.rows * tile.cols
        left, right = _inside(tile.left, 1, tile.cols, 0, width)
        for first, lanes, count in tile.parts:
            for lane in range(first, first + lanes):
                top, bottom = _inside(tile.top + lane * tile.apart, tile.step, count, 0, height)
                whole = (0, tile.cols)
                parts = (
                    ((0, top), whole),
                    ((top, bottom), (0, left)),
                    ((top, bottom), (right, tile.cols)),
                    ((bottom, count), whole),
                )
                for rows, columns in parts:
                    if rows[0] == rows[1] or columns[0] == columns[1]:
                        continue
                    moved = input_transfer(
                        source.placement, key, tile, (lane, 1), rows, start, columns
                    )
                    load = Load(target=Buffer.ACTIVATIONS, transfer=moved, lane=lane)
                    loads.load(load, start, size)
