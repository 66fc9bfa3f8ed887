"""From a network to the steps that the array runs.

Every operation becomes one :class:`Step`: a convolution with a maximum window behind
it. Max-pooling is a convolution with weights of 1, or the window behind the convolution that makes
its input (:mod:`celosia.dataflow.fuse`); a concat is a word range, an interleave a matter of the
strides with which its parts are stored. Where the layout cannot serve a reader, a copy step is put
before it:

- a residual operand whose channels cannot lie where the output's do;
- a tensor that both a padded convolution (border of its zero) and a padded max-pooling
  (border of the lowest code) read, where those differ.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.layout import Unfold
from celosia.dataflow.unfold import Unfolding, unfolded_weights
from celosia.dataflow.windows import ENDLESS
from celosia.models.errors import CelosiaError
from celosia.models.formats import Fixed, Format
from celosia.models.lstm import Lstm
from celosia.models.network import (
    Concat,
    Conv,
    Interleave,
    MaxPool,
    Network,
    Part,
    Requant,
    Tensor,
    WeightScales,
    Window,
)
from celosia.models.operations import DISTANCE, MULTIPLY, Operation
from celosia.models.sparse import SparseLinear

POINT = Window(kernel=(1, 1))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Step:
    """One convolution and the maximum window behind it, as the array runs it.

    ``layer`` is the network's operation that it belongs to. ``formats`` is ``None``
    for weights that every column of its ``operation`` holds. ``window`` is the convolution's,
    ``pool`` the maximum's: maxima are taken of the sums ``within`` (top, left, bottom, right), and
    of each window some are; ``sums`` is the tensor that they then are, which is nowhere. ``scales``
    multiply the weights as a :class:`Conv`'s do. ``is_pool``
    says that it takes maxima of its input, whose border must then never win one.
    ``own_rows`` is not 0 where each column takes the window of its own channel: so many rows of
    the kernel, which they divide, in one step of the array.
    """

    name: str
    layer: str
    input: str
    output: str
    window: Window
    pool: Window
    groups: int
    weights: np.ndarray
    formats: tuple[Format, ...] | None
    requant: Requant
    residual: str | None = None
    scales: WeightScales | None = None
    operation: Operation = MULTIPLY
    within: tuple[int, int, int, int] = (0, 0, ENDLESS, ENDLESS)
    is_pool: bool = False
    own_rows: int = 0
    sums: str | None = None

    def conv_size(self, out: tuple[int, int]) -> tuple[int, int]:
        """Return the rows and columns of accumulators for ``out`` rows and columns."""
        (sy, sx), (ey, ex) = self.pool.stride, self.pool.extent
        return (out[0] - 1) * sy + ey, (out[1] - 1) * sx + ex

    def border(self, source: tuple[int, int], target: Tensor) -> tuple[int, int, int, int]:
        """Return the rows and columns (top, left, bottom, right) read outside ``source``'s."""
        rows, cols = self.conv_size(target.shape[1:])
        (sy, sx), (ey, ex) = self.window.stride, self.window.extent
        top, left = self.window.padding[:2]
        bottom = (rows - 1) * sy + ey - top - source[0]
        right = (cols - 1) * sx + ex - left - source[1]
        return top, left, max(0, bottom), max(0, right)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lowered:
    """Steps in execution order and the tensors that they read and write.

    ``concats`` maps a concat's output to its members in order, ``interleaves`` an interleave's to
    its parts, ``wholes`` members and parts to these outputs; ``unfolds`` the network inputs whose
    words hold several pixels.
    """

    network: Network
    steps: tuple[Step, ...]
    tensors: dict[str, Tensor]
    concats: dict[str, tuple[str, ...]]
    interleaves: dict[str, tuple[Part, ...]]
    wholes: dict[str, str]
    unfolds: dict[str, Unfold]

    @property
    def nowhere(self) -> frozenset[str]:
        """Names of the network's tensors that maxima are taken of as they are made."""
        return frozenset(tensor.name for tensor in self.network.tensors) - self.tensors.keys()

    def grid(self, name: str) -> tuple[int, int]:
        """Return the rows and columns of words of a tensor."""
        return self.unfolds[name].grid if name in self.unfolds else self.tensors[name].shape[1:]

    def root(self, name: str) -> str:
        """Return the tensor whose memory holds ``name``: what it is a part of, or itself."""
        while name in self.wholes:
            name = self.wholes[name]
        return name


def identity(channels: int, low: int, high: int) -> Requant:
    """Return the requantisation that changes nothing in ``low..high``."""
    zero, one = np.zeros(channels, np.int64), np.ones(channels, np.int64)
    return Requant(
        bias=zero, positive=one, negative=one, residual=zero, shift=zero, low=low, high=high
    )


def _unchanged(channels: int, source: Tensor) -> Requant:
    if source.scaling is None:
        return identity(channels, source.format.low, source.format.high)
    return identity(channels, -source.limit if source.format.signed else 0, source.limit)


def _diagonal(
    name: str,
    layer: str,
    source: Tensor,
    output: str,
    window: Window,
    operation: Operation = MULTIPLY,
) -> Step:
    """Return the step that takes maxima over ``window``: each channel alone, by ``operation``.

    Sums are the activations themselves: products by 1, or shifts up and down again. A distance
    from the greatest activation of a signed format lacks that, one from 0 has the wrong sign.
    """
    channels, fmt = source.shape[0], source.format
    distance = operation == DISTANCE
    weight = (fmt.high if fmt.signed else 0) if distance else 1 << operation.dropped
    sign = -1 if distance and not fmt.signed else 1
    return Step(
        name=name,
        layer=layer,
        input=source.name,
        output=output,
        window=Window(kernel=(1, 1), padding=window.padding),
        pool=Window(kernel=window.kernel, stride=window.stride, dilation=window.dilation),
        groups=channels,
        weights=np.full((channels, 1, 1, 1), weight, np.int64),
        formats=(Fixed(bits=max(2, fmt.bits)),) * channels if distance and fmt.signed else None,
        requant=replace(
            _unchanged(channels, source),
            bias=np.full(channels, weight if distance else 0, np.int64),
            positive=np.full(channels, sign, np.int64),
            negative=np.full(channels, sign, np.int64),
        ),
        operation=operation,
        is_pool=window.kernel != (1, 1),
    )


class Lowering:
    """A network's steps while copies are still put between them; :func:`lower` finishes it."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.steps: list[Step] = []
        self.tensors = {tensor.name: tensor for tensor in network.tensors}
        self.concats = {op.output: op.inputs for op in network.ops if isinstance(op, Concat)}
        joins = [op for op in network.ops if isinstance(op, Concat | Interleave)]
        self.wholes = {name: op.output for op in joins for name in op.inputs}
        self.interleaves = {op.output: op.parts for op in joins if isinstance(op, Interleave)}
        for op in network.ops:
            if isinstance(op, Conv):
                self.steps.append(_conv_step(op))
            elif isinstance(op, SparseLinear):
                self.steps.append(_conv_step(op.dense()))
            elif isinstance(op, MaxPool):
                source = self.tensors[op.input]
                self.steps.append(_diagonal(op.name, op.name, source, op.output, op.window))
            elif isinstance(op, Lstm):
                raise CelosiaError(
                    f"operation {op.name!r}: the dense engine has no recurrent layers: run the "
                    "network on an EIE engine with a cell unit, such as eie_lstm"
                )

    def root(self, name: str) -> str:
        """Return the tensor whose memory holds ``name``."""
        while name in self.wholes:
            name = self.wholes[name]
        return name

    def is_joined(self, name: str) -> bool:
        """Return whether tensor ``name`` is a concat or an interleave, or a part of one."""
        return name in self.concats or name in self.interleaves or name in self.wholes

    def fuse(self, maker: Step, pool: Step, fused: Step) -> None:
        """Put ``fused`` in the place of ``maker`` and ``pool``; what is between them is nowhere."""
        del self.tensors[maker.output]
        self.steps = [fused if step is maker else step for step in self.steps if step is not pool]

    def _border(self, step: Step) -> bool:
        return any(step.border(self.tensors[step.input].shape[1:], self.tensors[step.output]))

    def copy_before(self, index: int, residual: bool) -> None:
        """Put a copy of step ``index``'s input or residual operand before it."""
        step = self.steps[index]
        kind = "residual" if residual else "input"
        source = self.tensors[(step.residual or "") if residual else step.input]
        if source.scaling is not None:
            raise CelosiaError(
                f"layer {step.layer!r} needs a copy of its {kind} {source.name!r}, and a copy of a "
                "tensor with scales is not exact: quantise that tensor without"
            )
        name = f"{step.layer}/{kind}"
        while name in self.tensors or any(step.name == name for step in self.steps):
            name += "'"
        self.tensors[name] = replace(source, name=name)
        # A residual operand lies in the columns of its sum: those that do its operation.
        operation = step.operation if residual else MULTIPLY
        copy = _diagonal(name, step.layer, source, name, POINT, operation)
        changed = replace(step, residual=name) if residual else replace(step, input=name)
        self.steps[index : index + 1] = [copy, changed]

    def split_borders(self) -> None:
        """Copy what a padded max-pooling reads beside a padded convolution."""
        padded = {
            self.root(step.input) for step in self.steps if not step.is_pool and self._border(step)
        }
        index = 0
        while index < len(self.steps):
            step = self.steps[index]
            source = self.tensors[step.input]
            both = step.is_pool and self._border(step) and self.root(step.input) in padded
            if both and source.format.low != source.zero:
                self.copy_before(index, residual=False)
                index += 1
            index += 1

    def unfold_inputs(self, accelerator: Accelerator) -> dict[str, Unfold]:
        """Unfold inputs of few channels that one convolution reads; return how.

        Not where weights have scales: a vector would hold several kernel positions.
        """
        unfolds: dict[str, Unfold] = {}
        for name in self.network.inputs:
            readers = [
                i for i, step in enumerate(self.steps) if name in (step.input, step.residual)
            ]
            if len(readers) != 1:
                continue
            step = self.steps[readers[0]]
            channels, *size = self.tensors[name].shape
            few = 2 * channels <= accelerator.array.lanes
            if step.residual == name or step.groups != 1 or step.formats is None or not few:
                continue
            # A kernel that copies do not divide leaves lanes whose weights must be none, not 0.
            if step.scales is not None or step.operation == DISTANCE:
                continue
            unfolding = Unfolding(
                channels=channels,
                size=(size[0], size[1]),
                window=step.window,
                sums=step.conv_size(self.tensors[step.output].shape[1:]),
                rows=len(step.weights),
            )
            unfold = unfolding.best(accelerator)
            if unfold is not None:
                unfolds[name] = unfold
                self.steps[readers[0]] = replace(
                    step,
                    window=unfolding.reader(unfold),
                    weights=unfolded_weights(step.weights, unfold),
                )
        return unfolds


def _conv_step(op: Conv) -> Step:
    return Step(
        name=op.name,
        layer=op.name,
        input=op.input,
        output=op.output,
        window=op.window,
        pool=POINT,
        groups=op.groups,
        weights=op.weights,
        formats=op.formats,
        requant=op.requant,
        residual=op.residual,
        scales=op.scales,
        operation=op.operation,
    )


def lower(lowering: Lowering, accelerator: Accelerator) -> Lowered:
    """Return the finished value of ``lowering`` for the words of ``accelerator``."""
    unfolds = lowering.unfold_inputs(accelerator)
    return Lowered(
        network=lowering.network,
        steps=tuple(lowering.steps),
        tensors=dict(lowering.tensors),
        concats=dict(lowering.concats),
        interleaves=dict(lowering.interleaves),
        wholes=dict(lowering.wholes),
        unfolds=unfolds,
    )
