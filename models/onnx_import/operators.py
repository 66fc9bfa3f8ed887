"""One function for each ONNX operator that takes real activations.

Most ONNX operators are torch's under other names, so they are handed to the functions of
:mod:`celosia.models.import_ops`; here attributes and inputs of all operator sets become arguments.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

import numpy as np
import torch

from celosia.models import import_ops
from celosia.models.functions import Function
from celosia.models.import_ops import Call, unpadded
from celosia.models.import_values import Builder, Unsupported, View
from celosia.models.integer.grids import Quantised
from celosia.models.onnx_import.reader import STANDARD, Model, Node
from celosia.models.onnx_import.values import Coded, Known, Value, axes_of, numbers, reshaped
from celosia.models.onnx_import.windows import MAX_PADDING, window_of

MAX_VALUES = 1 << 25
"""Elements of the largest activation."""


@dataclass(slots=True, kw_only=True)
class Context:
    """What operators share: the file, the graph so far, its inputs and the size of the batch."""

    model: Model
    builder: Builder
    quantised: Quantised
    batch: int = 1
    raw: set[str] = field(default_factory=set)

    def is_raw(self, view: View) -> bool:
        """Whether ``view`` is an input of the model before any quantiser."""
        return view.name in self.raw and not view.coded


Args = tuple[Value | None, ...]
Handler = Callable[[Context, Node, Args], Value]
HANDLERS: dict[tuple[str, str], Handler] = {}


_Kept = TypeVar("_Kept", bound=Handler)


def handles(*operators: str, domain: str = STANDARD) -> Callable[[_Kept], _Kept]:
    """Register a function for operators of a domain."""

    def register(function: _Kept) -> _Kept:
        for operator in operators:
            HANDLERS[domain, operator] = function
        return function

    return register


def activation(value: Value | None) -> View:
    """Return an operand that must be a real activation."""
    if isinstance(value, Coded):
        raise Unsupported(
            "it computes with codes", "put DequantizeLinear before it, as QDQ models have"
        )
    if not isinstance(value, View):
        raise Unsupported("its input is a constant", "compute it when the model is made")
    return value


def constant(value: Value | None, what: str) -> Known:
    """Return an operand that must be a constant."""
    if not isinstance(value, Known):
        raise Unsupported(f"its {what} is computed", f"make its {what} an initializer")
    return value


def optional(args: Args, position: int) -> Value | None:
    """Return an operand, None where it is left out."""
    return args[position] if position < len(args) else None


def tensor(value: Known) -> torch.Tensor:
    """Return a constant as torch's, float64."""
    return torch.from_numpy(np.ascontiguousarray(value.real))


def call_of(context: Context, node: Node, shape: tuple[int, ...], **args: Any) -> Call:
    """Return the call of a function of :mod:`celosia.models.import_ops`."""
    stem = node.outputs[0] or node.where
    return Call(args=args, shape=shape, name=context.builder.name(stem), where=node.where)


def check_size(channels: int, size: tuple[int, int]) -> None:
    """Refuse an activation that is larger than any network's."""
    if min(size) < 1 or channels * size[0] * size[1] > MAX_VALUES:
        raise Unsupported(
            f"its output would be {channels} x {size[0]} x {size[1]}",
            "look at its kernel, strides and padding",
        )


@handles("Conv")
def convolution(context: Context, node: Node, args: Args) -> View:
    """Import a convolution, weights real or in codes."""
    view, weight = activation(args[0]), constant(args[1], "weight")
    given = optional(args, 2)
    bias = None if given is None else constant(given, "bias").real.reshape(-1)
    if weight.values.ndim != 4:
        raise Unsupported(f"its weights have shape {weight.values.shape}", "use 2-d convolutions")
    view = whole_image(view)
    rows, per_group, *kernel = weight.values.shape
    groups = int(node.attributes.get("group", 1))
    if groups < 1 or rows % groups or per_group * groups != view.shape[0]:
        raise Unsupported(
            f"its weights {weight.values.shape} in {groups} groups do not fit "
            f"{view.shape[0]} channels",
            "look at its group attribute",
        )
    if list(node.attributes.get("kernel_shape", kernel)) != kernel:
        raise Unsupported("its kernel_shape is not that of its weights", "export it again")
    if bias is not None and len(bias) != rows:
        raise Unsupported(
            f"its bias has {len(bias)} entries for {rows} channels", "export it again"
        )
    window, sides = window_of(node, view, (kernel[0], kernel[1]))
    check_size(rows, window.output_size(*view.shape[1:]))
    call = call_of(
        context,
        node,
        (),
        operator="conv2d",
        input=replace(view, pad=sides),
        weight=tensor(weight),
        bias=None if bias is None else torch.from_numpy(bias),
        stride=list(window.stride),
        padding=[0, 0],
        dilation=list(window.dilation),
        groups=groups,
    )
    if weight.codes is not None:
        return context.quantised.weigh(call, import_ops.convolution, weight.codes, bias)
    return import_ops.convolution(context.builder, call)


def whole_image(view: View) -> View:
    """Return ``view``, which must be an image as it is."""
    if not view.image:
        raise Unsupported(
            f"it reads values rearranged to shape {view.index.shape}",
            "rearrange (Reshape, Transpose) only before Gemm or MatMul",
        )
    return view


@handles("Gemm")
def gemm(context: Context, node: Node, args: Args) -> View:
    """Import a product with a matrix of weights, and its bias."""
    view, matrix = activation(args[0]), constant(args[1], "matrix")
    given = optional(args, 2)
    if node.attributes.get("transA", 0):
        raise Unsupported("it transposes its activations", "use transA = 0")
    turned = not node.attributes.get("transB", 0)
    alpha, beta = (float(node.attributes.get(name, 1.0)) for name in ("alpha", "beta"))
    bias = None
    if given is not None:
        bias = constant(given, "bias").real.reshape(-1) * beta
    return _linear(context, node, view, matrix, turned=turned, alpha=alpha, bias=bias)


@handles("MatMul")
def matmul(context: Context, node: Node, args: Args) -> View:
    """Import a product with a matrix of weights."""
    if isinstance(args[0], View) and isinstance(args[1], View):
        raise Unsupported(
            "it multiplies two activations", "only products with constant weights can be had"
        )
    matrix = constant(args[1], "matrix")
    return _linear(context, node, activation(args[0]), matrix, turned=True, alpha=1.0, bias=None)


def _linear(
    context: Context,
    node: Node,
    view: View,
    matrix: Known,
    *,
    turned: bool,
    alpha: float,
    bias: np.ndarray | None,
) -> View:
    if matrix.values.ndim != 2:
        raise Unsupported(f"its matrix has shape {matrix.values.shape}", "use a 2-d matrix")
    codes = matrix.codes
    if codes is not None:
        codes = codes.map(np.transpose) if turned else codes
        codes = replace(codes, scale=codes.scale * alpha)
    real = (matrix.real.T if turned else matrix.real) * alpha
    rows = len(real)
    if bias is not None:
        if len(bias) not in (1, rows):
            raise Unsupported(f"its bias has {len(bias)} entries for {rows} rows", "export again")
        bias = np.broadcast_to(bias, (rows,)).copy()
    call = call_of(
        context,
        node,
        (*view.index.shape[:-1], rows),
        operator="linear",
        input=view,
        weight=torch.from_numpy(np.ascontiguousarray(real)),
        bias=None if bias is None else torch.from_numpy(bias),
    )
    if codes is not None:
        return context.quantised.weigh(call, import_ops.linear, codes, bias)
    return import_ops.linear(context.builder, call)


@handles("BatchNormalization")
def batch_norm(context: Context, node: Node, args: Args) -> View:
    """Import a batch normalisation with the statistics of training."""
    view = activation(args[0])
    if node.attributes.get("training_mode", 0) or len([n for n in node.outputs if n]) > 1:
        raise Unsupported("it is in training mode", "call model.eval() before exporting")
    if not node.attributes.get("spatial", 1):
        raise Unsupported("it normalises each pixel apart (spatial = 0)", "use spatial = 1")
    names = ("weight", "bias", "running_mean", "running_var")
    parts = {
        name: tensor(constant(optional(args, index + 1), name)) for index, name in enumerate(names)
    }
    call = call_of(
        context, node, (), operator="batch_norm", input=view, training=False,
        eps=float(node.attributes.get("epsilon", 1e-5)), **parts,
    )  # fmt: skip
    result = import_ops.batch_norm(context.builder, call)
    assert isinstance(result, View)
    return result


@handles("Relu", "Clip")
def clip(context: Context, node: Node, args: Args) -> View:
    """Import an activation that limits."""
    view = activation(args[0])
    low, high = 0.0, math.inf
    if node.operator == "Clip":
        low = _limit(node, optional(args, 1), "min", -math.inf)
        high = _limit(node, optional(args, 2), "max", math.inf)
    call = call_of(context, node, (), operator="clamp", self=view, min=low, max=high)
    return import_ops.clip(context.builder, call)


def _limit(node: Node, given: Value | None, name: str, default: float) -> float:
    if given is None:
        return float(node.attributes.get(name, default))
    values = constant(given, name).real
    if values.size != 1:
        raise Unsupported(f"its {name} has {values.size} values", "give one number")
    return float(values.ravel()[0])


@handles("LeakyRelu", "PRelu")
def slope(context: Context, node: Node, args: Args) -> View:
    """Import LeakyRelu, and PRelu with a slope for each channel or one for all."""
    view = unpadded(activation(args[0]))
    if node.operator == "LeakyRelu":
        values = np.full(view.shape[0], float(node.attributes.get("alpha", 0.01)))
    else:
        values = import_ops.per_channel(view, tensor(constant(args[1], "slope")))
    call = call_of(context, node, ())
    return context.builder.pointwise(view, call.where, call.name, slope=values)


@handles("Add", "Sub", "Mul", "Div")
def arithmetic(context: Context, node: Node, args: Args) -> View:
    """Import a sum or product of activations and constants."""
    operands = [_operand(value) for value in args]
    operator = node.operator.lower()
    call = call_of(context, node, (), operator=operator, self=operands[0], other=operands[1])
    handler = import_ops.add if operator in ("add", "sub") else import_ops.multiply
    return handler(context.builder, call)


def _operand(value: Value | None) -> View | torch.Tensor:
    return tensor(value) if isinstance(value, Known) else activation(value)


@handles("Sum")
def total(context: Context, node: Node, args: Args) -> View:
    """Import a sum of several activations, two at a time."""
    result = activation(args[0])
    for value in args[1:]:
        call = call_of(context, node, (), operator="add", self=result, other=_operand(value))
        result = import_ops.add(context.builder, call)
    return result


@handles("Neg")
def negate(context: Context, node: Node, args: Args) -> View:
    """Import a change of sign."""
    view = unpadded(activation(args[0]))
    call = call_of(context, node, ())
    return context.builder.pointwise(view, call.where, call.name, weight=-np.ones(view.shape[0]))


@handles("Concat")
def concat(context: Context, node: Node, args: Args) -> Value:
    """Import a concatenation along the channels, of real values or of codes."""
    coded = [value for value in args if isinstance(value, Coded)]
    if coded and len(coded) < len(args):
        raise Unsupported("it joins codes with real values", "join either")
    views = [value.view for value in coded] if coded else [activation(value) for value in args]
    axis = int(node.attributes.get("axis", 1))
    call = call_of(context, node, (), tensors=views, dim=axis)
    result = import_ops.cat(context.builder, call)
    context.quantised.keep(tuple(view.name for view in views), result.name)
    if coded and result.name not in context.quantised.grids:
        raise Unsupported("it joins codes of different scales", "join real values, then quantise")
    return Coded(view=result, type=coded[0].type) if coded else result


@handles("Pad")
def pad(context: Context, node: Node, args: Args) -> View:
    """Import zero padding of height and width."""
    view = activation(args[0])
    pads = node.attributes.get("pads", node.attributes.get("paddings"))
    pads = numbers(args[1], "pads") if pads is None else pads
    axes = axes_of(node, args, 3) or list(range(4))
    if len(pads) != 2 * len(axes) or view.index.ndim != 3:
        raise Unsupported(f"its pads are {pads}", "pad images by 8 numbers")
    sides = {axis % 4: (pads[i], pads[i + len(axes)]) for i, axis in enumerate(axes)}
    value = optional(args, 2)
    amount = node.attributes.get("value", 0.0) if value is None else constant(value, "value").real
    mode = node.attributes.get("mode", "constant")
    around = [*sides.get(3, (0, 0)), *sides.get(2, (0, 0))]
    outer = any(any(sides.get(axis, (0, 0))) for axis in (0, 1))
    if outer or mode != "constant" or np.any(amount) or not 0 <= min(around) <= MAX_PADDING:
        raise Unsupported(
            f"it pads with mode {mode!r}, pads {pads}",
            "pad height and width with zeros, or use the padding of the convolution",
        )
    call = call_of(context, node, (), self=view, pad=around)
    return import_ops.pad(context.builder, call)


@handles("Reshape", "Flatten", "Squeeze", "Unsqueeze")
def reshape(context: Context, node: Node, args: Args) -> Value:
    """Import another shape of the same values; the batch axis stays."""
    view = unpadded(args[0].view if isinstance(args[0], Coded) else activation(args[0]))
    shape = reshaped(node, args, (context.batch, *view.index.shape))
    if not shape or shape[0] != context.batch:
        raise Unsupported("it moves or removes the batch axis", "keep the batch axis first")
    return _like(args[0], view.with_index(view.index.reshape(shape[1:])))


def _like(value: Value | None, view: View) -> Value:
    return Coded(view=view, type=value.type) if isinstance(value, Coded) else view


@handles("Transpose")
def transpose(_: Context, node: Node, args: Args) -> Value:
    """Import another order of axes; the batch axis stays."""
    view = unpadded(args[0].view if isinstance(args[0], Coded) else activation(args[0]))
    rank = view.index.ndim + 1
    order = node.attributes.get("perm") or list(range(rank))[::-1]
    if sorted(order) != list(range(rank)) or order[0] != 0:
        raise Unsupported(f"it orders axes as {order}", "keep the batch axis first")
    return _like(args[0], view.with_index(view.index.transpose([axis - 1 for axis in order[1:]])))


@handles("Identity", "Dropout", "Cast")
def same(context: Context, node: Node, args: Args) -> Value:
    """Import what changes nothing in inference."""
    value = args[0]
    if node.operator == "Dropout":
        training = optional(args, 2)
        if isinstance(training, Known) and training.values.any():
            raise Unsupported("it is in training mode", "call model.eval() before exporting")
    if node.operator == "Cast" and (node.attributes.get("to") not in (1, 10, 11, 16)):
        raise Unsupported("it makes integers of an activation", "keep activations real")
    if node.operator == "Cast" and isinstance(value, Coded):
        raise Unsupported("it makes real values of codes", "use DequantizeLinear")
    assert value is not None
    return value


@handles("Shape")
def shape_of(context: Context, node: Node, args: Args) -> Value:
    """Import the shape of an activation, which is a constant here."""
    view = args[0].view if isinstance(args[0], Coded) else activation(args[0])
    sizes = np.array((context.batch, *view.index.shape), np.int64)
    start, end = node.attributes.get("start", 0), node.attributes.get("end", len(sizes))
    return Known(values=sizes[start:end], type="int64")


@handles("Softmax", "LogSoftmax", "Sigmoid")
def ending(context: Context, node: Node, args: Args) -> View:
    """Leave out what only changes the scale of the outputs, at the very end."""
    view = activation(args[0])
    if node.operator == "Sigmoid" and not _ends(context.model, node.outputs[0]):
        call = call_of(context, node, ())
        view = unpadded(view)
        return context.builder.pointwise(view, call.where, call.name, function=Function.SIGMOID)
    rank = view.index.ndim + 1
    old = context.model.opset < 13
    axis = int(node.attributes.get("axis", 1 if old else -1)) % rank
    if node.operator != "Sigmoid" and axis != 1:
        raise Unsupported("it does not run over the channels", "use axis = 1")
    context.builder.notes.append(
        f"{node.operator} {node.where} left out: the output is what goes into it, whose order is "
        "the same"
    )
    return replace(view, final=True)


def _ends(model: Model, name: str) -> bool:
    """Whether nothing but copies comes between ``name`` and the outputs of ``model``."""
    users = [node for node in model.nodes if name in node.inputs]
    return all(
        node.operator in ("Identity", "Cast") and _ends(model, node.outputs[0]) for node in users
    )
