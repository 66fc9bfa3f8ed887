"""The fastest EIE engine for a compressed network that a device holds, by Yosys's count."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from celosia.dataflow.eie.accelerator import (
    CELL_BITS,
    FUNCTIONS,
    MAX_ENTRIES,
    MAX_ROWS,
    CellUnit,
    EieAccelerator,
    PeArray,
    PeMemories,
    Widths,
)
from celosia.dataflow.eie.compile import compile_eie
from celosia.dataflow.eie.presets import ZCU102
from celosia.dataflow.eie.timing import eie_timing
from celosia.dataflow.memory import MemoryModel
from celosia.fpga.devices import Device, Resources
from celosia.fpga.yosys import SynthReport, synth
from celosia.models.errors import CelosiaError
from celosia.models.formats import Codebook, Element
from celosia.models.golden import evaluate
from celosia.models.lstm import GATES, Lstm
from celosia.models.network import Network
from celosia.models.sparse import SparseLinear
from celosia.models.validation import wider

Report = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""

PES = (256, 128, 64, 32, 16, 8, 4)
ENTRIES = tuple(1 << power for power in range(17, 10, -1))
"""Of a PE, the most first."""
BRAM_BITS = 36 << 10
SEED = 45


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An engine, the cycles of a random sample on it, and what it takes of the device."""

    accelerator: EieAccelerator
    cycles: int
    report: SynthReport
    considered: int

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON values."""
        array, memories = self.accelerator.array, self.accelerator.memories
        return {
            "accelerator": self.accelerator.name,
            "pes": array.pes,
            "entries": memories.entries,
            "cycles": self.cycles,
            "considered": self.considered,
            "used": self.report.total.as_dict(),
            "fits": self.report.fits,
        }


def is_compressed(path: str) -> bool:
    """Return whether the file at ``path`` is a network of compressed layers alone."""
    from celosia.models.storage import load

    if not Path(path).is_file():
        return False
    return all(isinstance(op, SparseLinear | Lstm) for op in load(path).ops)


def explore_eie(network: Network, device: Device, memory: MemoryModel, report: Report) -> Found:
    """Return the engine with the fewest cycles for ``network`` that fits ``device``.

    Candidates have 4 to 256 PEs and 2 to 128 K entries each, and cell units where layers are
    recurrent; those whose memories alone are too large are passed over. Cycles are predicted,
    exactly, for a sample of which half is not zero; the best are synthesised until one fits.

    Raises
    ------
    CelosiaError
        When none fits, or no candidate can run the network: the last refusal.
    """
    rng = np.random.default_rng(SEED)
    codes = {}
    for source in (network.tensor(name) for name in network.inputs):
        shape = (1, *source.shape)
        values = rng.integers(source.format.low, source.format.high + 1, shape)
        codes[source.name] = values * (rng.random(shape) < 0.5)
    golden = {name: found[0] for name, found in evaluate(network, codes).items()}
    engines = list(candidates(network, device.budget))
    priced: list[tuple[int, EieAccelerator]] = []
    refusal: CelosiaError | None = None
    for number, engine in enumerate(engines):
        report(engine.name, number, len(engines))
        try:
            program = compile_eie(network, engine)
        except CelosiaError as error:
            refusal = error
            continue
        priced.append((eie_timing(program, memory, golden).cycles, engine))
    if not priced:
        raise refusal or CelosiaError(f"no EIE engine's memories fit device {device.name}")
    priced.sort(key=lambda pair: (pair[0], pair[1].memories.entries))
    for cycles, engine in priced:
        report(f"synthesise {engine.name}", 0, 1)
        found = synth(engine, device)
        if found.fits:
            return Found(accelerator=engine, cycles=cycles, report=found, considered=len(engines))
    raise CelosiaError(
        f"none of {len(priced)} EIE engines fits device {device.name}: choose a larger part"
    )


def candidates(network: Network, budget: Resources) -> Iterator[EieAccelerator]:
    """Yield engines of the widths that ``network`` needs whose memories may fit ``budget``."""
    layers = layers_of(network)
    widths = widths_of(network, layers)
    recurrent = [op for op in network.ops if isinstance(op, Lstm)]
    cell = CellUnit(segments=recurrent[0].sigmoid.segments) if recurrent else None
    columns = max(layer.matrix.shape[1] for layer, _ in layers)
    row_entries = next(each for each in (8, 4) if each * widths.entry <= ZCU102.bus.data_bits)
    for pes in PES:
        longest = max(-(-tensor.shape[0] // pes) for tensor in network.tensors)
        window = min(64, max(8, 1 << (longest - 1).bit_length()))
        rows = max(
            *(-(-layer.matrix.shape[0] // pes) for layer, _ in layers),
            *(GATES * -(-op.states // pes) for op in recurrent),
            1,
        )
        words = max(longest, *(words_of(op, pes, window) for op in recurrent), 1)
        if words > MAX_ROWS:
            continue
        for entries in ENTRIES:
            memories = PeMemories(
                entries=entries,
                pointers=min(MAX_ENTRIES, 1 << (2 * columns + 64).bit_length()),
                biases=512,
                activations=-(-words // window) * window,
                accumulators=min(256, -(-rows // window) * window),
                row_entries=row_entries,
                window=window,
                pointer_bits=min(24, max(16, entries.bit_length())),
            )
            engine = replace(
                ZCU102,
                name=f"eie_{pes}x{entries}",
                array=PeArray(pes=pes),
                widths=widths,
                memories=memories,
                cell=cell,
            )
            if pes * memory_blocks(engine) <= budget.bram:
                yield engine


def words_of(op: Lstm, pes: int, window: int) -> int:
    """Return the words of activations that a recurrent layer needs in one of the two files."""
    inputs, states = -(-op.inputs // (pes * window)) * window, -(-op.states // pes)
    return max(2 * inputs + states, (GATES + 1) * states)


def layers_of(network: Network) -> list[tuple[SparseLinear, Element]]:
    """Return each layer's matrix-vector product, and the format of what it meets."""
    found: list[tuple[SparseLinear, Element]] = []
    for op in network.ops:
        if isinstance(op, Lstm):
            met = wider(network.tensor(op.input).format, network.tensor(op.output).format)
            found.append((op.linear, met))
        elif isinstance(op, SparseLinear):
            found.append((op, network.tensor(op.input).format))
    return found


def widths_of(network: Network, layers: list[tuple[SparseLinear, Element]]) -> Widths:
    """Return the least widths that run ``layers``: weights and values, activations and sums."""
    highest = max(tensor.format.high for tensor in network.tensors)
    return Widths(
        weight=max(layer.format.bits for layer, _ in layers),
        codebook=isinstance(layers[0][0].format, Codebook),
        activation=8 if highest < 128 else 16,
        accumulator=max(16, *(layer.accumulator_bits(met) for layer, met in layers)),
    )


def memory_blocks(engine: EieAccelerator) -> float:
    """Return the least block RAMs of a PE's large memories, in halves."""
    memories, widths = engine.memories, engine.widths
    segments = 0 if engine.cell is None else engine.cell.segments
    bits = (
        memories.entries * widths.entry,
        memories.pointers // 2 * memories.pointer_bits,
        memories.pointers // 2 * memories.pointer_bits,
        FUNCTIONS * segments * 2 * CELL_BITS,
    )
    return sum(-(-2 * each // BRAM_BITS) / 2 for each in bits)
