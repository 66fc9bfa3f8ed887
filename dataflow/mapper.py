"""The straightforward mapper: tries a modest set of tilings of each layer, takes the quickest.

Its cycles are a sum of what each unit is busy for, not the exact timing of
:mod:`celosia.dataflow.timing`; equal cycles are decided by bytes moved. It knows of no memory and
takes tens of milliseconds, so it is what a network is compiled with where nobody chose a mapping,
and where :mod:`celosia.dataflow.search` begins.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.arrange import arrange
from celosia.dataflow.dataflows import Dataflow
from celosia.dataflow.descriptors import DESCRIPTOR_BYTES
from celosia.dataflow.mapping import PIXELS, Dimension, LayerMapping, Mapping, TileLoop, tiled
from celosia.dataflow.nest import works
from celosia.dataflow.plan import StepPlan
from celosia.dataflow.tiles import Chunk, PixelTile
from celosia.models.errors import CelosiaError
from celosia.models.network import Network

_OVERHEAD = 6
"""Cycles that a transfer or a nest costs beside its beats or steps, about."""

_FETCH = 10
"""Cycles that the sequencer takes for a descriptor at least, about."""

_START = 40
"""Cycles from a load's request to its first beat and through the pipelines, about."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Cost:
    """What a tiling costs: ``cycles`` (an estimate) first, ``beats`` of memory traffic second."""

    cycles: int
    beats: int


def default_mapping(network: Network, accelerator: Accelerator) -> Mapping:
    """Return a legal mapping of ``network`` on ``accelerator`` that keeps the array busy.

    Tiles are double-buffered wherever two fit.

    Raises
    ------
    CelosiaError
        If not even one minimal tile of a layer fits: names the layer, the buffer and
        how many words are missing. Also as :func:`celosia.dataflow.arrange.arrange`.
    """
    arrangement = arrange(network, accelerator)
    return map_steps(
        [StepPlan(step, arrangement, accelerator) for step in arrangement.lowered.steps]
    )


def map_steps(plans: list[StepPlan]) -> Mapping:
    """Return a mapping of the planned steps; raises as :func:`default_mapping` does."""
    known: dict[Hashable, LayerMapping] = {}
    for plan in plans:
        if plan.geometry not in known:
            known[plan.geometry] = map_step(plan)
    return Mapping(layers=tuple((plan.step.name, known[plan.geometry]) for plan in plans))


def map_step(plan: StepPlan) -> LayerMapping:
    """Return the cheapest tiling of one step; raises as :func:`default_mapping` does."""
    best: tuple[Cost, LayerMapping] | None = None
    known: Counts = {}
    for mapping in candidates(plan):
        cost = estimate(plan, mapping, known)
        if best is None or cost < best[0]:
            best = cost, mapping
    if best is None:
        smallest = canonical(plan, rows=1, columns=1, words=1, kernel_rows=1)
        plan.check(smallest, " (this is the smallest tile of the layer)")
        return smallest
    return best[1]


def canonical(
    plan: StepPlan,
    *,
    rows: int,
    columns: int,
    words: int,
    kernel_rows: int,
    weights_outer: bool = False,
) -> LayerMapping:
    """Return the mapping with tiles of this size, each sum finished before the next begins.

    Pixel tiles are outermost, or with ``weights_outer`` channel tiles that fill whole words.
    """
    pixels = ((Dimension.OY, rows), (Dimension.OX, columns))
    reduction = ((Dimension.C, words), (Dimension.FY, kernel_rows))
    one = ((Dimension.K, 1),)
    if weights_outer and plan.block_tiles == 1:
        return tiled((*one, *pixels, *reduction))
    blocks = ((Dimension.K, plan.block_tiles),) if weights_outer else ()
    return tiled((*blocks, *pixels, *one, *reduction))


def _halves(value: int) -> list[int]:
    """Return ``value`` and its halves, rounded up, down to 1."""
    values = [value]
    while values[-1] > 1:
        values.append(-(-values[-1] // 2))
    return values


def candidates(plan: StepPlan, dataflow: Dataflow | None = None) -> Iterator[LayerMapping]:
    """Yield tilings that fit: all widths down to the widest that does, for each height.

    Those of ``dataflow`` that are legal, where there is one.
    """
    pixels = plan.accelerator.array.pixels
    height, width = plan.size
    run = plan.whole[Dimension.C]
    ky = plan.kernel[0]
    chunks = [(words, ky) for words in _halves(run)] + [(1, rows) for rows in _halves(ky)[1:]]
    for rows in _halves(-(-height // pixels)):
        for columns in _halves(width):
            found = 0
            for words, kernel_rows in chunks:
                sizes = {"rows": rows, "columns": columns, "words": words}
                orders = _orders(plan, sizes | {"kernel_rows": kernel_rows}, dataflow)
                if not orders:
                    continue
                found += 1
                yield from orders
                if found == 2:
                    break
            if found and columns < width:
                break


def _orders(plan: StepPlan, sizes: dict[str, int], dataflow: Dataflow | None) -> list[LayerMapping]:
    """Return the orders of loops over tiles of these ``sizes`` that are tried, if they fit."""
    if dataflow is not None:
        mapping = dataflow.tiled(plan, **sizes)
        return [mapping] if plan.is_legal(mapping) and dataflow.admits(plan, mapping) else []
    # Each sum is finished before the next begins: one tile of each buffer is all that is needed.
    pixels, kernel = (sizes["rows"], sizes["columns"]), (sizes["kernel_rows"], plan.kernel[1])
    buffers = plan.accelerator.buffers
    if not plan.fits_line(sizes["columns"]):
        return []
    for name, words in plan.tile_sizes(1, sizes["words"], pixels, kernel).items():
        if words > getattr(buffers, name):
            return []
    return [canonical(plan, **sizes, weights_outer=outer) for outer in (False, True)]


def smallest_of(plan: StepPlan, dataflow: Dataflow) -> LayerMapping:
    """Return the mapping of ``dataflow`` that needs least room.

    Raises :class:`CelosiaError` if it does not fit: names the layer, the dataflow, the buffer and
    how many words are missing.
    """
    whole = plan.whole
    # Pixels pass by each tile of weights, or channels by each of inputs: unless a tile holds all of
    # the reduction, as many sums stay.
    alone = dataflow in (Dataflow.OUTPUT_STATIONARY, Dataflow.ROW_WISE)
    words, kernel_rows = (1, 1) if alone else (whole[Dimension.C], whole[Dimension.FY])
    mapping = dataflow.tiled(plan, rows=1, columns=1, words=words, kernel_rows=kernel_rows)
    try:
        plan.check(mapping)
    except CelosiaError as error:
        raise CelosiaError(f"{error} (this is its smallest {dataflow.value} tile)") from error
    return mapping


@dataclass(slots=True)
class _Tally:
    """Cycles of each unit, beats of memory traffic, and descriptors."""

    load: int = 0
    compute: int = 0
    post: int = 0
    store: int = 0
    beats: int = 0
    descriptors: int = 0

    def add_load(self, words: int, transfers: int, word_beats: int, times: int) -> None:
        self.descriptors += transfers * times
        beats = words * word_beats * times
        self.load += beats + _OVERHEAD * transfers * times
        self.beats += beats


Counts = dict[tuple[TileLoop, ...], tuple[list[int], int]]
"""What :func:`count_chunks` found for loops over channels and the kernel."""


def estimate(plan: StepPlan, mapping: LayerMapping, known: Counts) -> Cost:
    """Return about what ``mapping`` costs; it must be legal. ``known`` is of this plan, and grows.

    Mappings that differ in their loops over pixels have the same chunks.
    """
    slots, tally = plan.slots(mapping), _Tally()
    shapes = _pixel_shapes(plan, mapping)
    pixels = sum(shapes.values())
    loops = tuple(loop for loop in mapping.loops if loop.dimension not in PIXELS)
    if loops not in known:
        known[loops] = count_chunks(plan, mapping)
    chunk_counts, distinct = known[loops]
    weight_times, activation_times = _repeats(
        plan, mapping, slots, pixels, (chunk_counts, distinct)
    )
    accelerator = plan.accelerator
    word_beats = accelerator.beats(accelerator.weight_word_bits)
    words = plan.input_words * math.prod(plan.weight_kernel(*plan.kernel))
    chunk_count = sum(chunk_counts)
    tally.add_load(words, chunk_count, word_beats, weight_times)
    for (rows, cols, valid), count in shapes.items():
        pixel = PixelTile(sample=0, y=0, x=0, rows=rows, cols=cols, valid=valid)
        _add_pixels(plan, mapping, pixel, (count, chunk_count, activation_times), tally)
    # Descriptors come through the same port as loads.
    tally.load += tally.descriptors * -(-DESCRIPTOR_BYTES // accelerator.bus.data_bytes)
    fetch = tally.descriptors * _FETCH
    busiest = max(tally.load, tally.compute, tally.post, tally.store, fetch)
    tiles = pixels * len(plan.blocks)
    total = tally.load + tally.compute + tally.post + tally.store
    # One tile passes through all units alone; the others overlap where two tiles fit.
    cycles = busiest + max(0, total - busiest) // tiles + _START
    if tiles > 1:
        if slots["outputs"] < 2 or slots.get("residuals", 2) < 2:
            cycles += min(tally.store, busiest)
        if slots["accumulators"] < 2:
            cycles += min(tally.post, tally.compute)
        if slots["activations"] < 2 or slots["weights"] < 2:
            cycles += min(tally.load, tally.compute)
    return Cost(cycles=cycles, beats=tally.beats)


def _pieces(
    mapping: LayerMapping, dimension: Dimension, whole: int, unit: int = 1
) -> dict[int, int]:
    """Return the sizes of the tiles of ``whole`` along ``dimension``, and how many have each."""
    sizes = {whole: 1}
    for loop in mapping.loops:
        if loop.dimension is dimension:
            step = loop.step * unit
            cut: dict[int, int] = {}
            for size, count in sizes.items():
                for part, times in ((step, size // step), (size % step, 1)):
                    if part and times:
                        cut[part] = cut.get(part, 0) + count * times
            sizes = cut
    return sizes


def _pixel_shapes(plan: StepPlan, mapping: LayerMapping) -> dict[tuple[int, int, int], int]:
    """Return the rows, columns and valid rows of the pixel tiles, and how many have each."""
    pixels, (height, width) = plan.accelerator.array.pixels, plan.size
    rows = _pieces(mapping, Dimension.OY, height, pixels)
    columns = _pieces(mapping, Dimension.OX, width)
    return {
        (-(-valid // pixels), cols, valid): plan.samples * down * across
        for valid, down in rows.items()
        for cols, across in columns.items()
    }


def _cuts_channels_first(mapping: LayerMapping) -> bool:
    """Return whether all loops over ``K`` are outside those over ``C``."""
    order = [loop.dimension for loop in mapping.loops]
    return Dimension.C not in order or Dimension.K not in order[order.index(Dimension.C) :]


def _starts(mapping: LayerMapping, runs: Sequence[tuple[int, int]]) -> list[int]:
    """Return the first words of the tiles that loops over ``C`` cut ``runs`` of words into."""
    ranges = list(runs)
    for loop in mapping.loops:
        if loop.dimension is Dimension.C:
            ranges = [
                (first, min(stop, first + loop.step))
                for start, stop in ranges
                for first in range(start, stop, loop.step)
            ]
    return [first for first, _ in ranges]


def count_chunks(plan: StepPlan, mapping: LayerMapping) -> tuple[list[int], int]:
    """Return the reduction chunks of the nests that begin at each channel tile, for one pixel tile.

    And how many different first words and kernel rows they have. Where all channel tiles read the
    same words, or loops over ``C`` cut the words of one of them, those are products of counts;
    elsewhere loops are walked.
    """
    if plan.alike or _cuts_channels_first(mapping):
        down, across = (
            sum(_pieces(mapping, dimension, size).values())
            for dimension, size in zip((Dimension.FY, Dimension.FX), plan.kernel, strict=True)
        )
        starts = {tile.runs: _starts(mapping, tile.runs) for tile in plan.tiles}
        counts = [0] * len(plan.tiles)
        for first, _ in plan.channel_ranges(mapping.loops):
            counts[first] = len(starts[plan.tiles[first].runs]) * down * across
        return counts, len(set().union(*starts.values())) * down
    loops = tuple(loop for loop in mapping.loops if loop.dimension not in PIXELS)
    found: list[set[Chunk]] = [set() for _ in plan.tiles]
    for work in works(plan, replace(mapping, loops=loops)):
        found[work.first].add(work.chunk)
    return [len(each) for each in found], len(
        {(chunk.word, chunk.kernel_row) for each in found for chunk in each}
    )


def _repeats(
    plan: StepPlan,
    mapping: LayerMapping,
    slots: dict[str, int],
    pixels: int,
    counts: tuple[list[int], int],
) -> tuple[int, int]:
    """Return how often all weights are loaded, and all of a pixel tile's activations.

    ``counts`` are the chunks of each channel tile, and the distinct ones.
    """
    chunks, distinct = counts
    total = sum(chunks)
    share = -(-total // distinct)
    if mapping.loops[0].dimension is not Dimension.K:
        weights = 1 if total <= slots["weights"] else pixels
        return weights, 1 if distinct <= slots["activations"] else share
    left = iter(chunks)
    most = max(sum(itertools.islice(left, len(block.tiles))) for block in plan.blocks)
    weights = 1 if most <= slots["weights"] else pixels
    resident = distinct * pixels <= slots["activations"]
    return weights, 1 if resident else share


def _add_pixels(
    plan: StepPlan,
    mapping: LayerMapping,
    pixel: PixelTile,
    times: tuple[int, int, int],
    tally: _Tally,
) -> None:
    """Add ``count`` pixel tiles like ``pixel`` with all channel tiles to ``tally``."""
    count, chunk_count, activation_times = times
    accelerator = plan.accelerator
    beats = accelerator.beats(accelerator.activation_word_bits)
    steps = plan.input_words * plan.steps(pixel.rows, pixel.cols, *plan.kernel)
    tally.compute += count * (steps + chunk_count)
    window = plan.step.pool.kernel[0] * plan.step.pool.kernel[1]
    groups = plan.groups
    tally.descriptors += count * (chunk_count + len(plan.tiles) + len(plan.blocks))
    tally.post += count * (window * pixel.area * groups + len(plan.tiles))
    tile = plan.tile(mapping)
    kernel_rows = tile[Dimension.FY]
    step = plan.row_step(pixel.rows, kernel_rows)
    rows = plan.input_rows(pixel.rows, kernel_rows, step) * -(-plan.kernel[0] // kernel_rows)
    distinct = plan.distinct_words
    words = pixel.lanes * rows * plan.input_cols(pixel.cols, plan.kernel[1]) * distinct
    runs = pixel.lanes * rows * -(-distinct // tile[Dimension.C])
    tally.add_load(words + runs, 1, beats, count * activation_times)
    out = plan.stored_words
    stored = out * pixel.valid * pixel.cols * beats
    tally.store += count * (stored + _OVERHEAD * pixel.valid * out)
    tally.beats += count * stored
    if plan.step.residual is not None:
        tally.add_load(stored // beats, len(plan.blocks), beats, count)
