"""Fusion: fewer operations in a float graph, with the same results.

Pointwise depthwise operations (activation, addition, batch normalisation) are merged
into the convolution before them, through a max pooling or an interleave too; a batch
normalisation that has none is merged into the convolutions after it. Each pass returns the
graph it was given when it changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from celosia.models.graph import FloatConv, FloatGraph, FloatOp, reads
from celosia.models.network import Concat, Interleave, MaxPool, Window

Pass = Callable[[FloatGraph], FloatGraph]


def fuse(graph: FloatGraph) -> FloatGraph:
    """Apply all passes until none changes the graph; then make concats legal.

    A pass runs when those before it have nothing left to do: a batch normalisation goes into the
    convolution before it rather than into an addition behind it, which could not be merged then.
    """
    changed = True
    while changed:
        changed = False
        for apply in PASSES:
            before, graph = graph, apply(graph)
            changed = graph is not before
            if changed:
                break
    return separate_concats(graph)


def remove_dead(graph: FloatGraph) -> FloatGraph:
    """Remove operations that no output needs."""
    needed = set(graph.outputs)
    kept: list[FloatOp] = []
    for op in reversed(graph.ops):
        if op.output in needed:
            needed.update(reads(op))
            kept.append(op)
    return graph if len(kept) == len(graph.ops) else replace(graph, ops=tuple(reversed(kept)))


def merge_backward(graph: FloatGraph) -> FloatGraph:
    """Merge one pointwise operation into the convolution that writes its input.

    1. scale and shift into a plain convolution;
    2. slope, residual and clip, in this order, after what the convolution has already;
    3. a ReLU before an addition becomes a slope of 0;
    4. an addition is tried with either operand as the merged one: first that of more weights,
       during which there is most time to load the other; of equal ones the later.
    """
    readers, writers = graph.readers(), graph.writers()
    position = {op.output: index for index, op in enumerate(graph.ops)}
    for index, op in enumerate(graph.ops):
        if not isinstance(op, FloatConv) or not op.pointwise:
            continue
        options = [option for option in (op, _swapped(op)) if option is not None]
        options.sort(key=lambda option: _rank(writers.get(option.input), position))
        for option in options:
            source = writers.get(option.input)
            if not isinstance(source, FloatConv) or source.output in graph.outputs:
                continue
            if len(readers[source.output]) > 1 or option.residual == option.input:
                continue
            merged = _merge(source, option)
            if merged is not None:
                ops = [other for other in graph.ops if other is not source]
                ops[index - 1] = merged
                return replace(graph, ops=tuple(ops))
    return graph


def merge_forward(graph: FloatGraph) -> FloatGraph:
    """Merge one scale and shift into the convolutions that read it.

    A shift cannot pass padding; a scale can.
    """
    readers = graph.readers()
    for op in graph.ops:
        if not isinstance(op, FloatConv) or not op.pointwise or not op.plain or op.useful:
            continue
        users = readers[op.output]
        if op.output in graph.outputs or not users:
            continue
        if not all(_takes(user, op) for user in users):
            continue
        ops = [
            _absorb(other, op) if isinstance(other, FloatConv) and other in users else other
            for other in graph.ops
            if other is not op
        ]
        return replace(graph, ops=tuple(ops))
    return graph


def hoist_over_pool(graph: FloatGraph) -> FloatGraph:
    """Move one rising activation from behind a max pooling to before it, next to a convolution."""
    readers, writers = graph.readers(), graph.writers()
    for op in graph.ops:
        if not isinstance(op, FloatConv) or not op.pointwise or op.residual is not None:
            continue
        pool = writers.get(op.input)
        if not isinstance(pool, MaxPool) or len(readers[pool.output]) > 1:
            continue
        source = writers.get(pool.input)
        rising = (op.weight > 0).all() and (op.slope is None or (op.slope >= 0).all())
        if op.function is not None:
            continue
        single = len(readers[pool.input]) == 1
        if not (rising and single and isinstance(source, FloatConv)):
            continue
        if {pool.output, pool.input} & set(graph.outputs) or _merge(source, op) is None:
            continue
        middle = f"{op.output}_before_pool"
        ops: list[FloatOp] = []
        for other in graph.ops:
            if other is pool:
                ops.append(replace(op, input=pool.input, output=middle))
            elif other is op:
                ops.append(replace(pool, input=middle, output=op.output))
            else:
                ops.append(other)
        return replace(graph, ops=tuple(ops))
    return graph


def hoist_over_interleave(graph: FloatGraph) -> FloatGraph:
    """Move one operation of each pixel alone to before an interleave, into all of its parts."""
    readers, writers = graph.readers(), graph.writers()
    for op in graph.ops:
        if not isinstance(op, FloatConv) or not op.pointwise or op.residual is not None:
            continue
        joined = writers.get(op.input)
        if not isinstance(joined, Interleave) or len(readers[joined.output]) > 1:
            continue
        parts = [writers[name] for name in joined.inputs]
        if joined.output in graph.outputs or not all(
            isinstance(part, FloatConv) and _merge(part, op) is not None for part in parts
        ):
            continue
        moved = [
            replace(op, name=f"{op.name}_{part.name}", input=part.output, output=f"{op.output}_{n}")
            for n, part in enumerate(parts)
        ]
        places = zip(joined.parts, moved, strict=True)
        ops: list[FloatOp] = []
        for other in graph.ops:
            if other is joined:
                ops += moved
            elif other is op:
                inner = tuple(replace(part, input=new.output) for part, new in places)
                ops.append(replace(joined, parts=inner, output=op.output))
            else:
                ops.append(other)
        return replace(graph, ops=tuple(ops))
    return graph


PASSES: tuple[Pass, ...] = (
    remove_dead, merge_backward, merge_forward, hoist_over_pool, hoist_over_interleave
)  # fmt: skip


def separate_concats(graph: FloatGraph) -> FloatGraph:
    """Give every concat members of its own, by copies where they are not.

    A member must be written by a convolution or a pooling and belong to one concat only.
    """
    writers = graph.writers()
    taken: set[str] = set()
    ops: list[FloatOp] = []
    shapes = graph.shapes()
    for op in graph.ops:
        if not isinstance(op, Concat):
            ops.append(op)
            continue
        names = []
        for number, name in enumerate(op.inputs):
            if name in taken or isinstance(writers.get(name), Concat | None):
                copy = identity(f"{op.name}_copy{number}", name, shapes[name][0])
                ops.append(copy)
                name = copy.output
            taken.add(name)
            names.append(name)
        ops.append(replace(op, inputs=tuple(names)))
    return replace(graph, ops=tuple(ops))


def identity(name: str, source: str, channels: int) -> FloatConv:
    """Return an operation that copies ``source``; name and output are ``name``."""
    return FloatConv(
        name=name,
        input=source,
        output=name,
        window=Window(kernel=(1, 1)),
        groups=channels,
        weight=np.ones((channels, 1, 1, 1)),
        bias=np.zeros(channels),
        useful=False,
    )


def _rank(source: FloatOp | None, position: dict[str, int]) -> tuple[int, int]:
    """Return which convolution an addition is merged into: the one with the lowest of these."""
    if not isinstance(source, FloatConv):
        return 0, 0
    return -source.weight.size, -position[source.output]


def _is_identity(op: FloatConv) -> bool:
    return bool((op.weight == 1).all() and (op.bias == 0).all())


def _swapped(op: FloatConv) -> FloatConv | None:
    """Return the same addition with the operands exchanged, if it is a mere addition."""
    if op.residual is None or op.slope is not None or not _is_identity(op):
        return None
    return replace(op, input=op.residual, residual=op.input)


def _merge(first: FloatConv, second: FloatConv) -> FloatConv | None:
    """Return ``second`` after ``first`` as one operation, or None if there is none."""
    if first.function is not None:
        merely_named = second.plain and _is_identity(second)
        return replace(first, output=second.output) if merely_named else None
    if first.plain:
        column = second.weight.reshape(-1)
        weight, gain = first.weight, first.gain
        if first.distance:
            gain = column if gain is None else gain * column
        else:
            weight = weight * column[:, None, None, None]
        return replace(
            first,
            weight=weight,
            gain=gain,
            output=second.output,
            bias=first.bias * column + second.bias,
            slope=second.slope,
            residual=second.residual,
            low=second.low,
            high=second.high,
            function=second.function,
            useful=first.useful or second.useful,
        )
    if not _is_identity(second) or second.slope is not None:
        return None
    if second.residual is None:
        low = min(max(first.low, second.low), second.high)
        high = min(max(first.high, second.low), second.high)
        return replace(first, output=second.output, low=low, high=high, function=second.function)
    slope = first.slope
    if first.clips:
        if first.low != 0 or first.high < math.inf or first.residual is not None:
            return None
        if first.slope is not None and (first.slope < 0).any():
            return None  # a negative slope turns what is below 0 above it
        slope = np.zeros(len(first.weight))
    if first.residual is not None:
        return None
    return replace(
        first,
        output=second.output,
        slope=slope,
        residual=second.residual,
        low=second.low,
        high=second.high,
        function=second.function,
    )


def _takes(user: FloatOp, op: FloatConv) -> bool:
    """Whether ``user`` can take in the scale and shift ``op`` that it reads."""
    if not isinstance(user, FloatConv) or user.residual == op.output or user.distance:
        return False
    if user.power is not None:
        return False  # a scale of each channel would make other numbers of its powers of two
    return not any(user.window.padding) or not op.bias.any()


def _absorb(user: FloatConv, op: FloatConv) -> FloatConv:
    rows, per_group = user.weight.shape[:2]
    group = np.arange(rows) // (rows // user.groups)
    channel = group[:, None] * per_group + np.arange(per_group)
    scale, shift = op.weight.reshape(-1)[channel], op.bias[channel]
    added = (user.weight.sum(axis=(2, 3)) * shift).sum(axis=1)
    return replace(
        user,
        input=op.input,
        weight=user.weight * scale[:, :, None, None],
        bias=user.bias + added,
    )
