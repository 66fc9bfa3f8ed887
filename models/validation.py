"""The checks of :class:`celosia.models.network.Network`. Imports numpy only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np

from celosia.models.bounds import accumulator_bits
from celosia.models.formats import BlockScaling, Element, Fixed
from celosia.models.lstm import CELL_FORMAT, CODE_BITS, Lstm
from celosia.models.network import (
    MAX_ACCUMULATOR_BITS,
    Concat,
    Conv,
    Interleave,
    MaxPool,
    Network,
    Op,
    Tensor,
    Window,
)
from celosia.models.operations import MULTIPLY
from celosia.models.sparse import SparseLinear


def check_network(network: Network) -> None:
    """Raise ``ValueError`` naming the first thing that is wrong with ``network``."""
    tensors = {tensor.name: tensor for tensor in network.tensors}
    if not network.name:
        raise ValueError(f"network name must be a non-empty string, not {network.name!r}")
    _check_unique("tensor", (tensor.name for tensor in network.tensors))
    _check_unique("operation", (op.name for op in network.ops))
    _check_unique("input", network.inputs)
    _check_unique("output", network.outputs)
    if not network.inputs or not network.outputs:
        raise ValueError(f"network {network.name!r} must have an input and an output")
    for name in (*network.inputs, *network.outputs):
        if name not in tensors:
            raise ValueError(f"network {network.name!r}: no tensor is called {name!r}")
    writers = _check_order(network, tensors)
    members = Counter(name for op in network.ops if isinstance(op, Concat) for name in op.inputs)
    for op in network.ops:
        if isinstance(op, Conv):
            _check_conv(op, tensors)
            _check_vectors(op, tensors, writers)
        elif isinstance(op, SparseLinear):
            _check_sparse(op, tensors)
        elif isinstance(op, Lstm):
            _check_lstm(op, tensors)
        elif isinstance(op, MaxPool):
            _check_pool(op, tensors)
        elif isinstance(op, Interleave):
            _check_interleave(op, network, tensors, writers)
        else:
            _check_concat(op, tensors, writers, members)


def reads(op: Op) -> tuple[str, ...]:
    """Return the names of the tensors that ``op`` reads."""
    if isinstance(op, Concat | Interleave):
        return op.inputs
    if isinstance(op, Conv) and op.residual is not None:
        return (op.input, op.residual)
    if isinstance(op, Lstm):
        return (op.input, op.hidden, op.cell)
    return (op.input,)


def writes(op: Op) -> tuple[str, ...]:
    """Return the names of the tensors that ``op`` writes, its output first."""
    return (op.output, op.cells) if isinstance(op, Lstm) else (op.output,)


def _check_unique(kind: str, names: Iterable[str]) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise ValueError(f"{kind} {name!r} appears {count} times, must be once")


def _check_order(network: Network, tensors: dict[str, Tensor]) -> dict[str, Op]:
    writers: dict[str, Op] = {}
    known = set(network.inputs)
    for op in network.ops:
        for name in (*reads(op), *writes(op)):
            if name not in tensors:
                raise ValueError(f"operation {op.name!r}: no tensor is called {name!r}")
        for name in reads(op):
            if name not in known:
                raise ValueError(f"operation {op.name!r} reads {name!r} before it is written")
        for name in writes(op):
            if name in known:
                raise ValueError(f"operation {op.name!r} writes {name!r}, which has a value")
            known.add(name)
            writers[name] = op
    for name in tensors:
        if name not in known:
            raise ValueError(f"tensor {name!r} is no input and no operation writes it")
    for name in network.inputs:
        if tensors[name].scaling is not None:
            raise ValueError(f"input {name!r} must not have scales: only operations make them")
    for tensor in tensors.values():
        if tensor.scaling is not None and tensor.scales_name in tensors:
            raise ValueError(f"tensor {tensor.scales_name!r} is that of the scales already")
    for name in network.outputs:
        if name not in writers:
            raise ValueError(f"output {name!r} must be written by an operation")
    return writers


def _check_size(op: Conv | MaxPool, source: Tensor, target: Tensor, channels: int) -> None:
    size = op.window.output_size(*source.shape[1:])
    if min(size) < 1:
        raise ValueError(
            f"operation {op.name!r}: its window covers {op.window.extent}, more than its padded "
            f"input {source.name!r} of {source.shape[1:]}"
        )
    if target.shape != (channels, *size):
        raise ValueError(
            f"operation {op.name!r}: output {target.name!r} must have shape "
            f"{(channels, *size)}, not {target.shape}"
        )


def _check_conv(op: Conv, tensors: dict[str, Tensor]) -> None:
    source, target = tensors[op.input], tensors[op.output]
    channels_in, channels_out = op.channels
    if source.shape[0] != channels_in:
        raise ValueError(
            f"conv {op.name!r}: weights are for {channels_in} input channels, "
            f"{source.name!r} has {source.shape[0]}"
        )
    _check_size(op, source, target, channels_out)
    if op.residual is not None and tensors[op.residual].shape != target.shape:
        raise ValueError(
            f"conv {op.name!r}: residual {op.residual!r} must have the output's shape "
            f"{target.shape}, not {tensors[op.residual].shape}"
        )
    low, high = op.requant.ends
    if target.scaling is not None and op.requant.table is not None:
        raise ValueError(
            f"conv {op.name!r}: output {target.name!r} of a table must not have scales"
        )
    if target.scaling is not None:
        limit = target.limit
        if high != limit or low not in (0, -limit) or (low and not target.format.signed):
            raise ValueError(
                f"conv {op.name!r}: clamp must be 0..{limit}"
                f"{f' or -{limit}..{limit}' * target.format.signed} for the vectors of "
                f"{target.name!r}, not {low}..{high}"
            )
    elif low < target.format.low or high > target.format.high:
        raise ValueError(
            f"conv {op.name!r}: {'clamp' if op.requant.table is None else 'table'} {low}..{high} "
            f"must lie in {target.format.name} of {target.name!r}"
        )
    if op.operation != MULTIPLY and source.scaling is not None:
        raise ValueError(
            f"conv {op.name!r}: input {source.name!r} of operation {op.operation.name} cannot have "
            "scales"
        )
    _check_scalings(op, source)
    bits = accumulator_bits(op, source.format, source.scaling)
    if bits > MAX_ACCUMULATOR_BITS:
        raise ValueError(
            f"conv {op.name!r} needs an accumulator of {bits} bits, more than "
            f"{MAX_ACCUMULATOR_BITS}"
        )


def _check_sparse(op: SparseLinear, tensors: dict[str, Tensor]) -> None:
    rows, columns = op.matrix.shape
    for name, channels in ((op.input, columns), (op.output, rows)):
        if tensors[name].shape != (channels, 1, 1):
            raise ValueError(
                f"sparse linear {op.name!r}: {name!r} must have shape {(channels, 1, 1)}, "
                f"not {tensors[name].shape}"
            )
        if tensors[name].scaling is not None:
            raise ValueError(f"sparse linear {op.name!r}: {name!r} must not have scales")
    target = tensors[op.output]
    if op.low < target.format.low or op.high > target.format.high:
        raise ValueError(
            f"sparse linear {op.name!r}: clamp {op.low}..{op.high} must lie in "
            f"{target.format.name} of {target.name!r}"
        )
    _check_sums(op, tensors[op.input].format)


def _check_sums(op: SparseLinear, activation: Element) -> None:
    bits = op.accumulator_bits(activation)
    if bits > MAX_ACCUMULATOR_BITS:
        raise ValueError(
            f"sparse linear {op.name!r} needs an accumulator of {bits} bits, more than "
            f"{MAX_ACCUMULATOR_BITS}"
        )


def _check_lstm(op: Lstm, tensors: dict[str, Tensor]) -> None:
    steps, where = tensors[op.input].shape[1], f"lstm {op.name!r}"
    shapes = {
        op.input: (op.inputs, steps, 1),
        op.hidden: (op.states, 1, 1),
        op.cell: (op.states, 1, 1),
        op.output: (op.states, steps, 1),
        op.cells: (op.states, steps, 1),
    }
    for name, shape in shapes.items():
        tensor = tensors[name]
        if tensor.shape != shape:
            raise ValueError(f"{where}: {name!r} must have shape {shape}, not {tensor.shape}")
        if tensor.scaling is not None:
            raise ValueError(f"{where}: {name!r} must not have scales")
        if tensor.zero:
            raise ValueError(f"{where}: the zero of {name!r} must be 0, not {tensor.zero}")
    source, output = tensors[op.input].format, tensors[op.output].format
    if not (isinstance(output, Fixed) and output.signed):
        raise ValueError(f"{where}: {op.output!r} must have a sign, {output.name} has none")
    if source.high >> CODE_BITS - 1:
        raise ValueError(
            f"{where}: {op.input!r} must fit {CODE_BITS} bits with a sign, {source.name} does not"
        )
    for names, fmt, scale in (
        ((op.cell, op.cells), CELL_FORMAT, op.cell_scale),
        ((op.hidden, op.output), output, op.output_scale),
    ):
        for name in names:
            tensor = tensors[name]
            if tensor.format != fmt or tensor.scale != scale:
                raise ValueError(
                    f"{where}: {name!r} must be {fmt.name} x {scale!r}, not "
                    f"{tensor.format.name} x {tensor.scale!r}"
                )
    _check_sums(op.linear, wider(source, output))


def wider(first: Element, second: Element) -> Element:
    """Return a format that holds all values of two."""
    low, high = min(first.low, second.low), max(first.high, second.high)
    return Fixed(
        bits=max(high.bit_length() + (low < 0), (-low - 1).bit_length() + 1), signed=low < 0
    )


def _check_scalings(op: Conv, source: Tensor) -> None:
    """Refuse weights whose vectors or scales are not those of the input, where both have some."""
    if op.scales is None or source.scaling is None:
        return
    if op.scales.scaling != source.scaling:
        raise ValueError(
            f"conv {op.name!r}: weights and input {source.name!r} must have the same scaling, "
            f"not {op.scales.scaling!r} and {source.scaling!r}"
        )


def _check_vectors(op: Conv, tensors: dict[str, Tensor], writers: dict[str, Op]) -> None:
    """Refuse a concat whose members are no whole vectors of ``op``: words begin with each."""
    concat = writers.get(op.input)
    if op.scales is not None and isinstance(concat, Concat):
        _check_members(op, concat, tensors, op.scales.scaling)


def _check_members(
    op: Op, concat: Concat, tensors: dict[str, Tensor], scaling: BlockScaling
) -> None:
    for name in concat.inputs[:-1]:
        if tensors[name].shape[0] % scaling.vector:
            raise ValueError(
                f"operation {op.name!r}: a vector must divide the {tensors[name].shape[0]} "
                f"channels of {name!r}, a member of {concat.output!r}; {scaling.vector} does not"
            )


def _check_pool(op: MaxPool, tensors: dict[str, Tensor]) -> None:
    source, target = tensors[op.input], tensors[op.output]
    _check_size(op, source, target, source.shape[0])
    _check_same(op, source, target)
    if not windows_touch(op.window, source.shape[1], source.shape[2]):
        raise ValueError(f"max pool {op.name!r}: a window holds nothing but padding")


def windows_touch(window: Window, height: int, width: int) -> bool:
    """Whether every window over an input of ``height x width`` holds an input element."""
    outputs = window.output_size(height, width)
    for axis, size in enumerate((height, width)):
        first = np.arange(outputs[axis])[:, None] * window.stride[axis] - window.padding[axis]
        taps = first + np.arange(window.kernel[axis]) * window.dilation[axis]
        if not ((taps >= 0) & (taps < size)).any(axis=1).all():
            return False
    return True


def _check_concat(
    op: Concat, tensors: dict[str, Tensor], writers: dict[str, Op], members: Counter[str]
) -> None:
    target = tensors[op.output]
    for name in op.inputs:
        source = tensors[name]
        if name not in writers or isinstance(writers[name], Concat):
            raise ValueError(
                f"concat {op.name!r}: member {name!r} must be written by a convolution or pooling"
            )
        if members[name] > 1:
            raise ValueError(f"concat {op.name!r}: {name!r} is a member of another concat too")
        if source.shape[1:] != target.shape[1:]:
            raise ValueError(
                f"concat {op.name!r}: {name!r} must have the output's size {target.shape[1:]}, "
                f"not {source.shape[1:]}"
            )
        _check_same(op, source, target)
    if target.scaling is not None:
        _check_members(op, op, tensors, target.scaling)
    channels = sum(tensors[name].shape[0] for name in op.inputs)
    if channels != target.shape[0]:
        raise ValueError(
            f"concat {op.name!r}: output {target.name!r} must have {channels} channels, "
            f"not {target.shape[0]}"
        )


def _check_interleave(
    op: Interleave, network: Network, tensors: dict[str, Tensor], writers: dict[str, Op]
) -> None:
    target, where = tensors[op.output], f"interleave {op.name!r}"
    readers = Counter(name for other in network.ops for name in reads(other))
    covered = np.zeros(target.shape[1:], np.int64)
    for part in op.parts:
        source = tensors[part.input]
        if not isinstance(writers.get(part.input), Conv | MaxPool):
            raise ValueError(
                f"{where}: part {part.input!r} must be written by a convolution or pooling"
            )
        if readers[part.input] > 1 or part.input in network.outputs:
            raise ValueError(f"{where}: something else reads its part {part.input!r} too")
        if source.shape[0] != target.shape[0]:
            raise ValueError(
                f"{where}: part {part.input!r} must have the output's {target.shape[0]} channels, "
                f"not {source.shape[0]}"
            )
        rows, columns = part.places(*source.shape[1:])
        if rows.stop > target.shape[1] or columns.stop > target.shape[2]:
            raise ValueError(f"{where}: part {part.input!r} reaches beyond the output")
        covered[rows, columns] += 1
        _check_same(op, source, target)
    if (covered != 1).any():
        y, x = np.argwhere(covered != 1)[0].tolist()
        raise ValueError(
            f"{where}: pixel ({y}, {x}) of its output is in {int(covered[y, x])} parts, "
            "must be in one"
        )


def _check_same(op: Op, source: Tensor, target: Tensor) -> None:
    if source.scaling != target.scaling:
        raise ValueError(
            f"operation {op.name!r}: {source.name!r} and {target.name!r} must have the same "
            f"scaling, not {source.scaling!r} and {target.scaling!r}"
        )
    if _grid(source) != _grid(target):
        raise ValueError(
            f"operation {op.name!r}: {source.name!r} and {target.name!r} must have the same "
            f"format and scale, not {_grid(source)} and {_grid(target)}"
        )


def _grid(tensor: Tensor) -> str:
    zero = f" from {tensor.zero}" if tensor.zero else ""
    return f"{tensor.format.name} x {tensor.scale!r}{zero}"
