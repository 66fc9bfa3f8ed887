"""What one accelerator costs a network: mapped, compiled and timed to the cycle."""

from __future__ import annotations

from dataclasses import dataclass

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.compile import compile_network
from celosia.dataflow.explore.outcome import Outcome
from celosia.dataflow.explore.search import Job
from celosia.dataflow.mapper import default_mapping
from celosia.dataflow.mapping import Mapping
from celosia.dataflow.memory import MemoryModel
from celosia.dataflow.program import Counter
from celosia.dataflow.timing import timing
from celosia.models.errors import CelosiaError
from celosia.models.network import Network


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evaluator:
    """Evaluates accelerators for variants of a network; a value that goes to workers.

    Attributes
    ----------
    networks : tuple of Network
        The variants.
    memory : MemoryModel
        What the engine is attached to.
    """

    networks: tuple[Network, ...]
    memory: MemoryModel

    def mapping(self, accelerator: Accelerator, variant: int) -> Mapping:
        """Return the mapping that accelerators are judged by; raises :class:`CelosiaError`."""
        return default_mapping(self.networks[variant], accelerator)

    def __call__(self, job: Job) -> Outcome:
        """Return the outcome of a job; what cannot run the network has a ``problem``."""
        try:
            mapping = self.mapping(job.accelerator, job.variant)
            program = compile_network(self.networks[job.variant], job.accelerator, mapping)
        except CelosiaError as error:
            return Outcome(area=job.area, problem=str(error))
        took = timing(program, self.memory)
        beats = took.counters[Counter.READ_BEATS] + took.counters[Counter.WRITE_BEATS]
        return Outcome(
            area=job.area,
            cycles=took.cycles,
            dram=beats * job.accelerator.bus.data_bytes,
        )
