"""Descriptors of a SpArch program, as plain values; :mod:`celosia.rtl.sparch` has the bits.

They run one after another. ``docs/sparch.md`` says what each does.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """In the next round ``leaf`` reads partial matrix ``partial``, which lies at ``address``."""

    leaf: int
    partial: int
    address: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """One pass through the merge tree.

    ``records`` work records, which fill ``beats`` from ``left`` on, feed the leaves of the mask
    ``leaves``; what they fetch is counted from ``right``. At most ``capacity`` elements go to
    ``target``: those of partial matrix ``partial``, or with ``final`` those of the output, whose
    ``rows`` + 1 row pointers go to ``pointers``. The product has ``rows`` x ``columns``.
    """

    final: bool
    partial: int
    records: int
    left: int
    right: int
    leaves: int
    target: int
    pointers: int
    rows: int
    columns: int
    capacity: int
    beats: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stamp:
    """Writes a beat at ``address``: the cycle counter as it was when the stamp was accepted."""

    address: int


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """The program is done and the interrupt rises."""


Descriptor = Source | Round | Stamp | End
