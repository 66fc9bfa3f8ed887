"""Where the code of a difference was made, on chip or in memory, and what it is made of there."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, replace

import numpy as np

from celosia.dataflow.descriptors import Post
from celosia.dataflow.interpret import Machine
from celosia.dataflow.layout import Placement
from celosia.dataflow.made import Codes
from celosia.dataflow.program import Program
from celosia.dataflow.provenance import (
    Memory,
    Place,
    Provenance,
    output_provenance,
    provenance,
)
from celosia.sim.check import ValueDivergence
from celosia.sim.locate import code_address
from celosia.sim.seen import Watch


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Target:
    """The place of one code.

    Attributes
    ----------
    program : Program
        What ran; where maxima are taken of the code, so that it is nowhere, it ends with the post
        descriptor that makes it, which takes no maximum there.
    placement : Placement
        Of its tensor, or of the maxima.
    place : Place
        The lane of the word in memory or in the output buffer.
    post : int or None
        The descriptor that writes it, of a code that never leaves the chip.
    scale : int or None
        Which of the word's scales it is, of a code of a scale on chip.
    is_sum : bool
        Whether maxima are taken of it.
    """

    program: Program
    placement: Placement
    place: Place
    post: int | None
    scale: int | None
    is_sum: bool

    def provenance(self, copies: Container[str]) -> Provenance:
        """Return what the code is made of; ``copies`` are as in ``dataflow.provenance``."""
        if self.post is None:
            return provenance(self.program, self.place.address, self.place.lane, copies)
        return output_provenance(self.program, self.place, self.post, copies)

    def read(self, machine: Machine, sample: int, index: tuple[int, int, int]) -> int:
        """Return the code that an interpreter made, at ``index`` of ``sample`` of the start."""
        if self.post is None:
            return int(self.placement.of(sample).read(machine.image)[index])
        buffers, place = machine.buffers, self.place
        code = buffers.outputs[place.address, place.lane]
        if self.scale is not None:
            code = buffers.output_scales[place.address, self.scale]
        return int(self.placement.decode(np.asarray(code, np.int64)))


def find_target(program: Program, divergence: ValueDivergence) -> Target:
    """Return where the code of ``divergence`` was made."""
    codes = Watch(program).codes(divergence.tensor)
    if codes is not None:
        return _on_chip(program, codes, divergence)
    placement = program.placement(divergence.tensor)
    lane = int(placement.lanes[divergence.index[0]])
    word = code_address(program, divergence) - (
        (placement.first_bit + lane * placement.lane_bits) // 8
    )
    place = Place(memory=Memory.DRAM, address=word, lane=lane)
    return Target(
        program=program, placement=placement, place=place, post=None, scale=None, is_sum=False
    )


def _on_chip(program: Program, codes: Codes, divergence: ValueDivergence) -> Target:
    sample = divergence.sample % program.samples
    element = np.ravel_multi_index((sample, *divergence.index), codes.shape)
    rows, lanes = np.nonzero(codes.elements == element)
    row, lane = int(rows[0]), int(lanes[0])
    array, post = program.accelerator.array, int(codes.posts[row])
    address, scale = int(codes.addresses[row]), None
    lane += int(codes.groups[row]) * codes.elements.shape[1]
    if codes.is_scales:
        lane, scale = lane * array.vector_lanes, lane
    if codes.is_sums:
        program, address = _ending(program, codes, row)
    place = Place(memory=Memory.OUTPUTS, address=address, lane=lane)
    return Target(
        program=program, placement=codes.placement, place=place, post=post, scale=scale,
        is_sum=codes.is_sums,
    )  # fmt: skip


def _ending(program: Program, codes: Codes, row: int) -> tuple[Program, int]:
    """Return ``program`` with the post that makes a row of ``codes`` changed to write just that.

    Also returned is the word of the output buffer that it then writes.
    """
    index = int(codes.posts[row])
    post = program.descriptors[index]
    assert isinstance(post, Post)
    first = codes.numbers[codes.posts == index].min()
    counts = post.groups, post.pixels, post.out_y, post.out_x, post.window_y, post.window_x
    group, pixel, y, x, down, across = (
        int(n) for n in np.unravel_index(int(codes.numbers[row] - first), counts)
    )
    accumulators = post.accumulators + x * post.acc_out_x + y * post.acc_out_y
    accumulators += across * post.acc_window_x + down * post.acc_window_y
    changed = replace(
        post, window_x=1, window_y=1, out_x=1, out_y=1, pixels=pixel + 1, groups=group + 1,
        accumulators=accumulators % (1 << 16), out_pixel=1,
    )  # fmt: skip
    per_word = program.accelerator.array.lanes // program.accelerator.post_lanes
    address = post.outputs + pixel + (post.lane_group + group) // per_word * post.out_word
    descriptors = (*program.descriptors[:index], changed, *program.descriptors[index + 1 :])
    return replace(program, descriptors=descriptors), address % (1 << 16)
