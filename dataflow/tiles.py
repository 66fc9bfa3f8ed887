"""The pieces that a step is cut into: channels, pixels, the reduction, and what those read.

:mod:`celosia.dataflow.plan` says how large they may be on one accelerator.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Input words ``[word, word + words)``, kernel rows and columns of one reduction chunk."""

    word: int
    words: int
    kernel_row: int
    kernel_rows: int
    kernel_column: int
    kernel_columns: int

    @property
    def positions(self) -> int:
        """Products of a lane for each output."""
        return self.words * self.kernel_rows * self.kernel_columns


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ChannelTile:
    """The output channels of one pass over the columns.

    ``channels`` lie in ``columns``; ``groups`` groups of post lanes are used; ``word``
    and ``lane_group`` say where in its block's words the first column lies;
    ``runs`` are the ranges of words of the input tensor that it reads.
    """

    index: int
    channels: np.ndarray
    columns: np.ndarray
    groups: int
    word: int
    lane_group: int
    runs: tuple[tuple[int, int], ...]

    @property
    def input_words(self) -> int:
        """Input words that it reads."""
        return sum(stop - start for start, stop in self.runs)

    def offset(self, word: int) -> int:
        """Return how many of its input words lie before ``word``."""
        return sum(max(0, min(stop, word) - start) for start, stop in self.runs)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Block:
    """Tiles that fill whole output words: ``words`` from ``word`` (of the output tensor).

    ``runs`` are the ranges, within the block, of words that hold a channel.
    """

    word: int
    words: int
    tiles: tuple[ChannelTile, ...]
    runs: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelTile:
    """Output rows ``[y, y + valid)`` and columns ``[x, x + cols)``; each lane has ``rows`` rows.

    ``lanes`` lanes have a valid row; the last of them has ``last_rows``. All of one ``sample``.
    """

    sample: int
    y: int
    x: int
    rows: int
    cols: int
    valid: int

    @property
    def lanes(self) -> int:
        """Pixel lanes with a valid row."""
        return -(-self.valid // self.rows)

    @property
    def last_rows(self) -> int:
        """Valid rows of the last such lane."""
        return self.valid - (self.lanes - 1) * self.rows

    @property
    def area(self) -> int:
        """Output words of one (channel) word of the tile in the output buffer."""
        return self.lanes * self.rows * self.cols


@dataclass(frozen=True, slots=True, kw_only=True)
class InputTile:
    """A tile of activations: of pixel lane l the rows ``top + l*apart + r*step`` of the input.

    ``parts`` are (first lane, lanes, rows r) of lanes with as many valid rows; the buffer has
    ``rows`` for each. Columns are ``left`` to ``left + cols`` - 1. Rows and columns outside the
    input are border.
    """

    top: int
    left: int
    step: int
    rows: int
    cols: int
    apart: int
    parts: tuple[tuple[int, int, int], ...]
