"""From two sparse matrices to a program of a SpArch engine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from celosia.dataflow.descriptors import CHUNK_DESCRIPTORS, DESCRIPTOR_BYTES
from celosia.dataflow.program import CompiledLayer
from celosia.dataflow.sparch.accelerator import POINTER_BITS, SparchAccelerator
from celosia.dataflow.sparch.bits import beats_of, pack_records
from celosia.dataflow.sparch.descriptors import Descriptor, End, Round, Source, Stamp
from celosia.dataflow.sparch.program import Output, SparchProgram, Strategy
from celosia.dataflow.sparch.records import Placed, pack_fields, place_records, round_records
from celosia.dataflow.sparch.schedule import Schedule, schedule
from celosia.dataflow.sparch.structure import product_size, round_members
from celosia.dataflow.sparch.values import check_sums, to_codes, to_numbers
from celosia.models.csr import Csr
from celosia.models.errors import CelosiaError

REGION_BYTES = 4096
"""Every region of memory begins at a multiple: bursts never cross one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Partial:
    """A partial matrix: its number, and where it lies."""

    number: int
    address: int


def compile_product(
    left: Csr,
    right: Csr,
    accelerator: SparchAccelerator,
    strategy: Strategy | None = None,
    *,
    name: str = "product",
) -> SparchProgram:
    """Return the program that multiplies ``left`` by ``right``.

    Parameters
    ----------
    left, right
        Matrices of shapes (m, k) and (k, n), with values as users give them.
    accelerator
        The engine.
    strategy
        How; SpArch's own by default.
    name
        Of the product, in reports.

    Raises
    ------
    CelosiaError
        Shapes do not match, an index or a value does not fit the engine's widths, a sum might not,
        more partial matrices would be alive than the engine counts, or the memory would be larger
        than its addresses.
    """
    strategy = strategy or Strategy()
    _check_shapes(left, right, accelerator)
    left = to_numbers(left, accelerator.elements, "the left matrix")
    right = to_numbers(right, accelerator.elements, "the right matrix")
    check_sums(left, right, accelerator.elements)
    if strategy.cut.lines > accelerator.right.line_beats:
        raise CelosiaError(
            f"a line of {strategy.cut.lines} beats does not fit the engine's buffer, of which a "
            f"line has {accelerator.right.line_beats}"
        )
    plan = schedule(
        left, right, accelerator.tree.ways,
        rowwise=strategy.rowwise, condense=strategy.condense, huffman=strategy.huffman,
    )  # fmt: skip
    placed = _records(left, right, plan, accelerator, strategy)
    return _Writer(left, right, plan, placed, accelerator, strategy, name).program()


def _check_shapes(left: Csr, right: Csr, accelerator: SparchAccelerator) -> None:
    if left.shape[1] != right.shape[0]:
        raise CelosiaError(
            f"the left matrix has {left.shape[1]} columns and the right one {right.shape[0]} rows: "
            "they must be equal"
        )
    most = 1 << accelerator.elements.index_bits
    rows, columns = left.shape[0], right.shape[1]
    if max(rows, columns) > most:
        raise CelosiaError(
            f"the product has {rows} rows and {columns} columns, and {accelerator.name} numbers "
            f"{most} of each with {accelerator.elements.index_bits} bits: take an engine with more "
            "index_bits"
        )


def _records(
    left: Csr,
    right: Csr,
    plan: Schedule,
    accelerator: SparchAccelerator,
    strategy: Strategy,
) -> list[Placed]:
    """Return the work records of each round."""
    streams = int(plan.stream.max(initial=-1)) + 1
    found = []
    for each in plan.rounds:
        leaf_of = np.full(streams + 1, -1, np.int64)
        leaf_of[list(each.streams)] = np.arange(len(each.streams)) + len(each.sources)
        leaves = leaf_of[plan.stream]
        nonzeros = np.flatnonzero(leaves >= 0)
        found.append(
            round_records(
                left, right, nonzeros, leaves[nonzeros], accelerator, strategy.cut
            )
        )  # fmt: skip
    return place_records(found, accelerator, reuse=strategy.reuse)


class _Writer:
    """Lays everything out and writes the descriptors."""

    def __init__(
        self,
        left: Csr,
        right: Csr,
        plan: Schedule,
        placed: list[Placed],
        accelerator: SparchAccelerator,
        strategy: Strategy,
        name: str,
    ) -> None:
        self._left, self._right, self._plan = left, right, plan
        self._placed, self._accelerator = placed, accelerator
        self._strategy, self._name = strategy, name
        self._beat = accelerator.bus.data_bytes
        self._end = 0
        self._contents: list[tuple[int, np.ndarray]] = []
        self._alive: dict[int, _Partial] = {}

    def program(self) -> SparchProgram:
        rounds = self._plan.rounds
        count = sum(len(each.sources) + 2 for each in rounds) + 1
        chunk = CHUNK_DESCRIPTORS * DESCRIPTOR_BYTES
        program_address = self._region(-(-count // CHUNK_DESCRIPTORS) * chunk)
        stamps = self._region(len(rounds) * self._beat)
        right = self._put(self._right_records())
        sizes = [
            product_size(self._left, self._right, members)
            for members in round_members(self._plan)
        ]  # fmt: skip
        output = self._output(sizes[-1])
        descriptors: list[Descriptor] = []
        layers: list[CompiledLayer] = []
        for number in range(len(rounds)):
            first = len(descriptors)
            descriptors += self._round(number, right, sizes[number], output)
            stamp = stamps + number * self._beat
            descriptors.append(Stamp(address=stamp))
            layers.append(
                CompiledLayer(
                    name=f"round {number}", outputs=(), first=first, stop=len(descriptors),
                    stamp=stamp, products=int(self._placed[number].records.count.sum()),
                )
            )  # fmt: skip
        descriptors.append(End())
        return SparchProgram(
            network=self._name, accelerator=self._accelerator, descriptors=tuple(descriptors),
            layers=tuple(layers), placements=(), inputs=(), outputs=(), image=self._image(),
            base_address=0, program_address=program_address, left=self._left, right=self._right,
            schedule=self._plan, records=tuple(self._placed), output=output,
            strategy=self._strategy,
        )  # fmt: skip

    def _region(self, size: int) -> int:
        """Return the address of a new region."""
        address = self._end
        self._end += -(-max(size, 1) // REGION_BYTES) * REGION_BYTES
        return address

    def _put(self, content: np.ndarray) -> int:
        """Return the address at which ``content`` will lie."""
        address = self._region(len(content))
        self._contents.append((address, content))
        return address

    def _right_records(self) -> np.ndarray:
        right, elements = self._right, self._accelerator.elements
        return pack_records(
            [right.columns, to_codes(right.values, elements.bits)],
            [elements.index_bits, self._accelerator.right_bits - elements.index_bits],
            self._accelerator.right_lanes, self._beat,
        )  # fmt: skip

    def _output(self, size: int) -> Output:
        rows, columns = self._left.shape[0], self._right.shape[1]
        if size >= 1 << POINTER_BITS:
            raise CelosiaError(
                f"the product has up to {size} elements, and row pointers of {POINTER_BITS} bits "
                "count fewer: multiply it in parts"
            )
        beats = beats_of(size, self._accelerator.output_lanes)
        pointers = beats_of(rows + 1, self._accelerator.pointer_lanes)
        return Output(
            target=self._region(beats * self._beat),
            pointers=self._region(pointers * self._beat),
            rows=rows, columns=columns, capacity=size,
        )  # fmt: skip

    def _round(self, number: int, right: int, size: int, output: Output) -> list[Descriptor]:
        """Return the descriptors of round ``number``, which makes at most ``size`` elements."""
        each, placed = self._plan.rounds[number], self._placed[number]
        accelerator = self._accelerator
        sources = [self._alive[source] for source in each.sources]
        found: list[Descriptor] = [
            Source(leaf=leaf, partial=source.number, address=source.address)
            for leaf, source in enumerate(sources)
        ]
        final = number == len(self._plan.rounds) - 1
        partial = None if final else self._partial(number, size)
        for source in each.sources:
            del self._alive[source]
        codes = to_codes(self._left.values, accelerator.elements.bits)
        fields = pack_fields(placed, self._left, codes, accelerator.right_lanes)
        records = pack_records(
            fields, accelerator.work.widths, accelerator.work_lanes, self._beat
        )  # fmt: skip
        leaves = sum(1 << int(leaf) for leaf in np.unique(placed.records.leaf))
        found.append(
            Round(
                final=final, partial=partial.number if partial else 0,
                records=len(placed.records.leaf), left=self._put(records), right=right,
                leaves=leaves, target=partial.address if partial else output.target,
                pointers=output.pointers if final else 0, rows=output.rows,
                columns=output.columns, capacity=size,
            )
        )  # fmt: skip
        return found

    def _partial(self, number: int, size: int) -> _Partial:
        """Return a place for what round ``number`` writes."""
        used = {partial.number for partial in self._alive.values()}
        lowest = next(n for n in range(len(used) + 1) if n not in used)
        if lowest >= self._accelerator.partials.alive:
            raise CelosiaError(
                f"{self._accelerator.name} counts {self._accelerator.partials.alive} partial "
                "matrices and this product needs more at a time: take an engine with more, or "
                "with more ways"
            )
        beats = beats_of(size, self._accelerator.partial_lanes)
        address = self._region(beats * self._beat)
        self._alive[number] = partial = _Partial(number=lowest, address=address)
        return partial

    def _image(self) -> np.ndarray:
        size, window = self._end, 1 << self._accelerator.bus.address_bits
        if size > window:
            raise CelosiaError(
                f"the product takes {size} bytes of memory, its factors {self._right.nonzeros} and "
                f"{self._left.nonzeros} elements, and {self._accelerator.name} addresses "
                f"{window} bytes: take an engine with more address_bits, or multiply in parts"
            )
        image = np.zeros(size, np.uint8)
        for address, content in self._contents:
            image[address : address + len(content)] = content
        return image
