"""A functional referee: runs a program on a memory image, slowly and plainly.

It knows buffers, tokens and queue order, and no cycles. With a seed it runs the four
units in a random order among those that tokens allow, so that a dependency that the
compiler forgot shows as a wrong result.

.. code-block:: sh

    python -c "
    from celosia.dataflow.interpret import interpret
    help(interpret)"
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

import numpy as np

from celosia.dataflow.descriptors import (
    Buffer,
    Compute,
    Descriptor,
    End,
    Keep,
    Load,
    Loop,
    Post,
    Sliding,
    Stamp,
    Store,
    Token,
    Transfer,
    Unit,
    unit_of,
)
from celosia.dataflow.interpret_buffers import Buffers, signed
from celosia.dataflow.packing import pack_fields
from celosia.dataflow.precision import Precision
from celosia.dataflow.program import Program
from celosia.dataflow.tokens import MAX_TOKENS
from celosia.models.formats import Fixed
from celosia.models.operations import MULTIPLY, Operation
from celosia.models.requantise import shift_round
from celosia.models.vectors import quantise_vectors, vector_limit

_WRAP = 1 << 16
_CHANGE = 0.02
"""How likely the units' order of preference changes with a descriptor."""

_ONCE = Loop(count=1, activations=0, weights=0, accumulators=0, reduction=True)

_SPREAD = 1 << 22
"""Most products that are spread out at once, to bound memory."""


class InterpretError(ValueError):
    """The program is not legal: names the descriptor and what is wrong with it."""


def interpret(program: Program, image: np.ndarray, seed: int | None = None) -> np.ndarray:
    """Run ``program`` once and return the memory afterwards.

    Parameters
    ----------
    program
        What to run.
    image
        uint8, the memory from ``base_address`` on, inputs written; it is not changed.
    seed
        ``None`` runs the descriptors in program order; a number lets the units run
        ahead of each other at random, as far as the tokens allow.

    Raises
    ------
    InterpretError
        If a token is taken that was not given, a counter overflows, the units block each
        other, an address is outside a buffer or the memory.
    """
    machine = Machine(program, image.copy(), np.random.default_rng(seed or 0))
    machine.run(seed is not None)
    return machine.image


def _dot(operation: Operation, codes: np.ndarray, weights: np.ndarray, idle: np.ndarray) -> Any:
    """Return the sums of terms over the lanes, int64 (steps, pixels, columns).

    ``codes`` are activations (pixels, steps, lanes), ``weights`` float (lanes, columns), ``idle``
    the weight of each column that stands for no lane.
    """
    if operation == MULTIPLY:
        # Exact: every product sum lies far below 2**53.
        sums = codes.astype(float) @ weights
    else:
        terms = operation.terms(weights, codes[..., None])
        sums = np.where(weights == idle, 0, terms).sum(axis=2)
    return sums.transpose(1, 0, 2).astype(np.int64)


class Machine:
    """Memory, buffers, queues and counters.

    Attributes
    ----------
    image : numpy.ndarray
        The memory; it is changed.
    buffers : Buffers
        The on-chip memories.
    """

    def __init__(self, program: Program, image: np.ndarray, random: np.random.Generator) -> None:
        self.program = program
        self.accelerator = program.accelerator
        self.image = image
        self.random = random
        self.buffers = Buffers(program.accelerator, random)
        self.tokens = dict.fromkeys(Token, 0)
        self.queues: dict[Unit, deque[tuple[int, Descriptor]]] = {unit: deque() for unit in Unit}
        self.where = ""

    # Order

    def run(self, shuffle: bool) -> None:
        if not shuffle:
            for index, descriptor in enumerate(self.program.descriptors):
                self._begin(index, descriptor)
            return
        for index, descriptor in enumerate(self.program.descriptors):
            self.queues[unit_of(descriptor)].append((index, descriptor))
        favour = self.random.permutation(len(Unit))
        while any(self.queues.values()):
            ready = [unit for unit in Unit if self._ready(unit)]
            if not ready:
                raise InterpretError(f"units wait for each other: {self.tokens}")
            # One unit far ahead of another for a while: that is where a missing token shows.
            if self.random.random() < _CHANGE:
                favour = self.random.permutation(len(Unit))
            unit = max(ready, key=lambda unit: favour[unit.value])
            self._begin(*self.queues[unit].popleft())

    def _ready(self, unit: Unit) -> bool:
        queue = self.queues[unit]
        return bool(queue) and all(self.tokens[token] for token in queue[0][1].wait)

    def _begin(self, index: int, descriptor: Descriptor) -> None:
        self.where = f"descriptor {index} ({type(descriptor).__name__})"
        for token in descriptor.wait:
            if token.taker is not unit_of(descriptor) or not self.tokens[token]:
                raise InterpretError(f"{self.where} takes a token {token.name} that was not given")
            self.tokens[token] -= 1
        self.execute(descriptor)
        if not isinstance(descriptor, End):
            self._signal(descriptor.signal, descriptor)

    def execute(self, descriptor: Descriptor) -> None:
        """Do what ``descriptor`` says, whatever its tokens."""
        match descriptor:
            case Load():
                self._load(descriptor)
            case Compute():
                self._compute(descriptor)
            case Post():
                self._post(descriptor)
            case Store():
                self._store(descriptor)
            case Keep():
                self._keep(descriptor)
            case Stamp():
                beat = self.accelerator.bus.data_bytes
                self.image[self._bytes(np.array([descriptor.address]), beat)] = 0
            case End():
                pass

    def _signal(self, tokens: Iterable[Token], descriptor: Descriptor) -> None:
        for token in tokens:
            if token.giver is not unit_of(descriptor):
                raise InterpretError(f"{self.where} signals {token.name}, which is not its own")
            self.tokens[token] += 1
            if self.tokens[token] > MAX_TOKENS:
                raise InterpretError(f"{self.where}: counter {token.name} overflows")

    # Addresses

    def _wrapped(self, addresses: np.ndarray, depth: int, buffer: str) -> np.ndarray:
        addresses = addresses % _WRAP
        if addresses.size and addresses.max() >= depth:
            raise InterpretError(
                f"{self.where}: address {int(addresses.max())} of the {buffer} buffer, "
                f"which has {depth} words"
            )
        return addresses

    def _bytes(self, addresses: np.ndarray, size: int) -> np.ndarray:
        """Return the image index of each byte of ``size``-byte words at ``addresses``."""
        base, limit = self.program.window
        if addresses.min() < base or addresses.max() + size > limit:
            raise InterpretError(f"{self.where}: address outside {base:#x}..{limit:#x}")
        if (addresses % self.accelerator.bus.data_bytes).any():
            raise InterpretError(f"{self.where}: an address does not lie on a beat")
        return (addresses - base)[:, None] + np.arange(size)

    @staticmethod
    def _walk(moved: Transfer, index: int, size: int) -> tuple[np.ndarray, np.ndarray]:
        """Return memory and buffer addresses of iteration ``index`` of the outermost loop."""
        i2, i1, word = np.meshgrid(
            np.arange(moved.n2), np.arange(moved.n1), np.arange(moved.words), indexing="ij"
        )
        memory = moved.address + i2 * moved.s2 + i1 * moved.s1 + index * moved.s3 + word * size
        buffer = moved.buffer_address + i2 * moved.d2 + i1 * moved.d1 + index * moved.d3 + word
        return memory.reshape(-1), buffer.reshape(-1)

    # Units

    def _load(self, load: Load) -> None:
        accelerator, depths = self.accelerator, self.accelerator.buffers
        bits, depth = {
            Buffer.ACTIVATIONS: (accelerator.activation_word_bits, depths.activations),
            Buffer.RESIDUALS: (accelerator.activation_word_bits, depths.residuals),
            Buffer.WEIGHTS: (accelerator.weight_word_bits, depths.weights),
            Buffer.CONSTANTS: (accelerator.constant_word_bits, depths.constants),
            Buffer.TABLES: (accelerator.table_word_bits, self.buffers.tables.shape[0]),
        }[load.target]
        size = accelerator.word_bytes(bits)
        for index in range(load.transfer.n3):
            memory, buffer = self._walk(load.transfer, index, size)
            buffer = self._wrapped(buffer, depth, load.target.name.lower())
            lane = load.lane + index if load.target is Buffer.ACTIVATIONS else 0
            if lane >= accelerator.array.pixels:
                raise InterpretError(f"{self.where}: there is no pixel lane {lane}")
            self.buffers.write(load, lane, buffer, self.image[self._bytes(memory, size)])

    def _store(self, store: Store) -> None:
        accelerator = self.accelerator
        bits = accelerator.activation_word_bits
        size = accelerator.word_bytes(bits)
        for index in range(store.transfer.n3):
            memory, buffer = self._walk(store.transfer, index, size)
            buffer = self._wrapped(buffer, accelerator.buffers.outputs, "outputs")
            scales = self.buffers.output_scales[buffer]
            fields = np.concatenate([self.buffers.outputs[buffer], scales], axis=1)
            data = pack_fields(fields, self.buffers.activation_widths, size)
            self.image[self._bytes(memory, size)] = data

    def _keep(self, keep: Keep) -> None:
        buffers, depths, moved = self.buffers, self.accelerator.buffers, keep.transfer
        for index in range(moved.n3):
            to, source = self._walk(moved, index, 1)
            to = self._wrapped(to, depths.activations, "activations")
            source = self._wrapped(source, depths.outputs, "outputs")
            lane = keep.lane + index
            if lane >= self.accelerator.array.pixels:
                raise InterpretError(f"{self.where}: there is no pixel lane {lane}")
            buffers.activations[lane, to] = buffers.outputs[source]
            buffers.activation_scales[lane, to] = buffers.output_scales[source]

    def _compute(self, compute: Compute) -> None:
        if compute.sliding is not None:
            self._slide(compute, compute.sliding)
            return
        buffers, depths = self.buffers, self.accelerator.buffers
        precision = compute.precision
        # The passes of a word are one product.
        nest = compute.loops if precision is None else (*compute.loops[1:], _ONCE)
        counts = [loop.count for loop in reversed(nest)]
        steps = np.indices(counts).reshape(len(counts), -1)[::-1]

        def walk(base: int, name: str, depth: int) -> np.ndarray:
            strides = np.array([getattr(loop, name) for loop in nest])
            return self._wrapped(base + strides @ steps, depth, name)

        activations = walk(compute.activations, "activations", depths.activations)
        weights = walk(compute.weights, "weights", depths.weights)
        sums = walk(compute.accumulators, "accumulators", depths.accumulators)
        reduction = np.array([loop.reduction for loop in nest])
        fresh = (steps[reduction] == 0).all(axis=0) & (not compute.accumulate)
        # A step that starts afresh makes all earlier ones at its accumulator void.
        begin = np.full(depths.accumulators, -1)
        np.maximum.at(begin, sums[fresh], np.flatnonzero(fresh))
        counted = np.arange(len(sums)) >= begin[sums]
        buffers.accumulators[sums[fresh]] = 0
        values = buffers.activations
        width = self.accelerator.array.activation_bits
        if precision is not None:
            width = min(width, precision.activation_bits)
            values = values & ((1 << width) - 1)
            self._check_precision(precision, weights)
        if compute.scaled:
            values = self._elements(values, compute.activations_signed)
        elif compute.activations_signed:
            values = signed(values, width)
        where = activations[counted], weights[counted], sums[counted]
        for vector in range(max(1, self.accelerator.array.vectors)):
            self._add(compute, vector, values, *where)
        bits = self.accelerator.array.accumulator_bits
        touched = np.unique(sums)
        buffers.accumulators[touched] = signed(buffers.accumulators[touched], bits)

    def _slide(self, compute: Compute, sliding: Sliding) -> None:
        """Run a compute whose columns have windows of their own, sum by sum of each outer turn."""
        buffers, depths, array = self.buffers, self.accelerator.buffers, self.accelerator.array
        depthwise, (inner, down, *outer) = array.depthwise, compute.loops
        if depthwise is None or inner.count > depthwise.width:
            raise InterpretError(f"{self.where}: columns have no windows of lines as long")
        rows, columns = sliding.sums(down.count, inner.count)
        ends = np.indices((rows, columns)).reshape(2, -1).T
        last = ends * (sliding.row_stride, sliding.column_stride)
        last += (sliding.skip_rows, sliding.skip_columns)
        # What lies before a plane's first word meets weights that are 0: any word will do.
        back = np.indices((depthwise.rows, depthwise.columns)).reshape(2, -1).T
        back -= (depthwise.rows - 1, depthwise.columns - 1)
        line, word = np.moveaxis(np.maximum(last[:, None] + back, 0), -1, 0)
        lanes = (sliding.first_lane + np.arange(buffers.columns)) % array.lanes
        values = buffers.activations
        if compute.activations_signed:
            values = signed(values, array.activation_bits)
        for turn in np.ndindex(*(loop.count for loop in reversed(outer))):
            offset = compute.activations + np.dot(turn[::-1], [o.activations for o in outer])
            weights = compute.weights + np.dot(turn[::-1], [o.weights for o in outer])
            sums = compute.accumulators + np.dot(turn[::-1], [o.accumulators for o in outer])
            taken = offset + line * down.activations + word * inner.activations
            taken = self._wrapped(taken, depths.activations, "activations")
            found = self._wrapped(np.array([weights]), depths.weights, "weights")
            at = self._wrapped(sums + np.arange(len(ends)), depths.accumulators, "accumulators")
            windows = values[:, taken][..., lanes].astype(float)
            matrix = buffers.weights[found[0], :, : depthwise.positions]
            # Exact: every product sum lies far below 2**53.
            added = np.einsum("xspk,kp->sxk", windows, matrix).astype(np.int64)
            fresh = not compute.accumulate and not any(
                index for index, loop in zip(turn[::-1], outer, strict=True) if loop.reduction
            )
            added += 0 if fresh else buffers.accumulators[at]
            buffers.accumulators[at] = signed(added, array.accumulator_bits)

    def _elements(self, codes: np.ndarray, is_signed: bool) -> np.ndarray:
        """Return the elements that ``codes`` in lanes stand for."""
        fmt = self.accelerator.array.element(is_signed=is_signed)
        return fmt.decode(codes & ((1 << fmt.bits) - 1))

    def _check_precision(self, precision: Precision, weights: np.ndarray) -> None:
        """Raise if one of the ``weights`` words holds a weight wider than ``precision``."""
        values = self.buffers.weights[np.unique(weights)]
        half = 1 << precision.weight_bits - precision.weights_signed
        low = -half if precision.weights_signed else 0
        if values.min() < low or values.max() >= half:
            raise InterpretError(
                f"{self.where}: a weight of {values.min():.0f}..{values.max():.0f} does not fit "
                f"{precision}"
            )

    def _add(
        self,
        compute: Compute,
        vector: int,
        values: np.ndarray,
        activations: np.ndarray,
        weights: np.ndarray,
        sums: np.ndarray,
    ) -> None:
        """Add a vector's products to the accumulators, one weight word after the other."""
        buffers, array = self.buffers, self.accelerator.array
        lanes = slice(vector * array.vector_lanes, (vector + 1) * array.vector_lanes)
        order = np.argsort(weights, kind="stable")
        unique, starts = np.unique(weights[order], return_index=True)
        for word, part in zip(unique, np.split(order, starts[1:]), strict=True):
            matrix = buffers.weights[word, :, lanes].T
            step = max(1, _SPREAD // (matrix.size * len(values)))
            for start in range(0, len(part), step):
                some = part[start : start + step]
                taken = activations[some]
                codes = values[:, taken, lanes]
                added = np.empty((len(some), len(codes), buffers.columns), np.int64)
                for operation, columns in buffers.operations.items():
                    added[..., columns] = _dot(
                        operation, codes, matrix[:, columns], buffers.idle[columns]
                    )
                added *= self._scales(compute, word, taken, vector)
                np.add.at(buffers.accumulators, sums[some], added)

    def _scales(
        self, compute: Compute, word: int, activations: np.ndarray, vector: int
    ) -> np.ndarray:
        """Return what a vector's sums are multiplied by, (step, pixel, column) or broadcast."""
        scaling = self.accelerator.array.scaling
        if scaling is None:
            return np.ones(1, np.int64)
        weights = self.buffers.weight_scales[word, :, vector]
        if not compute.scaled:
            return np.asarray(weights)
        codes = self.buffers.activation_scales[:, activations, vector]
        theirs = scaling.scale.decode(codes).T[:, :, None]
        return scaling.product(weights, theirs) if compute.rounded else weights * theirs

    def _post(self, post: Post) -> None:
        buffers, depths = self.buffers, self.accelerator.buffers
        lanes = self.accelerator.post_lanes
        array = self.accelerator.array
        per_word = array.lanes // lanes
        group, pixel, oy, ox, wy, wx = np.ix_(
            *(
                np.arange(n)
                for n in (
                    post.groups, post.pixels, post.out_y, post.out_x, post.window_y, post.window_x,
                )
            )
        )  # fmt: skip
        address = post.accumulators + wx * post.acc_window_x + wy * post.acc_window_y
        address = address + ox * post.acc_out_x + oy * post.acc_out_y
        address = self._wrapped(address, depths.accumulators, "accumulators")
        lane = np.arange(lanes)
        column = group[..., None] * lanes + lane
        if post.groups * lanes > buffers.columns or post.pixels > buffers.accumulators.shape[1]:
            raise InterpretError(f"{self.where}: more columns or pixels than there are")
        sums = buffers.accumulators[address[..., None], pixel[..., None], column]
        where = self._wrapped(post.constants + group, depths.constants, "constants")
        bias, positive, negative, residual, shift = (
            buffers.constants[where[..., None], lane, index] for index in range(5)
        )
        part = post.lane_group + group
        out = ox * post.out_out_x + oy * post.out_out_y + pixel * post.out_pixel
        out = (out + part // per_word * post.out_word)[..., 0, 0]
        out_lane = (part % per_word)[..., 0, 0, None] * lanes + lane
        value = sums + bias
        product = value * np.where(value < 0, negative, positive)
        if post.residual:
            read = self._wrapped(post.residuals + out, depths.residuals, "residuals")
            codes = buffers.residuals[read[..., None], out_lane]
            if post.residual_scaled:
                codes = self._elements(codes, post.residual_signed) * self._decoded(
                    buffers.residual_scales[read[..., None], out_lane // array.vector_lanes]
                )
            elif post.residual_signed:
                codes = signed(codes, array.activation_bits)
            product = product + codes[..., None, None, :] * residual
        written = self._wrapped(post.outputs + out, depths.outputs, "outputs")[..., None]
        rounded = shift_round(product, shift, post.rounding)
        if post.scaled and array.scaling is not None:
            element = array.element(is_signed=post.output_signed)
            limit = vector_limit(element, array.scaling)
            wide = np.clip(rounded, -limit if post.low < 0 else 0, limit).max(axis=(4, 5))
            codes, scales = quantise_vectors(np.moveaxis(wide, -1, 0)[None], element, array.scaling)
            codes = np.moveaxis(codes[0], 0, -1)
            codes = codes if isinstance(element, Fixed) else element.encode(codes)
            place = out_lane[..., :: array.vector_lanes] // array.vector_lanes
            buffers.output_scales[written, place] = np.moveaxis(scales[0], 0, -1)
        else:
            codes = self._looked_up(np.clip(rounded, post.low, post.high), post).max(axis=(4, 5))
        buffers.outputs[written, out_lane] = codes & ((1 << array.activation_bits) - 1)

    def _looked_up(self, codes: np.ndarray, post: Post) -> np.ndarray:
        """Return the entries of the post's table for ``codes``, or those where it has none."""
        tables = self.accelerator.tables
        if post.table is None:
            return codes
        if tables is None or post.table >= tables.count:
            raise InterpretError(f"{self.where}: there is no table {post.table}")
        first = post.table * tables.rows
        entries = self.buffers.tables[first : first + tables.rows].ravel()
        found = entries[codes & ((1 << tables.index_bits) - 1)]
        bits = self.accelerator.array.activation_bits
        return signed(found, bits) if post.output_signed else found

    def _decoded(self, codes: np.ndarray) -> np.ndarray:
        scaling = self.accelerator.array.scaling
        return codes if scaling is None else scaling.scale.decode(codes)
