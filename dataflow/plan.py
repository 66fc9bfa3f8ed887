"""What one step needs on one accelerator: its channel tiles, and the sizes of its pixel tiles.

Shared by the mapper, which weighs sizes, and the compiler, which emits descriptors.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.arrange import Arrangement
from celosia.dataflow.lower import Lowered, Step
from celosia.dataflow.mapping import LayerMapping
from celosia.dataflow.precision import Precision, passes, weight_precision
from celosia.models.errors import CelosiaError


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Input words ``[word, word + words)`` and kernel rows of one reduction chunk.

    ``weights`` is the chunk's first word in its tile's weights.
    """

    word: int
    words: int
    kernel_row: int
    kernel_rows: int
    weights: int


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

    ``lanes`` lanes have a valid row; the last of them has ``last_rows``.
    """

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


def runs_of(words: np.ndarray) -> tuple[tuple[int, int], ...]:
    """Return the maximal ranges of consecutive integers among ``words``."""
    unique = np.unique(words)
    breaks = np.flatnonzero(np.diff(unique) > 1) + 1
    parts = np.split(unique, breaks)
    return tuple((int(part[0]), int(part[-1]) + 1) for part in parts)


class StepPlan:
    """One step's geometry on one accelerator.

    Attributes
    ----------
    step, accelerator : Step, Accelerator
        What is planned, and on what.
    blocks : tuple of Block
        Its output channels.
    size : (int, int)
        Output rows and columns.
    source, target, operand : Tensor
        What it reads and writes, and its residual operand or ``None``.
    precision : Precision or None
        Widths of its operands, where columns are precision-scalable.
    passes : int
        Passes of a word: 1 where columns are not precision-scalable.
    uniform : bool
        Whether all positions of the kernel have the same weights.
    """

    def __init__(self, step: Step, arrangement: Arrangement, accelerator: Accelerator) -> None:
        self.step = step
        self.accelerator = accelerator
        self._lanes = accelerator.array.lanes
        self._columns = accelerator.array.column_count
        lowered = arrangement.lowered
        self.size = lowered.tensors[step.output].shape[1:]
        self.precision, self.passes = self._precision(lowered)
        self.source = lowered.tensors[step.input]
        self.target = lowered.tensors[step.output]
        self.operand = None if step.residual is None else lowered.tensors[step.residual]
        parts = [step.weights] if step.scales is None else [step.weights, step.scales.values]
        self.uniform = all(bool((part == part[:, :, :1, :1]).all()) for part in parts)
        self.inputs = arrangement.positions[step.input]
        self.outputs = arrangement.positions[step.output]
        self.blocks = self._blocks()
        self.tiles = tuple(tile for block in self.blocks for tile in block.tiles)
        self.block_words = max(block.words for block in self.blocks)

    def _precision(self, lowered: Lowered) -> tuple[Precision | None, int]:
        circuit = self.accelerator.array.scalable
        if circuit is None:
            return None, 1
        bits, weights_signed = weight_precision(self.step.formats)
        precision = Precision(
            weight_bits=bits,
            activation_bits=lowered.tensors[self.step.input].format.bits,
            weights_signed=weights_signed,
        )
        return precision, passes(circuit, precision)

    def _blocks(self) -> tuple[Block, ...]:
        per_block = self._lanes // math.gcd(self._columns, self._lanes)
        whole = per_block * self._columns
        blocks = []
        for number in np.unique(self.outputs // whole):
            channels = np.flatnonzero(self.outputs // whole == number)
            inside = self.outputs[channels] % whole
            tiles = tuple(
                self._tile(int(number) * per_block, int(t), channels[inside // self._columns == t])
                for t in np.unique(inside // self._columns)
            )
            runs = runs_of(inside // self._lanes)
            word = int(number) * whole // self._lanes
            words = max(
                tile.word
                + -(-(tile.lane_group + tile.groups) * self.accelerator.post_lanes // self._lanes)
                for tile in tiles
            )
            blocks.append(Block(word=word, words=words, tiles=tiles, runs=runs))
        return tuple(blocks)

    def _tile(self, first: int, number: int, channels: np.ndarray) -> ChannelTile:
        lanes, post = self._lanes, self.accelerator.post_lanes
        columns = self.outputs[channels] % self._columns
        start = number * self._columns
        words = self.inputs[self.input_channels(channels)] // lanes
        return ChannelTile(
            index=first + number,
            channels=channels,
            columns=columns,
            groups=int(columns.max()) // post + 1,
            word=start // lanes,
            lane_group=start % lanes // post,
            runs=runs_of(words),
        )

    def input_channels(self, channels: np.ndarray) -> np.ndarray:
        """Return the input channels that each of ``channels`` reduces, shape (channels, I)."""
        rows, inputs = self.step.weights.shape[:2]
        group = channels // (rows // self.step.groups)
        return np.asarray(group[:, None] * inputs + np.arange(inputs))

    @property
    def kernel(self) -> tuple[int, int]:
        """Rows and columns of the convolution's kernel."""
        return self.step.window.kernel

    def weight_kernel(self, kernel_rows: int) -> tuple[int, int]:
        """Return the rows and columns of weight words for ``kernel_rows`` rows of the kernel.

        Where all positions of the kernel have the same weights (average pooling), one
        word serves all.
        """
        return (1, 1) if self.uniform else (kernel_rows, self.kernel[1])

    def chunks(self, tile: ChannelTile, mapping: LayerMapping) -> Iterator[Chunk]:
        """Yield the reduction chunks of ``tile``."""
        ky, height, width = self.kernel[0], *self.weight_kernel(self.kernel[0])
        weights = 0
        for start, stop in tile.runs:
            for word in range(start, stop, mapping.words):
                words = min(mapping.words, stop - word)
                for row in range(0, ky, mapping.kernel_rows):
                    rows = min(mapping.kernel_rows, ky - row)
                    first = weights + (0 if self.uniform else row * width)
                    yield Chunk(
                        word=word, words=words, kernel_row=row, kernel_rows=rows, weights=first
                    )
                weights += words * height * width

    def pixel_tiles(self, mapping: LayerMapping) -> list[PixelTile]:
        """Return the pixel tiles, top to bottom, left to right."""
        height, width = self.size
        pixels = self.accelerator.array.pixels
        step = pixels * mapping.rows
        return [
            PixelTile(
                y=y,
                x=x,
                rows=min(mapping.rows, -(-(height - y) // pixels)),
                cols=min(mapping.columns, width - x),
                valid=min(step, height - y),
            )
            for y in range(0, height, step)
            for x in range(0, width, mapping.columns)
        ]

    def row_step(self, rows: int, kernel_rows: int) -> int:
        """Return the distance of the input rows that matter to ``rows`` output rows a lane."""
        (sy, _), (dy, _) = self.step.window.stride, self.step.window.dilation
        conv_rows = self.step.conv_size((rows, 1))[0]
        if conv_rows == 1:
            return dy if kernel_rows > 1 else 1
        return sy if kernel_rows == 1 else math.gcd(sy, dy)

    def input_rows(self, rows: int, kernel_rows: int, row_step: int) -> int:
        """Return how many input rows, ``row_step`` apart, ``rows`` output rows of a lane need."""
        (sy, _), (dy, _) = self.step.window.stride, self.step.window.dilation
        conv_rows = self.step.conv_size((rows, 1))[0]
        return ((conv_rows - 1) * sy + (kernel_rows - 1) * dy) // row_step + 1

    def input_cols(self, cols: int) -> int:
        """Return how many input columns ``cols`` output columns need."""
        conv_cols = self.step.conv_size((1, cols))[1]
        return (conv_cols - 1) * self.step.window.stride[1] + self.step.window.extent[1]

    def needs(self, mapping: LayerMapping) -> dict[str, int]:
        """Return the words of one tile in each buffer, by the field of ``Buffers``."""
        pixels = self.accelerator.array.pixels
        rows = min(mapping.rows, -(-self.size[0] // pixels))
        cols = min(mapping.columns, self.size[1])
        words = min(mapping.words, max(b - a for tile in self.tiles for a, b in tile.runs))
        kernel_rows = min(mapping.kernel_rows, self.kernel[0])
        # A tile with fewer rows, at the bottom, may step through its input otherwise.
        input_rows = max(
            self.input_rows(r, kernel_rows, self.row_step(r, kernel_rows)) for r in {rows, 1}
        )
        conv_rows, conv_cols = self.step.conv_size((rows, cols))
        area = min(pixels, self.size[0]) * rows * cols
        needs = {
            "activations": words * input_rows * self.input_cols(cols),
            "weights": words * math.prod(self.weight_kernel(kernel_rows)),
            "accumulators": conv_rows * conv_cols,
            "constants": max(tile.groups for tile in self.tiles),
            "outputs": self.block_words * area,
        }
        if self.step.residual is not None:
            needs["residuals"] = needs["outputs"]
        return needs

    def check(self, mapping: LayerMapping, remedy: str = " or use a smaller tile") -> None:
        """Raise :class:`CelosiaError` if ``mapping`` is not legal for this step.

        ``remedy`` follows the advice to enlarge the buffer.
        """
        where = f"layer {self.step.name!r}"
        if mapping.kernel_rows < self.kernel[0] and mapping.words != 1:
            raise CelosiaError(
                f"{where}: a mapping with kernel_rows {mapping.kernel_rows}, fewer than the "
                f"kernel's {self.kernel[0]}, must have words 1, not {mapping.words}"
            )
        for field, words in self.needs(mapping).items():
            depth = getattr(self.accelerator.buffers, field)
            if words > depth:
                raise CelosiaError(
                    f"{where}: one tile needs {words} words of the {field} buffer, accelerator "
                    f"{self.accelerator.name!r} has {depth}: {words - depth} are missing; raise "
                    f"buffers.{field}{remedy}"
                )
