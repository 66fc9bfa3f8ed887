"""Max-pooling behind the convolution that makes its input: no step of its own.

The post unit takes the maxima of codes as it makes them, and the input of the pooling is nowhere.
Windows that overlap cost what sums are made twice, at the edges of tiles; a window that reaches
beyond its input is cut, and what lies there is made like all else and not looked at.
"""

from __future__ import annotations

import math
from dataclasses import replace

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.columns import ColumnPool, Need
from celosia.dataflow.lower import POINT, Lowering, Step
from celosia.dataflow.windows import ENDLESS
from celosia.models.network import Window


def fuse_pools(lowering: Lowering, accelerator: Accelerator) -> None:
    """Let convolutions take the maxima of what they make where nobody else wants it and it pays."""
    pool = ColumnPool(accelerator.array)
    for step in [step for step in lowering.steps if step.is_pool]:
        maker = _maker(lowering, step)
        if maker is None or not _can_follow(step, accelerator) or not _is_dense(maker, pool):
            continue
        fused = _fused(lowering, maker, step)
        if _pays(lowering, maker, fused, accelerator):
            lowering.fuse(maker, step, fused)


def _maker(lowering: Lowering, step: Step) -> Step | None:
    """Return the convolution that makes the input of ``step`` for it alone, if there is one."""
    name = step.input
    readers = sum((other.input == name) + (other.residual == name) for other in lowering.steps)
    if readers > 1 or name in lowering.network.outputs or lowering.is_joined(name):
        return None
    for maker in lowering.steps:
        # A residual operand is added to a sum, and its words lie like outputs; post takes one
        # maximum.
        alone = maker.pool == POINT and maker.residual is None
        if maker.output == name and alone and lowering.tensors[name].scaling is None:
            return maker
    return None


def _can_follow(step: Step, accelerator: Accelerator) -> bool:
    """Return whether one post descriptor can cut its windows: those of all pixel lanes alike."""
    return accelerator.array.pixels == 1 or not any(step.window.padding)


def _is_dense(maker: Step, pool: ColumnPool) -> bool:
    """Return whether its outputs fill the words; a pooling of its own would pack them."""
    formats = maker.formats or ()
    needs = [frozenset((Need(operation=maker.operation, format=fmt),)) for fmt in formats]
    return pool.tiles(needs) == pool.tiles([frozenset()] * len(needs))


def _fused(lowering: Lowering, maker: Step, step: Step) -> Step:
    """Return ``maker`` with the maxima of ``step`` behind it."""
    padding, (sy, sx) = step.window.padding, maker.window.stride
    top, left, bottom, right = (
        own + further * stride
        for own, further, stride in zip(
            maker.window.padding, padding, (sy, sx, sy, sx), strict=True
        )
    )
    within = 0, 0, ENDLESS, ENDLESS
    if any(padding):
        _, height, width = lowering.tensors[step.input].shape
        within = padding[0], padding[1], padding[0] + height, padding[1] + width
    return replace(
        maker,
        output=step.output,
        window=replace(maker.window, padding=(top, left, bottom, right)),
        pool=step.pool,
        within=within,
        sums=maker.output,
    )


def _pays(lowering: Lowering, maker: Step, fused: Step, accelerator: Accelerator) -> bool:
    """Return whether sums that are made again cost no more than a pass over the input."""
    array = accelerator.array
    size = lowering.tensors[fused.output].shape[1:]
    made = math.prod(lowering.tensors[maker.output].shape[1:])
    again = _made_again(fused.pool, size, accelerator.buffers.accumulators // 2)
    groups = -(-len(maker.weights) // accelerator.post_lanes)
    words = -(-len(maker.weights) // array.lanes)
    products = made * math.prod(maker.weights.shape) / array.products
    maxima = math.prod(size) * math.prod(fused.pool.kernel) * groups
    move = made * words * accelerator.beats(accelerator.activation_word_bits)
    together = max(products * again, maxima)
    return together <= max(products, made * groups) + max(maxima, move)


def _made_again(pool: Window, size: tuple[int, int], room: int) -> float:
    """Return how often a sum is made at best in tiles of ``room`` sums; infinite if none fits."""
    (height, width), (sy, sx), (ey, ex) = size, pool.stride, pool.extent
    best = math.inf
    columns = width
    while columns:
        across = (columns - 1) * sx + ex
        rows = min(height, (room // across - ey) // sy + 1)
        if rows > 0:
            best = min(best, ((rows - 1) * sy + ey) * across / (rows * sy * columns * sx))
        columns //= 2
    return max(1.0, best)
