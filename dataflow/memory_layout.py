"""Where in memory everything of a program lies: tensors, weights, constants, stamps, descriptors.

Addresses depend on the network, the accelerator and the samples of a start, not on how layers are
mapped: a search that prices mappings by the bursts that they cause finds them once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from celosia.dataflow.arrange import Arrangement
from celosia.dataflow.descriptors import CHUNK_DESCRIPTORS, DESCRIPTOR_BYTES
from celosia.dataflow.emit import StepAddresses
from celosia.dataflow.layout import Placement
from celosia.dataflow.microarchitecture import PAGE_BYTES
from celosia.dataflow.plan import StepPlan
from celosia.dataflow.resident import Place
from celosia.models.errors import CelosiaError
from celosia.models.formats import BlockScaling, Fixed
from celosia.models.network import Tensor

BASE_ADDRESS = 0x1000_0000
"""Where a program's memory begins where nothing else is asked for."""

CHUNK_BYTES = CHUNK_DESCRIPTORS * DESCRIPTOR_BYTES


class MemoryLayout:
    """Addresses handed out from ``base`` on, in a fixed order.

    Attributes
    ----------
    base : int
        The first address.
    placements : dict of Placement
        Of every tensor, by name.
    steps : tuple of StepAddresses
        Where the data of each planned step lies, in order.
    """

    def __init__(
        self, arrangement: Arrangement, plans: Sequence[StepPlan], samples: int, base: int
    ) -> None:
        self.base = base
        self.placements: dict[str, Placement] = {}
        self._tables: dict[tuple[int, bytes], int] = {}
        self._end = base
        self._arrangement = arrangement
        self._lowered = arrangement.lowered
        self._accelerator = plans[0].accelerator
        self._samples = samples
        self._place_tensors()
        layers = {plan.step.layer for plan in plans}
        self._stamps = self.reserve(len(layers) * self._accelerator.bus.data_bytes)
        self.steps = tuple(self._step(plan) for plan in plans)

    def reserve(self, size: int) -> int:
        """Return the address of ``size`` bytes: page-aligned where large."""
        alignment = PAGE_BYTES if size >= PAGE_BYTES else CHUNK_BYTES
        address = -(-self._end // alignment) * alignment
        self._end = address + size
        return address

    @property
    def end(self) -> int:
        """The first address after what was handed out, whole pages."""
        return -(-self._end // PAGE_BYTES) * PAGE_BYTES

    @property
    def size(self) -> int:
        """Bytes from ``base`` to ``end``."""
        return self.end - self.base

    def check(self, network: str) -> None:
        """Raise :class:`CelosiaError`, naming ``network``, unless all addresses fit the bus."""
        bits = self._accelerator.bus.address_bits
        if self.end > 1 << bits:
            raise CelosiaError(
                f"network {network!r} needs memory up to {self.end:#x}, "
                f"accelerator {self._accelerator.name!r} has {bits} address bits: choose a lower "
                "base address or raise bus.address_bits"
            )

    def stamp(self, layer: int) -> int:
        """Return the address of the time stamp of layer number ``layer``."""
        return self._stamps + layer * self._accelerator.bus.data_bytes

    def _place_tensors(self) -> None:
        accelerator = self._accelerator
        word_bytes = accelerator.word_bytes(accelerator.activation_word_bits)
        for name in self._lowered.tensors:
            if self._lowered.root(name) == name:
                self._place_root(name, word_bytes)
        for name in self._lowered.tensors:
            self._place_part(name)
        for name, tensor in self._lowered.tensors.items():
            if tensor.scaling is not None:
                self.placements[tensor.scales_name] = self._scales(name, tensor, tensor.scaling)

    def _scales(self, name: str, tensor: Tensor, scaling: BlockScaling) -> Placement:
        """Return where the scales of ``tensor`` lie: behind its lanes, in the same words."""
        array = self._accelerator.array
        first = self._arrangement.positions[name][:: scaling.vector]
        return replace(
            self.placements[name],
            name=tensor.scales_name,
            shape=tensor.scales_shape,
            format=Fixed(bits=scaling.scale.bits, signed=False),
            words=first // array.lanes,
            lanes=first % array.lanes // scaling.vector,
            lane_bits=scaling.scale.bits,
            first_bit=array.lanes * array.activation_bits,
        )

    def _place_root(self, name: str, word_bytes: int) -> None:
        height, width = self._lowered.grid(name)
        top, left, bottom, right = self._arrangement.borders[name]
        pitch = (width + left + right) * word_bytes
        plane = (height + top + bottom) * pitch
        size = self._arrangement.word_count[name] * plane
        start = self.reserve(self._samples * size)
        address = start + top * pitch + left * word_bytes
        self.placements[name] = self._placement(name, address, size)

    def _place_part(self, name: str) -> None:
        """Place what lies in the memory of another tensor, after that."""
        if name in self.placements:
            return
        output = self._lowered.wholes[name]
        self._place_part(output)
        whole = self.placements[output]
        if output in self._lowered.concats:
            words = self._arrangement.first_word[name] - self._arrangement.first_word[output]
            address = whole.address + words * whole.plane
            self.placements[name] = self._placement(name, address, whole.sample_bytes)
            return
        part = next(p for p in self._lowered.interleaves[output] if p.input == name)
        (top, left), (down, across) = part.origin, part.stride
        self.placements[name] = replace(
            whole,
            name=name,
            shape=self._lowered.tensors[name].shape,
            address=whole.address + top * whole.pitch + left * whole.word_bytes,
            pitch=down * whole.pitch,
            border=(0, 0, 0, 0),
            spread=across,
        )

    def _placement(self, name: str, address: int, sample_bytes: int) -> Placement:
        tensor, lanes = self._lowered.tensors[name], self._accelerator.array.lanes
        word_bytes = self._accelerator.word_bytes(self._accelerator.activation_word_bits)
        border = self._arrangement.borders[self._lowered.root(name)]
        height, width = self._lowered.grid(name)
        pitch = (width + border[1] + border[3]) * word_bytes
        positions = self._arrangement.positions[name]
        return Placement(
            name=name,
            shape=tensor.shape,
            format=tensor.format,
            address=address,
            base=self.base,
            word_bytes=word_bytes,
            pitch=pitch,
            plane=(height + border[0] + border[2]) * pitch,
            border=border,
            words=positions // lanes,
            lanes=positions % lanes,
            lane_bits=self._accelerator.array.activation_bits,
            unfold=self._lowered.unfolds.get(name),
            sample_bytes=sample_bytes,
            zero=tensor.zero,
        )

    def _place(self, name: str) -> Place:
        parts = self._lowered.interleaves.get(self._lowered.wholes.get(name, ""), ())
        part = next((part for part in parts if part.input == name), None)
        return Place(
            placement=self.placements[name],
            root=self._lowered.root(name),
            word=self._arrangement.first_word[name],
            top=0 if part is None else part.origin[0],
            down=1 if part is None else part.stride[0],
            left=0 if part is None else part.origin[1],
            across=1 if part is None else part.stride[1],
        )

    def _step(self, plan: StepPlan) -> StepAddresses:
        step, accelerator = plan.step, self._accelerator
        height, width = plan.weight_kernel(*plan.kernel)
        weight = height * width * accelerator.word_bytes(accelerator.weight_word_bits)
        constant = accelerator.word_bytes(accelerator.constant_word_bits)
        return StepAddresses(
            source=self._place(step.input),
            target=self._place(step.output),
            residual=None if step.residual is None else self._place(step.residual),
            weights=self._tiles(plan, [tile.input_words * weight for tile in plan.tiles]),
            constants=self._tiles(plan, [tile.groups * constant for tile in plan.tiles]),
            table=self._table(plan),
        )

    def _table(self, plan: StepPlan) -> int | None:
        """Return the address of a step's table: the same for steps that have the same."""
        requant, tables = plan.step.requant, self._accelerator.tables
        if requant.table is None or tables is None:
            return None
        key = requant.low, requant.table.values.tobytes()
        if key not in self._tables:
            size = self._accelerator.word_bytes(self._accelerator.table_word_bits)
            self._tables[key] = self.reserve(tables.rows * size)
        return self._tables[key]

    def _tiles(self, plan: StepPlan, sizes: list[int]) -> dict[int, int]:
        """Return the address of each tile's words, by the tile's index: one after another."""
        address = self.reserve(sum(sizes))
        addresses = {}
        for tile, size in zip(plan.tiles, sizes, strict=True):
            addresses[tile.index] = address
            address += size
        return addresses
