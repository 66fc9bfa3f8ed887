"""What operators of a TFLite file share: values, codes, windows, streams.

TFLite's images are N H W C, here they are C H W; codes are the file's own. Only files whose
activations are all int8, uint8 or int16 are read.

A streaming model (keyword spotting) keeps what it needs of the past in variables: each step
reads some new frames, puts those kept before them, and keeps the last ones for the next step. Here
the whole window that one output depends on is the input, and nothing is kept: the same codes,
once a stream has run for as many frames.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from celosia.models.errors import CelosiaError
from celosia.models.formats import Fixed
from celosia.models.grid import Grid
from celosia.models.import_ops import Call
from celosia.models.import_values import Builder, Finding, Unsupported, View
from celosia.models.integer.grids import Imported, Quantised, WeightCodes
from celosia.models.integer.steps import Rule, Ties
from celosia.models.network import Window
from celosia.models.tflite_import.reader import Model, Operator, Table, Tensor

FORMATS = {3: Fixed(bits=8, signed=False), 7: Fixed(bits=16), 9: Fixed(bits=8)}
MAX_VALUES = 1 << 25
_ACTIVATIONS = {0: (-np.inf, np.inf), 1: (0.0, np.inf), 2: (-1.0, 1.0), 3: (0.0, 6.0)}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Part:
    """Some channels of a stream: of each window of ``frames``, those from ``skip`` on.

    ``new`` frames are new at each step, the others ``variable`` keeps. ``operator`` is a depthwise
    convolution of these channels that is still to be joined with those of the others.
    """

    view: View
    channels: tuple[int, int]
    frames: int
    new: int
    variable: int
    skip: int = 0
    operator: Operator | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What a variable keeps: some frames."""

    variable: int
    frames: int


Value = View | Part | State | None
Handler = Callable[["Walk", Operator], "Value | list[Value]"]


class Walk:
    """Walks the operators of one file once; ``handlers`` are by the operators' names."""

    def __init__(self, model: Model, handlers: Mapping[str, Handler]) -> None:
        self.model, self.handlers = model, handlers
        self.builder = Builder()
        self.quantised = Quantised(builder=self.builder)
        self.values: dict[int, Value] = {}
        self.streams = any(op.name == "READ_VARIABLE" for op in model.operators)

    def run(self) -> Imported:
        if len(self.model.inputs) != 1 or len(self.model.outputs) != 1:
            raise Unsupported("it has several inputs or outputs", "give it one of each")
        number = self.model.inputs[0]
        self.values[number] = self.input(number)
        for op in self.model.operators:
            try:
                self.apply(op)
            except Unsupported as error:
                finding = Finding(
                    operator=op.name,
                    where=self.model.tensors[op.outputs[0]].name if op.outputs else op.name,
                    reason=error.reason,
                    remedy=error.remedy,
                )
                raise CelosiaError(f"{self.model.name} cannot be imported: {finding}") from error
        output = self.values.get(self.model.outputs[0])
        if not isinstance(output, View) or output.name in self.quantised.inputs:
            raise Unsupported("its output is not computed", "return what a layer makes")
        return self.quantised.finish(self.model.name, (output.name,))

    def input(self, number: int) -> View:
        tensor = self.model.tensors[number]
        sizes = list(tensor.shape[1:])
        if len(tensor.shape) not in (2, 3, 4) or min(tensor.shape) < 1 or tensor.shape[0] != 1:
            raise Unsupported(f"its input has shape {tensor.shape}", "give it a batch of 1")
        if self.streams:
            sizes[0] = receptive_field(self.model)
            self.builder.notes.append(
                f"a streaming model: input {tensor.name} is the {sizes[0]} frames that one output "
                f"depends on, {tensor.shape[1]} of which are new at a step"
            )
        channels = sizes[-1]
        height, width = (*sizes[:-1], 1, 1)[:2]
        if channels * height * width > MAX_VALUES:
            raise Unsupported(f"its input has shape {tensor.shape}", "give it smaller images")
        self.quantised.inputs[tensor.name] = (channels, height, width)
        self.builder.used.add(tensor.name)
        index = np.arange(channels * height * width).reshape(channels, height, width)
        view = View(
            name=tensor.name,
            shape=(channels, height, width),
            index=index.transpose(1, 2, 0).reshape(sizes),
        )
        if tensor.type in FORMATS:
            self.quantised.grids[tensor.name] = grid_of(tensor)
        return view

    def apply(self, op: Operator) -> None:
        if op.name == "CALL_ONCE":
            return  # what variables hold at the beginning, which no output depends on for long
        if op.name == "ASSIGN_VARIABLE":
            self.assign(op)
            return
        handler = self.handlers.get(op.name)
        if handler is None:
            raise Unsupported("it has no counterpart in the hardware", "keep it outside the model")
        made = handler(self, op)
        values = made if isinstance(made, list) else [made]
        self.values.update(zip(op.outputs, values, strict=True))

    # Values

    def tensor(self, op: Operator, position: int) -> Tensor:
        if position >= len(op.inputs) or op.inputs[position] < 0:
            raise Unsupported(f"it lacks its input {position}", "convert the model again")
        return self.model.tensors[op.inputs[position]]

    def value(self, op: Operator, position: int = 0) -> Value:
        return self.values.get(op.inputs[position])

    def view(self, op: Operator, position: int = 0) -> View:
        value = self.value(op, position)
        if not isinstance(value, View):
            raise Unsupported("it reads a constant, or part of a stream", "convert it again")
        if value.final:
            raise Unsupported("it follows a softmax or sigmoid", "those may only end the model")
        return value

    def image(self, op: Operator, position: int = 0) -> View:
        view = self.view(op, position)
        image = View.of(view.name, view.shape)
        if view.index.shape != (*view.shape[1:], view.shape[0]) or not np.array_equal(
            view.index, image.index.transpose(1, 2, 0)
        ):
            raise Unsupported("it reads values that were rearranged", "reshape before dense layers")
        return replace(image, pad=view.pad)

    def made(self, view: View, op: Operator, activation: int, ties: Ties = Ties.HALF_EVEN) -> View:
        """Return ``view`` in the codes of what ``op`` writes, N H W C where it is an image."""
        if activation not in _ACTIVATIONS:
            raise Unsupported(f"it has activation {activation}", "use RELU or RELU6")
        target = self.model.tensors[op.outputs[0]]
        low, high = _ACTIVATIONS[activation]
        if activation:
            name = self.builder.name(f"{target.name}_activation")
            view = self.builder.pointwise(view, name, name, low=low, high=high)
        grid = grid_of(target)
        # Halves of pooled codes go away from code 0.
        rule = Rule(zero=grid.zero) if ties is Ties.HALF_EVEN else Rule(ties=ties)
        made = self.quantised.quantise(view, grid, rule, target.name, raw=False)
        if made.index.ndim == 3 and made.image:
            return made.with_index(made.index.transpose(1, 2, 0))
        return made

    def weights(self, tensor: Tensor, axis: int) -> WeightCodes:
        if tensor.values is None or tensor.type not in (9, 3) or not tensor.scales.size:
            raise Unsupported("its weights are no constant codes of 8 bits", "quantise them")
        shape = [1] * tensor.values.ndim
        if tensor.scales.size > 1:
            if tensor.axis != axis or tensor.values.shape[axis] != tensor.scales.size:
                raise Unsupported("its scales are not by output channel", "quantise it so")
            shape[axis] = -1
        values = tensor.values.astype(np.int64) - tensor.zeros.reshape(shape)
        scale = np.broadcast_to(tensor.scales.reshape(shape), values.shape)
        return WeightCodes(values=values, scale=scale, bits=8)

    def bias(self, op: Operator, source: Tensor, weights: WeightCodes, rows: int) -> np.ndarray:
        """Return a bias as real numbers: integers times the scales of input and weights."""
        if len(op.inputs) < 3 or op.inputs[2] < 0:
            return np.zeros(rows)
        stored = self.tensor(op, 2)
        if stored.values is None or stored.values.dtype.kind != "i" or stored.values.size != rows:
            raise Unsupported("its bias is no constant of integers", "quantise it")
        scale = weights.scale.reshape(rows, -1)[:, 0] * float(source.scales[0])
        return np.asarray(stored.values.reshape(-1) * scale)

    def call(self, op: Operator, shape: tuple[int, ...], /, **args: Any) -> Call:
        target = self.model.tensors[op.outputs[0]].name
        name = self.builder.name(f"{target}_real")
        return Call(args=args, shape=shape, name=name, where=f"{target}/{op.name}")

    def window(self, op: Operator, view: View, kernel: tuple[int, int], fields: Any) -> Window:
        padding, stride_x, stride_y, dilation_x, dilation_y = fields
        stride, dilation = (stride_y, stride_x), (dilation_y, dilation_x)
        if min(*stride, *dilation, *kernel) < 1 or padding not in (0, 1):
            raise Unsupported("its window is not positive", "convert the model again")
        sides = [list(view.pad[:2]), list(view.pad[2:])]
        for axis, size in enumerate(view.shape[1:]):
            extent = dilation[axis] * (kernel[axis] - 1) + 1
            total = (-(-size // stride[axis]) - 1) * stride[axis] + extent - size
            total = max(0, total) if padding == 0 else 0
            if self.streams and axis == 0 and padding == 0 and total:
                raise Unsupported("it pads a stream in time", "use valid padding")
            sides[0][axis] += total // 2
            sides[1][axis] += total - total // 2
        (top, left), (bottom, right) = sides
        window = Window(
            kernel=kernel, stride=stride, dilation=dilation, padding=(top, left, bottom, right)
        )
        if min(window.output_size(*view.shape[1:])) < 1:
            raise Unsupported("its window is larger than its input", "convert the model again")
        return window

    # Streams

    def assign(self, op: Operator) -> None:
        handle, number = op.inputs
        part = self.values.get(number)
        kept = isinstance(part, Part) and part.operator is None and part.skip == part.new
        if not kept or not isinstance(part, Part) or part.variable != handle:
            raise Unsupported(
                "it keeps something other than the last frames of its own stream",
                "use ring buffers of frames",
            )


def receptive_field(model: Model) -> int:
    """Return how many frames one output depends on."""
    known: dict[int, tuple[int, int]] = {model.inputs[0]: (1, 1)}
    for op in model.operators:
        given = [known[number] for number in op.inputs if number in known]
        if not given or not op.outputs:
            continue
        reach, step = max(given)
        source, target = model.tensors[op.inputs[0]], model.tensors[op.outputs[0]]
        if op.name in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            kernel = model.tensors[op.inputs[1]].shape[1]
            reach, step = reach + (kernel - 1) * step, step * (option(op, 2, "<i", 1))
        elif op.name == "RESHAPE" and len(source.shape) == 4 and len(target.shape) == 2:
            reach += (source.shape[1] - 1) * step
        known.update(dict.fromkeys(op.outputs, (reach, step)))
    return known.get(model.outputs[0], (1, 1))[0]


def option(op: Operator, field: int, form: str, default: int = 0) -> int:
    """Return a number of an operator's options."""
    table: Table | None = op.options
    return default if table is None else table.number(field, form, default)


def grid_of(tensor: Tensor) -> Grid:
    """Return the grid of an activation."""
    if tensor.type not in FORMATS or tensor.scales.size != 1:
        raise Unsupported(
            f"tensor {tensor.name!r} is not quantised by one scale", "quantise the whole model"
        )
    fmt, zero = FORMATS[tensor.type], int(tensor.zeros[0])
    if not fmt.low <= zero <= fmt.high:
        raise Unsupported(f"the zero point of {tensor.name!r} is {zero}", "use one in range")
    return Grid(format=fmt, scale=float(tensor.scales[0]), zero=zero)
