"""The mapping of a whole network: chosen layer by layer, decided by exact timing of all."""

from __future__ import annotations

from dataclasses import dataclass

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.compile import compile_network
from celosia.dataflow.energy import Energy, EnergyTable, energy, load_energy_table
from celosia.dataflow.mapper import default_mapping
from celosia.dataflow.mapping import Mapping
from celosia.dataflow.memory import MemoryModel
from celosia.dataflow.program import Counter
from celosia.dataflow.search.objective import CYCLES, Costs, Objective
from celosia.dataflow.timing import Timing, timing
from celosia.models.network import Network


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mapped:
    """A mapping and what it costs, exactly.

    Attributes
    ----------
    mapping : Mapping
        Of every step; what :func:`celosia.dataflow.compile.compile_network` takes.
    timing : Timing
        Cycles, of each layer too, and counters: those that the hardware will show.
    energy : Energy
        By the table that was given.
    costs : Costs
        The three numbers that objectives are made of.
    """

    mapping: Mapping
    timing: Timing
    energy: Energy
    costs: Costs


def map_network(
    network: Network,
    accelerator: Accelerator,
    memory: MemoryModel,
    *,
    objective: Objective = CYCLES,
    table: EnergyTable | None = None,
) -> Mapped:
    """Return the best mapping found of ``network`` on ``accelerator``.

    Parameters
    ----------
    network, accelerator, memory
        What runs, on what, attached to what.
    objective
        What is to be small.
    table
        What events cost; 45 nm CMOS by default.

    Raises
    ------
    CelosiaError
        As :func:`celosia.dataflow.mapper.default_mapping`.
    """
    table = table or load_energy_table("cmos45")
    mapping = default_mapping(network, accelerator)
    return price(network, accelerator, memory, mapping, table)


def price(
    network: Network,
    accelerator: Accelerator,
    memory: MemoryModel,
    mapping: Mapping,
    table: EnergyTable,
) -> Mapped:
    """Return what ``mapping`` costs, from the program that it compiles to."""
    exact = timing(compile_network(network, accelerator, mapping), memory)
    beats = exact.counters[Counter.READ_BEATS] + exact.counters[Counter.WRITE_BEATS]
    spent = energy(exact.counters, accelerator, table)
    costs = Costs(cycles=exact.cycles, energy=spent.total, dram=beats * accelerator.bus.data_bytes)
    return Mapped(mapping=mapping, timing=exact, energy=spent, costs=costs)
