"""The float graph: what the importer makes and the quantiser reads.

It has the three operations of :class:`celosia.models.network.Network`, with real
numbers in the convolution: a stand-alone activation, addition, average pooling or
batch normalisation is a depthwise convolution, and fusion
(:mod:`celosia.models.fuse`) merges such operations into what comes before.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from celosia.models.distances import sum_distances
from celosia.models.errors import NotFiniteError
from celosia.models.formats import Pot
from celosia.models.functions import Ending
from celosia.models.network import Concat, Interleave, MaxPool, Window
from celosia.models.validation import windows_touch


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FloatConv:
    """A convolution with what follows it.

    ``v = gain * conv(input) + bias``; ``v = v * slope`` where ``v < 0`` (not without a slope);
    ``v = v + residual``; ``output = clip(v, low, high)``, or ``function`` of that.

    ``conv`` adds products, or minus the distances of input and weights (AdderNet), which only
    then have a ``gain`` of their own, 1 where it is None. ``power``, where rows are a scale times
    powers of two, is their format.

    ``weight`` is float64 ``O I FY FX``, ``bias``, ``slope`` and ``gain`` float64 (O,). ``useful``
    is false where the products are not the network's own (see
    :class:`celosia.models.network.Conv`).
    """

    name: str
    input: str
    output: str
    window: Window
    groups: int
    weight: np.ndarray
    bias: np.ndarray
    slope: np.ndarray | None = None
    residual: str | None = None
    low: float = -math.inf
    high: float = math.inf
    useful: bool = True
    distance: bool = False
    gain: np.ndarray | None = None
    power: Pot | None = None
    function: Ending | None = None

    def __post_init__(self) -> None:
        if self.gain is not None and not self.distance:
            raise ValueError(f"conv {self.name!r}: gain is a matter of weights, so must be None")
        if self.weight.ndim != 4 or self.weight.shape[2:] != self.window.kernel:
            raise ValueError(
                f"conv {self.name!r}: weight {self.weight.shape} must be O I FY FX with the "
                f"kernel {self.window.kernel}"
            )
        rows = len(self.weight)
        if self.groups < 1 or rows % self.groups:
            raise ValueError(f"conv {self.name!r}: groups {self.groups} must divide {rows}")
        for field in ("bias", "slope", "gain"):
            value = getattr(self, field)
            if value is not None and value.shape != (rows,):
                raise ValueError(
                    f"conv {self.name!r}: {field} must have shape {(rows,)}, not {value.shape}"
                )
        for field in ("weight", "bias", "slope", "gain"):
            value = getattr(self, field)
            if value is not None and not np.isfinite(value).all():
                raise NotFiniteError(f"conv {self.name!r}: {field} must be finite")
        if not self.low <= self.high:
            raise ValueError(f"conv {self.name!r}: low {self.low} must be at most {self.high}")

    @property
    def pointwise(self) -> bool:
        """Whether every output element depends on the one input element in its place."""
        window = self.window
        return (
            not self.distance
            and window.kernel == (1, 1)
            and window.stride == (1, 1)
            and not any(window.padding)
            and self.weight.shape[:2] == (self.groups, 1)
        )

    @property
    def plain(self) -> bool:
        """Whether nothing follows the convolution."""
        followed = self.residual is not None or self.clips or self.function is not None
        return self.slope is None and not followed

    @property
    def before(self) -> str:
        """Name of what its function is taken of, among the tensors of :func:`evaluate_float`."""
        return self.before_of(self.output)

    @staticmethod
    def before_of(output: str) -> str:
        """Return :attr:`before` of what writes ``output``."""
        return f"{output}/before"

    @property
    def clips(self) -> bool:
        """Whether the output is limited on any side."""
        return self.low > -math.inf or self.high < math.inf


FloatOp = FloatConv | MaxPool | Concat | Interleave


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FloatGraph:
    """A float network: ``inputs`` gives (C, H, W) by name, ``ops`` are in execution order.

    ``notes`` says in words what the importer left out or changed; ``trained`` is false for random
    weights. The constructor checks names and shapes and raises ``ValueError`` naming the operation.
    """

    name: str
    inputs: dict[str, tuple[int, int, int]]
    outputs: tuple[str, ...]
    ops: tuple[FloatOp, ...]
    notes: tuple[str, ...] = ()
    trained: bool = True

    def __post_init__(self) -> None:
        shapes = self.shapes()
        for name in self.outputs:
            if name not in shapes:
                raise ValueError(f"graph {self.name!r}: nothing writes output {name!r}")

    def shapes(self) -> dict[str, tuple[int, int, int]]:
        """Return the shape (C, H, W) of every tensor."""
        shapes = dict(self.inputs)
        for op in self.ops:
            for name in reads(op):
                if name not in shapes:
                    raise ValueError(f"operation {op.name!r} reads {name!r} before it is written")
            if op.output in shapes:
                raise ValueError(f"operation {op.name!r} writes {op.output!r} a second time")
            shapes[op.output] = _output_shape(op, shapes)
        return shapes

    def readers(self) -> dict[str, list[FloatOp]]:
        """Return the operations that read each tensor, one entry for each time."""
        result: dict[str, list[FloatOp]] = {name: [] for name in self.shapes()}
        for op in self.ops:
            for name in reads(op):
                result[name].append(op)
        return result

    def writers(self) -> dict[str, FloatOp]:
        """Return the operation that writes each tensor."""
        return {op.output: op for op in self.ops}


def reads(op: FloatOp) -> tuple[str, ...]:
    """Return the names of the tensors that ``op`` reads."""
    if isinstance(op, Concat | Interleave):
        return op.inputs
    if isinstance(op, FloatConv) and op.residual is not None:
        return (op.input, op.residual)
    return (op.input,)


def _output_shape(op: FloatOp, shapes: dict[str, tuple[int, int, int]]) -> tuple[int, int, int]:
    if isinstance(op, Concat):
        sizes = {shapes[name][1:] for name in op.inputs}
        if len(sizes) != 1:
            raise ValueError(f"concat {op.name!r}: members differ in size: {sorted(sizes)}")
        return (sum(shapes[name][0] for name in op.inputs), *sizes.pop())
    if isinstance(op, Interleave):
        ends = [part.places(*shapes[part.input][1:]) for part in op.parts]
        height, width = (max(end[axis].stop for end in ends) for axis in range(2))
        return (shapes[op.inputs[0]][0], height, width)
    channels, height, width = shapes[op.input]
    size = op.window.output_size(height, width)
    if min(size) < 1:
        raise ValueError(f"operation {op.name!r}: window larger than its input {height}x{width}")
    if isinstance(op, MaxPool):
        if not windows_touch(op.window, height, width):
            raise ValueError(f"max pool {op.name!r}: a window holds nothing but padding")
        return (channels, *size)
    if op.weight.shape[1] * op.groups != channels:
        raise ValueError(
            f"conv {op.name!r}: weights for {op.weight.shape[1] * op.groups} channels, "
            f"input has {channels}"
        )
    shape = (len(op.weight), *size)
    if op.residual is not None and shapes[op.residual] != shape:
        raise ValueError(
            f"conv {op.name!r}: residual has shape {shapes[op.residual]}, output {shape}"
        )
    return shape


def evaluate_float(
    graph: FloatGraph,
    inputs: Mapping[str, torch.Tensor],
    weights: Mapping[str, torch.Tensor] | None = None,
) -> dict[str, torch.Tensor]:
    """Return every tensor of ``graph``, (N, C, H, W), in the type of the inputs.

    What functions are taken of is there too, by :attr:`FloatConv.before`.

    ``weights`` stand in for those of the convolutions that they are named after.
    """
    instead = weights or {}
    values = {name: inputs[name] for name in graph.inputs}
    for op in graph.ops:
        if isinstance(op, Concat):
            values[op.output] = torch.cat([values[name] for name in op.inputs], dim=1)
        elif isinstance(op, MaxPool):
            values[op.output] = pool_float(op, values[op.input])
        elif isinstance(op, Interleave):
            values[op.output] = interleave_float(op, values)
        else:
            acc = convolve_float(op, values[op.input], instead.get(op.name))
            residual = None if op.residual is None else values[op.residual]
            value = finish_float(op, acc, residual)
            if op.function is not None:
                values[op.before] = value
                value = op.function(value)
            values[op.output] = value
    return values


def convolve_float(
    op: FloatConv, x: torch.Tensor, weight: torch.Tensor | None = None
) -> torch.Tensor:
    """Return ``gain * conv(x) + bias``, with ``weight`` instead of the operation's where given."""
    if weight is None:
        weight = torch.from_numpy(op.weight).to(x.dtype)
    bias = torch.from_numpy(op.bias).to(x.dtype)
    window = op.window
    if op.distance:
        sums = sum_distances(pad_float(x, window, 0.0), weight, window, op.groups)
        gain = torch.ones_like(bias) if op.gain is None else torch.from_numpy(op.gain).to(x.dtype)
        return sums * gain[:, None, None] + bias[:, None, None]
    return torch.nn.functional.conv2d(
        pad_float(x, window, 0.0), weight, bias, window.stride, 0, window.dilation, op.groups
    )


def finish_float(op: FloatConv, v: torch.Tensor, residual: torch.Tensor | None) -> torch.Tensor:
    """Return what ``op`` makes of ``conv + bias``: slope, residual, clip; no function yet."""
    if op.slope is not None:
        slope = torch.from_numpy(op.slope).to(v.dtype)[:, None, None]
        v = torch.where(v < 0, v * slope, v)
    if residual is not None:
        v = v + residual
    return v.clamp(op.low, op.high) if op.clips else v


def pool_float(op: MaxPool, x: torch.Tensor) -> torch.Tensor:
    """Return the maxima of ``x`` over the window of ``op``."""
    window = op.window
    return torch.nn.functional.max_pool2d(
        pad_float(x, window, -math.inf), window.kernel, window.stride, 0, window.dilation
    )


def interleave_float(op: Interleave, values: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """Return the output of ``op`` from the ``values`` of its parts."""
    ends = [part.places(*values[part.input].shape[2:]) for part in op.parts]
    height, width = (max(end[axis].stop for end in ends) for axis in range(2))
    first = values[op.inputs[0]]
    result = first.new_empty((*first.shape[:2], height, width))
    for part, (rows, columns) in zip(op.parts, ends, strict=True):
        result[:, :, rows, columns] = values[part.input]
    return result


def pad_float(x: torch.Tensor, window: Window, value: float) -> torch.Tensor:
    """Return ``x`` with the padding of ``window`` round it."""
    top, left, bottom, right = window.padding
    if not any(window.padding):
        return x
    return torch.nn.functional.pad(x, (left, right, top, bottom), value=value)
