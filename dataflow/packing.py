"""Weights and constants as memory words (see :class:`celosia.dataflow.accelerator.Accelerator`)."""

from __future__ import annotations

import numpy as np

from celosia.dataflow.accelerator import ROW_ENTRIES
from celosia.dataflow.array_shape import Depthwise
from celosia.dataflow.depthwise import window_lanes
from celosia.dataflow.lookup import table_rows
from celosia.dataflow.plan import StepPlan
from celosia.dataflow.tiles import ChannelTile
from celosia.models.network import MULTIPLIER_BITS, Requant

_CHUNK_BITS = 1 << 25
"""Bits that are spread out to one byte each at a time, to bound memory."""


def pack_fields(values: np.ndarray, widths: np.ndarray, word_bytes: int) -> np.ndarray:
    """Return words whose fields, from bit 0, are the low ``widths`` bits of ``values``.

    Parameters
    ----------
    values : numpy.ndarray
        Integers of shape (words, fields).
    widths : numpy.ndarray
        Bits of each field, shape (fields,).
    word_bytes : int
        Bytes of a word, at least the sum of the widths.

    Returns
    -------
    uint8 of shape (words, word_bytes).
    """
    field = np.repeat(np.arange(len(widths)), widths)
    starts = np.repeat(np.cumsum(widths) - widths, widths)
    bit = np.arange(len(field)) - starts
    packed = np.zeros((len(values), word_bytes), np.uint8)
    step = max(1, _CHUNK_BITS // max(1, len(field)))
    for start in range(0, len(values), step):
        part = values[start : start + step]
        bits = ((part[:, field] >> bit) & 1).astype(np.uint8)
        data = np.packbits(bits, axis=1, bitorder="little")
        packed[start : start + step, : data.shape[1]] = data
    return packed


def weight_words(plan: StepPlan, tile: ChannelTile) -> np.ndarray:
    """Return the weight words of ``tile``: uint8 (words, bytes), by input word, ky, kx."""
    array = plan.accelerator.array
    ky, kx = plan.weight_kernel(*plan.kernel)
    lanes, columns = array.lanes, array.column_count
    words = [word for start, stop in tile.runs for word in range(start, stop)]
    place = np.zeros(max(words) + 1, np.int64)
    place[words] = np.arange(len(words))
    channels = plan.input_channels(tile.channels)
    positions = plan.inputs[channels]
    formats = array.column_formats
    # What a lane without a channel holds adds nothing, whatever its activation is.
    known = {
        group: int(group.format.encode(np.array(group.operation.idle(group.format))))
        for group in array.columns
    }
    idle = [known[group] for group in array.column_groups]
    wide = max(fmt.bits for fmt in formats) > 8
    unit = np.dtype("<u2" if wide else "u1")
    codes = np.zeros((len(words), ky, kx, columns, lanes + array.vectors), unit)
    codes[..., :lanes] = np.array(idle, unit)[:, None]
    if array.depthwise is not None and plan.step.own_rows:
        _place_windows(plan, array.depthwise, tile, codes, place[positions[:, 0] // lanes])
        return _packed(plan, codes)
    weights = np.zeros((len(tile.channels), channels.shape[1], ky, kx), unit)
    given = [formats[column] for column in tile.columns]
    for fmt in set(given):
        rows = np.flatnonzero([mine == fmt for mine in given])
        weights[rows] = fmt.encode(plan.step.weights[tile.channels[rows], :, :ky, :kx])
    word = place[positions // lanes]
    codes[word, :, :, tile.columns[:, None], positions % lanes] = weights
    if array.scaling is not None:
        codes[..., lanes:] = array.scaling.scale.encode(np.array(1))
        if plan.step.scales is not None:
            vector = lanes + positions % lanes // array.vector_lanes
            spread = plan.step.scales.spread(channels.shape[1])[tile.channels, :, :ky, :kx]
            scales = array.scaling.scale.encode(spread)
            codes[word, :, :, tile.columns[:, None], vector] = scales
    return _packed(plan, codes)


def _place_windows(
    plan: StepPlan, depthwise: Depthwise, tile: ChannelTile, codes: np.ndarray, words: np.ndarray
) -> None:
    """Place the weights of each channel in the lanes of its column's window.

    ``codes`` are those of all ``words``: of each part of the kernel, column and lane.
    """
    step, formats = plan.step, plan.accelerator.array.column_formats
    lanes = window_lanes(step, depthwise)
    for channel, column, word in zip(tile.channels, tile.columns, words, strict=True):
        values = step.weights[channel, 0].reshape(-1, lanes.size)
        codes[word, :, 0, column, lanes.ravel()] = formats[column].encode(values).T


def _packed(plan: StepPlan, codes: np.ndarray) -> np.ndarray:
    """Return the words of ``codes``, of columns and lanes last."""
    accelerator = plan.accelerator
    widths = np.concatenate(
        [accelerator.array.column_widths(fmt) for fmt in accelerator.array.column_formats]
    )
    word_bytes = accelerator.word_bytes(accelerator.weight_word_bits)
    return _pack_codes(codes.reshape(-1, len(widths)), widths, word_bytes)


def _pack_codes(codes: np.ndarray, widths: np.ndarray, word_bytes: int) -> np.ndarray:
    """Return what :func:`pack_fields` does, faster, for codes of 1 byte or 2, low byte first."""
    size = 8 * codes.itemsize
    bits = np.flatnonzero(np.arange(size) < widths[:, None])
    packed = np.zeros((len(codes), word_bytes), np.uint8)
    step = max(1, _CHUNK_BITS // (size * len(widths)))
    for start in range(0, len(codes), step):
        part = codes[start : start + step].view(np.uint8)
        spread = np.unpackbits(part, axis=1, bitorder="little")
        data = np.packbits(spread.take(bits, axis=1), axis=1, bitorder="little")
        packed[start : start + step, : data.shape[1]] = data
    return packed


def constant_words(plan: StepPlan, tile: ChannelTile) -> np.ndarray:
    """Return the constant words of ``tile``: uint8 (groups, bytes)."""
    accelerator = plan.accelerator
    post = accelerator.post_lanes
    requant: Requant = plan.step.requant
    fields = (
        requant.bias, requant.positive, requant.negative, requant.residual, requant.shift,
    )  # fmt: skip
    values = np.zeros((tile.groups * post, len(fields)), np.int64)
    for index, data in enumerate(fields):
        values[tile.columns, index] = data[tile.channels]
    multiplier = [MULTIPLIER_BITS] * 3
    widths = np.tile([accelerator.array.accumulator_bits, *multiplier, 6], post)
    word_bytes = accelerator.word_bytes(accelerator.constant_word_bits)
    return pack_fields(values.reshape(tile.groups, -1), widths, word_bytes)


def table_words(plan: StepPlan) -> np.ndarray:
    """Return the rows of the table of a step that has one: uint8 (rows, bytes)."""
    accelerator, requant = plan.accelerator, plan.step.requant
    assert requant.table is not None
    assert accelerator.tables is not None
    rows = table_rows(requant, requant.table, accelerator.tables)
    widths = np.full(ROW_ENTRIES, accelerator.array.activation_bits)
    return pack_fields(rows, widths, accelerator.word_bytes(accelerator.table_word_bits))
