"""Where every channel lies: columns for output channels, words for tensors.

``python -c "from celosia.dataflow.arrange import arrange; help(arrange)"``
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.columns import ColumnPool, Need, Needs
from celosia.dataflow.depthwise import own_windows
from celosia.dataflow.fuse import fuse_pools
from celosia.dataflow.lookup import check_table
from celosia.dataflow.lower import Lowered, Lowering, Step, lower
from celosia.dataflow.presets import scaling_advice
from celosia.models.bounds import sum_range
from celosia.models.errors import CelosiaError
from celosia.models.formats import Format, element_formats
from celosia.models.network import Conv, Network, Tensor, scaled_weights
from celosia.models.operations import Kind

TIE_COST = 1.25
"""How many times the tiles a shared layout may cost before the residual operand is copied."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Arrangement:
    """A lowered network with the place of every channel.

    ``positions`` maps a tensor to the int64 position (``word * lanes + lane`` in its own
    words) of each channel, every copy of an unfolded one included; ``first_word`` to its
    first word in its root's memory; ``word_count`` a root to its words; ``borders`` and
    ``fills`` a root to the border round its planes and the code that fills it.
    """

    lowered: Lowered
    positions: dict[str, np.ndarray]
    first_word: dict[str, int]
    word_count: dict[str, int]
    borders: dict[str, tuple[int, int, int, int]]
    fills: dict[str, int]


class SumRanges:
    """The least and greatest sums of a network's convolutions, found once for all accelerators."""

    def __init__(self, network: Network) -> None:
        self._weights = {op.name: op.weights for op in network.ops if isinstance(op, Conv)}
        self._known: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def of(self, step: Step, lowered: Lowered) -> tuple[np.ndarray, np.ndarray]:
        """Return what :func:`~celosia.models.bounds.sum_range` does for the sums of ``step``."""
        # Steps that copy or pool, and convolutions of unfolded inputs, are each accelerator's own.
        whole = step.weights is self._weights.get(step.name)
        if whole and step.name in self._known:
            return self._known[step.name]
        source = lowered.tensors[step.input]
        weights = scaled_weights(step.weights, step.scales, source.scaling)
        found = sum_range(step.operation, weights, source.format)
        if whole:
            self._known[step.name] = found
        return found


def arrange(
    network: Network, accelerator: Accelerator, ranges: SumRanges | None = None
) -> Arrangement:
    """Lower ``network`` and place its channels on ``accelerator``'s columns and words.

    ``ranges`` are those of ``network`` from other accelerators: who arranges it for many passes
    the same each time.

    Raises
    ------
    CelosiaError
        If an activation is wider than the accelerator's, an accumulator or bias does
        not fit, or a row's format is covered by no column: names layer and channel.
    """
    lowering = Lowering(network)
    _check_tensors(network, accelerator)
    ranges = ranges or SumRanges(network)
    fuse_pools(lowering, accelerator)
    lowering.split_borders()
    pool = ColumnPool(accelerator.array)
    classes = _Ties(lowering, pool, accelerator).settle()
    lowered = lower(lowering, accelerator)
    for step in lowered.steps:
        check_table(step.layer, step.requant, accelerator)
        _check_step(step, ranges.of(step, lowered), accelerator)
    placer = _Placer(lowered, classes, pool, accelerator)
    placer.place()
    for tensor in lowered.tensors.values():
        _check_order(tensor, placer.positions[tensor.name])
    for step in lowered.steps:
        _check_vectors(step, placer.positions[step.input], accelerator)
    lowered = own_windows(lowered, placer.positions, accelerator)
    borders, fills = _borders(lowered)
    return Arrangement(
        lowered=lowered,
        positions=placer.positions,
        first_word=placer.first_word,
        word_count=placer.word_count,
        borders=borders,
        fills=fills,
    )


def _check_tensors(network: Network, accelerator: Accelerator) -> None:
    bits = accelerator.array.activation_bits
    for tensor in network.tensors:
        if tensor.format.bits > bits:
            raise CelosiaError(
                f"tensor {tensor.name!r} has {tensor.format.bits}-bit activations, accelerator "
                f"{accelerator.name!r} stores {bits}: raise array.activation_bits or quantise "
                f"to {bits} bits"
            )
        if tensor.scaling is not None:
            _check_scaling(tensor, accelerator, network)
    for op in network.ops if accelerator.array.scaling is None else ():
        if isinstance(op, Conv) and op.scales is not None:
            raise CelosiaError(
                f"layer {op.name!r}: its weights have scales of {op.scales.scaling.scale.name}, "
                f"accelerator {accelerator.name!r} has none: {scaling_advice(network)}; or "
                "quantise without"
            )


def _check_scaling(tensor: Tensor, accelerator: Accelerator, network: Network) -> None:
    """Check that the accelerator makes and reads the scales of ``tensor``."""
    array = accelerator.array
    if array.elements is None:
        raise CelosiaError(
            f"tensor {tensor.name!r} has scales, activations of accelerator {accelerator.name!r} "
            f"have none: {scaling_advice(network)}; or quantise without"
        )
    if tensor.format not in element_formats(array.elements) or tensor.scaling != array.scaling:
        raise CelosiaError(
            f"tensor {tensor.name!r} has elements of {tensor.format.name} with scales "
            f"{tensor.scaling.text if tensor.scaling else ''}, accelerator {accelerator.name!r} "
            f"makes {array.elements.name} with {array.scaling.text if array.scaling else ''}: "
            f"{scaling_advice(network)}; or quantise to what it makes"
        )


def _check_order(tensor: Tensor, positions: np.ndarray) -> None:
    """Check that the channels of each vector lie side by side."""
    if tensor.scaling is None:
        return
    channels, vector = np.arange(len(positions)), tensor.scaling.vector
    first = positions[channels // vector * vector]
    if (first % vector).any() or (positions != first + channels % vector).any():
        raise CelosiaError(
            f"tensor {tensor.name!r} has scales, and columns of several formats put its channels "
            "out of order: use columns of one format or quantise without"
        )


def _check_step(step: Step, sums: tuple[np.ndarray, np.ndarray], accelerator: Accelerator) -> None:
    """Check that all ``sums`` of ``step``, with and without bias, fit the accumulators."""
    low, high = sums
    bias, bits = step.requant.bias, accelerator.array.accumulator_bits
    limit = 1 << (bits - 1)
    lowest = np.minimum(low, np.minimum(low + bias, bias))
    highest = np.maximum(high, np.maximum(high + bias, bias))
    wrong = (lowest < -limit) | (highest >= limit)
    if wrong.any():
        channel = int(np.flatnonzero(wrong)[0])
        raise CelosiaError(
            f"layer {step.layer!r}, output channel {channel}: accumulators reach "
            f"{int(lowest[channel])}..{int(highest[channel])}, more than accelerator "
            f"{accelerator.name!r} holds in {bits} bits: raise array.accumulator_bits"
        )


def _check_vectors(step: Step, positions: np.ndarray, accelerator: Accelerator) -> None:
    """Check that lanes that share a scale hold channels of one vector, in every group."""
    scaling, where = accelerator.array.scaling, f"layer {step.layer!r}"
    if step.scales is None or scaling is None:
        return
    wrong = ~np.isin(step.scales.values, scaling.scale.values)
    if wrong.any():
        raise CelosiaError(
            f"{where}: scale {int(step.scales.values[wrong][0])} is no value of "
            f"{scaling.scale.name}, the scales of accelerator {accelerator.name!r}: set "
            f"array.scaling.scale to {step.scales.scaling.scale.name} or quantise with those"
        )
    vector, lanes = step.scales.scaling.vector, accelerator.array.vector_lanes
    inputs = step.weights.shape[1]
    vectors = np.arange(inputs) // vector
    for group in positions.reshape(-1, inputs) // lanes:
        _, first, inverse = np.unique(group, return_index=True, return_inverse=True)
        if (vectors[first][inverse] != vectors).any():
            raise CelosiaError(
                f"{where}: the {lanes} lanes that share a scale in accelerator "
                f"{accelerator.name!r} would hold channels of several vectors of {vector}: set "
                f"array.scaling.vector to a divisor of {vector}, or use columns of one format, "
                "which keep channels in order"
            )


class _Ties:
    """Classes of tensors whose channels must lie alike: outputs and their residual operands."""

    def __init__(self, lowering: Lowering, pool: ColumnPool, accelerator: Accelerator) -> None:
        self._lowering = lowering
        self._pool = pool
        self._accelerator = accelerator
        self._parent: dict[str, str] = {}
        self._needs: dict[str, list[Needs]] = {}

    def find(self, name: str) -> str:
        while name in self._parent:
            name = self._parent[name]
        return name

    def _output_needs(self, step: Step) -> list[Needs]:
        formats = step.formats or (None,) * len(step.weights)
        # One value for all channels alike: these are compared and joined a great deal.
        kinds: dict[Format | None, Needs] = {
            fmt: frozenset((Need(operation=step.operation, format=fmt),)) for fmt in set(formats)
        }
        needs = [kinds[fmt] for fmt in formats]
        for channel, need in enumerate(needs):
            if not self._pool.mask(need):
                self._refuse(step, channel)
        return needs

    def _refuse(self, step: Step, channel: int) -> NoReturn:
        columns = ", ".join(ability.name for ability in self._pool.abilities)
        none = f"no column of accelerator {self._accelerator.name!r}"
        if step.formats is None:
            raise CelosiaError(
                f"layer {step.layer!r}: it copies or pools, which takes columns that multiply, and "
                f"{none} does (its columns: {columns}): add one of operation multiply"
            )
        verb = {
            Kind.MULTIPLY: "multiplies",
            Kind.DISTANCE: "takes distances to",
            Kind.SHIFT: f"shifts by, dropping {step.operation.dropped} bits,",
        }[step.operation.kind]
        raise CelosiaError(
            f"layer {step.layer!r}, output channel {channel}: {none} {verb} "
            f"{step.formats[channel].name} weights (its columns: {columns}): add such columns "
            "or quantise to another format"
        )

    def settle(self) -> dict[str, tuple[str, list[Needs]]]:
        """Tie operands to outputs or copy them; return each tensor's class and its needs."""
        steps = self._lowering.steps
        for name in self._lowering.network.inputs:
            self._needs[name] = [frozenset()] * self._lowering.tensors[name].shape[0]
        for step in steps:
            self._needs[step.output] = self._output_needs(step)
        for output, parts in self._lowering.interleaves.items():
            self._tie_parts(output, [part.input for part in parts])
        index = 0
        while index < len(steps):
            step = steps[index]
            if step.residual is not None and not self._tie(step.residual, step.output):
                self._lowering.copy_before(index, residual=True)
                index += 1
                self._tie_copy(steps[index - 1], steps[index])
            index += 1
        return {
            name: (self.find(name), self._needs[self.find(name)])
            for name in self._lowering.tensors
            if name not in self._lowering.concats
        }

    def _tie_parts(self, output: str, parts: list[str]) -> None:
        """Lay the ``parts`` of an interleave alike, at any cost, and its ``output`` with them."""
        self._needs[output] = self._needs[parts[0]]
        self._parent[output] = parts[0]
        for part in parts[1:]:
            first = self.find(parts[0])
            if self._pool.tiles(self._joint(part, first)) is None:
                raise CelosiaError(
                    f"tensor {output!r}: its parts {parts[0]!r} and {part!r} have channels whose "
                    "weights have formats of different columns, so that they cannot lie alike, and "
                    f"accelerator {self._accelerator.name!r} has no column for both: quantise them "
                    "to one format"
                )
            self._join(part, first)

    def _tie(self, operand: str, output: str) -> bool:
        """Join the classes of both if one assignment of channels serves both well."""
        if operand in self._lowering.concats:
            return False
        a, b = self.find(operand), self.find(output)
        if a == b:
            return True
        tiles = self._pool.tiles(self._joint(a, b))
        apart = max(self._pool.tiles(self._needs[name]) or 1 for name in (a, b))
        if tiles is None or tiles > TIE_COST * apart:
            return False
        self._join(a, b)
        return True

    def _tie_copy(self, copy: Step, step: Step) -> None:
        """Lay the ``copy`` of a residual operand like the output of ``step``, at any cost."""
        self._needs[copy.output] = self._output_needs(copy)
        output = self.find(step.output)
        if self._pool.tiles(self._joint(copy.output, output)) is None:
            raise CelosiaError(
                f"layer {step.layer!r}: its residual operand has to be copied by columns that do "
                f"{step.operation.name} with the weights of both the layer and the copy, and "
                f"accelerator {self._accelerator.name!r} has none: add columns of operation "
                f"{step.operation.name} with weights as wide as activations"
            )
        self._join(copy.output, output)

    def _joint(self, a: str, b: str) -> list[Needs]:
        pairs = list(zip(self._needs[a], self._needs[b], strict=True))
        joined = {(x, y): x | y for x, y in set(pairs)}
        return [joined[pair] for pair in pairs]

    def _join(self, a: str, b: str) -> None:
        self._needs[b] = self._joint(a, b)
        self._parent[a] = b


class _Placer:
    """Gives every tensor its positions and words."""

    def __init__(
        self,
        lowered: Lowered,
        classes: dict[str, tuple[str, list[Needs]]],
        pool: ColumnPool,
        accelerator: Accelerator,
    ) -> None:
        self._lowered = lowered
        self._classes = classes
        self._pool = pool
        self._lanes = accelerator.array.lanes
        self._of_class: dict[str, np.ndarray] = {}
        self._ordered = self._scaled_classes()
        self.positions: dict[str, np.ndarray] = {}
        self.first_word: dict[str, int] = {}
        self.word_count: dict[str, int] = {}

    def _scaled_classes(self) -> set[str]:
        """Return the classes of tensors whose scales, or whose readers', want channels in order."""
        inputs = [step.input for step in self._lowered.steps if step.scales is not None]
        inputs += [t.name for t in self._lowered.tensors.values() if t.scaling is not None]
        names = {name for read in inputs for name in self._lowered.concats.get(read, (read,))}
        return {self._classes[name][0] for name in names}

    def place(self) -> None:
        for name in self._lowered.network.inputs:
            channels = self._lowered.tensors[name].shape[0]
            unfold = self._lowered.unfolds.get(name)
            if unfold is not None:
                self.positions[name] = np.arange(channels * unfold.count)
                self._own_memory(name)
            else:
                self._place(name, np.arange(channels), None)
        for step in self._lowered.steps:
            self._place_concats(step.input, step.residual)
            self._place(step.output, *self._wish(step))
            whole = self._lowered.wholes.get(step.output)
            if whole in self._lowered.interleaves and whole not in self.positions:
                self._place(whole, *self._wish(step))
        self._place_concats(*self._lowered.concats)
        for output, parts in self._lowered.interleaves.items():
            self.first_word |= dict.fromkeys(
                (part.input for part in parts), self.first_word[output]
            )

    def _wish(self, step: Step) -> tuple[np.ndarray, np.ndarray | None]:
        """Return the best order of the output channels and, if any, the best positions.

        Where each output needs few input channels, outputs that lie like their inputs
        use few words.
        """
        channels = len(step.weights)
        if step.groups == 1:
            return np.arange(channels), None
        source = self.positions[step.input]
        inputs = step.weights.shape[1]
        first = source[np.arange(channels) // (channels // step.groups) * inputs]
        alike = source if step.groups == channels and inputs == 1 else None
        return np.argsort(first, kind="stable"), alike

    def _place(self, name: str, order: np.ndarray, wish: np.ndarray | None) -> None:
        key, needs = self._classes[name]
        if key not in self._of_class:
            dense = self._pool.assign(needs, order)
            alike = wish is not None and self._pool.fits(needs, wish)
            # Lying like the input pays only where the input's words are full.
            if (
                wish is not None
                and alike
                and wish.max() // self._lanes <= dense.max() // self._lanes
            ):
                dense = wish
            in_order = np.arange(len(needs))
            if key in self._ordered and self._pool.fits(needs, in_order):
                dense = in_order
            self._of_class[key] = dense
        self.positions[name] = self._of_class[key]
        if self._lowered.root(name) == name:
            self._own_memory(name)

    def _own_memory(self, name: str) -> None:
        self.first_word[name] = 0
        self.word_count[name] = int(self.positions[name].max()) // self._lanes + 1

    def _place_concats(self, *names: str | None) -> None:
        """Lay the members of concats among ``names`` one after another."""
        for name in names:
            if name is None or name not in self._lowered.concats or name in self.positions:
                continue
            words, parts = 0, []
            for member in self._lowered.concats[name]:
                self.first_word[member] = words
                parts.append(self.positions[member] + words * self._lanes)
                words += int(self.positions[member].max()) // self._lanes + 1
            self.positions[name] = np.concatenate(parts)
            self._own_memory(name)


def _borders(
    lowered: Lowered,
) -> tuple[dict[str, tuple[int, int, int, int]], dict[str, int]]:
    """Return each root's border, as wide as its widest reader's, and what fills it."""
    roots = {lowered.root(name) for name in lowered.tensors}
    borders: dict[str, tuple[int, int, int, int]] = dict.fromkeys(roots, (0, 0, 0, 0))
    fills = {root: lowered.tensors[root].zero for root in roots}
    for step in lowered.steps:
        source, root = lowered.tensors[step.input], lowered.root(step.input)
        border = step.border(lowered.grid(step.input), lowered.tensors[step.output])
        top, left, bottom, right = (max(a, b) for a, b in zip(borders[root], border, strict=True))
        borders[root] = (top, left, bottom, right)
        if step.is_pool and any(border):
            fills[root] = source.format.low
    return borders, fills
