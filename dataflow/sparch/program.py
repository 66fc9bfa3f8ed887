"""Programs of the SpArch engine."""

from __future__ import annotations

from dataclasses import dataclass

from celosia.dataflow.program import BaseProgram
from celosia.dataflow.sparch.accelerator import SparchAccelerator
from celosia.dataflow.sparch.descriptors import Descriptor
from celosia.dataflow.sparch.plan import Plan


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """Where the product lies: ``rows`` x ``columns``, at most ``capacity`` elements."""

    target: int
    pointers: int
    rows: int
    columns: int
    capacity: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SparchProgram(BaseProgram):
    """A product of two sparse matrices, compiled. One start makes all of it.

    A round is a layer of the base: it ends with a stamp.
    """

    accelerator: SparchAccelerator
    descriptors: tuple[Descriptor, ...]
    plan: Plan
    output: Output
