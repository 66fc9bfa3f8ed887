# amaranth: UnusedElaboratable=no
"""The post unit against numpy: every activation, residuals, both roundings, windows, groups."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import pytest
from amaranth.lib import data

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.descriptors import Post, Token
from celosia.dataflow.microarchitecture import DRAIN_LATENCY, REQUANT_LATENCY, post_latency
from celosia.models.network import MAX_SHIFT, Rounding
from celosia.rtl.descriptors import PostLayout, encode
from celosia.rtl.post import Post as PostUnit
from celosia.rtl.post_nest import PostNest
from celosia.rtl.requant import Requant, constants_layout

from .bench_array import pack, simulate, small

WORDS = 128
"""Words of each modelled buffer."""

FIELDS = ("bias", "positive", "negative", "residual", "shift")


@dataclass
class Memories:
    """Accumulators (row, column, pixel), constants (address, lane), residuals (row, lane)."""

    accumulators: np.ndarray
    constants: dict[str, np.ndarray]
    residuals: np.ndarray


def random_post(rng: np.random.Generator, accelerator: Accelerator) -> Post:
    """A nest of at most a hundred or so steps."""
    array, lanes = accelerator.array, accelerator.post_lanes
    wx, wy, ox, oy = (int(n) for n in rng.integers(1, 3, 4))
    strides = [int(n) for n in rng.integers(0, 3, 4)]
    top = 1 << array.activation_bits
    low, high = (-top // 2, top // 2 - 1) if rng.integers(2) else (0, top - 1)
    return Post(
        window_x=wx, window_y=wy, out_x=ox, out_y=oy,
        pixels=int(rng.integers(1, array.pixels + 1)),
        groups=int(rng.integers(1, array.column_count // lanes + 1)),
        acc_window_x=strides[0], acc_window_y=strides[1],
        acc_out_x=strides[2], acc_out_y=strides[3],
        out_out_x=1, out_out_y=2, out_pixel=4, out_word=16,
        accumulators=int(rng.integers(4)), constants=int(rng.integers(3)),
        outputs=int(rng.integers(6)), residuals=int(rng.integers(9)),
        lane_group=int(rng.integers(array.lanes // lanes)),
        low=low, high=high, rounding=list(Rounding)[rng.integers(2)],
        residual=bool(rng.integers(2)), residual_signed=bool(rng.integers(2)),
        signal=frozenset({Token.POST_STORE}),
    )  # fmt: skip


def random_memories(rng: np.random.Generator, accelerator: Accelerator) -> Memories:
    array, lanes = accelerator.array, accelerator.post_lanes
    half = 1 << array.accumulator_bits - 1
    scale = rng.choice([8, 1 << 10, half], (32, array.column_count, array.pixels))
    size = (16, lanes)
    constants = {
        "bias": rng.integers(-half, half, size) >> rng.integers(0, array.accumulator_bits, size),
        "positive": rng.integers(-(1 << 17), 1 << 17, size),
        "negative": rng.integers(-(1 << 17), 1 << 17, size),
        "residual": rng.integers(-(1 << 17), 1 << 17, size),
        "shift": rng.integers(0, MAX_SHIFT + 1, size),
    }
    constants["negative"][:8:2] = 0
    return Memories(
        rng.integers(-scale, scale),
        constants,
        rng.integers(0, 1 << array.activation_bits, (WORDS, array.lanes)),
    )


def requantise(
    accumulator: int, constants: dict[str, int], residual: int, low: int, high: int, mode: Rounding
) -> int:
    """The network's definition, in Python integers."""
    v = accumulator + constants["bias"]
    p = v * (constants["negative"] if v < 0 else constants["positive"])
    p += constants["residual"] * residual
    shift = constants["shift"]
    floor, rest = p >> shift, p & (1 << shift) - 1
    half = (1 << shift) >> 1
    up = rest >= half if mode is Rounding.HALF_UP else rest > half or (rest == half and floor & 1)
    return max(low, min(high, floor + (up and shift > 0)))


def steps(post: Post, lane_groups: int):
    """Yield (accumulator row, pixel, group, constant, output, lane group, first, last)."""
    for group in range(post.groups):
        word, lane_group = divmod(post.lane_group + group, lane_groups)
        for pixel, oy, ox in itertools.product(
            range(post.pixels), range(post.out_y), range(post.out_x)
        ):
            output = (
                post.outputs + word * post.out_word + pixel * post.out_pixel
                + oy * post.out_out_y + ox * post.out_out_x
            )  # fmt: skip
            for wy, wx in itertools.product(range(post.window_y), range(post.window_x)):
                row = (
                    post.accumulators + wx * post.acc_window_x + wy * post.acc_window_y
                    + ox * post.acc_out_x + oy * post.acc_out_y
                )  # fmt: skip
                first = wx == wy == 0
                last = wx == post.window_x - 1 and wy == post.window_y - 1
                yield row, pixel, group, post.constants + group, output, lane_group, first, last


def golden(
    accelerator: Accelerator, memories: Memories, posts: list[Post]
) -> tuple[dict[tuple[int, int], list[int]], dict[str, int]]:
    """Return codes by (output word, lane group) and what the counters count."""
    array, lanes = accelerator.array, accelerator.post_lanes
    bits = array.activation_bits
    written: dict[tuple[int, int], list[int]] = {}
    counts = dict.fromkeys(
        ("post_steps", "accumulator_drains", "constant_reads", "residual_reads", "output_writes"), 0
    )
    for post in posts:
        before: tuple = ((), None, None)
        best: list[int] = []
        for row, pixel, group, constant, output, lane_group, first, last in steps(
            post, array.lanes // lanes
        ):
            now = ((row, pixel, group), constant, output)
            counts["post_steps"] += 1
            counts["accumulator_drains"] += now[0] != before[0]
            counts["constant_reads"] += now[1] != before[1]
            counts["residual_reads"] += post.residual and now[2] != before[2]
            counts["output_writes"] += last
            before = now
            codes = []
            for lane in range(lanes):
                residual = 0
                if post.residual:
                    address = output + post.residuals - post.outputs
                    residual = int(memories.residuals[address, lane_group * lanes + lane])
                    if post.residual_signed and residual >> bits - 1:
                        residual -= 1 << bits
                codes.append(
                    requantise(
                        int(memories.accumulators[row, group * lanes + lane, pixel]),
                        {name: int(memories.constants[name][constant, lane]) for name in FIELDS},
                        residual, post.low, post.high, post.rounding,
                    )
                )  # fmt: skip
            best = codes if first else [max(pair) for pair in zip(best, codes, strict=True)]
            if last:
                written[output, lane_group] = [code & (1 << bits) - 1 for code in best]
    return written, counts


class Model:
    """Answers the post unit's reads as array and buffers would, and notes its writes."""

    def __init__(self, accelerator: Accelerator, memories: Memories) -> None:
        self.accelerator, self.memories = accelerator, memories
        self.written: dict[tuple[int, int], list[int]] = {}
        self.drains = [0] * DRAIN_LATENCY
        self.constant = self.residual = 0

    def respond(self, ctx, dut: PostUnit) -> None:
        """Sample this cycle's requests; call after it the answers of the next with ``drive``."""
        array, lanes = self.accelerator.array, self.accelerator.post_lanes
        word = self.drains[-1]
        if ctx.get(dut.drain_enable):
            group = ctx.get(dut.drain_group) * lanes
            row, pixel = ctx.get(dut.drain.address), ctx.get(dut.drain.pixel)
            codes = self.memories.accumulators[row, group : group + lanes, pixel]
            mask = (1 << array.accumulator_bits) - 1
            word = pack([int(code) & mask for code in codes], array.accumulator_bits)
        self.drains.append(word)
        if ctx.get(dut.constants.enable):
            row = ctx.get(dut.constants.address)
            layout = constants_layout(array.accumulator_bits)
            self.constant = pack(
                [
                    layout.const(
                        {name: int(self.memories.constants[name][row, lane]) for name in FIELDS}
                    ).as_bits()
                    for lane in range(lanes)
                ],
                self.accelerator.constant_bits,
            )
        if ctx.get(dut.residuals.enable):
            row = ctx.get(dut.residuals.address)
            self.residual = pack(self.memories.residuals[row], array.activation_bits)
        if ctx.get(dut.write.enable):
            bits = array.activation_bits
            codes = ctx.get(dut.write.codes)
            self.written[ctx.get(dut.write.address), ctx.get(dut.write.group)] = [
                codes >> lane * bits & (1 << bits) - 1 for lane in range(lanes)
            ]

    def drive(self, ctx, dut: PostUnit) -> None:
        ctx.set(dut.drained, self.drains[-DRAIN_LATENCY])
        ctx.set(dut.constant_word, self.constant)
        ctx.set(dut.residual_word, self.residual)


ACCELERATORS = {
    "square": small({"fixed4": 4}, lanes=4, pixels=2, post_lanes=2),
    "wide word": small({"fixed4": 2}, lanes=6, pixels=1, post_lanes=2, bits=5, accumulator_bits=40),
    "many columns": small(
        {"fixed4": 6}, lanes=2, pixels=3, post_lanes=1, bits=4, accumulator_bits=16
    ),
    "whole word": small({"fixed4": 3}, lanes=3, pixels=1, post_lanes=3, accumulator_bits=24),
}


@pytest.mark.parametrize("accelerator", ACCELERATORS.values(), ids=ACCELERATORS)
@pytest.mark.parametrize("seed", range(2))
def test_random_posts(accelerator: Accelerator, seed: int) -> None:
    print("seed", seed)
    rng = np.random.default_rng(seed)
    memories = random_memories(rng, accelerator)
    posts = [random_post(rng, accelerator) for _ in range(6)]
    written, counts = golden(accelerator, memories, posts)
    dut, model = PostUnit(accelerator), Model(accelerator, memories)
    events, accepts, signals = dict.fromkeys(counts, 0), [], []
    latency = post_latency(accelerator)

    async def bench(ctx):
        pending = [data.Const(PostLayout, encode(post)) for post in posts]
        cycle, end = 0, None
        while end is None or cycle <= end:
            ctx.set(dut.i.valid, bool(pending))
            if pending:
                ctx.set(dut.i.payload, pending[0])
                if ctx.get(dut.i.ready):
                    accepts.append(cycle)
                    pending.pop(0)
                    end = cycle + posts[len(accepts) - 1].steps + latency + 3
            if ctx.get(dut.signal):
                signals.append(cycle)
            assert ctx.get(dut.busy) == any(
                t < cycle <= t + post.steps + latency
                for t, post in zip(accepts, posts, strict=False)
            )
            for name in events:
                events[name] += ctx.get(dut.events[name])
            model.respond(ctx, dut)
            await ctx.tick()
            model.drive(ctx, dut)
            cycle += 1

    simulate(dut, bench)
    starts = [int(n) for n in np.cumsum([0, *(post.steps for post in posts)])]
    assert accepts == starts[:-1]
    assert signals == [start + latency for start in starts[1:]]
    assert events == counts
    assert model.written == written


def test_rounding_ties_and_limits() -> None:
    dut = Requant(accumulator_bits=16, code_bits=9)
    values = [-32768, -1001, -13, -12, -11, -10, -9, -6, -2, -1, 0, 1, 2, 3, 6, 10, 14, 32767]
    cases = [
        (value, shift, mode) for value in values for shift in (0, 1, 2, 3) for mode in Rounding
    ]
    constants = {"bias": 0, "positive": 1, "negative": 1, "residual": -3}
    got = []

    async def bench(ctx):
        for value, shift, mode in cases:
            ctx.set(dut.accumulator, value)
            ctx.set(dut.constants, constants | {"shift": shift})
            ctx.set(dut.residual, 2)
            ctx.set(dut.rounding, mode.value)
            ctx.set(dut.low, -100)
            ctx.set(dut.high, 100)
            await ctx.tick().repeat(REQUANT_LATENCY)
            got.append(ctx.get(dut.code))

    simulate(dut, bench)
    expected = [
        requantise(value, constants | {"shift": shift}, 2, -100, 100, mode)
        for value, shift, mode in cases
    ]
    assert got == expected


def test_parameters_wrong() -> None:
    with pytest.raises(ValueError, match=r"accumulator_bits must be 16 to 44, not 45"):
        Requant(accumulator_bits=45, code_bits=9)
    with pytest.raises(ValueError, match=r"lane_groups must be 1 to 256, not 0"):
        PostNest(lane_groups=0)
