"""Operators with more pixels out than in: ConvTranspose, Resize and Upsample."""

from __future__ import annotations

from dataclasses import replace

import torch

from celosia.models import import_phases
from celosia.models.import_values import Unsupported, View
from celosia.models.onnx_import.operators import (
    Args,
    Context,
    activation,
    call_of,
    check_size,
    constant,
    handles,
    optional,
    tensor,
    whole_image,
)
from celosia.models.onnx_import.reader import Node
from celosia.models.onnx_import.values import Coded, Known, Value
from celosia.models.onnx_import.windows import MAX_PADDING, pair_of


@handles("ConvTranspose")
def transposed(context: Context, node: Node, args: Args) -> View:
    """Import a transposed convolution, weights real or in codes."""
    view, weight = whole_image(activation(args[0])), constant(args[1], "weight")
    given, attributes = optional(args, 2), node.attributes
    if weight.values.ndim != 4 or weight.values.shape[0] != view.shape[0]:
        raise Unsupported("its weights do not fit its input", "use 2-d transposed convolutions")
    if attributes.get("auto_pad", "NOTSET") != "NOTSET" or "output_shape" in attributes:
        raise Unsupported("it leaves its padding open", "give pads and output_padding")
    stride, dilation, extra = (
        pair_of(attributes.get(name, [default] * 2), name)
        for name, default in (("strides", 1), ("dilations", 1), ("output_padding", 0))
    )
    pads, groups = attributes.get("pads", [0] * 4), int(attributes.get("group", 1))
    if len(pads) != 4 or not 0 <= min(*pads, *extra) <= max(*pads, *extra) <= MAX_PADDING:
        raise Unsupported(f"its pads are {pads}", f"pad each side by 0 to {MAX_PADDING}")
    if min(*stride, *dilation, groups) < 1 or view.shape[0] % groups:
        raise Unsupported("its strides, dilations or group are wrong", "give positive ones")
    rows, kernel = weight.values.shape[1] * groups, weight.values.shape[2:]
    size = [
        stride[axis] * (view.shape[1 + axis] - 1)
        + dilation[axis] * (kernel[axis] - 1)
        + 1
        + extra[axis]
        - pads[axis]
        - pads[axis + 2]
        for axis in range(2)
    ]
    check_size(rows, (size[0], size[1]))
    bias = None if given is None else constant(given, "bias").real.reshape(-1)
    if bias is not None and len(bias) != rows:
        raise Unsupported(
            f"its bias has {len(bias)} entries for {rows} channels", "export it again"
        )
    call = call_of(
        context,
        node,
        (rows, *size),
        operator="conv_transpose2d",
        input=view,
        weight=tensor(weight),
        bias=None if bias is None else torch.from_numpy(bias),
        stride=list(stride),
        padding=pads[:2],
        dilation=list(dilation),
        groups=groups,
    )
    if weight.codes is None:
        return import_phases.transposed(context.builder, call)
    # Output channels, of each group, are on axis 1.
    stored = weight.codes.scale.reshape(groups, -1, rows // groups, kernel[0] * kernel[1])
    scales = stored.transpose(0, 2, 1, 3).reshape(rows, -1)
    return context.quantised.weigh(call, import_phases.transposed, weight.codes, bias, scales)


@handles("Resize", "Upsample")
def resize(context: Context, node: Node, args: Args) -> Value:
    """Import a nearest or bilinear resize by whole factors, a nearest one of codes too."""
    coded = args[0] if isinstance(args[0], Coded) else None
    view = whole_image(activation(args[0]) if coded is None else coded.view)
    given = node.attributes
    factors, sizes = _factors(node, args), optional(args, 3)
    if factors is None and isinstance(sizes, Known) and sizes.values.size == 4:
        size = [int(value) for value in sizes.values.ravel()[2:]]
    elif factors is not None and len(factors) == 4 and factors[:2] == [1.0, 1.0]:
        size = [int(old * by) for old, by in zip(view.shape[1:], factors[2:], strict=True)]
    else:
        raise Unsupported(f"its factors are {factors}", "give factors of N, C, H and W")
    check_size(view.shape[0], (size[0], size[1]))
    mode, old = given.get("mode", "nearest"), node.operator == "Upsample"
    place = given.get("coordinate_transformation_mode", "asymmetric" if old else "half_pixel")
    rounds = given.get("nearest_mode", "floor" if old else "round_prefer_floor")
    nearest = mode == "nearest" and (place, rounds) in (
        ("asymmetric", "floor"),
        ("half_pixel", "round_prefer_floor"),
    )
    bilinear = mode == "linear" and place in ("half_pixel", "pytorch_half_pixel")
    if not (nearest or bilinear) or given.get("antialias", 0):
        raise Unsupported(
            f"it resizes by {mode}, {place}, {rounds}",
            "use nearest (asymmetric, floor) or linear (half_pixel)",
        )
    if coded is not None and not nearest:
        raise Unsupported("it interpolates codes", "put DequantizeLinear before it")
    operator = "upsample_nearest2d" if nearest else "upsample_bilinear2d"
    call = call_of(context, node, (view.shape[0], *size), operator=operator, self=view, input=view)
    made = import_phases.resize(context.builder, call)
    if coded is None:
        return made
    context.quantised.keep((view.name,), made.name)
    return replace(coded, view=made)


def _factors(node: Node, args: Args) -> list[float] | None:
    """Return the factors of all axes, an attribute or an input by operator set."""
    if "scales" in node.attributes:
        return [float(value) for value in node.attributes["scales"]]
    value = optional(args, 2 if len(args) > 2 else 1)
    if not isinstance(value, Known) or not value.values.size:
        return None
    return [float(item) for item in value.values.ravel()]
