"""What programs of the EIE engine are made of: memory, places on chip, loads and steps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from celosia.dataflow.descriptors import CHUNK_DESCRIPTORS, DESCRIPTOR_BYTES
from celosia.dataflow.eie.accelerator import EieAccelerator
from celosia.dataflow.eie.allocate import Ring
from celosia.dataflow.eie.descriptors import (
    ALL_PES,
    FILE_SHIFT,
    Descriptor,
    Load,
    Run,
    Target,
)
from celosia.dataflow.eie.pack import (
    beats_of,
    bias_bytes,
    entry_bytes,
    occupancy_bytes,
    pe_entries,
    pointer_bytes,
    table_bytes,
)
from celosia.dataflow.eie.program import Tile
from celosia.dataflow.eie.tiles import LayerTile, places_of
from celosia.dataflow.layout import Placement
from celosia.dataflow.microarchitecture import PAGE_BYTES
from celosia.models.formats import Format
from celosia.models.network import Tensor

CHUNK_BYTES = CHUNK_DESCRIPTORS * DESCRIPTOR_BYTES
_TABLE_SHIFT = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where a tile lies in the PEs' memories, in pointers, entries and columns."""

    pointers: int
    entries: int
    occupancy: int


class Emitter:
    """One compilation: memory handed out from ``base`` on, descriptors in order.

    ``files`` are the tensors that the two activation files hold, where whole.
    """

    def __init__(self, accelerator: EieAccelerator, base: int) -> None:
        self.accelerator = accelerator
        self.base = self.end = base
        self.pieces: list[tuple[int, np.ndarray]] = []
        self.descriptors: list[Descriptor] = []
        self.tiles: list[Tile] = []
        self.loads = self.steps = 0
        memories = accelerator.memories
        self.rings = {
            Target.ENTRIES: Ring(memories.entries),
            Target.POINTERS: Ring(memories.pointers),
            Target.BIASES: Ring(memories.biases),
            Target.OCCUPANCY: Ring(accelerator.occupancy_columns),
            Target.CODEBOOK: Ring(memories.codebooks),
            Target.TABLES: Ring(1),
        }
        self.files: list[str | None] = [None, None]

    def reserve(self, size: int) -> int:
        """Return the address of ``size`` bytes, a multiple of 256, page-aligned where large."""
        alignment = PAGE_BYTES if size >= PAGE_BYTES else CHUNK_BYTES
        address = -(-self.end // alignment) * alignment
        self.end = address + size
        return address

    def place(self, tensor: Tensor) -> Placement:
        """Return where ``tensor`` lies in memory: words of activations, step after step."""
        accelerator, (channels, steps, _) = self.accelerator, tensor.shape
        pes = accelerator.array.pes
        word_bytes = accelerator.word_beats * accelerator.bus.data_bytes
        pitch = -(-channels // pes) * word_bytes
        numbers = np.arange(channels, dtype=np.int64)
        return Placement(
            name=tensor.name,
            shape=tensor.shape,
            format=tensor.format,
            address=self.reserve(steps * pitch),
            base=self.base,
            word_bytes=word_bytes,
            pitch=pitch,
            plane=word_bytes,
            border=(0, 0, 0, 0),
            words=numbers // pes,
            lanes=numbers % pes,
            lane_bits=accelerator.activation_lane_bits,
        )

    def activations(
        self, placement: Placement, *, file: int, row: int, step: int = 0, after: int
    ) -> None:
        """Load a vector, that of ``step``, into ``file`` from ``row`` on."""
        self._append(
            Load(
                target=Target.ACTIVATIONS,
                pe=ALL_PES,
                address=placement.address + step * placement.pitch,
                place=row | file << FILE_SHIFT,
                beats=placement.word_count,
                after=after,
            )
        )

    def codebook(self, fmt: Format, user: int) -> int:
        """Load the table of ``fmt``, where there is one, for steps up to ``user``; return which."""
        if not self.accelerator.widths.codebook:
            return 0
        table, after = self.rings[Target.CODEBOOK].take(1, user)
        raw = table_bytes(self.accelerator, fmt)
        self.load(Target.CODEBOOK, ALL_PES, raw, table << _TABLE_SHIFT, after)
        return table

    def biases(self, bias: np.ndarray, user: int) -> int:
        """Load the biases of a batch of rows for steps up to ``user``; return where they lie."""
        accelerator, pes = self.accelerator, self.accelerator.array.pes
        words = -(-len(bias) // pes)
        whole = np.zeros(words * pes, np.int64)
        whole[: len(bias)] = bias
        lanes = accelerator.bias_lanes
        first, after = self.rings[Target.BIASES].take(-(-words // lanes) * lanes, user)
        for pe in range(pes):
            raw = bias_bytes(accelerator, whole[pe::pes])
            self.load(Target.BIASES, pe, raw, first // lanes, after)
        return first

    def tile(self, tile: LayerTile, user: int) -> Places:
        """Load ``tile`` for steps up to ``user``; return where it lies."""
        accelerator, memories = self.accelerator, self.accelerator.memories
        compressed = tile.compressed
        lanes, bits = accelerator.pointer_lanes, accelerator.bus.data_bits
        row = memories.row_entries * accelerator.row_lanes
        taken = {
            target: self.rings[target].take(length, user)
            for target, length in places_of(tile, accelerator).items()
        }
        pointers, p_after = taken[Target.POINTERS]
        entries, e_after = taken[Target.ENTRIES]
        occupancy, o_after = taken.get(Target.OCCUPANCY, (0, 0))
        for pe in range(accelerator.array.pes):
            raw = pointer_bytes(accelerator, compressed.pointers[pe])
            self.load(Target.POINTERS, pe, raw, pointers // lanes, p_after)
            raw = entry_bytes(accelerator, *pe_entries(compressed, pe))
            self.load(Target.ENTRIES, pe, raw, entries // row, e_after)
            if accelerator.array.skip_empty:
                raw = occupancy_bytes(accelerator, compressed.column_entries[pe])
                self.load(Target.OCCUPANCY, pe, raw, occupancy // bits, o_after)
        return Places(pointers=pointers, entries=entries, occupancy=occupancy)

    def gather(self, tiles: Iterable[LayerTile]) -> None:
        """Let the next to be loaded be ``tiles`` that lie on chip together."""
        total: Counter[Target] = Counter()
        for tile in tiles:
            total.update(places_of(tile, self.accelerator))
        for target, length in total.items():
            self.rings[target].gather(length)

    def run(self, run: Run, tile: LayerTile, tensor: str, step: int = 0) -> None:
        """Add the step ``run``, in which ``tile`` meets ``tensor``, its vector of ``step``."""
        self.step(run)
        self.tiles.append(
            Tile(
                tensor=tensor,
                step=step,
                first=tile.first,
                counts=tile.compressed.column_entries,
                begins=tile.compressed.pointers[:, :-1],
            )
        )

    def load(self, target: Target, pe: int, raw: np.ndarray, place: int, after: int) -> None:
        """Put ``raw`` into memory, and a descriptor that loads it; none where it is empty."""
        if not len(raw):
            return
        address = self.reserve(len(raw))
        self.pieces.append((address, raw))
        beats = beats_of(self.accelerator, len(raw))
        self._append(
            Load(target=target, pe=pe, address=address, place=place, beats=beats, after=after)
        )

    def _append(self, load: Load) -> None:
        self.descriptors.append(load)
        self.loads += 1

    def step(self, step: Descriptor) -> None:
        """Add a step."""
        self.descriptors.append(step)
        self.steps += 1
