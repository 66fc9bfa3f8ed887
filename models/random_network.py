"""Small random networks that use every corner of :class:`Network`: for tests of all floors."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from celosia.models.formats import BlockScaling, Element, Fixed, Format, element_of
from celosia.models.network import (
    MAX_ACCUMULATOR_BITS,
    MULTIPLIER_BITS,
    Concat,
    Conv,
    MaxPool,
    Network,
    Op,
    Requant,
    Rounding,
    Tensor,
    WeightScales,
    Window,
)
from celosia.models.operations import MULTIPLY, Kind, Operation
from celosia.models.tables import Table
from celosia.models.validation import reads, windows_touch

KERNELS = (1, 1, 1, 2, 3, 3, 3, 4, 5, 7)
CHANNELS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 16, 17)
SIZES = (1, 1, 2, 3, 4, 5, 7, 8, 9, 12)


def random_network(
    seed: int,
    formats: tuple[Format, ...],
    activation_bits: int = 8,
    scaling: BlockScaling | None = None,
    elements: Element | None = None,
    operations: tuple[Operation, ...] = (MULTIPLY,),
) -> Network:
    """Return a small random network, the same for the same arguments.

    Between 2 and 7 operations: convolutions (1x1 to 7x7, any stride, dilation, padding and
    grouping, rows of mixed ``formats``), max pooling, residual operands, concats,
    linear layers; odd channel counts, a single output channel, inputs of one pixel,
    several inputs and outputs. Requantisation constants are random but scaled so that outputs
    spread over their format; some rows have odd ones (multiplier 0 or negative, shift 0).

    Parameters
    ----------
    seed
        Any non-negative integer.
    formats
        Formats that rows of weights may have, at least one.
    activation_bits
        Width of all activations, 2..8; each tensor is signed or not at random.
    scaling
        Most convolutions whose channels make whole vectors have weights with such scales.
    elements
        With ``scaling``, most outputs of convolutions have scales too, and such elements.
    operations
        Operations that convolutions may have, at least one; each has a format among ``formats``.
    """
    if not formats:
        raise ValueError("formats must have at least one entry")
    if not 2 <= activation_bits <= 8:
        raise ValueError(f"activation_bits must be in 2..8, not {activation_bits!r}")
    choices = {operation: _suitable(operation, formats) for operation in operations}
    for operation, suitable in choices.items():
        if not suitable:
            raise ValueError(f"formats must have one for operation {operation.name}")
    if not choices:
        raise ValueError("operations must have at least one entry")
    builder = _Builder(
        random=np.random.default_rng(seed),
        choices=choices,
        activation_bits=activation_bits,
        scaling=scaling,
        elements=elements,
    )
    return builder.build(f"random{seed}")


@dataclass(slots=True, kw_only=True)
class _Builder:
    random: np.random.Generator
    choices: dict[Operation, tuple[Format, ...]]
    activation_bits: int
    scaling: BlockScaling | None = None
    elements: Element | None = None
    tensors: dict[str, Tensor] = field(default_factory=dict)
    ops: list[Op] = field(default_factory=list)
    inputs: list[str] = field(default_factory=list)
    spread: dict[str, float] = field(default_factory=dict)

    def build(self, name: str) -> Network:
        for _ in range(1 if self.chance(0.8) else 2):
            pixel = self.chance(0.08)
            height, width = (1, 1) if pixel else (self.pick(SIZES), self.pick(SIZES))
            shape = (self.pick(CHANNELS), height, width)
            tensor = self.add(
                "input", shape, Fixed(bits=self.activation_bits, signed=self.chance(0.5))
            )
            self.inputs.append(tensor.name)
        for source in tuple(self.inputs):
            self.conv(self.tensors[source])
        for _ in range(int(self.random.integers(1, 6))):
            kind = self.random.random()
            if kind < 0.2:
                self.pool(self.source())
            elif kind < 0.35:
                self.concat(self.source())
            elif kind < 0.55:
                self.block(self.source())
            else:
                self.conv(self.source())
        if self.chance(0.4):
            self.linear(self.source())
        read = {name for op in self.ops for name in reads(op)}
        outputs = [op.output for op in self.ops if op.output not in read or self.chance(0.1)]
        return Network(
            name=name,
            tensors=tuple(self.tensors.values()),
            inputs=tuple(self.inputs),
            outputs=tuple(outputs),
            ops=tuple(self.ops),
            trained=False,
        )

    def chance(self, probability: float) -> bool:
        return bool(self.random.random() < probability)

    def pick(self, choices: tuple[int, ...]) -> int:
        return choices[int(self.random.integers(len(choices)))]

    def source(self) -> Tensor:
        """Return a tensor to read: mostly the newest."""
        names = list(self.tensors)
        return self.tensors[names[-1] if self.chance(0.6) else self.pick_name(names)]

    def pick_name(self, names: list[str]) -> str:
        return names[int(self.random.integers(len(names)))]

    def add(
        self,
        stem: str,
        shape: tuple[int, int, int],
        fmt: Element,
        like: Tensor | None = None,
        scaling: BlockScaling | None = None,
    ) -> Tensor:
        """Add a new tensor, of the format and scale of ``like`` where given."""
        scale = float(2.0 ** self.random.uniform(-6, 0))
        if like is not None:
            fmt, scale, scaling = like.format, like.scale, like.scaling
        tensor = Tensor(
            name=f"{stem}{len(self.tensors)}", shape=shape, format=fmt, scale=scale, scaling=scaling
        )
        self.tensors[tensor.name] = tensor
        self.spread[tensor.name] = (fmt.high - fmt.low) / 3 * tensor.limit / fmt.high
        return tensor

    def window(self, height: int, width: int, *, pooling: bool = False) -> Window:
        """Return a window that fits an input of ``height x width``."""
        while True:
            square = self.chance(0.6)
            kernel = self.pick(KERNELS)
            kernels = (kernel, kernel if square else self.pick(KERNELS))
            dilation = self.pick((1, 1, 1, 2, 3))
            top, left = (self.pick((0, *range(k))) for k in kernels)
            same = self.chance(0.5)
            window = Window(
                kernel=kernels,
                stride=(self.pick((1, 1, 2, 3)), self.pick((1, 1, 2, 3))),
                dilation=(dilation, dilation),
                padding=(
                    top,
                    left,
                    top if same else self.pick((0, *range(kernels[0]))),
                    left if same else self.pick((0, *range(kernels[1]))),
                ),
            )
            if min(window.output_size(height, width)) < 1:
                continue
            if not pooling or windows_touch(window, height, width):
                return window

    def conv(self, source: Tensor) -> None:
        channels, height, width = source.shape
        window = self.window(height, width)
        if self.chance(0.2):
            window = Window(kernel=(1, 1))
        groups, outputs = 1, self.pick(CHANNELS)
        divisors = tuple(d for d in range(1, channels + 1) if channels % d == 0)
        if self.chance(0.35):
            groups = channels if self.chance(0.6) else self.pick(divisors)
            outputs = groups * self.pick((1, 1, 2, 3))
        pixels = math.prod(window.output_size(height, width))
        if groups == 1 and pixels * channels * math.prod(window.kernel) * outputs > 40_000:
            outputs = max(1, outputs // 4)
        self.emit(source, window, groups, outputs)

    def linear(self, source: Tensor) -> None:
        self.emit(source, Window(kernel=source.shape[1:]), 1, self.pick(CHANNELS))

    def block(self, source: Tensor) -> None:
        """Add a residual block of one convolution, perhaps depthwise."""
        kernel = self.pick((1, 3, 5))
        window = Window(kernel=(kernel, kernel), padding=_all_round(kernel // 2))
        channels = source.shape[0]
        groups = channels if self.chance(0.5) else 1
        self.emit(source, window, groups, channels, residual=source.name)

    def emit(
        self,
        source: Tensor,
        window: Window,
        groups: int,
        outputs: int,
        like: Tensor | None = None,
        residual: str | None = None,
    ) -> Tensor:
        size = window.output_size(*source.shape[1:])
        shape = (outputs, *size)
        fits = [
            name
            for name, tensor in self.tensors.items()
            if tensor.shape == shape and (tensor.scaling is None or "concat" not in name)
        ]
        if residual is None and fits and self.chance(0.5):
            residual = self.pick_name(fits)
        operation = self.operation()
        choices = self.choices[operation]
        formats = tuple(choices[int(self.random.integers(len(choices)))] for _ in range(outputs))
        per_group = source.shape[0] // groups
        weights = np.stack(
            [
                self.random.choice(operation.weights(fmt), size=(per_group, *window.kernel))
                for fmt in formats
            ]
        )
        fmt: Element = Fixed(bits=self.activation_bits, signed=self.chance(0.4))
        scaling = None
        if self.elements is not None and self.chance(0.7):
            fmt, scaling = element_of(self.elements, signed=fmt.signed), self.scaling
        scales = self.scales(source, weights, groups) if operation == MULTIPLY else None
        scaled = weights if scales is None else weights * scales.spread(per_group)
        if scales is not None and source.scaling is not None:
            scaled = scaled >> source.scaling.dropped_bits
        target = self.add("conv", shape, fmt, like, scaling)
        self.ops.append(
            Conv(
                name=f"op{len(self.ops)}",
                input=source.name,
                output=target.name,
                window=window,
                groups=groups,
                weights=weights,
                formats=formats,
                requant=self.requant(source, operation, scaled, target, residual),
                residual=residual,
                scales=scales,
                operation=operation,
            )
        )
        return target

    def scales(self, source: Tensor, weights: np.ndarray, groups: int) -> WeightScales | None:
        """Return scales for ``weights``, one in ten of them 1; ``None`` without whole vectors."""
        if self.scaling is None or self.chance(0.2):
            return None
        rows, inputs, *kernel = weights.shape
        writer = next((op for op in self.ops if op.output == source.name), None)
        members = writer.inputs[:-1] if isinstance(writer, Concat) else ()
        parts = [self.tensors[name].shape[0] for name in members]
        if any(part % self.scaling.vector for part in (*parts, inputs if groups > 1 else 0)):
            return None
        shape = (rows, -(-inputs // self.scaling.vector), *kernel)
        # Floats reach further than accumulators do, on both sides.
        reach = source.limit * (np.abs(weights).max() + 1) * inputs * kernel[0] * kernel[1]
        known = self.scaling.scale.values
        most = max(1, (1 << MAX_ACCUMULATOR_BITS - 2) // reach)
        values = self.random.choice(known[(known > 0) & (known <= most)], shape)
        values = np.where(self.random.random(shape) < 0.1, 1, values)
        return WeightScales(scaling=self.scaling, values=values)

    def operation(self) -> Operation:
        """Return the operation of a convolution; one choice takes no random number."""
        known = list(self.choices)
        chosen = int(self.random.integers(len(known))) if len(known) > 1 else 0
        return known[chosen]

    def requant(
        self,
        source: Tensor,
        operation: Operation,
        weights: np.ndarray,
        target: Tensor,
        residual: str | None,
    ) -> Requant:
        rows = len(weights)
        norm = np.sqrt((weights.reshape(rows, -1).astype(float) ** 2).sum(axis=1)) + 1
        deviation = norm * self.spread[source.name] / (1 << operation.dropped)
        mean = np.zeros(rows, np.int64)
        if operation.kind is Kind.DISTANCE:
            # Distances are never positive: their bias brings them back to about 0.
            ends = operation.term_range(weights.reshape(rows, -1), source.format)[0]
            mean = ends.sum(axis=1) // 2
            deviation = np.sqrt((ends.astype(float) ** 2).sum(axis=1)) / 3 + 1
        bias = np.rint(self.random.normal(0, 0.5, rows) * deviation).astype(np.int64) - mean
        gain = self.spread[target.name] / deviation
        limit = (1 << (MULTIPLIER_BITS - 1)) - 1
        most = np.floor(np.log2(limit / np.maximum(gain, 1e-9)))
        shift = np.clip(most - self.random.integers(0, 14, rows), 0, 47).astype(np.int64)
        positive = np.rint(gain * 2.0**shift).astype(np.int64)
        slope = self.random.choice([0.0, 0.25, 1.0, -0.5])
        negative = np.rint(positive * slope).astype(np.int64)
        if self.chance(0.1):
            row = int(self.random.integers(rows))
            positive[row] = int(self.random.choice([0, -positive[row]]))
            shift[row] = int(self.random.choice([0, shift[row]]))
        other = np.zeros(rows, dtype=np.int64)
        if residual is not None:
            scaled = self.random.uniform(-1.2, 1.2, rows) * 2.0**shift
            other = np.clip(np.rint(scaled), -limit, limit).astype(np.int64)
        low, high = target.format.low, target.format.high
        if target.scaling is not None:
            low, high = -target.limit if target.format.signed else 0, target.limit
        if self.chance(0.3):
            low = max(low, 0)
        if self.chance(0.1) and target.scaling is None:
            high = max(low, high // 2)
        return Requant(
            bias=bias,
            positive=np.clip(positive, -limit, limit),
            negative=np.clip(negative, -limit, limit),
            residual=other,
            shift=shift,
            low=low,
            high=high,
            rounding=Rounding.HALF_UP if self.chance(0.2) else Rounding.HALF_EVEN,
        )

    def pool(self, source: Tensor) -> None:
        window = self.window(*source.shape[1:], pooling=True)
        if source.scaling is not None and source.format.signed:
            # A padded one would be copied beside a padded convolution, which scales forbid.
            window = Window(kernel=(1, 1), stride=window.stride)
        shape = (source.shape[0], *window.output_size(*source.shape[1:]))
        target = self.add("pool", shape, source.format, source)
        self.ops.append(
            MaxPool(name=f"op{len(self.ops)}", input=source.name, output=target.name, window=window)
        )

    def concat(self, source: Tensor) -> None:
        """Two or three fresh branches of ``source``, joined."""
        first = self.emit(source, Window(kernel=(1, 1)), 1, self.members())
        members = [first]
        for _ in range(int(self.random.integers(1, 3))):
            kernel = self.pick((1, 3, 5))
            margin = kernel // 2
            window = Window(kernel=(kernel, kernel), padding=_all_round(margin))
            members.append(self.emit(source, window, 1, self.members(), like=first))
        shape = (sum(member.shape[0] for member in members), *first.shape[1:])
        target = self.add("concat", shape, first.format, first)
        self.ops.append(
            Concat(
                name=f"op{len(self.ops)}",
                inputs=tuple(member.name for member in members),
                output=target.name,
            )
        )

    def members(self) -> int:
        """Return channels of a concat's member: whole vectors where tensors may have scales."""
        channels = self.pick(CHANNELS)
        if self.scaling is None or self.elements is None:
            return channels
        return -(-channels // self.scaling.vector) * self.scaling.vector


def random_inputs(network: Network, samples: int, seed: int) -> dict[str, np.ndarray]:
    """Return ``samples`` random codes for every input of ``network``, int64 (N, C, H, W).

    The whole range of each input's format occurs; the extremes more often than the rest.
    """
    random = np.random.default_rng(seed)
    inputs = {}
    for name in network.inputs:
        tensor = network.tensor(name)
        low, high = tensor.format.low, tensor.format.high
        codes = random.integers(low, high + 1, size=(samples, *tensor.shape))
        extreme = random.random(codes.shape) < 0.05
        ends = random.choice([low, high], size=codes.shape)
        inputs[name] = np.where(extreme, ends, codes).astype(np.int64)
    return inputs


def with_zeros(network: Network, seed: int) -> Network:
    """Return ``network`` with random zeros: tensors joined by pooling or concats have one."""
    random = np.random.default_rng(seed)
    group = {tensor.name: tensor.name for tensor in network.tensors}
    for op in network.ops:
        if isinstance(op, MaxPool | Concat):
            joined = {group[name] for name in (*reads(op), op.output)}
            group = {name: min(joined) if of in joined else of for name, of in group.items()}
    zeros = {}
    for name in sorted(set(group.values())):
        low, high = network.tensor(name).format.low, network.tensor(name).format.high
        zeros[name] = (low, high, int(random.integers(low, high)))[random.integers(3)]
    zeros = {name: zeros[of] for name, of in group.items()}
    tensors = tuple(replace(tensor, zero=zeros[tensor.name]) for tensor in network.tensors)
    return replace(network, tensors=tensors)


def with_tables(network: Network, seed: int, bits: int) -> Network:
    """Return ``network`` where most convolutions end in a random table of up to ``2**bits``."""
    random = np.random.default_rng(seed)
    ops: list[Op] = []
    for op in network.ops:
        target = network.tensor(op.output)
        if isinstance(op, Conv) and target.scaling is None and random.random() < 0.7:
            most = 1 << bits
            entries = (most, most, int(random.integers(2, most + 1)))[random.integers(3)]
            low = (0, -(entries // 2), int(random.integers(-entries, 1)))[random.integers(3)]
            codes = random.integers(target.format.low, target.format.high + 1, entries)
            table = Table(function="random", scale=1.0, values=codes)
            op = replace(
                op, requant=replace(op.requant, table=table, low=low, high=low + entries - 1)
            )
        ops.append(op)
    return replace(network, ops=tuple(ops))


def _suitable(operation: Operation, formats: tuple[Format, ...]) -> tuple[Format, ...]:
    """Return the ``formats`` that weights of ``operation`` may have."""
    suitable = []
    for fmt in formats:
        try:
            operation.check_format(fmt)
        except ValueError:
            continue
        suitable.append(fmt)
    return tuple(suitable)


def _all_round(margin: int) -> tuple[int, int, int, int]:
    return margin, margin, margin, margin
