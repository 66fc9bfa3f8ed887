"""Operators with more pixels out than in; with them :data:`HANDLERS` is complete.

Output pixels that lie alike between input pixels are a *phase*: a convolution of its own, without
the products by 0 that zeros between pixels would give. An interleave puts phases between one
another, which is address arithmetic. What holds along one axis is a :class:`Phase`; a part has one
for each axis.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import torch

from celosia.models import import_pools
from celosia.models.import_ops import (
    HANDLERS,
    Call,
    constant,
    convolution,
    emit,
    handles,
    image,
    pair,
    unpadded,
)
from celosia.models.import_values import Builder, Unsupported, View
from celosia.models.network import Interleave, Part, Window

__all__ = ["HANDLERS", "any_convolution", "import_pools", "resize", "transposed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """Outputs ``origin + i * step`` along one axis, i from 0 to ``count`` - 1.

    Output i is a sum over ``taps`` (offset, which weight): input ``i * move + offset`` times that
    weight; inputs outside the axis are 0. Offsets rise; ``move`` is 1, or more than any input
    where ``count`` is 1.
    """

    origin: int
    step: int
    count: int
    taps: tuple[tuple[int, float], ...]
    move: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """A window along one axis, and which of its positions have the weights of a phase's taps."""

    kernel: int
    dilation: int
    before: int
    after: int
    positions: tuple[int, ...]


def axis_of(phase: Phase, size: int) -> Axis:
    """Return the window over ``size`` inputs that gives just the outputs of ``phase``.

    Where its taps begin or end inside, so that padding cannot, positions without a weight do.
    """
    offsets = [offset for offset, _ in phase.taps] or [0]
    gaps = {b - a for a, b in itertools.pairwise(offsets)}
    first, last = offsets[0], (phase.count - 1) * phase.move
    # One more output would fit unless the window reaches this far.
    stop = max(offsets[-1], size - last - phase.move)
    dilation = gaps.pop() if len(gaps) == 1 else 1
    if len(offsets) == 1 and first > 0 and stop == first:
        first, dilation = 0, first
    elif gaps or first > 0 or stop > offsets[-1]:
        first, dilation = min(first, 0), 1
    return Axis(
        kernel=(stop - first) // dilation + 1,
        dilation=dilation,
        before=-first,
        after=max(last + stop + 1 - size, 0),
        positions=tuple((offset - first) // dilation for offset in offsets[: len(phase.taps)]),
    )


def _emit(
    builder: Builder,
    call: Call,
    source: View,
    phases: tuple[Phase, Phase],
    weight: np.ndarray,
    groups: int,
    bias: np.ndarray | None,
    *,
    useful: bool,
) -> Part:
    """Add the convolution of a phase along each axis; ``weight`` is that of its taps alone."""
    sizes = source.shape[1:]
    axes = [axis_of(phase, size) for phase, size in zip(phases, sizes, strict=True)]
    down, across = axes
    spread = np.zeros((*weight.shape[:2], down.kernel, across.kernel))
    if weight.size:
        spread[:, :, np.array(down.positions)[:, None], np.array(across.positions)] = weight
    window = Window(
        kernel=(down.kernel, across.kernel),
        stride=(phases[0].move, phases[1].move),
        dilation=(down.dilation, across.dilation),
        padding=(down.before, across.before, down.after, across.after),
    )
    name = builder.name(f"{call.name}_{phases[0].origin}_{phases[1].origin}")
    inner = Call(
        args={}, shape=call.shape, name=name, where=f"{call.where}.{name.removeprefix(call.name)}"
    )
    emit(builder, inner, source, window, groups, spread, bias, useful=useful)
    return Part(
        input=name,
        origin=(phases[0].origin, phases[1].origin),
        stride=(phases[0].step, phases[1].step),
    )


def _join(builder: Builder, call: Call, parts: list[Part]) -> View:
    """Return the output that ``parts`` are; a single one is that alone."""
    shape = (call.shape[0], call.shape[1], call.shape[2])
    if len(parts) == 1:
        return View.of(parts[0].input, shape)
    op = Interleave(name=builder.name(call.where), parts=tuple(parts), output=call.name)
    builder.ops.append(op)
    return View.of(call.name, shape)


@handles("convolution")
def any_convolution(builder: Builder, call: Call) -> View | torch.Tensor | tuple[View, ...]:
    """Import a convolution, transposed or not."""
    return transposed(builder, call) if call.args["transposed"] else convolution(builder, call)


@handles("conv_transpose2d")
def transposed(builder: Builder, call: Call) -> View:
    """Import a transposed convolution: any kernel, stride, padding, dilation and grouping.

    A convolution for each phase, of its taps alone.
    """
    source = unpadded(image(call))
    weight, bias = constant(call, "weight"), constant(call, "bias")
    if weight is None or weight.ndim != 4:
        raise Unsupported("it is not a 2-d transposed convolution", "use ConvTranspose2d")
    if 0 in call.shape:
        raise Unsupported("its output is empty", "use less padding")
    groups = int(call.args["groups"])
    inputs, outputs, *kernel = weight.shape
    # O I FY FX, the input channels of a group.
    turned = weight.reshape(groups, inputs // groups, outputs, *kernel).transpose(0, 2, 1, 3, 4)
    turned = turned.reshape(groups * outputs, inputs // groups, *kernel)
    fields = ("stride", "padding", "dilation")
    stride, padding, dilation = (pair(call.args[field]) for field in fields)
    down, across = (
        _transposed_axis(kernel[axis], stride[axis], padding[axis], dilation[axis], size)
        for axis, size in enumerate(call.shape[1:])
    )
    parts = []
    for phases in itertools.product(down, across):
        taps = [[int(tap) for _, tap in phase.taps] for phase in phases]
        some = turned[:, :, np.array(taps[0], int)[:, None], np.array(taps[1], int)]
        parts.append(
            _emit(builder, call, source, phases, some, groups, bias, useful=bool(some.size))
        )
    return _join(builder, call, parts)


def _transposed_axis(
    kernel: int, stride: int, padding: int, dilation: int, size: int
) -> list[Phase]:
    """Return the phases of ``size`` outputs; the second of a tap is its place in the kernel."""
    phases = []
    for origin in range(min(stride, size)):
        whole = [
            ((origin + padding - tap * dilation) // stride, float(tap))
            for tap in reversed(range(kernel))
            if (origin + padding - tap * dilation) % stride == 0
        ]
        phases.append(
            Phase(
                origin=origin,
                step=stride,
                count=-(-(size - origin) // stride),
                taps=tuple(whole),
            )
        )
    return phases


@handles("upsample_nearest2d", "_upsample_nearest_exact2d", "upsample_bilinear2d")
def resize(builder: Builder, call: Call) -> View:
    """Import a nearest or bilinear resize by whole factors, each phase a depthwise convolution."""
    source = unpadded(image(call))
    sizes, targets = source.shape[1:], call.shape[1:]
    bilinear = call.args["operator"] == "upsample_bilinear2d"
    if any(new % old for old, new in zip(sizes, targets, strict=True)):
        raise Unsupported(
            f"it resizes {sizes} to {targets}", "resize by a whole factor along each axis"
        )
    if bilinear and call.args.get("align_corners"):
        raise Unsupported("it aligns corners", "use align_corners=False")
    make = _bilinear_axis if bilinear else _nearest_axis
    down, across = (make(new // old, old) for old, new in zip(sizes, targets, strict=True))
    channels, parts = source.shape[0], []
    for phases in itertools.product(down, across):
        rows, columns = (np.array([value for _, value in phase.taps]) for phase in phases)
        weight = np.tile(np.outer(rows, columns), (channels, 1, 1, 1))
        parts.append(_emit(builder, call, source, phases, weight, channels, None, useful=False))
    return _join(builder, call, parts)


def _nearest_axis(factor: int, size: int) -> list[Phase]:
    return [
        Phase(origin=origin, step=factor, count=size, taps=((0, 1.0),)) for origin in range(factor)
    ]


def _bilinear_axis(factor: int, size: int) -> list[Phase]:
    """Return the phases of a bilinear resize: the outermost inputs go on beyond their centres."""
    phases = []
    for origin in range(factor):
        # Where the output's centre lies from an input's, in 1 / (2 * factor).
        rest = 2 * origin + 1 - factor
        near = 1 - abs(rest) / (2 * factor)
        edge = 0 if rest < 0 else size - 1
        if rest:
            place = origin + edge * factor
            phases.append(Phase(origin=place, step=1, count=1, taps=((edge, 1.0),), move=size))
        if rest == 0:
            phases.append(Phase(origin=origin, step=factor, count=size, taps=((0, 1.0),)))
        elif size > 1:
            values = (1 - near, near) if rest < 0 else (near, 1 - near)
            first = origin + factor if rest < 0 else origin
            taps = tuple(enumerate(values))
            phases.append(Phase(origin=first, step=factor, count=size - 1, taps=taps))
    return phases
