"""What one step needs on one accelerator: its channel tiles, and the sizes of all its tiles.

Shared by the mapper, which weighs sizes, and the compiler, which emits descriptors.
:mod:`celosia.dataflow.nest` walks the loops over the tiles.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Iterable
from functools import cached_property

import numpy as np

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.arrange import Arrangement
from celosia.dataflow.descriptors import COMPUTE_LOOPS
from celosia.dataflow.lower import Lowered, Step
from celosia.dataflow.mapping import (
    ARRAY_DIMENSIONS,
    MOST_SLOTS,
    PIXELS,
    REDUCTION,
    Dimension,
    LayerMapping,
    TileLoop,
)
from celosia.dataflow.precision import Precision, passes, weight_precision
from celosia.dataflow.tiles import Block, ChannelTile, Chunk, InputTile, PixelTile
from celosia.dataflow.windows import cut_alike
from celosia.models.errors import CelosiaError


def runs_of(words: np.ndarray) -> tuple[tuple[int, int], ...]:
    """Return the maximal ranges of consecutive integers among ``words``."""
    unique = np.unique(words)
    breaks = np.flatnonzero(np.diff(unique) > 1) + 1
    parts = np.split(unique, breaks)
    return tuple((int(part[0]), int(part[-1]) + 1) for part in parts)


InputRuns = dict[tuple[int, ...], tuple[tuple[int, int], ...]]
"""The runs of input words that the channels of some groups of a convolution reduce."""


def _uniform(part: np.ndarray) -> bool:
    """Whether all positions of the kernel hold the same; most often one channel tells."""
    return part.shape[2:] == (1, 1) or all(
        bool((some == some[:, :, :1, :1]).all()) for some in (part[:1], part)
    )


class StepPlan:
    """One step's geometry on one accelerator.

    Attributes
    ----------
    step, accelerator, samples : Step, Accelerator, int
        What is planned, on what, and for how many samples at once.
    blocks : tuple of Block
        Its output channels.
    size, sums_size : (int, int)
        Output rows and columns, and those of what maxima are taken of.
    source, target, operand : Tensor
        What it reads and writes, and its residual operand or ``None``.
    precision : Precision or None
        Widths of its operands, where columns are precision-scalable.
    passes : int
        Passes of a word: 1 where columns are not precision-scalable.
    block_tiles : int
        Channel tiles that fill whole words of the output.
    uniform : bool
        Whether all positions of the kernel have the same weights, and one word holds them.
    kernel : (int, int)
        Rows and columns of the convolution's kernel, as loops go over them: where columns have
        windows of their own, 1 for each ``Step.own_rows`` rows, and 1.
    dilation : (int, int)
        Input rows and columns from one of these to the next.
    reach : (int, int)
        Input rows and columns that one of them takes beyond the first: more than 0 columns exactly
        where columns have windows of their own.
    """

    def __init__(
        self, step: Step, arrangement: Arrangement, accelerator: Accelerator, samples: int = 1
    ) -> None:
        self.step = step
        self.accelerator = accelerator
        self.samples = samples
        self._lanes = accelerator.array.lanes
        self._columns = accelerator.array.column_count
        lowered = arrangement.lowered
        self.size = lowered.tensors[step.output].shape[1:]
        self.sums_size = self.size
        if step.sums is not None:
            self.sums_size = lowered.network.tensor(step.sums).shape[1:]
        self.precision, self.passes = self._precision(lowered)
        self.source = lowered.tensors[step.input]
        self.target = lowered.tensors[step.output]
        self.operand = None if step.residual is None else lowered.tensors[step.residual]
        window, own = step.window, step.own_rows
        self.kernel, self.dilation, self.reach = window.kernel, window.dilation, (0, 0)
        if own:
            self.kernel = window.kernel[0] // own, 1
            self.dilation = own * window.dilation[0], 1
            self.reach = own - 1, window.kernel[1] - 1
        parts = [step.weights] if step.scales is None else [step.weights, step.scales.values]
        self.uniform = not own and all(map(_uniform, parts))
        self.inputs = arrangement.positions[step.input]
        self.outputs = arrangement.positions[step.output]
        self.blocks = self._blocks()
        self.tiles = tuple(tile for block in self.blocks for tile in block.tiles)
        self.block_words = max(block.words for block in self.blocks)
        self.block_tiles = self._lanes // math.gcd(self._columns, self._lanes)
        self.block_of = {tile.index: block for block in self.blocks for tile in block.tiles}
        # Searches ask for the sizes of the same loops many times.
        self._sizes: dict[tuple[TileLoop, ...], dict[str, int]] = {}

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
        runs: InputRuns = {}
        for number in np.unique(self.outputs // whole):
            channels = np.flatnonzero(self.outputs // whole == number)
            inside = self.outputs[channels] % whole
            within = inside // self._columns
            tiles = tuple(
                self._tile(int(number) * per_block + int(t), int(t), channels[within == t], runs)
                for t in np.unique(within)
            )
            word = int(number) * whole // self._lanes
            words = max(
                tile.word
                + -(-(tile.lane_group + tile.groups) * self.accelerator.post_lanes // self._lanes)
                for tile in tiles
            )
            filled = runs_of(inside // self._lanes)
            blocks.append(Block(word=word, words=words, tiles=tiles, runs=filled))
        return tuple(blocks)

    def _tile(self, index: int, number: int, channels: np.ndarray, runs: InputRuns) -> ChannelTile:
        """Return the tile of ``channels``; ``runs`` are those found for other tiles, and grow."""
        lanes, post = self._lanes, self.accelerator.post_lanes
        columns = self.outputs[channels] % self._columns
        start = number * self._columns
        # Channels of one group reduce the same inputs.
        ends = np.unique(self._group(channels), return_index=True)
        groups = tuple(ends[0].tolist())
        if groups not in runs:
            runs[groups] = runs_of(self.inputs[self.input_channels(channels[ends[1]])] // lanes)
        return ChannelTile(
            index=index,
            channels=channels,
            columns=columns,
            groups=int(columns.max()) // post + 1,
            word=start // lanes,
            lane_group=start % lanes // post,
            runs=runs[groups],
        )

    def _group(self, channels: np.ndarray) -> np.ndarray:
        return np.asarray(channels // (len(self.step.weights) // self.step.groups))

    def input_channels(self, channels: np.ndarray) -> np.ndarray:
        """Return the input channels that each of ``channels`` reduces, shape (channels, I)."""
        inputs = self.step.weights.shape[1]
        return np.asarray(self._group(channels)[:, None] * inputs + np.arange(inputs))

    def weight_kernel(self, kernel_rows: int, kernel_columns: int) -> tuple[int, int]:
        """Return the rows and columns of weight words for so many of the kernel.

        Where all positions of the kernel have the same weights (average pooling), one
        word serves all.
        """
        return (1, 1) if self.uniform else (kernel_rows, kernel_columns)

    @cached_property
    def alike(self) -> bool:
        """Whether all channel tiles read the same input words."""
        return len({tile.runs for tile in self.tiles}) == 1

    @cached_property
    def input_words(self) -> int:
        """Input words that all channel tiles read, each for itself."""
        return sum(tile.input_words for tile in self.tiles)

    @cached_property
    def distinct_words(self) -> int:
        """Input words that any channel tile reads."""
        runs = {run for tile in self.tiles for run in tile.runs}
        return len({word for run in runs for word in range(*run)})

    @cached_property
    def groups(self) -> int:
        """Groups of post lanes of all channel tiles."""
        return sum(tile.groups for tile in self.tiles)

    @cached_property
    def stored_words(self) -> int:
        """Words of the output that hold a channel."""
        return sum(stop - start for block in self.blocks for start, stop in block.runs)

    @cached_property
    def geometry(self) -> Hashable:
        """What steps have in common that may be mapped alike: all but addresses and weights."""
        blocks = tuple(
            (b.word, b.words, b.runs, tuple((t.groups, t.word, t.runs) for t in b.tiles))
            for b in self.blocks
        )
        step = self.step
        size = self.samples, self.size, self.passes, self.precision
        windows = step.window, step.pool, step.within
        kind = step.residual is None, self.uniform, step.own_rows
        return (*size, *windows, *kind, blocks)

    @cached_property
    def maxima(self) -> int:
        """Codes that maxima are taken of, for each channel: one for each output without pooling."""
        pool, (top, left, bottom, right) = self.step.pool, self.step.within
        found = 1
        for axis, (low, high) in enumerate(((top, bottom), (left, right))):
            window = pool.stride[axis], pool.dilation[axis], pool.kernel[axis], low, high
            first = taken = 0
            while first < self.size[axis]:
                last, _, each = cut_alike(first, self.size[axis], *window)
                taken += (last - first) * each
                first = last
            found *= taken
        return found

    @property
    def whole(self) -> dict[Dimension, int]:
        """The units of each dimension; of ``C`` those of the longest run of words."""
        return dict(self._whole)

    @cached_property
    def _whole(self) -> dict[Dimension, int]:
        return {
            Dimension.N: self.samples,
            Dimension.K: len(self.tiles),
            Dimension.C: max(stop - start for tile in self.tiles for start, stop in tile.runs),
            Dimension.OY: -(-self.size[0] // self.accelerator.array.pixels),
            Dimension.OX: self.size[1],
            Dimension.FY: self.kernel[0],
            Dimension.FX: self.kernel[1],
        }

    def tile(self, mapping: LayerMapping) -> dict[Dimension, int]:
        """Return the size of a tile of ``mapping`` along each dimension."""
        return {
            dimension: 1 if dimension is Dimension.N else mapping.step(dimension, whole)
            for dimension, whole in self._whole.items()
        }

    def trips(self, mapping: LayerMapping) -> tuple[tuple[TileLoop, int], ...]:
        """Return the loops over memory, outermost first, each with its most iterations.

        One over samples is outermost where ``mapping`` has none.
        """
        left = self.whole
        loops = list(mapping.loops)
        if not any(loop.dimension is Dimension.N for loop in loops):
            loops.insert(0, TileLoop(dimension=Dimension.N, step=1))
        trips = []
        for loop in loops:
            whole = left[loop.dimension]
            left[loop.dimension] = min(whole, loop.step)
            trips.append((loop, -(-whole // loop.step)))
        return tuple(trips)

    def row_step(self, rows: int, kernel_rows: int) -> int:
        """Return the distance of the input rows that matter to ``rows`` output rows a lane."""
        (sy, _), (dy, _) = self.step.window.stride, self.dilation
        conv_rows = self.step.conv_size((rows, 1))[0]
        if self.reach[0]:
            return 1
        if conv_rows == 1:
            return dy if kernel_rows > 1 else 1
        return sy if kernel_rows == 1 else math.gcd(sy, dy)

    def input_rows(self, rows: int, kernel_rows: int, row_step: int) -> int:
        """Return how many input rows, ``row_step`` apart, ``rows`` output rows of a lane need."""
        (sy, _), (dy, _) = self.step.window.stride, self.dilation
        conv_rows = self.step.conv_size((rows, 1))[0]
        return ((conv_rows - 1) * sy + (kernel_rows - 1) * dy + self.reach[0]) // row_step + 1

    def input_cols(self, cols: int, kernel_columns: int) -> int:
        """Return how many input columns ``cols`` output columns need."""
        conv_cols = self.step.conv_size((1, cols))[1]
        (_, sx), (_, dx) = self.step.window.stride, self.dilation
        return (conv_cols - 1) * sx + (kernel_columns - 1) * dx + self.reach[1] + 1

    def steps(self, rows: int, cols: int, kernel_rows: int, kernel_columns: int) -> int:
        """Return the steps of the array for ``rows`` by ``cols`` outputs a lane and one input word.

        Windows slide over all input words of each ``Step.own_rows`` rows of the kernel.
        """
        conv_rows, conv_cols = self.step.conv_size((rows, cols))
        if not self.reach[1]:
            return conv_rows * conv_cols * kernel_rows * kernel_columns * self.passes
        lines = self.input_rows(rows, 1, self.row_step(rows, kernel_rows))
        return kernel_rows * lines * self.input_cols(cols, 1)

    def input_tile(self, pixel: PixelTile, chunk: Chunk) -> InputTile:
        """Return the tile of activations that ``chunk`` reads for ``pixel``."""
        window, pool = self.step.window, self.step.pool
        step = self.row_step(pixel.rows, chunk.kernel_rows)
        down = pool.stride[0] * window.stride[0]
        top = pixel.y * down - window.padding[0] + chunk.kernel_row * self.dilation[0]
        left = pixel.x * pool.stride[1] * window.stride[1] - window.padding[1]
        rows = self.input_rows(pixel.rows, chunk.kernel_rows, step)
        whole = pixel.lanes if pixel.last_rows == pixel.rows else pixel.lanes - 1
        parts = [(0, whole, rows)] if whole else []
        if whole < pixel.lanes:
            last = self.input_rows(pixel.last_rows, chunk.kernel_rows, step)
            parts.append((whole, 1, last))
        return InputTile(
            top=top,
            left=left + chunk.kernel_column * self.dilation[1],
            step=step,
            rows=rows,
            cols=self.input_cols(pixel.cols, chunk.kernel_columns),
            apart=pixel.rows * down,
            parts=tuple(parts),
        )

    def sizes(self, mapping: LayerMapping) -> dict[str, int]:
        """Return the words of one tile in each buffer, by the field of ``Buffers``."""
        known = self._sizes.get(mapping.loops)
        if known is None:
            tile = self.tile(mapping)
            pixels, kernel = (
                (tile[down], tile[across])
                for down, across in ((Dimension.OY, Dimension.OX), (Dimension.FY, Dimension.FX))
            )
            known = self.tile_sizes(tile[Dimension.K], tile[Dimension.C], pixels, kernel)
            self._sizes[mapping.loops] = known
        return known.copy()

    def tile_sizes(
        self, channels: int, words: int, pixels: tuple[int, int], kernel: tuple[int, int]
    ) -> dict[str, int]:
        """Return :meth:`sizes` of tiles of so many channel tiles, words, rows and columns."""
        rows, cols = pixels
        # A tile with fewer rows, at the bottom, may step through its input otherwise.
        input_rows = max(
            self.input_rows(r, kernel[0], self.row_step(r, kernel[0])) for r in {rows, 1}
        )
        conv_rows, conv_cols = self.step.conv_size((rows, cols))
        area = min(self.accelerator.array.pixels, self.size[0]) * rows * cols
        sizes = {
            "activations": words * input_rows * self.input_cols(cols, kernel[1]),
            "weights": channels * words * math.prod(self.weight_kernel(*kernel)),
            "accumulators": channels * conv_rows * conv_cols,
            "constants": self._most_groups,
            "outputs": self.block_words * area,
        }
        if self.step.residual is not None:
            sizes["residuals"] = sizes["outputs"]
        return sizes

    def alive(self, mapping: LayerMapping) -> dict[str, int]:
        """Return how many tiles of each buffer are needed at once where it may be several."""
        trips = self.trips(mapping)
        sums = outputs = 1
        for index, (loop, count) in reversed(list(enumerate(trips))):
            inside = trips[index + 1 :]
            if self._cuts_sums(loop, count):
                sums = math.prod(n for o, n in inside if o.dimension in (Dimension.K, *PIXELS))
                # Tiles of one word that read other words are not finished together.
                outputs = outputs if self.alike else sums
            if loop.dimension is Dimension.K and self._cuts_words(mapping, index):
                pixels = math.prod(n for o, n in inside if o.dimension in PIXELS)
                outputs = max(outputs, pixels)
        return {"accumulators": sums, "outputs": outputs, "residuals": outputs}

    def _cuts_sums(self, loop: TileLoop, count: int) -> bool:
        """Return whether a tile of sums may need several iterations of ``loop``."""
        if loop.dimension is Dimension.C:
            single = self.alike and len(self.tiles[0].runs) == 1
            return self._most_words > (loop.step if single else 1)
        return loop.dimension in REDUCTION and count > 1

    def channel_ranges(self, loops: Iterable[TileLoop]) -> list[tuple[int, int]]:
        """Return the ranges of channel tiles after all the loops over ``K`` among ``loops``."""
        ranges = [(0, len(self.tiles))]
        for loop in loops:
            if loop.dimension is Dimension.K:
                ranges = [
                    (first, min(stop, first + loop.step))
                    for start, stop in ranges
                    for first in range(start, stop, loop.step)
                ]
        return ranges

    def _cuts_words(self, mapping: LayerMapping, index: int) -> bool:
        """Return whether the first ``index`` + 1 of the trips part tiles that share a word."""
        loops = [loop for loop, _ in self.trips(mapping)[: index + 1]]
        return any(first not in self._block_starts for first, _ in self.channel_ranges(loops))

    @cached_property
    def _block_starts(self) -> frozenset[int]:
        return frozenset(itertools.accumulate((len(b.tiles) for b in self.blocks), initial=0))

    @cached_property
    def _most_groups(self) -> int:
        return max(tile.groups for tile in self.tiles)

    @cached_property
    def _most_words(self) -> int:
        return max(tile.input_words for tile in self.tiles)

    def needs(self, mapping: LayerMapping) -> dict[str, int]:
        """Return the words that each buffer must have at least, by the field of ``Buffers``."""
        alive = self.alive(mapping)
        return {
            name: size * max(alive.get(name, 1), mapping.buffering.tiles(name) or 1)
            for name, size in self.sizes(mapping).items()
        }

    def slots(self, mapping: LayerMapping) -> dict[str, int]:
        """Return how many tiles each buffer holds; ``mapping`` must be legal."""
        return {
            name: min(
                MOST_SLOTS,
                getattr(self.accelerator.buffers, name) // size,
                mapping.buffering.tiles(name) or MOST_SLOTS,
            )
            for name, size in self.sizes(mapping).items()
        }

    def is_legal(self, mapping: LayerMapping) -> bool:
        """Return whether :meth:`check` finds nothing wrong with ``mapping``."""
        try:
            self.check(mapping)
        except CelosiaError:
            return False
        return True

    def check(self, mapping: LayerMapping, remedy: str = " or use a smaller tile") -> None:
        """Raise :class:`CelosiaError` if ``mapping`` is not legal for this step.

        ``remedy`` follows the advice to enlarge the buffer.
        """
        self._check_array(mapping)
        where, sizes = f"layer {self.step.name!r}", self.sizes(mapping)
        for name, alive in self.alive(mapping).items():
            most = mapping.buffering.tiles(name) or MOST_SLOTS
            if name in sizes and alive > most:
                raise CelosiaError(
                    f"{where}: {alive} tiles of the {name} buffer are needed at once and {most} "
                    f"are kept: {alive - most} are missing; put the loops that are summed over "
                    "(C, FY, FX) inside the others, or cut K into whole words"
                )
        for name, words in self.needs(mapping).items():
            depth = getattr(self.accelerator.buffers, name)
            if words > depth:
                tiles = words // sizes[name]
                what = "one tile needs" if tiles == 1 else f"{tiles} tiles need"
                raise CelosiaError(
                    f"{where}: {what} {words} words of the {name} buffer, accelerator "
                    f"{self.accelerator.name!r} has {depth}: {words - depth} are missing; raise "
                    f"buffers.{name}{remedy}"
                )

    def _check_array(self, mapping: LayerMapping) -> None:
        """Check what one compute descriptor does."""
        where, tile = f"layer {self.step.name!r}", self.tile(mapping)
        loops = sum(tile[dimension] > 1 for dimension in ARRAY_DIMENSIONS)
        loops += self.precision is not None
        if loops > COMPUTE_LOOPS:
            raise CelosiaError(
                f"{where}: a tile has {loops} loops on the array, one of them over the passes of "
                f"precision-scalable columns, and a compute descriptor {COMPUTE_LOOPS}: cut a "
                "dimension into tiles of 1"
            )
        if self.step.own_rows:
            self._check_windows(tile, mapping)
        for first, stop in () if self.alike else self.channel_ranges(mapping.loops):
            if len({tile.runs for tile in self.tiles[first:stop]}) > 1:
                raise CelosiaError(
                    f"{where}: channel tiles {first} to {stop - 1} read different input words, so "
                    "they cannot share a compute descriptor: add a loop over K with step 1"
                )

    def _check_windows(self, tile: dict[Dimension, int], mapping: LayerMapping) -> None:
        """Check a compute descriptor whose columns have windows of their own."""
        where = f"layer {self.step.name!r}"
        most = max(stop - first for first, stop in self.channel_ranges(mapping.loops))
        if most > 1:
            raise CelosiaError(
                f"{where}: {most} channel tiles share a compute descriptor, and the windows of its "
                "columns are those of one: add a loop over K with step 1"
            )
        if not self.fits_line(tile[Dimension.OX]):
            raise CelosiaError(
                f"{where}: a tile has rows of {self.input_cols(tile[Dimension.OX], 1)} input "
                f"words, longer than array.depthwise.width of accelerator "
                f"{self.accelerator.name!r}: cut OX into smaller tiles"
            )

    def fits_line(self, cols: int) -> bool:
        """Return whether the input words of ``cols`` output columns fit a line, where they must."""
        depthwise = self.accelerator.array.depthwise
        if depthwise is None or not self.step.own_rows:
            return True
        return self.input_cols(cols, 1) <= depthwise.width
