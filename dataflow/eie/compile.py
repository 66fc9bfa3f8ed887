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

from celosia.dataflow.descriptors import CHUNK_DESCRIPTORS
from celosia.dataflow.eie.accelerator import EieAccelerator
from celosia.dataflow.eie.descriptors import End, Run, Stamp, Store
from celosia.dataflow.eie.emit import CHUNK_BYTES, Emitter
from celosia.dataflow.eie.lstm import check_lstm, emit_lstm
from celosia.dataflow.eie.program import EieProgram
from celosia.dataflow.eie.tiles import LayerTile, tiles_of
from celosia.dataflow.memory_layout import BASE_ADDRESS
from celosia.dataflow.microarchitecture import PAGE_BYTES
from celosia.dataflow.program import CompiledLayer
from celosia.models.errors import CelosiaError
from celosia.models.formats import Codebook, Element, Fixed
from celosia.models.lstm import Lstm
from celosia.models.network import Network, Tensor
from celosia.models.sparse import SparseLinear
from celosia.models.validation import wider, writes


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
    recurrent = [op for op in network.ops if isinstance(op, Lstm)]
    sequences = {name for op in recurrent for name in (op.input, op.output, op.cells)}
    for tensor in network.tensors:
        _check_tensor(tensor, accelerator, tensor.name in sequences)
    layers = [_checked(op, network, accelerator) for op in network.ops]
    return _Compiler(network, layers, accelerator, base_address).program()


def _check_tensor(tensor: Tensor, accelerator: EieAccelerator, sequence: bool) -> None:
    channels, height, width = tensor.shape
    where = f"tensor {tensor.name!r}"
    bits = accelerator.widths.activation
    if (
        (height * width > 1 and not sequence)
        or tensor.scaling is not None
        or not isinstance(tensor.format, Fixed)
    ):
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


def _checked(op: object, network: Network, accelerator: EieAccelerator) -> SparseLinear | Lstm:
    if isinstance(op, Lstm):
        check_lstm(op, accelerator)
        activation = wider(network.tensor(op.input).format, network.tensor(op.output).format)
        _check_linear(op.linear, activation, accelerator)
        return op
    if not isinstance(op, SparseLinear):
        raise CelosiaError(
            f"operation {getattr(op, 'name', op)!r}: accelerator {accelerator.name!r} runs "
            f"compressed layers alone, not {type(op).__name__}: compress linear layers first"
        )
    _check_linear(op, network.tensor(op.input).format, accelerator)
    return op


def _check_linear(op: SparseLinear, activation: Element, accelerator: EieAccelerator) -> None:
    where, widths = f"layer {op.name!r}", accelerator.widths
    shared = isinstance(op.format, Codebook)
    if shared is not widths.codebook or op.format.bits > widths.weight:
        own = f"codes of {op.format.bits} bits into a codebook" if shared else op.format.name
        mine = "codes into a codebook" if widths.codebook else "weights without a codebook"
        raise CelosiaError(
            f"{where}: its weights are {own}, accelerator {accelerator.name!r} takes {mine}, of "
            f"up to {widths.weight} bits: choose or describe another (widths.codebook, "
            "widths.weight), or compress with --codebook or --weight-bits for it"
        )
    if not shared and not (isinstance(op.format, Fixed) and op.format.signed):
        raise CelosiaError(f"{where}: weights must be fixed point with a sign: {op.format.name}")
    limit = 1 << widths.factor - 1
    if op.format.low < -limit or op.format.high >= limit:
        raise CelosiaError(
            f"{where}: weights of {op.format.name} do not fit {widths.factor} bits: raise "
            "widths.value"
        )
    needed = op.accumulator_bits(activation)
    if needed > widths.accumulator:
        raise CelosiaError(
            f"{where} needs accumulators of {needed} bits, accelerator {accelerator.name!r} has "
            f"{widths.accumulator}: raise widths.accumulator or quantise with fewer bits"
        )


class _Compiler:
    """One compilation: layers in order."""

    def __init__(
        self,
        network: Network,
        layers: list[SparseLinear | Lstm],
        accelerator: EieAccelerator,
        base: int,
    ) -> None:
        self.network, self.layers, self.accelerator = network, layers, accelerator
        self.out = Emitter(accelerator, base)
        self.placements = {tensor.name: self.out.place(tensor) for tensor in network.tensors}
        stamps = self.out.reserve(len(layers) * accelerator.bus.data_bytes)
        self.stamps = [stamps + i * accelerator.bus.data_bytes for i in range(len(layers))]

    def program(self) -> EieProgram:
        out = self.out
        layers = [self._layer(index, op) for index, op in enumerate(self.layers)]
        out.descriptors.append(End())
        chunks = -(-len(out.descriptors) // CHUNK_DESCRIPTORS)
        program_address = out.reserve(chunks * CHUNK_BYTES)
        size = -(-(out.end - out.base) // PAGE_BYTES) * PAGE_BYTES
        if out.base + size > 1 << self.accelerator.bus.address_bits:
            raise CelosiaError(
                f"network {self.network.name!r} needs memory up to {out.base + size:#x}, "
                f"accelerator {self.accelerator.name!r} has {self.accelerator.bus.address_bits} "
                "address bits: choose a lower base address or raise bus.address_bits"
            )
        image = np.zeros(size, np.uint8)
        for address, raw in out.pieces:
            image[address - out.base : address - out.base + len(raw)] = raw
        return EieProgram(
            network=self.network.name,
            accelerator=self.accelerator,
            descriptors=tuple(out.descriptors),
            tiles=tuple(out.tiles),
            layers=tuple(layers),
            placements=tuple(self.placements.values()),
            inputs=self.network.inputs,
            outputs=self.network.outputs,
            image=image,
            base_address=out.base,
            program_address=program_address,
        )

    def _layer(self, index: int, op: SparseLinear | Lstm) -> CompiledLayer:
        first = len(self.out.descriptors)
        if isinstance(op, Lstm):
            emit_lstm(self.out, op, self.placements)
        else:
            self._linear(op)
        self.out.step(Stamp(address=self.stamps[index]))
        return CompiledLayer(
            name=op.name,
            outputs=writes(op),
            first=first,
            stop=len(self.out.descriptors),
            stamp=self.stamps[index],
            products=self.network.products(op),
        )

    def _linear(self, op: SparseLinear) -> None:
        accelerator, out = self.accelerator, self.out
        source = self._source(op)
        tiles = tiles_of(op, accelerator)
        ends = {tile.first_row: tile for tile in tiles}  # the last tile of each batch of rows
        table = out.codebook(op.format, out.steps + len(tiles))
        biases = 0
        for tile in tiles:
            if tile.first == 0:
                users = sum(other.first_row == tile.first_row for other in tiles)
                stop = tile.first_row + tile.compressed.shape[0]
                biases = out.biases(op.bias[tile.first_row : stop], out.steps + users)
            self._tile(op, tile, source, table, biases, write=ends[tile.first_row] is tile)
        out.files[1 - source] = op.output
        target = self.placements[op.output]
        rows = -(-op.matrix.shape[0] // accelerator.array.pes)
        out.step(Store(source=1 - source, first=0, rows=rows, address=target.address))

    def _source(self, op: SparseLinear) -> int:
        """Return the file that holds the layer's input, which is loaded where none does."""
        if op.input in self.out.files:
            return self.out.files.index(op.input)
        self.out.activations(self.placements[op.input], file=0, row=0, after=self.out.steps)
        self.out.files = [op.input, None]
        return 0

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
        accelerator, out = self.accelerator, self.out
        pes, height = accelerator.array.pes, tile.compressed.shape[0]
        places = out.tile(tile, out.steps + 1)
        rows = -(-height // pes)
        run = Run(
            source=source,
            window=tile.first // accelerator.window_columns,
            columns=tile.columns,
            pointers=places.pointers,
            entries=places.entries,
            size=tile.size,
            occupancy=places.occupancy,
            codebook=table,
            rows=rows,
            last_pes=height - (rows - 1) * pes,
            write=write,
            biases=biases,
            target=tile.first_row // pes,
            shift=op.shift,
            low=op.low,
            high=op.high,
            after=out.loads,
        )
        out.run(run, tile, op.input)
