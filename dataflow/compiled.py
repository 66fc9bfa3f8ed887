"""A compiled network: what the simulator and the driver need to run it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from celosia.dataflow.accelerator import Accelerator
from celosia.dataflow.layout import Placement
from celosia.dataflow.program import CHUNK_DESCRIPTORS, DESCRIPTOR_BYTES, Descriptor


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledLayer:
    """One operation of the network in a program.

    Parameters
    ----------
    name : str
        The operation's name.
    outputs : tuple of str
        The tensors that it wrote when its stamp begins, copies made for it included.
    first, stop : int
        Range of its descriptors' indices; the last is its stamp.
    stamp : int
        Address of the beat that its stamp writes.
    products : int
        Useful products of one sample (:meth:`celosia.models.network.Network.products`).
    """

    name: str
    outputs: tuple[str, ...]
    first: int
    stop: int
    stamp: int
    products: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Program:
    """A network compiled for an accelerator. One start runs all of it.

    Parameters
    ----------
    network : str
        The network's name.
    accelerator : Accelerator
        The engine that it is for.
    descriptors : tuple of Descriptor
        In memory order, from ``program_address`` on.
    layers : tuple of CompiledLayer
        In order. A concat that needs no copies has none.
    placements : tuple of Placement
        Every tensor of the network, copies included.
    inputs, outputs : tuple of str
        Names of the network's inputs and outputs.
    image : numpy.ndarray
        uint8, the memory from ``base_address`` on, without inputs and descriptors.
    base_address : int
        Address of the image's first byte.
    program_address : int
        Where the encoded descriptors go, a multiple of 256.
    """

    network: str
    accelerator: Accelerator
    descriptors: tuple[Descriptor, ...]
    layers: tuple[CompiledLayer, ...]
    placements: tuple[Placement, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    image: np.ndarray
    base_address: int
    program_address: int

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
        """Useful products of one sample."""
        return sum(layer.products for layer in self.layers)

    def placement(self, name: str) -> Placement:
        """Return where tensor ``name`` lies; ``KeyError`` if there is none."""
        for placement in self.placements:
            if placement.name == name:
                return placement
        raise KeyError(name)
