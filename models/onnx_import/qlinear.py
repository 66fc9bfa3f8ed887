"""Operators from codes to codes: QLinearConv and its like, ONNX's own and onnxruntime's.

Each is the real operator between a dequantiser and a quantiser, and imported as that.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from celosia.models.functions import Function
from celosia.models.import_ops import unpadded
from celosia.models.import_values import Unsupported, View
from celosia.models.onnx_import.operators import (
    Args,
    Context,
    arithmetic,
    call_of,
    concat,
    constant,
    convolution,
    gemm,
    handles,
    matmul,
    optional,
    slope,
)
from celosia.models.onnx_import.pools import average_pool, mean
from celosia.models.onnx_import.quantisers import (
    codes_of,
    dequantise_constant,
    dequantised,
    quantise_linear,
)
from celosia.models.onnx_import.reader import MICROSOFT, Node
from celosia.models.onnx_import.values import Known, Value


def _weights(node: Node, weight: Value | None, scale: Value | None, zero: Value | None) -> Known:
    """Return weights of a QLinear operator, whose scales are by row (axis 0) or by tensor."""
    by_row = replace(node, attributes={**node.attributes, "axis": 0})
    return dequantise_constant(by_row, (weight, scale, zero))


def _quantised(context: Context, node: Node, view: View, scale: Value, zero: Value | None) -> Value:
    plain = replace(node, attributes={})
    return quantise_linear(context, plain, (view, scale, zero))


@handles("QLinearConv")
def qlinear_convolution(context: Context, node: Node, args: Args) -> Value:
    """Import a convolution from codes to codes."""
    view = dequantised(context, codes_of(args[0]), args[1], args[2])
    weight = _weights(node, args[3], args[4], args[5])
    bias = optional(args, 8)
    if bias is not None:
        unit = constant(args[1], "scale").real * constant(args[4], "scale").real.reshape(-1)
        bias = Known(values=constant(bias, "bias").real * unit)
    made = convolution(context, _inner(node), (view, weight, bias))
    return _quantised(context, node, made, constant(args[6], "scale"), args[7])


def _inner(node: Node) -> Node:
    """Return the node as that of the real operator inside it."""
    return replace(node, outputs=(f"{node.outputs[0]}_real",))


@handles("QLinearMatMul")
def qlinear_matmul(context: Context, node: Node, args: Args) -> Value:
    """Import a product with a matrix, from codes to codes; scales are by column or tensor."""
    view = dequantised(context, codes_of(args[0]), args[1], args[2])
    by_column = replace(node, attributes={"axis": 1})
    weight = dequantise_constant(by_column, (args[3], args[4], args[5]))
    made = matmul(context, _inner(node), (view, weight))
    return _quantised(context, node, made, constant(args[6], "scale"), args[7])


@handles("ConvInteger", "MatMulInteger")
def integer_product(context: Context, node: Node, args: Args) -> Value:
    """Import a sum of products of codes, whose zero points are taken off, as a real number."""
    value = codes_of(args[0])
    known = context.quantised.grids.get(value.view.name)
    one = Known(values=np.ones(1))
    scale = one if known is None else Known(values=np.array([known.scale]))
    view = dequantised(context, value, scale, optional(args, 2))
    axis = 0 if node.operator == "ConvInteger" else 1
    stored = replace(node, attributes={"axis": axis})
    weight = dequantise_constant(stored, (args[1], one, optional(args, 3)))
    assert weight.codes is not None
    codes = replace(weight.codes, scale=weight.codes.scale / float(scale.values[0]))
    weight = Known(values=codes.real, codes=codes)
    operator = convolution if node.operator == "ConvInteger" else matmul
    return operator(context, node, (view, weight))


@handles("QLinearAdd", domain=MICROSOFT)
def qlinear_add(context: Context, node: Node, args: Args) -> Value:
    """Import a sum of codes."""
    views = [dequantised(context, codes_of(args[at]), args[at + 1], args[at + 2]) for at in (0, 3)]
    made = arithmetic(context, replace(_inner(node), operator="Add"), tuple(views))
    return _quantised(context, node, made, constant(args[6], "scale"), optional(args, 7))


@handles("QLinearGlobalAveragePool", domain=MICROSOFT)
def qlinear_mean(context: Context, node: Node, args: Args) -> Value:
    """Import the mean of each channel of codes."""
    if node.attributes.get("channels_last", 0):
        raise Unsupported("its channels are last", "export images as N C H W")
    view = dequantised(context, codes_of(args[0]), args[1], args[2])
    made = mean(context, replace(_inner(node), operator="GlobalAveragePool"), (view,))
    return _quantised(context, node, made, constant(args[3], "scale"), args[4])


@handles("QLinearLeakyRelu", "QLinearAveragePool", domain=MICROSOFT)
def qlinear_unary(context: Context, node: Node, args: Args) -> Value:
    """Import a slope below 0, or the mean over a window, of codes."""
    if node.attributes.get("channels_last", 0):
        raise Unsupported("its channels are last", "export images as N C H W")
    view = dequantised(context, codes_of(args[0]), args[1], optional(args, 2))
    inner = replace(_inner(node), operator=node.operator.removeprefix("QLinear"))
    made = (slope if inner.operator == "LeakyRelu" else average_pool)(context, inner, (view,))
    return _quantised(context, node, made, constant(args[3], "scale"), optional(args, 4))


@handles("QLinearConcat", domain=MICROSOFT)
def qlinear_concat(context: Context, node: Node, args: Args) -> Value:
    """Import a concatenation of codes of any scales."""
    views = tuple(
        dequantised(context, codes_of(args[at]), args[at + 1], args[at + 2])
        for at in range(2, len(args), 3)
    )
    made = concat(context, _inner(node), views)
    if not isinstance(made, View):
        raise Unsupported("it joins something other than activations", "join activations")
    return _quantised(context, node, made, constant(args[0], "scale"), args[1])


@handles("QGemm", domain=MICROSOFT)
def qgemm(context: Context, node: Node, args: Args) -> Value:
    """Import a product with a matrix and a bias, from codes to codes."""
    view = dequantised(context, codes_of(args[0]), args[1], args[2])
    rows = 0 if node.attributes.get("transB", 0) else 1
    stored = replace(node, attributes={"axis": rows})
    weight = dequantise_constant(stored, (args[3], args[4], args[5]))
    bias = optional(args, 6)
    if bias is not None:
        unit = constant(args[1], "scale").real * constant(args[4], "scale").real.reshape(-1)
        bias = Known(values=constant(bias, "bias").real.reshape(-1) * unit)
    made = gemm(context, _inner(node), (view, weight, bias))
    if optional(args, 7) is None:
        raise Unsupported("its output is left real", "quantise it")
    return _quantised(context, node, made, constant(args[7], "scale"), optional(args, 8))


@handles("QLinearSigmoid", domain=MICROSOFT)
def qlinear_sigmoid(context: Context, node: Node, args: Args) -> Value:
    """Import a sigmoid of codes."""
    view = unpadded(dequantised(context, codes_of(args[0]), args[1], args[2]))
    call = call_of(context, _inner(node), ())
    made = context.builder.pointwise(view, call.where, call.name, function=Function.SIGMOID)
    return _quantised(context, node, made, constant(args[3], "scale"), optional(args, 4))


@handles("QLinearMul", domain=MICROSOFT)
def qlinear_multiply(context: Context, node: Node, args: Args) -> Value:
    """Import a product of codes that are functions of the same ones."""
    views = [dequantised(context, codes_of(args[at]), args[at + 1], args[at + 2]) for at in (0, 3)]
    made = arithmetic(context, replace(_inner(node), operator="Mul"), tuple(views))
    return _quantised(context, node, made, constant(args[6], "scale"), optional(args, 7))
