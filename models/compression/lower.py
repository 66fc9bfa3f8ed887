"""A float graph of fully connected layers as one of matrices and vectors, computing the same."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from celosia.models.errors import CelosiaError
from celosia.models.graph import FloatConv, FloatGraph, FloatOp
from celosia.models.network import Window

ONE = Window(kernel=(1, 1))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lowered:
    """A graph whose tensors are vectors, (C, 1, 1), and whose layers are matrices with a clip.

    ``rows`` and ``columns`` hold, for each layer by name, from which row and column of the layer
    before lowering each of its rows and columns comes, int64.
    """

    graph: FloatGraph
    rows: Mapping[str, np.ndarray]
    columns: Mapping[str, np.ndarray]

    def shape(self, layer: str) -> tuple[int, int]:
        """Return rows and columns of a layer before lowering."""
        return int(self.rows[layer].max()) + 1, int(self.columns[layer].max()) + 1

    def growth(self, layer: str) -> float:
        """Return how many weights a layer has for each of before: more than 1 beside slopes."""
        rows, columns = self.shape(layer)
        return len(self.rows[layer]) * len(self.columns[layer]) / (rows * columns)

    def reordered(self, orders: Mapping[str, np.ndarray]) -> Lowered:
        """Return the same function with the elements of some tensors in another order.

        Element i of a tensor is the element ``orders[name][i]`` of before; inputs and outputs of
        the graph are not among them.
        """
        ops: list[FloatOp] = []
        rows, columns = dict(self.rows), dict(self.columns)
        for op in layers_of(self.graph):
            down = orders.get(op.output, np.arange(len(op.weight)))
            across = orders.get(op.input, np.arange(op.weight.shape[1]))
            rows[op.name], columns[op.name] = rows[op.name][down], columns[op.name][across]
            ops.append(replace(op, weight=op.weight[down][:, across], bias=op.bias[down]))
        return Lowered(graph=replace(self.graph, ops=tuple(ops)), rows=rows, columns=columns)


def layers_of(graph: FloatGraph) -> tuple[FloatConv, ...]:
    """Return the layers of a lowered graph."""
    return tuple(op for op in graph.ops if isinstance(op, FloatConv))


def weights_of(op: FloatConv) -> np.ndarray:
    """Return the weights of a lowered layer, float64 (O, I)."""
    return op.weight.reshape(len(op.weight), -1)


def vectors(inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return inputs (N, C, H, W) as vectors (N, C * H * W, 1, 1)."""
    return {name: data.reshape(len(data), -1, 1, 1) for name, data in inputs.items()}


def lower(graph: FloatGraph) -> Lowered:
    """Lower ``graph``, of fully connected layers alone.

    A layer that covers its whole input becomes a matrix. One with slopes for what is negative
    (PReLU, LeakyReLU) becomes one with a ReLU: of every row with a slope there are two, v and -v,
    and later layers take the second times minus the slope.

    Raises
    ------
    CelosiaError
        If there is any other operation, or a network's output has a slope: names it.
    """
    shapes = graph.shapes()
    halves: dict[str, tuple[np.ndarray, np.ndarray]] = {}  # of a tensor: channel, factor of each
    ops: list[FloatOp] = []
    rows, columns = {}, {}
    for op in graph.ops:
        layer = _checked(op, graph, shapes)
        matrix = weights_of(layer)
        count = shapes[layer.input]
        channels, factors = halves.get(
            layer.input, (np.arange(math.prod(count)), np.ones(math.prod(count)))
        )
        matrix = matrix[:, channels] * factors
        made = np.arange(len(matrix))
        signs = np.ones(len(matrix))
        if layer.slope is not None:
            second = np.flatnonzero(layer.slope)
            made = np.concatenate([made, second])
            signs = np.concatenate([signs, -np.ones(len(second))])
            halves[layer.output] = made, np.where(signs > 0, 1.0, -layer.slope[made])
        rows[layer.name], columns[layer.name] = made, channels
        ops.append(
            replace(
                layer,
                window=ONE,
                weight=(signs[:, None] * matrix[made])[..., None, None],
                bias=signs * layer.bias[made],
                slope=None,
                low=layer.low if layer.slope is None else 0.0,
                power=None,
            )
        )
    sizes = {name: (math.prod(shape), 1, 1) for name, shape in graph.inputs.items()}
    return Lowered(graph=replace(graph, inputs=sizes, ops=tuple(ops)), rows=rows, columns=columns)


def _checked(
    op: FloatOp, graph: FloatGraph, shapes: Mapping[str, tuple[int, int, int]]
) -> FloatConv:
    """Return ``op``, a fully connected layer; refuse others."""
    why = ""
    if not isinstance(op, FloatConv):
        why = f"a {type(op).__name__.lower()}"
    elif op.distance:
        why = "a layer of distances"
    elif op.window.kernel != shapes[op.input][1:] or any(op.window.padding):
        why = "a convolution"
    elif op.groups > 1:
        why = "in groups"
    elif op.residual is not None:
        why = "with a residual operand"
    elif op.slope is not None and (op.output in graph.outputs or op.clips):
        why = "with a slope at an output or before a limit"
    elif op.function is not None:
        why = f"with {op.function.label} after it"
    elif not op.low <= 0 <= op.high:
        why = f"limited to {op.low:g}..{op.high:g}, without 0"
    if isinstance(op, FloatConv) and not why:
        return op
    raise CelosiaError(
        f"operation {op.name!r} is no fully connected layer ({why}): compression takes Linear "
        "layers with ReLU, PReLU or nothing after them; export that part of the model alone"
    )
