"""Energy of an EIE engine: by access, and by the paper's own powers.

By access: counters times what each event costs by an :class:`~celosia.dataflow.energy.EnergyTable`,
such as those of a 45 nm process and of an FPGA that come with the package. Clocks, control, wires
between PEs and leakage are not counted.

By power: the paper's Table II gives the mean power of each part of a PE in TSMC 45 nm at 800 MHz,
running its benchmarks; what a run of so many cycles takes follows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from celosia.dataflow.eie.accelerator import EieAccelerator
from celosia.dataflow.eie.program import EieCounter
from celosia.dataflow.energy import EnergyTable
from celosia.models.lstm import CODE_BITS

PE_MILLIWATTS = 9.157
"""Of one PE at 800 MHz, TSMC 45 nm: the paper's Table II."""

POWER_SHARES = {
    "entries": 0.5411,  # SpmatRead
    "pointers": 0.1973,  # PtrRead
    "arithmetic": 0.1268,  # ArithmUnit
    "activations": 0.1225,  # ActRW
    "queues": 0.0123,
}
"""Shares of that power, by part."""

CLOCK_MHZ = 800


@dataclass(frozen=True, slots=True, kw_only=True)
class EieEnergy:
    """Where the energy goes, in pJ: ``arithmetic`` holds codebook, products and accumulators.

    ``cells`` is that of a recurrent layer's elements.
    """

    entries: float
    pointers: float
    arithmetic: float
    activations: float
    queues: float
    cells: float = 0.0
    dram: float = 0.0

    @property
    def total(self) -> float:
        """All of it."""
        return sum(float(getattr(self, field.name)) for field in fields(self))


def access_energy(
    counters: Mapping[EieCounter, int], accelerator: EieAccelerator, table: EnergyTable
) -> EieEnergy:
    """Return the energy of a run or a prediction with ``counters``, access by access."""
    widths, memories, array = accelerator.widths, accelerator.memories, accelerator.array

    def access(depth: int, width: int) -> float:
        return width * table.memory_bit(depth * width / 8)

    row = access(memories.entries // memories.row_entries, memories.row_entries * widths.entry)
    pointer = access(memories.pointers // 2, memories.pointer_bits)
    accumulator = access(memories.accumulators, widths.accumulator)
    product = table.multiply_8x8 * widths.factor * widths.activation / 64
    sums = product + widths.accumulator * table.add_bit + 2 * accumulator
    if widths.codebook:
        sums += access(memories.codebooks << widths.weight, widths.value)
    # Each broadcast is written into every PE's queue, and read from it.
    item = access(array.queue, widths.activation + 16)
    beats = counters[EieCounter.READ_BEATS] + counters[EieCounter.WRITE_BEATS]
    return EieEnergy(
        entries=counters[EieCounter.ROW_READS] * row,
        pointers=counters[EieCounter.POINTER_READS] * 2 * pointer,
        arithmetic=counters[EieCounter.ENTRIES] * sums,
        activations=counters[EieCounter.BROADCASTS]
        * access(2 * memories.activations, widths.activation),
        queues=counters[EieCounter.BROADCASTS] * array.pes * 2 * item,
        cells=counters[EieCounter.CELL_ROWS] * array.pes * _element(accelerator, table),
        dram=beats * accelerator.bus.data_bits * table.dram_bit,
    )


def _element(accelerator: EieAccelerator, table: EnergyTable) -> float:
    """Return the energy of one element of a recurrent layer: five look-ups, three products."""
    if accelerator.cell is None:
        return 0.0
    bits, words = 2 * CODE_BITS, 3 * accelerator.cell.segments
    inner = CODE_BITS - accelerator.cell.segments.bit_length() + 1  # bits within a segment
    look_up = (
        bits * table.memory_bit(words * bits / 8) + table.multiply_8x8 * CODE_BITS * inner / 64
    )
    file = 2 * accelerator.memories.activations
    moved = CODE_BITS * table.memory_bit(file * CODE_BITS / 8)  # five are read, two written
    return 5 * look_up + 3 * table.multiply_8x8 * CODE_BITS * CODE_BITS / 64 + 7 * moved


def paper_energy(run_cycles: int, pes: int) -> EieEnergy:
    """Return what the paper's PEs take for ``run_cycles`` at their clock, weights on chip."""
    whole = PE_MILLIWATTS * pes * run_cycles / CLOCK_MHZ * 1000  # mW x us = nJ
    return EieEnergy(**{part: whole * share for part, share in POWER_SHARES.items()})
