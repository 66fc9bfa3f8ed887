"""The performance counters of a SpArch engine."""

from __future__ import annotations

import enum


class SparchCounter(enum.IntEnum):
    """The engine's performance counters, 64 bits each, in register order."""

    CYCLES = 0
    """From start to interrupt."""
    ROUNDS = 1
    RECORDS = 2
    """Work records."""
    PRODUCTS = 3
    MULTIPLY_CYCLES = 4
    """Cycles in which a group's products are put into a leaf, of all groups together."""
    ADDITIONS = 5
    """Pairs of elements with equal keys, of all nodes."""
    MERGED = 6
    """Elements that leave the root and are not 0."""
    READ_BEATS = 7
    """Data beats read from memory, descriptors included."""
    WRITE_BEATS = 8
    """Data beats written to memory, stamps included."""
    LEFT_BEATS = 9
    """Read: work records."""
    RIGHT_BEATS = 10
    """Read: elements of the right matrix."""
    PARTIAL_READ_BEATS = 11
    PARTIAL_WRITE_BEATS = 12
    OUTPUT_BEATS = 13
    """Written: elements of the output."""
    POINTER_BEATS = 14
    """Written: row pointers of the output."""
