"""Descriptors of one step."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from celosia.dataflow.descriptors import (
    Buffer,
    Compute,
    Load,
    Loop,
    Post,
    Sliding,
    Store,
    Transfer,
)
from celosia.dataflow.emit import Emitter, StepData
from celosia.dataflow.layout import Placement
from celosia.dataflow.lookup import table_transfer
from celosia.dataflow.made import made_part
from celosia.dataflow.mapping import Dimension, LayerMapping
from celosia.dataflow.nest import Work, works
from celosia.dataflow.plan import StepPlan
from celosia.dataflow.resident import input_transfer
from celosia.dataflow.tiles import Block, ChannelTile, Chunk, PixelTile
from celosia.dataflow.tracking import Slots
from celosia.dataflow.transfers import Axis, transfer
from celosia.dataflow.windows import cut_alike


@dataclass(frozen=True, slots=True, kw_only=True)
class _Span:
    """``count`` outputs of a tile from number ``first`` on, with windows of ``kernel`` sums.

    The first window begins at row or column ``start`` of the tile's sums.
    """

    first: int
    count: int
    start: int
    kernel: int


class StepEmitter:
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
        room = data.room
        counts["activations"] = min(counts["activations"], room.words // sizes["activations"])
        self.slots = {
            name: Slots(
                emitter.trackers[name],
                size,
                counts[name],
                start=room.start if name == "activations" else 0,
                words=room.words if name == "activations" else None,
                high=high,
            )
            for name, size in sizes.items()
        }
        tables = plan.accelerator.tables
        if tables is not None:
            self.slots["tables"] = Slots(emitter.trackers["tables"], 1, tables.count)
        accelerator = plan.accelerator
        self.word_bytes = accelerator.word_bytes(accelerator.activation_word_bits)
        # Products of a lane that sums have seen, and the tiles of blocks that are in the outputs.
        self.summed: dict[tuple[PixelTile, int], int] = {}
        self.posted: dict[tuple[PixelTile, int], int] = {}

    def run(self) -> None:
        """Append the descriptors of the step."""
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
        self._table()
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
            self.emitter.load(Load(target=Buffer.WEIGHTS, transfer=moved), first, part.positions)
        return start

    def _activations(self, pixel: PixelTile, chunk: Chunk) -> int:
        key, slots = (pixel, chunk), self.slots["activations"]
        if self.data.resident is not None:
            return self.data.resident.find(self.emitter, self.data.source, key)
        found = slots.find(key)
        if found is not None:
            return found
        tile, place = self.plan.input_tile(pixel, chunk), self.data.source
        words = chunk.words * tile.rows * tile.cols
        start = slots.take(key, words)
        right = tile.left + tile.cols
        for lane, lanes, count in tile.parts:
            top = tile.top + lane * tile.apart
            moved = input_transfer(place.placement, key, tile, (lane, lanes), (0, count), start)
            bottom = top + (lanes - 1) * tile.apart + (count - 1) * tile.step + 1
            channels, columns = (chunk.word, chunk.word + chunk.words), (tile.left, right)
            stores = self.emitter.stores(place, pixel.sample, (channels, (top, bottom), columns))
            load = Load(target=Buffer.ACTIVATIONS, transfer=moved, lane=lane)
            self.emitter.load(load, start, words, stores)
        return start

    def _loops(self, work: Work) -> tuple[Loop, ...]:
        """Return the loops of a work's compute descriptor, innermost first."""
        plan, pixel, chunk = self.plan, work.pixel, work.chunk
        window = plan.step.window
        (sy, sx), (dy, dx) = window.stride, plan.dilation
        rows, cols = plan.step.conv_size((pixel.rows, pixel.cols))
        step = plan.row_step(pixel.rows, chunk.kernel_rows)
        pitch = plan.input_cols(pixel.cols, chunk.kernel_columns)
        plane = plan.input_rows(pixel.rows, chunk.kernel_rows, step) * pitch
        height, width = plan.weight_kernel(chunk.kernel_rows, chunk.kernel_columns)
        if plan.reach[1]:
            lines = plan.input_rows(pixel.rows, 1, step)
            return tuple(
                Loop(count=n, activations=a, weights=w, accumulators=0, reduction=r)
                for n, a, w, r in (
                    (pitch, 1, 0, False),
                    (lines, pitch, 0, False),
                    (chunk.kernel_rows, dy // step * pitch, 1, True),
                    (chunk.words, plane, height, True),
                )
            )
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

    def _sliding(self, work: Work) -> Sliding | None:
        """Return how the windows of a work's columns slide, where they have some."""
        plan, array = self.plan, self.plan.accelerator.array
        if not plan.reach[1]:
            return None
        step = plan.row_step(work.pixel.rows, work.chunk.kernel_rows)
        down, across = plan.step.window.stride
        return Sliding(
            skip_rows=plan.reach[0],
            skip_columns=plan.reach[1],
            row_stride=max(1, down // step),  # of one row the input's may be farther apart
            column_stride=across,
            first_lane=work.tiles[0].index * array.column_count % array.lanes,
        )

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
            sliding=self._sliding(work),
        )
        self.emitter.add(compute, ready, loaded, free)

    # Post-processing

    def _table(self) -> None:
        """Load the step's table, if it has one that is not there yet."""
        address, slots = self.data.table, self.slots.get("tables")
        if address is None or slots is None or slots.find(address) is not None:
            return
        number = slots.take(address, 1)
        requant, accelerator = self.plan.step.requant, self.plan.accelerator
        moved = table_transfer(requant, accelerator, address, number)
        self.emitter.load(Load(target=Buffer.TABLES, transfer=moved), number, 1)

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
        self.emitter.load(load, start, words)
        return start + before

    def _moved(
        self, placement: Placement, pixel: PixelTile, block: Block, run: tuple[int, int], start: int
    ) -> Transfer:
        """Return the transfer of the words ``run`` of ``block``, of valid rows only."""
        first, stop = run
        address = placement.at(pixel.sample) + (block.word + first) * placement.plane
        address += pixel.y * placement.pitch + pixel.x * placement.x_bytes
        words, columns = pixel.cols, 1
        if placement.spread > 1:
            words, columns = columns, words
        return transfer(
            address,
            start + first * pixel.area,
            words,
            (
                Axis(count=columns, memory=placement.x_bytes, buffer=1),
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
            rows, columns = (pixel.y, pixel.y + pixel.valid), (pixel.x, pixel.x + pixel.cols)
            stores = self.emitter.stores(place, pixel.sample, (words, rows, columns))
            moved = self._moved(place.placement, pixel, block, run, start)
            load = Load(target=Buffer.RESIDUALS, transfer=moved)
            self.emitter.load(load, start, size, stores)
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
        """Post a tile, in parts whose windows are cut alike."""
        for down in self._spans(0, pixel.y, pixel.rows):
            for across in self._spans(1, pixel.x, pixel.cols):
                self._post_part(
                    tile, pixel, (down, across), (accumulators, constants, outputs), residuals
                )

    def _spans(self, axis: int, first: int, count: int) -> Iterator[_Span]:
        """Yield the parts of ``count`` outputs along ``axis`` whose windows are cut alike."""
        pool, within = self.plan.step.pool, self.plan.step.within
        window = pool.stride[axis], pool.dilation[axis], pool.kernel[axis]
        place = first
        while place < first + count:
            last, skipped, kernel = cut_alike(
                place, first + count, *window, within[axis], within[axis + 2]
            )
            start = (place - first) * pool.stride[axis] + skipped * pool.dilation[axis]
            yield _Span(first=place - first, count=last - place, start=start, kernel=kernel)
            place = last

    def _post_part(
        self,
        tile: ChannelTile,
        pixel: PixelTile,
        spans: tuple[_Span, _Span],
        bases: tuple[int, int, int],
        residuals: int | None,
    ) -> None:
        step, trackers = self.plan.step, self.emitter.trackers
        pool, (down, across), (accumulators, constants, outputs) = step.pool, spans, bases
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
        place = down.first * pixel.cols + across.first
        residual = 0
        if residuals is not None:
            residual = residuals + tile.word * pixel.area
            needs.append(trackers["residuals"].read(residual, residual + size, index))
            residual += place
        table = None
        if self.data.table is not None:
            table = self.slots["tables"].find(self.data.table)
            assert table is not None
            needs.append(trackers["tables"].read(table, table + 1, index))
        target, operand = self.plan.target, self.plan.operand
        scaled = target.scaling is not None
        post = Post(
            window_x=across.kernel,
            window_y=down.kernel,
            out_x=across.count,
            out_y=down.count,
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
            accumulators=accumulators + down.start * cols + across.start,
            constants=constants,
            outputs=first + place,
            residuals=residual,
            lane_group=tile.lane_group,
            low=max(step.requant.low, -1) if scaled else step.requant.low,
            high=0 if scaled else step.requant.high,
            rounding=step.requant.rounding,
            residual=operand is not None,
            residual_signed=operand is not None and operand.format.signed,
            residual_scaled=operand is not None and operand.scaling is not None,
            scaled=scaled,
            output_signed=(scaled or table is not None) and target.format.signed,
            table=table,
        )
        self.emitter.add(post, *needs)
        block = self.plan.block_of[tile.index]
        self.emitter.made.append(made_part(self.plan, pixel, block, outputs, accumulators))

    def _store(self, pixel: PixelTile, block: Block, outputs: int) -> None:
        """Store a block, or keep it on chip for its readers, or both."""
        place, tracker = self.data.target, self.emitter.trackers["outputs"]
        for run in block.runs:
            for reader in self.data.readers:
                words = block.word + run[0], block.word + run[1]
                reader.keep(self.emitter, place, pixel, words, outputs + run[0] * pixel.area)
            if not self.data.stored:
                continue
            moved = self._moved(place.placement, pixel, block, run, outputs)
            index = self.emitter.next
            first, stop = (outputs + word * pixel.area for word in run)
            self.emitter.add(Store(transfer=moved), tracker.read(first, stop, index))
            words = place.word + block.word + run[0], place.word + block.word + run[1]
            rows = place.rows(pixel.y, pixel.y + pixel.valid)
            columns = place.columns(pixel.x, pixel.x + pixel.cols)
            self.emitter.tensor(place.root).store(pixel.sample, (words, rows, columns), index)
