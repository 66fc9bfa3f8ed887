"""From an ONNX file to a :class:`FloatGraph`, or to an integer network where it is quantised."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from celosia.models.errors import CelosiaError, NotFiniteError
from celosia.models.fuse import fuse
from celosia.models.graph import FloatGraph
from celosia.models.import_values import Builder, Finding, Unsupported, View
from celosia.models.integer.grids import Imported, Quantised
from celosia.models.onnx_import import functions, phases, pools, qlinear, quantisers
from celosia.models.onnx_import.operators import HANDLERS, MAX_VALUES, Context
from celosia.models.onnx_import.reader import CODES, Constant, Input, Model, Node, read_model
from celosia.models.onnx_import.values import Coded, Known, Value, fold

__all__ = ["check_onnx", "import_onnx", "import_quantised_onnx"]

# Importing them makes their operators known.
_REGISTERED = (functions, phases, pools, qlinear, quantisers)

_CODES = quantisers.FORMATS
"""Types of inputs that are codes already."""

_NODES_SHOWN = 20


class _Poison:
    """The result of an operator that could not be imported: its readers are not reported."""


_POISON = _Poison()


def import_onnx(path: str | Path) -> FloatGraph:
    """Import a file of real numbers; return the fused graph, named as the file.

    Raises
    ------
    CelosiaError
        If something cannot be imported; the message lists everything. If the file is quantised.
    """
    walk = _walked(path)
    if walk.quantised.known:
        raise CelosiaError(
            f"{path} is quantised already: `celosia import` makes an integer network of it as it is"
        )
    return fuse(walk.graph())


def import_quantised_onnx(path: str | Path) -> Imported:
    """Import a quantised file (QDQ, QLinear operators, QONNX) as an integer network.

    Raises
    ------
    CelosiaError
        If something cannot be imported, is not quantised, or no integer network holds it.
    """
    walk = _walked(path)
    if not walk.quantised.known:
        raise CelosiaError(
            f"{path} is not quantised: `celosia quantize` makes an integer network of it and of "
            "calibration data"
        )
    try:
        return walk.quantised.finish(walk.model.name, tuple(walk.outputs))
    except CelosiaError:
        raise
    except ValueError as error:
        raise CelosiaError(f"{path} cannot be imported: {error}") from error


def check_onnx(path: str | Path) -> tuple[list[Finding], tuple[str, ...]]:
    """Return everything in a file that cannot be imported, and notes on what is left out."""
    walk = _Walk(read_model(path))
    walk.run()
    return walk.findings, tuple(walk.builder.notes)


def _walked(path: str | Path) -> _Walk:
    walk = _Walk(read_model(path))
    walk.run()
    if walk.findings:
        lines = "\n".join(f"- {finding}" for finding in walk.findings[:_NODES_SHOWN])
        more = len(walk.findings) - _NODES_SHOWN
        rest = f"\n- and {more} more" if more > 0 else ""
        raise CelosiaError(f"{path} cannot be imported:\n{lines}{rest}")
    return walk


class _Walk:
    """Walks the nodes of one file once."""

    def __init__(self, model: Model) -> None:
        self.model = model
        self.builder = Builder()
        self.quantised = Quantised(builder=self.builder)
        self.context = Context(model=model, builder=self.builder, quantised=self.quantised)
        self.values: dict[str, Value | _Poison | None] = {"": None}
        self.outputs: list[str] = []
        self.findings: list[Finding] = []

    def run(self) -> None:
        for name, value in self.model.constants.items():
            self.values[name] = _known(value)
        batches: set[int | None] = set()
        for name, given in self.model.inputs.items():
            try:
                self.values[name] = self.input(name, given)
                batches.add((given.shape or (None,))[0])
            except Unsupported as error:
                self.report("input", name, error)
                self.values[name] = _POISON
        if len(batches) > 1:
            differ = Unsupported("the inputs have different batch sizes", "give them one")
            self.report("input", next(iter(self.model.inputs)), differ)
            return
        self.context.batch = next(iter(batches), None) or 1
        for node in self.model.nodes:
            try:
                self.apply(node)
            except Unsupported as error:
                self.report(_operator(node), node.where, error)
                self.values.update(dict.fromkeys(filter(None, node.outputs), _POISON))
        for name in self.model.outputs:
            try:
                self.output(name)
            except Unsupported as error:
                self.report("output", name, error)
        if not self.findings and not (self.outputs and self.quantised.inputs):
            nothing = Unsupported("it has no tensor input or output", "map images to predictions")
            self.report("model", self.model.name, nothing)
        if not self.findings:
            try:
                self.graph()
            except ValueError as error:
                wrong = Unsupported(str(error), "change the operation's parameters")
                self.report("model", self.model.name, wrong)

    def graph(self) -> FloatGraph:
        return FloatGraph(
            name=self.model.name,
            inputs=self.quantised.inputs,
            outputs=tuple(self.outputs),
            ops=tuple(self.builder.ops),
            notes=tuple(self.builder.notes),
        )

    def report(self, operator: str, where: str, error: Unsupported) -> None:
        self.findings.append(
            Finding(operator=operator, where=where, reason=error.reason, remedy=error.remedy)
        )

    def input(self, name: str, given: Input) -> Value:
        shape = given.shape
        if shape is None or len(shape) not in (2, 4) or any(not size for size in shape[1:]):
            text = "no fixed shape" if shape is None else f"shape {tuple(s or '?' for s in shape)}"
            raise Unsupported(
                f"the input has {text}",
                "give N C H W or N C, all but N fixed (onnx.tools, onnxsim)",
            )
        sizes = [int(size or 0) for size in shape[1:]]
        if min(sizes) < 1 or int(np.prod([float(size) for size in sizes])) > MAX_VALUES:
            raise Unsupported(f"the input has shape {shape}", f"give at most {MAX_VALUES} values")
        if given.type not in ("float", "float16", "double", "bfloat16", *_CODES):
            raise Unsupported(f"the input holds {given.type}", "give real images or integer codes")
        full = (sizes[0], 1, 1) if len(sizes) == 1 else (sizes[0], sizes[1], sizes[2])
        self.quantised.inputs[name] = full
        self.builder.used.add(name)
        self.context.raw.add(name)
        view = View.of(name, full, len(sizes))
        return Coded(view=view, type=given.type) if given.type in _CODES else view

    def output(self, name: str) -> None:
        value = self.values[name]
        if isinstance(value, _Poison):
            return
        if isinstance(value, Known) or value is None:
            raise Unsupported("the output is a constant", "return activations only")
        view = value.view if isinstance(value, Coded) else value
        if not view.whole or any(view.pad):
            raise Unsupported("the output is a rearranged tensor", "return it as it is computed")
        tensor = view.name
        if tensor in self.quantised.inputs or tensor in self.outputs:
            fresh = self.builder.name(f"{name}_output")
            tensor = self.builder.pointwise(view, fresh, fresh).name
            self.quantised.keep((view.name,), fresh)
        self.outputs.append(tensor)

    def apply(self, node: Node) -> None:
        args = tuple(self.values[name] for name in node.inputs)
        if any(isinstance(arg, _Poison) for arg in args):
            self.values.update(dict.fromkeys(filter(None, node.outputs), _POISON))
            return
        given: tuple[Any, ...] = args
        if not node.outputs or not node.outputs[0]:
            raise Unsupported("it writes nothing", "remove it")
        for value in given:
            view = value.view if isinstance(value, Coded) else value
            if isinstance(view, View) and view.final and node.operator not in ("Identity", "Cast"):
                raise Unsupported("it follows a softmax or sigmoid", "those may only end the model")
        self.values[node.outputs[0]] = self.result(node, given)
        for name in filter(None, node.outputs[1:]):
            self.values[name] = _POISON if node.operator == "BatchNormalization" else None
            if node.operator not in ("Dropout", "BatchNormalization"):
                raise Unsupported("it has several outputs", "use its first only")

    def result(self, node: Node, args: tuple[Any, ...]) -> Value:
        handler = HANDLERS.get((node.domain, node.operator))
        constant = all(value is None or isinstance(value, Known) for value in args)
        codes = node.operator in _ON_CONSTANTS
        if node.domain == "" and _has_codes(args[0] if args else None):
            other = HANDLERS.get((CODES, node.operator))
            codes, handler = codes or other is not None, other or handler
        try:
            if constant and not codes:
                if node.domain != "":
                    raise _unknown(node)
                return fold(node, args)
            if handler is None:
                raise _unknown(node)
            return handler(self.context, node, args)
        except NotFiniteError as error:
            raise Unsupported(
                f"{error}: there is a NaN or an infinity in the file",
                "look for where training diverged, and export an earlier checkpoint",
            ) from error
        except (ValueError, TypeError, KeyError, IndexError, OverflowError) as error:
            raise Unsupported(
                f"its operands or attributes are wrong: {error}", "export the model again"
            ) from error


def _has_codes(value: object) -> bool:
    kinds = (*_CODES, "int32")
    return isinstance(value, Coded) or (isinstance(value, Known) and value.type in kinds)


_ON_CONSTANTS = ("QuantizeLinear", "DequantizeLinear", "Quant", "IntQuant", "BipolarQuant")
"""Operators that make codes of constants themselves."""


def _operator(node: Node) -> str:
    return f"{node.domain}.{node.operator}" if node.domain else node.operator


def _known(value: Constant) -> Known:
    return Known(values=value.values, type=value.type)


def _unknown(node: Node) -> Unsupported:
    remedies = {
        "DynamicQuantizeLinear": "quantise statically, with calibration data",
        "HardSwish": "train with ReLU or ReLU6",
        "Gelu": "train with ReLU or ReLU6",
        "Tanh": "train with a Clip",
        "If": "export without control flow",
        "Loop": "export without control flow",
        "Scan": "export without control flow",
        "LayerNormalization": "use BatchNormalization, which is folded",
        "InstanceNormalization": "use BatchNormalization, which is folded",
    }
    remedy = "replace it by a supported operator, or keep it outside the model"
    return Unsupported("it has no counterpart in the hardware", remedies.get(node.operator, remedy))
