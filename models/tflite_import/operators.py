"""One function for each TFLite operator that is imported."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from celosia.models import import_ops
from celosia.models.functions import Function
from celosia.models.import_ops import emit, unpadded
from celosia.models.import_values import Unsupported, View
from celosia.models.integer.grids import WeightCodes
from celosia.models.integer.steps import Ties
from celosia.models.network import MaxPool, Window
from celosia.models.tflite_import.reader import Operator
from celosia.models.tflite_import.walk import Handler, Part, State, Value, Walk, grid_of, option

HANDLERS: dict[str, Handler] = {}


def handles(*names: str) -> Callable[[Handler], Handler]:
    """Register a function for operators."""

    def register(function: Handler) -> Handler:
        for name in names:
            HANDLERS[name] = function
        return function

    return register


@handles("CONV_2D")
def convolution(walk: Walk, op: Operator) -> Value:
    """Import a convolution."""
    view, skip = _source(walk, op)
    stored = walk.weights(walk.tensor(op, 1), 0)
    if stored.values.ndim != 4 or stored.values.shape[3] != view.shape[0]:
        raise Unsupported("its weights do not fit its input's channels", "use one group")
    weights = _late(stored.map(lambda values: values.transpose(0, 3, 1, 2)), skip)
    fields = [option(op, at, "<b" if at == 0 else "<i", int(at > 0)) for at in (0, 1, 2, 4, 5)]
    bias = walk.bias(op, walk.tensor(op, 0), stored, len(weights.values))
    made = _convolve(walk, op, view, weights, bias, fields, 1)
    return walk.made(made, op, option(op, 3, "<b"))


@handles("DEPTHWISE_CONV_2D")
def depthwise(walk: Walk, op: Operator) -> Value:
    """Import a depthwise convolution; one of some channels of a stream waits for the others."""
    part = walk.value(op)
    if isinstance(part, Part) and part.channels != (0, part.view.shape[0]):
        return replace(part, operator=op)
    view, skip = _source(walk, op)
    weights, bias = _depthwise(walk, op, skip)
    if len(weights.values) % view.shape[0]:
        raise Unsupported("its weights do not fit its input's channels", "convert it again")
    made = _convolve(walk, op, view, weights, bias, _fields(op), view.shape[0])
    return walk.made(made, op, option(op, 4, "<b"))


def _fields(op: Operator) -> list[int]:
    """Return padding, strides and dilations (x, y) of a depthwise convolution."""
    return [option(op, at, "<b" if at == 0 else "<i", int(at > 0)) for at in (0, 1, 2, 5, 6)]


def _depthwise(walk: Walk, op: Operator, skip: int) -> tuple[WeightCodes, np.ndarray]:
    stored = walk.weights(walk.tensor(op, 1), 3)
    if stored.values.ndim != 4 or stored.values.shape[0] != 1:
        raise Unsupported("its weights have another shape", "convert it again")
    weights = stored.map(lambda values: values.transpose(3, 0, 1, 2))
    bias = walk.bias(op, walk.tensor(op, 0), weights, len(weights.values))
    return _late(weights, skip), bias


def _source(walk: Walk, op: Operator) -> tuple[View, int]:
    """Return the image that a convolution reads, and how many frames of a window it skips."""
    part = walk.value(op)
    if not isinstance(part, Part):
        return walk.image(op), 0
    if part.operator is not None or part.channels != (0, part.view.shape[0]):
        raise Unsupported("it reads some channels of a stream", "read all of them")
    return View.of(part.view.name, part.view.shape), part.skip


def _late(weights: WeightCodes, skip: int) -> WeightCodes:
    """Return weights with ``skip`` rows of zeros above."""
    rows = ((0, 0), (0, 0), (skip, 0), (0, 0))
    return replace(
        weights, values=np.pad(weights.values, rows), scale=np.pad(weights.scale, rows, "edge")
    )


def _convolve(
    walk: Walk,
    op: Operator,
    view: View,
    weights: WeightCodes,
    bias: np.ndarray,
    fields: list[int],
    groups: int,
) -> View:
    kernel = weights.values.shape[2], weights.values.shape[3]
    window = walk.window(op, view, kernel, fields)
    call = walk.call(
        op,
        (),
        operator="conv2d",
        input=replace(view, pad=window.padding),
        weight=torch.zeros(0),
        bias=None,
        stride=list(window.stride),
        padding=[0, 0],
        dilation=list(window.dilation),
        groups=groups,
    )
    return walk.quantised.weigh(call, import_ops.convolution, weights, bias)


@handles("FULLY_CONNECTED")
def dense(walk: Walk, op: Operator) -> Value:
    """Import a product with a matrix of weights."""
    view = walk.view(op)
    weights = walk.weights(walk.tensor(op, 1), 0)
    rows = len(weights.values)
    call = walk.call(
        op,
        (rows,),
        operator="linear",
        input=view.with_index(view.index.reshape(-1)),
        weight=torch.zeros(0),
        bias=None,
    )
    bias = walk.bias(op, walk.tensor(op, 0), weights, rows)
    made = walk.quantised.weigh(call, import_ops.linear, weights, bias)
    return walk.made(made, op, option(op, 0, "<b"))


@handles("ADD")
def add(walk: Walk, op: Operator) -> Value:
    """Import the sum of two activations."""
    left, right = walk.view(op), walk.view(op, 1)
    call = walk.call(op, (), operator="add", self=left, other=right)
    made = import_ops.add(walk.builder, call)
    assert isinstance(made, View)
    return walk.made(_upright(made), op, option(op, 0, "<b"))


def _upright(view: View) -> View:
    """Return an image's view as C H W, as operations make it."""
    order = view.index.transpose(2, 0, 1) if view.index.ndim == 3 else view.index
    return view.with_index(order)


@handles("RELU", "RELU6")
def relu(walk: Walk, op: Operator) -> Value:
    """Import a stand-alone activation."""
    return walk.made(_upright(walk.view(op)), op, 1 if op.name == "RELU" else 3)


@handles("AVERAGE_POOL_2D", "MEAN")
def average(walk: Walk, op: Operator) -> Value:
    """Import the mean over a window, or over height and width."""
    view = walk.image(op)
    if op.name == "MEAN":
        axes = walk.tensor(op, 1).values
        if axes is None or {int(axis) % 4 for axis in axes.ravel()} != {1, 2}:
            raise Unsupported("it averages over other axes", "average over height and width")
        window, activation = Window(kernel=view.shape[1:]), 0
    else:
        window, activation = _pooled(walk, op, view), option(op, 5, "<b")
        if any(window.padding):
            raise Unsupported("windows at the border average fewer elements", "use no padding")
    channels = view.shape[0]
    weight = np.full((channels, 1, *window.kernel), 1 / math.prod(window.kernel))
    made = emit(walk.builder, walk.call(op, ()), view, window, channels, weight, None, useful=False)
    if op.name == "MEAN" and len(walk.model.tensors[op.outputs[0]].shape) == 2:
        made = made.with_index(made.index.reshape(-1))
    return walk.made(made, op, activation, Ties.HALF_EVEN if op.name == "MEAN" else Ties.HALF_UP)


def _pooled(walk: Walk, op: Operator, view: View) -> Window:
    kernel = option(op, 4, "<i"), option(op, 3, "<i")
    fields = [option(op, 0, "<b"), option(op, 1, "<i", 1), option(op, 2, "<i", 1), 1, 1]
    return walk.window(op, view, kernel, fields)


@handles("MAX_POOL_2D")
def max_pool(walk: Walk, op: Operator) -> Value:
    """Import max pooling."""
    view = walk.image(op)
    window, call = _pooled(walk, op, view), walk.call(op, ())
    walk.builder.ops.append(
        MaxPool(
            name=walk.builder.name(call.where), input=view.name, output=call.name, window=window
        )
    )
    walk.quantised.keep((view.name,), call.name)
    made = View.of(call.name, (view.shape[0], *window.output_size(*view.shape[1:])))
    return walk.made(made, op, option(op, 5, "<b"))


@handles("PAD")
def pad(walk: Walk, op: Operator) -> Value:
    """Import padding with the real 0, taken in by the next convolution."""
    view, sides = walk.view(op), walk.tensor(op, 1).values
    if sides is None or sides.shape != (4, 2) or sides[[0, 3]].any() or sides.min() < 0:
        raise Unsupported("it pads other axes", "pad height and width")
    walk.image(op)
    (top, bottom), (left, right) = sides[1:3].tolist()
    return replace(view, pad=(top, left, bottom, right))


@handles("RESHAPE")
def reshape(walk: Walk, op: Operator) -> Value:
    """Import another shape of the same values."""
    value = walk.value(op)
    if isinstance(value, Part) and value.skip == 0 and value.frames == value.view.shape[1]:
        value = value.view
    if not isinstance(value, View) or any(value.pad):
        raise Unsupported("it reads part of a stream, or padding", "reshape whole activations")
    shape = list(walk.model.tensors[op.outputs[0]].shape[1:])
    if walk.streams and math.prod(shape) != value.index.size:
        shape[0] = -1  # frames, of which a whole window is there
    return value.with_index(value.index.reshape(shape))


@handles("QUANTIZE", "DEQUANTIZE")
def requantise(walk: Walk, op: Operator) -> Value:
    """Import a change of codes; at the end, real values of codes are left codes."""
    value = walk.value(op)
    if op.name == "DEQUANTIZE" or (isinstance(value, View) and value.final):
        return value
    view, target = walk.view(op), walk.model.tensors[op.outputs[0]]
    if view.name in walk.quantised.inputs and view.name not in walk.quantised.grids:
        walk.quantised.grids[view.name] = grid_of(target)
        return view
    return walk.made(_upright(view), op, 0)


_FUNCTIONS = {
    "LOGISTIC": Function.SIGMOID,
    "TANH": Function.TANH,
    "HARD_SWISH": Function.HARD_SWISH,
    "ELU": Function.ELU,
    "GELU": Function.GELU,
}


@handles("TANH", "HARD_SWISH", "ELU", "GELU")
def function(walk: Walk, op: Operator) -> Value:
    """Import a function of each value: a table of codes, rounded once."""
    return _curve(walk, op)


def _curve(walk: Walk, op: Operator) -> View:
    view, known = _upright(walk.view(op)), _FUNCTIONS[op.name]
    if known is Function.GELU and option(op, 0, "<b"):
        known = Function.GELU_TANH
    if known is Function.HARD_SWISH:
        walk.builder.notes.append(
            f"{op.name}: rounded once here, several times to 16 bits by TensorFlow Lite, which may "
            "give the code next to it"
        )
    call = walk.call(op, ())
    return walk.made(
        walk.builder.pointwise(unpadded(view), call.where, call.name, function=known), op, 0
    )


@handles("MUL")
def multiply(walk: Walk, op: Operator) -> Value:
    """Import the product of two functions of the same codes, such as x and its sigmoid."""
    left, right = _upright(walk.view(op)), _upright(walk.view(op, 1))
    call = walk.call(op, (), operator="mul", self=left, other=right)
    return walk.made(import_ops.multiply(walk.builder, call), op, option(op, 0, "<b"))


@handles("LOGISTIC", "SOFTMAX")
def ending(walk: Walk, op: Operator) -> Value:
    """Leave out what only changes the scale of the outputs, at the very end."""
    if op.name == "LOGISTIC" and not _ends(walk, op.outputs[0]):
        return _curve(walk, op)
    walk.builder.notes.append(
        f"{op.name} left out: the output is what goes into it, whose order is the same"
    )
    return replace(walk.view(op), final=True)


def _ends(walk: Walk, number: int) -> bool:
    """Whether nothing but changes of codes comes between a tensor and the model's output."""
    users = [op for op in walk.model.operators if number in op.inputs]
    return all(op.name in ("QUANTIZE", "DEQUANTIZE") and _ends(walk, op.outputs[0]) for op in users)


@handles("VAR_HANDLE")
def handle(_: Walk, op: Operator) -> Value:
    """Import the name of a variable."""
    return State(variable=op.outputs[0], frames=0)


@handles("READ_VARIABLE")
def read(walk: Walk, op: Operator) -> Value:
    """Import the frames that a variable keeps."""
    shape = walk.model.tensors[op.outputs[0]].shape
    if len(shape) != 4:
        raise Unsupported(f"it keeps values of shape {shape}", "keep frames N H W C")
    return State(variable=op.inputs[0], frames=shape[1])


@handles("CONCATENATION")
def concatenation(walk: Walk, op: Operator) -> Value:
    """Import frames kept and new ones, channels of a stream, or channels of images."""
    values = [walk.values.get(number) for number in op.inputs]
    rank = len(walk.model.tensors[op.outputs[0]].shape)
    axis = option(op, 0, "<i") % rank
    if len(values) == 2 and isinstance(values[0], State) and isinstance(values[1], View):
        view, target = values[1], walk.model.tensors[op.outputs[0]]
        if axis != 1 or walk.quantised.grids.get(view.name) != grid_of(target):
            raise Unsupported("it puts frames together otherwise", "keep frames of one scale")
        frames = target.shape[1]
        return Part(
            view=view,
            channels=(0, view.shape[0]),
            frames=frames,
            new=frames - values[0].frames,
            variable=values[0].variable,
        )
    if all(isinstance(value, Part) for value in values):
        return _joined(walk, op, [value for value in values if isinstance(value, Part)])
    views = [walk.view(op, position) for position in range(len(values))]
    if axis != rank - 1 or rank != 4:
        raise Unsupported(f"it joins along axis {axis} of {rank}", "join channels of images")
    call = walk.call(op, (), tensors=[_upright(view) for view in views], dim=1)
    made = import_ops.cat(walk.builder, call)
    walk.quantised.keep(tuple(view.name for view in views), made.name)
    return walk.made(made, op, option(op, 1, "<b"))


def _joined(walk: Walk, op: Operator, parts: list[Part]) -> Value:
    """Return one depthwise convolution of all channels of a stream, of kernels of any length."""
    view, reached = parts[0].view, 0
    target = grid_of(walk.model.tensors[op.outputs[0]])
    weights, biases = [], []
    for part in parts:
        first, stop = part.channels
        inner = part.operator
        if inner is None or part.view.name != view.name or first != reached:
            raise Unsupported("it joins parts of a stream", "join convolutions of all channels")
        same = grid_of(walk.model.tensors[inner.outputs[0]]) == target
        if not same or option(inner, 4, "<b") or _fields(inner) != [1, 1, 1, 1, 1]:
            raise Unsupported("it joins convolutions that differ", "give them one scale")
        some, bias = _depthwise(walk, inner, part.skip)
        if len(some.values) != stop - first:
            raise Unsupported("it multiplies channels of a stream", "keep their number")
        weights.append(some)
        biases.append(bias)
        reached = stop
    if reached != view.shape[0] or len({some.values.shape[2:] for some in weights}) > 1:
        raise Unsupported("it joins some channels of a stream", "join all, to the last frame")
    whole = WeightCodes(
        values=np.concatenate([some.values for some in weights]),
        scale=np.concatenate([some.scale for some in weights]),
        bits=8,
    )
    image = View.of(view.name, view.shape)
    made = _convolve(walk, op, image, whole, np.concatenate(biases), [1, 1, 1, 1, 1], view.shape[0])
    return walk.made(made, op, option(op, 1, "<b"))


@handles("SPLIT_V")
def split(walk: Walk, op: Operator) -> list[Value]:
    """Import parts of a stream by channels."""
    part, sizes, axis = walk.value(op), walk.tensor(op, 1).values, walk.tensor(op, 2).values
    if not isinstance(part, Part) or sizes is None or axis is None or int(axis.ravel()[0]) % 4 != 3:
        raise Unsupported("it splits something other than a stream", "split with convolutions")
    ends = np.cumsum([0, *sizes.ravel().tolist()]).tolist()
    if ends[-1] != part.view.shape[0] or len(ends) != len(op.outputs) + 1 or min(sizes.ravel()) < 1:
        raise Unsupported("its parts are not all channels", "give their numbers")
    return [replace(part, channels=(first, stop)) for first, stop in itertools.pairwise(ends)]


@handles("STRIDED_SLICE")
def strided_slice(walk: Walk, op: Operator) -> Value:
    """Import the last frames of each window of a stream."""
    part = walk.value(op)
    given = [walk.tensor(op, position).values for position in (1, 2, 3)]
    if not isinstance(part, Part) or any(values is None or values.size != 4 for values in given):
        raise Unsupported("it takes parts of an activation", "take the last frames of a stream")
    begin, end, step = (np.asarray(values).ravel() for values in given)
    source, target = (walk.model.tensors[at].shape for at in (op.inputs[0], op.outputs[0]))
    first = 0 if option(op, 0, "<i") & 2 else int(begin[1])
    first = first + source[1] if first < 0 else first
    whole = target[1] == source[1] - first and (target[0], *target[2:]) == (source[0], *source[2:])
    if not whole or (step != 1).any() or not 0 <= first < source[1]:
        raise Unsupported("it takes other parts than the last frames", "take the last frames")
    del end
    return replace(part, skip=part.skip + first)
