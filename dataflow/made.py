"""What the post unit makes, code by code: which code of which tensor each of its writes holds.

All that an engine computes passes the post unit, in the order of its descriptors. So whoever sees
what it writes sees every tensor, those too that never leave the chip, and with the codes that it
takes maxima of also those that are nowhere at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.descriptors import Post
from celosia.dataflow.layout import Placement
from celosia.dataflow.plan import StepPlan
from celosia.dataflow.program import Made, Program, Sums
from celosia.dataflow.tiles import Block, PixelTile

_WRAP = 1 << 16


def made_part(
    plan: StepPlan, pixel: PixelTile, block: Block, outputs: int, accumulators: int
) -> Made:
    """Return what posts make of a tile: ``block`` lies in the output buffer from ``outputs`` on.

    Its sums, of one channel tile, lie from ``accumulators`` on.
    """
    step, sums = plan.step, None
    if step.sums is not None:
        (down, across), (top, left) = step.pool.stride, step.within[:2]
        _, cols = step.conv_size((pixel.rows, pixel.cols))
        sums = Sums(
            tensor=step.sums,
            size=plan.sums_size,
            accumulators=accumulators,
            cols=cols,
            y=pixel.y * down - top,
            x=pixel.x * across - left,
            apart=pixel.rows * down,
        )
    return Made(
        tensor=step.output,
        sample=pixel.sample,
        word=block.word,
        y=pixel.y,
        x=pixel.x,
        rows=pixel.valid,
        cols=pixel.cols,
        area=pixel.area,
        outputs=outputs,
        sums=sums,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Codes:
    """The codes of one tensor among those that the post unit makes, N times some lanes at once.

    Attributes
    ----------
    tensor : str
        Its name.
    shape : (int, int, int, int)
        Of all samples of a start.
    placement : Placement
        Of the tensor, or of the maxima of one that is nowhere: format and bits are alike.
    is_scales, is_sums : bool
        Whether they are codes of scales, and whether they are those that maxima are taken of.
    numbers : numpy.ndarray
        int64 (N,): which writes of the program, or of codes that maxima are taken of which steps.
    posts : numpy.ndarray
        int64 (N,): the indices of their descriptors.
    addresses, groups : numpy.ndarray
        int64 (N,): words of the output buffer, and lane groups in them, that must be written.
    elements : numpy.ndarray
        int32 (N, lanes): indices into the flattened tensor, -1 for what is no code of it.
    """

    tensor: str
    shape: tuple[int, int, int, int]
    placement: Placement
    is_scales: bool
    is_sums: bool
    numbers: np.ndarray
    posts: np.ndarray
    addresses: np.ndarray
    groups: np.ndarray
    elements: np.ndarray

    @property
    def unmade(self) -> np.ndarray:
        """Which elements nobody makes: bool of ``shape``. No maximum is taken of them."""
        unmade = np.ones(np.prod(self.shape), bool)
        unmade[self.elements[self.elements >= 0]] = False
        return unmade.reshape(self.shape)


def codes_made(program: Program, names: frozenset[str]) -> tuple[Codes, ...]:
    """Return where the codes of the tensors ``names``, and of their scales, are made."""
    placements = {placement.name: placement for placement in program.placements}
    parts: dict[str, list[_Part]] = {}
    for part in _parts(program):
        made = part.made
        if made.tensor in names:
            parts.setdefault(made.tensor, []).append(part)
        if made.sums is not None and made.sums.tensor in names:
            parts.setdefault(made.sums.tensor, []).append(part)
    found = []
    for name, own in parts.items():
        target = placements[own[0].made.tensor]
        found.append(_codes(program, name, target, own, is_scales=False))
        scales = placements.get(f"{name}/scales")
        if scales is not None:
            found.append(_codes(program, name, scales, own, is_scales=True))
    return tuple(found)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Part:
    """A post descriptor, what it makes, and how many writes and steps come before it."""

    index: int
    post: Post
    made: Made
    writes: int
    steps: int


def _parts(program: Program) -> Iterator[_Part]:
    made, writes, steps = iter(program.made), 0, 0
    for index, post in enumerate(program.descriptors):
        if isinstance(post, Post):
            yield _Part(index=index, post=post, made=next(made), writes=writes, steps=steps)
            writes += post.groups * post.pixels * post.out_y * post.out_x
            steps += post.steps


def _codes(
    program: Program, name: str, placement: Placement, parts: list[_Part], *, is_scales: bool
) -> Codes:
    is_sums = name not in (placement.name, placement.name.removesuffix("/scales"))
    channels = _channels(program.accelerator, placement, is_scales=is_scales)
    columns: list[list[np.ndarray]] = [[], [], [], [], []]
    sums = parts[0].made.sums
    size = placement.shape[1:] if sums is None or not is_sums else sums.size
    shape = (program.samples, placement.shape[0], *size)
    for part in parts:
        where = _Where(program.accelerator, part, channels, shape)
        for column, values in zip(
            columns, where.sums() if is_sums else where.writes(), strict=True
        ):
            column.append(values)
    numbers, posts, addresses, groups, elements = map(np.concatenate, columns)
    return Codes(
        tensor=placement.name if is_scales else name,
        shape=shape,
        placement=placement,
        is_scales=is_scales,
        is_sums=is_sums,
        numbers=numbers,
        posts=posts,
        addresses=addresses,
        groups=groups,
        elements=elements,
    )


def _channels(accelerator: Accelerator, placement: Placement, *, is_scales: bool) -> np.ndarray:
    """Return the channel in each lane of each lane group of each word, -1 where there is none.

    The last word stands for all beyond the tensor.
    """
    array = accelerator.array
    groups = array.lanes // accelerator.post_lanes
    lanes = array.vectors if is_scales else array.lanes
    channels = np.full((placement.word_count + 1, lanes), -1, np.int64)
    channels[placement.words, placement.lanes] = np.arange(len(placement.words))
    return channels.reshape(len(channels), groups, -1)


class _Where:
    """The places of what one post makes, in the order in which it does."""

    def __init__(
        self,
        accelerator: Accelerator,
        part: _Part,
        channels: np.ndarray,
        shape: tuple[int, int, int, int],
    ) -> None:
        self._part, self._shape = part, shape
        post, made = part.post, part.made
        per_word = accelerator.array.lanes // accelerator.post_lanes
        counts = post.groups, post.pixels, post.out_y, post.out_x
        group, pixel, y, x = np.ix_(*map(np.arange, counts))
        lane_group = post.lane_group + group
        address = post.outputs + x * post.out_out_x + y * post.out_out_y + pixel * post.out_pixel
        address = (address + lane_group // per_word * post.out_word) % _WRAP
        word, rest = np.divmod((address - made.outputs) % _WRAP, made.area)
        self._row, self._column = np.divmod(rest, made.cols)
        self._address = address
        self._group = np.broadcast_to(lane_group % per_word, counts)
        word = np.minimum(made.word + word, len(channels) - 1)
        # Rows of the last pixel lane may lie below the tensor.
        inside = (self._row < made.rows)[..., None]
        self._channel = np.where(inside, channels[word, self._group], -1)

    def _elements(self, channel: np.ndarray, y: Any, x: Any) -> np.ndarray:
        _, channels, height, width = self._shape
        inside = (channel >= 0) & (y >= 0) & (y < height) & (x >= 0) & (x < width)
        element = ((self._part.made.sample * channels + channel) * height + y) * width + x
        return np.where(inside, element, -1).astype(np.int32).reshape(-1, channel.shape[-1])

    def _columns(self, first: int, shape: tuple[int, ...], elements: np.ndarray) -> Any:
        """Return the columns of :class:`Codes`; ``shape`` is of what is made, in its order."""
        count = len(elements)
        fill = (..., *[None] * (len(shape) - 4))
        return (
            np.arange(first, first + count),
            np.full(count, self._part.index),
            np.broadcast_to(self._address[fill], shape).ravel(),
            np.broadcast_to(self._group[fill], shape).ravel(),
            elements,
        )

    def writes(self) -> Any:
        """Return the columns of :class:`Codes` for what is written."""
        made = self._part.made
        y, x = made.y + self._row[..., None], made.x + self._column[..., None]
        elements = self._elements(self._channel, y, x)
        return self._columns(self._part.writes, self._address.shape, elements)

    def sums(self) -> Any:
        """Return the columns of :class:`Codes` for what maxima are taken of."""
        post, sums = self._part.post, self._part.made.sums
        assert sums is not None
        counts = post.pixels, post.out_y, post.out_x, post.window_y, post.window_x
        pixel, y, x, down, across = np.ix_(*map(np.arange, counts))
        address = post.accumulators + x * post.acc_out_x + y * post.acc_out_y
        address = address + down * post.acc_window_y + across * post.acc_window_x
        row, column = np.divmod((address - sums.accumulators) % _WRAP, sums.cols)
        row = (sums.y + pixel * sums.apart + row)[None, ..., None]
        column = (sums.x + column + 0 * pixel)[None, ..., None]
        channel = self._channel[:, :, :, :, None, None]
        shape = (post.groups, *counts)
        channel = np.broadcast_to(channel, (*shape, channel.shape[-1]))
        elements = self._elements(channel, row, column)
        return self._columns(self._part.steps, shape, elements)


def word_made(program: Program, address: int, before: int) -> tuple[Made, int, int, int] | None:
    """Return what makes the word at ``address`` of the output buffer before a descriptor.

    With it come the word of the tensor, the row and the column; None where nothing makes it.
    """
    per_word = program.accelerator.array.lanes // program.accelerator.post_lanes
    posts = [d for d in program.descriptors[:before] if isinstance(d, Post)]
    for post, made in zip(reversed(posts), reversed(program.made[: len(posts)]), strict=True):
        word, rest = divmod((address - made.outputs) % _WRAP, made.area)
        first = (post.outputs - made.outputs) % _WRAP // made.area
        if first <= word <= first + (post.lane_group + post.groups - 1) // per_word:
            row, column = divmod(rest, made.cols)
            return made, made.word + word, made.y + row, made.x + column
    return None
