"""From two sparse matrices to a program of a SpArch engine."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from celosia.dataflow.descriptors import CHUNK_DESCRIPTORS, DESCRIPTOR_BYTES
from celosia.dataflow.program import CompiledLayer
from celosia.dataflow.sparch.accelerator import POINTER_BITS, SparchAccelerator
from celosia.dataflow.sparch.bits import beats_of, pack_records
from celosia.dataflow.sparch.descriptors import Descriptor, End, Round, Source, Stamp
from celosia.dataflow.sparch.plan import Plan, Strategy, plan_product
from celosia.dataflow.sparch.program import Output, SparchProgram
from celosia.dataflow.sparch.records import work_fields
from celosia.dataflow.sparch.values import to_codes
from celosia.dataflow.sparch.work import pack_work
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
    plan = plan_product(left, right, accelerator, strategy or Strategy())
    return lay_out(plan, name=name)


def lay_out(plan: Plan, *, name: str = "product") -> SparchProgram:
    """Return the program of a plan; raises as :func:`compile_product`."""
    return _Writer(plan, name).program()


class _Writer:
    """Lays everything out and writes the descriptors."""

    def __init__(self, plan: Plan, name: str) -> None:
        self._plan, self._name = plan, name
        self._accelerator = plan.accelerator
        self._beat = plan.accelerator.bus.data_bytes
        self._end = 0
        self._contents: list[tuple[int, np.ndarray]] = []
        self._alive: dict[int, _Partial] = {}

    def program(self) -> SparchProgram:
        rounds, sizes = self._plan.schedule.rounds, self._plan.sizes
        count = sum(len(each.sources) + 2 for each in rounds) + 1
        chunk = CHUNK_DESCRIPTORS * DESCRIPTOR_BYTES
        program_address = self._region(-(-count // CHUNK_DESCRIPTORS) * chunk)
        stamps = self._region(len(rounds) * self._beat)
        right = self._put(self._right_records())
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
                    stamp=stamp, products=int(self._plan.records[number].records.count.sum()),
                )
            )  # fmt: skip
        descriptors.append(End())
        return SparchProgram(
            network=self._name, accelerator=self._accelerator, descriptors=tuple(descriptors),
            layers=tuple(layers), placements=(), inputs=(), outputs=(), image=self._image(),
            base_address=0, program_address=program_address, plan=self._plan, output=output,
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
        right, elements = self._plan.right, self._accelerator.elements
        positions = self._plan.positions
        places = np.arange(right.nonzeros) + np.repeat(
            positions[:-1] - right.starts[:-1], right.counts
        )
        columns, codes = np.zeros((2, int(positions[-1])), np.uint64)
        columns[places], codes[places] = right.columns, to_codes(right.values, elements.bits)
        return pack_records(
            [columns, codes],
            [elements.index_bits, self._accelerator.right_bits - elements.index_bits],
            self._accelerator.right_lanes, self._beat,
        )  # fmt: skip

    def _output(self, size: int) -> Output:
        rows, columns = self._plan.left.shape[0], self._plan.right.shape[1]
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
        each, placed = self._plan.schedule.rounds[number], self._plan.records[number]
        accelerator = self._accelerator
        sources = [self._alive[source] for source in each.sources]
        found: list[Descriptor] = [
            Source(leaf=leaf, partial=source.number, address=source.address)
            for leaf, source in enumerate(sources)
        ]
        final = number == len(self._plan.schedule.rounds) - 1
        partial = None if final else self._partial(number, size)
        for source in each.sources:
            del self._alive[source]
        codes = to_codes(self._plan.left.values, accelerator.elements.bits)
        records = pack_work(work_fields(placed, codes, accelerator.right_lanes), accelerator)
        leaves = sum(1 << int(leaf) for leaf in np.unique(placed.records.leaf))
        found.append(
            Round(
                final=final, partial=partial.number if partial else 0,
                records=len(placed.records.leaf), beats=len(records) // self._beat,
                left=self._put(records), right=right,
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
                f"the product takes {size} bytes of memory, with {self._plan.left.nonzeros} and "
                f"{self._plan.right.nonzeros} elements in its factors and up to "
                f"{self._plan.sizes[-1]} of its own; {self._accelerator.name} addresses {window} "
                "bytes: take an engine with more address_bits, or multiply in parts"
            )
        try:
            image = np.zeros(size, np.uint8)
        except MemoryError as error:
            raise CelosiaError(
                f"the product takes {size} bytes of memory, which this machine does not have: "
                "multiply in parts"
            ) from error
        for address, content in self._contents:
            image[address : address + len(content)] = content
        return image
