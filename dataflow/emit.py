"""Descriptors of one step after another, with what each must wait for."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.descriptors import (
    Buffer,
    Compute,
    Descriptor,
    End,
    Load,
    Loop,
    Post,
    Stamp,
    Store,
    Transfer,
)
from celosia.dataflow.layout import Placement
from celosia.dataflow.mapping import Dimension, LayerMapping
from celosia.dataflow.nest import Work, works
from celosia.dataflow.plan import Block, ChannelTile, Chunk, PixelTile, StepPlan
from celosia.dataflow.tracking import BufferTracker, Slots, TensorTracker
from celosia.dataflow.transfers import Axis, transfer

_BUFFER_FIELDS = (
    "activations", "weights", "accumulators", "constants", "residuals", "outputs",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A tensor's placement, and its first ``word`` in the memory of ``root``."""

    placement: Placement
    root: str
    word: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StepData:
    """Where one step's tensors, weights and constants lie in memory.

    ``weights`` and ``constants`` are the addresses of each channel tile's words, by the
    tile's index.
    """

    source: Place
    target: Place
    residual: Place | None
    weights: dict[int, int]
    constants: dict[int, int]


@dataclass(slots=True)
class Emitter:
    """Collects the descriptors of a program and the indices that each needs."""

    accelerator: Accelerator
    descriptors: list[Descriptor] = field(default_factory=list)
    needs: list[frozenset[int]] = field(default_factory=list)
    trackers: dict[str, BufferTracker] = field(default_factory=dict)
    tensors: dict[str, TensorTracker] = field(default_factory=dict)
    steps: int = 0

    def __post_init__(self) -> None:
        for name in _BUFFER_FIELDS:
            self.trackers[name] = BufferTracker(getattr(self.accelerator.buffers, name))

    @property
    def next(self) -> int:
        """Index of the next descriptor."""
        return len(self.descriptors)

    def add(self, descriptor: Descriptor, *needs: frozenset[int]) -> None:
        """Append ``descriptor``, which needs the descriptors in any of ``needs``."""
        self.descriptors.append(descriptor)
        self.needs.append(frozenset().union(*needs))

    def tensor(self, root: str) -> TensorTracker:
        """Return the tracker of the memory of ``root``."""
        return self.tensors.setdefault(root, TensorTracker())

    def stores(
        self, place: Place, sample: int, words: tuple[int, int], rows: tuple[int, int]
    ) -> frozenset[int]:
        """Return the store that a load of the tensor's ``words`` and ``rows`` waits for."""
        absolute = place.word + words[0], place.word + words[1]
        return self.tensor(place.root).load(sample, absolute, rows)

    def run(self, plan: StepPlan, mapping: LayerMapping, data: StepData) -> None:
        """Append the descriptors of one step."""
        _StepEmitter(self, plan, mapping, data).run()
        self.tensor(data.target.root).finish()
        self.steps += 1

    def stamp(self, address: int) -> None:
        """Append the time stamp of a layer: the store unit runs it after the layer's stores."""
        self.add(Stamp(address=address))

    def end(self) -> None:
        """Append the end of the program."""
        self.add(End())


class _StepEmitter:
    """Emits one step, work by work: loads, computes, and posts and stores of what is finished."""

    def __init__(
        self, emitter: Emitter, plan: StepPlan, mapping: LayerMapping, data: StepData
    ) -> None:
        self.emitter = emitter
        self.plan = plan
        self.mapping = mapping
        self.data = data
        sizes, counts = plan.sizes(mapping), plan.slots(mapping)
        groups = sum(tile.groups for tile in plan.tiles)
        # All constants in one load where they fit beside another step's.
        self.all_constants = groups <= emitter.trackers["constants"].depth // 2
        if self.all_constants:
            sizes["constants"] = groups
            counts["constants"] = min(
                counts["constants"], emitter.trackers["constants"].depth // groups
            )
        high = emitter.steps % 2 == 1
        self.slots = {
            name: Slots(emitter.trackers[name], size, counts[name], high=high)
            for name, size in sizes.items()
        }
        accelerator = plan.accelerator
        self.word_bytes = accelerator.word_bytes(accelerator.activation_word_bits)
        # Products of a lane that sums have seen, and the tiles of blocks that are in the outputs.
        self.summed: dict[tuple[PixelTile, int], int] = {}
        self.posted: dict[tuple[PixelTile, int], int] = {}

    def run(self) -> None:
        for work in works(self.plan, self.mapping):
            self._work(work)

    def _work(self, work: Work) -> None:
        pixel = work.pixel
        rows, cols = self.plan.step.conv_size((pixel.rows, pixel.cols))
        key, slots = (pixel, work.first), self.slots["accumulators"]
        accumulators = slots.find(key)
        summed = self.summed.get(key, 0)
        if accumulators is None:
            accumulators = slots.take(key, len(work.tiles) * rows * cols, hold=True)
        weights = self._weights(work.tiles, work.chunk)
        activations = self._activations(pixel, work.chunk)
        self._compute(work, (activations, weights, accumulators), summed > 0)
        self.summed[key] = summed + work.chunk.positions
        if self.summed[key] == work.tiles[0].input_words * math.prod(self.plan.kernel):
            del self.summed[key]
            for number, tile in enumerate(work.tiles):
                self._finish(pixel, tile, accumulators + number * rows * cols)
            slots.release(key)

    def _finish(self, pixel: PixelTile, tile: ChannelTile, accumulators: int) -> None:
        """Post a tile of finished sums; store its block if it was the last of that."""
        block = self.plan.block_of[tile.index]
        key, words = (pixel, block.word), block.words * pixel.area
        outputs = self.slots["outputs"].find(key)
        if outputs is None:
            outputs = self.slots["outputs"].take(key, words, hold=True)
        constants = self._constants(tile)
        residuals = None
        if self.plan.step.residual is not None:
            residuals = self._residual(pixel, block)
        self._post(tile, pixel, accumulators, constants, outputs, residuals)
        self.posted[key] = self.posted.get(key, 0) + 1
        if self.posted[key] == len(block.tiles):
            del self.posted[key]
            self._store(pixel, block, outputs)
            self.slots["outputs"].release(key)
            if residuals is not None:
                self.slots["residuals"].release(key)

    def _load(self, name: str, load: Load, start: int, words: int, *needs: frozenset[int]) -> None:
        index = self.emitter.next
        users = self.emitter.trackers[name].write(start, start + words, index)
        self.emitter.add(load, users, *needs)

    # Reduction

    def _weights(self, tiles: tuple[ChannelTile, ...], chunk: Chunk) -> int:
        plan, slots = self.plan, self.slots["weights"]
        part = chunk
        if plan.uniform:
            part = replace(chunk, kernel_row=0, kernel_rows=1, kernel_column=0, kernel_columns=1)
        key = (tiles[0].index, len(tiles), part)
        found = slots.find(key)
        if found is not None:
            return found
        accelerator = plan.accelerator
        size = accelerator.word_bytes(accelerator.weight_word_bits)
        height, width = plan.weight_kernel(*plan.kernel)
        start = slots.take(key, len(tiles) * part.positions)
        for number, tile in enumerate(tiles):
            word = tile.offset(part.word) * height + part.kernel_row
            address = self.data.weights[tile.index] + (word * width + part.kernel_column) * size
            first = start + number * part.positions
            moved = transfer(
                address,
                first,
                part.kernel_columns,
                (
                    Axis(count=part.kernel_rows, memory=width * size, buffer=part.kernel_columns),
                    Axis(
                        count=part.words,
                        memory=height * width * size,
                        buffer=part.kernel_rows * part.kernel_columns,
                    ),
                ),
                size,
            )
            load = Load(target=Buffer.WEIGHTS, transfer=moved)
            self._load("weights", load, first, part.positions)
        return start

    def _activations(self, pixel: PixelTile, chunk: Chunk) -> int:
        key = (pixel, chunk)
        slots = self.slots["activations"]
        found = slots.find(key)
        if found is not None:
            return found
        plan, place = self.plan, self.data.source
        source = place.placement
        window, pool = plan.step.window, plan.step.pool
        step = plan.row_step(pixel.rows, chunk.kernel_rows)
        cols = plan.input_cols(pixel.cols, chunk.kernel_columns)
        rows = plan.input_rows(pixel.rows, chunk.kernel_rows, step)
        start = slots.take(key, chunk.words * rows * cols)
        down = pool.stride[0] * window.stride[0]
        y = pixel.y * down - window.padding[0] + chunk.kernel_row * window.dilation[0]
        x = pixel.x * pool.stride[1] * window.stride[1] - window.padding[1]
        x += chunk.kernel_column * window.dilation[1]
        address = source.at(pixel.sample) + chunk.word * source.plane
        address += y * source.pitch + x * source.word_bytes
        whole = pixel.lanes if pixel.last_rows == pixel.rows else pixel.lanes - 1
        parts = [(0, whole, rows)] if whole else []
        if whole < pixel.lanes:
            last = plan.input_rows(pixel.last_rows, chunk.kernel_rows, step)
            parts.append((whole, 1, last))
        apart = pixel.rows * down * source.pitch
        for lane, lanes, count in parts:
            moved = transfer(
                address + lane * apart,
                start,
                cols,
                (
                    Axis(count=count, memory=step * source.pitch, buffer=cols),
                    Axis(count=chunk.words, memory=source.plane, buffer=rows * cols),
                ),
                self.word_bytes,
                Axis(count=lanes, memory=apart, buffer=0),
            )
            top = y + lane * pixel.rows * down
            bottom = top + (lanes - 1) * pixel.rows * down + (count - 1) * step + 1
            words = chunk.word, chunk.word + chunk.words
            stores = self.emitter.stores(place, pixel.sample, words, (top, bottom))
            load = Load(target=Buffer.ACTIVATIONS, transfer=moved, lane=lane)
            self._load("activations", load, start, chunk.words * rows * cols, stores)
        return start

    def _loops(self, work: Work) -> tuple[Loop, ...]:
        """Return the loops of a work's compute descriptor, innermost first."""
        plan, pixel, chunk = self.plan, work.pixel, work.chunk
        window = plan.step.window
        (sy, sx), (dy, dx) = window.stride, window.dilation
        rows, cols = plan.step.conv_size((pixel.rows, pixel.cols))
        step = plan.row_step(pixel.rows, chunk.kernel_rows)
        pitch = plan.input_cols(pixel.cols, chunk.kernel_columns)
        plane = plan.input_rows(pixel.rows, chunk.kernel_rows, step) * pitch
        height, width = plan.weight_kernel(chunk.kernel_rows, chunk.kernel_columns)
        one, row = (0, 0) if plan.uniform else (1, width)
        weights = chunk.words * height * width
        nest = {
            Dimension.FX: (chunk.kernel_columns, dx, one, 0, True),
            Dimension.FY: (chunk.kernel_rows, dy // step * pitch, row, 0, True),
            Dimension.C: (chunk.words, plane, height * width, 0, True),
            Dimension.OX: (cols, sx, 0, 1, False),
            Dimension.OY: (rows, sy // step * pitch, 0, cols, False),
            Dimension.K: (len(work.tiles), 0, weights, rows * cols, False),
        }
        loops = tuple(
            Loop(count=n, activations=a, weights=w, accumulators=c, reduction=r)
            for n, a, w, c, r in (nest[dimension] for dimension in reversed(self.mapping.array))
            if n > 1
        )
        if plan.precision is not None or not loops:
            held = Loop(count=plan.passes, activations=0, weights=0, accumulators=0, reduction=True)
            return held, *loops
        return loops

    def _compute(self, work: Work, bases: tuple[int, int, int], accumulate: bool) -> None:
        plan, trackers, chunk = self.plan, self.emitter.trackers, work.chunk
        rows, cols = plan.step.conv_size((work.pixel.rows, work.pixel.cols))
        step = plan.row_step(work.pixel.rows, chunk.kernel_rows)
        plane = plan.input_rows(work.pixel.rows, chunk.kernel_rows, step)
        plane *= plan.input_cols(work.pixel.cols, chunk.kernel_columns)
        activations, weights, accumulators = bases
        index = self.emitter.next
        ready = trackers["activations"].read(activations, activations + chunk.words * plane, index)
        words = math.prod(plan.weight_kernel(chunk.kernel_rows, chunk.kernel_columns))
        words *= len(work.tiles) * chunk.words
        loaded = trackers["weights"].read(weights, weights + words, index)
        sums = len(work.tiles) * rows * cols
        free = trackers["accumulators"].write(accumulators, accumulators + sums, index)
        compute = Compute(
            loops=self._loops(work),
            activations=activations,
            weights=weights,
            accumulators=accumulators,
            activations_signed=plan.source.format.signed,
            accumulate=accumulate,
            precision=plan.precision,
            scaled=plan.source.scaling is not None,
            rounded=plan.source.scaling is not None and plan.step.scales is not None,
        )
        self.emitter.add(compute, ready, loaded, free)

    # Post-processing

    def _constants(self, tile: ChannelTile) -> int:
        """Return where the tile's constants are in their buffer; load them if need be."""
        tiles = self.plan.tiles if self.all_constants else (tile,)
        key = None if self.all_constants else tile.index
        before = 0
        for other in tiles:
            if other is tile:
                break
            before += other.groups
        found = self.slots["constants"].find(key)
        if found is not None:
            return found + before
        accelerator = self.plan.accelerator
        size = accelerator.word_bytes(accelerator.constant_word_bits)
        words = sum(other.groups for other in tiles)
        start = self.slots["constants"].take(key, words)
        address = self.data.constants[tiles[0].index]
        load = Load(target=Buffer.CONSTANTS, transfer=transfer(address, start, words, (), size))
        self._load("constants", load, start, words)
        return start + before

    def _moved(
        self, placement: Placement, pixel: PixelTile, block: Block, run: tuple[int, int], start: int
    ) -> Transfer:
        """Return the transfer of the words ``run`` of ``block``, of valid rows only."""
        first, stop = run
        address = placement.at(pixel.sample) + (block.word + first) * placement.plane
        address += pixel.y * placement.pitch + pixel.x * placement.word_bytes
        return transfer(
            address,
            start + first * pixel.area,
            pixel.cols,
            (
                Axis(count=pixel.valid, memory=placement.pitch, buffer=pixel.cols),
                Axis(count=stop - first, memory=placement.plane, buffer=pixel.area),
            ),
            self.word_bytes,
        )

    def _residual(self, pixel: PixelTile, block: Block) -> int:
        place = self.data.residual
        assert place is not None
        size, key = block.words * pixel.area, (pixel, block.word)
        found = self.slots["residuals"].find(key)
        if found is not None:
            return found
        start = self.slots["residuals"].take(key, size, hold=True)
        for run in block.runs:
            words = block.word + run[0], block.word + run[1]
            rows = pixel.y, pixel.y + pixel.valid
            stores = self.emitter.stores(place, pixel.sample, words, rows)
            moved = self._moved(place.placement, pixel, block, run, start)
            load = Load(target=Buffer.RESIDUALS, transfer=moved)
            self._load("residuals", load, start, size, stores)
        return start

    def _post(
        self,
        tile: ChannelTile,
        pixel: PixelTile,
        accumulators: int,
        constants: int,
        outputs: int,
        residuals: int | None,
    ) -> None:
        step, trackers = self.plan.step, self.emitter.trackers
        pool = step.pool
        rows, cols = step.conv_size((pixel.rows, pixel.cols))
        index = self.emitter.next
        lanes = self.plan.accelerator.array.lanes // self.plan.accelerator.post_lanes
        words = -(-(tile.lane_group + tile.groups) // lanes)
        first, size = outputs + tile.word * pixel.area, words * pixel.area
        needs = [
            trackers["accumulators"].read(accumulators, accumulators + rows * cols, index),
            trackers["constants"].read(constants, constants + tile.groups, index),
            trackers["outputs"].write(first, first + size, index),
        ]
        residual = 0
        if residuals is not None:
            residual = residuals + tile.word * pixel.area
            needs.append(trackers["residuals"].read(residual, residual + size, index))
        target, operand = self.plan.target, self.plan.operand
        scaled = target.scaling is not None
        post = Post(
            window_x=pool.kernel[1],
            window_y=pool.kernel[0],
            out_x=pixel.cols,
            out_y=pixel.rows,
            pixels=pixel.lanes,
            groups=tile.groups,
            acc_window_x=pool.dilation[1],
            acc_window_y=pool.dilation[0] * cols,
            acc_out_x=pool.stride[1],
            acc_out_y=pool.stride[0] * cols,
            out_out_x=1,
            out_out_y=pixel.cols,
            out_pixel=pixel.rows * pixel.cols,
            out_word=pixel.area,
            accumulators=accumulators,
            constants=constants,
            outputs=first,
            residuals=residual,
            lane_group=tile.lane_group,
            low=max(step.requant.low, -1) if scaled else step.requant.low,
            high=0 if scaled else step.requant.high,
            rounding=step.requant.rounding,
            residual=operand is not None,
            residual_signed=operand is not None and operand.format.signed,
            residual_scaled=operand is not None and operand.scaling is not None,
            scaled=scaled,
            output_signed=scaled and target.format.signed,
        )
        self.emitter.add(post, *needs)

    def _store(self, pixel: PixelTile, block: Block, outputs: int) -> None:
        place = self.data.target
        tracker = self.emitter.trackers["outputs"]
        for run in block.runs:
            moved = self._moved(place.placement, pixel, block, run, outputs)
            index = self.emitter.next
            first, stop = (outputs + word * pixel.area for word in run)
            self.emitter.add(Store(transfer=moved), tracker.read(first, stop, index))
            words = place.word + block.word + run[0], place.word + block.word + run[1]
            rows = pixel.y, pixel.y + pixel.valid
            self.emitter.tensor(place.root).store(pixel.sample, words, rows, index)
