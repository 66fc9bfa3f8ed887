"""What is wrong with a program that makes another value than its network says.

The hardware did what it was told. What it was told to multiply is read back from the memory image
and the descriptors, tensor element by tensor element, and held against the network's own weights:
nothing of the compiler's is taken on trust.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping as Map
from dataclasses import dataclass, fields

import numpy as np

from celosia.dataflow.compile import compile_network
from celosia.dataflow.descriptors import unit_of
from celosia.dataflow.interpret_buffers import Buffers
from celosia.dataflow.layout import Placement
from celosia.dataflow.lookup import table_rows
from celosia.dataflow.mapping import Mapping
from celosia.dataflow.program import Program
from celosia.dataflow.provenance import Operands, Provenance
from celosia.models.network import Conv, MaxPool, Network, Requant

_FIELDS = ("bias", "positive", "negative", "residual", "shift")


class Suspect(enum.Enum):
    """Where the fault must lie."""

    WEIGHTS = "weights in the memory image"
    CHANNELS = "order of channels in the packed weights"
    CONSTANTS = "requantisation constants in the memory image"
    TABLES = "the table of a function in the memory image"
    DESCRIPTOR = "a descriptor of the program"
    PROGRAM = "the program, or the golden model"
    LOAD = "load unit"
    COMPUTE = "compute unit and array"
    POST = "post unit"
    STORE = "store unit"
    TIMING = "timing: the prediction or a unit's control"


@dataclass(frozen=True, slots=True, kw_only=True)
class Blame:
    """A ``suspect``, why, and the ``descriptor`` that is concerned, where it is one."""

    suspect: Suspect
    reason: str
    descriptor: int | None = None


Element = tuple[int, int, int]
"""(channel, y, x) of a tensor."""


def blame_program(
    network: Network,
    program: Program,
    mapping: Mapping | None,
    found: Provenance,
    target: tuple[str, int, Element],
    image: np.ndarray,
) -> Blame:
    """Say what of ``program`` is wrong.

    Parameters
    ----------
    network, program, mapping
        What was compiled, to what, and how.
    found
        What the wrong value was made of.
    target
        Its tensor, the sample of the start, and where it is.
    image
        Memory before the layer, with what it reads.
    """
    changed = _changed(network, program, mapping, found)
    if changed is not None:
        return changed
    if not found.writes:
        return Blame(suspect=Suspect.DESCRIPTOR, reason="no store of the program writes this value")
    op, sums = _convolution(network, program, target[0], target[2])
    if op is not None:
        told = _Told(program, found, image)
        for number, where in enumerate(sums):
            blame = told.kernel_differs(op, target[1], where, number)
            if blame is not None:
                return blame
        blame = told.constants_differ(op.requant, target[2][0]) or told.table_differs(op.requant)
        if blame is not None:
            return blame
    return Blame(
        suspect=Suspect.PROGRAM,
        reason="its weights, constants and descriptors are those that the network says",
    )


def _convolution(
    network: Network, program: Program, tensor: str, where: Element
) -> tuple[Conv | None, tuple[Element, ...]]:
    """Return the convolution that ``tensor`` is made by, and which of its sums ``where`` is of.

    Those are several where the maximum behind it is taken in the same step.
    """
    made = {op.output: op for op in network.ops}
    op = made.get(tensor)
    if isinstance(op, Conv):
        return op, (where,)
    if isinstance(op, MaxPool) and not any(op.window.padding):
        behind = made.get(op.input)
        placed = any(placement.name == op.input for placement in program.placements)
        if isinstance(behind, Conv) and not placed:
            (sy, sx), (dy, dx) = op.window.stride, op.window.dilation
            return behind, tuple(
                (where[0], where[1] * sy + wy * dy, where[2] * sx + wx * dx)
                for wy, wx in np.ndindex(*op.window.kernel)
            )
    return None, ()


def _changed(
    network: Network, program: Program, mapping: Mapping | None, found: Provenance
) -> Blame | None:
    """Return the first descriptor of those concerned that the compiler makes otherwise."""
    made = compile_network(network, program.accelerator, mapping, program.base_address)
    if len(made.descriptors) != len(program.descriptors):
        return Blame(
            suspect=Suspect.DESCRIPTOR,
            reason=f"the program has {len(program.descriptors)} descriptors, the compiler makes "
            f"{len(made.descriptors)}",
        )
    for index in found.descriptors or range(len(program.descriptors)):
        got, expected = program.descriptors[index], made.descriptors[index]
        if got != expected:
            unit = unit_of(got).name.lower()
            return Blame(
                suspect=Suspect.DESCRIPTOR,
                reason=f"descriptor {index}, of the {unit} unit: {_difference(got, expected)}",
                descriptor=index,
            )
    return None


def _difference(got: object, expected: object, where: str = "") -> str:
    """Return the first field that differs, in words."""
    if type(got) is type(expected) and hasattr(got, "__dataclass_fields__"):
        for field in fields(got):  # type: ignore[arg-type]
            mine, theirs = getattr(got, field.name), getattr(expected, field.name)
            if mine != theirs:
                return _difference(mine, theirs, f"{where}.{field.name}".lstrip("."))
    if isinstance(got, tuple) and isinstance(expected, tuple) and len(got) == len(expected):
        for number, (mine, theirs) in enumerate(zip(got, expected, strict=True)):
            if mine != theirs:
                return _difference(mine, theirs, f"{where}[{number}]")
    return f"{where or 'it'} is {got}, the compiler makes {expected}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Term:
    """A weight that the hardware was told to take, and where the image has it."""

    weight: int
    operands: Operands
    lane: int


class _Told:
    """What the hardware was told to multiply and to requantise with."""

    def __init__(self, program: Program, found: Provenance, image: np.ndarray) -> None:
        self._program, self._found, self._image = program, found, image
        self._buffers = Buffers(program.accelerator, np.random.default_rng(0))
        self._column = found.accumulators[0].lane if found.accumulators else 0

    def kernel_differs(self, op: Conv, sample: int, where: Element, number: int) -> Blame | None:
        """Return what is wrong with the operands of the sum at ``where``, if anything is.

        It is the one with this ``number`` of those that the value was made of.
        """
        if number >= len(self._found.accumulators):
            return None  # the maximum is a step of its own, of which descriptors are compared
        sums = self._found.accumulators[number].address
        met = [operand for operand in self._found.operands if operand.accumulator == sums]
        if any(operand.activation_address is None for operand in met):
            return None  # inputs that stay on chip: what was kept there was compared
        got, twice = self._terms(self._program.placement(op.input), sample, met)
        expected = self._expected(op, where, where[0])
        weights = {element: term.weight for element, term in got.items()}
        if twice is not None:
            return Blame(
                suspect=Suspect.DESCRIPTOR,
                reason=f"(c, y, x) = {twice} of {op.input!r} is multiplied twice",
            )
        if weights == expected:
            return None
        for channel in range(len(op.weights)):
            if channel != where[0] and weights == self._expected(op, where, channel):
                return Blame(
                    suspect=Suspect.CHANNELS,
                    reason=f"column {self._column}, of channel {where[0]}, holds the weights of "
                    f"channel {channel}",
                )
        for element in sorted(set(weights) | set(expected)):
            mine, theirs = weights.get(element), expected.get(element)
            if mine != theirs:
                return self._wrong_weight(op, element, got.get(element), mine, theirs, expected)
        raise AssertionError("two kernels that differ differ somewhere")

    def _wrong_weight(
        self,
        op: Conv,
        element: Element,
        term: _Term | None,
        mine: int | None,
        theirs: int | None,
        expected: Map[Element, int],
    ) -> Blame:
        if term is None or (theirs is None and mine != self._idle and element not in expected):
            what = "never multiplied" if term is None else "not to be multiplied"
            said = f"weight {theirs}" if term is None else "it does not lie under the kernel"
            return Blame(
                suspect=Suspect.DESCRIPTOR,
                reason=f"(c, y, x) = {element} of {op.input!r} is {what}: {said}",
            )
        address = term.operands.weight_address
        place = "which nothing loaded" if address is None else f"at address {address:#x}"
        return Blame(
            suspect=Suspect.WEIGHTS,
            reason=f"column {self._column}, lane {term.lane} of the weight word {place} holds "
            f"{mine}, the network's weight for (c, y, x) = {element} of {op.input!r} is {theirs}",
            descriptor=term.operands.descriptor,
        )

    @property
    def _idle(self) -> int:
        return int(self._buffers.idle[self._column])

    def _terms(
        self, source: Placement, sample: int, met: list[Operands]
    ) -> tuple[dict[Element, _Term], Element | None]:
        """Return the weight that meets each element, and an element that is met twice."""
        terms: dict[Element, _Term] = {}
        for operands in met:
            if operands.weight_address is None or operands.activation_address is None:
                continue
            weights = self._weights(operands.weight_address)
            for lane, element in _elements(source, sample, operands.activation_address):
                if operands.lanes is not None:
                    if lane != operands.lanes[0]:
                        continue
                    lane = operands.lanes[1]
                weight = int(weights[lane])
                if weight == self._idle:
                    continue
                if element in terms:
                    return terms, element
                terms[element] = _Term(weight=weight, operands=operands, lane=lane)
        return terms, None

    def _weights(self, address: int) -> np.ndarray:
        accelerator = self._program.accelerator
        size = accelerator.word_bytes(accelerator.weight_word_bits)
        weights, _ = self._buffers.decode_weights(self._bytes(address, size))
        return np.asarray(weights[0, self._column])

    def _bytes(self, address: int, size: int) -> np.ndarray:
        start = address - self._program.base_address
        return self._image[None, start : start + size]

    def _expected(self, op: Conv, where: Element, channel: int) -> dict[Element, int]:
        """Return the network's weight for each element under the kernel of ``channel``."""
        _, height, width = next(p.shape for p in self._program.placements if p.name == op.input)
        window, inputs = op.window, op.weights.shape[1]
        first = channel // (len(op.weights) // op.groups) * inputs
        terms = {}
        for ci, ky, kx in np.ndindex(inputs, *window.kernel):
            y = where[1] * window.stride[0] - window.padding[0] + ky * window.dilation[0]
            x = where[2] * window.stride[1] - window.padding[1] + kx * window.dilation[1]
            weight = int(op.weights[channel, ci, ky, kx])
            if 0 <= y < height and 0 <= x < width and weight != self._idle:
                terms[first + ci, y, x] = weight
        return terms

    def constants_differ(self, requant: Requant, channel: int) -> Blame | None:
        """Return which constant of ``channel`` is not the network's, if one is not."""
        loaded, accelerator = self._found.constants, self._program.accelerator
        if loaded is None:
            return Blame(suspect=Suspect.DESCRIPTOR, reason="its constants were never loaded")
        address = loaded.sources[0].address
        size = accelerator.word_bytes(accelerator.constant_word_bits)
        words = self._buffers.decode_constants(self._bytes(address, size))
        for number, name in enumerate(_FIELDS):
            got = int(words[0, self._column % accelerator.post_lanes, number])
            expected = int(getattr(requant, name)[channel])
            if got != expected:
                return Blame(
                    suspect=Suspect.CONSTANTS,
                    reason=f"{name} of channel {channel} at address {address:#x} is {got}, the "
                    f"network's is {expected}",
                    descriptor=loaded.descriptor,
                )
        return None

    def table_differs(self, requant: Requant) -> Blame | None:
        """Return which row of the layer's table is not the network's, if one is not."""
        accelerator, table = self._program.accelerator, requant.table
        if table is None or accelerator.tables is None:
            return None
        if not self._found.tables:
            return Blame(suspect=Suspect.DESCRIPTOR, reason="its table was never loaded")
        rows = table_rows(requant, table, accelerator.tables)
        size = accelerator.word_bytes(accelerator.table_word_bits)
        indices = np.zeros(rows.size, bool)
        indices[np.arange(requant.low, requant.high + 1) % rows.size] = True
        mask = (1 << accelerator.array.activation_bits) - 1
        for write in self._found.tables:
            row, address = write.place.address % len(rows), write.sources[0].address
            got = self._buffers.decode_table(self._bytes(address, size))[0]
            reached = indices.reshape(rows.shape)[row]
            wrong = np.flatnonzero(reached & (got != (rows[row] & mask)))
            if len(wrong):
                entry = int(wrong[0])
                return Blame(
                    suspect=Suspect.TABLES,
                    reason=f"entry {row * rows.shape[1] + entry} of the table of {table.function} "
                    f"at address {address:#x} is {int(got[entry])}, the network's is "
                    f"{int(rows[row, entry]) & mask}",
                    descriptor=write.descriptor,
                )
        return None


def _elements(source: Placement, sample: int, address: int) -> list[tuple[int, Element]]:
    """Return (lane, element) of those that lie in the word at ``address``; its border has none."""
    channels, height, width = source.shape
    top, left, _, _ = source.border
    offset = address - source.at(sample) + top * source.pitch + left * source.word_bytes
    word, rest = divmod(offset, source.plane)
    row, rest = divmod(rest, source.pitch)
    row, column = row - top, rest // source.word_bytes - left
    found = []
    for held in np.flatnonzero(source.words == word).tolist():
        copy, channel = divmod(held, channels)
        y, x = row, column
        unfold = source.unfold
        if unfold is not None:
            jy, jx = divmod(copy, unfold.copies[1])
            y = unfold.origin[0] + row * unfold.stride[0] + jy * unfold.step[0]
            x = unfold.origin[1] + column * unfold.stride[1] + jx * unfold.step[1]
        if 0 <= y < height and 0 <= x < width:
            found.append((int(source.lanes[held]), (channel, y, x)))
    return found
