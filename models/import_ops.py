"""One function for each torch operator that can be imported.

A function gets the builder and a :class:`Call`, adds operations, and returns the
:class:`View` (or constant) that the operator's result is. It raises
:class:`Unsupported` where the operator's arguments cannot be had.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch

from celosia.models.curves import combined
from celosia.models.graph import FloatConv
from celosia.models.import_values import Builder, Unsupported, View, array
from celosia.models.network import Concat, Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One node: its arguments by name (defaults filled in) and its result's shape."""

    args: dict[str, Any]
    shape: tuple[int, ...]
    """Shape of the result without its batch axis."""
    name: str
    """Name of the result."""
    where: str
    """Name for the operation: the module's path, or the node's name."""


Handler = Callable[[Builder, Call], "View | torch.Tensor | tuple[View, ...]"]
HANDLERS: dict[str, Handler] = {}


_Kept = TypeVar("_Kept", bound=Handler)


def handles(*names: str) -> Callable[[_Kept], _Kept]:
    """Register a function for the operators called ``names``, without their overload."""

    def register(function: _Kept) -> _Kept:
        for name in names:
            HANDLERS[name] = function
        return function

    return register


def pair(value: int | Sequence[int]) -> tuple[int, int]:
    """Return a torch size argument as (vertical, horizontal)."""
    values = (value,) if isinstance(value, int) else tuple(int(item) for item in value)
    return (values[0], values[0]) if len(values) == 1 else (values[0], values[1])


def image(call: Call, argument: str = "input") -> View:
    """Return an argument that must be a whole image."""
    view = call.args[argument]
    if not isinstance(view, View):
        raise Unsupported("its input is a constant", "compute it when the model is made")
    if not view.image:
        raise Unsupported(
            f"it reads values rearranged to shape {view.index.shape}",
            "rearrange (flatten, permute, reshape) only before a Linear layer",
        )
    return view


def unpadded(view: View) -> View:
    """Return ``view``, which must have no pending padding."""
    if any(view.pad):
        raise Unsupported(
            "zero padding before it cannot be merged", "pad only before a convolution"
        )
    return view


def constant(call: Call, argument: str) -> np.ndarray | None:
    """Return a constant argument as float64, or None where it is absent."""
    value = call.args.get(argument)
    if value is None:
        return None
    if not isinstance(value, torch.Tensor):
        raise Unsupported(f"its {argument} is computed", f"make {argument} a parameter")
    return array(value)


@handles("conv2d")
def convolution(builder: Builder, call: Call) -> View:
    """Import a convolution: any kernel, stride, padding, dilation and grouping."""
    source = image(call)
    weight, bias = constant(call, "weight"), constant(call, "bias")
    if weight is None or weight.ndim != 4:
        raise Unsupported("it is not a 2-d convolution", "use Conv2d")
    kernel = (weight.shape[2], weight.shape[3])
    dilation = pair(call.args["dilation"])
    padding = call.args["padding"]
    if padding == "same":
        totals = [d * (k - 1) for k, d in zip(kernel, dilation, strict=True)]
        top, left = totals[0] // 2, totals[1] // 2
        sides = (top, left, totals[0] - top, totals[1] - left)
    else:
        vertical, horizontal = (0, 0) if padding == "valid" else pair(padding)
        sides = (vertical, horizontal, vertical, horizontal)
    top, left, bottom, right = (a + b for a, b in zip(sides, source.pad, strict=True))
    window = Window(
        kernel=kernel,
        stride=pair(call.args["stride"]),
        dilation=dilation,
        padding=(top, left, bottom, right),
    )
    return emit(builder, call, source, window, int(call.args["groups"]), weight, bias)


def emit(
    builder: Builder,
    call: Call,
    source: View,
    window: Window,
    groups: int,
    weight: np.ndarray,
    bias: np.ndarray | None,
    *,
    useful: bool = True,
    flat: bool = False,
) -> View:
    """Add a convolution and return the view of its result, ``flat`` as a vector."""
    builder.ops.append(
        FloatConv(
            name=builder.name(call.where),
            input=source.name,
            output=call.name,
            window=window,
            groups=groups,
            weight=weight,
            bias=np.zeros(len(weight)) if bias is None else bias,
            useful=useful,
        )
    )
    height, width = window.output_size(*source.shape[1:])
    return View.of(call.name, (len(weight), height, width), 1 if flat else 3)


@handles("linear", "addmm")
def linear(builder: Builder, call: Call) -> View:
    """Import a linear layer as a convolution over its whole input, weights reordered."""
    source = call.args.get("mat1", call.args.get("input"))
    weight = constant(call, "mat2" if "mat2" in call.args else "weight")
    bias = constant(call, "self" if "mat2" in call.args else "bias")
    if not isinstance(source, View) or weight is None or weight.ndim != 2:
        raise Unsupported("it does not multiply an activation by a matrix", "use nn.Linear")
    if "mat2" in call.args:
        weight = weight.T
        if call.args.get("alpha", 1) != 1 or call.args.get("beta", 1) != 1:
            raise Unsupported("it scales its operands", "use nn.Linear")
    unpadded(source)
    if source.index.size != weight.shape[1]:
        raise Unsupported(
            f"it is applied along the last axis of {source.index.shape}",
            "flatten before it, or use a 1x1 Conv2d",
        )
    spread = np.zeros((len(weight), math.prod(source.shape)))
    spread[:, source.index.ravel()] = weight
    view = emit(
        builder,
        call,
        source,
        Window(kernel=source.shape[1:]),
        1,
        spread.reshape(len(weight), *source.shape),
        None if bias is None else np.broadcast_to(bias, (len(weight),)).copy(),
        flat=True,
    )
    return view.with_index(view.index.reshape(call.shape))


@handles("batch_norm", "_native_batch_norm_legit_no_training")
def batch_norm(builder: Builder, call: Call) -> View | tuple[View, ...]:
    """Import a batch normalisation as a scale and a shift of each channel."""
    source = call.args["input"]
    if call.args.get("training"):
        raise Unsupported("it is in training mode", "call model.eval() before exporting")
    mean, variance = constant(call, "running_mean"), constant(call, "running_var")
    if not isinstance(source, View) or mean is None or variance is None:
        raise Unsupported("it has no running statistics", "use track_running_stats=True")
    weight, bias = constant(call, "weight"), constant(call, "bias")
    scale = 1 / np.sqrt(variance + float(call.args["eps"]))
    scale = scale if weight is None else scale * weight
    shift = (0 if bias is None else bias) - mean * scale
    unpadded(source)
    view = builder.pointwise(
        source,
        call.where,
        call.name,
        weight=source.by_channel(scale),
        bias=source.by_channel(shift),
    )
    return view if call.args.get("training") is not None else (view, view, view)


@handles("relu", "relu6", "hardtanh", "clamp", "clamp_min", "clamp_max")
def clip(builder: Builder, call: Call) -> View:
    """Import an activation that limits: ReLU, ReLU6, Hardtanh, clamp."""
    source = unpadded(_activation(call))
    operator = call.args["operator"]
    low = call.args.get("min_val", call.args.get("min"))
    high = call.args.get("max_val", call.args.get("max"))
    if operator in ("relu", "relu6"):
        low, high = 0.0, 6.0 if operator == "relu6" else math.inf
    low = -math.inf if low is None else low
    high = math.inf if high is None else high
    if isinstance(low, View | torch.Tensor) or isinstance(high, View | torch.Tensor):
        raise Unsupported("its limits are tensors", "give numbers as limits")
    if not float(low) <= float(high):
        raise Unsupported(f"its limits {low} and {high} cross", "give min below max")
    return builder.pointwise(source, call.where, call.name, low=float(low), high=float(high))


@handles("hardsigmoid")
def hard_sigmoid(builder: Builder, call: Call) -> View:
    """Import a sigmoid made of straight lines: ``clip(x / 6 + 1/2, 0, 1)``."""
    source = unpadded(_activation(call))
    channels = source.shape[0]
    return builder.pointwise(
        source,
        call.where,
        call.name,
        weight=np.full(channels, 1 / 6),
        bias=np.full(channels, 0.5),
        low=0.0,
        high=1.0,
    )


@handles("prelu", "_prelu_kernel", "leaky_relu")
def slope(builder: Builder, call: Call) -> View:
    """Import PReLU (one slope, or one for each channel) and LeakyReLU."""
    source = unpadded(_activation(call, "self"))
    if call.args["operator"] == "leaky_relu":
        values = np.array([float(call.args["negative_slope"])])
    else:
        given = constant(call, "weight")
        assert given is not None
        values = given
    return builder.pointwise(source, call.where, call.name, slope=source.by_channel(values))


def _activation(call: Call, argument: str = "self") -> View:
    view = call.args.get(argument, call.args.get("input"))
    if not isinstance(view, View):
        raise Unsupported("its input is a constant", "compute it when the model is made")
    return view


@handles("add", "sub", "rsub")
def add(builder: Builder, call: Call) -> View:
    """Import the sum or difference of two activations, or of an activation and a constant."""
    left, right = call.args["self"], call.args["other"]
    if call.args["operator"] == "rsub":
        left, right = right, left
    sign = 1.0 if call.args["operator"] == "add" else -1.0
    if call.args.get("alpha", 1) != 1:
        raise Unsupported("it scales an operand (alpha)", "scale with a convolution instead")
    if isinstance(left, View) and isinstance(right, View):
        unpadded(left)
        unpadded(right)
        if left.shape != right.shape or not np.array_equal(left.index, right.index):
            raise Unsupported(
                f"its operands have shapes {left.index.shape} and {right.index.shape} or differ in "
                "order",
                "add tensors of one shape: broadcasting is not supported",
            )
        if sign < 0:
            minus = np.full(right.shape[0], sign)
            return builder.pointwise(right, call.where, call.name, weight=minus, residual=left.name)
        return builder.pointwise(left, call.where, call.name, residual=right.name)
    if isinstance(left, View):
        shift = sign * per_channel(left, right)
        return builder.pointwise(left, call.where, call.name, bias=shift)
    assert isinstance(right, View)
    scale = np.full(right.shape[0], sign)
    shift = per_channel(right, left)
    return builder.pointwise(right, call.where, call.name, weight=scale, bias=shift)


@handles("mul", "div")
def multiply(builder: Builder, call: Call) -> View:
    """Import the product of an activation and a constant, or of two curves of one activation."""
    left, right = call.args["self"], call.args["other"]
    divides = call.args["operator"] == "div"
    if isinstance(right, View) and isinstance(left, View) and not divides:
        pair_of = unpadded(left), unpadded(right)
        made = combined(builder, *pair_of, name=call.where, output=call.name)
        if made is not None:
            return made
    if isinstance(right, View) and (isinstance(left, View) or divides):
        raise Unsupported(
            "it multiplies or divides two activations",
            "only constants can scale an activation; remove gates (SE, attention)",
        )
    view, factor = (left, right) if isinstance(left, View) else (right, left)
    scale = per_channel(view, factor)
    if divides and not scale.all():
        raise Unsupported("it divides by zero", "divide by numbers other than 0")
    return builder.pointwise(view, call.where, call.name, weight=1 / scale if divides else scale)


def per_channel(view: View, value: Any) -> np.ndarray:
    """Return a constant operand of an element-wise operator for each channel of ``view``."""
    unpadded(view)
    if isinstance(value, int | float):
        return np.full(view.shape[0], float(value))
    if not isinstance(value, torch.Tensor):
        raise Unsupported("its operand is computed", "use a number or a parameter")
    values = array(value)
    while values.ndim > view.index.ndim and values.shape[0] == 1:
        values = values[0]
    try:
        return view.spread_by_channel(np.broadcast_to(values, view.index.shape))
    except ValueError:
        raise Unsupported(
            f"its constant of shape {values.shape} does not fit {view.index.shape}",
            "give one value, or one for each channel",
        ) from None


@handles("cat", "concat", "concatenate")
def cat(builder: Builder, call: Call) -> View:
    """Import a concatenation along the channels."""
    views = call.args["tensors"]
    if not all(isinstance(view, View) for view in views):
        raise Unsupported("it joins constants", "join activations only")
    rank = views[0].index.ndim + 1
    axis = int(call.args["dim"]) % rank
    if axis != 1 or len({view.shape[1:] for view in views}) > 1:
        raise Unsupported(
            f"it joins along axis {axis}, or parts of different height and width",
            "join along the channel axis (1)",
        )
    offsets = np.cumsum([0] + [math.prod(unpadded(view).shape) for view in views[:-1]])
    index = np.concatenate(
        [view.index + offset for view, offset in zip(views, offsets, strict=True)], axis=0
    )
    names = []
    for view in views:
        name = view.name
        if name in names:
            name = builder.pointwise(
                view, f"{call.where}_copy", builder.name(f"{call.name}_copy")
            ).name
        names.append(name)
    builder.ops.append(Concat(name=builder.name(call.where), inputs=tuple(names), output=call.name))
    shape = (sum(view.shape[0] for view in views), *views[0].shape[1:])
    return View(name=call.name, shape=shape, index=index)


@handles("pad", "constant_pad_nd")
def pad(builder: Builder, call: Call) -> View:
    """Import zero padding of height and width, taken in by the next convolution."""
    source = image(call, "self")
    sides = [int(side) for side in call.args["pad"]]
    sides += [0] * (4 - len(sides))
    mode, value = call.args.get("mode", "constant"), call.args.get("value") or 0
    if mode != "constant" or value != 0 or len(sides) > 4 or min(sides) < 0:
        raise Unsupported(
            f"it pads with mode {mode!r}, value {value}, {sides}",
            "pad height and width with zeros, or use the padding of the convolution",
        )
    left, right, top, bottom = sides
    extra = (top, left, bottom, right)
    total = tuple(a + b for a, b in zip(source.pad, extra, strict=True))
    return View(
        name=source.name,
        shape=source.shape,
        index=source.index,
        pad=(total[0], total[1], total[2], total[3]),
    )
