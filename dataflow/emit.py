"""A program as it grows: descriptors, and what each must wait for."""

from __future__ import annotations

from dataclasses import dataclass, field

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.descriptors import (
    Buffer,
    Compute,
    Descriptor,
    End,
    Keep,
    Load,
    Stamp,
    Transfer,
)
from celosia.dataflow.program import Made
from celosia.dataflow.residency import Room
from celosia.dataflow.resident import Place, ResidentInput
from celosia.dataflow.tracking import Box, BufferTracker, TensorTracker

_BUFFER_FIELDS = (
    "activations", "weights", "accumulators", "constants", "residuals", "outputs",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class StepAddresses:
    """Where one step's tensors, weights and constants lie in memory.

    ``weights`` and ``constants`` are the addresses of each channel tile's words, by the
    tile's index. ``table`` is that of the rows of its table, None where it has none.
    """

    source: Place
    target: Place
    residual: Place | None
    weights: dict[int, int]
    constants: dict[int, int]
    table: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepData(StepAddresses):
    """Where one step's data lies, on chip too.

    ``room`` is where in the buffer activations may lie, ``resident`` the input that
    stays there, ``readers`` the outputs that do, and ``stored`` whether outputs go to memory.
    """

    room: Room
    resident: ResidentInput | None
    readers: tuple[ResidentInput, ...]
    stored: bool


@dataclass(slots=True)
class Emitter:
    """Collects the descriptors of a program and the indices that each needs."""

    accelerator: Accelerator
    descriptors: list[Descriptor] = field(default_factory=list)
    needs: list[frozenset[int]] = field(default_factory=list)
    trackers: dict[str, BufferTracker] = field(default_factory=dict)
    tensors: dict[str, TensorTracker] = field(default_factory=dict)
    steps: int = 0
    loaded: dict[int, int] = field(default_factory=dict)
    kept: dict[int, int] = field(default_factory=dict)
    made: list[Made] = field(default_factory=list)

    def __post_init__(self) -> None:
        for name in _BUFFER_FIELDS:
            self.trackers[name] = BufferTracker(getattr(self.accelerator.buffers, name))
        tables = self.accelerator.tables
        self.trackers["tables"] = BufferTracker(0 if tables is None else tables.count)

    @property
    def next(self) -> int:
        """Index of the next descriptor."""
        return len(self.descriptors)

    def add(self, descriptor: Descriptor, *needs: frozenset[int]) -> None:
        """Append ``descriptor``, which needs the descriptors in any of ``needs``."""
        self.descriptors.append(descriptor)
        self.needs.append(frozenset().union(*needs))

    def tensor(self, root: str) -> TensorTracker:
        """Return the tracker of the memory of ``root``."""
        return self.tensors.setdefault(root, TensorTracker())

    def stores(self, place: Place, sample: int, box: Box) -> frozenset[int]:
        """Return the store that a load of ``box`` of the tensor waits for."""
        (first, stop), rows, columns = box
        absolute = place.word + first, place.word + stop
        return self.tensor(place.root).load(sample, (absolute, rows, columns))

    def load(self, load: Load, start: int, words: int, needs: frozenset[int] = frozenset()) -> None:
        """Append a load that fills ``words`` words of its buffer from ``start`` on.

        Of the tables ``start`` is the number of one, and ``words`` 1.
        """
        name, index = load.target.name.lower(), self.next
        users = self.trackers[name].write(start, start + words, index)
        if load.target is not Buffer.ACTIVATIONS:
            self.add(load, users, needs)
            return
        banks = self._banks(start, words)
        keeps = frozenset(self.kept[bank] for bank in banks if bank in self.kept)
        self.add(load, users, needs, keeps)
        self.loaded |= dict.fromkeys(banks, index)

    def keep(
        self, moved: Transfer, lane: int, tile: tuple[int, int], outputs: tuple[int, int]
    ) -> None:
        """Append a keep of words among ``outputs`` into the activations' ``tile``: ranges."""
        index = self.next
        written = self.trackers["outputs"].read(*outputs, index)
        users = self.trackers["activations"].write(*tile, index)
        # Nests run in order, and that of these outputs comes after all that read what was there.
        users = frozenset(n for n in users if not isinstance(self.descriptors[n], Compute))
        banks = self._banks(tile[0], tile[1] - tile[0])
        # No load writes the bank at the same time: see descriptors.Keep.
        loads = frozenset(self.loaded[bank] for bank in banks if bank in self.loaded)
        self.add(Keep(transfer=moved, lane=lane), written, users, loads)
        self.kept |= dict.fromkeys(banks, index)

    def _banks(self, start: int, words: int) -> range:
        """Return the banks of the activation buffer that a range of words lies in."""
        size = self.accelerator.buffers.activations // self.accelerator.buffers.activation_banks
        return range(start // size, (start + words - 1) // size + 1)

    def finish(self, root: str) -> None:
        """Close a step, which wrote into the memory of ``root``."""
        self.tensor(root).finish()
        self.steps += 1

    def stamp(self, address: int) -> None:
        """Append the time stamp of a layer: the store unit runs it after the layer's stores."""
        self.add(Stamp(address=address))

    def end(self) -> None:
        """Append the end of the program."""
        self.add(End())
