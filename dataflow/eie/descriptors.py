"""Descriptors of an EIE program, as plain values; :mod:`celosia.rtl.eie.descriptors` has the bits.

Two units run them, each in order: the load unit, and the compute unit, whose descriptors are
*steps*. A descriptor waits until so many loads, or steps, of the program are done; it may only name
what comes before it, so no program can wait for ever.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Target(enum.IntEnum):
    """The memories that a load fills."""

    ACTIVATIONS = 0
    POINTERS = 1
    ENTRIES = 2
    BIASES = 3
    CODEBOOK = 4
    OCCUPANCY = 5
    TABLES = 6
    """Functions of the cell unit."""


FILE_SHIFT = 15
"""Of a load's place: the bit of the file of activations."""

ALL_PES = 256
"""``pe`` of a load that all PEs take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """``beats`` consecutive beats from ``address`` into memory ``target`` of PE ``pe``.

    ``place`` is the first beat of the memory; of activations the first word, and bit 15 the file;
    of a codebook the table's number times 256. It waits until ``after`` steps are done.
    """

    target: Target
    pe: int
    address: int
    place: int
    beats: int
    after: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One tile of a layer: ``columns`` columns of the matrix, and ``rows`` rows of each PE.

    The activations are those of file ``source`` from window ``window`` on. ``pointers`` is where
    the tile's pointers begin, ``entries`` and ``occupancy`` the same of entries and bitmaps, which
    hold ``size`` entries of any PE at most. PEs from ``last_pes`` on have one row less. With
    ``write`` the accumulators, plus the biases from ``biases`` on, are shifted, rounded, clamped to
    ``low..high`` and written into the other file from ``target`` on, and begin at 0 again.
    It waits until ``after`` loads are done.
    """

    source: int
    window: int
    columns: int
    pointers: int
    entries: int
    size: int
    occupancy: int
    codebook: int
    rows: int
    last_pes: int
    write: bool
    biases: int = 0
    target: int = 0
    shift: int = 0
    low: int = 0
    high: int = 0
    after: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One step of a recurrent layer, element by element; ``docs/eie.md`` has its arithmetic.

    Every PE has ``rows`` elements, PEs from ``last_pes`` on one less, which is 0. In file
    ``source`` lie the sums of the input, forget, cell and output gate, ``rows`` words each from
    ``gates`` on, and the cells from ``cell`` on, which are replaced. Outputs are written into the
    other file from ``target`` on. Cells have ``14 - cell_shift`` bits after the point; outputs are
    shifted by ``shift`` and clamped to ``low..high``.
    """

    source: int
    rows: int
    last_pes: int
    gates: int
    cell: int
    target: int
    cell_shift: int
    shift: int
    low: int
    high: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """``rows`` words of activations of file ``source`` from word ``first`` on, to ``address``."""

    source: int
    first: int
    rows: int
    address: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """Writes a beat at ``address``: the cycle counter as it was when the stamp was accepted."""

    address: int


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """The program is done and the interrupt rises."""


Descriptor = Load | Run | Cell | Store | Stamp | End
