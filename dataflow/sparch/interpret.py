"""Runs programs of a SpArch engine on their memory image, one descriptor at a time.

The functional referee of ``docs/sparch.md``: it reads work records, elements and partial matrices
as they lie in memory, keeps the lines of the buffer, and refuses what the hardware would stop at.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from celosia.dataflow.jit import compiled
from celosia.dataflow.sparch.accelerator import POINTER_BITS, SparchAccelerator
from celosia.dataflow.sparch.bits import beats_of, pack_records, unpack_records
from celosia.dataflow.sparch.descriptors import Round, Source
from celosia.dataflow.sparch.merge_kernel import (
    ROW_SHIFT,
    Stream,
    empty_stream,
    merge_tree,
    products,
)
from celosia.dataflow.sparch.program import Output, SparchProgram
from celosia.dataflow.sparch.values import from_codes, to_codes
from celosia.dataflow.sparch.work import unpack_work
from celosia.models.csr import Csr


class IllegalProgramError(Exception):
    """The engine would stop: the message says at what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """What a program leaves in memory: the ``output`` in numbers, and elements of each round."""

    output: Csr
    elements: tuple[int, ...]


@compiled
def _feed(
    slots: np.ndarray, first: np.ndarray, count: np.ndarray, fetches: np.ndarray,
    address: np.ndarray, buffer: np.ndarray, lanes: int, line: int, right: int, taken: np.ndarray,
) -> int:  # fmt: skip
    """Fill ``taken`` with the number of B's element behind each product, in order of records.

    Returns the record that goes wrong, or -1.
    """
    done = 0
    for record in range(len(slots)):
        end, at = first[record] + count[record], slots[record] * lanes
        fetched = -(-end // lanes) * lanes
        if end > line or at + fetched > len(buffer):
            return record
        if fetches[record]:
            for element in range(fetched):
                buffer[at + element] = address[record] * lanes + element
        for element in range(at + first[record], at + end):
            if buffer[element] < 0 or buffer[element] >= right:
                return record
            taken[done] = buffer[element]
            done += 1
    return -1


class Interpreter:
    """A program under way; :func:`interpret` runs one whole."""

    def __init__(self, program: SparchProgram) -> None:
        self._program, self._accelerator = program, program.accelerator
        self._memory = program.image.copy()
        self._sources: dict[int, tuple[int, int]] = {}
        self._sizes: dict[int, int] = {}
        accelerator = self._accelerator
        self._buffer = np.full(accelerator.buffer_beats * accelerator.right_lanes, -1, np.int64)
        self._kind = program.plan.left.values.dtype

    def run(self) -> Product:
        """Run all descriptors and return what they made."""
        elements = []
        for descriptor in self._program.descriptors:
            match descriptor:
                case Source():
                    self._sources[descriptor.leaf] = descriptor.partial, descriptor.address
                case Round():
                    elements.append(self._round(descriptor))
        output = read_output(self._program.accelerator, self._program.output, self._memory)
        return Product(output=output, elements=tuple(elements))

    def _round(self, each: Round) -> int:
        leaves = [empty_stream(self._kind)] * self._accelerator.tree.ways
        for leaf, (partial, address) in self._sources.items():
            if each.leaves >> leaf & 1:
                raise IllegalProgramError(f"leaf {leaf} is both fed and a source")
            if partial not in self._sizes or (not each.final and partial == each.partial):
                raise IllegalProgramError(f"partial matrix {partial} cannot be read")
            leaves[leaf] = self._read_partial(address, self._sizes[partial])
        self._sources.clear()
        for leaf, stream in self._fed(each).items():
            leaves[leaf] = stream
        for leaf, stream in enumerate(leaves):
            if (np.diff(stream.keys) <= 0).any():
                raise IllegalProgramError(f"keys of leaf {leaf} do not rise")
            if (stream.rows >= each.rows).any() or (stream.columns >= each.columns).any():
                raise IllegalProgramError(f"leaf {leaf} leads beyond the product")
        merged, _ = merge_tree(leaves)
        if len(merged.keys) > each.capacity:
            raise IllegalProgramError(f"{len(merged.keys)} elements, {each.capacity} have room")
        if each.final:
            self._write_output(each, merged)
        else:
            self._write_partial(each, merged)
        return len(merged.keys)

    def _fed(self, each: Round) -> dict[int, Stream]:
        """Return the streams that the multipliers make, by leaf."""
        accelerator, elements = self._accelerator, self._accelerator.elements
        beat, lanes = accelerator.bus.data_bytes, accelerator.right_lanes
        size = int(self._program.plan.positions[-1])
        lies = self._memory[each.left : each.left + each.beats * beat]
        try:
            fields = unpack_work(lies, each.records, accelerator)
        except ValueError as error:
            raise IllegalProgramError(str(error)) from error
        value, row, leaf, slot, first, count, fetches, last, address = fields
        counts = count.astype(np.int64) + 1
        taken = np.empty(int(counts.sum()), np.int64)
        wrong = _feed(
            slot.astype(np.int64), first.astype(np.int64), counts, fetches == 1,
            address.astype(np.int64), self._buffer, lanes, accelerator.line_elements, size, taken,
        )  # fmt: skip
        if wrong >= 0:
            raise IllegalProgramError(f"record {wrong} leads beyond its line")
        self._check_last(each, leaf.astype(np.int64), last)
        columns, codes = unpack_records(
            self._memory[each.right :], size,
            [elements.index_bits, accelerator.right_bits - elements.index_bits], lanes, beat,
        )  # fmt: skip
        factors = from_codes(value, elements.bits, elements.kind)
        right = from_codes(codes, elements.bits, elements.kind)
        made = products(np.repeat(factors, counts), right[taken])
        keys = np.repeat(row.astype(np.int64), counts) << ROW_SHIFT
        keys |= columns.astype(np.int64)[taken]
        of = np.repeat(leaf.astype(np.int64), counts)
        return {int(number): Stream(keys[of == number], made[of == number]) for number in set(of)}

    def _check_last(self, each: Round, leaf: np.ndarray, last: np.ndarray) -> None:
        """Each open leaf is fed, and its last record, and no other, says so."""
        ends = leaf[last == 1]
        final = {int(number): at for at, number in enumerate(leaf)}
        mask = sum(1 << number for number in final)
        marked = set(np.flatnonzero(last == 1).tolist())
        if mask != each.leaves or len(ends) != len(final) or marked != set(final.values()):
            raise IllegalProgramError("the leaves that are fed are not those that are open")

    def _read_partial(self, address: int, size: int) -> Stream:
        accelerator, elements = self._accelerator, self._accelerator.elements
        column, row, value = unpack_records(
            self._memory[address:], size,
            [elements.index_bits, elements.index_bits, elements.accumulator],
            accelerator.partial_lanes, accelerator.bus.data_bytes,
        )  # fmt: skip
        keys = (row.astype(np.int64) << ROW_SHIFT) | column.astype(np.int64)
        return Stream(keys, from_codes(value, elements.accumulator, elements.kind))

    def _write_partial(self, each: Round, merged: Stream) -> None:
        accelerator, elements = self._accelerator, self._accelerator.elements
        content = pack_records(
            [merged.columns, merged.rows, to_codes(merged.numbers, elements.accumulator)],
            [elements.index_bits, elements.index_bits, elements.accumulator],
            accelerator.partial_lanes, accelerator.bus.data_bytes,
        )  # fmt: skip
        self._memory[each.target : each.target + len(content)] = content
        self._sizes[each.partial] = len(merged.keys)

    def _write_output(self, each: Round, merged: Stream) -> None:
        accelerator, elements = self._accelerator, self._accelerator.elements
        beat = accelerator.bus.data_bytes
        content = pack_records(
            [merged.columns, to_codes(merged.numbers, elements.accumulator)],
            [elements.index_bits, elements.accumulator],
            accelerator.output_lanes, beat,
        )  # fmt: skip
        self._memory[each.target : each.target + len(content)] = content
        counts = np.bincount(merged.rows, minlength=each.rows)
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.uint64)
        content = pack_records([starts], [POINTER_BITS], accelerator.pointer_lanes, beat)
        self._memory[each.pointers : each.pointers + len(content)] = content


def interpret(program: SparchProgram) -> Product:
    """Run ``program`` and return what it leaves in memory.

    Raises :class:`IllegalProgramError` where the engine would stop.
    """
    return Interpreter(program).run()


def read_output(accelerator: SparchAccelerator, output: Output, memory: np.ndarray) -> Csr:
    """Return the product that lies in ``memory`` (uint8, from address 0 on), in numbers.

    Raises ``ValueError`` where what lies there is no matrix.
    """
    beat, elements = accelerator.bus.data_bytes, accelerator.elements
    end = output.pointers + beats_of(output.rows + 1, accelerator.pointer_lanes) * beat
    starts = unpack_records(
        memory[output.pointers : end], output.rows + 1, [POINTER_BITS],
        accelerator.pointer_lanes, beat,
    )[0].astype(np.int64)  # fmt: skip
    if starts[-1] > output.capacity:
        raise ValueError(f"the last row pointer is {starts[-1]}, of at most {output.capacity}")
    columns, values = unpack_records(
        memory[output.target :], int(starts[-1]), [elements.index_bits, elements.accumulator],
        accelerator.output_lanes, beat,
    )  # fmt: skip
    return Csr(
        shape=(output.rows, output.columns),
        starts=starts,
        columns=columns.astype(np.int64),
        values=from_codes(values, elements.accumulator, elements.kind),
    )
