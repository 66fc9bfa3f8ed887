"""The processing elements that ``celosia bench pe`` measures: a registry.

To add a family, write a module ``celosia/scripts/pe_<family>.py`` with a function that returns
its :class:`~celosia.scripts.pe_case.PeCase` values, and name the function in :data:`FAMILIES`.
A case says how to build the component, how many products it makes a step, how wide its operands
are, and which test proves it; synthesis, table and JSON follow from that. A component is any
:class:`~celosia.rtl.shared.Shared`; primitives that it instantiates and that Yosys does not
know come as ``black_boxes``. Keep to the setting of the others where a figure is to be
compared: 16 lanes, a 24-bit accumulator (or as wide as the formats need), no registers but
the accumulator, and operands of exact width.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from celosia.scripts.pe_blocks import block_cases
from celosia.scripts.pe_case import PeCase
from celosia.scripts.pe_lanes import lane_cases
from celosia.scripts.pe_scalable import scalable_cases
from celosia.scripts.pe_vectors import vector_cases

FAMILIES: tuple[Callable[[], Sequence[PeCase]], ...] = (
    lane_cases,
    vector_cases,
    block_cases,
    scalable_cases,
)
"""What gives the rows of the table, in its order."""


def pe_cases() -> tuple[PeCase, ...]:
    """Return every registered case."""
    return tuple(case for family in FAMILIES for case in family())
