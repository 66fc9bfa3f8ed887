"""The pooling operators that can be imported."""

from __future__ import annotations

import itertools
import math

import numpy as np

from celosia.models.import_ops import Call, emit, handles, image, pair, unpadded
from celosia.models.import_values import Builder, Unsupported, View
from celosia.models.network import MaxPool, Window

__all__ = ["adaptive_avg_pool", "avg_pool", "max_pool", "mean"]


def _pool_window(call: Call, source: View) -> Window:
    """Return the window of a pooling with what ceil mode adds below and to the right."""
    kernel = pair(call.args["kernel_size"])
    stride = pair(call.args["stride"]) if call.args["stride"] else kernel
    pad = pair(call.args["padding"])
    dilation = pair(call.args.get("dilation", 1))
    after = list(pad)
    for axis in range(2):
        size, out = source.shape[1 + axis], call.shape[1 + axis]
        extent = dilation[axis] * (kernel[axis] - 1) + 1
        needed = (out - 1) * stride[axis] + extent - size - pad[axis]
        after[axis] = max(needed, 0)
    return Window(
        kernel=kernel,
        stride=stride,
        dilation=dilation,
        padding=(pad[0], pad[1], after[0], after[1]),
    )


@handles("max_pool2d", "max_pool2d_with_indices")
def max_pool(builder: Builder, call: Call) -> View | tuple[View, ...]:
    """Import max pooling, ceil mode too."""
    source = unpadded(image(call, "self"))
    window = _pool_window(call, source)
    builder.ops.append(
        MaxPool(name=builder.name(call.where), input=source.name, output=call.name, window=window)
    )
    view = View.of(call.name, (source.shape[0], *window.output_size(*source.shape[1:])))
    return (view,) if call.args["operator"] == "max_pool2d_with_indices" else view


@handles("avg_pool2d")
def avg_pool(builder: Builder, call: Call) -> View:
    """Import average pooling where every window has the same divisor."""
    source = unpadded(image(call, "self"))
    window = _pool_window(call, source)
    divisor = call.args.get("divisor_override") or math.prod(window.kernel)
    pad = pair(call.args["padding"])
    overhang = window.padding[2] > pad[0] or window.padding[3] > pad[1]
    uneven = overhang or (any(window.padding) and not call.args["count_include_pad"])
    if uneven and not call.args.get("divisor_override"):
        raise Unsupported(
            "windows at the border average fewer elements than the others",
            "use count_include_pad=True without ceil_mode, or no padding",
        )
    return _average(builder, call, source, window, divisor)


@handles("adaptive_avg_pool2d", "_adaptive_avg_pool2d")
def adaptive_avg_pool(builder: Builder, call: Call) -> View:
    """Import adaptive average pooling where all windows have one size and stride."""
    source = unpadded(image(call, "self"))
    kernel, stride = [], []
    for size, out in zip(source.shape[1:], call.shape[1:], strict=True):
        starts = [i * size // out for i in range(out)]
        sizes = {-(-(i + 1) * size // out) - start for i, start in enumerate(starts)}
        steps = {b - a for a, b in itertools.pairwise(starts)} or {1}
        if len(sizes) > 1 or len(steps) > 1 or 0 in steps:
            raise Unsupported(
                f"its windows over {source.shape[1:]} for an output of {call.shape[1:]} "
                "differ in size",
                "use an output size that divides the input size, or AvgPool2d",
            )
        kernel.append(sizes.pop())
        stride.append(steps.pop())
    window = Window(kernel=(kernel[0], kernel[1]), stride=(stride[0], stride[1]))
    return _average(builder, call, source, window, math.prod(kernel))


@handles("mean")
def mean(builder: Builder, call: Call) -> View:
    """Import a mean over height and width."""
    source = unpadded(image(call, "self"))
    axes = {int(axis) % 4 for axis in call.args.get("dim") or ()}
    if axes != {2, 3}:
        raise Unsupported(f"it averages over axes {sorted(axes)}", "average over axes (2, 3)")
    window = Window(kernel=source.shape[1:])
    view = _average(builder, call, source, window, math.prod(window.kernel))
    return view.with_index(view.index.reshape(call.shape))


def _average(builder: Builder, call: Call, source: View, window: Window, divisor: int) -> View:
    channels = source.shape[0]
    weight = np.full((channels, 1, *window.kernel), 1 / divisor)
    return emit(builder, call, source, window, channels, weight, None, useful=False)
