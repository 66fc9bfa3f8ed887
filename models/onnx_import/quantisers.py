"""Operators on codes: QuantizeLinear and DequantizeLinear, QLinear..., and those of QONNX."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from celosia.models.formats import Fixed
from celosia.models.grid import Grid
from celosia.models.import_values import Unsupported, View
from celosia.models.integer.grids import WeightCodes
from celosia.models.integer.steps import Rule, Ties
from celosia.models.onnx_import.operators import (
    Args,
    Context,
    activation,
    constant,
    handles,
    optional,
)
from celosia.models.onnx_import.reader import CODES, MICROSOFT, QONNX, Node
from celosia.models.onnx_import.values import Coded, Known, Value

FORMATS = {
    f"{'u' * (not signed)}int{bits}": Fixed(bits=bits, signed=signed)
    for bits in (2, 4, 8, 16)
    for signed in (True, False)
}
"""Formats of the ONNX types that activations may have."""

_TYPES = {2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 21: "uint4", 22: "int4"}
_STORED_BITS = 44
"""Widest constants, and sums before their lowest bits are dropped."""

_STORED = {**{name: fmt.bits for name, fmt in FORMATS.items()}, "int32": 32}


def one_number(value: Value | None, what: str, default: float | None = None) -> float:
    """Return a constant that must be one number."""
    if value is None and default is not None:
        return default
    values = constant(value, what).real
    if values.size != 1:
        raise Unsupported(
            f"its {what} has {values.size} values", "quantise activations by tensor, not by channel"
        )
    return float(values.ravel()[0])


def _positive(scale: float) -> float:
    if not scale > 0:
        raise Unsupported(f"its scale is {scale}", "use positive scales")
    return scale


def _zero(value: Value | None, fmt: Fixed) -> int:
    zero = one_number(value, "zero point", 0.0)
    if zero != int(zero) or not fmt.low <= zero <= fmt.high:
        raise Unsupported(
            f"its zero point {zero:g} is no code of {fmt.name}", "use an integer in range"
        )
    return int(zero)


def _type(node: Node, zero: Value | None) -> str:
    if isinstance(zero, Known):
        return zero.type
    code = int(node.attributes.get("output_dtype", 0))
    return _TYPES.get(code, "uint8" if code == 0 else f"type {code}")


def _format(kind: str) -> Fixed:
    if kind not in FORMATS:
        raise Unsupported(f"its codes are of the type {kind}", "use int8, uint8 or another integer")
    return FORMATS[kind]


@handles("QuantizeLinear")
@handles("QuantizeLinear", domain=MICROSOFT)
def quantise_linear(context: Context, node: Node, args: Args) -> Value:
    """Import the codes of an activation, or of constant weights."""
    kind = _type(node, optional(args, 2))
    fmt = _format(kind)
    if isinstance(args[0], Known):
        return _quantise_constant(node, args, fmt, kind)
    view = activation(args[0])
    scale, zero = _positive(one_number(args[1], "scale")), _zero(optional(args, 2), fmt)
    result = context.quantised.quantise(
        view,
        Grid(format=fmt, scale=scale, zero=zero),
        Rule(zero=zero),
        node.outputs[0],
        raw=context.is_raw(view),
    )
    return Coded(view=result, type=kind)


def _quantise_constant(node: Node, args: Args, fmt: Fixed, kind: str) -> Known:
    values = constant(args[0], "input").values
    scale = _along(node, values, constant(args[1], "scale").values)
    given = optional(args, 2)
    zero = 0 if given is None else _along(node, values, constant(given, "zero point").values)
    codes = np.clip(np.rint(values / scale) + zero, fmt.low, fmt.high)
    return Known(values=codes.astype(np.int64), type=kind)


def _along(node: Node, values: np.ndarray, factors: np.ndarray) -> np.ndarray:
    """Return ``factors`` in a shape that broadcasts with ``values`` along the node's axis."""
    if node.attributes.get("block_size", 0):
        raise Unsupported("its scales belong to blocks", "quantise by tensor or by channel")
    if factors.size == 1:
        return factors.reshape(())
    axis = int(node.attributes.get("axis", 1))
    axis = axis + values.ndim if axis < 0 else axis
    if factors.ndim != 1 or not 0 <= axis < values.ndim or values.shape[axis] != factors.size:
        raise Unsupported(
            f"{factors.size} scales do not fit axis {axis} of {values.shape}",
            "give one for each channel",
        )
    return factors.reshape([-1 if at == axis else 1 for at in range(values.ndim)])


@handles("DequantizeLinear")
@handles("DequantizeLinear", domain=MICROSOFT)
def dequantise_linear(context: Context, node: Node, args: Args) -> Value:
    """Import the real values of codes: of an activation, of weights, of a bias."""
    if isinstance(args[0], Known):
        return dequantise_constant(node, args)
    if not isinstance(args[0], Coded):
        raise Unsupported("it reads real values", "quantise them first")
    return dequantised(context, args[0], args[1], optional(args, 2))


def dequantised(context: Context, value: Coded, scale: Value | None, zero: Value | None) -> View:
    """Return the real activation that codes of a scale and zero point stand for."""
    fmt = _format(value.type)
    grid = Grid(format=fmt, scale=_positive(one_number(scale, "scale")), zero=_zero(zero, fmt))
    known = context.quantised.grids.setdefault(value.view.name, grid)
    if known != grid:
        raise Unsupported(
            f"it takes codes of {known.format.name} x {known.scale:g} from {known.zero} for those "
            f"of {fmt.name} x {grid.scale:g} from {grid.zero}",
            "dequantise with the scale and zero point that quantised",
        )
    return replace(value.view, coded=True)


def dequantise_constant(node: Node, args: Args) -> Known:
    """Return the constant that stored codes, a scale and a zero point are."""
    stored = constant(args[0], "input")
    if stored.values.dtype.kind not in "iu" or stored.type not in _STORED:
        raise Unsupported(
            f"it reads a constant of {stored.type}", "store integers of 32 bits at most"
        )
    values = stored.values.astype(np.int64)
    scale = _along(node, values, constant(args[1], "scale").real)
    given = optional(args, 2)
    if given is not None:
        values = values - _along(
            node, values, constant(given, "zero point").values.astype(np.int64)
        )
    codes = WeightCodes(
        values=values, scale=np.broadcast_to(scale, values.shape), bits=_STORED[stored.type]
    )
    return Known(values=codes.real, codes=codes)


def codes_of(value: Value | None) -> Coded:
    """Return an operand that must be codes of an activation."""
    if not isinstance(value, Coded):
        raise Unsupported("it reads real values or constants", "give it quantised activations")
    return value


def _rounding(node: Node) -> Ties:
    name = str(node.attributes.get("rounding_mode", "ROUND")).upper()
    try:
        return Ties("HALF_EVEN" if name == "ROUND" else name)
    except ValueError:
        raise Unsupported(
            f"its rounding_mode is {name!r}", "use ROUND or another of QONNX"
        ) from None


def _bits(value: Value | None, most: int = 16) -> int:
    bits = one_number(value, "bit width")
    if bits != int(bits) or not 1 <= bits <= most:
        raise Unsupported(f"its bit width is {bits:g}", f"use 1 to {most} bits, an integer")
    return int(bits)


@handles("Quant", "IntQuant", domain=QONNX)
def quant(context: Context, node: Node, args: Args) -> Value:
    """Import QONNX's quantiser: codes and real values at once."""
    stored = isinstance(args[0], Known)
    bits, signed = _bits(args[3], _STORED_BITS if stored else 16), node.attributes.get("signed", 1)
    if bits == 1 and signed:
        return bipolar(context, node, (args[0], args[1]))
    narrow, ties = bool(node.attributes.get("narrow", 0)), _rounding(node)
    low = narrow - (1 << bits - 1) if signed else 0
    high = (1 << bits - 1) - 1 if signed else (1 << bits) - 1 - narrow
    if stored:
        return _quant_weights(args, bits, ties, (low, high))
    fmt = Fixed(bits=bits, signed=bool(signed))
    scale, zero = _positive(one_number(args[1], "scale")), _zero(args[2], fmt)
    view = activation(args[0])
    raw = context.is_raw(view)
    grid, rule = Grid(format=fmt, scale=scale, zero=zero), Rule(ties=ties)
    if raw and ties is not Ties.HALF_EVEN:
        raise Unsupported("it rounds an input otherwise than to even", "quantise inputs by ROUND")
    if narrow and context.quantised.grids.get(view.name) != grid:
        if raw:
            view = context.quantised.quantise(view, grid, rule, node.outputs[0], raw=True)
        name = context.builder.name(f"{node.outputs[0]}_narrow")
        view = context.builder.pointwise(
            view, name, name, low=(low - zero) * scale, high=(high - zero) * scale
        )
        raw = False
    return context.quantised.quantise(view, grid, rule, node.outputs[0], raw=raw)


def _quant_weights(args: Args, bits: int, ties: Ties, ends: tuple[int, int]) -> Known:
    values = constant(args[0], "input").values
    scale, zero = (
        constant(args[at], what).values for at, what in ((1, "scale"), (2, "zero point"))
    )
    if not (scale > 0).all():
        raise Unsupported("its scale is not positive", "use positive scales")
    try:
        codes = np.clip(values / scale + zero, *ends)
        codes = _rounded(codes, ties) - zero
        factors = np.broadcast_to(scale.astype(np.float64), values.shape)
    except ValueError as error:
        raise Unsupported(
            f"its scales {scale.shape} do not fit {values.shape}", "give one for each channel"
        ) from error
    if not (codes == np.rint(codes)).all():
        raise Unsupported("its zero points are no integers", "use integers")
    stored = WeightCodes(values=codes.astype(np.int64), scale=factors, bits=bits)
    return Known(values=stored.real, codes=stored)


def _rounded(values: np.ndarray, ties: Ties) -> np.ndarray:
    """Return ``values`` rounded as QONNX does."""
    size, sign = np.abs(values), np.sign(values)
    ways = {
        Ties.HALF_EVEN: np.rint(values),
        Ties.FLOOR: np.floor(values),
        Ties.CEIL: np.ceil(values),
        Ties.UP: sign * np.ceil(size),
        Ties.DOWN: np.trunc(values),
        Ties.HALF_UP: sign * np.floor(size + 0.5),
        Ties.HALF_DOWN: sign * np.ceil(size - 0.5),
    }
    return np.asarray(ways[ties])


@handles("BipolarQuant", domain=QONNX)
def bipolar(context: Context, node: Node, args: Args) -> Value:
    """Import signs: 1 where a value is 0 or above, -1 below, times a scale."""
    if isinstance(args[0], Known):
        values, scale = args[0].values, constant(args[1], "scale").real
        signs = np.where(values >= 0, 1, -1).astype(np.int64)
        stored = WeightCodes(values=signs, scale=np.broadcast_to(scale, signs.shape), bits=2)
        return Known(values=stored.real, codes=stored)
    view = activation(args[0])
    grid = Grid(format=Fixed(bits=2), scale=_positive(one_number(args[1], "scale")))
    return context.quantised.quantise(
        view, grid, Rule(), node.outputs[0], raw=context.is_raw(view), signs=True
    )


@handles("Trunc", domain=QONNX)
def trunc(context: Context, node: Node, args: Args) -> Value:
    """Import QONNX's Trunc: codes without their lowest bits, of both its versions.

    With five inputs bits are dropped by widths and the scale stays; with six the new scale says
    how many.
    """
    view = activation(args[0])
    scale = _positive(one_number(args[1], "scale"))
    zero, before = one_number(args[2], "zero point"), _bits(args[3], _STORED_BITS)
    ties = _rounding(replace(node, attributes={"rounding_mode": "FLOOR", **node.attributes}))
    after = _bits(args[-1])
    target: float = scale
    dropped = before - after
    signed, offset = context.quantised.signed(view.name), zero
    if len(args) > 5:
        target = _positive(one_number(args[4], "output scale"))
        dropped = round(math.log2(target / scale))
        signed, offset = bool(node.attributes.get("signed", 1)), zero / 2.0**dropped
        if abs(target - scale * 2.0**dropped) > 1e-6 * target:
            raise Unsupported("its scales are no power of two apart", "drop whole bits")
    fmt = Fixed(bits=after, signed=signed)
    grid = Grid(format=fmt, scale=target, zero=_zero(Known(values=np.array([offset])), fmt))
    # What the codes are before rounding: (value / scale + zero) / 2**dropped.
    power = 2.0**-dropped
    gain = power * target / scale
    shift = (zero * power - offset) * target
    channels = view.shape[0]
    name = context.builder.name(f"{node.outputs[0]}_shifted")
    narrow = bool(node.attributes.get("narrow", 0))
    low, high = fmt.low + (narrow and signed), fmt.high - (narrow and not signed)
    view = context.builder.pointwise(
        view,
        name,
        name,
        weight=np.full(channels, gain),
        bias=np.full(channels, shift),
        low=(low - offset) * target,
        high=(high - offset) * target,
    )
    return context.quantised.quantise(view, grid, Rule(ties=ties), node.outputs[0], raw=False)


@handles("Clip", domain=CODES)
def clip_codes(context: Context, node: Node, args: Args) -> Value:
    """Import limits of codes, of which a file uses fewer bits than their type has."""
    low, high = (
        one_number(optional(args, at), "limit", edge) for at, edge in ((1, -np.inf), (2, np.inf))
    )
    if isinstance(args[0], Known):
        return replace(args[0], values=np.clip(args[0].values, low, high).astype(np.int64))
    value = codes_of(args[0])
    if value.view.name not in context.quantised.grids:
        raise Unsupported("it limits codes of no scale", "dequantise them first")
    return replace(value, view=context.quantised.limit(value.view, low, high, node.outputs[0]))
