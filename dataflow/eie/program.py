"""Programs of the EIE engine, and its counters."""

from __future__ import annotations

import enum
from dataclasses import dataclass

import numpy as np

from celosia.dataflow.eie.accelerator import EieAccelerator
from celosia.dataflow.eie.descriptors import Descriptor
from celosia.dataflow.program import BaseProgram


class EieCounter(enum.IntEnum):
    """The engine's performance counters, 64 bits each, in register order."""

    CYCLES = 0
    """From start to interrupt."""
    RUN_CYCLES = 1
    """Cycles in which a tile of a matrix is multiplied, results written included."""
    BROADCASTS = 2
    """Activations handed to all PEs; as many were read."""
    STALLS = 3
    """Broadcasts put off for a cycle: a queue was full."""
    POINTER_READS = 4
    """Of all PEs, two pointers at once."""
    ROW_READS = 5
    """Rows of entries read, of all PEs."""
    ENTRIES = 6
    """Entries, padding included: as many products, and reads and writes of accumulators."""
    READ_BEATS = 7
    """Data beats read from memory, descriptors included."""
    WRITE_BEATS = 8
    """Data beats written to memory, stamps included."""
    CELL_ROWS = 9
    """Rows of a recurrent layer's elements computed, in all PEs at once."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Tile:
    """What a run works on, beside its descriptor.

    ``tensor`` is what is met, of a sequence the vector of ``step``: elements ``first`` to
    ``first + columns - 1``;
    ``counts`` (int64, (pes, columns)) says how many entries each PE has in each, padding included,
    and ``begins``, of the same shape, where in the tile's entries they begin.
    """

    tensor: str
    step: int
    first: int
    counts: np.ndarray
    begins: np.ndarray


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EieProgram(BaseProgram):
    """A program of the EIE engine.

    ``tiles`` has one entry for each run, in the order of the descriptors.
    """

    accelerator: EieAccelerator
    descriptors: tuple[Descriptor, ...]
    tiles: tuple[Tile, ...]
