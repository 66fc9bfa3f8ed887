"""Pooling operators; they take real values, maxima codes as well."""

from __future__ import annotations

import math

import numpy as np

from celosia.models.import_ops import emit, unpadded
from celosia.models.import_values import Unsupported, View
from celosia.models.network import MaxPool, Window
from celosia.models.onnx_import.operators import (
    Args,
    Context,
    activation,
    call_of,
    check_size,
    handles,
    whole_image,
)
from celosia.models.onnx_import.reader import Node
from celosia.models.onnx_import.values import Coded, Value, axes_of
from celosia.models.onnx_import.windows import pair_of, window_of


@handles("MaxPool")
def max_pool(context: Context, node: Node, args: Args) -> Value:
    """Import max pooling, of real values or of codes."""
    view = args[0].view if isinstance(args[0], Coded) else activation(args[0])
    several = len([name for name in node.outputs if name]) > 1
    if several or node.attributes.get("storage_order", 0):
        raise Unsupported("it gives the indices of its maxima", "use its maxima only")
    view = unpadded(whole_image(view))
    kernel = pair_of(node.attributes.get("kernel_shape"), "kernel_shape")
    ceil = bool(node.attributes.get("ceil_mode", 0))
    return _maxima(context, node, args, view, window_of(node, view, kernel, ceil=ceil)[0])


def _maxima(context: Context, node: Node, args: Args, view: View, window: Window) -> Value:
    size = window.output_size(*view.shape[1:])
    check_size(view.shape[0], size)
    call = call_of(context, node, ())
    name = context.builder.name(call.where)
    context.builder.ops.append(MaxPool(name=name, input=view.name, output=call.name, window=window))
    context.quantised.keep((view.name,), call.name)
    result = View.of(call.name, (view.shape[0], *size))
    return Coded(view=result, type=args[0].type) if isinstance(args[0], Coded) else result


@handles("GlobalMaxPool")
def global_max_pool(context: Context, node: Node, args: Args) -> Value:
    """Import the maximum of each channel."""
    view = args[0].view if isinstance(args[0], Coded) else activation(args[0])
    view = unpadded(whole_image(view))
    return _maxima(context, node, args, view, Window(kernel=view.shape[1:]))


@handles("AveragePool")
def average_pool(context: Context, node: Node, args: Args) -> View:
    """Import average pooling where every window has the same divisor."""
    view = unpadded(whole_image(activation(args[0])))
    kernel = pair_of(node.attributes.get("kernel_shape"), "kernel_shape")
    ceil = bool(node.attributes.get("ceil_mode", 0))
    window, own = window_of(node, view, kernel, ceil=ceil)
    counted = bool(node.attributes.get("count_include_pad", 0))
    if window.padding != own or (any(own) and not counted):
        raise Unsupported(
            "windows at the border average fewer elements than the others",
            "use count_include_pad = 1 without ceil_mode, or no padding",
        )
    return average(context, node, view, window)


def average(context: Context, node: Node, view: View, window: Window) -> View:
    """Add the mean over a window."""
    channels = view.shape[0]
    check_size(channels, window.output_size(*view.shape[1:]))
    weight = np.full((channels, 1, *window.kernel), 1 / math.prod(window.kernel))
    call = call_of(context, node, ())
    return emit(context.builder, call, view, window, channels, weight, None, useful=False)


@handles("GlobalAveragePool", "ReduceMean")
def mean(context: Context, node: Node, args: Args) -> View:
    """Import the mean of each channel."""
    view = unpadded(whole_image(activation(args[0])))
    keeps = True
    if node.operator == "ReduceMean":
        axes = axes_of(node, args)
        keeps = bool(node.attributes.get("keepdims", 1))
        if axes is None or {axis % 4 for axis in axes} != {2, 3}:
            raise Unsupported(f"it averages over axes {axes}", "average over axes 2 and 3")
    result = average(context, node, view, Window(kernel=view.shape[1:]))
    return result if keeps else result.with_index(result.index.reshape(view.shape[0]))
