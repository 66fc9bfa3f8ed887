"""What one accelerator costs a network: mapped, and timed to the cycle."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.accelerator_file import fingerprint
from celosia.dataflow.dataflows import Dataflow
from celosia.dataflow.energy import EnergyTable
from celosia.dataflow.explore.outcome import Outcome, Quantity
from celosia.dataflow.explore.search import Job
from celosia.dataflow.memory import MemoryModel
from celosia.dataflow.search import CYCLES, DRAM, EDP, ENERGY, Mapped, Objective, map_network
from celosia.models.errors import CelosiaError
from celosia.models.network import Network
from celosia.models.storage import fingerprint as network_fingerprint

_CODE: Final = Path(__file__).parents[1]
_OBJECTIVES: Final = {Quantity.ENERGY: ENERGY, Quantity.EDP: EDP, Quantity.DRAM: DRAM}


def mapping_objective(objective: Quantity) -> Objective:
    """Return what mappings are chosen by: cycles, unless energy or traffic is asked for."""
    return _OBJECTIVES.get(objective, CYCLES)


_EFFORT = 2000
"""Of the mapper, for one of many accelerators: a tenth of what it takes by itself."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evaluator:
    """Evaluates accelerators for variants of a network; a value that goes to workers.

    Attributes
    ----------
    networks : tuple of Network
        The variants.
    memory : MemoryModel
        What the engine is attached to.
    objective : Objective
        What mappings are chosen by.
    table : EnergyTable
        What events cost.
    device : str
        For which areas are.
    dataflow : Dataflow or None
        What every mapping must be; None for any.
    samples : int
        Frames that one start runs, 1..256.
    """

    networks: tuple[Network, ...]
    memory: MemoryModel
    objective: Objective
    table: EnergyTable
    device: str
    dataflow: Dataflow | None = None
    samples: int = 1

    def map(self, accelerator: Accelerator, variant: int) -> Mapped:
        """Return the mapping that an accelerator is judged by; raises :class:`CelosiaError`."""
        network = self.networks[variant]
        return map_network(
            network,
            accelerator,
            self.memory,
            objective=self.objective,
            dataflow=self.dataflow,
            table=self.table,
            effort=_EFFORT,
            samples=(self.samples,),
        )

    def key(self) -> Callable[[Accelerator, int], str]:
        """Return a function that gives jobs with different outcomes different texts.

        Equal ones have equal texts, on any machine with this version of Celosia.
        """
        setting = {
            "code": _code(),
            "memory": asdict(self.memory),
            "objective": asdict(self.objective),
            "table": asdict(self.table),
            "device": self.device,
            "dataflow": self.dataflow and self.dataflow.value,
            "samples": self.samples,
        }
        begin = hashlib.sha256(json.dumps(setting, sort_keys=True).encode()).hexdigest()
        prints = [network_fingerprint(network) for network in self.networks]

        def key(accelerator: Accelerator, variant: int) -> str:
            nameless = replace(accelerator, name="any")
            text = f"{begin} {prints[variant]} {fingerprint(nameless)}"
            return hashlib.sha256(text.encode()).hexdigest()

        return key

    def __call__(self, job: Job) -> Outcome:
        """Return the outcome of a job; what cannot run the network has a ``problem``."""
        try:
            mapped = self.map(job.accelerator, job.variant)
        except CelosiaError as error:
            return Outcome(area=job.area, problem=str(error))
        costs, least = mapped.costs, mapped.least
        return Outcome(
            area=job.area,
            cycles=costs.cycles,
            bound=least.cycles,
            energy=costs.energy / 1e6,
            energy_bound=least.energy / 1e6,
            dram=costs.dram,
            dram_bound=least.dram,
        )


@functools.cache
def _code() -> str:
    """Return a hash of what outcomes are computed by: they change when it does."""
    digest = hashlib.sha256()
    for path in sorted(_CODE.rglob("*.py")):
        digest.update(str(path.relative_to(_CODE)).encode() + path.read_bytes())
    return digest.hexdigest()
