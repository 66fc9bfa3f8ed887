"""Programs: what the compiler emits, the timing model prices and the hardware runs.

A program is a list of descriptors in memory order. The sequencer hands each to
the queue of its unit; each unit runs its queue in order; units wait for each
other by tokens. ``docs/architecture.md`` has the semantics.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from celosia.dataflow.accelerator import Accelerator, Bus
from celosia.dataflow.descriptors import CHUNK_DESCRIPTORS, DESCRIPTOR_BYTES, Descriptor, Post
from celosia.dataflow.layout import Placement


class Counter(enum.IntEnum):
    """The hardware's performance counters, 64 bits each, in register order.

    Reads of an operand count only when its address differs from the step before
    (in the same descriptor); the first step of a descriptor always counts.
    """

    CYCLES = 0
    """From start to interrupt."""
    COMPUTE_STEPS = 1
    POST_STEPS = 2
    ACTIVATION_READS = 3
    """Reads of the activation buffer, all pixel lanes at once."""
    WEIGHT_READS = 4
    ACCUMULATOR_READS = 5
    """Read by compute: runs of equal accumulator address that do not start afresh."""
    ACCUMULATOR_WRITES = 6
    """Runs of equal accumulator address."""
    ACCUMULATOR_DRAINS = 7
    """Reads by post: steps whose (accumulator address, pixel, group) changed."""
    CONSTANT_READS = 8
    RESIDUAL_READS = 9
    """Reads by post: residual word address changed."""
    OUTPUT_WRITES = 10
    """Lane-group writes by post: one for each window."""
    OUTPUT_READS = 11
    """Words read by store, those that it keeps on chip included."""
    READ_BEATS = 12
    """Data beats read from memory, descriptors included."""
    WRITE_BEATS = 13
    """Data beats written to memory, stamps included."""
    LOAD_BUSY = 14
    """Cycles with a load descriptor accepted and not yet signalled."""
    STORE_BUSY = 15
    """Cycles with a store-unit descriptor accepted and not yet finished."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledLayer:
    """One operation of the network in a program.

    Parameters
    ----------
    name : str
        The operation's name.
    outputs : tuple of str
        The tensors that it made, in that order, copies made for it included: in memory when its
        stamp begins, but for those that the program keeps on chip.
    first, stop : int
        Range of its descriptors' indices; the last is its stamp.
    stamp : int
        Address of the beat that its stamp writes.
    products : int
        Useful products (:meth:`celosia.models.network.Network.products`) of all samples.
    """

    name: str
    outputs: tuple[str, ...]
    first: int
    stop: int
    stamp: int
    products: int


class Described(Protocol):
    """What descriptions of all kinds of engines have."""

    @property
    def name(self) -> str:
        """The engine's name."""
        ...

    @property
    def bus(self) -> Bus:
        """Its memory port."""
        ...

    @property
    def products(self) -> int:
        """Products a cycle."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BaseProgram:
    """A network compiled for an accelerator of any kind. One start runs all of it.

    Parameters
    ----------
    network : str
        The network's name.
    accelerator : object
        Description of the engine that it is for; each kind of program narrows it.
    descriptors : tuple
        In memory order, from ``program_address`` on.
    layers : tuple of CompiledLayer
        In order. A concat that needs no copies has none, nor a pooling behind a convolution.
    placements : tuple of Placement
        Every tensor of the network that is in memory or stays on chip, copies included.
    inputs, outputs : tuple of str
        Names of the network's inputs and outputs.
    image : numpy.ndarray
        uint8, the memory from ``base_address`` on, without inputs and descriptors.
    base_address : int
        Address of the image's first byte.
    program_address : int
        Where the encoded descriptors go, a multiple of 256.
    samples : int
        Samples that one start runs.
    kept : tuple of str
        Tensors that stay on chip, or of which maxima are taken as they are made: not in memory.
    """

    network: str
    accelerator: Described
    descriptors: tuple[object, ...]
    layers: tuple[CompiledLayer, ...]
    placements: tuple[Placement, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    image: np.ndarray
    base_address: int
    program_address: int
    samples: int = 1
    kept: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.image.dtype != np.uint8 or self.image.ndim != 1:
            raise TypeError(f"image must be one-dimensional uint8, not {self.image.dtype}")
        if self.program_address % (CHUNK_DESCRIPTORS * DESCRIPTOR_BYTES):
            raise ValueError(f"program_address must be a multiple of 256: {self.program_address}")
        base, limit = self.window
        if not base <= self.program_address <= limit - self.program_bytes:
            raise ValueError(f"program_address {self.program_address:#x} does not fit the image")

    @property
    def chunks(self) -> int:
        """Chunks of four descriptors that the sequencer fetches."""
        return -(-len(self.descriptors) // CHUNK_DESCRIPTORS)

    @property
    def program_bytes(self) -> int:
        """Bytes of the descriptors, padded to whole chunks."""
        return self.chunks * CHUNK_DESCRIPTORS * DESCRIPTOR_BYTES

    @property
    def memory_size(self) -> int:
        """Bytes of memory that the program uses."""
        return len(self.image)

    @property
    def window(self) -> tuple[int, int]:
        """First address that the engine may touch, and the first after the last."""
        return self.base_address, self.base_address + len(self.image)

    @property
    def products(self) -> int:
        """Useful products of one start, of all its samples."""
        return sum(layer.products for layer in self.layers)

    def placement(self, name: str) -> Placement:
        """Return where tensor ``name`` lies; ``KeyError`` if there is none."""
        for placement in self.placements:
            if placement.name == name:
                return placement
        raise KeyError(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sums:
    """What a post descriptor takes maxima of: a part of ``tensor``, which is nowhere itself.

    The sum at accumulator ``accumulators + r * cols + c`` of pixel lane l becomes row
    ``y + l * apart + r``, column ``x + c`` of the tensor, where it has these: it is of ``size``
    (rows, columns), and has channels like what the maxima become.
    """

    tensor: str
    size: tuple[int, int]
    accumulators: int
    cols: int
    y: int
    x: int
    apart: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What a post descriptor makes: a part of ``sample`` of ``tensor``.

    Word ``outputs + w * area + r * cols + c`` of the output buffer is word ``word + w``, row
    ``y + r``, column ``x + c`` of the tensor; those of r from ``rows`` on are none of its.
    ``sums`` is what maxima are taken of, where nothing else shows that.
    """

    tensor: str
    sample: int
    word: int
    y: int
    x: int
    rows: int
    cols: int
    area: int
    outputs: int
    sums: Sums | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Program(BaseProgram):
    """A program of the dense engine.

    ``made`` says of each post descriptor, in their order, what it makes.
    """

    accelerator: Accelerator
    descriptors: tuple[Descriptor, ...]
    made: tuple[Made, ...]

    def __post_init__(self) -> None:
        # Not super(): slots make another class of this one.
        BaseProgram.__post_init__(self)
        posts = sum(isinstance(descriptor, Post) for descriptor in self.descriptors)
        if len(self.made) != posts:
            raise ValueError(f"made must be of each of {posts} posts, not {len(self.made)}")
