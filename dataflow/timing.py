"""Exact timing of a program: cycles, cycles of each layer, counters.

What the hardware will measure with the same memory model, to the cycle and to the
access. ``counters`` equals the hardware's counters; ``layers`` the differences of its stamps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from celosia.dataflow.accesses import Traffic, accesses, traffic
from celosia.dataflow.descriptors import Compute, Descriptor, Keep, Load, Post, Store
from celosia.dataflow.event_walk import walk_table
from celosia.dataflow.memory import MemoryModel
from celosia.dataflow.program import Counter, Program
from celosia.dataflow.stalls import Stall, stalls
from celosia.dataflow.table import tabulate


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerTiming:
    """Cycles from the end of the layer before (or the start) to the end of this one's stores.

    What a layer's weights cost to fetch may have been paid during the layer before. ``stalls``,
    which only a prediction has, says what cycles went to: those in which the array computed for
    this layer or waited for its next nest. Layers overlap, so they add up to the program's cycles
    and not to the layer's.
    """

    name: str
    cycles: int
    stalls: dict[Stall, int] = field(default_factory=dict, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """What a program costs: predicted from it, or measured on a run of it.

    ``cycles`` is from start to interrupt; ``layers`` in execution order. ``traffic`` are the bytes
    on the data channels of AXI, which only a prediction tells apart.
    """

    cycles: int
    layers: tuple[LayerTiming, ...]
    counters: Mapping[Any, int]
    traffic: dict[Traffic, int] = field(default_factory=dict, compare=False)

    @property
    def stalls(self) -> dict[Stall, int]:
        """What all ``cycles`` went to."""
        return {stall: sum(layer.stalls.get(stall, 0) for layer in self.layers) for stall in Stall}


def layer_timings(names: tuple[str, ...], stamps: tuple[int, ...]) -> tuple[LayerTiming, ...]:
    """Turn the cycle counter's value at each layer's stamp into cycles of each layer."""
    before = (0, *stamps)
    return tuple(
        LayerTiming(name=name, cycles=stamp - earlier)
        for name, stamp, earlier in zip(names, stamps, before, strict=False)
    )


def timing(program: Program, memory: MemoryModel) -> Timing:
    """Predict the timing of ``program`` on its accelerator with ``memory``.

    Raises ``ValueError`` if the program's tokens do not add up, so that it would never end.
    """
    accelerator = program.accelerator
    table = tabulate(program.descriptors, accelerator)
    walked = walk_table(accelerator, table, program.program_address, memory)
    counters = accesses(program.descriptors, program.accelerator)
    counters[Counter.CYCLES] = walked.cycles
    counters[Counter.LOAD_BUSY] = walked.load_busy
    counters[Counter.STORE_BUSY] = walked.store_busy
    layers = layer_timings(tuple(layer.name for layer in program.layers), walked.stamps)
    causes = stalls(table, walked, memory, [layer.stop for layer in program.layers])
    return Timing(
        cycles=walked.cycles,
        layers=tuple(
            replace(layer, stalls=found) for layer, found in zip(layers, causes, strict=True)
        ),
        counters=counters,
        traffic=traffic(program.descriptors, accelerator),
    )


def cycle_bound(program: Program, memory: MemoryModel) -> int:
    """Return more cycles than ``program`` takes if every descriptor waits for all before."""
    accelerator = program.accelerator
    on_bus = memory.on_bus(accelerator.bus)
    beat_cycles = -(-accelerator.bus.data_bytes // on_bus.bytes_per_cycle)
    widest = max(
        accelerator.beats(bits)
        for bits in (
            accelerator.activation_word_bits,
            accelerator.weight_word_bits,
            accelerator.constant_word_bits,
        )
    )

    def cycles(descriptor: Descriptor) -> int:
        overhead = 1000 + 2 * on_bus.latency + 32 * beat_cycles
        match descriptor:
            case Compute() | Post():
                return overhead + descriptor.steps
            case Load() | Store() | Keep():
                transfer = descriptor.transfer
                runs = transfer.n1 * transfer.n2 * transfer.n3
                beats = runs * transfer.words * widest
                bursts = 2 * runs + beats
                return overhead + beats * beat_cycles + bursts * (on_bus.latency + 8)
            case _:
                return overhead

    return sum(map(cycles, program.descriptors)) + 100_000
