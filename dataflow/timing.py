"""Exact timing of a program: cycles, cycles of each layer, counters.

What the hardware will measure with the same memory model, to the cycle and to the
access. ``counters`` equals the hardware's counters; ``layers`` the differences of its stamps.
"""

from __future__ import annotations

from dataclasses import dataclass

from celosia.dataflow.accesses import accesses
from celosia.dataflow.event_walk import walk
from celosia.dataflow.memory import MemoryModel
from celosia.dataflow.program import Counter, Program


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerTiming:
    """Cycles from the end of the layer before (or the start) to the end of this one's stores.

    What a layer's weights cost to fetch may have been paid during the layer before.
    """

    name: str
    cycles: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """What a program costs: predicted from it, or measured on a run of it.

    ``cycles`` is from start to interrupt; ``layers`` in execution order.
    """

    cycles: int
    layers: tuple[LayerTiming, ...]
    counters: dict[Counter, int]


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
    walked = walk(program.accelerator, program.descriptors, program.program_address, memory)
    counters = accesses(program.descriptors, program.accelerator)
    counters[Counter.CYCLES] = walked.cycles
    counters[Counter.LOAD_BUSY] = walked.load_busy
    counters[Counter.STORE_BUSY] = walked.store_busy
    return Timing(
        cycles=walked.cycles,
        layers=layer_timings(tuple(layer.name for layer in program.layers), walked.stamps),
        counters=counters,
    )
