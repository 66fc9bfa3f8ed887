# amaranth: UnusedElaboratable=no
"""The buffers: slices, lanes, targets, lane groups."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from celosia.dataflow.descriptors import Buffer
from celosia.rtl.buffers import InputBuffer, OutputBuffer, Ram

from .bench_array import simulate, small, write_word

ODD = small({"fixed5": 3, "sp2_4": 1}, lanes=10, pixels=3, post_lanes=2, bits=7)
"""Activation words of 70 bits and weight words of 190, on a bus of 64."""


TARGETS = list(Buffer)[:4]  # there are no tables


@pytest.mark.parametrize("target", TARGETS)
def test_words_come_back(target: Buffer) -> None:
    rng = np.random.default_rng(3)
    dut = InputBuffer.of(ODD, target)
    beats = ODD.beats(dut.word_bits)
    words = {
        (address, lane): int.from_bytes(rng.bytes(100)) % (1 << dut.word_bits)
        for address in range(dut.depth)
        for lane in range(dut.lanes)
    }

    async def bench(ctx):
        for (address, lane), word in words.items():
            await write_word(ctx, dut.write, target, address, word, beats, lane)
            for other in TARGETS:  # what is meant for others changes nothing
                if other is not target:
                    await write_word(ctx, dut.write, other, address, ~word, 1, lane)
        for address in rng.permutation(dut.depth):
            ctx.set(dut.read.enable, 1)
            ctx.set(dut.read.address, int(address))
            await ctx.tick()
            ctx.set(dut.read.enable, 0)
            ctx.set(dut.read.address, 0)
            for _ in range(2):  # and stay
                for lane in range(dut.lanes):
                    assert ctx.get(dut.words[lane]) == words[address, lane]
                await ctx.tick()

    simulate(dut, bench)


def test_both_banks_are_written_at_once() -> None:
    rng = np.random.default_rng(5)
    config = replace(ODD, buffers=replace(ODD.buffers, activation_banks=2))
    dut = InputBuffer.of(config, Buffer.ACTIVATIONS)
    half, beats = dut.depth // 2, ODD.beats(dut.word_bits)
    words: dict[tuple[int, int], int] = {}

    async def bench(ctx):
        for target in (Buffer.ACTIVATIONS, Buffer.WEIGHTS):  # what is meant for others: nothing
            for index in rng.permutation(half * dut.lanes):
                low, lane = divmod(int(index), dut.lanes)
                bank = int(rng.integers(2))
                pair = [int.from_bytes(rng.bytes(100)) % (1 << dut.word_bits) for _ in range(2)]
                places = [
                    (low + half * bank, lane),
                    (low + half * (1 - bank), dut.lanes - 1 - lane),
                ]
                for port, place, word in zip((dut.write, dut.keep), places, pair, strict=True):
                    if port is dut.keep or target is Buffer.ACTIVATIONS:
                        words[place] = word
                for port, place in zip((dut.write, dut.keep), places, strict=True):
                    ctx.set(port.enable, 1)
                    ctx.set(port.address, place[0])
                    ctx.set(port.lane, place[1])
                ctx.set(dut.write.target, target.value)
                ctx.set(dut.keep.data, pair[1])
                for piece in range(beats):
                    ctx.set(dut.write.slice, piece)
                    ctx.set(dut.write.data, pair[0] >> 64 * piece & (1 << 64) - 1)
                    await ctx.tick()
                    ctx.set(dut.keep.enable, 0)
        ctx.set(dut.write.enable, 0)
        ctx.set(dut.keep.enable, 0)
        for address in rng.permutation(dut.depth):
            ctx.set(dut.read.enable, 1)
            ctx.set(dut.read.address, int(address))
            await ctx.tick()
            ctx.set(dut.read.enable, 0)
            ctx.set(dut.read.address, int(address) ^ half)
            for _ in range(2):  # and stay
                for lane in range(dut.lanes):
                    if (int(address), lane) in words:
                        assert ctx.get(dut.words[lane]) == words[int(address), lane]
                await ctx.tick()
        assert len(words) > dut.depth

    simulate(dut, bench)


def test_output_lane_groups() -> None:
    rng = np.random.default_rng(4)
    dut = OutputBuffer(ODD)
    groups, width = 5, 14
    words = [[int(n) for n in rng.integers(0, 1 << width, groups)] for _ in range(16)]

    async def bench(ctx):
        for place in rng.permutation(16 * groups):
            address, group = divmod(int(place), groups)
            ctx.set(dut.write.enable, 1)
            ctx.set(dut.write.address, address)
            ctx.set(dut.write.group, group)
            ctx.set(dut.write.codes, words[address][group])
            await ctx.tick()
        ctx.set(dut.write.enable, 0)
        for address, word in enumerate(words):
            ctx.set(dut.read.enable, 1)
            ctx.set(dut.read.address, address)
            await ctx.tick()
            assert ctx.get(dut.read.data) == sum(code << width * n for n, code in enumerate(word))

    simulate(dut, bench)


def test_ram_wrong() -> None:
    with pytest.raises(ValueError, match=r"depth must be 1 to 65536 rows, not 0"):
        Ram(depth=0, width=8)
    with pytest.raises(ValueError, match=r"width must be at least 1 bit, not 0"):
        Ram(depth=8, width=0)
