"""Convolutions as compressed layers: the same integers from sparse matrices and vectors alone.

A sparse matrix-vector engine (EIE) has no convolutions. Here each becomes one large sparse matrix
(a Toeplitz matrix) between flattened tensors, and the network computes the same codes in every
tensor. It is a way to run such networks, not a good one: a weight is stored once for each place of
the window, so :func:`stored_weights` are many times the convolution's own.

- A convolution with a ReLU, or without, is a layer; one with slopes for what is negative two: the
  halves above and below 0 apart, then their difference.
- A maximum of k is ``ceil(log2(k)) + 1`` layers, from ``max(a, b) = b + relu(a - b)``.
- Multipliers must be so short that weights absorb them; :func:`short_multipliers` makes a network
  of which that is true. It computes slightly other codes; what is lowered is exact again.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from celosia.models.errors import CelosiaError
from celosia.models.formats import Fixed
from celosia.models.network import (
    MAX_ACCUMULATOR_BITS,
    MAX_SHIFT,
    MULTIPLIER_BITS,
    Conv,
    MaxPool,
    Network,
    Op,
    Rounding,
    Tensor,
    Window,
)
from celosia.models.operations import MULTIPLY
from celosia.models.sparse import SparseLinear, SparseMatrix

WEIGHT_BITS = 16
"""Of the widest weight of a compressed layer, two's complement."""

LEAST = 15
"""What a row's multiplier may reach at least, beside its largest weight."""


def short_multipliers(network: Network, bits: int = WEIGHT_BITS) -> Network:
    """Return ``network`` with requantisations that weights of ``bits`` (4..16) absorb.

    Every row of a convolution gets the same shift, the largest with which weights times multipliers
    fit; multipliers are rounded to that. Operations that cannot be lowered stay as they are.

    Raises :class:`CelosiaError` for a layer whose weights leave no room for multipliers.
    """
    if not 4 <= bits <= WEIGHT_BITS:
        raise ValueError(f"bits must be in 4..{WEIGHT_BITS}, not {bits!r}")
    ops = tuple(_shortened(op, bits) if isinstance(op, Conv) else op for op in network.ops)
    return replace(network, ops=ops)


def _shortened(op: Conv, bits: int) -> Conv:
    requant, limit = op.requant, (1 << bits - 1) - 1
    if _obstacle(op):
        return op
    sizes = np.abs(op.weights).reshape(len(op.weights), -1).max(axis=1).clip(min=1)
    ratios = np.stack([requant.positive, requant.negative]) / 2.0**requant.shift
    # By row what a multiplier may reach; a common shift for all of them.
    most = np.minimum(limit // sizes, (1 << MULTIPLIER_BITS - 1) - 1)
    if int(most.min()) < LEAST:
        raise CelosiaError(
            f"operation {op.name!r}: weights up to {int(sizes.max())} leave no room for "
            f"multipliers within {bits} bits: allow more, or quantise weights with fewer"
        )
    room = (most / np.abs(ratios).max(axis=0).clip(min=1e-30)).min()
    shift = int(np.clip(np.floor(np.log2(room)), 0, MAX_SHIFT))
    positive, negative = (
        np.clip(np.rint(row * 2.0**shift), -most, most).astype(np.int64) for row in ratios
    )
    short = replace(
        requant,
        positive=positive,
        negative=negative,
        shift=np.full_like(requant.shift, shift),
    )
    return replace(op, requant=short)


def lower_convolutions(network: Network) -> Network:
    """Return a network of compressed layers that computes every tensor of ``network``, exactly.

    Tensors keep their names; those of C x H x W are vectors (C * H * W, 1, 1), channel by channel
    and row by row. Further ones hold what comes between.

    Raises
    ------
    CelosiaError
        For an operation that has no such form (concatenation, a residual operand, scales of
        vectors, no products, ties upwards), and for a layer whose weights
        times multipliers do not fit 16 bits: names it, with the sizes.
    """
    return _Lowering(network).network()


def stored_weights(network: Network) -> dict[str, tuple[int, int]]:
    """Return for each convolution its weights, and those that are stored when it is lowered."""
    found = {}
    for op in network.ops:
        if isinstance(op, Conv):
            _, elements, _ = _places(op, network)
            found[op.name] = int(np.count_nonzero(op.weights)), len(elements)
    return found


def _obstacle(op: Op) -> str:
    """Return in words why ``op`` has no exact form as compressed layers, if it has none."""
    if isinstance(op, MaxPool | SparseLinear):
        return ""
    if not isinstance(op, Conv):
        return f"it is a {type(op).__name__.lower()}"
    requant = op.requant
    if op.operation != MULTIPLY:
        return f"its operation is {op.operation.name}"
    if op.residual is not None:
        return "it has a residual operand"
    if op.scales is not None:
        return "its weights have scales"
    if requant.rounding is not Rounding.HALF_EVEN:
        return "it rounds ties upwards"
    if requant.table is not None:
        return "its function is a table"
    return "" if requant.low <= 0 <= requant.high else "its clamp leaves out 0"


def _taps(window: Window, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Return where each position of a window lies, (places, taps), and whether within ``shape``."""
    axes = []
    sizes = window.output_size(*shape)
    for axis in (0, 1):
        starts = np.arange(sizes[axis]) * window.stride[axis] - window.padding[axis]
        axes.append(starts[:, None] + np.arange(window.kernel[axis]) * window.dilation[axis])
    (count_y, count_x), (taps_y, taps_x) = sizes, window.kernel
    y = np.broadcast_to(axes[0][:, None, :, None], (count_y, count_x, taps_y, taps_x))
    x = np.broadcast_to(axes[1][None, :, None, :], (count_y, count_x, taps_y, taps_x))
    inside = (y >= 0) & (y < shape[0]) & (x >= 0) & (x < shape[1])
    places = np.where(inside, y * shape[1] + x, -1)
    return places.reshape(count_y * count_x, -1), inside.reshape(count_y * count_x, -1)


def _places(op: Conv, network: Network) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return row, column and value of each nonzero of the convolution as one matrix."""
    channels, height, width = network.tensor(op.input).shape
    places, inside = _taps(op.window, (height, width))
    outputs, inputs = op.weights.shape[:2]
    flat = op.weights.reshape(outputs, inputs, -1)
    o, i, tap = np.nonzero(flat)
    group = o // (outputs // op.groups)
    place, entry = np.nonzero(inside[:, tap])
    rows = o[entry] * len(places) + place
    columns = (group * inputs + i)[entry] * height * width + places[place, tap[entry]]
    assert columns.size == 0 or columns.max() < channels * height * width
    return rows, columns, flat[o, i, tap][entry]


def _matrix(
    shape: tuple[int, int], rows: np.ndarray, columns: np.ndarray, values: np.ndarray
) -> SparseMatrix:
    """Return the matrix of those nonzeros, each in a place of its own but for equal ones: added."""
    keys, inverse = np.unique(columns * shape[0] + rows, return_inverse=True)
    sums = np.bincount(inverse.reshape(-1), weights=values, minlength=len(keys)).astype(np.int64)
    keys, sums = keys[sums != 0], sums[sums != 0]
    counts = np.bincount(keys // shape[0], minlength=shape[1])
    return SparseMatrix(
        shape=shape,
        starts=np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        rows=(keys % shape[0]).astype(np.int64),
        values=sums,
    )


class _Lowering:
    """The lowered network while it grows."""

    def __init__(self, source: Network) -> None:
        self.source = source
        self.tensors = {tensor.name: _vector(tensor) for tensor in source.tensors}
        self.ops: list[SparseLinear] = []

    def network(self) -> Network:
        for op in self.source.ops:
            reason = _obstacle(op)
            if reason:
                raise CelosiaError(
                    f"operation {op.name!r} has no exact form as a compressed layer: {reason}"
                )
            if isinstance(op, Conv):
                self._conv(op)
            elif isinstance(op, MaxPool):
                self._pool(op)
            else:
                assert isinstance(op, SparseLinear)
                self.ops.append(op)
        return replace(
            self.source,
            name=f"{self.source.name}_lowered",
            tensors=tuple(self.tensors.values()),
            ops=tuple(self.ops),
        )

    def _further(self, name: str, size: int, high: int) -> str:
        """Add a tensor for what comes between; return its name."""
        while name in self.tensors:
            name += "'"
        fmt = Fixed(bits=max(1, high.bit_length()), signed=False)
        self.tensors[name] = Tensor(name=name, shape=(size, 1, 1), format=fmt, scale=1.0)
        return name

    def _layer(
        self,
        name: str,
        source: str,
        target: str,
        entries: tuple[np.ndarray, np.ndarray, np.ndarray],
        *,
        bias: np.ndarray | None = None,
        shift: int = 0,
        low: int = 0,
        high: int,
    ) -> None:
        """Add a layer with the matrix of ``entries``: rows, columns and values."""
        shape = self.tensors[target].shape[0], self.tensors[source].shape[0]
        matrix = _matrix(shape, *entries)
        most = int(np.abs(matrix.values).max(initial=1))
        bias = np.zeros(shape[0], np.int64) if bias is None else bias
        common = int(np.bitwise_or.reduce(np.abs(matrix.values), initial=0))
        common |= int(np.bitwise_or.reduce(np.abs(bias), initial=0)) | 1 << shift
        spare = (common & -common).bit_length() - 1  # factors of two that all have
        if most >> spare >= 1 << WEIGHT_BITS - 1:
            raise CelosiaError(
                f"operation {name!r}: its weights times multipliers need "
                f"{(most >> spare).bit_length() + 1} bits, compressed layers have {WEIGHT_BITS}: "
                "shorten its multipliers first (short_multipliers)"
            )
        if int(np.abs(bias).max()) >> spare >= 1 << MAX_ACCUMULATOR_BITS - 1:
            raise CelosiaError(
                f"operation {name!r}: its biases times multipliers need more than "
                f"{MAX_ACCUMULATOR_BITS} bits: shorten its multipliers first (short_multipliers)"
            )
        bits = max(2, (most >> spare).bit_length() + 1)
        self.ops.append(
            SparseLinear(
                name=name,
                input=source,
                output=target,
                matrix=replace(matrix, values=matrix.values >> spare),
                format=Fixed(bits=bits),
                bias=bias >> spare,
                shift=shift - spare,
                low=low,
                high=high,
            )
        )

    def _conv(self, op: Conv) -> None:
        requant, name = op.requant, op.name
        rows, columns, values = _places(op, self.source)
        _, height, width = self.source.tensor(op.output).shape
        channel = np.arange(len(requant.bias)).repeat(height * width)
        shift = int(requant.shift.max())
        above, below = (
            factor << shift - requant.shift for factor in (requant.positive, requant.negative)
        )
        bias = requant.bias[channel]
        # Whatever is negative becomes 0, or nothing bends at 0.
        relu = bool((above >= 0).all() and ((below == 0).all() or requant.low == 0 <= below.min()))
        if relu or (above == below).all():
            self._layer(
                name, op.input, op.output, (rows, columns, values * above[channel[rows]]),
                bias=bias * above[channel], shift=shift, low=0 if relu else requant.low,
                high=requant.high,
            )  # fmt: skip
            return
        # The halves above and below 0, as far as outputs reach, and their difference, clamped.
        size, most = len(channel), max(requant.high, -requant.low)
        halves = self._further(f"{name}/halves", 2 * size, most)
        factors = np.abs(above)[channel], -np.abs(below)[channel]
        both = (
            np.concatenate([rows, rows + size]),
            np.concatenate([columns, columns]),
            np.concatenate([values * factor[rows] for factor in factors]),
        )
        biases = np.concatenate([bias * factor for factor in factors])
        self._layer(f"{name}/halves", op.input, halves, both, bias=biases, shift=shift, high=most)
        every = np.arange(size)
        difference = (
            np.concatenate([every, every]),
            np.concatenate([every, every + size]),
            np.concatenate([np.sign(above)[channel], -np.sign(below)[channel]]),
        )
        self._layer(name, halves, op.output, difference, low=requant.low, high=requant.high)

    def _pool(self, op: MaxPool) -> None:
        """Add maxima, two candidates at a time.

        A candidate is the sum of one or two elements of the vector so far, none negative, and the
        tensor's lowest code.
        """
        source, target = self.source.tensor(op.input), self.source.tensor(op.output)
        channels, height, width = source.shape
        places, inside = _taps(op.window, (height, width))
        # Where a window reaches beyond the tensor, an element of it counts twice.
        first = places[np.arange(len(places)), inside.argmax(axis=1)]
        places = np.where(inside, places, first[:, None])
        start = np.arange(channels)[:, None, None] * height * width + places
        parts = start.reshape(-1, places.shape[1], 1)  # (windows, candidates, elements)
        low, high = source.format.low, source.format.high
        name, offset, level = op.input, low, 0
        while parts.shape[1] > 1:
            count, pairs = len(parts), parts.shape[1] // 2
            singles = parts.shape[1] - 2 * pairs
            level += 1
            size = count * (2 * pairs + singles)
            made = self._further(f"{op.name}/{level}", size, high - low)
            left, right = parts[:, 0 : 2 * pairs : 2], parts[:, 1 : 2 * pairs : 2]
            kept = np.concatenate([right, parts[:, 2 * pairs :]], axis=1)
            rise = np.arange(count * pairs).reshape(count, pairs)
            keep = count * pairs + np.arange(count * (pairs + singles)).reshape(count, -1)
            entries = [_sums(rise, left, 1), _sums(rise, right, -1), _sums(keep, kept, 1)]
            bias = np.zeros(size, np.int64)
            bias[count * pairs :] = -offset
            joined = tuple(np.concatenate(part) for part in zip(*entries, strict=True))
            rows, columns, values = joined
            self._layer(
                f"{op.name}/{level}", name, made, (rows, columns, values), bias=bias,
                high=high - low,
            )  # fmt: skip
            more = keep[:, :pairs, None]
            parts = np.concatenate([rise[:, :, None], more], axis=2)
            if singles:
                lone = keep[:, pairs:, None]
                parts = np.concatenate([parts, np.concatenate([lone, -1 - 0 * lone], axis=2)], 1)
            name, offset = made, 0
        rows = np.arange(len(parts))[:, None]
        self._layer(
            op.name, name, target.name, _sums(rows, parts, 1),
            bias=np.full(len(parts), low if level else 0, np.int64), low=target.format.low,
            high=target.format.high,
        )  # fmt: skip


def _sums(
    rows: np.ndarray, parts: np.ndarray, sign: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return row, column and value of rows that add up ``parts``, (..., elements); -1 is none."""
    every = np.broadcast_to(rows[..., None], parts.shape)
    there = parts >= 0
    return every[there], parts[there], np.full(int(there.sum()), sign, np.int64)


def _vector(tensor: Tensor) -> Tensor:
    if tensor.scaling is not None:
        raise CelosiaError(
            f"tensor {tensor.name!r} has scales, which compressed layers do not make"
        )
    if tensor.zero:
        raise CelosiaError(
            f"tensor {tensor.name!r} has the real 0 at code {tensor.zero}, and compressed layers "
            "leave out what is code 0: quantise it with zero points of 0"
        )
    size = tensor.shape[0] * tensor.shape[1] * tensor.shape[2]
    return replace(tensor, shape=(size, 1, 1))
