"""The timing of a network's program without the program: its rows alone, in machine code."""

from __future__ import annotations

from collections.abc import Mapping as Table
from dataclasses import dataclass, replace

import numpy as np

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.compile import check_mapping
from celosia.dataflow.descriptors import CHUNK_DESCRIPTORS
from celosia.dataflow.energy import load_energy_table
from celosia.dataflow.event_walk import Walked
from celosia.dataflow.layout import Placement
from celosia.dataflow.mapper import map_steps
from celosia.dataflow.mapping import Mapping
from celosia.dataflow.memory import MemoryModel
from celosia.dataflow.memory_layout import CHUNK_BYTES
from celosia.dataflow.program import Counter
from celosia.dataflow.search.pricing import Priced, Pricer
from celosia.dataflow.stalls import stalls
from celosia.dataflow.table import Column, Kind
from celosia.dataflow.timing import Timing, layer_timings
from celosia.dataflow.tokens import check_table
from celosia.dataflow.walk_kernel import busy_cycles
from celosia.models.network import Network


@dataclass(frozen=True, slots=True, kw_only=True)
class OutlinedLayer:
    """What :class:`~celosia.dataflow.program.CompiledLayer` says of a layer, but its place."""

    name: str
    products: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outline:
    """What a network's program would be, and take, with no descriptor and no memory image of it.

    Attributes
    ----------
    network, accelerator, inputs, samples
        As :class:`~celosia.dataflow.program.Program` has them.
    layers : tuple of OutlinedLayer
        In order.
    placements : dict of str to Placement
        Of every tensor.
    timing : Timing
        What :func:`celosia.dataflow.timing.timing` would say of the program; without ``traffic``.
    """

    network: str
    accelerator: Accelerator
    inputs: tuple[str, ...]
    samples: int
    layers: tuple[OutlinedLayer, ...]
    placements: Table[str, Placement]
    timing: Timing

    @property
    def products(self) -> int:
        """Useful products of one start, of all its samples."""
        return sum(layer.products for layer in self.layers)

    def placement(self, name: str, /) -> Placement:
        """Return where tensor ``name`` lies; ``KeyError`` if there is none."""
        return self.placements[name]


def outline(
    network: Network, accelerator: Accelerator, memory: MemoryModel, mapping: Mapping | None = None
) -> Outline:
    """Time ``network`` on ``accelerator`` with ``memory`` without compiling it.

    Cycles, counters and stalls are those of :func:`celosia.dataflow.compile.compile_network`'s
    program with the same arguments, which is what the search's kernels are tested against.

    Raises
    ------
    CelosiaError
        As :func:`celosia.dataflow.compile.compile_network`.
    """
    samples = 1 if mapping is None else mapping.samples
    pricer = Pricer(network, accelerator, memory, load_energy_table("cmos45"), samples)
    plans = list(pricer.plans)
    if mapping is None:
        mapping = map_steps(plans)
    check_mapping(plans, mapping)
    layers = [mapping.layer(plan.step.name) for plan in plans]
    priced = pricer.price(range(len(plans)), layers)
    check_table(priced.table)
    chunks = -(-len(priced.table) // CHUNK_DESCRIPTORS)
    pricer.layout.reserve(chunks * CHUNK_BYTES)
    pricer.layout.check(network.name)
    by_layer = {plan.step.layer for plan in plans}
    outlined = tuple(
        OutlinedLayer(name=op.name, products=samples * network.products(op))
        for op in network.ops
        if op.name in by_layer
    )
    return Outline(
        network=network.name,
        accelerator=accelerator,
        inputs=network.inputs,
        samples=samples,
        layers=outlined,
        placements=pricer.layout.placements,
        timing=_timing(priced, tuple(layer.name for layer in outlined), memory),
    )


def _timing(priced: Priced, names: tuple[str, ...], memory: MemoryModel) -> Timing:
    table, cycles = priced.table, priced.costs.cycles
    load, store = (
        busy_cycles(table, kind, cycles, priced.times) for kind in (Kind.LOAD, Kind.STORE)
    )
    walked = Walked(cycles, priced.stamps, load, store, *priced.times)
    busy = {Counter.LOAD_BUSY: load, Counter.STORE_BUSY: store}
    stops = np.flatnonzero(table[:, Column.KIND] == Kind.STAMP) + 1
    causes = stalls(table, walked, memory, stops.tolist())
    return Timing(
        cycles=cycles,
        layers=tuple(
            replace(layer, stalls=found)
            for layer, found in zip(layer_timings(names, priced.stamps), causes, strict=True)
        ),
        counters={counter: int(priced.counters[counter]) for counter in Counter} | busy,
    )
