"""What bounds each layer: how long each unit was busy, of the cycles that the layer took."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from celosia.dataflow.accesses import descriptor_accesses
from celosia.dataflow.descriptors import CHUNK_DESCRIPTORS, DESCRIPTOR_BYTES, Descriptor
from celosia.dataflow.memory import MemoryModel
from celosia.dataflow.program import Counter, Program
from celosia.dataflow.timing import Timing


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerReason:
    """Where the cycles of one layer went.

    Attributes
    ----------
    name : str
        The layer.
    cycles : int
        From the end of the layer before to the end of its own.
    compute, post, read, write : int
        Cycles for which the array, the post lanes and each direction of the memory port
        were busy at least: steps, and bytes by the bytes a cycle.
    products : int
        Useful products.
    utilisation : float
        Useful products over products a cycle times cycles.
    """

    name: str
    cycles: int
    compute: int
    post: int
    read: int
    write: int
    products: int
    utilisation: float

    @property
    def busy(self) -> dict[str, int]:
        """Busy cycles of each unit by what it is called."""
        return {
            "array": self.compute,
            "post lanes": self.post,
            "memory reads": self.read,
            "memory writes": self.write,
        }

    @property
    def cause(self) -> str:
        """The busiest unit; of two the first."""
        busy = self.busy
        return max(busy, key=lambda unit: busy[unit])

    @property
    def bound(self) -> int:
        """Cycles that the layer cannot take less than, whatever else overlaps."""
        return max(self.busy.values())

    @property
    def text(self) -> str:
        """What bounds the layer, in words."""
        share = min(1.0, self.bound / max(self.cycles, 1))
        if self.cause == "array":
            wasted = 1 - self.products / max(self.compute * self._rate, 1)
            detail = f", {100 * wasted:.0f} % of its products idle" if wasted > 0.005 else ""
        else:
            detail = ""
        waiting = f"; {100 * (1 - share):.0f} % waiting" if share < 0.995 else ""
        return f"{self.cause} busy {100 * share:.0f} %{detail}{waiting}"

    @property
    def _rate(self) -> float:
        """Products a cycle of the array."""
        return self.products / max(self.utilisation * self.cycles, 1e-9)


def reasons(program: Program, timing: Timing, memory: MemoryModel) -> tuple[LayerReason, ...]:
    """Return the reasons of every layer, in order; ``timing`` is that of ``program``."""
    accelerator = program.accelerator
    beat = accelerator.bus.data_bytes
    rate = memory.on_bus(accelerator.bus).bytes_per_cycle
    found = []
    for layer, took in zip(program.layers, timing.layers, strict=True):
        total = _counts(program.descriptors[layer.first : layer.stop], program)
        fetched = -(-(layer.stop - layer.first) // CHUNK_DESCRIPTORS)
        fetched *= CHUNK_DESCRIPTORS * DESCRIPTOR_BYTES
        read = total[Counter.READ_BEATS] * beat + fetched
        cycles = max(took.cycles, 1)
        found.append(
            LayerReason(
                name=layer.name,
                cycles=took.cycles,
                compute=total[Counter.COMPUTE_STEPS],
                post=total[Counter.POST_STEPS],
                read=-(-read // rate),
                write=-(-total[Counter.WRITE_BEATS] * beat // rate),
                products=layer.products,
                utilisation=layer.products / (accelerator.array.products * cycles),
            )
        )
    return tuple(found)


def _counts(descriptors: Iterable[Descriptor], program: Program) -> dict[Counter, int]:
    total = dict.fromkeys(Counter, 0)
    for descriptor in descriptors:
        for counter, count in descriptor_accesses(descriptor, program.accelerator).items():
            total[counter] += count
    return total
