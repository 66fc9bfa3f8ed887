"""From a network of compressed layers to a program of the EIE engine.

.. code-block:: sh

    python -c "
    from celosia.dataflow.eie.compile import compile_eie
    from celosia.dataflow.eie.presets import TINY
    from celosia.models.storage import load
    program = compile_eie(load('network.celosia'), TINY)
    print(len(program.descriptors), 'descriptors,', program.memory_size, 'bytes')"
"""

from __future__ import annotations

import numpy as np

from celosia.dataflow.descriptors import CHUNK_DESCRIPTORS, DESCRIPTOR_BYTES
from celosia.dataflow.eie.accelerator import EieAccelerator
from celosia.dataflow.eie.allocate import Ring
from celosia.dataflow.eie.descriptors import (
    ALL_PES,
    Descriptor,
    End,
    Load,
    Run,
    Stamp,
    Store,
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
from celosia.dataflow.eie.program import EieProgram, Tile
from celosia.dataflow.eie.tiles import LayerTile, tiles_of
from celosia.dataflow.layout import Placement
from celosia.dataflow.memory_layout import BASE_ADDRESS
from celosia.dataflow.microarchitecture import PAGE_BYTES
from celosia.dataflow.program import CompiledLayer
from celosia.models.errors import CelosiaError
from celosia.models.formats import Codebook, Fixed
from celosia.models.network import Network, Tensor
from celosia.models.sparse import SparseLinear

_CHUNK_BYTES = CHUNK_DESCRIPTORS * DESCRIPTOR_BYTES
_FILE_BIT, _TABLE_SHIFT = 15, 8


def compile_eie(
    network: Network, accelerator: EieAccelerator, base_address: int = BASE_ADDRESS
) -> EieProgram:
    """Compile ``network``, of compressed layers alone, for ``accelerator``.

    A layer that fits the memories is loaded whole; another is streamed through them in tiles, the
    next while one is at work.

    Raises
    ------
    CelosiaError
        If the accelerator cannot run the network (an operation that is no compressed layer;
        weights, activations or sums too wide; vectors too long): names the layer and what to do.
    ValueError
        If ``base_address`` is not a multiple of 4096.
    """
    if base_address < 0 or base_address % PAGE_BYTES:
        raise ValueError(f"base_address must be a multiple of {PAGE_BYTES}, not {base_address!r}")
    for tensor in network.tensors:
        _check_tensor(tensor, accelerator)
    layers = [_checked(op, network, accelerator) for op in network.ops]
    return _Compiler(network, layers, accelerator, base_address).program()


def _check_tensor(tensor: Tensor, accelerator: EieAccelerator) -> None:
    channels, height, width = tensor.shape
    where = f"tensor {tensor.name!r}"
    bits = accelerator.widths.activation
    if height * width > 1 or tensor.scaling is not None or not isinstance(tensor.format, Fixed):
        raise CelosiaError(
            f"{where}: accelerator {accelerator.name!r} takes vectors of fixed-point activations, "
            f"not {tensor.format.name} of shape {tensor.shape}: lower convolutions first"
        )
    if tensor.format.high >= 1 << bits - 1:
        raise CelosiaError(
            f"{where}: {tensor.format.name} does not fit activations of {bits} bits with a sign: "
            "raise widths.activation or quantise with fewer bits"
        )
    most = accelerator.memories.activations * accelerator.array.pes
    if channels > most:
        raise CelosiaError(
            f"{where}: {channels} activations do not fit the {most} of accelerator "
            f"{accelerator.name!r}: raise memories.activations or array.pes"
        )


def _checked(op: object, network: Network, accelerator: EieAccelerator) -> SparseLinear:
    if not isinstance(op, SparseLinear):
        raise CelosiaError(
            f"operation {getattr(op, 'name', op)!r}: accelerator {accelerator.name!r} runs "
            f"compressed layers alone, not {type(op).__name__}: compress linear layers first"
        )
    where, widths = f"layer {op.name!r}", accelerator.widths
    shared = isinstance(op.format, Codebook)
    if shared is not widths.codebook or op.format.bits > widths.weight:
        mine = f"codebooks of up to {widths.weight} bits" if widths.codebook else "values"
        raise CelosiaError(
            f"{where}: its weights are {op.format.name}, accelerator {accelerator.name!r} takes "
            f"{mine} of {widths.factor} bits"
        )
    if not shared and not (isinstance(op.format, Fixed) and op.format.signed):
        raise CelosiaError(f"{where}: weights must be fixed point with a sign: {op.format.name}")
    limit = 1 << widths.factor - 1
    if op.format.low < -limit or op.format.high >= limit:
        raise CelosiaError(
            f"{where}: weights of {op.format.name} do not fit {widths.factor} bits: raise "
            "widths.value"
        )
    needed = op.accumulator_bits(network.tensor(op.input).format)
    if needed > widths.accumulator:
        raise CelosiaError(
            f"{where} needs accumulators of {needed} bits, accelerator {accelerator.name!r} has "
            f"{widths.accumulator}: raise widths.accumulator or quantise with fewer bits"
        )
    return op


class _Compiler:
    """One compilation: memory handed out from ``base`` on, descriptors in order."""

    def __init__(
        self,
        network: Network,
        layers: list[SparseLinear],
        accelerator: EieAccelerator,
        base: int,
    ) -> None:
        self.network, self.layers, self.accelerator = network, layers, accelerator
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
        }
        self.files: list[str | None] = [None, None]
        self.placements = {tensor.name: self._place(tensor) for tensor in network.tensors}
        stamps = self.reserve(len(layers) * accelerator.bus.data_bytes)
        self.stamps = [stamps + i * accelerator.bus.data_bytes for i in range(len(layers))]

    def reserve(self, size: int) -> int:
        """Return the address of ``size`` bytes, a multiple of 256, page-aligned where large."""
        alignment = PAGE_BYTES if size >= PAGE_BYTES else _CHUNK_BYTES
        address = -(-self.end // alignment) * alignment
        self.end = address + size
        return address

    def _place(self, tensor: Tensor) -> Placement:
        accelerator, (channels, _, _) = self.accelerator, tensor.shape
        pes = accelerator.array.pes
        word_bytes = accelerator.word_beats * accelerator.bus.data_bytes
        numbers = np.arange(channels, dtype=np.int64)
        return Placement(
            name=tensor.name,
            shape=tensor.shape,
            format=tensor.format,
            address=self.reserve(-(-channels // pes) * word_bytes),
            base=self.base,
            word_bytes=word_bytes,
            pitch=word_bytes,
            plane=word_bytes,
            border=(0, 0, 0, 0),
            words=numbers // pes,
            lanes=numbers % pes,
            lane_bits=accelerator.activation_lane_bits,
        )

    def program(self) -> EieProgram:
        layers = [self._layer(index, op) for index, op in enumerate(self.layers)]
        self.descriptors.append(End())
        chunks = -(-len(self.descriptors) // CHUNK_DESCRIPTORS)
        program_address = self.reserve(chunks * _CHUNK_BYTES)
        size = -(-(self.end - self.base) // PAGE_BYTES) * PAGE_BYTES
        if self.base + size > 1 << self.accelerator.bus.address_bits:
            raise CelosiaError(
                f"network {self.network.name!r} needs memory up to {self.base + size:#x}, "
                f"accelerator {self.accelerator.name!r} has {self.accelerator.bus.address_bits} "
                "address bits: choose a lower base address or raise bus.address_bits"
            )
        image = np.zeros(size, np.uint8)
        for address, raw in self.pieces:
            image[address - self.base : address - self.base + len(raw)] = raw
        return EieProgram(
            network=self.network.name,
            accelerator=self.accelerator,
            descriptors=tuple(self.descriptors),
            tiles=tuple(self.tiles),
            layers=tuple(layers),
            placements=tuple(self.placements.values()),
            inputs=self.network.inputs,
            outputs=self.network.outputs,
            image=image,
            base_address=self.base,
            program_address=program_address,
        )

    def _layer(self, index: int, op: SparseLinear) -> CompiledLayer:
        accelerator, first = self.accelerator, len(self.descriptors)
        source = self._source(op)
        tiles = tiles_of(op, accelerator)
        ends = {tile.first_row: tile for tile in tiles}  # the last tile of each batch of rows
        last = self.steps + len(tiles)
        table, table_after = 0, 0
        if accelerator.widths.codebook:
            table, table_after = self.rings[Target.CODEBOOK].take(1, last)
            raw = table_bytes(accelerator, op.format)
            self._load(Target.CODEBOOK, ALL_PES, raw, table << _TABLE_SHIFT, table_after)
        biases = 0
        for tile in tiles:
            if tile.first == 0:
                users = sum(other.first_row == tile.first_row for other in tiles)
                biases = self._biases(op, tile, self.steps + users)
            self._tile(op, tile, source, table, biases, write=ends[tile.first_row] is tile)
        self.files[1 - source] = op.output
        target = self.placements[op.output]
        rows = -(-op.matrix.shape[0] // accelerator.array.pes)
        self._step(Store(source=1 - source, first=0, rows=rows, address=target.address))
        self._step(Stamp(address=self.stamps[index]))
        return CompiledLayer(
            name=op.name,
            outputs=(op.output,),
            first=first,
            stop=len(self.descriptors),
            stamp=self.stamps[index],
            products=self.network.products(op),
        )

    def _source(self, op: SparseLinear) -> int:
        """Return the file that holds the layer's input, which is loaded where none does."""
        if op.input in self.files:
            return self.files.index(op.input)
        placement = self.placements[op.input]
        self._append_load(
            Load(
                target=Target.ACTIVATIONS,
                pe=ALL_PES,
                address=placement.address,
                place=0,
                beats=placement.word_count,
                after=self.steps,
            )
        )
        self.files = [op.input, None]
        return 0

    def _biases(self, op: SparseLinear, tile: LayerTile, user: int) -> int:
        """Load the biases of a batch of rows; return where they lie."""
        accelerator, pes = self.accelerator, self.accelerator.array.pes
        bias = op.bias[tile.first_row : tile.first_row + tile.compressed.shape[0]]
        words = -(-len(bias) // pes)
        whole = np.zeros(words * pes, np.int64)
        whole[: len(bias)] = bias
        lanes = accelerator.bias_lanes
        first, after = self.rings[Target.BIASES].take(-(-words // lanes) * lanes, user)
        for pe in range(pes):
            raw = bias_bytes(accelerator, whole[pe::pes])
            self._load(Target.BIASES, pe, raw, first // lanes, after)
        return first

    def _tile(
        self,
        op: SparseLinear,
        tile: LayerTile,
        source: int,
        table: int,
        biases: int,
        *,
        write: bool,
    ) -> None:
        """Load a tile and run it."""
        accelerator, memories = self.accelerator, self.accelerator.memories
        pes, compressed, user = accelerator.array.pes, tile.compressed, self.steps + 1
        lanes, bits = accelerator.pointer_lanes, accelerator.bus.data_bits
        row = memories.row_entries * accelerator.row_lanes
        pointers, p_after = self.rings[Target.POINTERS].take(
            -(-(tile.columns + 1) // lanes) * lanes, user
        )
        entries, e_after = self.rings[Target.ENTRIES].take(-(-tile.size // row) * row, user)
        occupancy, o_after = 0, 0
        if accelerator.array.skip_empty:
            columns = -(-tile.columns // bits) * bits
            occupancy, o_after = self.rings[Target.OCCUPANCY].take(columns, user)
        for pe in range(pes):
            raw = pointer_bytes(accelerator, compressed.pointers[pe])
            self._load(Target.POINTERS, pe, raw, pointers // lanes, p_after)
            raw = entry_bytes(accelerator, *pe_entries(compressed, pe))
            self._load(Target.ENTRIES, pe, raw, entries // row, e_after)
            if accelerator.array.skip_empty:
                raw = occupancy_bytes(accelerator, compressed.column_entries[pe])
                self._load(Target.OCCUPANCY, pe, raw, occupancy // bits, o_after)
        rows = -(-compressed.shape[0] // pes)
        self._step(
            Run(
                source=source,
                window=tile.first // accelerator.window_columns,
                columns=tile.columns,
                pointers=pointers,
                entries=entries,
                size=tile.size,
                occupancy=occupancy,
                codebook=table,
                rows=rows,
                last_pes=compressed.shape[0] - (rows - 1) * pes,
                write=write,
                biases=biases,
                target=tile.first_row // pes,
                shift=op.shift,
                low=op.low,
                high=op.high,
                after=self.loads,
            )
        )
        self.tiles.append(
            Tile(
                tensor=op.input,
                first=tile.first,
                counts=compressed.column_entries,
                begins=compressed.pointers[:, :-1],
            )
        )

    def _load(self, target: Target, pe: int, raw: np.ndarray, place: int, after: int) -> None:
        """Put ``raw`` into memory, and a descriptor that loads it; none where it is empty."""
        if not len(raw):
            return
        address = self.reserve(len(raw))
        self.pieces.append((address, raw))
        beats = beats_of(self.accelerator, len(raw))
        self._append_load(
            Load(target=target, pe=pe, address=address, place=place, beats=beats, after=after)
        )

    def _append_load(self, load: Load) -> None:
        self.descriptors.append(load)
        self.loads += 1

    def _step(self, step: Descriptor) -> None:
        self.descriptors.append(step)
        self.steps += 1
