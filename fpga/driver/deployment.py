"""A program as a driver needs it: the memory image as the hardware reads it, and where things are.

Neither the compiler nor the generator is needed to use one: :func:`celosia.fpga.deploy.deploy`
makes it of a program, ``celosia deploy`` writes it to a file, and a board reads that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from celosia.dataflow.archive import load_archive, save_archive
from celosia.dataflow.descriptors import DESCRIPTOR_BYTES
from celosia.dataflow.layout import Placement
from celosia.dataflow.microarchitecture import PAGE_BYTES
from celosia.dataflow.placement_file import dump_placement, parse_placement
from celosia.models.errors import CelosiaError

FORM = 1
"""Version of the file form."""

_WHAT = "deployment file"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Deployment:
    """A network for an engine, ready to be written into its memory.

    Parameters
    ----------
    network, accelerator : str
        Names of what runs, and on what.
    fingerprint : int
        The hash of the accelerator that its registers must hold, 128 bits.
    registers : mapping of str to int
        The offset of each register.
    counters : tuple of str
        The engine's counters, each a pair of registers.
    ports, beat_bytes, address_bits : int
        Memory ports, bytes of a beat of all of them, and bits of an address.
    image : numpy.ndarray
        uint8, the memory from ``base`` on, descriptors included.
    base, program_address, chunks : int
        First address of the image, and where in it the program lies: chunks of 256 bytes.
    samples : int
        Samples that one start runs.
    inputs, outputs : tuple of str
        Names of the network's inputs and outputs.
    placements : tuple of Placement
        Where these lie.
    stamps : tuple of (str, int)
        Each layer in order, and where it leaves the cycle of its end.
    relocations : numpy.ndarray
        int64 (n, 2): each address inside the image, as the place of its descriptor and the bit
        in that from which on it stands.
    products : int
        Useful products of one start.
    """

    network: str
    accelerator: str
    fingerprint: int
    registers: Mapping[str, int]
    counters: tuple[str, ...]
    ports: int
    beat_bytes: int
    address_bits: int
    image: np.ndarray
    base: int
    program_address: int
    chunks: int
    samples: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    placements: tuple[Placement, ...]
    stamps: tuple[tuple[str, int], ...]
    relocations: np.ndarray
    products: int

    def __post_init__(self) -> None:
        if self.image.dtype != np.uint8 or self.image.ndim != 1:
            raise TypeError(f"image must be one-dimensional uint8, not {self.image.dtype}")
        if self.relocations.dtype != np.int64 or self.relocations.shape[1:] != (2,):
            raise TypeError(f"relocations must be int64 (n, 2), not {self.relocations.shape}")
        if self.base % PAGE_BYTES:
            raise ValueError(f"base must be a multiple of {PAGE_BYTES}, not {self.base!r}")
        missing = {*self.inputs, *self.outputs} - {p.name for p in self.placements}
        if missing:
            raise ValueError(f"placements must have {', '.join(sorted(missing))}")

    @property
    def window(self) -> tuple[int, int]:
        """First address that the engine may touch, and the first after the last."""
        return self.base, self.base + self.image.size

    @property
    def room(self) -> int:
        """Bytes that it takes, in whole pages for each port."""
        page = PAGE_BYTES * self.ports
        return -(-self.image.size // page) * page

    def placement(self, name: str) -> Placement:
        """Return where tensor ``name`` lies; ``KeyError`` if it is no input or output."""
        for placement in self.placements:
            if placement.name == name:
                return placement
        raise KeyError(name)

    def at(self, base: int) -> Deployment:
        """Return the same program for memory that begins at ``base``.

        Raises
        ------
        ValueError
            ``base`` is no multiple of 4096.
        CelosiaError
            The engine's addresses do not reach so far.
        """
        if base + self.image.size > 1 << self.address_bits:
            raise CelosiaError(
                f"network {self.network!r} does not fit at address {base:#x}: accelerator "
                f"{self.accelerator!r} has {self.address_bits} address bits: raise address_bits "
                "in its [bus]"
            )
        move, image = base - self.base, self.image.copy()
        for place, bit in self.relocations.tolist():
            code = int.from_bytes(image[place : place + DESCRIPTOR_BYTES].tobytes(), "little")
            raw = (code + (move << bit)).to_bytes(DESCRIPTOR_BYTES, "little")
            image[place : place + DESCRIPTOR_BYTES] = np.frombuffer(raw, np.uint8)
        return replace(
            self,
            image=image,
            base=base,
            program_address=self.program_address + move,
            placements=tuple(
                replace(p, address=p.address + move, base=base) for p in self.placements
            ),
            stamps=tuple((name, address + move) for name, address in self.stamps),
        )

    def save(self, path: str | Path) -> None:
        """Write the file that :meth:`load` reads; :class:`CelosiaError` if it cannot be written."""
        names = (
            "network", "accelerator", "counters", "ports", "beat_bytes", "address_bits", "base",
            "program_address", "chunks", "samples", "inputs", "outputs", "stamps", "products",
        )  # fmt: skip
        document: dict[str, Any] = {name: getattr(self, name) for name in names}
        document |= {
            "form": FORM,
            "fingerprint": f"{self.fingerprint:032x}",
            "registers": dict(self.registers),
            "placements": [dump_placement(placement) for placement in self.placements],
            "relocations": self.relocations.tolist(),
        }
        save_archive(path, document, self.image, _WHAT)

    @classmethod
    def load(cls, path: str | Path) -> Deployment:
        """Read a deployment.

        Raises :class:`CelosiaError` if the file is missing, truncated, corrupt or of another form.
        """
        text, image = load_archive(path, _WHAT)
        try:
            values = json.loads(text)
            if values.pop("form") != FORM:
                raise ValueError(f"it is not of form {FORM}")
            values |= {
                "fingerprint": int(values["fingerprint"], 16),
                "placements": tuple(parse_placement(entry) for entry in values["placements"]),
                "relocations": np.array(values["relocations"], np.int64).reshape(-1, 2),
                "stamps": tuple((name, address) for name, address in values["stamps"]),
                **{name: tuple(values[name]) for name in ("counters", "inputs", "outputs")},
            }
            return cls(image=image, **values)
        except (TypeError, ValueError, LookupError, AttributeError) as error:
            raise CelosiaError(f"{_WHAT} {path} cannot be used: {error}") from error
