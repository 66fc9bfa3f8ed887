"""What an ONNX value is to the importer, and constants computed from constants."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from celosia.models.import_values import Unsupported, View
from celosia.models.integer.grids import WeightCodes
from celosia.models.onnx_import.reader import MAX_ELEMENTS, Node


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Known:
    """A constant: its values, the name of its type, and how they are stored if in codes."""

    values: np.ndarray
    type: str = "float"
    codes: WeightCodes | None = None

    @property
    def real(self) -> np.ndarray:
        """Its values, float64."""
        return self.values.astype(np.float64) if self.codes is None else self.codes.real


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Coded:
    """The integers, of the ONNX type ``type``, of an activation."""

    view: View
    type: str


Value = View | Known | Coded


def known(values: np.ndarray) -> Known:
    """Return a constant of the type of ``values``."""
    names = {"float32": "float", "float64": "double"}
    return Known(values=values, type=names.get(values.dtype.name, values.dtype.name))


def axes_of(node: Node, args: tuple[Value | None, ...], position: int = 1) -> list[int] | None:
    """Return the axes of a node, an attribute before and an input since some operator set."""
    if "axes" in node.attributes:
        return list(node.attributes["axes"])
    if len(args) <= position or args[position] is None:
        return None
    return numbers(args[position], "axes")


def numbers(value: Value | None, what: str) -> list[int]:
    """Return a constant list of integers."""
    if not isinstance(value, Known) or value.values.dtype.kind not in "iu":
        raise Unsupported(f"its {what} are computed", f"make {what} constants")
    return [int(item) for item in value.values.ravel()]


def new_shape(old: tuple[int, ...], wanted: list[int], *, allow_zero: bool) -> tuple[int, ...]:
    """Return the shape that Reshape makes of ``old``."""
    shape = [
        old[axis] if size == 0 and not allow_zero and axis < len(old) else size
        for axis, size in enumerate(wanted)
    ]
    rest = math.prod(size for size in shape if size != -1)
    if shape.count(-1) == 1 and rest > 0 and math.prod(old) % rest == 0:
        shape[shape.index(-1)] = math.prod(old) // rest
    if min(shape, default=1) < 1 or math.prod(shape) != math.prod(old):
        raise Unsupported(f"it reshapes {old} to {wanted}", "give a shape of as many elements")
    return tuple(shape)


def squeezed(old: tuple[int, ...], axes: list[int] | None) -> tuple[int, ...]:
    """Return the shape without axes of 1, of those in ``axes`` or all."""
    gone = {axis for axis, size in enumerate(old) if size == 1}
    if axes is not None:
        chosen = {axis % len(old) for axis in axes}
        if not chosen <= gone:
            raise Unsupported(f"it squeezes axes {axes} of {old}", "squeeze axes of size 1")
        gone = chosen
    return tuple(size for axis, size in enumerate(old) if axis not in gone)


def unsqueezed(old: tuple[int, ...], axes: list[int] | None) -> tuple[int, ...]:
    """Return the shape with an axis of 1 at each of ``axes``."""
    if axes is None:
        raise Unsupported("it names no axes", "name the axes that it adds")
    rank = len(old) + len(axes)
    places = {axis % rank for axis in axes}
    if len(places) < len(axes):
        raise Unsupported(f"it adds axes {axes}, one of them twice", "name each axis once")
    rest = iter(old)
    return tuple(1 if axis in places else next(rest) for axis in range(rank))


def flattened(old: tuple[int, ...], axis: int) -> tuple[int, ...]:
    """Return the shape of two axes that Flatten makes."""
    axis = axis + len(old) if axis < 0 else axis
    return math.prod(old[:axis]), math.prod(old[axis:])


def reshaped(node: Node, args: tuple[Value | None, ...], old: tuple[int, ...]) -> tuple[int, ...]:
    """Return the shape that a node gives a value of shape ``old``, batch axis included."""
    match node.operator:
        case "Reshape":
            allow = bool(node.attributes.get("allowzero", 0))
            return new_shape(old, numbers(args[1], "shape"), allow_zero=allow)
        case "Flatten":
            return flattened(old, int(node.attributes.get("axis", 1)))
        case "Squeeze":
            return squeezed(old, axes_of(node, args))
        case _:
            return unsqueezed(old, axes_of(node, args))


RESHAPES = ("Reshape", "Flatten", "Squeeze", "Unsqueeze")
SAME = ("Identity", "Dropout")


def fold(node: Node, args: tuple[Known | None, ...]) -> Known:
    """Return what a node computes of constants.

    Raises :class:`Unsupported` for operators that constants are not computed with here.
    """
    first = args[0] if args else None
    if node.operator == "Constant":
        return _constant(node)
    if first is None:
        raise Unsupported("it reads nothing", "compute it when the model is made")
    moved = _moved(node, args)
    if moved is not None:
        codes = None if first.codes is None else first.codes.map(moved)
        return Known(values=moved(first.values), type=first.type, codes=codes)
    compute = _FOLDED.get(node.operator)
    if compute is None:
        raise Unsupported("it computes a constant", "compute it when the model is made")
    given = [None if arg is None else arg.values for arg in args]
    try:
        with np.errstate(all="ignore"):
            result = np.asarray(compute(node, *given))
    except (ValueError, TypeError, IndexError, OverflowError, MemoryError) as error:
        raise Unsupported(f"it fails: {error}", "compute it when the model is made") from error
    if result.size > MAX_ELEMENTS or (result.dtype.kind == "f" and not np.isfinite(result).all()):
        raise Unsupported("it makes a constant that is too large, or no number", "look at it")
    return known(result)


def _constant(node: Node) -> Known:
    for name, value in node.attributes.items():
        if name == "value" and value is not None:
            return Known(values=value.values, type=value.type)
        if name.startswith("value_") and "string" not in name:
            kind = np.int64 if "int" in name else np.float32
            return known(np.asarray(value, dtype=kind))
    raise Unsupported("it holds no number", "give a plain constant")


def _moved(node: Node, args: tuple[Known | None, ...]) -> Callable[[np.ndarray], np.ndarray] | None:
    """Return the change of order or shape that a node makes of a constant, if it is one."""
    first = args[0]
    assert first is not None
    if node.operator in SAME:
        return lambda values: values
    if node.operator in RESHAPES:
        shape = reshaped(node, args, first.values.shape)
        return lambda values: values.reshape(shape)
    if node.operator == "Transpose":
        order = node.attributes.get("perm") or list(range(first.values.ndim))[::-1]
        if sorted(order) != list(range(first.values.ndim)):
            raise Unsupported(f"it orders axes as {order}", "name every axis once")
        return lambda values: values.transpose(order)
    return None


def _cast(node: Node, values: np.ndarray) -> np.ndarray:
    types = {1: np.float32, 2: np.uint8, 3: np.int8, 6: np.int32, 7: np.int64, 9: np.bool_}
    types |= {10: np.float16, 11: np.float64}
    code = int(node.attributes.get("to", 0))
    if code not in types:
        raise Unsupported(f"it casts a constant to type {code}", "cast when the model is made")
    return values.astype(types[code])


def _slice(node: Node, values: np.ndarray, *more: Any) -> np.ndarray:
    given = node.attributes
    starts, ends = (more[0], more[1]) if more else (given["starts"], given["ends"])
    axes = more[2] if len(more) > 2 and more[2] is not None else given.get("axes")
    axes = range(len(starts)) if axes is None else axes
    steps = more[3] if len(more) > 3 and more[3] is not None else [1] * len(starts)
    index = [slice(None)] * values.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        stop = None if step < 0 and end < -values.shape[axis] else int(end)
        index[int(axis)] = slice(int(start), stop, int(step))
    return values[tuple(index)]


def _filled(node: Node, shape: np.ndarray) -> np.ndarray:
    value = node.attributes.get("value")
    if min(shape.ravel().tolist(), default=0) < 0 or math.prod(shape.tolist()) > MAX_ELEMENTS:
        raise Unsupported(f"it makes a constant of shape {shape.tolist()}", "give a smaller one")
    filler = np.zeros(1, np.float32) if value is None else value.values
    return np.full(shape.tolist(), filler.ravel()[0], filler.dtype)


def _expand(_: Node, values: np.ndarray, shape: np.ndarray) -> np.ndarray:
    if math.prod(max(size, 1) for size in shape.tolist()) * values.size > MAX_ELEMENTS:
        raise Unsupported(f"it expands a constant to {shape.tolist()}", "give a smaller one")
    return values * np.ones(shape.tolist(), values.dtype)


def _divide(_: Node, left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.asarray(left // right if left.dtype.kind in "iu" else left / right)


_FOLDED: dict[str, Callable[..., Any]] = {
    "Add": lambda _, left, right: left + right,
    "Sub": lambda _, left, right: left - right,
    "Mul": lambda _, left, right: left * right,
    "Div": _divide,
    "Neg": lambda _, values: -values,
    "Abs": lambda _, values: np.abs(values),
    "Sqrt": lambda _, values: np.sqrt(values),
    "Reciprocal": lambda _, values: 1 / values,
    "Pow": lambda _, left, right: np.power(left, right.astype(left.dtype)),
    "Floor": lambda _, values: np.floor(values),
    "Ceil": lambda _, values: np.ceil(values),
    "Round": lambda _, values: np.rint(values),
    "Exp": lambda _, values: np.exp(values),
    "Cast": _cast,
    "Shape": lambda _, values: np.array(values.shape, np.int64),
    "Concat": lambda node, *parts: np.concatenate(parts, axis=node.attributes["axis"]),
    "Gather": lambda node, values, index: np.take(values, index, node.attributes.get("axis", 0)),
    "Slice": _slice,
    "ConstantOfShape": _filled,
    "Expand": _expand,
}
